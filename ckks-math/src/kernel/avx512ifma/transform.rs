//! The negacyclic transform and its inverse.
//!
//! Passes of two, four or eight rows in registers, depth first, so that a block that fits a
//! cache is finished before the next; the last six stages on 64 words in eight registers, three of
//! them across a transposition.
//!
//! **Ranges.** With `LIMIT q <= 2^52`, words between passes are in `[0, LIMIT q)` forward and
//! `[0, 2q)` backward. A forward butterfly `x +- w y` moves words by less than `q` either way
//! (signed Montgomery product), so after `x` was brought to `[k q, (LIMIT/2 + k) q)`, `k = LIMIT/4`
//! stages need no further care. A backward butterfly adds bounds; they are tracked word by word, at
//! compile time.
//!
//! **Tables.** The inverse of the root of node `m + i` of a level of `m` nodes is minus that of its
//! mirror image `m + (m - 1 - i)`, so both directions read the same tables.

#![allow(
    clippy::needless_range_loop,
    reason = "loops run over places in a heap, with several arrays at each"
)]

use super::vector::*;
use crate::kernel::scalar::bit_reversed_powers;
use crate::modulus::Modulus;

/// Words of the innermost block, and the stages done on it in registers.
const TAIL_WORDS: usize = 64;
const TAIL_STAGES: u32 = 6;

/// Vectors of an innermost block.
const TAIL_VECTORS: usize = TAIL_WORDS / LANES;

type Block = [Words; TAIL_VECTORS];

/// What may follow a forward transform: `x` becomes `(minuend - x) factor`.
struct Subtract<'a> {
    minuend: &'a [Block],
    factor: Factor,
}

/// Roots of an innermost block, heap index `h` at place `h - 1`: of the nodes below its own, and of the
/// nodes below each of its groups of eight words, lane `i` for the `i`-th, without their quotients.
#[derive(Debug)]
#[repr(align(64))]
struct TailRoots {
    columns: [Words; 7],
    rows: [Factor; 7],
}

// The runs of stages are macros, not functions: they must be inlined wherever they are used, and
// `inline(always)` does not go with `target_feature`.

/// Cooley-Tukey on `RADIX` vectors, `[0, LIMIT q) -> [0, LIMIT q)`.
macro_rules! forward_stages {
    ($limit:expr, $radix:expr, $field:expr, $q:expr, $x:expr, $roots:expr) => {
        forward_stages!(@stage $limit, $radix, $field, $q, $x, $roots, 0);
        forward_stages!(@stage $limit, $radix, $field, $q, $x, $roots, 1);
        forward_stages!(@stage $limit, $radix, $field, $q, $x, $roots, 2);
    };
    (@stage $limit:expr, $radix:expr, $field:expr, $q:expr, $x:expr, $roots:expr, $stage:literal) => {
        if (1 << $stage) < $radix {
            // Stages that a word goes through without care after it was brought into the middle.
            let careless = $limit / 4;
            let reset = $stage % careless == 0;
            let half_limit = splat($limit / 2 * $q);
            let offset = splat(careless.min(($radix as u64 >> $stage).ilog2().into()) * $q);
            let half = ($radix >> $stage) / 2;
            for i in 0..$radix / 2 {
                let (group, j) = (i / half, i / half * half + i);
                if reset {
                    $x[j] = add(subtract_if_reaches($x[j], half_limit), offset);
                }
                let product = $field.mul_signed($x[j + half], $roots[(1 << $stage) + group]);
                ($x[j], $x[j + half]) = (add($x[j], product), sub($x[j], product));
            }
        }
    };
}

