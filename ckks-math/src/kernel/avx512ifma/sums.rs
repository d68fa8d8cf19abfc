//! Sums of products: dot products, linear combinations and the matrix product. The low and high
//! halves of the products are added up separately and reduced once.

use super::vector::*;

/// Vectors that are worked on together, so that enough sums are under way to hide latencies.
const TILE: usize = 4;

/// Whether a sum of `terms` products of `x` below `2^x_bits` by residues, and three residues more, may
/// have a high half of more than 52 bits.
fn is_wide(c: &Constants, terms: usize, x_bits: u32) -> bool {
    let q = u128::from(c.modulus.value());
    ((terms as u128 * q) << x_bits) + ((3 * q) << RADIX_BITS) >= 1 << 104
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

/// Asks for the `J` vectors from word `at` on, if there are.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn prefetch_tile<const J: usize>(x: &[u64], at: usize) {
    if let Some(words) = x.get(at..at + J * LANES) {
        for j in 0..J {
            prefetch(&words[j * LANES]);
        }
    }
}

/// Asks for all cache lines of a slice.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn prefetch_words(words: &[u64]) {
    words.iter().step_by(LANES).for_each(|word| prefetch(word));
}

/// Low and high sums of `J` vectors.
type Sums<const J: usize> = ([V; J], [V; J]);

