//! Named parameters.

use super::{BootstrapError, BootstrapLiteral, BootstrapParams};
use crate::params::{Parameters, ParamsLiteral};
use ckks_math::KernelChoice;

/// Named parameters of full complex slots with 128-bit security.
#[derive(Clone, Copy, Debug)]
pub struct BootstrapPreset {
    name: &'static str,
    summary: &'static str,
    scheme: fn() -> ParamsLiteral,
    literal: fn() -> BootstrapLiteral,
}

impl BootstrapPreset {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [
        Self {
            name: "n16",
            summary: "N = 2^16, 602 bits for the user, keys below 4 GB",
            scheme: BootstrapParams::scheme_literal_log_n16,
            literal: || BootstrapLiteral::full_complex(16),
        },
        Self {
            name: "n16-fast",
            summary: "as n16, with more keys for speed",
            scheme: BootstrapParams::scheme_literal_log_n16,
            literal: || BootstrapLiteral {
                giant_cost: 2.5,
                ..BootstrapLiteral::full_complex(16)
            },
        },
        Self {
            name: "n16-few-keys",
            summary: "as n16, with fewer keys at the cost of speed",
            scheme: BootstrapParams::scheme_literal_log_n16,
            literal: || BootstrapLiteral {
                giant_cost: 0.3,
                ..BootstrapLiteral::full_complex(16)
            },
        },
        Self {
            name: "n15",
            summary: "N = 2^15, 120 bits for the user",
            scheme: scheme_literal_log_n15,
            literal: literal_log_n15,
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

    /// The parameter set and the bootstrapping over it.
    ///
    /// # Errors
    /// When the kernel is not available; else presets can be built.
    pub fn build(
        &self,
        kernel: KernelChoice,
        budget_bytes: Option<u64>,
    ) -> Result<BootstrapParams, BootstrapError> {
        let scheme = Parameters::from_literal(&(self.scheme)(), kernel, budget_bytes)?;
        BootstrapParams::new(&scheme, (self.literal)())
    }
}

/// Base prime, two primes for SlotsToCoeffs, three of 40 bits for the user, 8 for EvalMod and two for CoeffsToSlots.
fn scheme_literal_log_n15() -> ParamsLiteral {
    let q_bits = std::iter::once(50)
        .chain(std::iter::repeat_n(40, 2 + 3))
        .chain(std::iter::repeat_n(50, 8 + 2));
    ParamsLiteral {
        log_n: 15,
        q_bits: q_bits.collect(),
        p_bits: vec![50; 2],
        digits: 8,
    }
}

fn literal_log_n15() -> BootstrapLiteral {
    BootstrapLiteral {
        slots_to_coeffs_levels: 2,
        coeffs_to_slots_levels: 2,
        log_scale: 40.0,
        ..BootstrapLiteral::full_complex(15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_secure_and_never_fail() {
        for preset in BootstrapPreset::ALL {
            let params = preset
                .build(KernelChoice::Auto, None)
                .expect("a preset can be built");
            assert_eq!(params.scheme().security_bits(), 128);
            assert!(params.failure_log2() < -128.0, "{}", params.failure_log2());
            let bits = if params.scheme().log_n() == 16 {
                600.0
            } else {
                119.0
            };
            assert!(params.residual_bits() >= bits);
            let found = BootstrapPreset::named(preset.name()).expect("its name");
            assert_eq!(found.summary(), preset.summary());
        }
        assert!(BootstrapPreset::named("n14").is_none());
    }
}
