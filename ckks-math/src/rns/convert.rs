//! Fast base conversion (Halevi, Polyakov, Shoup: An improved RNS variant of the BFV scheme, 2019,
//! <https://eprint.iacr.org/2018/117>), in its centred form.

use crate::error::MathError;
use crate::kernel::scalar::pointwise::{self, FRACTION_BITS};
use crate::modulus::Modulus;
use crate::ntt::LimbRing;

/// Converts residues of an integer `x` modulo `q_0, .., q_(k-1)` (product `Q`) to residues of its
/// centred representative, in `[-Q/2, Q/2]`, modulo other primes.
///
/// With `y_i = x (Q/q_i)^-1 mod q_i` the representative is `sum_i y_i Q/q_i - v Q`, and
/// `v = round(sum_i y_i / q_i)`. The sum is taken in units of `2^-51`, each term rounded down by less
/// than two units, so that `v` is the same on every kernel; it is one too small only for `x` within
/// `k 2^-50 Q` of `Q/2`, where the result is then `x` itself instead of `x - Q`, which is as good.
#[derive(Clone, Debug)]
pub struct BaseConverter {
    sources: Vec<LimbRing>,
    targets: Vec<LimbRing>,
    /// `(Q/q_i)^-1 mod q_i`.
    inverse_cofactors: Vec<u64>,
    /// For each target the residues of `Q/q_i` and of `-Q`, prepared for its kernel.
    weights: Vec<Vec<u64>>,
    /// Whether the sources' residues are too long for the kernels' linear combinations.
    wide: bool,
}

/// Words of each source limb that are converted together: a tile of 11 sources fills three quarters
/// of a 32 KiB cache.
const TILE_WORDS: usize = 256;

/// Largest number of source moduli.
const MAX_SOURCES: usize = 64;

impl BaseConverter {
    /// Prepares the conversion from the moduli of `sources` to those of `targets`.
    ///
    /// # Errors
    /// [`MathError::BasisSize`], [`MathError::RepeatedModulus`], [`MathError::DegreeMismatch`].
    pub fn new(sources: &[LimbRing], targets: &[LimbRing]) -> Result<Self, MathError> {
        if sources.is_empty() || targets.is_empty() || sources.len() > MAX_SOURCES {
            let (sources, targets) = (sources.len(), targets.len());
            return Err(MathError::BasisSize {
                sources,
                targets,
                max_sources: MAX_SOURCES,
            });
        }
        let expected = sources[0].log_n();
        if let Some(found) = sources
            .iter()
            .chain(targets)
            .map(LimbRing::log_n)
            .find(|&log_n| log_n != expected)
        {
            return Err(MathError::DegreeMismatch { found, expected });
        }
        let moduli: Vec<Modulus> = sources.iter().map(LimbRing::modulus).collect();
        if let Some(i) = (1..moduli.len()).find(|&i| moduli[..i].contains(&moduli[i])) {
            return Err(MathError::RepeatedModulus {
                modulus: moduli[i].value(),
            });
        }
        let cofactor = |skip: usize, modulus: Modulus| {
            let others = moduli.iter().enumerate().filter(|&(j, _)| j != skip);
            others.fold(1, |product, (_, q)| modulus.mul(product, q.value()))
        };
        let wide = moduli.iter().any(|q| q.bits() > 52);
        let weights = targets.iter().map(|ring| {
            let modulus = ring.modulus();
            let mut weights: Vec<u64> = (0..moduli.len()).map(|i| cofactor(i, modulus)).collect();
            weights.push(modulus.neg(cofactor(usize::MAX, modulus)));
            if !wide {
                ring.ops().prepare_weights(&mut weights);
            }
            weights
        });
        Ok(Self {
            inverse_cofactors: moduli
                .iter()
                .enumerate()
                .map(|(i, &q)| q.inv(cofactor(i, q)))
                .collect(),
            weights: weights.collect(),
            sources: sources.to_vec(),
            targets: targets.to_vec(),
            wide,
        })
    }

    /// Number of source limbs.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Number of target limbs.
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Converts: `target[j]` gets the residues modulo the `j`-th target of the integers whose residues
    /// modulo the `i`-th source are in `source[i]`. Coefficient order; whole limbs or equal parts.
    ///
    /// # Panics
    /// If the numbers or lengths of slices do not fit.
    pub fn convert_into(&self, target: &mut [&mut [u64]], source: &[&[u64]]) {
        assert_eq!(
            (target.len(), source.len()),
            (self.targets(), self.sources()),
            "limbs of a base conversion"
        );
        let words = source[0].len();
        let mut lengths = source
            .iter()
            .map(|s| s.len())
            .chain(target.iter().map(|t| t.len()));
        assert!(
            lengths.all(|len| len == words),
            "limbs of different lengths"
        );

        let tile_words = TILE_WORDS.min(words).max(1);
        let mut tile = vec![0; (self.sources() + 1) * tile_words];
        for start in (0..words).step_by(tile_words) {
            let len = tile_words.min(words - start);
            let range = start..start + len;
            let next = range.end..(range.end + tile_words).min(words);
            let (digits, quotient) = tile.split_at_mut(self.sources() * tile_words);
            let quotient = &mut quotient[..len];
            // Starting from one half turns the final floor into rounding.
            quotient.fill(1 << (FRACTION_BITS - 1));
            for (((ring, digit), source), &s) in self
                .sources
                .iter()
                .zip(digits.chunks_exact_mut(tile_words))
                .zip(source)
                .zip(&self.inverse_cofactors)
            {
                ring.ops().prefetch(&source[next.clone()]);
                ring.ops()
                    .digit_into(&mut digit[..len], quotient, &source[range.clone()], s);
            }
            quotient.iter_mut().for_each(|v| *v >>= FRACTION_BITS);

            let rows: Vec<&[u64]> = tile
                .chunks_exact(tile_words)
                .map(|row| &row[..len])
                .collect();
            for ((ring, target), weights) in self
                .targets
                .iter()
                .zip(target.iter_mut())
                .zip(&self.weights)
            {
                ring.ops().prefetch(&target[next.clone()]);
                let target = &mut target[range.clone()];
                if self.wide {
                    pointwise::linear_combination_into(
                        ring.modulus(),
                        target,
                        &rows,
                        weights,
                        false,
                    );
                } else {
                    ring.ops()
                        .linear_combination_into(target, &rows, weights, false);
                }
            }
        }
    }
}