/// `out = sum a b`; all slices of one length.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn dot_into(c: &Constants, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
    for (a, b) in terms {
        assert!(
            a.len() == out.len() && b.len() == out.len(),
            "slices of different lengths"
        );
    }
    if is_wide(c, terms.len(), c.modulus.bits()) {
        dot::<true>(c, out, terms)
    } else {
        dot::<false>(c, out, terms)
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn dot<const WIDE: bool>(c: &Constants, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
    let f = c.field();
    let len = out.len();
    let mut at = 0;
    while at + TILE * LANES <= len {
        dot_tile::<WIDE, TILE>(&f, out, terms, at);
        at += TILE * LANES;
    }
    while at + LANES <= len {
        dot_tile::<WIDE, 1>(&f, out, terms, at);
        at += LANES;
    }
    if at < len {
        let (mut low, mut high) = (zero(), zero());
        for (a, b) in terms {
            let (a, b) = (load_part(&a[at..]), load_part(&b[at..]));
            (low, high) = (lo(low, a, b), hi(high, a, b));
        }
        store_part(&mut out[at..], f.reduce_pair::<WIDE>(low, high));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn dot_tile<const WIDE: bool, const J: usize>(
    f: &Field,
    out: &mut [u64],
    terms: &[(&[u64], &[u64])],
    at: usize,
) {
    let (mut low, mut high): Sums<J> = ([zero(); J], [zero(); J]);
    for (a, b) in terms {
        let (a, b) = (tile::<J>(a, at), tile::<J>(b, at));
        for j in 0..J {
            let (a, b) = (load(&a[j]), load(&b[j]));
            (low[j], high[j]) = (lo(low[j], a, b), hi(high[j], a, b));
        }
    }
    for (j, out) in tile_mut::<J>(out, at).iter_mut().enumerate() {
        store(out, f.reduce_pair::<WIDE>(low[j], high[j]));
    }
}

/// `out = sum_k w[k] xs[k]` or `out +=`; `xs` below `2^52`, `w` in Montgomery form.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn linear_combination_into(
    c: &Constants,
    out: &mut [u64],
    xs: &[&[u64]],
    w: &[u64],
    accumulate: bool,
) {
    assert_eq!(xs.len(), w.len(), "one weight for each vector");
    for x in xs {
        assert_eq!(x.len(), out.len(), "slices of different lengths");
    }
    if is_wide(c, xs.len(), RADIX_BITS) {
        combine::<true>(c, out, xs, w, accumulate);
    } else {
        combine::<false>(c, out, xs, w, accumulate);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn combine<const WIDE: bool>(
    c: &Constants,
    out: &mut [u64],
    xs: &[&[u64]],
    w: &[u64],
    accumulate: bool,
) {
    let f = c.field();
    let len = out.len();
    let mut at = 0;
    while at + TILE * LANES <= len {
        product_tile::<WIDE, 1, TILE>(&f, &mut [&mut *out], xs, [w], at, accumulate, false);
        at += TILE * LANES;
    }
    while at + LANES <= len {
        product_tile::<WIDE, 1, 1>(&f, &mut [&mut *out], xs, [w], at, accumulate, false);
        at += LANES;
    }
    if at < len {
        let out = &mut out[at..];
        let (mut low, mut high) = (
            zero(),
            if accumulate {
                add(f.q, load_part(out))
            } else {
                f.q
            },
        );
        for (x, &w) in xs.iter().zip(w) {
            let (x, w) = (load_part(&x[at..]), splat(w));
            (low, high) = (lo(low, x, w), hi(high, x, w));
        }
        store_part(out, f.reduce_montgomery::<WIDE>(low, high));
    }
}

/// `R` rows by `J` vectors of a product, from word `at` on: `w[r][k]` is the weight of `x[k]` in row
/// `r`. If `ahead`, asks for the words of `x` that come later.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn product_tile<const WIDE: bool, const R: usize, const J: usize>(
    f: &Field,
    out: &mut [&mut [u64]],
    x: &[&[u64]],
    w: [&[u64]; R],
    at: usize,
    accumulate: bool,
    ahead: bool,
) {
    // A sum starts from q, which Montgomery's reduction may take away; an old output has its place in
    // the high half.
    let mut low = [[zero(); J]; R];
    let mut high = [[f.q; J]; R];
    if accumulate {
        for r in 0..R {
            let old = tile::<J>(out[r], at);
            for j in 0..J {
                high[r][j] = add(f.q, load(&old[j]));
            }
        }
    }
    let w = w.map(|w| &w[..x.len()]);
    for (k, x) in x.iter().enumerate() {
        if ahead {
            prefetch_tile::<J>(x, at + AHEAD_VECTORS * LANES);
        }
        let words = tile::<J>(x, at);
        let mut x = [zero(); J];
        for j in 0..J {
            x[j] = load(&words[j]);
        }
        for r in 0..R {
            let w = splat(w[r][k]);
            for j in 0..J {
                low[r][j] = lo(low[r][j], x[j], w);
            }
            for j in 0..J {
                high[r][j] = hi(high[r][j], x[j], w);
            }
        }
    }
    for r in 0..R {
        let out = tile_mut::<J>(out[r], at);
        for j in 0..J {
            store(
                &mut out[j],
                f.reduce_montgomery::<WIDE>(low[r][j], high[r][j]),
            );
        }
    }
}

/// `out[r] = sum_c w[block][r][c] x[c]` or `out[r] +=` on every block; `w` in Montgomery form; blocks
/// of whole vectors.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn block_matmul(
    c: &Constants,
    out: &mut [&mut [u64]],
    x: &[&[u64]],
    w: &[u64],
    blocks: usize,
    accumulate: bool,
) {
    if is_wide(c, x.len(), c.modulus.bits()) {
        product::<true>(c, out, x, w, blocks, accumulate);
    } else {
        product::<false>(c, out, x, w, blocks, accumulate);
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn product<const WIDE: bool>(
    c: &Constants,
    out: &mut [&mut [u64]],
    x: &[&[u64]],
    w: &[u64],
    blocks: usize,
    accumulate: bool,
) {
    let f = c.field();
    let block_words = x[0].len() / blocks;
    for (block, w) in w.chunks_exact(out.len() * x.len()).enumerate() {
        let start = block * block_words;
        let mut at = start;
        while at + 2 * LANES <= start + block_words {
            product_rows::<WIDE, 2>(&f, out, x, w, at, accumulate);
            at += 2 * LANES;
        }
        if at < start + block_words {
            product_rows::<WIDE, 1>(&f, out, x, w, at, accumulate);
        }
    }
}

/// Vectors of `x` between the one asked for and the one worked on.
const AHEAD_VECTORS: usize = 4;

/// All rows of `J` vectors, four rows at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn product_rows<const WIDE: bool, const J: usize>(
    f: &Field,
    out: &mut [&mut [u64]],
    x: &[&[u64]],
    w: &[u64],
    at: usize,
    accumulate: bool,
) {
    for out in &*out {
        prefetch_tile::<J>(out, at + AHEAD_VECTORS * LANES);
    }
    let mut rows = w.chunks_exact(x.len());
    let mut row = || rows.next().expect("weights for every row");
    let mut ahead = true;
    for out in out.chunks_mut(4) {
        match out.len() {
            4 => product_tile::<WIDE, 4, J>(
                f,
                out,
                x,
                [row(), row(), row(), row()],
                at,
                accumulate,
                ahead,
            ),
            3 => {
                product_tile::<WIDE, 3, J>(f, out, x, [row(), row(), row()], at, accumulate, ahead)
            }
            2 => product_tile::<WIDE, 2, J>(f, out, x, [row(), row()], at, accumulate, ahead),
            _ => product_tile::<WIDE, 1, J>(f, out, x, [row()], at, accumulate, ahead),
        }
        ahead = false;
    }
}

/// `rounds` times twelve pairs of multiply-adds that do not wait for each other; the words of a round.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn multiply_add_pairs(rounds: u64) -> u64 {
    const PAIRS: usize = 12;
    let (mut low, mut high) = ([zero(); PAIRS], [zero(); PAIRS]);
    let (a, b) = (
        splat(std::hint::black_box(3)),
        splat(std::hint::black_box(5)),
    );
    for _ in 0..rounds {
        for i in 0..PAIRS {
            (low[i], high[i]) = (lo(low[i], a, b), hi(high[i], a, b));
        }
    }
    for i in 0..PAIRS {
        std::hint::black_box((low[i], high[i]));
    }
    (PAIRS * LANES) as u64
}
