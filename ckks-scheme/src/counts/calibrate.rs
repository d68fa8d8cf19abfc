//! Measuring the primitives on the machine at hand.

use super::{PrimitiveCosts, Work};
use crate::error::ParamError;
use ckks_math::{
    Automorphism, BaseConverter, Complex64, Embedding, KernelChoice, Limb, LimbRing, MathError,
    Pool, ResidueMatrix, WeightMatrix,
};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Limbs that operations take turns on: more than the caches hold at large degrees, as in an encrypted program.
const LIMBS: usize = 48;
/// Bytes of the keys that take turns: more than any cache holds.
const KEY_BYTES: usize = 256 << 20;
/// Bits of the primes.
const PRIME_BITS: u32 = 50;
/// Rounds of every measurement, at least and at most. The median counts: what a long run finds.
const ROUNDS: (usize, usize) = (9, 100_000);
/// Rows and columns of the matrix product; base-2 logarithm of its blocks.
const MATRIX: (usize, usize, u32) = (16, 24, 8);
/// Words of a limb's part that stays in the first-level cache.
const CACHED: usize = 512;

impl PrimitiveCosts {
    /// Measures the primitives on one thread, `time` or a little more for each; memory: about 200 limbs and 256 MiB. Other work on the
    /// machine spoils the figures.
    ///
    /// # Errors
    /// [`ParamError::NotEnoughPrimes`], [`ParamError::Degree`] for a degree beyond those of parameter sets, or when the
    /// kernel is not available or memory runs out.
    pub fn measure(kernel: &KernelChoice, log_n: u32, time: Duration) -> Result<Self, ParamError> {
        let rings = crate::params::rings(&[PRIME_BITS; LIMBS], log_n, kernel)?;
        let mut lab = Lab::new(rings, time)?;
        let moved = lab.moved();
        let (product, inner_product) = lab.cached();
        let key_byte = lab.key_byte(inner_product)?;
        Ok(Self {
            forward: lab.forward(),
            inverse: lab.inverse(),
            conversion: lab.conversion()?,
            inner_product,
            matrix_product: lab.matrix_product(moved)?,
            residue: lab.residue()?,
            product,
            moved,
            permuted: lab.permuted(kernel)?,
            embedding: embedding(log_n, time),
            key_byte,
            diagonal_byte: key_byte,
        })
    }
}

/// Rings of different primes, and three limbs for each.
struct Lab {
    rings: Vec<LimbRing>,
    a: Vec<Limb>,
    b: Vec<Limb>,
    out: Vec<Limb>,
    /// For each primitive.
    time: Duration,
}

