//! The negacyclic transform and its inverse, on floating-point numbers.
//!
//! The shape is that of the kernel for AVX-512: passes of two, four or eight rows in registers, depth first, and
//! the last five stages on 32 words in eight registers, two of them across transpositions. The first pass turns words
//! into numbers, and the last step of all turns numbers into words; in between the limb holds numbers.
//!
//! **Operations.** A butterfly of four words is six operations for the product and two for sum and difference. Four of
//! the eight are done by the two units that multiply, the others by the two that add: two cycles on a Zen 3.
//! Halves of 25 bits with integer products would take at least nine products and as many additions and shifts.
//!
//! **Ranges.** With `q <= 2^52 / LIMIT`, a factor of a product is at most `LIMIT q`, and its product is below
//! [`product_bound`]. A forward butterfly adds that bound to both words. They are reduced in the first stage of
//! a pass if it would become too large in the pass: for 50 bits in nearly every pass, for 48 bits in none. In a backward
//! butterfly bounds are doubled; they are tracked word by word, at compile time.
//!
//! **Tables.** The inverse of the root of node `m + i` of a level of `m` nodes is minus that of its mirror image
//! `m + (m - 1 - i)`, so both directions read the same tables: about as many bytes as a limb.

#![allow(
    clippy::needless_range_loop,
    reason = "loops run over places in a heap, with several arrays at each"
)]

use super::vector::*;
use crate::kernel::scalar::bit_reversed_powers;
use crate::modulus::Modulus;

/// Words of the innermost block, and the stages done on it in registers.
const TAIL_WORDS: usize = 32;
const TAIL_STAGES: u32 = 5;

/// Vectors of an innermost block.
const TAIL_VECTORS: usize = TAIL_WORDS / LANES;

type Block = [Words; TAIL_VECTORS];

/// What may follow a forward transform: `x` becomes `(minuend - x) factor`.
struct Subtract<'a> {
    minuend: &'a [Block],
    factor: Factor,
}

/// Roots of an innermost block, heap index `h` at place `h - 1`: of the nodes below its own, and, for each half of the
/// block, of the nodes below each of its groups of four words, lane `i` for the `i`-th, without their quotients.
#[derive(Debug)]
#[repr(align(64))]
struct TailRoots {
    columns: [[[f64; LANES]; 3]; 2],
    rows: [Factor; 7],
}

/// Stages on `2^stages` rows.
#[derive(Clone, Copy, Debug)]
struct Pass {
    stages: u32,
    /// Whether a forward pass brings half of the words below `q/2` in its first stage.
    reset: bool,
}

/// Bound, in units of `q`, of a product of a factor below `LIMIT q` with a constant one, and of one with a constant factor
/// whose quotient is not known: see [`super::vector`].
const fn product_bound(limit: f64, bound: f64, has_quotient: bool) -> f64 {
    0.5 + bound / (if has_quotient { 4.0 } else { 2.0 } * limit)
}

// The runs of stages are macros, not functions: they must be inlined wherever they are used, and
// `inline(always)` does not go with `target_feature`.

/// Cooley-Tukey on `RADIX` vectors; `$mul` multiplies by a root.
macro_rules! forward_stages {
    ($radix:expr, $reset:expr, $field:expr, $x:expr, $roots:expr, $mul:ident) => {
        forward_stages!(@stage $radix, $reset, $field, $x, $roots, $mul, 0);
        forward_stages!(@stage $radix, false, $field, $x, $roots, $mul, 1);
        forward_stages!(@stage $radix, false, $field, $x, $roots, $mul, 2);
    };
    (@stage $radix:expr, $reset:expr, $field:expr, $x:expr, $roots:expr, $mul:ident, $stage:literal) => {
        if (1 << $stage) < $radix {
            let half = ($radix >> $stage) / 2;
            for i in 0..$radix / 2 {
                let (group, j) = (i / half, i / half * half + i);
                if $reset {
                    $x[j] = $field.reduce($x[j]);
                }
                let product = $field.$mul($x[j + half], $roots[(1 << $stage) + group]);
                ($x[j], $x[j + half]) = (add($x[j], product), sub($x[j], product));
            }
        }
    };
}

