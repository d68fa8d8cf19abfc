//! What `eval` reports.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{optional, out_of_range_warning, percent};

/// The plaintext network on a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// Images evaluated.
    pub images: usize,
    /// Share of the labels that the network predicts.
    pub accuracy: Option<f64>,
    /// Images for which some activation input leaves its declared range.
    pub images_out_of_range: usize,
    /// With the weights rounded, if a plan says how.
    #[serde(flatten)]
    pub rounded: Option<RoundedReport>,
    /// What each squaring sees, in order.
    pub max_input_by_layer: Vec<LayerInput>,
    /// How the network takes pictures of other kinds, where that was asked for; the images themselves come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robustness: Option<Vec<FamilyReport>>,
}

/// The plaintext network on a family of pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FamilyReport {
    /// The family.
    pub family: String,
    /// Its pictures.
    pub images: usize,
    /// Those for which some activation input leaves its declared range.
    pub images_out_of_range: usize,
    /// Those with a logit beyond 1000 or one that is not a number.
    pub images_blown_up: usize,
    /// Largest |x + t| over the declared one, of all pictures and activations; `None` (JSON `null`) if that is not a finite
    /// number, or there is none.
    pub largest_share: Option<f64>,
    /// The activation that sees it; `None` for a model that declares no ranges, and without pictures.
    pub activation: Option<String>,
    /// Where the images that leave a range do so first: each activation of which that is true, in order.
    pub left_first: Vec<LeftFirst>,
}

/// Images that leave the range of an activation, and none before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftFirst {
    /// The activation.
    pub name: String,
    /// How many.
    pub images: usize,
}

/// The plaintext network with its weights rounded as an encrypted run rounds them, compared with the exact one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundedReport {
    /// Share of the labels that it predicts.
    pub accuracy_rounded: Option<f64>,
    /// Share of the images with the same prediction.
    pub agreement_rounded: f64,
    /// Largest difference of a logit.
    pub max_logit_error_rounded: f64,
    /// Standard deviation of the exact logits over images and classes.
    pub logit_std: f64,
}

/// The values that one squaring sees, in the channel that comes nearest to its declared range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerInput {
    /// Name of the activation.
    pub name: String,
    /// Largest |x + t|.
    pub max_abs: f64,
    /// What the model promises that |x + t| stays below; `None` if it promises nothing.
    pub declared: Option<f64>,
}

impl fmt::Display for EvalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24}{:>12}", "images", self.images)?;
        writeln!(f, "{:<24}{:>12}", "accuracy", optional(self.accuracy, 4))?;
        writeln!(
            f,
            "{:<24}{:>12}\n",
            "images out of range", self.images_out_of_range
        )?;
        if let Some(rounded) = &self.rounded {
            writeln!(f, "with the weights rounded as the plan's run rounds them")?;
            let accuracy = optional(rounded.accuracy_rounded, 4);
            writeln!(f, "{:<24}{:>12}", "accuracy", accuracy)?;
            writeln!(f, "{:<24}{:>12.4}", "same top-1", rounded.agreement_rounded)?;
            writeln!(
                f,
                "{:<24}{:>12.6}   {:.6} deviations of the logits\n",
                "largest logit error",
                rounded.max_logit_error_rounded,
                rounded.max_logit_error_rounded / rounded.logit_std
            )?;
        }
        write!(
            f,
            "{:<24}{:>16}{:>12}{:>8}",
            "activation", "largest |x + t|", "declared", "share"
        )?;
        for layer in &self.max_input_by_layer {
            let share = layer
                .declared
                .map(|declared| percent(layer.max_abs, declared));
            write!(
                f,
                "\n{:<24}{:>16.3}{:>12}{:>6} %",
                layer.name,
                layer.max_abs,
                optional(layer.declared, 3),
                optional(share, 0)
            )?;
        }
        if self.images_out_of_range > 0 {
            write!(f, "\n\n{}", out_of_range_warning(self.images_out_of_range))?;
        }
        match &self.robustness {
            Some(families) => write_families(f, families),
            None => Ok(()),
        }
    }
}

fn write_families(f: &mut fmt::Formatter<'_>, families: &[FamilyReport]) -> fmt::Result {
    write!(
        f,
        "\n\n{:<44}{:>9}{:>14}{:>11}{:>12}  at",
        "pictures", "images", "out of range", "blown up", "largest"
    )?;
    for family in families {
        let largest = match (family.largest_share, &family.activation) {
            (Some(share), _) if share < 1e4 => format!("{share:.3}"),
            (Some(share), _) => format!("{share:.1e}"),
            (None, Some(_)) => "overflow".to_owned(),
            (None, None) => "-".to_owned(),
        };
        write!(
            f,
            "\n{:<44}{:>9}{:>14}{:>11}{largest:>12}  {}",
            family.family,
            family.images,
            family.images_out_of_range,
            family.images_blown_up,
            family.activation.as_deref().unwrap_or("-")
        )?;
    }
    Ok(())
}
