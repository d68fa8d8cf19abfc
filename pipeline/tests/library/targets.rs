//! Readers as functions of bytes: the entry points of fuzzing, and what the corpus is replayed by.
//!
//! What was read is used as far as anything does that is in the file: a spec by a client, decisions by a server. A small
//! ring without security stands in for all of its size.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use ckks_scheme::{BootstrapLiteral, ModulusChain};
use he_layers::{Grid, Packing, PlainTensor, Program};
use he_models::Model;
use pipeline::client::{Client, Randomness, SECRET_KEY_FILE};
use pipeline::decisions::{Decisions, FORMAT_UNEQUAL, Instance, LastGroup};
use pipeline::exchange::{ClientSpec, Content, Holds};
use pipeline::plan::Plan;
use pipeline::planner;
use tempfile::TempDir;

use crate::checkpoint_targets;
use crate::networks::{GIB, Small, chain, machine, task};

/// Whether the bytes were read.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the name of the folder that their inputs are in.
pub const TARGETS: [(&str, Target); 5] = [
    ("checkpoint_group", checkpoint_targets::fuzz_group),
    ("checkpoint_run", checkpoint_targets::fuzz_run),
    ("client_spec", fuzz_client_spec),
    ("content", fuzz_content),
    ("plan", fuzz_plan),
];

pub(crate) const IMAGES: usize = 5;
/// What the hash of a client spec's file is derived with.
const SPEC_CONTEXT: &str = "polyphase pipeline 1 client spec file";

/// A network with two refreshes, and the ring of its decisions.
pub(crate) struct Ready {
    pub program: Program,
    pub decisions: Decisions,
    pub instance: Instance,
}

fn refreshed() -> Ready {
    let program = chain("small", 4, &[2, 4, 4, 3, 3, 3, 3]);
    let log_n = 8;
    let bootstrap = BootstrapLiteral::full_complex(log_n);
    let user = 6 + bootstrap.input_levels();
    let q_bits = [vec![50], vec![43; user], vec![50; bootstrap.depth()]].concat();
    let small = Small {
        q_bits,
        refreshes: vec!["block1.conv".to_owned()],
        bootstrap: Some(bootstrap),
        ..Small::new(log_n, 0, Packing::Complex, Grid::new(4, 4))
    };
    let (decisions, instance) = small.ready(&program, IMAGES);
    Ready {
        program,
        decisions,
        instance,
    }
}

pub(crate) fn plain() -> Ready {
    let program = chain("small", 4, &[2, 4, 4, 3, 3, 3, 3]);
    let small = Small::new(8, 9, Packing::Real, Grid::new(4, 4));
    let (decisions, instance) = small.ready(&program, IMAGES);
    Ready {
        program,
        decisions,
        instance,
    }
}

/// The same network over the same ring, with two images a group, and one for the last in a layout of its own.
fn unequal() -> Ready {
    let program = plain().program;
    let small = Small::new(8, 9, Packing::Real, Grid::new(8, 8));
    let (mut decisions, instance) = small.ready(&program, IMAGES);
    decisions.format = FORMAT_UNEQUAL;
    decisions.threads_at_a_time = vec![1; decisions.blocks_at_a_time.len()];
    decisions.last = Some(LastGroup {
        log_scale: decisions.log_scale,
        packing: Packing::Complex,
        grid: Grid::new(4, 4),
        blocks_at_a_time: decisions.blocks_at_a_time.clone(),
        threads_at_a_time: Vec::new(),
    });
    let instance = decisions.instantiate_over(&program, &instance.params);
    Ready {
        program,
        decisions,
        instance: instance.unwrap(),
    }
}

static READY: LazyLock<[Ready; 2]> = LazyLock::new(|| [plain(), refreshed()]);

/// A client's folder with a secret key, and its spec.
static CLIENT: LazyLock<(TempDir, ClientSpec)> = LazyLock::new(|| {
    let Ready {
        decisions,
        instance,
        ..
    } = &READY[0];
    let model = Model::bundled("tiny").unwrap();
    let classes = &model.classes()[..3];
    let mut spec = ClientSpec::new(decisions, instance, classes, None, Some(0.1));
    spec.keys.truncate(4);
    let secret = ckks_scheme::KeyGenerator::new(&instance.params).secret_key(&mut rand::rng());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(SECRET_KEY_FILE);
    secret.unwrap().save(&path).unwrap();
    (dir, spec)
});

