//! Named parameters.

use super::{
    BootstrapError, BootstrapLiteral, BootstrapParams, FourierLiteral, Reduction, RefreshFunction,
};
use crate::params::Parameters;
use ckks_math::KernelChoice;

/// Period of the series of a ReLU over the largest value. The kink's error grows with it; the shorter it is, the more
/// harmonics it takes to come back from one end to the other.
const RELU_PERIOD: f64 = 2.5;

/// Named parameters of full complex slots with 128-bit security, each for the identity and for a ReLU.
#[derive(Clone, Copy, Debug)]
pub struct BootstrapPreset {
    name: &'static str,
    summary: &'static str,
    log_n: u32,
    /// Levels of SlotsToCoeffs and of CoeffsToSlots.
    transforms: (usize, usize),
    giant_cost: f64,
    identity: Chain,
    relu: Chain,
}

/// What there is of levels, and how the modular reduction is made.
#[derive(Clone, Copy, Debug)]
struct Chain {
    user_levels: usize,
    log_scale: u32,
    top_bits: u32,
    /// Harmonics of the series; 0 for a sine.
    harmonics: usize,
}

const fn chain(user_levels: usize, log_scale: u32, top_bits: u32, harmonics: usize) -> Chain {
    Chain {
        user_levels,
        log_scale,
        top_bits,
        harmonics,
    }
}

const N16: BootstrapPreset = BootstrapPreset {
    name: "n16",
    summary: "N = 2^16, 14 levels (602 bits) for the user, keys below 4 GB",
    log_n: 16,
    transforms: (3, 3),
    giant_cost: 1.0,
    identity: chain(14, 43, 50, 0),
    relu: chain(10, 43, 43, 31),
};

const N15: BootstrapPreset = BootstrapPreset {
    name: "n15",
    summary: "N = 2^15, 3 levels (120 bits) for the user",
    log_n: 15,
    transforms: (2, 2),
    giant_cost: 1.0,
    identity: chain(3, 40, 50, 0),
    relu: chain(2, 36, 38, 15),
};

impl BootstrapPreset {
    /// All of them, the default first.
    pub const ALL: [Self; 9] = [
        N16,
        Self {
            name: "n16-fast",
            summary: "as n16, with more keys for speed",
            giant_cost: 2.5,
            ..N16
        },
        Self {
            name: "n16-few-keys",
            summary: "as n16, with fewer keys at the cost of speed",
            giant_cost: 0.3,
            ..N16
        },
        Self {
            name: "n16-precise",
            summary: "N = 2^16, 25 bits and more, 8 levels (400 bits) for the user",
            identity: chain(8, 50, 50, 3),
            relu: chain(6, 43, 50, 63),
            ..N16
        },
        Self {
            name: "n16-l8",
            summary: "N = 2^16, 8 levels for the user",
            identity: chain(8, 43, 50, 0),
            relu: chain(8, 42, 42, 31),
            ..N16
        },
        Self {
            name: "n16-l4",
            summary: "N = 2^16, 4 levels for the user",
            identity: chain(4, 43, 50, 0),
            relu: chain(4, 42, 42, 31),
            ..N16
        },
        Self {
            name: "n16-l2",
            summary: "N = 2^16, 2 levels for the user",
            identity: chain(2, 43, 50, 0),
            relu: chain(2, 42, 42, 31),
            ..N16
        },
        N15,
        Self {
            name: "n15-l2",
            summary: "N = 2^15, 2 levels for the user",
            identity: chain(2, 40, 50, 0),
            ..N15
        },
    ];

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name == name)
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// One line for a list.
    pub const fn summary(&self) -> &'static str {
        self.summary
    }

    /// The parameter set and the bootstrapping over it, for a plain refresh.
    ///
    /// # Errors
    /// When the kernel is not available; else presets can be built.
    pub fn build(
        &self,
        kernel: KernelChoice,
        budget_bytes: Option<u64>,
    ) -> Result<BootstrapParams, BootstrapError> {
        self.build_for(&RefreshFunction::Identity, kernel, budget_bytes)
    }

    /// The parameter set and the bootstrapping over it, for a refresh that applies a function. A series runs over the
    /// chain for a ReLU.
    ///
    /// # Errors
    /// As [`Self::build`]; [`BootstrapError::Invalid`] for a series that has more harmonics than fit, or another period than
    /// 2.5.
    pub fn build_for(
        &self,
        function: &RefreshFunction,
        kernel: KernelChoice,
        budget_bytes: Option<u64>,
    ) -> Result<BootstrapParams, BootstrapError> {
        let chain = match function {
            RefreshFunction::Identity => self.identity,
            RefreshFunction::Relu | RefreshFunction::Series(_) => self.relu,
        };
        let mut literal = BootstrapLiteral {
            slots_to_coeffs_levels: self.transforms.0,
            coeffs_to_slots_levels: self.transforms.1,
            log_scale: chain.log_scale.into(),
            giant_cost: self.giant_cost,
            ..BootstrapLiteral::full_complex(self.log_n)
        };
        if chain.harmonics > 0 {
            // With few harmonics, the identity is near itself over a small part of the period only.
            literal.log_message_ratio = match function {
                RefreshFunction::Identity => 5.0,
                RefreshFunction::Relu | RefreshFunction::Series(_) => RELU_PERIOD.log2(),
            };
            literal.reduction = Reduction::Fourier(FourierLiteral {
                degree: 31,
                squarings: 3,
                function: function.clone(),
                harmonics: chain.harmonics,
            });
        }
        let primes = literal.chain(self.log_n, chain.user_levels, chain.top_bits)?;
        let scheme = Parameters::from_literal(&primes, kernel, budget_bytes)?;
        BootstrapParams::new(&scheme, literal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 9] = [
        "n16",
        "n16-fast",
        "n16-few-keys",
        "n16-precise",
        "n16-l8",
        "n16-l4",
        "n16-l2",
        "n15",
        "n15-l2",
    ];

    #[test]
    fn presets_are_secure_and_never_fail() {
        for preset in BootstrapPreset::ALL {
            for (function, chain) in [
                (RefreshFunction::Identity, preset.identity),
                (RefreshFunction::Relu, preset.relu),
            ] {
                let params = preset
                    .build_for(&function, KernelChoice::Auto, None)
                    .expect("a preset can be built");
                assert_eq!(params.scheme().security_bits(), 128);
                assert!(params.failure_log2() < -128.0, "{}", params.failure_log2());
                assert_eq!(params.literal().function(), &function);
                assert_eq!(params.residual_levels(), chain.user_levels);
                let bits = f64::from(chain.log_scale) * chain.user_levels as f64;
                assert!((params.residual_bits() - bits).abs() < 1.0);
            }
        }
    }

    #[test]
    fn presets_are_found_by_their_names() {
        let names: Vec<&str> = BootstrapPreset::ALL
            .iter()
            .map(BootstrapPreset::name)
            .collect();
        assert_eq!(names, NAMES);
        for name in NAMES {
            assert_eq!(BootstrapPreset::named(name).expect("a preset").name(), name);
        }
        for other in ["n14", "N16", "", "n16 "] {
            assert!(BootstrapPreset::named(other).is_none(), "{other:?}");
        }
    }
}
