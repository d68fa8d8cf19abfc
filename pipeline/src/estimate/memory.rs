//! Upper bounds of what a run holds at once, in the limb pool and beside it.

use super::error;
use ckks_scheme::{Level, ModulusChain};
use he_layers::{OpCounts, Phase, PreparedProgram, Share, cost};

/// Bytes of the process beside what is counted.
const BASE_BYTES: u64 = 64_000_000;
/// Copies of the largest map of the simulated images that planning leaves behind in the heap.
const SIMULATED_COPIES: usize = 6;
/// Bytes of a thread's stack and heap beside what is counted.
const THREAD_BYTES: u64 = 4_000_000;
/// Bytes that a bootstrapping takes beside the limb pool.
const BOOTSTRAP_BYTES: u64 = 128_000_000;
/// Bytes of a complex slot in the clear.
const SLOT_BYTES: usize = 2 * size_of::<f64>();
/// Parts of the memory, of which rounded weights may take some.
const WEIGHTS_PARTS: u64 = 64;
/// Bytes of logits per image and class: six `f64` (encrypted, exact and rounded logits, and a temporary copy of each).
const LOGIT_BYTES: usize = 6 * size_of::<f64>();

/// What a step takes whatever the keys' levels and the threads are, `blocks` channel blocks at a time: counted once for all.
#[derive(Debug)]
pub struct StepNeeds {
    /// Its operations, in the parts that follow one another.
    pub phases: [Phase; 3],
    /// All of them.
    pub counts: OpCounts,
    /// Most bytes of rounded weights of a thread, beside the limb pool.
    weight_bytes: u64,
    /// Most limbs that ciphertexts hold.
    limbs: usize,
    /// Most limbs that stages hold, for each thread.
    working_limbs: usize,
}

impl StepNeeds {
    /// Counts a share of a step.
    pub fn new(prepared: &PreparedProgram, step: usize, blocks: usize, share: Share) -> Self {
        let phases = prepared.phases_of(step, blocks, share);
        let mut counts = OpCounts::default();
        phases.iter().for_each(|phase| counts.extend(&phase.counts));
        let cells = prepared.input().layout.grid().cells();
        Self {
            weight_bytes: cost::weight_bytes(&counts, cells, 1) as u64,
            limbs: prepared.peak_limbs_of(step, blocks, share),
            working_limbs: prepared.working_limbs(step),
            phases,
            counts,
        }
    }

    /// Most bytes beside the limb pool in so many threads of their own, or in those that there are anyway.
    pub fn bytes_beside(&self, threads: usize, are_own: bool) -> u64 {
        let of_thread = self.weight_bytes + if are_own { THREAD_BYTES } else { 0 };
        of_thread.saturating_mul(threads as u64)
    }

    /// Most limbs in the pool during the step, keys and matrices excepted, without those that each thread holds: secret key,
    /// ciphertexts.
    pub fn shared_limbs(&self, chain: &ModulusChain) -> usize {
        secret_limbs(chain).saturating_add(self.limbs)
    }

    /// Most limbs that a thread holds during the step: stages, temporaries.
    pub fn thread_limbs(&self, chain: &ModulusChain, key_level: &dyn Fn(Level) -> Level) -> usize {
        let temporary = cost::temporary_limbs(&self.counts, chain, key_level);
        self.working_limbs.saturating_add(temporary)
    }
}

/// Most limbs in the pool while one set of ciphertexts is encrypted, keys and matrices excepted.
pub fn encryption_limbs(prepared: &PreparedProgram, chain: &ModulusChain, threads: usize) -> usize {
    let input = prepared.input();
    let level = input.level.limbs();
    // A plaintext makes room for its ciphertext of twice the size when that is done.
    let held = secret_limbs(chain) + 2 * level * input.layout.ciphertexts();
    held.saturating_add(threads.saturating_mul(level + 2))
}

/// Limbs of the secret key's transform, which the client keeps.
pub fn secret_limbs(chain: &ModulusChain) -> usize {
    chain.literal().q_bits.len() + chain.literal().p_bits.len()
}

/// Most bytes beside the limb pool, weights of products excepted: the process itself, tables, the program, what planning leaves
/// behind, the images of one set of ciphertexts, and the logits of all images. `last`: the program of a last group.
pub fn fixed_bytes(
    prepared: &PreparedProgram,
    last: Option<&PreparedProgram>,
    chain: &ModulusChain,
    batch: usize,
    threads: usize,
) -> u64 {
    // Twiddles of both directions with their quotients.
    let tables = 4 * secret_limbs(chain) as u64 * chain.limb_bytes();
    let refreshes = match prepared.refreshes() {
        0 => 0,
        _ => BOOTSTRAP_BYTES,
    };
    let programs = || std::iter::once(prepared).chain(last);
    let images = programs().map(|of| image_bytes(of, batch)).max();
    let heap = programs().map(PreparedProgram::heap_bytes).sum::<usize>();
    let maps = (0..prepared.steps()).map(|step| prepared.step_input(step).layout.shape().volume());
    let simulated = error::IMAGES.min(batch) * maps.max().unwrap_or(0) * size_of::<f64>();
    let classes = prepared.output().layout.shape().volume();
    let logits = batch.saturating_mul(classes * LOGIT_BYTES);
    (BASE_BYTES + tables + refreshes)
        .saturating_add(THREAD_BYTES.saturating_mul(threads as u64))
        .saturating_add(heap as u64)
        .saturating_add(images.unwrap_or(0) as u64)
        .saturating_add((SIMULATED_COPIES * simulated) as u64)
        .saturating_add(logits as u64)
}

/// Bytes of the images of one set of ciphertexts: pixels as they are read, then as numbers, then in slots.
fn image_bytes(prepared: &PreparedProgram, batch: usize) -> usize {
    let input = &prepared.input().layout;
    let pixels = prepared.images().min(batch) * input.shape().volume();
    let slots = input.ciphertexts() * input.slots() * SLOT_BYTES;
    pixels * size_of::<f64>() + slots.max(pixels * size_of::<f32>())
}

/// Bytes that rounded weights may take, of `bytes` for them and the limb pool of a machine with `memory_bytes`: so many parts of
/// 64 of the memory, if the least that the pool needs leaves that, but no less than the least that they need themselves.
pub fn weights_budget(
    parts: u64,
    memory_bytes: u64,
    bytes: u64,
    least_pool: u64,
    least_weights: u64,
) -> u64 {
    (memory_bytes / WEIGHTS_PARTS)
        .saturating_mul(parts)
        .min(bytes.saturating_sub(least_pool))
        .max(least_weights)
}
