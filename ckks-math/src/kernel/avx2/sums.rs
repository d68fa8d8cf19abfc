//! Sums of products: dot products, linear combinations and the matrix product. High and low parts of the products are
//! added up separately.
//!
//! A sum is `high + low`. `high` starts from a large power of two, so that the exact product `x w` may be split at
//! the last place of `high`: with `t = fma(x, w, high)` the rest is `fma(x, w, high - t)`, exact, and goes to `low`. A
//! term costs four operations on four words, half of them in the units that multiply: a cycle on a Zen 3. Integer
//! products of halves of 25 bits need four products and four additions.
//!
//! After [`Capacity::terms`] terms both parts are reduced ([`Sum::fold`]), because sums of integers are exact below `2^53` only.

use super::vector::*;

/// Vectors that are worked on together, so that enough sums are under way to hide latencies.
const TILE: usize = 4;

/// How many products a sum takes before it has to be reduced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    terms: usize,
    /// What the high part starts from.
    start: f64,
}

impl Capacity {
    /// Products of a sum.
    #[cfg(test)]
    pub(super) fn terms(self) -> usize {
        self.terms
    }

    /// What the high part starts from.
    #[cfg(test)]
    pub(super) fn start(self) -> f64 {
        self.start
    }

    /// For products of words below `2^bits`, at most `2^52`, with residues.
    ///
    /// Let `m = (2^bits - 1) (q - 1)` be the largest product. The high part starts from `2^e >= 2^bits q / 2`.
    /// - A new high part is off the exact sum by at most half of its last place.
    /// - So is the rest of the term. All rests, and at most `q` that was in the low part before, have to stay below `2^53`.
    /// - The difference of two high parts is a multiple of the old one's last place, which is `2^(e - 52)` or more, and at
    ///   most `m + 2^(e - 52) < 2^(e + 1)`. So it is exact.
    /// - What is left of the high part by [`Field::reduce_long`], and the low part, reduced, have to stay below `2^53`.
    pub(super) fn new(c: &Constants, bits: u32) -> Self {
        const EXACT: u128 = 1 << 53;
        let q = u128::from(c.modulus.value());
        let largest = ((1 << bits) - 1) * (q - 1);
        let capacity = |e: u32| {
            let start = 1u128 << e;
            let (mut high, mut low, mut terms) = (start, q, 0);
            while terms < super::super::MAX_SUM_TERMS {
                high += largest;
                let length = u128::BITS - high.leading_zeros();
                let half_place = if length > 53 { 1 << (length - 54) } else { 0 };
                high += half_place;
                low += half_place;
                let left = (3 + (high - start) / q / (EXACT / 2)) * q;
                if low > EXACT || left > EXACT {
                    break;
                }
                terms += 1;
            }
            let start = start as f64;
            Self { terms, start }
        };
        let least = u128::BITS - ((q << bits) - 1).leading_zeros() - 1;
        (least..least + 8)
            .map(capacity)
            .max_by_key(|capacity| capacity.terms)
            .expect("eight capacities")
    }
}

/// The two parts of the sums of four words.
#[derive(Clone, Copy)]
struct Sum {
    high: V,
    low: V,
}

impl Sum {
    /// `low`, an integer in `[0, q)`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(start: V, low: V) -> Self {
        Self { high: start, low }
    }

    /// Adds `x w`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add(&mut self, x: V, w: V) {
        let high = mul_add(x, w, self.high);
        self.low = add(self.low, mul_add(x, w, sub(self.high, high)));
        self.high = high;
    }

    /// Brings the sum into the low part, `|low| <= (q + 1)/2`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn fold(&mut self, f: &Field, start: V) {
        let high = f.reduce_long(sub(self.high, start));
        self.low = f.reduce(add(high, f.reduce(self.low)));
        self.high = start;
    }

    /// The sum modulo `q` in `[0, q)`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn finish(mut self, f: &Field, start: V) -> V {
        self.fold(f, start);
        f.lift(self.low)
    }
}

