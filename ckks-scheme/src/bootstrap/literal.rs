//! What a file says of a bootstrapping.

use super::RefreshFunction;
use crate::poly_eval::depth;
use serde::{Deserialize, Serialize};

/// What the slots hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Real numbers; imaginary parts are taken away. Half the work of complex content.
    Real,
    /// Complex numbers: two real values a slot.
    Complex,
}

/// Which of the two transforms comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// SlotsToCoeffs at the bottom, where it is cheap, and the refreshed ciphertext comes out of EvalMod. Costs the input
    /// its last levels.
    #[default]
    SlotsToCoeffsFirst,
    /// A ciphertext of level 1 is raised as it is, and SlotsToCoeffs comes last, at the levels below EvalMod. The errors of
    /// EvalMod are those of coefficients then, and a slot is a sum of all of them.
    CoeffsToSlotsFirst,
}

/// How the multiples of the base prime are taken away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reduction {
    /// By a sine, for its argument: fewest products, for messages that are small beside the base prime.
    Cosine(CosineLiteral),
    /// By the complex exponential and a Fourier series, which may be that of any function: more precise, as the message
    /// may fill the base prime, for more products and levels.
    Fourier(FourierLiteral),
}

/// A sine, as the cosine of an angle a quarter of a turn further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosineLiteral {
    /// Degree of the Chebyshev interpolation of the cosine; even, as odd terms vanish.
    pub degree: usize,
    /// Double-angle steps after the cosine.
    pub double_angles: u32,
    /// Degree of the arcsine that corrects the sine, odd; 0 for none. None is best where the message ratio is large.
    pub arcsine_degree: usize,
}

/// An exponential and a series of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FourierLiteral {
    /// Degree of the Chebyshev interpolation of the exponential.
    pub degree: usize,
    /// Squarings after it.
    pub squarings: u32,
    /// What is applied to the values.
    pub function: RefreshFunction,
    /// Harmonics of the series that stands for the function; those of a [`RefreshFunction::Series`] are its own.
    pub harmonics: usize,
}

impl CosineLiteral {
    fn depth(&self) -> usize {
        let arcsine = match self.arcsine_degree {
            0 => 0,
            degree => depth(degree),
        };
        depth(self.degree) + self.double_angles as usize + arcsine
    }
}

impl FourierLiteral {
    /// Levels that the series takes.
    pub(super) fn series_depth(&self) -> usize {
        depth(match &self.function {
            RefreshFunction::Series(series) => series.harmonics(),
            RefreshFunction::Identity | RefreshFunction::Relu => self.harmonics,
        })
    }

    fn depth(&self) -> usize {
        depth(self.degree) + self.squarings as usize + self.series_depth()
    }
}

/// What a file says of a bootstrapping; [`super::BootstrapParams::new`] checks it against a parameter set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapLiteral {
    /// Base-2 logarithm of the number of slots in use, at most log N - 1; with fewer, slot vectors repeat with that
    /// period.
    pub log_slots: u32,
    /// What the slots hold.
    pub content: Content,
    /// Which transform comes first.
    #[serde(default)]
    pub order: Order,
    /// Whether real and imaginary parts of sparse complex slots (at most a quarter of the degree) share one EvalMod, side
    /// by side in twice as many slots: half the work, for one level more if SlotsToCoeffs comes first.
    #[serde(default)]
    pub pack_sparse: bool,
    /// Levels (and matrices) of SlotsToCoeffs.
    pub slots_to_coeffs_levels: usize,
    /// Levels (and matrices) of CoeffsToSlots.
    pub coeffs_to_slots_levels: usize,
    /// How the multiples of the base prime are taken away, and what is applied to the values with it.
    pub reduction: Reduction,
    /// Base-2 logarithm of base prime over largest message; with CoeffsToSlots first, where nothing can be adjusted before
    /// the modulus is raised, the least that there must be.
    pub log_message_ratio: f64,
    /// Largest absolute value of a real component of a slot.
    pub max_value: f64,
    /// Base-2 logarithm of the scale of refreshed ciphertexts, and nominally of those to be refreshed.
    pub log_scale: f64,
    /// Hamming weight of the ephemeral secret.
    pub ephemeral_weight: u32,
    /// How many base primes the cosine covers on each side; `None` for all that can occur, (weight + 1) / 2.
    pub range: Option<f64>,
    /// What a giant step is worth in baby steps (see [`crate::LinearTransform::new`]): 1 for few keys, 4 for speed.
    pub giant_cost: f64,
}

impl BootstrapLiteral {
    /// Full complex slots at ring degree `2^log_n` with ephemeral weight 32: three levels for each transform, a cosine of
    /// degree 30 with three double angles, values in [-1, 1], message ratio 2^10, scale 2^43.
    pub fn full_complex(log_n: u32) -> Self {
        Self {
            log_slots: log_n - 1,
            content: Content::Complex,
            order: Order::SlotsToCoeffsFirst,
            pack_sparse: false,
            slots_to_coeffs_levels: 3,
            coeffs_to_slots_levels: 3,
            reduction: Reduction::Cosine(CosineLiteral {
                degree: 30,
                double_angles: 3,
                arcsine_degree: 0,
            }),
            log_message_ratio: 10.0,
            max_value: 1.0,
            log_scale: 43.0,
            ephemeral_weight: 32,
            range: None,
            giant_cost: 1.0,
        }
    }

    /// What is applied to the values.
    pub fn function(&self) -> &RefreshFunction {
        match &self.reduction {
            Reduction::Cosine(_) => &RefreshFunction::Identity,
            Reduction::Fourier(lit) => &lit.function,
        }
    }

    /// Levels that a refresh takes from the top: CoeffsToSlots, EvalMod and what follows it.
    pub fn depth(&self) -> usize {
        self.coeffs_to_slots_levels + self.eval_mod_depth() + self.levels_after_sine()
    }

    /// Levels that a refresh takes from the input, above the base prime.
    pub fn input_levels(&self) -> usize {
        match self.order {
            Order::SlotsToCoeffsFirst => self.slots_to_coeffs_levels,
            Order::CoeffsToSlotsFirst => 0,
        }
    }

    /// Levels between the sine and the refreshed ciphertext.
    pub(super) fn levels_after_sine(&self) -> usize {
        match self.order {
            Order::SlotsToCoeffsFirst => usize::from(self.pack_sparse),
            Order::CoeffsToSlotsFirst => self.slots_to_coeffs_levels,
        }
    }

    fn eval_mod_depth(&self) -> usize {
        match &self.reduction {
            Reduction::Cosine(lit) => lit.depth(),
            Reduction::Fourier(lit) => lit.depth(),
        }
    }
}