/// Gentleman-Sande on `RADIX` vectors with negated inverse roots, `[0, 2q) -> [0, 2q)`; if `LAST`, with
/// the factors of sums and differences in the last stage, to `[0, q)`.
macro_rules! inverse_stages {
    ($limit:expr, $radix:expr, $is_last:expr, $field:expr, $q:expr, $x:expr, $roots:expr, $last:expr) => {
        inverse_stages!(@stage $limit, $radix, $is_last, $field, $q, $x, $roots, $last, 2);
        inverse_stages!(@stage $limit, $radix, $is_last, $field, $q, $x, $roots, $last, 1);
        inverse_stages!(@stage $limit, $radix, $is_last, $field, $q, $x, $roots, $last, 0);
        if !$is_last {
            let bounds = const { inverse_bounds($limit, $radix, 0) };
            for j in 0..$radix {
                $x[j] = reduce_to_two($field, $x[j], bounds[j]);
            }
        }
    };
    (@stage $limit:expr, $radix:expr, $is_last:expr, $field:expr, $q:expr, $x:expr, $roots:expr, $last:expr, $stage:literal) => {
        if (1 << $stage) < $radix {
            let bounds = const { inverse_bounds($limit, $radix, $stage + 1) };
            let half = ($radix >> $stage) / 2;
            for i in 0..$radix / 2 {
                let (group, j) = (i / half, i / half * half + i);
                let (k, mut bound) = (j + half, bounds[j]);
                if bound + bounds[k] > $limit {
                    $x[j] = reduce_to_two($field, $x[j], bound);
                    $x[k] = reduce_to_two($field, $x[k], bounds[k]);
                    bound = 2;
                }
                let sum = add($x[j], $x[k]);
                let difference = add(sub($x[k], $x[j]), splat(bound * $q));
                ($x[j], $x[k]) = if $is_last && $stage == 0 {
                    ($field.mul(sum, $last[0]), $field.mul(difference, $last[1]))
                } else {
                    (sum, $field.mul_lazy(difference, $roots[(1 << $stage) + group]))
                };
            }
        }
    };
}

/// Roots of one prime and degree, for both directions.
#[derive(Debug)]
pub(super) struct Transform {
    constants: Constants,
    log_n: u32,
    /// Root of node `k` for `1 <= k < N/64`, outside the innermost blocks.
    nodes: Vec<Factor>,
    tail: Vec<TailRoots>,
    /// `1/N`, and that times the inverse root of node 1, negated.
    inverse_degree: Factor,
    inverse_degree_root: Factor,
    /// Stages of the passes before the innermost block.
    passes: Vec<u32>,
}

/// Node `k` reflected in its level.
fn mirror(k: usize) -> usize {
    3 * (1 << k.ilog2()) - 1 - k
}

impl Transform {
    /// Smallest degree: one innermost block.
    pub(super) const MIN_LOG_N: u32 = TAIL_STAGES;

    pub(super) fn new(constants: Constants, log_n: u32, psi: u64) -> Self {
        assert!(
            log_n >= Self::MIN_LOG_N,
            "degree 2^{log_n} is below one block"
        );
        let modulus: Modulus = constants.modulus;
        let roots = bit_reversed_powers(modulus, log_n, psi);
        let n = roots.len();
        // The node of heap index h below a node.
        let below = |node: usize, h: usize| {
            let level = 1 << h.ilog2();
            node * level + h - level
        };
        let tail = |block: usize| TailRoots {
            rows: std::array::from_fn(|h| {
                let node = n / TAIL_WORDS + block;
                constants.factor(roots[below(node, h + 1)])
            }),
            columns: std::array::from_fn(|h| {
                std::array::from_fn(|lane| {
                    let node = n / LANES + block * LANES + lane;
                    constants.to_montgomery(roots[below(node, h + 1)])
                })
            }),
        };
        let inverse_degree = modulus.inv(n as u64);
        Self {
            constants,
            log_n,
            nodes: roots[..n / TAIL_WORDS]
                .iter()
                .map(|&w| constants.factor(w))
                .collect(),
            tail: (0..n / TAIL_WORDS).map(tail).collect(),
            inverse_degree: constants.factor(inverse_degree),
            inverse_degree_root: constants.factor(modulus.mul(inverse_degree, roots[1])),
            passes: split_stages(log_n - TAIL_STAGES),
        }
    }

