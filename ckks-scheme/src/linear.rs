//! Linear transforms of slot vectors: matrices by their diagonals, baby steps and giant steps, double hoisting.

mod fourier;
mod matrix;

pub use fourier::{coeffs_to_slots, slots_to_coeffs};
pub use matrix::DiagonalMatrix;

use crate::ciphertext::{Level, Scale};
use crate::encoding::check_fits;
use crate::error::{EncodeError, EvalError};
use crate::keys::KeyRequest;
use crate::params::{KeyShape, Parameters};
use ckks_math::{Embedding, Limb, LimbRing, MathError};
use num_complex::Complex64;
use std::collections::{BTreeMap, HashMap};

/// Most baby steps of one giant step: the products that one modular reduction may gather.
const MAX_BABIES: usize = 64;

/// A matrix encoded for one level: out = sum over giants g of rot_g(sum over babies b of w_(g,b) * rot_b(x)), where
/// w_(g,b) is the diagonal g + b rotated back by g (Halevi, Shoup, <https://eprint.iacr.org/2018/244>). Diagonals of a
/// shorter period are kept as words of the sub-ring that they live in.
#[derive(Debug)]
pub struct LinearTransform {
    pub(crate) level: Level,
    pub(crate) scale: Scale,
    pub(crate) shape: KeyShape,
    /// Rotation steps; the first is 0 if it is used at all.
    pub(crate) babies: Vec<i64>,
    pub(crate) giants: Vec<Giant>,
    pub(crate) norms: Norms,
}

/// One giant step: its rotation, and (index of the baby step, diagonal).
#[derive(Debug)]
pub(crate) struct Giant {
    pub(crate) steps: i64,
    pub(crate) terms: Vec<(usize, PlainDiagonal)>,
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

/// One encoded diagonal, modulo the ciphertext primes and the special primes, Eval order.
#[derive(Debug)]
pub(crate) enum PlainDiagonal {
    /// One limb a prime.
    Whole(Vec<Limb>),
    /// Words of the sub-ring, each standing for a block of equal words of a limb.
    Periodic(Vec<Vec<u64>>),
}

impl PlainDiagonal {
    /// The words of limb `i`, written out to `buffer` where they are not kept so.
    pub(crate) fn words<'a>(&'a self, i: usize, buffer: &'a mut Limb) -> &'a [u64] {
        match self {
            Self::Whole(limbs) => &limbs[i],
            Self::Periodic(residues) => {
                let block = buffer.len() / residues[i].len();
                for (chunk, &r) in buffer.chunks_exact_mut(block).zip(&residues[i]) {
                    chunk.fill(r);
                }
                buffer
            }
        }
    }

    fn bytes(&self) -> u64 {
        let words: usize = match self {
            Self::Whole(limbs) => limbs.iter().map(|l| l.len()).sum(),
            Self::Periodic(residues) => residues.iter().map(Vec::len).sum(),
        };
        8 * words as u64
    }
}

impl LinearTransform {
    /// Encodes a matrix for ciphertexts at `level`, its entries at `scale`.
    ///
    /// # Shapes and ranges
    /// The dimension divides the number of slots; in a smaller one, slot vectors repeat with that period.
    /// `giant_cost`: how many baby steps a giant step is worth (a giant step takes a key switch of its own, a baby step
    /// shares its ModUp); about 1 asks for the fewest keys, about 4 is fastest.
    /// # Errors
    /// [`EvalError::Shape`] for a dimension that does not divide the slots or a matrix of zeros, [`EvalError::Encode`]
    /// for entries that are not finite or too large at the scale, or when the pool's budget is exhausted.
    pub fn new(
        params: &Parameters,
        matrix: &DiagonalMatrix,
        level: Level,
        scale: Scale,
        giant_cost: f64,
    ) -> Result<Self, EvalError> {
        let dim = matrix.dim();
        let shape_error = |what, found, expected| EvalError::Shape {
            op: "linear transform",
            what,
            found,
            expected,
        };
        if !params.slots().is_multiple_of(dim) {
            return Err(shape_error("dimension", dim, params.slots()));
        }
        let Some(split) = Split::best(matrix, giant_cost) else {
            return Err(shape_error("number of diagonals", 0, 1));
        };
        let shape = params.key_shape(level);
        let rings: Vec<LimbRing> = params.q()[..level.limbs()]
            .iter()
            .chain(&params.p()[..shape.specials])
            .cloned()
            .collect();
        let mut encoder = DiagonalEncoder {
            params,
            rings,
            subrings: HashMap::new(),
        };
        let mut giants: BTreeMap<i64, Vec<(usize, PlainDiagonal)>> = BTreeMap::new();
        for (index, diagonal) in matrix.iter() {
            let (baby, giant) = split.of(index);
            let mut rotated = diagonal.to_vec();
            rotated.rotate_right(giant.rem_euclid(dim as i64) as usize);
            let position = split
                .babies
                .binary_search(&baby)
                .expect("every diagonal has its baby step");
            let encoded = encoder.encode(&rotated, scale)?;
            giants.entry(giant).or_default().push((position, encoded));
        }
        Ok(Self {
            level,
            scale,
            shape,
            babies: split.babies,
            giants: giants
                .into_iter()
                .map(|(steps, terms)| Giant { steps, terms })
                .collect(),
            norms: matrix.norms(),
        })
    }

