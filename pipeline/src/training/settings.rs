//! What is minimised, with which settings, and where these come from.

use std::fmt;

use he_training::{Declared, Given, Ridge, Softmax, TrainingError};
use serde::Serialize;

use super::TrainError;

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Squares, by sums over all images and iterations on those.
    Ridge(Ridge),
    /// Cross-entropy, by accelerated gradients on mini-batches.
    Softmax(Softmax),
}

impl Loss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`TrainingError::Setting`](he_training::TrainingError::Setting).
    pub fn validate(&self) -> Result<(), TrainError> {
        match self {
            Self::Ridge(ridge) => ridge.validate()?,
            Self::Softmax(softmax) => softmax.validate()?,
        }
        Ok(())
    }

    /// Name in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ridge(_) => "ridge",
            Self::Softmax(_) => "softmax",
        }
    }

    /// Declared bound of the norm of an image's features.
    pub const fn norm_bound(&self) -> f64 {
        match self {
            Self::Ridge(ridge) => ridge.norm_bound,
            Self::Softmax(softmax) => softmax.norm_bound,
        }
    }

    /// Tells trainings apart that do the same up to the head.
    pub(super) fn identity(&self) -> String {
        let settings = match self {
            Self::Ridge(ridge) => serde_json::to_string(ridge),
            Self::Softmax(softmax) => serde_json::to_string(softmax),
        };
        settings.expect("numbers are JSON")
    }
}

/// Where the settings of a loss come from that are not a part of the task: from what is declared of features, unless they are given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// What is declared.
    pub declared: Declared,
    /// What is given.
    pub given: Given,
}

impl Rule {
    /// The loss with the settings of the rule, for a training on so many images in so many groups.
    pub(super) fn applied(
        &self,
        loss: &Loss,
        (images, groups): (usize, usize),
    ) -> Result<Loss, TrainingError> {
        let Self { declared, given } = self;
        Ok(match loss {
            Loss::Ridge(ridge) => Loss::Ridge(ridge.by_rule(declared, given, images)?),
            Loss::Softmax(softmax) => Loss::Softmax(softmax.by_rule(declared, given, groups)?),
        })
    }
}

/// The settings of a training, for a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainSettings {
    /// Learning rate of a softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Momentum of a softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Weight decay of a softmax, or regularisation of a ridge.
    pub decay: f64,
    /// Groups of images of a mini-batch of a softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_groups: Option<usize>,
    /// Which of these were given. The others follow from what is declared and from the number of steps.
    pub given: Vec<&'static str>,
    /// Declared bound of the norm of an image's features.
    pub norm_bound: f64,
    /// Declared bound of the largest eigenvalue of second moments of features, where settings follow from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eigenvalue_bound: Option<f64>,
}

impl TrainSettings {
    /// `rule`: where the settings come from; without one all are given.
    pub(super) fn new(loss: &Loss, rule: Option<&Rule>) -> Self {
        let (softmax, decay) = match loss {
            Loss::Ridge(ridge) => (None, ridge.regularisation),
            Loss::Softmax(softmax) => (Some(softmax), softmax.decay),
        };
        let given = |what: fn(&Given) -> bool| rule.is_none_or(|r| what(&r.given));
        let of_softmax = |what| softmax.is_some() && given(what);
        let all = [
            ("rate", of_softmax(|g| g.rate.is_some())),
            ("momentum", of_softmax(|g| g.momentum.is_some())),
            ("decay", given(|g| g.decay.is_some())),
            ("step_groups", of_softmax(|g| g.step_groups.is_some())),
        ];
        let given = all.iter().filter(|(_, given)| *given);
        Self {
            rate: softmax.map(|softmax| softmax.rate),
            momentum: softmax.map(|softmax| softmax.momentum),
            decay,
            step_groups: softmax.map(|softmax| softmax.step_groups),
            given: given.map(|(name, _)| *name).collect(),
            norm_bound: loss.norm_bound(),
            eigenvalue_bound: rule.map(|rule| rule.declared.eigenvalue),
        }
    }
}

impl fmt::Display for TrainSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(rate), Some(momentum)) = (self.rate, self.momentum) {
            write!(f, "rate {rate:.4}, momentum {momentum:.4}, ")?;
        }
        write!(f, "decay {:.3e}", self.decay)?;
        if let Some(groups) = self.step_groups {
            write!(f, ", groups of a mini-batch {groups}")?;
        }
        match &self.given[..] {
            [] => write!(f, ", by the rule"),
            given => write!(f, ", of these given: {}", given.join(", ")),
        }
    }
}
