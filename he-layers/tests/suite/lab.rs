//! A client and a server in one place, and small networks for them: test code only.

use std::sync::Arc;

use ckks_scheme::bootstrap::{FourierLiteral, Reduction, RefreshFunction};
use ckks_scheme::counts::Work;
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    BootstrapLiteral, BootstrapParams, Content, CosineBootstrapper, Evaluator, Parameters, Scale,
};
use he_layers::pointwise::RELU_PERIOD;
use he_layers::{
    Chw, Client, Conv2d, Dense, EncryptedTensor, Errors, Grid, Layout, Packing, PlainTensor,
    PreActBlock, Preparation, PreparedProgram, Program, Refresher, Square, Weights,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::counts::{check_bound, predicted};

/// Parameters and randomness of a test.
pub struct Lab {
    pub params: Parameters,
    pub scale: Scale,
    pub rng: ChaCha20Rng,
}

/// What came of an encrypted run.
pub struct Outcome {
    pub y: PlainTensor,
    /// The tracker's bound on the error of a slot.
    pub bound: f64,
    /// Work that the evaluator counted.
    pub work: Work,
    /// For each step the most limbs that were held, keys excepted.
    pub peaks: Vec<usize>,
}

/// The kernel named by POLYPHASE_KERNEL, so that the suite can run on any.
pub fn kernel() -> KernelChoice {
    std::env::var("POLYPHASE_KERNEL").map_or(KernelChoice::Auto, |name| name.parse().unwrap())
}

pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub fn threads(n: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build()
        .unwrap()
}

impl Lab {
    /// Over `levels` primes of 50 bits, without security.
    pub fn new(log_n: u32, levels: usize, seed: u64) -> Self {
        let params = Parameters::builder()
            .log_n(log_n)
            .q_bits(vec![50; levels])
            .kernel(kernel())
            .build_insecure_for_tests()
            .unwrap();
        let scale = Scale::new(2f64.powi(28));
        let rng = rng(seed);
        Self { params, scale, rng }
    }

    /// With a refresher that leaves `levels` levels of 43 bits, at scale 2^40.
    pub fn with_refresh(levels: usize, content: Content, seed: u64) -> (Self, Refresher) {
        let (lab, boot) = Self::with_bootstrapper(levels, content, seed);
        (lab, Refresher::of(boot).unwrap())
    }

    /// The same with the bootstrapping itself.
    pub fn with_bootstrapper(
        levels: usize,
        content: Content,
        seed: u64,
    ) -> (Self, CosineBootstrapper) {
        let literal = BootstrapLiteral {
            content,
            slots_to_coeffs_levels: 2,
            coeffs_to_slots_levels: 2,
            ..BootstrapLiteral::full_complex(9)
        };
        let user = literal.slots_to_coeffs_levels + levels;
        let q_bits = std::iter::once(50)
            .chain(std::iter::repeat_n(43, user))
            .chain(std::iter::repeat_n(50, literal.depth()));
        let params = Parameters::builder()
            .log_n(9)
            .q_bits(q_bits)
            .digits(3)
            .kernel(kernel())
            .build_insecure_for_tests()
            .unwrap();
        let boot = BootstrapParams::new(&params, literal).unwrap();
        let boot = CosineBootstrapper::new(&boot).unwrap();
        let scale = Scale::new(2f64.powi(40));
        let rng = rng(seed);
        (Self { params, scale, rng }, boot)
    }

    /// With a bootstrapping that applies a ReLU by `harmonics` harmonics and leaves `levels` levels of 43 bits.
    pub fn with_relu(levels: usize, harmonics: usize, seed: u64) -> (Self, Refresher) {
        let literal = BootstrapLiteral {
            slots_to_coeffs_levels: 2,
            coeffs_to_slots_levels: 2,
            log_message_ratio: RELU_PERIOD.log2(),
            reduction: Reduction::Fourier(FourierLiteral {
                degree: 31,
                squarings: 3,
                function: RefreshFunction::Relu,
                harmonics,
            }),
            ..BootstrapLiteral::full_complex(9)
        };
        let user = literal.slots_to_coeffs_levels + levels;
        let q_bits = std::iter::once(50).chain(std::iter::repeat_n(43, user + literal.depth()));
        let params = Parameters::builder()
            .log_n(9)
            .q_bits(q_bits)
            .digits(3)
            .kernel(kernel())
            .build_insecure_for_tests()
            .unwrap();
        let boot = BootstrapParams::new(&params, literal).unwrap();
        let boot = CosineBootstrapper::new(&boot).unwrap();
        let scale = Scale::new(2f64.powi(33));
        let rng = rng(seed);
        (Self { params, scale, rng }, Refresher::of(boot).unwrap())
    }

    pub fn layout(&self, shape: Chw, grid: Grid, packing: Packing) -> Layout {
        Layout::new(shape, grid, packing, self.params.slots()).unwrap()
    }

    pub fn preparation(&self, layout: Layout) -> Preparation<'static> {
        Preparation::new(&self.params, self.scale, layout)
    }

    /// A batch that fills the ciphertexts, of numbers between -1 and 1.
    pub fn images(&mut self, prepared: &PreparedProgram) -> PlainTensor {
        let (images, shape) = (prepared.images(), prepared.input().layout.shape());
        PlainTensor::from_fn(images, shape, |_, _, _, _| self.rng.random_range(-1.0..1.0))
    }

    /// Encrypts, runs `at_a_time` channel blocks at a time, decrypts.
    pub fn run(
        &mut self,
        prepared: &PreparedProgram,
        x: &PlainTensor,
        at_a_time: usize,
    ) -> Outcome {
        let (mut client, keys) = Client::new(&self.params, prepared, &mut self.rng).unwrap();
        let server = Evaluator::new(&self.params, Arc::new(keys));
        let pool = self.params.pool();
        let before = pool.in_use_bytes();
        let mut run = prepared.begin(&server, client.encrypt(x).unwrap()).unwrap();
        let mut peaks = Vec::new();
        while !run.is_done() {
            pool.reset_high_water();
            run.step(at_a_time).unwrap();
            let limbs = (pool.high_water_bytes() - before) / self.params.limb_bytes();
            peaks.push(limbs as usize);
        }
        let y = run.finish().unwrap();
        let bound = |y: &EncryptedTensor| {
            let bounds = y.ciphertexts().iter().map(|ct| ct.tracked().error_bound());
            bounds.fold(0.0, f64::max)
        };
        Outcome {
            bound: bound(&y),
            y: client.decrypt(&y, x.n).unwrap(),
            work: server.profile().work(),
            peaks,
        }
    }
}

