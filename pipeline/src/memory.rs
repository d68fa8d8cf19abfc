//! The memory model: upper bounds of what a run holds at once, in the limb pool and beside it.

use crate::cost::KeySteps;
use crate::network::Network;
use ckks_scheme::{Level, Parameters};
use he_layers::{Op, OpCounts, PreparedLayer};

/// Bytes of the process beside what is counted: program, threads' stacks, weights of one product, rounded, in each thread.
const BASE_BYTES: u64 = 300_000_000;
/// Bytes of one image's logits, a class: encrypted, exact, rounded, and one more of each on the way.
const LOGIT_BYTES: usize = 6 * size_of::<f64>();

/// Most limbs in the pool while a layer runs, switching keys excepted: secret key, ciphertexts, temporaries of all threads.
pub fn layer_limbs(
    layer: &dyn PreparedLayer,
    group_blocks: usize,
    counts: &OpCounts,
    params: &Parameters,
    steps: &KeySteps,
    threads: usize,
) -> usize {
    let one_thread = counts
        .iter()
        .map(|((op, level), _)| temporary_limbs(op, level, params, steps))
        .max()
        .unwrap_or(0);
    // Rotated inner sums of one output that wait for one another.
    let waiting = counts
        .iter()
        .filter(|((op, _), _)| *op == Op::GiantSum)
        .map(|((_, level), count)| 2 * level.limbs() * count as usize)
        .max()
        .unwrap_or(0);
    secret_limbs(params) + layer.peak_limbs(group_blocks) + threads * one_thread + waiting
}

/// Most limbs in the pool while a group of images is encrypted, switching keys excepted.
pub fn encryption_limbs(network: &Network, params: &Parameters, threads: usize) -> usize {
    let input = network.input();
    let level = input.level.limbs();
    // A plaintext makes room for its ciphertext of twice the size when that is done.
    secret_limbs(params) + 2 * level * input.layout.ciphertexts() + threads * (level + 2)
}

/// The secret key's transform, which the client keeps.
fn secret_limbs(params: &Parameters) -> usize {
    params.literal().q_bits.len() + params.literal().p_bits.len()
}

/// Most limbs that a thread holds during an operation at `level` beside the ciphertexts that layers count.
fn temporary_limbs(op: Op, level: Level, params: &Parameters, steps: &KeySteps) -> usize {
    let shape = params.key_shape(steps.key_level(level, params.max_level()));
    let l = level.limbs();
    let extended = l + shape.specials;
    // The digits of a ModUp, without the limbs that are the polynomial's own; while it runs, with as many coefficients.
    let digits = l.div_ceil(shape.digit_limbs) * extended;
    let inner_product = 2 * extended;
    match op {
        Op::Rescale => 2 * l,
        // The rescaled ciphertext waits; two limbs for each one that is left are remainder and result.
        Op::ConjugateRescale => 2 * l + digits + inner_product + l,
        Op::SquareReal => 5 * l,
        Op::SquareComplex => 7 * l,
        Op::Relinearize => 2 * l + digits + inner_product,
        Op::Hoist | Op::HoistedRotation | Op::FoldRotation => 2 * l + digits + inner_product + l,
        // Beside the term in work the sum of those before, over the same primes, and that of the unrotated ones.
        Op::GiantRotation => l + digits + 2 * inner_product,
        Op::GiantSum => 2 * l + inner_product + 2 * l,
        Op::AddPlane | Op::Lift | Op::ConstantTerm | Op::MaskedTerm | Op::AccumulatorPass => 2,
    }
}

/// Most bytes beside the limb pool: tables, the images of a group and the logits of all.
pub fn fixed_bytes(network: &Network, params: &Parameters, batch: usize) -> u64 {
    // Twiddles of both directions with their quotients.
    let tables = 4 * secret_limbs(params) as u64 * params.limb_bytes();
    let input = &network.input().layout;
    let slots = input.ciphertexts() * input.slots() * 16;
    let pixels = network.images().min(batch) * input.shape().volume() * 16;
    let logits = batch.saturating_mul(network.classes() * LOGIT_BYTES);
    (BASE_BYTES + tables + (slots + pixels) as u64).saturating_add(logits as u64)
}
