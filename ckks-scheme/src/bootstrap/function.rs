//! The function that a refresh applies.

use super::{BootstrapError, FourierSeries};
use serde::{Deserialize, Serialize};

/// What a refresh by a Fourier series makes of every real component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum RefreshFunction {
    /// Nothing: the values themselves.
    #[default]
    Identity,
    /// `max(v, 0)`.
    Relu,
    /// Any series whose period is that of the message: base prime over the scale of the message, which is
    /// 2^`log_message_ratio` times the largest value.
    Series(FourierSeries),
}

impl RefreshFunction {
    /// The series that stands for it.
    ///
    /// # Errors
    /// As the constructors of [`FourierSeries`]; [`BootstrapError::Invalid`] for a series of another period.
    pub fn series(
        &self,
        harmonics: usize,
        range: f64,
        period: f64,
    ) -> Result<FourierSeries, BootstrapError> {
        match self {
            Self::Identity => FourierSeries::identity(harmonics, range, period),
            Self::Relu => FourierSeries::relu(harmonics, range, period),
            Self::Series(series) => {
                let ratio = series.period() / period;
                if (ratio - 1.0).abs() > 1e-9 {
                    return Err(BootstrapError::Invalid {
                        what: "period of a Fourier series",
                        found: series.period().to_string(),
                        expected: period.to_string(),
                    });
                }
                Ok(series.clone())
            }
        }
    }

    /// Name in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::Series(_) => "series",
        }
    }

    /// Whether values stay what they are.
    pub fn is_identity(&self) -> bool {
        *self == Self::Identity
    }

    /// The function itself, where it is not the series.
    pub fn exact(&self, v: f64) -> Option<f64> {
        match self {
            Self::Identity => Some(v),
            Self::Relu => Some(v.max(0.0)),
            Self::Series(_) => None,
        }
    }
}
