//! The portable operations on slices of words. Conventions as in [`LimbOps`](crate::LimbOps).

use crate::modulus::Modulus;

/// Panics unless all lengths are equal.
macro_rules! same_length {
    ($a:expr, $($b:expr),+) => {
        $(assert_eq!($a.len(), $b.len(), "slices of different lengths");)+
    };
}

/// `a += b`.
pub fn add_assign(q: Modulus, a: &mut [u64], b: &[u64]) {
    same_length!(a, b);
    a.iter_mut().zip(b).for_each(|(a, &b)| *a = q.add(*a, b));
}

/// `a -= b`.
pub fn sub_assign(q: Modulus, a: &mut [u64], b: &[u64]) {
    same_length!(a, b);
    a.iter_mut().zip(b).for_each(|(a, &b)| *a = q.sub(*a, b));
}

/// `a = -a`.
pub fn neg_assign(q: Modulus, a: &mut [u64]) {
    a.iter_mut().for_each(|a| *a = q.neg(*a));
}

/// `a *= b`.
pub fn mul_assign(q: Modulus, a: &mut [u64], b: &[u64]) {
    same_length!(a, b);
    a.iter_mut().zip(b).for_each(|(a, &b)| *a = q.mul(*a, b));
}

/// `out = a b`.
pub fn mul_into(q: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
    same_length!(out, a, b);
    out.iter_mut()
        .zip(a)
        .zip(b)
        .for_each(|((out, &a), &b)| *out = q.mul(a, b));
}

/// `acc += a b`.
pub fn mul_add_assign(q: Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    same_length!(acc, a, b);
    acc.iter_mut()
        .zip(a)
        .zip(b)
        .for_each(|((acc, &a), &b)| *acc = q.add(*acc, q.mul(a, b)));
}

/// `a *= s`.
pub fn mul_scalar_assign(q: Modulus, a: &mut [u64], s: u64) {
    let s = q.shoup(s);
    a.iter_mut().for_each(|a| *a = q.mul_shoup(*a, s));
}

/// `out = a s`.
pub fn mul_scalar_into(q: Modulus, out: &mut [u64], a: &[u64], s: u64) {
    same_length!(out, a);
    let s = q.shoup(s);
    out.iter_mut()
        .zip(a)
        .for_each(|(out, &a)| *out = q.mul_shoup(a, s));
}

/// `acc += a s`.
pub fn mul_scalar_add_assign(q: Modulus, acc: &mut [u64], a: &[u64], s: u64) {
    same_length!(acc, a);
    let s = q.shoup(s);
    acc.iter_mut()
        .zip(a)
        .for_each(|(acc, &a)| *acc = q.add(*acc, q.mul_shoup(a, s)));
}

/// `a += s`.
pub fn add_scalar_assign(q: Modulus, a: &mut [u64], s: u64) {
    a.iter_mut().for_each(|a| *a = q.add(*a, s));
}

/// `a = (minuend - a) s`.
pub fn sub_from_mul_scalar(q: Modulus, a: &mut [u64], minuend: &[u64], s: u64) {
    same_length!(a, minuend);
    let s = q.shoup(s);
    a.iter_mut()
        .zip(minuend)
        .for_each(|(a, &minuend)| *a = q.mul_shoup(minuend + q.value() - *a, s));
}

/// Products of two words below `2^62` that fit a double word beside a residue.
const LAZY_TERMS: usize = 8;

/// `out = sum a b` over the terms.
pub fn dot_into(q: Modulus, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
    assert!(
        terms.len() <= super::super::MAX_DOT_TERMS,
        "{} terms in one dot product",
        terms.len()
    );
    for (a, b) in terms {
        same_length!(out, a, b);
    }
    for (j, out) in out.iter_mut().enumerate() {
        *out = terms.chunks(LAZY_TERMS).fold(0, |acc, chunk| {
            q.reduce_u128(chunk.iter().fold(u128::from(acc), |sum, (a, b)| {
                sum + u128::from(a[j]) * u128::from(b[j])
            }))
        });
    }
}

/// `out = sum_k w[k] xs[k]`, or `out +=`; words of `xs` below `2^62`.
pub fn linear_combination_into(
    q: Modulus,
    out: &mut [u64],
    xs: &[&[u64]],
    w: &[u64],
    accumulate: bool,
) {
    assert_eq!(xs.len(), w.len(), "one weight for each vector");
    for x in xs {
        same_length!(out, x);
    }
    for (j, out) in out.iter_mut().enumerate() {
        let start = if accumulate { *out } else { 0 };
        *out = xs
            .chunks(LAZY_TERMS)
            .zip(w.chunks(LAZY_TERMS))
            .fold(start, |acc, (xs, w)| {
                q.reduce_u128(xs.iter().zip(w).fold(u128::from(acc), |sum, (x, &w)| {
                    sum + u128::from(x[j]) * u128::from(w)
                }))
            });
    }
}