impl Lab {
    fn new(rings: Vec<LimbRing>, time: Duration) -> Result<Self, MathError> {
        let pool = Pool::new(rings[0].log_n(), None);
        let limbs = |seed: u64| {
            let limbs = rings.iter().map(|ring| {
                let mut limb = pool.limb()?;
                for (j, word) in limb.iter_mut().enumerate() {
                    let mixed = (j as u64 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    *word = ring.modulus().reduce(mixed);
                }
                Ok(limb)
            });
            limbs.collect::<Result<Vec<_>, MathError>>()
        };
        Ok(Self {
            a: limbs(1)?,
            b: limbs(2)?,
            out: limbs(3)?,
            rings,
            time,
        })
    }

    fn log_n(&self) -> u32 {
        self.rings[0].log_n()
    }

    fn words(&self) -> usize {
        self.rings[0].degree()
    }

    fn forward(&mut self) -> f64 {
        let work = Work::forward(self.log_n()).forward;
        in_turns(self.time, LIMBS, |i| self.rings[i].ntt(&mut self.a[i])) / work as f64
    }

    fn inverse(&mut self) -> f64 {
        let work = Work::inverse(self.log_n()).inverse;
        let invert = |i: usize| self.rings[i].intt_into(&mut self.out[i], &self.a[i]);
        in_turns(self.time, LIMBS, invert) / work as f64
    }

    fn conversion(&mut self) -> Result<f64, MathError> {
        let (sources, targets) = (LIMBS / 8, LIMBS / 4);
        let (from, to) = self.rings.split_at(sources);
        let converter = BaseConverter::new(from, &to[..targets])?;
        let source: Vec<&[u64]> = self.a[..sources].iter().map(|l| &l[..]).collect();
        let target = self.out[..targets].iter_mut();
        let mut target: Vec<&mut [u64]> = target.map(|l| &mut l[..]).collect();
        let time = seconds(self.time, || converter.convert_into(&mut target, &source));
        let work = Work::conversion(self.rings[0].degree(), sources, targets);
        Ok(time / work.conversion as f64)
    }

    fn moved(&mut self) -> f64 {
        let add = |i: usize| self.rings[i].add_assign(&mut self.a[i], &self.b[i]);
        in_turns(self.time, LIMBS, add) / (3 * self.rings[0].degree()) as f64
    }

    /// A product of two residues, and a multiply-add of a sum of products, both in the cache.
    fn cached(&mut self) -> (f64, f64) {
        let len = CACHED.min(self.words());
        let ring = &self.rings[0];
        let (a, b) = (&mut self.a[0][..len], &self.b[0][..len]);
        let add = seconds(self.time, || (0..LIMBS).for_each(|_| ring.add_assign(a, b)));
        let mul = seconds(self.time, || (0..LIMBS).for_each(|_| ring.mul_assign(a, b)));
        let product = (mul - add).max(0.0) / (LIMBS * len) as f64;
        let terms: Vec<(&[u64], &[u64])> = self.b[1..5]
            .iter()
            .map(|limb| (&limb[..len], &limb[..len]))
            .collect();
        let dot = seconds(self.time, || {
            (0..LIMBS).for_each(|_| ring.dot_into(a, &terms))
        });
        (product, dot / (LIMBS * len * (terms.len() + 1)) as f64)
    }

    /// What a byte of a key costs beside its multiply-adds: from products of two digits with both halves of keys, which
    /// come from memory.
    fn key_byte(&mut self, inner_product: f64) -> Result<f64, MathError> {
        const TERMS: usize = 2;
        let tile = self.words().min(4096);
        let limbs = (KEY_BYTES / (8 * self.words())).max(2 * TERMS);
        let pool = Pool::new(self.log_n(), None);
        let keys: Vec<Limb> = (0..limbs)
            .map(|_| pool.zeroed())
            .collect::<Result<_, MathError>>()?;
        let keys: Vec<&[Limb]> = keys.chunks_exact(2 * TERMS).collect();
        let time = in_turns(self.time, keys.len(), |n| {
            let digits = &self.a[TERMS * n % (LIMBS - TERMS)..][..TERMS];
            let outs = &mut self.out[2 * n % (LIMBS - 2)..][..2];
            for from in (0..self.rings[0].degree()).step_by(tile) {
                let part = from..from + tile;
                for (out, keys) in outs.iter_mut().zip(keys[n].chunks_exact(TERMS)) {
                    let terms: [(&[u64], &[u64]); TERMS] =
                        std::array::from_fn(|j| (&digits[j][part.clone()], &keys[j][part.clone()]));
                    self.rings[0].dot_into(&mut out[part.clone()], &terms);
                }
            }
        });
        let work = Work::dot_with_key(self.words(), TERMS) * 2;
        let rest = time - inner_product * work.inner_product as f64;
        Ok(rest.max(0.0) / work.key_byte as f64)
    }

    fn permuted(&mut self, kernel: &KernelChoice) -> Result<f64, MathError> {
        let map = Automorphism::with_kernel(self.log_n(), 5, kernel)?;
        let apply = |i: usize| map.apply_into(&mut self.out[i], &self.a[i]);
        Ok(in_turns(self.time, LIMBS, apply) / self.rings[0].degree() as f64)
    }

    /// Weights that are the same in all cells.
    fn weights(&self) -> Result<(WeightMatrix, LimbRing), MathError> {
        let (rows, cols, log_blocks) = MATRIX;
        let log_blocks = log_blocks.min(self.log_n());
        let mut weights = WeightMatrix::new(rows, cols, log_blocks);
        for at in 0..rows * cols {
            weights.set_scalar(at / cols, at % cols, at as i64 * 977 % 2001 - 1000);
        }
        Ok((weights, self.rings[0].subring(log_blocks)?))
    }

    fn matrix_product(&mut self, moved: f64) -> Result<f64, MathError> {
        let (rows, cols, _) = MATRIX;
        let (weights, sub) = self.weights()?;
        let ring = &self.rings[0];
        let mut residues = ResidueMatrix::new();
        residues.generate(ring, &sub, &weights);
        let x: Vec<&[u64]> = self.a.iter().chain(&self.b).map(|l| &l[..]).collect();
        let out = self.out[..rows].iter_mut();
        let mut out: Vec<&mut [u64]> = out.map(|l| &mut l[..]).collect();
        let time = seconds(self.time, || {
            ring.block_matmul(&mut out, &x[..cols], &residues, false)
        });
        let work = Work::matrix_product(self.rings[0].degree(), rows, cols, false);
        let rest = time - moved * work.moved as f64;
        Ok(rest.max(0.0) / work.matrix_product as f64)
    }

    fn residue(&self) -> Result<f64, MathError> {
        let (weights, sub) = self.weights()?;
        let mut residues = ResidueMatrix::new();
        let time = seconds(self.time, || {
            residues.generate(&self.rings[0], &sub, &weights)
        });
        let (rows, cols, _) = MATRIX;
        Ok(time / (rows * cols * sub.degree()) as f64)
    }
}

fn embedding(log_n: u32, time: Duration) -> f64 {
    let log = log_n.min(10);
    let embedding = Embedding::new(log);
    let slots = vec![Complex64::new(0.5, -0.25); 1 << (log - 1)];
    let mut coeffs = vec![0.0; 1 << log];
    let seconds = seconds(time, || {
        embedding.slots_to_coeffs(&slots, &mut coeffs);
        coeffs
            .iter_mut()
            .for_each(|c| *c = black_box((*c * 1048576.0).round()));
    });
    seconds / Work::embedding(slots.len()).embedding.max(1) as f64
}

/// Seconds of one call, where calls take turns on `count` things.
fn in_turns(time: Duration, count: usize, mut f: impl FnMut(usize)) -> f64 {
    let mut turn = 0;
    seconds(time, || {
        f(turn);
        turn = (turn + 1) % count;
    })
}

/// Seconds of one call, the median of many.
fn seconds(time: Duration, mut f: impl FnMut()) -> f64 {
    f();
    let begin = Instant::now();
    let mut rounds = Vec::new();
    while rounds.len() < ROUNDS.0 || (begin.elapsed() < time && rounds.len() < ROUNDS.1) {
        let start = Instant::now();
        f();
        rounds.push(start.elapsed().as_secs_f64());
    }
    let middle = rounds.len() / 2;
    *rounds.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_primitive_is_measured() {
        let kernel = KernelChoice::Named("scalar");
        let costs =
            PrimitiveCosts::measure(&kernel, 10, Duration::from_millis(20)).expect("a small ring");
        for (name, cost) in PrimitiveCosts::NAMES.iter().zip(costs.to_array()) {
            // What is a difference may vanish on a busy machine.
            let difference = ["pointwise products", "key bytes", "diagonal bytes"].contains(name);
            let least = if difference { 0.0 } else { 1e-12 };
            assert!((least..1e-6).contains(&cost), "{name}: {cost:e}");
        }
    }

    #[test]
    fn impossible_degrees_are_refused() {
        let refused = PrimitiveCosts::measure(&KernelChoice::Auto, 30, Duration::ZERO);
        assert!(matches!(refused, Err(ParamError::Degree { log_n: 30, .. })));
    }
}
