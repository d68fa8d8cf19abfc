//! Word-by-word operations.

use super::vector::*;
use crate::modulus::Modulus;

/// Applies `f` to the words of `outs` (old contents) and `inputs`, below `2^52`, four at a time; what is left over at the end
/// goes through buffers.
///
/// `OLD` says whether `f` looks at old contents; without, they may be any words.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn map<const OLD: bool, const O: usize, const K: usize>(
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
        if OLD {
            for (old, out) in old.iter_mut().zip(&out_vectors) {
                *old = load(&out[j]);
            }
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
        if OLD {
            for (old, out) in old.iter_mut().zip(&outs) {
                *old = load_part(&out[len - rest..]);
            }
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
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_assign(c: &Constants, a: &mut [u64], b: &[u64]) {
    let f = c.field();
    map::<true, 1, 1>([a], [b], |[a], [b]| [f.lift(sub(add(a, b), f.q))]);
}

/// `a -= b`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn sub_assign(c: &Constants, a: &mut [u64], b: &[u64]) {
    let f = c.field();
    map::<true, 1, 1>([a], [b], |[a], [b]| [f.lift(sub(a, b))]);
}

/// `a = -a`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn neg_assign(c: &Constants, a: &mut [u64]) {
    let f = c.field();
    map::<true, 1, 0>([a], [], |[a], []| [f.lift(sub(zero(), a))]);
}

/// `out = a b`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_into(c: &Constants, out: &mut [u64], a: &[u64], b: &[u64]) {
    let f = c.field();
    map::<false, 1, 2>([out], [a, b], |_, [a, b]| [f.lift(f.mul_any(a, b))]);
}

/// `a *= b`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_assign(c: &Constants, a: &mut [u64], b: &[u64]) {
    let f = c.field();
    map::<true, 1, 1>([a], [b], |[a], [b]| [f.lift(f.mul_any(a, b))]);
}

/// `acc += a b`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_add_assign(c: &Constants, acc: &mut [u64], a: &[u64], b: &[u64]) {
    let f = c.field();
    map::<true, 1, 2>([acc], [a, b], |[acc], [a, b]| {
        [f.reduce_whole(add(acc, f.mul_any(a, b)))]
    });
}

/// `a *= s`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_scalar_assign(c: &Constants, a: &mut [u64], s: u64) {
    let f = c.field();
    let s = f.factor(c.factor(s));
    map::<true, 1, 0>([a], [], |[a], []| [f.lift(f.mul(a, s))]);
}

/// `out = a s`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_scalar_into(c: &Constants, out: &mut [u64], a: &[u64], s: u64) {
    let f = c.field();
    let s = f.factor(c.factor(s));
    map::<false, 1, 1>([out], [a], |_, [a]| [f.lift(f.mul(a, s))]);
}

/// `acc += a s`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn mul_scalar_add_assign(c: &Constants, acc: &mut [u64], a: &[u64], s: u64) {
    let f = c.field();
    let s = f.factor(c.factor(s));
    map::<true, 1, 1>([acc], [a], |[acc], [a]| {
        [f.reduce_whole(add(acc, f.mul(a, s)))]
    });
}

/// `a += s`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_scalar_assign(c: &Constants, a: &mut [u64], s: u64) {
    let f = c.field();
    let less = splat(s as f64 - c.q);
    map::<true, 1, 0>([a], [], |[a], []| [f.lift(add(a, less))]);
}

/// `z0^2`, `2 z0 z1`, `z1^2`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn square_real_into(c: &Constants, d: [&mut [u64]; 3], z: [&[u64]; 2]) {
    let f = c.field();
    map::<false, 3, 2>(d, z, |_, [a, b]| {
        [
            f.lift(f.mul_any(a, a)),
            f.lift(f.mul_any(add(a, a), b)),
            f.lift(f.mul_any(b, b)),
        ]
    });
}

