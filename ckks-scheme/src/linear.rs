//! Linear transforms of slot vectors: matrices by their diagonals, baby steps and giant steps, double hoisting.

mod fourier;
mod matrix;
mod plan;
mod split;

pub(crate) use fourier::{Factor, coeffs_to_slots_upwards, slots_to_coeffs_downwards};
pub use fourier::{coeffs_to_slots, slots_to_coeffs};
pub use matrix::DiagonalMatrix;
pub use plan::{DiagonalPattern, TransformPlan};

use crate::ciphertext::{Level, Scale};
use crate::encoding::check_fits;
use crate::error::{EncodeError, EvalError};
use crate::keys::KeyRequest;
use crate::params::{KeyShape, Parameters};
use ckks_math::{Embedding, Limb, LimbRing, MathError, WeightMatrix};
use num_complex::Complex64;
use split::Split;

/// Words of the shortest block that a periodic diagonal is held constant on; longer periods are written out.
const LEAST_BLOCK: usize = 8;

/// A matrix encoded for one level: out = sum over giants g of rot_g(sum over babies b of w_(g,b) * rot_b(x)), where
/// w_(g,b) is the diagonal g + b rotated back by g (Halevi, Shoup, <https://eprint.iacr.org/2018/244>). The giants are
/// summed up by Horner's rule, so that giants at equal distances need one key. A matrix all of whose diagonals have a
/// short period is kept as integer coefficients in the sub-ring that they live in.
#[derive(Debug)]
pub struct LinearTransform {
    pub(crate) plan: TransformPlan,
    pub(crate) scale: Scale,
    pub(crate) shape: KeyShape,
    pub(crate) diagonals: Diagonals,
    pub(crate) norms: Norms,
}

/// Encoded diagonals. Rows are giants in order of evaluation, columns babies.
#[derive(Debug)]
pub(crate) enum Diagonals {
    /// Row by row (column, one limb for each ciphertext prime and special prime in Eval order).
    Whole(Vec<Vec<(usize, Vec<Limb>)>>),
    /// Coefficients; the sub-rings of the ciphertext primes and special primes.
    Periodic(WeightMatrix, Vec<LimbRing>),
}

/// Sizes of a matrix, for the tracker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norms {
    /// Largest sum of absolute values of a row.
    pub(crate) l1: f64,
    /// Largest root of a sum of squares of a row.
    pub(crate) l2: f64,
    /// Root of the mean over the rows of the sum of squares.
    pub(crate) mean_l2: f64,
    /// Number of diagonals.
    pub(crate) diagonals: usize,
}