    /// Level of the ciphertexts that it takes.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Scale of the encoded matrix.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Adds the rotation keys that it needs.
    pub fn request(&self, request: &mut KeyRequest) {
        let giants = self.giants.iter().map(|g| &g.steps);
        for &steps in self.babies.iter().chain(giants) {
            request.rotation(steps, self.level);
        }
    }

    /// Bytes of the encoded diagonals.
    pub fn bytes(&self) -> u64 {
        let terms = self.giants.iter().flat_map(|g| &g.terms);
        terms.map(|(_, diagonal)| diagonal.bytes()).sum()
    }
}

/// How diagonals are split into baby steps and giant steps.
struct Split {
    /// Diagonals up to this one count forwards, those above backwards from the dimension.
    largest: i64,
    dim: i64,
    /// Giant steps are multiples of this.
    width: i64,
    babies: Vec<i64>,
}

impl Split {
    fn best(matrix: &DiagonalMatrix, giant_cost: f64) -> Option<Self> {
        let indices: Vec<i64> = matrix.iter().map(|(d, _)| d as i64).collect();
        let dim = matrix.dim() as i64;
        // All indices are multiples of this.
        let step = 1i64 << indices.iter().fold(dim, |acc, d| acc | d).trailing_zeros();
        let widths = (0..).map(|log| step << log).take_while(|w| *w <= dim);
        let mut best: Option<(f64, Self)> = None;
        for width in widths.take_while(|w| w / step <= MAX_BABIES as i64) {
            for largest in [dim, dim / 2] {
                let mut split = Self {
                    largest,
                    dim,
                    width,
                    babies: Vec::new(),
                };
                let (mut babies, mut giants): (Vec<_>, Vec<_>) =
                    indices.iter().map(|d| split.of(*d as usize)).unzip();
                for list in [&mut babies, &mut giants] {
                    list.sort_unstable();
                    list.dedup();
                }
                let rotations = |list: &[i64]| list.iter().filter(|s| **s != 0).count() as f64;
                let cost = rotations(&babies) + giant_cost * rotations(&giants);
                split.babies = babies;
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, split));
                }
            }
        }
        best.map(|(_, split)| split)
            .filter(|s| !s.babies.is_empty())
    }

    /// Baby step and giant step of a diagonal.
    fn of(&self, index: usize) -> (i64, i64) {
        let index = index as i64;
        let signed = if index > self.largest {
            index - self.dim
        } else {
            index
        };
        let baby = signed.rem_euclid(self.width);
        (baby, signed - baby)
    }
}

struct DiagonalEncoder<'a> {
    params: &'a Parameters,
    rings: Vec<LimbRing>,
    /// By log2 of the degree: the embedding and the sub-rings.
    subrings: HashMap<u32, (Embedding, Vec<LimbRing>)>,
}

impl DiagonalEncoder<'_> {
    fn encode(&mut self, slots: &[Complex64], scale: Scale) -> Result<PlainDiagonal, EvalError> {
        for (slot, z) in slots.iter().enumerate() {
            if !(z.re.is_finite() && z.im.is_finite()) {
                let value = z.re + z.im;
                return Err(EncodeError::NotFinite { slot, value }.into());
            }
        }
        let period = period(slots);
        let log_n = period.trailing_zeros() + 1;
        let (embedding, rings) = match self.subrings.entry(log_n) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let rings = if log_n == self.params.log_n() {
                    self.rings.clone()
                } else {
                    let subrings = self.rings.iter().map(|r| r.subring(log_n));
                    subrings.collect::<Result<_, _>>()?
                };
                entry.insert((Embedding::new(log_n), rings))
            }
        };
        let mut coeffs = vec![0.0; 2 * period];
        embedding.slots_to_coeffs(&slots[..period], &mut coeffs);
        check_fits(&coeffs, scale.value(), 62.0)?;
        let integers: Vec<i64> = coeffs
            .iter()
            .map(|c| (c * scale.value()).round() as i64)
            .collect();
        let fill = |ring: &LimbRing, words: &mut [u64]| {
            ring.reduce_signed_into(words, &integers);
            ring.ntt(words);
        };
        if log_n == self.params.log_n() {
            let limbs = rings.iter().map(|ring| {
                let mut limb = self.params.pool().limb()?;
                fill(ring, &mut limb);
                Ok(limb)
            });
            return Ok(PlainDiagonal::Whole(
                limbs.collect::<Result<_, MathError>>()?,
            ));
        }
        let residues = rings.iter().map(|ring| {
            let mut words = vec![0; 2 * period];
            fill(ring, &mut words);
            words
        });
        Ok(PlainDiagonal::Periodic(residues.collect()))
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