impl Lab {
    /// Runs a network and checks what is computed: plain slots against the evaluation in the clear; the encrypted result
    /// against rounded plain slots within the tracker's bound, and against the evaluation in the clear within the simulated
    /// errors, which must not be far off either way; memory and keys along the way.
    pub fn check(
        &mut self,
        program: &Program,
        prepared: &PreparedProgram,
        x: &PlainTensor,
        (at_a_time, workers): (usize, usize),
    ) -> Outcome {
        let what = format!("{}, {at_a_time} blocks, {workers} threads", program.name());
        let plain = program.forward_plain(x).unwrap();
        let largest = plain.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        let exact = largest_difference(&on_slots(program, prepared, x, Weights::Exact), &plain);
        assert!(
            exact <= 1e-9 * largest,
            "{what}: plain slots are off by {exact:e}"
        );

        let outcome = threads(workers).install(|| self.run(prepared, x, at_a_time));
        let rounded = prepared.forward_rounded(program, x).unwrap();
        let noise = largest_difference(&outcome.y, &rounded);
        let bound = outcome.bound;
        assert!(noise <= bound, "{what}: error {noise:e}, bound {bound:e}");

        let disturbed = |errors| {
            let y = prepared.forward_disturbed(program, x, errors, 1).unwrap();
            deviation(&y, &plain)
        };
        let simulated = disturbed(Errors::Noise).hypot(disturbed(Errors::Weights));
        let measured = deviation(&outcome.y, &plain);
        let words = format!("{what}: deviation {measured:e}, simulated {simulated:e}");
        assert!(measured <= 6.0 * simulated, "{words}");
        assert!(simulated <= 4.0 * measured, "{words}");
        // More threads share out rotations at the price of more hoists; what a refresh does is tested with the scheme.
        if workers == 1 && prepared.refreshes() == 0 {
            let (predicted, found) = (predicted(self, prepared, at_a_time), outcome.work);
            // Sparse weights that happen to be the same in all cells are counted as if they were not.
            let close = predicted.forward as f64 <= 1.02 * found.forward as f64;
            assert!(predicted.forward >= found.forward && close, "{what}");
            let forward = found.forward;
            assert_eq!(
                Work {
                    forward,
                    ..predicted
                },
                found,
                "{what}"
            );
        }
        check_bound(self, prepared, (at_a_time, workers), &outcome.peaks, &what);
        outcome
    }
}