/// The `J` vectors from word `at` on.
#[inline]
fn tile<const J: usize>(x: &[u64], at: usize) -> &[Words; J] {
    let (vectors, _) = x[at..at + J * LANES].as_chunks();
    vectors.try_into().expect("a tile of J vectors")
}

/// The `J` vectors from word `at` on.
#[inline]
fn tile_mut<const J: usize>(x: &mut [u64], at: usize) -> &mut [Words; J] {
    let (vectors, _) = x[at..at + J * LANES].as_chunks_mut();
    vectors.try_into().expect("a tile of J vectors")
}

/// Words of a cache line.
const LINE: usize = 8;

/// Asks for all cache lines of a slice.
#[target_feature(enable = "avx2,fma")]
pub(super) fn prefetch_words(words: &[u64]) {
    words.iter().step_by(LINE).for_each(|word| prefetch(word));
}

/// `out = sum a b`; all slices of one length.
#[target_feature(enable = "avx2,fma")]
pub(super) fn dot_into(
    c: &Constants,
    out: &mut [u64],
    terms: &[(&[u64], &[u64])],
    capacity: Capacity,
) {
    for (a, b) in terms {
        assert!(
            a.len() == out.len() && b.len() == out.len(),
            "slices of different lengths"
        );
    }
    let f = c.field();
    let len = out.len();
    let mut at = 0;
    while at + TILE * LANES <= len {
        dot_tile::<TILE>(&f, tile_mut(out, at), terms, at, capacity);
        at += TILE * LANES;
    }
    while at + LANES <= len {
        dot_tile::<1>(&f, tile_mut(out, at), terms, at, capacity);
        at += LANES;
    }
    if at < len {
        let start = splat(capacity.start);
        let mut sum = Sum::new(start, zero());
        for terms in terms.chunks(capacity.terms) {
            for (a, b) in terms {
                sum.add(load_part(&a[at..]), load_part(&b[at..]));
            }
            sum.fold(&f, start);
        }
        store_part(&mut out[at..], sum.finish(&f, start));
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_tile<const J: usize>(
    f: &Field,
    out: &mut [Words; J],
    terms: &[(&[u64], &[u64])],
    at: usize,
    capacity: Capacity,
) {
    let start = splat(capacity.start);
    let mut sums = [Sum::new(start, zero()); J];
    for (i, terms) in terms.chunks(capacity.terms).enumerate() {
        if i > 0 {
            for sum in &mut sums {
                sum.fold(f, start);
            }
        }
        for (a, b) in terms {
            let (a, b) = (tile::<J>(a, at), tile::<J>(b, at));
            for j in 0..J {
                sums[j].add(load(&a[j]), load(&b[j]));
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        store(out, sum.finish(f, start));
    }
}

/// `out = sum_k w[k] xs[k]` or `out +=`; `xs` in the range of the capacity, `w` numbers.
#[target_feature(enable = "avx2,fma")]
pub(super) fn linear_combination_into(
    c: &Constants,
    out: &mut [u64],
    xs: &[&[u64]],
    w: &[u64],
    accumulate: bool,
    capacity: Capacity,
) {
    assert_eq!(xs.len(), w.len(), "one weight for each vector");
    for x in xs {
        assert_eq!(x.len(), out.len(), "slices of different lengths");
    }
    let f = c.field();
    let len = out.len();
    let mut at = 0;
    while at + TILE * LANES <= len {
        product_tile::<1, TILE>(&f, &mut [&mut *out], xs, [w], at, accumulate, capacity);
        at += TILE * LANES;
    }
    while at + LANES <= len {
        product_tile::<1, 1>(&f, &mut [&mut *out], xs, [w], at, accumulate, capacity);
        at += LANES;
    }
    if at < len {
        let out = &mut out[at..];
        let start = splat(capacity.start);
        let old = if accumulate { load_part(out) } else { zero() };
        let mut sum = Sum::new(start, old);
        for (xs, w) in xs.chunks(capacity.terms).zip(w.chunks(capacity.terms)) {
            for (x, &w) in xs.iter().zip(w) {
                sum.add(load_part(&x[at..]), splat(f64::from_bits(w)));
            }
            sum.fold(&f, start);
        }
        store_part(out, sum.finish(&f, start));
    }
}

/// `R` rows by `J` vectors of a product, from word `at` of `x` on: `w[r][k]` is the weight of `x[k]` in row `r`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn product_tile<const R: usize, const J: usize>(
    f: &Field,
    out: &mut [&mut [u64]],
    x: &[&[u64]],
    w: [&[u64]; R],
    at: usize,
    accumulate: bool,
    capacity: Capacity,
) {
    let start = splat(capacity.start);
    let mut sums = [[Sum::new(start, zero()); J]; R];
    if accumulate {
        for r in 0..R {
            let old = tile::<J>(out[r], at);
            for j in 0..J {
                sums[r][j].low = load(&old[j]);
            }
        }
    }
    let w = w.map(|w| &w[..x.len()]);
    let mut from = 0;
    while from < x.len() {
        if from > 0 {
            for sum in sums.as_flattened_mut() {
                sum.fold(f, start);
            }
        }
        let to = x.len().min(from + capacity.terms);
        for k in from..to {
            let words = tile::<J>(x[k], at);
            let mut x = [zero(); J];
            for j in 0..J {
                x[j] = load(&words[j]);
            }
            for r in 0..R {
                let w = splat(f64::from_bits(w[r][k]));
                for j in 0..J {
                    sums[r][j].add(x[j], w);
                }
            }
        }
        from = to;
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in tile_mut::<J>(out, at).iter_mut().zip(sums) {
            store(out, sum.finish(f, start));
        }
    }
}

/// `out[r] = sum_c w[block][r][c] x[c]` or `out[r] +=` on every block; `w` numbers; blocks of whole vectors.
#[target_feature(enable = "avx2,fma")]
pub(super) fn block_matmul(
    c: &Constants,
    out: &mut [&mut [u64]],
    x: &[&[u64]],
    w: &[u64],
    blocks: usize,
    accumulate: bool,
    capacity: Capacity,
) {
    let f = c.field();
    let block_words = x[0].len() / blocks;
    for (block, w) in w.chunks_exact(out.len() * x.len()).enumerate() {
        let mut at = block * block_words;
        let end = at + block_words;
        while at < end {
            let to = end.min(at + LINE);
            product_rows(&f, out, x, w, at..to, accumulate, capacity);
            at = to;
        }
    }
}

/// Cache lines of `x` between the one asked for and the one worked on.
const AHEAD_LINES: usize = 4;

/// All rows of at most a cache line of words, four rows at a time.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn product_rows(
    f: &Field,
    out: &mut [&mut [u64]],
    x: &[&[u64]],
    w: &[u64],
    words: std::ops::Range<usize>,
    accumulate: bool,
    capacity: Capacity,
) {
    let ahead = words.start + AHEAD_LINES * LINE;
    for x in x {
        x.get(ahead).into_iter().for_each(|word| prefetch(word));
    }
    for out in &*out {
        out.get(ahead).into_iter().for_each(|word| prefetch(word));
    }
    for (out, w) in out.chunks_mut(4).zip(w.chunks(4 * x.len())) {
        let row = |r: usize| &w[r * x.len()..(r + 1) * x.len()];
        for at in words.clone().step_by(LANES) {
            match out.len() {
                4 => {
                    let w = [row(0), row(1), row(2), row(3)];
                    product_tile::<4, 1>(f, out, x, w, at, accumulate, capacity);
                }
                3 => {
                    let w = [row(0), row(1), row(2)];
                    product_tile::<3, 1>(f, out, x, w, at, accumulate, capacity);
                }
                2 => {
                    product_tile::<2, 1>(f, out, x, [row(0), row(1)], at, accumulate, capacity);
                }
                _ => product_tile::<1, 1>(f, out, x, [row(0)], at, accumulate, capacity),
            }
        }
    }
}
