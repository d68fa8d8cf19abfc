//! Word-by-word operations.

use super::vector::*;
use crate::modulus::Modulus;

/// Applies `f` to the words of `outs` (old contents) and `inputs`, eight at a time; what is left over
/// at the end goes through buffers.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn map<const O: usize, const K: usize>(
    mut outs: [&mut [u64]; O],
    inputs: [&[u64]; K],
    f: impl Fn([V; O], [V; K]) -> [V; O],
) {
    let len = outs[0].len();
    for out in &outs {
        assert_eq!(out.len(), len, "slices of different lengths");
    }
    for input in &inputs {
        assert_eq!(input.len(), len, "slices of different lengths");
    }
    let whole = len / LANES;
    let mut out_vectors: [&mut [Words]; O] = outs
        .each_mut()
        .map(|out| &mut out.as_chunks_mut().0[..whole]);
    let input_vectors: [&[Words]; K] = inputs.map(|input| &input.as_chunks().0[..whole]);
    for j in 0..whole {
        let mut old = [zero(); O];
        let mut x = [zero(); K];
        for (old, out) in old.iter_mut().zip(&out_vectors) {
            *old = load(&out[j]);
        }
        for (x, input) in x.iter_mut().zip(&input_vectors) {
            *x = load(&input[j]);
        }
        for (out, new) in out_vectors.iter_mut().zip(f(old, x)) {
            store(&mut out[j], new);
        }
    }
    let rest = len % LANES;
    if rest > 0 {
        let mut old = [zero(); O];
        let mut x = [zero(); K];
        for (old, out) in old.iter_mut().zip(&outs) {
            *old = load_part(&out[len - rest..]);
        }
        for (x, input) in x.iter_mut().zip(&inputs) {
            *x = load_part(&input[len - rest..]);
        }
        for (out, new) in outs.iter_mut().zip(f(old, x)) {
            store_part(&mut out[len - rest..], new);
        }
    }
}

/// `a += b`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn add_assign(c: &Constants, a: &mut [u64], b: &[u64]) {
    let f = c.field();
    map([a], [b], |[a], [b]| [f.add(a, b)]);
}

/// `a -= b`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn sub_assign(c: &Constants, a: &mut [u64], b: &[u64]) {
    let f = c.field();
    map([a], [b], |[a], [b]| [f.sub(a, b)]);
}

/// `a = -a`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn neg_assign(c: &Constants, a: &mut [u64]) {
    let f = c.field();
    map([a], [], |[a], []| [f.sub(zero(), a)]);
}

/// `out = a b`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul_into(c: &Constants, out: &mut [u64], a: &[u64], b: &[u64]) {
    let f = c.field();
    map([out], [a, b], |_, [a, b]| {
        [f.reduce_pair::<false>(lo(zero(), a, b), hi(zero(), a, b))]
    });
}

/// `a *= b`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul_assign(c: &Constants, a: &mut [u64], b: &[u64]) {
    let f = c.field();
    map([a], [b], |[a], [b]| {
        [f.reduce_pair::<false>(lo(zero(), a, b), hi(zero(), a, b))]
    });
}

/// `acc += a b`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul_add_assign(c: &Constants, acc: &mut [u64], a: &[u64], b: &[u64]) {
    let f = c.field();
    map([acc], [a, b], |[acc], [a, b]| {
        [f.reduce_pair::<false>(lo(acc, a, b), hi(zero(), a, b))]
    });
}

/// `a *= s`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul_scalar_assign(c: &Constants, a: &mut [u64], s: u64) {
    let f = c.field();
    let s = f.factor(c.factor(s));
    map([a], [], |[a], []| [f.mul(a, s)]);
}

/// `out = a s`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul_scalar_into(c: &Constants, out: &mut [u64], a: &[u64], s: u64) {
    let f = c.field();
    let s = f.factor(c.factor(s));
    map([out], [a], |_, [a]| [f.mul(a, s)]);
}

/// `acc += a s`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn mul_scalar_add_assign(c: &Constants, acc: &mut [u64], a: &[u64], s: u64) {
    let f = c.field();
    let s = f.factor(c.factor(s));
    map([acc], [a], |[acc], [a]| {
        [f.reduce_four(add(acc, f.mul_lazy(a, s)))]
    });
}

/// `a += s`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn add_scalar_assign(c: &Constants, a: &mut [u64], s: u64) {
    let f = c.field();
    let s = splat(s);
    map([a], [], |[a], []| [f.add(a, s)]);
}