/// Gentleman-Sande on `RADIX` vectors with negated inverse roots, from words in `[-q, q]` to the same; if `LAST`,
/// with the factors of sums and differences in the last stage, to `(-q, q)`.
macro_rules! inverse_stages {
    ($limit:expr, $radix:expr, $is_last:expr, $field:expr, $x:expr, $roots:expr, $mul:ident, $quotients:expr, $last:expr) => {
        inverse_stages!(@stage $limit, $radix, $is_last, $field, $x, $roots, $mul, $quotients, $last, 2);
        inverse_stages!(@stage $limit, $radix, $is_last, $field, $x, $roots, $mul, $quotients, $last, 1);
        inverse_stages!(@stage $limit, $radix, $is_last, $field, $x, $roots, $mul, $quotients, $last, 0);
        if !$is_last {
            let bounds = const { inverse_bounds($limit, $radix, $quotients, 0) };
            for j in 0..$radix {
                if bounds[j] > 1.0 {
                    $x[j] = $field.reduce($x[j]);
                }
            }
        }
    };
    (@stage $limit:expr, $radix:expr, $is_last:expr, $field:expr, $x:expr, $roots:expr, $mul:ident, $quotients:expr, $last:expr, $stage:literal) => {
        if (1 << $stage) < $radix {
            let bounds = const { inverse_bounds($limit, $radix, $quotients, $stage + 1) };
            let half = ($radix >> $stage) / 2;
            for i in 0..$radix / 2 {
                let (group, j) = (i / half, i / half * half + i);
                let k = j + half;
                if bounds[j] + bounds[k] > $limit as f64 {
                    $x[j] = $field.reduce($x[j]);
                    $x[k] = $field.reduce($x[k]);
                }
                let (sum, difference) = (add($x[j], $x[k]), sub($x[k], $x[j]));
                ($x[j], $x[k]) = if $is_last && $stage == 0 {
                    ($field.mul(sum, $last[0]), $field.mul(difference, $last[1]))
                } else {
                    (sum, $field.$mul(difference, $roots[(1 << $stage) + group]))
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
    /// Root of node `k` for `1 <= k < N/32`, outside the innermost blocks.
    nodes: Vec<Factor>,
    tail: Vec<TailRoots>,
    /// `1/N`, and that times the inverse root of node 1, negated.
    inverse_degree: Factor,
    inverse_degree_root: Factor,
    /// Passes before the innermost block.
    passes: Vec<Pass>,
    /// As [`Pass::reset`], for the innermost block.
    reset_tail: bool,
}

/// Node `k` reflected in its level.
fn mirror(k: usize) -> usize {
    3 * (1 << k.ilog2()) - 1 - k
}

/// The `LIMIT` of a modulus: `q <= 2^52 / LIMIT`.
fn limit(modulus: Modulus) -> u64 {
    match modulus.bits() {
        ..=48 => 16,
        49 => 8,
        _ => 4,
    }
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
        // The root of the node of heap index h below a node.
        let below = |node: usize, h: usize| {
            let level = 1 << h.ilog2();
            roots[node * level + h - level]
        };
        let tail = |block: usize| TailRoots {
            rows: std::array::from_fn(|h| constants.factor(below(n / TAIL_WORDS + block, h + 1))),
            columns: std::array::from_fn(|half| {
                std::array::from_fn(|h| {
                    std::array::from_fn(|lane| {
                        let group = block * TAIL_VECTORS + half * LANES + lane;
                        constants.factor(below(n / LANES + group, h + 1)).w
                    })
                })
            }),
        };
        let inverse_degree = modulus.inv(n as u64);
        let (passes, reset_tail) = plan_passes(limit(modulus) as f64, log_n - TAIL_STAGES);
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
            passes,
            reset_tail,
        }
    }

    /// Natural to bit-reversed order; words in `[0, q)`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn forward(&self, a: &mut [u64]) {
        self.forward_blocks::<true>(self.vectors(a), 1, &self.passes, None);
    }

    /// `a = (minuend - NTT(a)) s`; `a` and `minuend` in `[0, q)`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn forward_sub_mul(&self, a: &mut [u64], minuend: &[u64], s: u64) {
        assert_eq!(minuend.len(), a.len(), "length of a limb");
        let end = Subtract {
            minuend: minuend.as_chunks().0.as_chunks().0,
            factor: self.constants.factor(s),
        };
        self.forward_blocks::<true>(self.vectors(a), 1, &self.passes, Some(&end));
    }

    /// Bit-reversed to natural order; words in `[0, q)`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn inverse(&self, a: &mut [u64]) {
        self.inverse_from::<false>(a, &[]);
    }

    /// [`Self::inverse`] of `src`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn inverse_into(&self, out: &mut [u64], src: &[u64]) {
        assert_eq!(src.len(), out.len(), "length of a limb");
        self.inverse_from::<true>(out, src.as_chunks().0.as_chunks().0);
    }

    #[target_feature(enable = "avx2,fma")]
    fn inverse_from<const COPY: bool>(&self, a: &mut [u64], src: &[Block]) {
        let a = self.vectors(a);
        match limit(self.constants.modulus) {
            16 => self.inverse_blocks::<16, true, COPY>(a, 1, &self.passes, src),
            8 => self.inverse_blocks::<8, true, COPY>(a, 1, &self.passes, src),
            _ => self.inverse_blocks::<4, true, COPY>(a, 1, &self.passes, src),
        }
    }

    fn vectors<'a>(&self, a: &'a mut [u64]) -> &'a mut [Words] {
        assert_eq!(a.len(), 1 << self.log_n, "length of a limb");
        a.as_chunks_mut().0
    }

    /// `FIRST` for the whole limb: it holds words, not numbers.
    #[target_feature(enable = "avx2,fma")]
    fn forward_blocks<const FIRST: bool>(
        &self,
        a: &mut [Words],
        node: usize,
        passes: &[Pass],
        end: Option<&Subtract<'_>>,
    ) {
        let Some((&Pass { stages, reset }, rest)) = passes.split_first() else {
            self.forward_tails::<FIRST>(a, node, end);
            return;
        };
        match (stages, reset) {
            (1, false) => self.forward_pass::<FIRST, 2, false>(a, node),
            (1, true) => self.forward_pass::<FIRST, 2, true>(a, node),
            (2, false) => self.forward_pass::<FIRST, 4, false>(a, node),
            (2, true) => self.forward_pass::<FIRST, 4, true>(a, node),
            (_, false) => self.forward_pass::<FIRST, 8, false>(a, node),
            (_, true) => self.forward_pass::<FIRST, 8, true>(a, node),
        }
        if rest.is_empty() {
            self.forward_tails::<false>(a, node << stages, end);
            return;
        }
        let len = a.len() >> stages;
        for (i, block) in a.chunks_exact_mut(len).enumerate() {
            self.forward_blocks::<false>(block, (node << stages) + i, rest, end);
        }
    }

    /// `LAST` for the whole limb: its last stage brings the factor `1/N` and turns numbers into words. If `COPY`, the words
    /// come from `src`.
    #[target_feature(enable = "avx2,fma")]
    fn inverse_blocks<const LIMIT: u64, const LAST: bool, const COPY: bool>(
        &self,
        a: &mut [Words],
        node: usize,
        passes: &[Pass],
        src: &[Block],
    ) {
        let Some((&Pass { stages, .. }, rest)) = passes.split_first() else {
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
    #[target_feature(enable = "avx2,fma")]
    fn roots<const RADIX: usize>(&self, field: &Field, node: usize) -> [FactorV; RADIX] {
        let mut roots = [field.factor(self.nodes[node]); RADIX];
        for (h, root) in roots.iter_mut().enumerate().skip(2) {
            let level = 1 << h.ilog2();
            *root = field.factor(self.nodes[node * level + h - level]);
        }
        roots
    }

    /// Stages of `RADIX` rows, on a block that belongs to `node`.
    #[target_feature(enable = "avx2,fma")]
    fn forward_pass<const FIRST: bool, const RADIX: usize, const RESET: bool>(
        &self,
        a: &mut [Words],
        node: usize,
    ) {
        let field = self.constants.field();
        let roots = self.roots::<RADIX>(&field, node);
        let (len, mut rows) = rows::<RADIX>(a);
        for j in 0..len {
            let mut x = [zero(); RADIX];
            for (x, row) in x.iter_mut().zip(&rows) {
                *x = if FIRST {
                    load(&row[j])
                } else {
                    load_numbers(&row[j])
                };
            }
            forward_stages!(RADIX, RESET, &field, x, roots, mul);
            for (row, x) in rows.iter_mut().zip(x) {
                store_numbers(&mut row[j], x);
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn forward_tails<const FIRST: bool>(
        &self,
        a: &mut [Words],
        node: usize,
        end: Option<&Subtract<'_>>,
    ) {
        if self.reset_tail {
            self.forward_tail::<FIRST, true>(a, node, end);
        } else {
            self.forward_tail::<FIRST, false>(a, node, end);
        }
    }

    /// The last five stages and the final reduction on consecutive innermost blocks; `node` is that of the first.
    #[target_feature(enable = "avx2,fma")]
    fn forward_tail<const FIRST: bool, const RESET: bool>(
        &self,
        a: &mut [Words],
        node: usize,
        end: Option<&Subtract<'_>>,
    ) {
        let field = self.constants.field();
        let (blocks, _) = a.as_chunks_mut::<TAIL_VECTORS>();
        let first = node - (1 << (self.log_n - TAIL_STAGES));
        let tail = &self.tail[first..];
        let end = end.map(|end| (&end.minuend[first..], field.factor(end.factor)));
        for (i, block) in blocks.iter_mut().enumerate() {
            if let Some(ahead) = tail.get(i + AHEAD) {
                prefetch_tail(ahead);
            }
            let tail = &tail[i];
            let mut x = load_block::<FIRST>(block);
            let mut roots = [field.factor(tail.rows[0]); 8];
            for h in 2..8 {
                roots[h] = field.factor(tail.rows[h - 1]);
            }
            forward_stages!(8, RESET, &field, x, roots, mul);
            let (halves, _) = x.as_chunks_mut::<LANES>();
            for (x, columns) in halves.iter_mut().zip(&tail.columns) {
                let mut group = transpose(*x);
                let mut roots = [zero(); 4];
                for h in 1..4 {
                    roots[h] = load_constants(&columns[h - 1]);
                }
                forward_stages!(4, false, &field, group, roots, mul_any);
                *x = transpose(group);
            }
            if let Some((minuend, factor)) = end {
                for ((words, x), minuend) in block.iter_mut().zip(x).zip(&minuend[i]) {
                    let x = sub(load(minuend), field.reduce(x));
                    store(words, field.lift(field.mul(x, factor)));
                }
            } else {
                for (words, x) in block.iter_mut().zip(x) {
                    store(words, field.reduce_whole(x));
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn inverse_tail<const LIMIT: u64, const LAST: bool, const COPY: bool>(
        &self,
        a: &mut [Words],
        node: usize,
        src: &[Block],
    ) {
        let field = self.constants.field();
        let (blocks, _) = a.as_chunks_mut::<TAIL_VECTORS>();
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
            let mut x = load_block::<true>(if COPY { &src[node + i - first] } else { block });
            let (halves, _) = x.as_chunks_mut::<LANES>();
            for (x, columns) in halves.iter_mut().zip(tail.columns.iter().rev()) {
                let mut group = transpose(*x);
                let mut roots = [zero(); 4];
                for h in 1..4 {
                    roots[h] = reverse(load_constants(&columns[mirror(h) - 1]));
                }
                inverse_stages!(LIMIT, 4, false, &field, group, roots, mul_any, false, last);
                *x = transpose(group);
            }
            let mut roots = [field.factor(tail.rows[0]); 8];
            for h in 2..8 {
                roots[h] = field.factor(tail.rows[mirror(h) - 1]);
            }
            inverse_stages!(LIMIT, 8, LAST, &field, x, roots, mul, true, last);
            for (words, x) in block.iter_mut().zip(x) {
                store_end::<LAST>(&field, words, x);
            }
        }
    }

    /// The negated inverses of the roots of the nodes of heap index `1..RADIX` below `node`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn mirrored_roots<const RADIX: usize>(&self, field: &Field, node: usize) -> [FactorV; RADIX] {
        let roots = self.roots::<RADIX>(field, mirror(node));
        let mut mirrored = roots;
        for (h, root) in mirrored.iter_mut().enumerate().skip(1) {
            *root = roots[mirror(h)];
        }
        mirrored
    }

    #[target_feature(enable = "avx2,fma")]
    fn inverse_pass<const LIMIT: u64, const RADIX: usize, const LAST: bool>(
        &self,
        a: &mut [Words],
        node: usize,
    ) {
        let field = self.constants.field();
        let roots = self.mirrored_roots::<RADIX>(&field, node);
        let last = [
            field.factor(self.inverse_degree),
            field.factor(self.inverse_degree_root),
        ];
        let (len, mut rows) = rows::<RADIX>(a);
        for j in 0..len {
            let mut x = [zero(); RADIX];
            for (x, row) in x.iter_mut().zip(&rows) {
                *x = load_numbers(&row[j]);
            }
            inverse_stages!(LIMIT, RADIX, LAST, &field, x, roots, mul, true, last);
            for (row, x) in rows.iter_mut().zip(x) {
                store_end::<LAST>(&field, &mut row[j], x);
            }
        }
    }
}

/// The roots of an innermost block are asked for so many blocks ahead: they are longer than the block, and with many primes
/// they come from beyond the caches.
const AHEAD: usize = 6;

#[inline]
#[target_feature(enable = "avx2,fma")]
fn prefetch_tail(tail: &TailRoots) {
    // Five cache lines.
    for line in [0, 2] {
        prefetch(&tail.columns[0][line]);
    }
    prefetch(&tail.columns[1][1]);
    for line in [0, 4] {
        prefetch(&tail.rows[line]);
    }
}

/// Cuts stages into passes of at most three, and says which have to bring words below `q/2`, the innermost block last.
fn plan_passes(limit: f64, stages: u32) -> (Vec<Pass>, bool) {
    const TAIL: [bool; TAIL_STAGES as usize] = [true, true, true, false, false];
    let count = stages.div_ceil(3);
    let mut bound = 1.0;
    let passes = (0..count).rev().map(|i| {
        let stages = (stages + i) / count;
        let products = &[true; 3][..stages as usize];
        let careless = bound_after(limit, bound, bound, products).filter(|&end| end < limit);
        let careful = || bound_after(limit, bound, 0.5, products);
        bound = careless
            .or_else(careful)
            .expect("bounds after a reset are small");
        Pass {
            stages,
            reset: careless.is_none(),
        }
    });
    let passes = passes.collect();
    (passes, bound_after(limit, bound, bound, &TAIL).is_none())
}

/// Bound, in units of `q`, of words below `bound` after forward stages, each with or without known quotients; in the first
/// stage products are added to words below `added`. `None` if a word reaches the limit before it is multiplied.
fn bound_after(limit: f64, bound: f64, added: f64, stages: &[bool]) -> Option<f64> {
    let mut words = (bound, added);
    for &has_quotient in stages {
        if words.0 >= limit {
            return None;
        }
        let sum = words.1 + product_bound(limit, words.0, has_quotient);
        words = (sum, sum);
    }
    Some(words.0)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_block<const WORDS: bool>(block: &Block) -> [V; TAIL_VECTORS] {
    let mut x = [zero(); TAIL_VECTORS];
    for (x, words) in x.iter_mut().zip(block) {
        *x = if WORDS {
            load(words)
        } else {
            load_numbers(words)
        };
    }
    x
}

/// Writes numbers, those below `q` as words if `LAST`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn store_end<const LAST: bool>(field: &Field, words: &mut Words, x: V) {
    if LAST {
        store(words, field.lift(x));
    } else {
        store_numbers(words, x);
    }
}

/// Cuts a block into `RADIX` rows of equal length.
#[inline]
fn rows<const RADIX: usize>(a: &mut [Words]) -> (usize, [&mut [Words]; RADIX]) {
    let len = a.len() / RADIX;
    let mut rest = a;
    let rows = std::array::from_fn(|_| {
        let (row, tail) = std::mem::take(&mut rest).split_at_mut(len);
        rest = tail;
        row
    });
    (len, rows)
}

/// Largest number of rows of a pass.
const MAX_RADIX: usize = 8;

/// Bounds, in units of `q`, of the words of a backward pass when `stage` stages are still to come.
const fn inverse_bounds(
    limit: u64,
    radix: usize,
    has_quotient: bool,
    stage: u32,
) -> [f64; MAX_RADIX] {
    let mut bounds = [1.0; MAX_RADIX];
    let mut done = radix.ilog2();
    while done > stage {
        done -= 1;
        let half = radix >> (done + 1);
        let mut i = 0;
        while i < radix / 2 {
            let j = i / half * half + i;
            let mut sum = bounds[j] + bounds[j + half];
            if sum > limit as f64 {
                sum = 1.0;
            }
            bounds[j] = sum;
            bounds[j + half] = product_bound(limit as f64, sum, has_quotient);
            i += 1;
        }
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_below_the_limit_at_every_degree() {
        for limit in [4.0, 8.0, 16.0] {
            for stages in 0..=20 {
                let (passes, reset_tail) = plan_passes(limit, stages);
                assert_eq!(passes.iter().map(|pass| pass.stages).sum::<u32>(), stages);
                let mut bound = 1.0;
                for pass in &passes {
                    let added = if pass.reset { 0.5 } else { bound };
                    let products = vec![true; pass.stages as usize];
                    bound = bound_after(limit, bound, added, &products).unwrap();
                }
                let added = if reset_tail { 0.5 } else { bound };
                let tail = [true, true, true, false, false];
                let end = bound_after(limit, bound, added, &tail).unwrap();
                assert!(end < 2.0 * limit, "2^53 for {stages} stages");
            }
        }
        // Primes of 48 bits need no care at N = 2^16.
        let (passes, reset_tail) = plan_passes(16.0, 16 - TAIL_STAGES);
        assert!(!reset_tail && passes.iter().all(|pass| !pass.reset));
    }
}
