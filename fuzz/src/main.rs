//! libFuzzer over the readers' entry points; `FUZZ_TARGET` names which. `fuzz/run` builds and starts it.
#![no_main]
#![allow(clippy::unwrap_used, reason = "an entry point fails by a panic")]

#[path = "../../pipeline/tests/library/checkpoint_targets.rs"]
mod checkpoint_targets;
#[allow(dead_code, reason = "the fixture of tests, of which a part is needed")]
#[path = "../../ckks-scheme/tests/serial/fixture.rs"]
mod fixture;
#[path = "../../datasets/tests/support/targets.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod images;
#[path = "../../he-models/tests/suite/targets.rs"]
mod models;
#[allow(dead_code, reason = "the fixture of tests, of which a part is needed")]
#[path = "../../pipeline/tests/library/networks.rs"]
mod networks;
#[path = "../../ckks-scheme/tests/serial/targets.rs"]
mod scheme;
#[path = "../../pipeline/tests/library/targets.rs"]
mod targets;

use std::sync::LazyLock;

type Target = Box<dyn Fn(&[u8]) + Send + Sync>;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let of_scheme = scheme::TARGETS.map(|(name, target)| (name, Box::new(target) as Target));
    let of_files = [
        &images::TARGETS[..],
        &models::TARGETS[..],
        &targets::TARGETS[..],
    ]
    .concat();
    let of_files = of_files.into_iter().map(|(name, target)| {
        let target = move |bytes: &[u8]| {
            target(bytes);
        };
        (name, Box::new(target) as Target)
    });
    let all: Vec<(&str, Target)> = of_scheme.into_iter().chain(of_files).collect();
    let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let unknown = format!("FUZZ_TARGET is {wanted:?}, expected one of {names:?}");
    let found = all.into_iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("{unknown}")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
