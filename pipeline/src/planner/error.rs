//! Why there is no plan, and what would help.

use ckks_scheme::{BootstrapError, ParamError};
use datasets::DataError;
use he_layers::LayerError;
use thiserror::Error;

use crate::units::{flag_up, gb, gb_up};

/// Why there is no plan.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Every plan that is precise enough needs more memory than there may be.
    #[error(
        "memory of {:.2} GB is not enough for {batch} images of {model}: at least {:.2} GB are needed (`--memory-gib {:.2}`)",
        gb(*budget_bytes),
        gb_up(*needed_bytes),
        flag_up(*needed_bytes)
    )]
    Memory {
        /// Name of the network.
        model: String,
        /// Images to run.
        batch: usize,
        /// Memory allowed in bytes.
        budget_bytes: u64,
        /// Least memory that would do in bytes.
        needed_bytes: u64,
    },
    /// The network is too deep for every ring at 128-bit security.
    #[error(
        "{model} needs {levels} primes of at least {bits} bits, more than 128-bit security allows at {rings}, {refreshes}"
    )]
    Depth {
        /// Name of the network.
        model: String,
        /// Primes needed without a refresh.
        levels: usize,
        /// Fewest bits of a prime.
        bits: u32,
        /// Rings tried.
        rings: String,
        /// Whether refreshes were tried, in words.
        refreshes: &'static str,
    },
    /// The network cannot run with as many refreshes as are asked for, or with any.
    #[error(
        "{model} cannot run with {} at {rings}: {refreshable} of its tensors can be refreshed, where enough levels are left before and after",
        counted(*pinned)
    )]
    Refreshes {
        /// Name of the network.
        model: String,
        /// Refreshes asked for, if it is a number.
        pinned: Option<usize>,
        /// Tensors that can be refreshed.
        refreshable: usize,
        /// Rings tried.
        rings: String,
    },
    /// No plan within the memory is precise enough.
    #[error(
        "{model}: the largest logit error would be about {} deviations of the logits, expected at most {expected:?}{}",
        about(*found),
        remedy(*found, *needed_bytes)
    )]
    Precision {
        /// Name of the network.
        model: String,
        /// Least error found, in deviations of the logits.
        found: f64,
        /// Largest error allowed.
        expected: f64,
        /// Least memory in bytes with which a plan is precise enough, if that is all that it lacks.
        needed_bytes: Option<u64>,
    },
    /// No layout fits the network, or the pinned one does not.
    #[error("no layout fits {model}: {reason}")]
    Layout {
        /// Name of the network.
        model: String,
        /// What the last layout failed at.
        reason: Box<LayerError>,
    },
    /// Refreshes of one network that apply different functions.
    #[error("{model}: its refreshes apply different functions, expected one for all of them")]
    Functions {
        /// Name of the network.
        model: String,
    },
    /// A plan file that belongs to something else.
    #[error("plan: {what} is {found}, expected {expected}")]
    Foreign {
        /// What differs.
        what: &'static str,
        /// In the plan.
        found: String,
        /// In this run.
        expected: String,
    },
    /// Images for the estimate of errors that cannot be made in the network's shape.
    #[error(transparent)]
    Images(#[from] DataError),
    /// Parameters that cannot be built.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// A bootstrapping that cannot be built.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

impl PlanError {
    pub(crate) fn layout(model: &str, reason: LayerError) -> Self {
        Self::Layout {
            model: model.to_owned(),
            reason: Box::new(reason),
        }
    }

    /// Whether a plan, its parameters or the images are at fault. All else is not feasible, on a processor without the kernel
    /// too.
    pub fn is_bad_input(&self) -> bool {
        if let Self::Params(error) = self {
            return !matches!(
                error,
                ParamError::Insecure { .. } | ParamError::Arithmetic(_)
            );
        }
        matches!(self, Self::Foreign { .. } | Self::Images(_))
    }
}

/// A number with four decimals, or few digits.
fn about(value: f64) -> String {
    if (1e-4..1e6).contains(&value) {
        format!("{value:.4}")
    } else {
        format!("{value:.2e}")
    }
}

/// Refreshes in words.
fn counted(pinned: Option<usize>) -> String {
    match pinned {
        Some(1) => "exactly 1 refresh".to_owned(),
        Some(count) => format!("exactly {count} refreshes"),
        None => "any number of refreshes".to_owned(),
    }
}

/// What would do instead: a larger error, or more memory.
fn remedy(found: f64, needed_bytes: Option<u64>) -> String {
    if !found.is_finite() {
        return String::new();
    }
    let memory = needed_bytes.map_or_else(String::new, |bytes| {
        format!(", or `--memory-gib {:.2}`", flag_up(bytes))
    });
    format!(
        "; `--max-logit-error {}` would do{memory}",
        rounded_up(found)
    )
}

/// A positive number in two significant digits, not less than it is.
fn rounded_up(x: f64) -> String {
    let digits = 1 - x.log10().floor() as i32;
    let unit = 10f64.powi(digits);
    let decimals = usize::try_from(digits).unwrap_or(0);
    format!("{:.decimals$}", (x * unit).ceil() / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_up_to_two_digits() {
        for (x, rounded) in [
            (0.0312, "0.032"),
            (0.03, "0.030"),
            (0.0996, "0.100"),
            (1.01, "1.1"),
            (123.0, "130"),
            (2.34e-7, "0.00000024"),
        ] {
            assert_eq!(rounded_up(x), rounded);
            assert!(rounded.parse::<f64>().expect("a number") >= x);
        }
    }

    #[test]
    fn an_error_says_what_would_help() {
        let error = |found, needed_bytes| {
            let model = "net".to_owned();
            let expected = 0.02;
            let error = PlanError::Precision {
                model,
                found,
                expected,
                needed_bytes,
            };
            error.to_string()
        };
        let begin = "net: the largest logit error would be about 0.0312 deviations of the logits, expected at most 0.02";
        assert_eq!(
            error(0.0312, None),
            format!("{begin}; `--max-logit-error 0.032` would do")
        );
        assert_eq!(
            error(0.0312, Some((3 << 30) + 1)),
            format!("{begin}; `--max-logit-error 0.032` would do, or `--memory-gib 3.01`")
        );
        assert!(error(f64::INFINITY, None).ends_with("expected at most 0.02"));
    }
}
