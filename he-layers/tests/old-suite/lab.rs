//! A client and a server in one place, and small networks for them: test code only.

use std::sync::Arc;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{Decryptor, Encryptor, Evaluator, KeyGenerator, KeyRequest, Parameters, Scale};
use he_layers::{
    ClientCodec, EncryptedTensor, Head, Layer, PlainTensor, PreActBlock, PreparedLayer, ScaleChain,
    SquareActivation, Stem, TensorSpec, Weights,
};
use rand_chacha::ChaCha20Rng;

use crate::{random_conv, random_numbers, rng};

/// The client and the server of a test in one place.
pub struct Lab {
    pub params: Parameters,
    pub chain: ScaleChain,
    pub rng: ChaCha20Rng,
}

/// The kernel named by POLYPHASE_KERNEL, so that the suite can run on either.
pub fn kernel() -> KernelChoice {
    match std::env::var("POLYPHASE_KERNEL").as_deref() {
        Ok("scalar") => KernelChoice::Named("scalar"),
        Ok("avx512ifma") => KernelChoice::Named("avx512ifma"),
        _ => KernelChoice::Auto,
    }
}

impl Lab {
    pub fn new(log_n: u32, levels: usize, seed: u64) -> Self {
        let params = Parameters::builder()
            .log_n(log_n)
            .q_bits([50].into_iter().chain(vec![48; levels - 1]))
            .kernel(kernel())
            .build_insecure_for_tests()
            .unwrap();
        Self::over(params, Scale::new(2f64.powi(30)), seed)
    }

    pub fn over(params: Parameters, scale: Scale, seed: u64) -> Self {
        let chain = ScaleChain::of(&params, scale);
        Self {
            params,
            chain,
            rng: rng(seed),
        }
    }

    /// A server with the keys of a request, for a client that nobody knows.
    pub fn evaluator(&mut self, keys: &KeyRequest) -> Evaluator {
        let keygen = KeyGenerator::new(&self.params);
        let secret = keygen.secret_key(&mut self.rng).unwrap();
        let keys = keygen
            .evaluation_keys(&secret, keys, &mut self.rng)
            .unwrap();
        Evaluator::new(&self.params, Arc::new(keys))
    }

    /// Runs a sequence of layers on `x`, encrypted as `input` says, `group` channel blocks at a time.
    pub fn run(
        &mut self,
        layers: &[&dyn Layer],
        input: TensorSpec,
        x: &PlainTensor,
        group: usize,
    ) -> Outcome {
        let prepared = prepare(layers, &input, &self.chain);
        let mut keys = KeyRequest::new();
        prepared
            .iter()
            .for_each(|layer| keys.extend(&layer.required_keys()));
        let keygen = KeyGenerator::new(&self.params);
        let secret = keygen.secret_key(&mut self.rng).unwrap();
        let public = keygen.public_key(&secret, &mut self.rng).unwrap();
        let keys = keygen
            .evaluation_keys(&secret, &keys, &mut self.rng)
            .unwrap();
        let evaluator = Evaluator::new(&self.params, Arc::new(keys));

        let codec = ClientCodec::new(&self.params, input.clone());
        let encryptor = Encryptor::new(&public);
        let plaintexts = codec.encode(x).unwrap();
        let ciphertexts = plaintexts
            .iter()
            .map(|p| encryptor.encrypt(p, &mut self.rng).unwrap())
            .collect();
        drop(plaintexts);
        let tensor = EncryptedTensor::new(input, ciphertexts).unwrap();
        let (tensor, pool_peak_bytes) = serve(&evaluator, &prepared, tensor, group);
        let decryptor = Decryptor::new(&secret);
        let decrypt = |ct| decryptor.decrypt(ct, codec.encoder()).unwrap();
        let slots: Vec<_> = tensor.ciphertexts().iter().map(decrypt).collect();
        let bound = tensor
            .ciphertexts()
            .iter()
            .map(|ct| ct.tracked().error_bound())
            .fold(0.0, f64::max);
        let y = tensor.spec().layout.unpack(&slots, x.n).unwrap();
        Outcome {
            prepared,
            y,
            bound,
            pool_peak_bytes,
        }
    }
}

/// The server: nothing here has a type that could hold a secret key. Also gives the most bytes that each layer held.
fn serve(
    evaluator: &Evaluator,
    layers: &[Box<dyn PreparedLayer>],
    mut tensor: EncryptedTensor,
    group: usize,
) -> (EncryptedTensor, Vec<u64>) {
    let pool = evaluator.params().pool();
    let mut peaks = Vec::new();
    for layer in layers {
        let before = pool.in_use_bytes() - tensor.bytes();
        pool.reset_high_water();
        tensor = layer.forward(evaluator, tensor, group).unwrap();
        peaks.push(pool.high_water_bytes() - before);
    }
    (tensor, peaks)
}

/// What came of a run.
pub struct Outcome {
    pub prepared: Vec<Box<dyn PreparedLayer>>,
    /// The decrypted output.
    pub y: PlainTensor,
    /// The tracker's bound on its error.
    pub bound: f64,
    /// For each layer the most bytes that its ciphertexts and temporaries held.
    pub pool_peak_bytes: Vec<u64>,
}