/// The tensor square of `z + y` less `i` times that of `z - y`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn square_complex_into(
    c: &Constants,
    d: [&mut [u64]; 3],
    [z0, z1]: [&[u64]; 2],
    [y0, y1]: [&[u64]; 2],
    i: u64,
) {
    let f = c.field();
    let minus_i = f.factor(c.factor(c.modulus.neg(i)));
    map::<false, 3, 4>(d, [z0, z1, y0, y1], |_, [z0, z1, y0, y1]| {
        // `u` is below q/2, `v` and `w` below q: no product is above 2 q^2 < 2^51 q.
        let (u0, u1) = (f.reduce(add(z0, y0)), f.reduce(add(z1, y1)));
        let (v0, v1) = (sub(z0, y0), sub(z1, y1));
        let (w0, w1) = (f.mul(v0, minus_i), f.mul(v1, minus_i));
        let sum = |a, b, c, d| f.reduce_whole(add(f.mul_any(a, b), f.mul_any(c, d)));
        [
            sum(u0, u0, w0, v0),
            sum(add(u0, u0), u1, add(w0, w0), v1),
            sum(u1, u1, w1, v1),
        ]
    });
}

/// `a0 b0`, `a0 b1 + a1 b0`, `a1 b1`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn tensor_into(
    c: &Constants,
    d: [&mut [u64]; 3],
    [a0, a1]: [&[u64]; 2],
    [b0, b1]: [&[u64]; 2],
) {
    let f = c.field();
    map::<false, 3, 4>(d, [a0, a1, b0, b1], |_, [a0, a1, b0, b1]| {
        [
            f.lift(f.mul_any(a0, b0)),
            f.reduce_whole(add(f.mul_any(a0, b1), f.mul_any(a1, b0))),
            f.lift(f.mul_any(a1, b1)),
        ]
    });
}

/// Residues of signed words.
#[target_feature(enable = "avx2,fma")]
pub(super) fn reduce_signed_into(c: &Constants, out: &mut [u64], a: &[i64]) {
    let f = c.field();
    assert_eq!(out.len(), a.len(), "slices of different lengths");
    let ((out, out_rest), (a, a_rest)) = (out.as_chunks_mut::<LANES>(), a.as_chunks::<LANES>());
    for (out, a) in out.iter_mut().zip(a) {
        let (high, low) = load_signed(a);
        store(out, f.reduce_parts(high, low));
    }
    for (out, &a) in out_rest.iter_mut().zip(a_rest) {
        *out = c.modulus.from_i64(a);
    }
}

/// Residues of the centred representatives of residues of `from`, which has at most 52 bits.
#[target_feature(enable = "avx2,fma")]
pub(super) fn change_modulus_centered_into(
    c: &Constants,
    out: &mut [u64],
    a: &[u64],
    from: Modulus,
) {
    let f = c.field();
    let (from, half) = (splat(from.value() as f64), splat((from.value() / 2) as f64));
    map::<false, 1, 1>([out], [a], |_, [a]| {
        [f.reduce_whole(sub(a, where_less(half, a, from)))]
    });
}

/// `y = x s`, `fraction += y / q` in units of `2^-51`, rounded down as the portable kernel does.
#[target_feature(enable = "avx2,fma")]
pub(super) fn digit_into(
    c: &Constants,
    y: &mut [u64],
    fraction: &mut [u64],
    x: &[u64],
    s: u64,
    mu: u64,
) {
    let f = c.field();
    let s = f.factor(c.factor(s));
    // `mu / 2^bits`, exact; `y` times that is below 2^51.
    let ratio = splat(mu as f64 / (1u64 << c.modulus.bits()) as f64);
    let one = splat(1.0);
    let digit = |x: V| {
        let y = f.lift(f.mul(x, s));
        // The floor of h + l, where l is at most half of the last place of h: that of h, or one less.
        let h = mul(y, ratio);
        let l = mul_sub(y, ratio, h);
        let whole = floor(h);
        let below = where_less(add(sub(h, whole), l), zero(), one);
        (y, sub(whole, below))
    };
    assert!(
        y.len() == x.len() && fraction.len() == x.len(),
        "slices of different lengths"
    );
    let (x, x_rest) = x.as_chunks();
    let (y, y_rest) = y.as_chunks_mut();
    let (fraction, fraction_rest) = fraction.as_chunks_mut();
    for ((y, fraction), x) in y.iter_mut().zip(fraction).zip(x) {
        let (digit, part) = digit(load(x));
        store(y, digit);
        add_to(fraction, part);
    }
    if !x_rest.is_empty() {
        let (digit, part) = digit(load_part(x_rest));
        store_part(y_rest, digit);
        let mut sum = [0; LANES];
        sum[..x_rest.len()].copy_from_slice(fraction_rest);
        add_to(&mut sum, part);
        fraction_rest.copy_from_slice(&sum[..x_rest.len()]);
    }
}
