//! What the tests share: networks, machines, decisions made by hand.

use std::num::NonZeroUsize;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{BootstrapLiteral, Parameters};
use he_layers::{Chw, Conv2d, Dense, Grid, Packing, Program, Square, Term};
use he_models::{Lowered, Model};
use pipeline::decisions::{Decisions, FORMAT, Instance, KeySteps};
use pipeline::estimate::time::Speed;
use pipeline::planner::{Machine, Pin, PinError, Pins, PlanError, Task};

pub const GIB: u64 = 1 << 30;

/// Two threads of the built-in speed, so that plans are the same everywhere.
pub fn machine(memory_bytes: u64) -> Machine {
    Machine {
        threads: 2,
        memory_bytes,
        beside_bytes: 0,
        together: None,
        speed: Speed::built_in("avx512ifma"),
    }
}

/// The kernel named by POLYPHASE_KERNEL, so that the whole suite can run on any.
pub fn kernel() -> KernelChoice {
    std::env::var("POLYPHASE_KERNEL").map_or(KernelChoice::Auto, |name| name.parse().unwrap())
}

pub fn lowered(model: &str) -> Lowered {
    Model::bundled(model).unwrap().lower().unwrap()
}

pub fn pins(pins: &[&str]) -> Pins {
    let mut all = Pins::default();
    let parsed: Result<Vec<Pin>, PinError> = pins.iter().map(|p| p.parse()).collect();
    all.extend(parsed.unwrap());
    all
}

/// A batch of a program, with the command's default of precision.
pub fn task(program: &Program, images: usize) -> Task<'_> {
    Task {
        program,
        checksum: "",
        batch: NonZeroUsize::new(images).unwrap(),
        max_logit_error: 0.02,
    }
}

/// Weights of both signs that keep values near their size.
fn weights(outputs: usize, inputs: usize) -> Vec<f64> {
    let size = 1.0 / (inputs as f64).sqrt();
    let weight = |i: usize| ((i * 37 % 23) as f64 - 11.0) / 11.0 * size;
    (0..outputs * inputs).map(weight).collect()
}

fn square(name: String, channels: usize) -> Square {
    Square::new(
        name,
        vec![0.5; channels],
        vec![2.0; channels],
        vec![0.6; channels],
    )
    .unwrap()
}

/// A chain of 1x1 convolutions of so many channels with squares between, on maps of `side` times `side`.
pub fn chain(name: &str, side: usize, channels: &[usize]) -> Program {
    let mut net = Program::new(name, Chw::new(channels[0], side, side), Vec::new());
    let mut x = net.input();
    for (i, pair) in channels.windows(2).enumerate() {
        let conv = format!("block{i}.conv");
        let weight = weights(pair[1], pair[0]);
        let map = Conv2d::new(&conv, (pair[0], pair[1]), (1, 1), (1, 1), (0, 0), weight).unwrap();
        let node = net.node(&format!("block{i}"), &conv, vec![Term::linear(x, map)]);
        let act = square(format!("block{i}.act"), pair[1]);
        x = net.apply(node.unwrap(), act).unwrap();
    }
    let shape = net.shape(x);
    let scale = 1.0 / (side * side) as f64;
    let mut weight = weights(3, shape.channels);
    weight.iter_mut().for_each(|w| *w *= scale);
    let head = Dense::pooled("head", shape, 3, &weight, vec![0.1, 0.0, -0.1]).unwrap();
    let y = net
        .node("head", "head", vec![Term::linear(x, head)])
        .unwrap();
    net.finish(y).unwrap();
    net
}

/// A network for images of a hundredth of the usual contrast around zero: others leave its ranges, and then each of its squares
/// makes them larger still.
pub fn faint() -> Program {
    let mut net = Program::new("faint", Chw::new(1, 8, 8), Vec::new());
    let mut x = net.input();
    for (i, gain) in [100.0, 1.0, 1.0].into_iter().enumerate() {
        let conv = Conv2d::new(
            format!("block{i}.conv"),
            (1, 1),
            (1, 1),
            (1, 1),
            (0, 0),
            vec![gain],
        );
        let terms = vec![Term::linear(x, conv.unwrap())];
        let node = net.node(&format!("block{i}"), &format!("block{i}.conv"), terms);
        let act = square(format!("block{i}.act"), 1);
        x = net.apply(node.unwrap(), act).unwrap();
    }
    let weight = weights(3, 1).iter().map(|w| w / 64.0).collect::<Vec<_>>();
    let head = Dense::pooled("head", net.shape(x), 3, &weight, vec![0.0; 3]).unwrap();
    let y = net
        .node("head", "head", vec![Term::linear(x, head)])
        .unwrap();
    net.finish(y).unwrap();
    net
}

/// What a small ring without security needs: decisions as a planner would make them.
pub struct Small {
    pub log_n: u32,
    pub q_bits: Vec<u32>,
    pub bootstrap: Option<BootstrapLiteral>,
    pub refreshes: Vec<String>,
    pub packing: Packing,
    pub grid: Grid,
    pub blocks: usize,
    pub threads: usize,
}

impl Small {
    /// A chain of so many primes without a refresh.
    pub fn new(log_n: u32, levels: usize, packing: Packing, grid: Grid) -> Self {
        Self {
            log_n,
            q_bits: vec![46; levels],
            bootstrap: None,
            refreshes: Vec::new(),
            packing,
            grid,
            blocks: 1,
            threads: 2,
        }
    }

    /// Decisions for a batch of a network, and the network ready for them.
    pub fn ready(&self, program: &Program, batch: usize) -> (Decisions, Instance) {
        let params = Parameters::builder()
            .log_n(self.log_n)
            .q_bits(self.q_bits.iter().copied())
            .digits(3)
            .kernel(kernel())
            .build_insecure_for_tests()
            .unwrap();
        let mut decisions = Decisions {
            format: FORMAT,
            model: program.name().to_owned(),
            model_checksum: String::new(),
            batch,
            params: params.chain().literal().clone(),
            bootstrap: self.bootstrap.clone(),
            refreshes: self.refreshes.clone(),
            log_scale: 26,
            packing: self.packing,
            grid: self.grid,
            key_steps: KeySteps::default(),
            threads: self.threads,
            blocks_at_a_time: Vec::new(),
            threads_at_a_time: Vec::new(),
            last: None,
        };
        // No step at all is refused, and the refusal says how many there are.
        let error = decisions.instantiate_over(program, &params).unwrap_err();
        let PlanError::Foreign { what, expected, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(what, "steps");
        decisions.blocks_at_a_time = vec![self.blocks; expected.parse().unwrap()];
        let instance = decisions.instantiate_over(program, &params).unwrap();
        (decisions, instance)
    }
}