/// `out[r] = sum_c w[block][r][c] x[c]` on every block, or `out[r] +=`.
pub fn block_matmul(
    q: Modulus,
    out: &mut [&mut [u64]],
    x: &[&[u64]],
    w: &[u64],
    blocks: usize,
    accumulate: bool,
) {
    let (rows, cols) = (out.len(), x.len());
    assert_eq!(w.len(), blocks * rows * cols, "number of weights");
    if cols == 0 {
        if !accumulate {
            out.iter_mut().for_each(|out| out.fill(0));
        }
        return;
    }
    let block_len = x[0].len() / blocks;
    for limb in out
        .iter()
        .map(|out| out.len())
        .chain(x.iter().map(|x| x.len()))
    {
        assert_eq!(limb, block_len * blocks, "limbs of whole blocks");
    }
    let mut xs = Vec::with_capacity(cols);
    for (block, w) in w.chunks_exact((rows * cols).max(1)).enumerate() {
        let range = block * block_len..(block + 1) * block_len;
        xs.clear();
        xs.extend(x.iter().map(|x| &x[range.clone()]));
        for (out, w) in out.iter_mut().zip(w.chunks_exact(cols)) {
            linear_combination_into(q, &mut out[range.clone()], &xs, w, accumulate);
        }
    }
}

/// The tensor square of `(z0, z1)`.
pub fn square_real_into(q: Modulus, [d0, d1, d2]: [&mut [u64]; 3], [z0, z1]: [&[u64]; 2]) {
    same_length!(d0, d1, d2, z0, z1);
    for j in 0..d0.len() {
        let (a, b) = (z0[j], z1[j]);
        d0[j] = q.mul(a, a);
        d1[j] = q.mul(2 * a, b);
        d2[j] = q.mul(b, b);
    }
}

/// The tensor square of `z + y` less `i` times that of `z - y`.
pub fn square_complex_into(
    q: Modulus,
    [d0, d1, d2]: [&mut [u64]; 3],
    [z0, z1]: [&[u64]; 2],
    [y0, y1]: [&[u64]; 2],
    i: u64,
) {
    same_length!(d0, d1, d2, z0, z1, y0, y1);
    let minus_i = q.shoup(q.neg(i));
    for j in 0..d0.len() {
        let (u0, u1) = (q.add(z0[j], y0[j]), q.add(z1[j], y1[j]));
        let (v0, v1) = (q.sub(z0[j], y0[j]), q.sub(z1[j], y1[j]));
        let (w0, w1) = (q.mul_shoup(v0, minus_i), q.mul_shoup(v1, minus_i));
        let sum = |a: u64, b: u64, c: u64, d: u64| {
            q.reduce_u128(u128::from(a) * u128::from(b) + u128::from(c) * u128::from(d))
        };
        d0[j] = sum(u0, u0, w0, v0);
        d1[j] = sum(2 * u0, u1, 2 * w0, v1);
        d2[j] = sum(u1, u1, w1, v1);
    }
}

/// The tensor product of `a` and `b`.
pub fn tensor_into(
    q: Modulus,
    [d0, d1, d2]: [&mut [u64]; 3],
    [a0, a1]: [&[u64]; 2],
    [b0, b1]: [&[u64]; 2],
) {
    same_length!(d0, d1, d2, a0, a1, b0, b1);
    for j in 0..d0.len() {
        d0[j] = q.mul(a0[j], b0[j]);
        d1[j] = q.reduce_u128(
            u128::from(a0[j]) * u128::from(b1[j]) + u128::from(a1[j]) * u128::from(b0[j]),
        );
        d2[j] = q.mul(a1[j], b1[j]);
    }
}

/// Residues of signed words.
pub fn reduce_signed_into(q: Modulus, out: &mut [u64], a: &[i64]) {
    same_length!(out, a);
    out.iter_mut()
        .zip(a)
        .for_each(|(out, &a)| *out = q.from_i64(a));
}

/// Residues of the centred representatives of residues of `from`.
pub fn change_modulus_centered_into(q: Modulus, out: &mut [u64], a: &[u64], from: Modulus) {
    same_length!(out, a);
    let (half, shift) = (from.value() / 2, q.reduce(from.value()));
    for (out, &a) in out.iter_mut().zip(a) {
        let r = q.reduce(a);
        *out = if a > half { q.sub(r, shift) } else { r };
    }
}

/// Fractional bits of [`fraction`].
pub const FRACTION_BITS: u32 = 51;

/// `floor(2^(51 + bits) / q)`, below `2^52`: the constant of [`fraction`].
pub const fn fraction_constant(q: Modulus) -> u64 {
    ((1u128 << (FRACTION_BITS + q.bits())) / q.value() as u128) as u64
}

/// `y / q` in units of `2^-51`, less than 2 units too small; `mu` is [`fraction_constant`].
#[inline]
pub const fn fraction(q: Modulus, mu: u64, y: u64) -> u64 {
    ((y as u128 * mu as u128) >> q.bits()) as u64
}

/// `y = x s`, `fraction += y / q`.
pub fn digit_into(q: Modulus, y: &mut [u64], fraction_sum: &mut [u64], x: &[u64], s: u64) {
    same_length!(y, fraction_sum, x);
    let (s, mu) = (q.shoup(s), fraction_constant(q));
    for ((y, sum), &x) in y.iter_mut().zip(fraction_sum).zip(x) {
        *y = q.mul_shoup(x, s);
        *sum += fraction(q, mu, *y);
    }
}

/// Permutes words in groups of eight: see [`Kernel::permute_groups`](crate::Kernel::permute_groups).
pub fn permute_groups(
    out: &mut [[u64; 8]],
    src: &[[u64; 8]],
    table: &[u32],
    orders: &[[u64; 8]; 8],
) {
    same_length!(out, table);
    for (out, &entry) in out.iter_mut().zip(table) {
        let (src, order) = (&src[entry as usize / 8], &orders[entry as usize % 8]);
        for (out, &word) in out.iter_mut().zip(order) {
            *out = src[word as usize];
        }
    }
}
