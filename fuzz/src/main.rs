//! libFuzzer over the readers' entry points; `FUZZ_TARGET` names which. `fuzz/run` builds and starts it.
#![no_main]

#[allow(
    clippy::unwrap_used,
    dead_code,
    reason = "the fixture of tests, of which a part is needed"
)]
#[path = "../../ckks-scheme/tests/serial/fixture.rs"]
mod fixture;
#[allow(clippy::unwrap_used, reason = "an entry point fails by a panic")]
#[path = "../../ckks-scheme/tests/serial/targets.rs"]
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
    let names: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    found
        .unwrap_or_else(|| panic!("FUZZ_TARGET is {wanted:?}, expected one of {names:?}"))
        .1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