    /// Natural to bit-reversed order; words in `[0, q)`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn forward(&self, a: &mut [u64]) {
        self.forward_and(a, None);
    }

    /// `a = (minuend - NTT(a)) s`; `a` and `minuend` in `[0, q)`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn forward_sub_mul(&self, a: &mut [u64], minuend: &[u64], s: u64) {
        assert_eq!(minuend.len(), a.len(), "length of a limb");
        let end = Subtract {
            minuend: minuend.as_chunks().0.as_chunks().0,
            factor: self.constants.factor(s),
        };
        self.forward_and(a, Some(&end));
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn forward_and(&self, a: &mut [u64], end: Option<&Subtract<'_>>) {
        let a = self.vectors(a);
        match self.constants.modulus.bits() {
            ..=48 => self.forward_blocks::<16>(a, 1, &self.passes, end),
            49 => self.forward_blocks::<8>(a, 1, &self.passes, end),
            _ => self.forward_blocks::<4>(a, 1, &self.passes, end),
        }
    }

    /// Bit-reversed to natural order; words in `[0, q)`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn inverse(&self, a: &mut [u64]) {
        self.inverse_from::<false>(a, &[]);
    }

    /// [`Self::inverse`] of `src`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn inverse_into(&self, out: &mut [u64], src: &[u64]) {
        assert_eq!(src.len(), out.len(), "length of a limb");
        self.inverse_from::<true>(out, src.as_chunks().0.as_chunks().0);
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse_from<const COPY: bool>(&self, a: &mut [u64], src: &[Block]) {
        let a = self.vectors(a);
        match self.constants.modulus.bits() {
            ..=48 => self.inverse_blocks::<16, true, COPY>(a, 1, &self.passes, src),
            49 => self.inverse_blocks::<8, true, COPY>(a, 1, &self.passes, src),
            _ => self.inverse_blocks::<4, true, COPY>(a, 1, &self.passes, src),
        }
    }

    fn vectors<'a>(&self, a: &'a mut [u64]) -> &'a mut [Words] {
        assert_eq!(a.len(), 1 << self.log_n, "length of a limb");
        a.as_chunks_mut().0
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn forward_blocks<const LIMIT: u64>(
        &self,
        a: &mut [Words],
        node: usize,
        passes: &[u32],
        end: Option<&Subtract<'_>>,
    ) {
        let Some((&stages, rest)) = passes.split_first() else {
            self.forward_tail::<LIMIT>(a, node, end);
            return;
        };
        match stages {
            1 => self.forward_pass::<LIMIT, 2>(a, node),
            2 => self.forward_pass::<LIMIT, 4>(a, node),
            _ => self.forward_pass::<LIMIT, 8>(a, node),
        }
        if rest.is_empty() {
            self.forward_tail::<LIMIT>(a, node << stages, end);
            return;
        }
        let len = a.len() >> stages;
        for (i, block) in a.chunks_exact_mut(len).enumerate() {
            self.forward_blocks::<LIMIT>(block, (node << stages) + i, rest, end);
        }
    }

    /// `LAST` for the whole limb: its last stage brings the factor `1/N`. If `COPY`, the words come from `src`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse_blocks<const LIMIT: u64, const LAST: bool, const COPY: bool>(
        &self,
        a: &mut [Words],
        node: usize,
        passes: &[u32],
        src: &[Block],
    ) {
        let Some((&stages, rest)) = passes.split_first() else {
            self.inverse_tail::<LIMIT, LAST, COPY>(a, node, src);
            return;
        };
        if rest.is_empty() {
            self.inverse_tail::<LIMIT, false, COPY>(a, node << stages, src);
        } else {
            let len = a.len() >> stages;
            for (i, block) in a.chunks_exact_mut(len).enumerate() {
                self.inverse_blocks::<LIMIT, false, COPY>(block, (node << stages) + i, rest, src);
            }
        }
        match stages {
            1 => self.inverse_pass::<LIMIT, 2, LAST>(a, node),
            2 => self.inverse_pass::<LIMIT, 4, LAST>(a, node),
            _ => self.inverse_pass::<LIMIT, 8, LAST>(a, node),
        }
    }

    /// The roots of the nodes of heap index `1..RADIX` below `node`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn roots<const RADIX: usize>(&self, field: &Field, node: usize) -> [FactorV; RADIX] {
        let mut roots = [field.factor(self.nodes[node]); RADIX];
        for (h, root) in roots.iter_mut().enumerate().skip(2) {
            let level = 1 << h.ilog2();
            *root = field.factor(self.nodes[node * level + h - level]);
        }
        roots
    }

    /// Stages of `RADIX` rows, on a block that belongs to `node`.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn forward_pass<const LIMIT: u64, const RADIX: usize>(&self, a: &mut [Words], node: usize) {
        let (field, q) = (self.constants.field(), self.constants.modulus.value());
        let roots = self.roots::<RADIX>(&field, node);
        let mut rows = rows::<RADIX>(a);
        for j in 0..rows[0].len() {
            let mut x = [zero(); RADIX];
            for (x, row) in x.iter_mut().zip(&rows) {
                *x = load(&row[j]);
            }
            forward_stages!(LIMIT, RADIX, &field, q, x, roots);
            for (row, x) in rows.iter_mut().zip(x) {
                store(&mut row[j], x);
            }
        }
    }

    /// The last six stages and the final reduction on consecutive innermost blocks; `node` is that of
    /// the first.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn forward_tail<const LIMIT: u64>(
        &self,
        a: &mut [Words],
        node: usize,
        end: Option<&Subtract<'_>>,
    ) {
        let (field, q) = (self.constants.field(), self.constants.modulus.value());
        let (blocks, _) = a.as_chunks_mut::<TAIL_VECTORS>();
        let first = node - (1 << (self.log_n - TAIL_STAGES));
        let tail = &self.tail[first..];
        let end = end.map(|end| (&end.minuend[first..], field.factor(end.factor)));
        for (i, block) in blocks.iter_mut().enumerate() {
            if let Some(ahead) = tail.get(i + AHEAD) {
                prefetch_tail(ahead);
            }
            let tail = &tail[i];
            let mut x = load_block(block);
            let mut roots = [field.factor(tail.rows[0]); 8];
            for h in 2..8 {
                roots[h] = field.factor(tail.rows[h - 1]);
            }
            forward_stages!(LIMIT, 8, &field, q, x, roots);
            x = transpose(x);
            for h in 1..8 {
                roots[h] = field.complete(load(&tail.columns[h - 1]));
            }
            forward_stages!(LIMIT, 8, &field, q, x, roots);
            x = transpose(x);
            if let Some((minuend, factor)) = end {
                for ((words, x), minuend) in block.iter_mut().zip(x).zip(&minuend[i]) {
                    let x = sub(
                        add(load(minuend), field.twice),
                        reduce_limit::<LIMIT>(&field, x),
                    );
                    store(words, field.mul(x, factor));
                }
            } else {
                for (words, x) in block.iter_mut().zip(x) {
                    store(words, field.reduce_twice(reduce_limit::<LIMIT>(&field, x)));
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse_tail<const LIMIT: u64, const LAST: bool, const COPY: bool>(
        &self,
        a: &mut [Words],
        node: usize,
        src: &[Block],
    ) {
        let (field, q) = (self.constants.field(), self.constants.modulus.value());
        let (blocks, _) = a.as_chunks_mut::<TAIL_VECTORS>();
        let reverse = load(&[7, 6, 5, 4, 3, 2, 1, 0]);
        let first = 1 << (self.log_n - TAIL_STAGES);
        let last = [
            field.factor(self.inverse_degree),
            field.factor(self.inverse_degree_root),
        ];
        for (i, block) in blocks.iter_mut().enumerate() {
            if let Some(ahead) = (mirror(node + i) - first).checked_sub(AHEAD) {
                prefetch_tail(&self.tail[ahead]);
            }
            let tail = &self.tail[mirror(node + i) - first];
            let mut x = transpose(load_block(if COPY {
                &src[node + i - first]
            } else {
                block
            }));
            let mut roots = [field.complete(permute(load(&tail.columns[0]), reverse)); 8];
            for h in 2..8 {
                roots[h] = field.complete(permute(load(&tail.columns[mirror(h) - 1]), reverse));
            }
            inverse_stages!(LIMIT, 8, false, &field, q, x, roots, last);
            x = transpose(x);
            for h in 1..8 {
                roots[h] = field.factor(tail.rows[mirror(h) - 1]);
            }
            inverse_stages!(LIMIT, 8, LAST, &field, q, x, roots, last);
            for (words, x) in block.iter_mut().zip(x) {
                store(words, x);
            }
        }
    }

    /// The negated inverses of the roots of the nodes of heap index `1..RADIX` below `node`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn mirrored_roots<const RADIX: usize>(&self, field: &Field, node: usize) -> [FactorV; RADIX] {
        let roots = self.roots::<RADIX>(field, mirror(node));
        let mut mirrored = roots;
        for (h, root) in mirrored.iter_mut().enumerate().skip(1) {
            *root = roots[mirror(h)];
        }
        mirrored
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse_pass<const LIMIT: u64, const RADIX: usize, const LAST: bool>(
        &self,
        a: &mut [Words],
        node: usize,
    ) {
        let (field, q) = (self.constants.field(), self.constants.modulus.value());
        let roots = self.mirrored_roots::<RADIX>(&field, node);
        let last = [
            field.factor(self.inverse_degree),
            field.factor(self.inverse_degree_root),
        ];
        let mut rows = rows::<RADIX>(a);
        for j in 0..rows[0].len() {
            let mut x = [zero(); RADIX];
            for (x, row) in x.iter_mut().zip(&rows) {
                *x = load(&row[j]);
            }
            inverse_stages!(LIMIT, RADIX, LAST, &field, q, x, roots, last);
            for (row, x) in rows.iter_mut().zip(x) {
                store(&mut row[j], x);
            }
        }
    }
}

/// The roots of an innermost block are asked for so many blocks ahead: they are as long as the limb, and
/// with many primes they come from beyond the caches.
const AHEAD: usize = 4;

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn prefetch_tail(tail: &TailRoots) {
    for column in &tail.columns {
        prefetch(&column[0]);
    }
    // Two cache lines.
    prefetch(&tail.rows[0].w);
    prefetch(&tail.rows[4].w);
}

/// Splits stages into passes of at most three.
fn split_stages(stages: u32) -> Vec<u32> {
    let passes = stages.div_ceil(3);
    (0..passes).map(|i| (stages + i) / passes).rev().collect()
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn load_block(block: &Block) -> [V; TAIL_VECTORS] {
    let mut x = [zero(); TAIL_VECTORS];
    for (x, words) in x.iter_mut().zip(block) {
        *x = load(words);
    }
    x
}

/// Cuts a block into `RADIX` rows of equal length.
#[inline]
fn rows<const RADIX: usize>(a: &mut [Words]) -> [&mut [Words]; RADIX] {
    let len = a.len() / RADIX;
    let mut rest = a;
    std::array::from_fn(|_| {
        let (row, tail) = std::mem::take(&mut rest).split_at_mut(len);
        rest = tail;
        row
    })
}

/// Largest number of rows of a pass.
const MAX_RADIX: usize = 8;

/// Bounds, in units of `q`, of the words of a backward pass when `stage` stages are still to come.
const fn inverse_bounds(limit: u64, radix: usize, stage: u32) -> [u64; MAX_RADIX] {
    let mut bounds = [2; MAX_RADIX];
    let mut done = radix.ilog2();
    while done > stage {
        done -= 1;
        let half = radix >> (done + 1);
        let mut i = 0;
        while i < radix / 2 {
            let j = i / half * half + i;
            let sum = bounds[j] + bounds[j + half];
            bounds[j] = if sum > limit { 4 } else { sum };
            bounds[j + half] = 2;
            i += 1;
        }
    }
    bounds
}

/// `[0, LIMIT q) -> [0, 2q)`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce_limit<const LIMIT: u64>(field: &Field, x: V) -> V {
    if LIMIT == 4 {
        subtract_if_reaches(x, field.twice)
    } else {
        field.reduce_factor_lazy(x)
    }
}

/// `[0, bound q) -> [0, 2q)`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn reduce_to_two(field: &Field, x: V, bound: u64) -> V {
    match bound {
        ..=2 => x,
        3..=4 => subtract_if_reaches(x, field.twice),
        _ => field.reduce_factor_lazy(x),
    }
}
