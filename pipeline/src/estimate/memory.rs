//! Upper bounds of what a run holds at once, in the limb pool and beside it.

use ckks_scheme::{Level, ModulusChain};
use he_layers::{OpCounts, PreparedProgram, cost};

/// Bytes of the process beside what is counted: program, threads' stacks, weights of one product, rounded, in each thread.
const BASE_BYTES: u64 = 300_000_000;
/// Bytes of logits per image and class: six `f64` (encrypted, exact and rounded logits, and a temporary copy of each).
const LOGIT_BYTES: usize = 6 * size_of::<f64>();

/// Most limbs in the pool during a step, keys and matrices excepted: secret key, ciphertexts, temporaries of all threads.
pub fn step_limbs(
    prepared: &PreparedProgram,
    step: usize,
    blocks: usize,
    counts: &OpCounts,
    chain: &ModulusChain,
    key_level: &dyn Fn(Level) -> Level,
    threads: usize,
) -> usize {
    let one_thread = cost::temporary_limbs(counts, chain, key_level) + prepared.working_limbs(step);
    let held = secret_limbs(chain) + prepared.peak_limbs(step, blocks);
    held.saturating_add(threads.saturating_mul(one_thread))
}

/// Most limbs in the pool while one set of ciphertexts is encrypted, keys and matrices excepted.
pub fn encryption_limbs(prepared: &PreparedProgram, chain: &ModulusChain, threads: usize) -> usize {
    let input = prepared.input();
    let level = input.level.limbs();
    // A plaintext makes room for its ciphertext of twice the size when that is done.
    let held = secret_limbs(chain) + 2 * level * input.layout.ciphertexts();
    held.saturating_add(threads.saturating_mul(level + 2))
}

/// The secret key's transform, which the client keeps.
fn secret_limbs(chain: &ModulusChain) -> usize {
    chain.literal().q_bits.len() + chain.literal().p_bits.len()
}

/// Most bytes beside the limb pool: tables, the images of one set of ciphertexts, and the logits of all images.
pub fn fixed_bytes(prepared: &PreparedProgram, chain: &ModulusChain, batch: usize) -> u64 {
    // Twiddles of both directions with their quotients.
    let tables = 4 * secret_limbs(chain) as u64 * chain.limb_bytes();
    let input = &prepared.input().layout;
    let slots = input.ciphertexts() * input.slots() * 16;
    let pixels = prepared.images().min(batch) * input.shape().volume() * 16;
    let classes = prepared.output().layout.shape().volume();
    let logits = batch.saturating_mul(classes * LOGIT_BYTES);
    (BASE_BYTES + tables)
        .saturating_add((slots + pixels) as u64)
        .saturating_add(logits as u64)
}