impl Outcome {
    /// The layers on slots, without noise.
    pub fn reference(&self, x: &PlainTensor, weights: Weights) -> PlainTensor {
        let mut slots = self.prepared[0].input().layout.pack(x).unwrap();
        for layer in &self.prepared {
            slots = layer.forward_slots(&slots, weights).unwrap();
        }
        self.prepared
            .last()
            .unwrap()
            .output()
            .layout
            .unpack(&slots, x.n)
            .unwrap()
    }
}

/// Prepares layers one after another.
pub fn prepare(
    layers: &[&dyn Layer],
    input: &TensorSpec,
    chain: &ScaleChain,
) -> Vec<Box<dyn PreparedLayer>> {
    let mut prepared: Vec<Box<dyn PreparedLayer>> = Vec::new();
    for layer in layers {
        let spec = prepared.last().map_or(input, |p| p.output());
        let next = layer.prepare(spec, chain).unwrap();
        prepared.push(next);
    }
    prepared
}

pub fn plain(layers: &[&dyn Layer], x: &PlainTensor) -> PlainTensor {
    layers
        .iter()
        .fold(x.clone(), |x, layer| layer.forward_plain(&x).unwrap())
}

pub fn rms_difference(a: &PlainTensor, b: &PlainTensor) -> f64 {
    let square: f64 = a
        .data
        .iter()
        .zip(&b.data)
        .map(|(a, b)| (a - b).powi(2))
        .sum();
    (square / a.data.len() as f64).sqrt()
}

pub fn activation(rng: &mut ChaCha20Rng, channels: usize) -> SquareActivation {
    SquareActivation::new(
        "act",
        random_numbers(rng, channels),
        vec![30.0; channels],
        vec![1.3; channels],
    )
    .unwrap()
}

/// A small residual network: stem, identity block, strided block, head.
pub struct Network {
    pub stem: Stem,
    pub blocks: [PreActBlock; 2],
    pub head: Head,
}

impl Network {
    pub fn new(rng: &mut ChaCha20Rng) -> Self {
        let conv =
            |rng: &mut ChaCha20Rng, ins: usize, outs: usize, kernel: usize, stride: usize| {
                let mut conv = random_conv(
                    rng,
                    (ins, outs),
                    (kernel, kernel),
                    (stride, stride),
                    (kernel / 2, kernel / 2),
                );
                let norm = (0.5 / (ins * kernel * kernel) as f64).sqrt();
                conv.weight
                    .iter_mut()
                    .chain(&mut conv.bias)
                    .for_each(|w| *w *= norm);
                conv.tap_bias.iter_mut().for_each(|w| *w *= 0.01);
                conv
            };
        let stem = Stem {
            conv: conv(rng, 3, 4, 3, 1),
            input_mean: vec![0.0; 3],
        };
        let same = PreActBlock {
            name: "block1".to_owned(),
            act1: activation(rng, 4),
            conv1: conv(rng, 4, 4, 3, 1),
            act2: activation(rng, 4),
            conv2: conv(rng, 4, 4, 3, 1),
            shortcut: None,
        };
        let down = PreActBlock {
            name: "block2".to_owned(),
            act1: activation(rng, 4),
            conv1: conv(rng, 4, 8, 3, 2),
            act2: activation(rng, 8),
            conv2: conv(rng, 8, 8, 3, 1),
            shortcut: Some(conv(rng, 4, 8, 1, 2)),
        };
        let head = Head {
            act: activation(rng, 8),
            classes: 10,
            weight: random_numbers(rng, 80)
                .into_iter()
                .map(|w| w / 16.0)
                .collect(),
            bias: random_numbers(rng, 10),
        };
        Self {
            stem,
            blocks: [same, down],
            head,
        }
    }

    pub fn layers(&self) -> [&dyn Layer; 4] {
        [&self.stem, &self.blocks[0], &self.blocks[1], &self.head]
    }

    /// Sets offsets, means, second moments and declared ranges to what `x` gives, as training would.
    pub fn calibrate(&mut self, x: &PlainTensor) {
        let pixels = x.shape.pixels();
        let mean = |c: usize| {
            let maps = x.data.chunks(pixels).skip(c).step_by(x.shape.channels);
            maps.flatten().sum::<f64>() / (x.n * pixels) as f64
        };
        self.stem.input_mean = (0..x.shape.channels).map(mean).collect();
        let mut stream = self.stem.conv.forward_plain(x).unwrap();
        for block in &mut self.blocks {
            observe(&mut block.act1, &stream);
            let inner = block
                .conv1
                .forward_plain(&block.act1.forward_plain(&stream).unwrap())
                .unwrap();
            observe(&mut block.act2, &inner);
            stream = block.forward_plain(&stream).unwrap();
        }
        observe(&mut self.head.act, &stream);
    }
}

fn observe(act: &mut SquareActivation, x: &PlainTensor) {
    let pixels = x.shape.pixels();
    for c in 0..act.channels() {
        let maps = x.data.chunks(pixels).skip(c).step_by(act.channels());
        act.t[c] = -maps.flatten().sum::<f64>() / (x.n * pixels) as f64;
    }
    let squares = act.forward_plain(x).unwrap();
    act.declared = act
        .largest_inputs(x)
        .unwrap()
        .iter()
        .map(|m| 2.0 * m)
        .collect();
    for c in 0..act.channels() {
        let maps = squares.data.chunks(pixels).skip(c).step_by(act.channels());
        act.second_moment[c] = maps.flatten().sum::<f64>() / (x.n * pixels) as f64;
    }
}