/// `z0^2`, `2 z0 z1`, `z1^2`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn square_real_into(c: &Constants, d: [&mut [u64]; 3], z: [&[u64]; 2]) {
    let f = c.field();
    let product = |a: V, b: V| f.reduce_pair::<false>(lo(zero(), a, b), hi(zero(), a, b));
    map(d, z, |_, [a, b]| {
        [product(a, a), product(add(a, a), b), product(b, b)]
    });
}

/// `a b + c d`, the sum of the products below `2^104`.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn two_products(f: &Field, a: V, b: V, c: V, d: V) -> V {
    f.reduce_pair::<false>(lo(lo(zero(), a, b), c, d), hi(hi(zero(), a, b), c, d))
}

/// The tensor square of `z + y` less `i` times that of `z - y`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn square_complex_into(
    c: &Constants,
    d: [&mut [u64]; 3],
    [z0, z1]: [&[u64]; 2],
    [y0, y1]: [&[u64]; 2],
    i: u64,
) {
    let f = c.field();
    let minus_i = f.factor(c.factor(c.modulus.neg(i)));
    map(d, [z0, z1, y0, y1], |_, [z0, z1, y0, y1]| {
        // All below 2q; the products below 8 q^2 and their sums below 16 q^2 <= 2^104.
        let (u0, u1) = (add(z0, y0), add(z1, y1));
        let (v0, v1) = (add(sub(z0, y0), f.q), add(sub(z1, y1), f.q));
        let (w0, w1) = (f.mul_lazy(v0, minus_i), f.mul_lazy(v1, minus_i));
        [
            two_products(&f, u0, u0, w0, v0),
            two_products(&f, add(u0, u0), u1, add(w0, w0), v1),
            two_products(&f, u1, u1, w1, v1),
        ]
    });
}

/// `a0 b0`, `a0 b1 + a1 b0`, `a1 b1`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn tensor_into(
    c: &Constants,
    d: [&mut [u64]; 3],
    [a0, a1]: [&[u64]; 2],
    [b0, b1]: [&[u64]; 2],
) {
    let f = c.field();
    let product = |a: V, b: V| f.reduce_pair::<false>(lo(zero(), a, b), hi(zero(), a, b));
    map(d, [a0, a1, b0, b1], |_, [a0, a1, b0, b1]| {
        [
            product(a0, b0),
            two_products(&f, a0, b1, a1, b0),
            product(a1, b1),
        ]
    });
}

/// Residues of signed words.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn reduce_signed_into(c: &Constants, out: &mut [u64], a: &[i64]) {
    let f = c.field();
    assert_eq!(out.len(), a.len(), "slices of different lengths");
    let ((out, out_rest), (a, a_rest)) = (out.as_chunks_mut::<LANES>(), a.as_chunks::<LANES>());
    for (out, a) in out.iter_mut().zip(a) {
        store(out, f.reduce_signed(load_signed(a)));
    }
    for (out, &a) in out_rest.iter_mut().zip(a_rest) {
        *out = c.modulus.from_i64(a);
    }
}

/// Residues of the centred representatives of residues of `from`, which has at most 52 bits.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn change_modulus_centered_into(
    c: &Constants,
    out: &mut [u64],
    a: &[u64],
    from: Modulus,
) {
    let f = c.field();
    let half = splat(from.value() / 2);
    // -from mod q, to be added where the representative is negative.
    let shift = splat(c.modulus.neg(c.modulus.reduce(from.value())));
    map([out], [a], |_, [a]| {
        let r = f.reduce_factor_lazy(a);
        [f.reduce_four(select_above(a, half, add(r, shift), r))]
    });
}

/// `y = x s`, `fraction += y / q`.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn digit_into(
    c: &Constants,
    y: &mut [u64],
    fraction: &mut [u64],
    x: &[u64],
    s: u64,
    mu: u64,
) {
    let f = c.field();
    let (s, mu, shift) = (
        f.factor(c.factor(s)),
        splat(mu),
        RADIX_BITS - c.modulus.bits(),
    );
    map([y, fraction], [x], |[_, fraction], [x]| {
        let y = f.mul(x, s);
        [y, hi(fraction, shift_left(y, shift), mu)]
    });
}

/// Permutes words in groups of eight.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn permute_groups(out: &mut [Words], src: &[Words], table: &[u32], orders: &[Words; 8]) {
    assert_eq!(out.len(), table.len(), "slices of different lengths");
    for (out, &entry) in out.iter_mut().zip(table) {
        let (group, order) = (entry as usize / LANES, entry as usize % LANES);
        store(out, permute(load(&src[group]), load(&orders[order])));
    }
}