/// A network on plain slots.
pub fn on_slots(
    program: &Program,
    prepared: &PreparedProgram,
    x: &PlainTensor,
    weights: Weights,
) -> PlainTensor {
    let slots = prepared.input().layout.pack(x).unwrap();
    let y = prepared.forward_slots(program, slots, weights).unwrap();
    prepared.output().layout.unpack(&y, x.n).unwrap()
}

pub fn largest_difference(a: &PlainTensor, b: &PlainTensor) -> f64 {
    assert_eq!((a.n, a.shape), (b.n, b.shape));
    let pairs = a.data.iter().zip(&b.data);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Root mean square of the differences.
pub fn deviation(a: &PlainTensor, b: &PlainTensor) -> f64 {
    assert_eq!((a.n, a.shape), (b.n, b.shape));
    let squares = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).powi(2));
    (squares.sum::<f64>() / a.data.len() as f64).sqrt()
}

pub fn numbers(rng: &mut ChaCha20Rng, n: usize, most: f64) -> Vec<f64> {
    (0..n).map(|_| rng.random_range(-most..most)).collect()
}

/// A convolution of `kernel x kernel`, padded to keep maps of stride 1, that keeps about the size of numbers.
pub fn conv(
    rng: &mut ChaCha20Rng,
    name: &str,
    (ins, outs): (usize, usize),
    kernel: usize,
    stride: usize,
) -> Conv2d {
    let n = ins * kernel * kernel;
    let weight = numbers(rng, outs * n, 1.0 / (n as f64).sqrt());
    let (kernels, padding) = ((kernel, kernel), (kernel / 2, kernel / 2));
    let mut conv = Conv2d::new(
        name,
        (ins, outs),
        kernels,
        (stride, stride),
        padding,
        weight,
    )
    .unwrap();
    conv.bias = numbers(rng, outs, 0.2);
    conv.tap_bias = numbers(rng, outs * kernel * kernel, 0.1);
    conv
}

pub fn square(rng: &mut ChaCha20Rng, name: &str, channels: usize) -> Square {
    let t = numbers(rng, channels, 0.5);
    Square::new(name, t, vec![30.0; channels], vec![1.0; channels]).unwrap()
}

pub fn head(rng: &mut ChaCha20Rng, input: Chw, classes: usize) -> Dense {
    let most = 1.0 / input.pixels() as f64;
    let weight = numbers(rng, classes * input.channels, most);
    Dense::pooled("head", input, classes, &weight, numbers(rng, classes, 0.2)).unwrap()
}

/// Stem, two residual blocks of which the second has stride 2, a last square, a head: 7 levels.
pub fn residual_network(r: &mut ChaCha20Rng, side: usize, width: usize) -> Program {
    let block =
        |r: &mut ChaCha20Rng, name: &str, (ins, outs): (usize, usize), stride: usize| PreActBlock {
            name: name.into(),
            act1: square(r, &format!("{name}.act1"), ins),
            conv1: conv(r, &format!("{name}.conv1"), (ins, outs), 3, stride),
            act2: square(r, &format!("{name}.act2"), outs),
            conv2: conv(r, &format!("{name}.conv2"), (outs, outs), 3, 1),
            shortcut: (ins != outs)
                .then(|| conv(r, &format!("{name}.shortcut"), (ins, outs), 1, stride)),
        };
    let stem = conv(r, "stem", (3, width), 3, 1);
    let first = block(r, "first", (width, width), 1);
    let second = block(r, "second", (width, 2 * width), 2);
    let last = square(r, "last", 2 * width);
    let head = head(r, Chw::new(2 * width, side / 2, side / 2), 10);
    let input = Chw::new(3, side, side);
    Program::of_layers("residual", input, &[&stem, &first, &second, &last, &head]).unwrap()
}