impl LinearTransform {
    /// Encodes a matrix for ciphertexts at `level`, its entries at `scale`.
    ///
    /// # Shapes and ranges
    /// The dimension divides the number of slots; in a smaller one, slot vectors repeat with that period.
    /// `giant_cost`: how many baby steps a giant step is worth. A giant step takes a key switch of its own, a baby step
    /// shares its ModUp; but all giant steps at one distance share a key, and every baby step takes one. 0.3 asks for few
    /// keys, 1 for about as many steps of either kind, 2.5 is fastest.
    /// # Errors
    /// [`EvalError::Shape`] for a dimension that does not divide the slots or a matrix of zeros,
    /// [`EvalError::NoSuchLevel`], [`EvalError::Encode`]
    /// for entries that are not finite or too large at the scale, or when the pool's budget is exhausted.
    pub fn new(
        params: &Parameters,
        matrix: &DiagonalMatrix,
        level: Level,
        scale: Scale,
        giant_cost: f64,
    ) -> Result<Self, EvalError> {
        let dim = matrix.dim();
        let pattern = DiagonalPattern::of(matrix);
        let split = Split::checked(&pattern, params.degree(), giant_cost)?;
        if !params.has_level(level) {
            return Err(EvalError::NoSuchLevel {
                op: "linear transform",
                level,
                max: params.max_level(),
            });
        }
        let shape = params.key_shape(level);
        let rings: Vec<LimbRing> = params.q()[..level.limbs()]
            .iter()
            .chain(&params.p()[..shape.specials])
            .cloned()
            .collect();
        let plan = TransformPlan::of_split(&pattern, &split, params.degree(), level);
        let period = pattern.period;
        let encoder = DiagonalEncoder::new(period, scale);
        let mut diagonals = if plan.period.is_some() {
            let log = (2 * period).trailing_zeros();
            let subrings = rings.iter().map(|r| r.subring(log));
            Diagonals::Periodic(
                WeightMatrix::new(split.giants.len(), split.babies.len(), log),
                subrings.collect::<Result<_, _>>()?,
            )
        } else {
            Diagonals::Whole(split.giants.iter().map(|_| Vec::new()).collect())
        };
        for (index, diagonal) in matrix.iter() {
            let (baby, giant) = split.of(index);
            let position = |list: &[i64], step| {
                let found = list.iter().position(|s| *s == step);
                found.expect("every diagonal has its steps")
            };
            let column = position(&split.babies, baby);
            let row = position(&split.giants, giant);
            let mut rotated = diagonal.to_vec();
            rotated.rotate_right(giant.rem_euclid(dim as i64) as usize);
            let coeffs = encoder.coefficients(&rotated)?;
            match &mut diagonals {
                Diagonals::Periodic(weights, _) => weights.set_poly(row, column, &coeffs),
                Diagonals::Whole(rows) => {
                    // A period shorter than the ring: the coefficients between are zero.
                    let gap = params.degree() / coeffs.len();
                    let mut spread = vec![0; params.degree()];
                    for (to, from) in spread.iter_mut().step_by(gap).zip(&coeffs) {
                        *to = *from;
                    }
                    let limbs = rings.iter().map(|ring| {
                        let mut limb = params.limbs().limb()?;
                        ring.reduce_signed_into(&mut limb, &spread);
                        ring.ntt(&mut limb);
                        Ok(limb)
                    });
                    rows[row].push((column, limbs.collect::<Result<_, MathError>>()?));
                }
            }
        }
        if let Diagonals::Periodic(weights, _) = &mut diagonals {
            weights.shrink_to_fit();
        }
        Ok(Self {
            plan,
            scale,
            shape,
            diagonals,
            norms: matrix.norms(),
        })
    }

    /// Level of the ciphertexts that it takes.
    pub fn level(&self) -> Level {
        self.plan.level
    }

    /// What it does, without its numbers.
    pub fn plan(&self) -> &TransformPlan {
        &self.plan
    }

    /// Scale of the encoded matrix.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Adds the rotation keys that it needs.
    pub fn request(&self, request: &mut KeyRequest) {
        self.plan.request(request);
    }

    /// Bytes of the encoded diagonals.
    pub fn bytes(&self) -> u64 {
        match &self.diagonals {
            Diagonals::Whole(rows) => {
                let limbs = rows.iter().flatten().flat_map(|(_, limbs)| limbs);
                limbs.map(|l| 8 * l.len() as u64).sum()
            }
            Diagonals::Periodic(weights, _) => weights.bytes() as u64,
        }
    }
}

/// From slots of one period to integer coefficients.
struct DiagonalEncoder {
    period: usize,
    embedding: Embedding,
    scale: Scale,
}

impl DiagonalEncoder {
    fn new(period: usize, scale: Scale) -> Self {
        Self {
            period,
            embedding: Embedding::new(period.trailing_zeros() + 1),
            scale,
        }
    }

    fn coefficients(&self, slots: &[Complex64]) -> Result<Vec<i64>, EvalError> {
        for (slot, z) in slots.iter().enumerate() {
            if !(z.re.is_finite() && z.im.is_finite()) {
                let value = z.re + z.im;
                return Err(EncodeError::NotFinite { slot, value }.into());
            }
        }
        let mut coeffs = vec![0.0; 2 * self.period];
        self.embedding
            .slots_to_coeffs(&slots[..self.period], &mut coeffs);
        let scale = self.scale.value();
        check_fits(&coeffs, scale, 62.0)?;
        Ok(coeffs.iter().map(|c| (c * scale).round() as i64).collect())
    }
}

/// The shortest period that is a power of two, at least 2.
fn period(slots: &[Complex64]) -> usize {
    let mut period = slots.len();
    while period > 2 {
        let (left, right) = slots[..period].split_at(period / 2);
        if left != right {
            break;
        }
        period /= 2;
    }
    period
}