/// What the corpus begins with, by target and name.
#[allow(dead_code, reason = "the fuzzer reads them from the corpus")]
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let spec = &CLIENT.1;
    let unequal = unequal();
    let mut with_last = ClientSpec::new(
        &unequal.decisions,
        &unequal.instance,
        &spec.classes,
        None,
        Some(0.1),
    );
    with_last.keys.truncate(4);
    let content = |holds| Content::new(holds, IMAGES, spec).to_bytes();
    let plan = |ready: &Ready| {
        let machine = machine(GIB);
        let task = task(&ready.program, IMAGES);
        let plan = planner::forecast(&ready.decisions, &ready.instance, &task, &machine);
        plan.unwrap().to_ron().into_bytes()
    };
    let [run, state, logits] = checkpoint_targets::seeds();
    vec![
        ("checkpoint_group", "logits", logits),
        ("checkpoint_group", "state", state),
        ("checkpoint_run", "run", run),
        ("client_spec", "spec", spec.to_text().into_bytes()),
        ("client_spec", "unequal", with_last.to_text().into_bytes()),
        ("content", "images", content(Holds::Images)),
        ("plan", "plain", plan(&READY[0])),
        ("plan", "refreshed", plan(&READY[1])),
        ("plan", "unequal", plan(&unequal)),
    ]
}

/// The same file with the checksum that belongs to it, in the context of its kind.
pub(crate) fn repaired(bytes: &[u8], context: &str) -> Vec<u8> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return bytes.to_vec();
    };
    let hash = blake3::derive_key(context, &bytes[end + 1..]);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let from = end.saturating_sub(hash.len());
    [&bytes[..from], hash.as_bytes(), &bytes[end..]].concat()
}

/// As it is, and once more with the right checksum: no mutation would get past it.
pub fn fuzz_client_spec(bytes: &[u8]) -> bool {
    let read = ClientSpec::from_text(bytes);
    for spec in read
        .iter()
        .chain(&ClientSpec::from_text(&repaired(bytes, SPEC_CONTEXT)))
    {
        let again = ClientSpec::from_text(spec.to_text().as_bytes()).unwrap();
        assert_eq!(&again, spec);
        spec.key_request();
        let _ = ModulusChain::from_literal(&spec.params);
        let params = &READY[0].instance.params;
        if &spec.params != params.chain().literal() {
            continue;
        }
        let mut randomness = Randomness::new(Some(1));
        let client = Client::open_for(spec.clone(), params, CLIENT.0.path(), &mut randomness);
        let shape = spec.input.tensor.layout.shape();
        if shape.volume() < 1 << 14 {
            let image = PlainTensor::new(1, shape, vec![0.5; shape.volume()]).unwrap();
            let mut client = client.unwrap();
            let _ = client.encrypt(&image);
            for group in spec.grouping().groups(IMAGES).filter(|group| group.is_last) {
                let _ = client.encrypt_group(&image, &group);
            }
        }
    }
    read.is_ok()
}

pub fn fuzz_content(bytes: &[u8]) -> bool {
    let spec = &CLIENT.1;
    let parse = |bytes: &[u8]| Content::parse(bytes, Path::new("file"), Holds::Images, spec);
    let read = parse(bytes);
    if let Ok(content) = &read {
        assert_eq!(&parse(&content.to_bytes()).unwrap(), content);
        let _ = Content::ciphertexts(content.images, Holds::Images, spec);
    }
    read.is_ok()
}

thread_local! {
    static DIR: TempDir = tempfile::tempdir().unwrap();
}

/// A plan that was read is written as the same one. Where it is for one of the rings here, it is obeyed as far as a forecast.
pub fn fuzz_plan(bytes: &[u8]) -> bool {
    let path = DIR.with(|dir| dir.path().join("plan.ron"));
    fs::write(&path, bytes).unwrap();
    let read = Plan::read(&path);
    let Ok(plan) = read else {
        return false;
    };
    fs::write(&path, plan.to_ron()).unwrap();
    // Not compared: a number that is none is unequal to itself.
    assert_eq!(Plan::read(&path).unwrap().to_ron(), plan.to_ron());
    for ready in &*READY {
        let decisions = &plan.decisions;
        let instance = decisions.instantiate_over(&ready.program, &ready.instance.params);
        if let Ok(instance) = instance {
            let task = task(&ready.program, IMAGES);
            let _ = planner::forecast(decisions, &instance, &task, &machine(GIB));
        }
    }
    let _ = ModulusChain::from_literal(&plan.decisions.params);
    true
}
