//! The client's look at its pictures before it encrypts them.
//!
//! A picture that drives a value of the network out of its declared range wraps the coefficients of its ciphertexts, and spoils
//! all others in them. A client that has the network evaluates it in the clear and finds such pictures. What it does with them is
//! its [`OutOfRange`]. A client that must not have the network conditions its pictures, as the model's input says; and it can look
//! at them in the same way with the first layers of the network, if their owner hands them out: [`he_models::front()`].

use std::fmt;
use std::ops::Range;

use he_layers::{Chw, PlainTensor};
use he_models::{Conditioning, Excess, Model, spec::InputSpec};
use serde::{Deserialize, Serialize};

use crate::exchange::{ClientInput, ExchangeError};
use crate::grouping::Grouping;
use crate::inference::{Batch, InferenceError};
use crate::progress::Progress;
use crate::references::Reference;
use crate::report;

/// Pictures that an error names at most.
const MOST_NAMED: usize = 10;

/// What to do with pictures that leave a declared range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfRange {
    /// Encrypt nothing.
    Refuse,
    /// Encrypt the mean picture in their place. They get no answer. Networks whose activations are all applied by refreshes
    /// keep such pictures to themselves ([`he_models::Graph::grows_beyond_ranges`]). There this is as [`Self::Allow`].
    #[default]
    Blank,
    /// Encrypt them all the same.
    Allow,
}

/// A picture that leaves a declared range, and where it does so first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leaving {
    /// Number of the image in its data set.
    pub index: usize,
    /// Its class, if known.
    pub label: Option<usize>,
    /// Its own name, if it has one: its file.
    pub name: Option<String>,
    /// The first activation whose range it leaves.
    pub activation: String,
    /// Largest |x + t| there over the declared one; `None` (JSON `null`) if it is not a finite number.
    pub share: Option<f64>,
}

/// A batch as it is encrypted: conditioned, and with the mean picture in the place of those that are left out.
#[derive(Clone)]
pub struct Inputs<'a> {
    batch: Batch<'a>,
    shape: Chw,
    conditioning: Option<&'a Conditioning>,
    /// Positions in the batch, ascending.
    blanked: Vec<usize>,
    /// The picture in their place; none if there are none.
    filler: Vec<f64>,
}

/// What came of looking at a batch.
#[derive(Clone)]
pub struct Screened<'a> {
    /// What is to be encrypted.
    pub inputs: Inputs<'a>,
    /// The pictures that leave a range, in the order of the batch.
    pub leaving: Vec<Leaving>,
}

impl<'a> Inputs<'a> {
    /// All images of a batch.
    pub fn all(batch: Batch<'a>, input: &'a InputSpec) -> Self {
        Self::new(batch, input.shape(), input.conditioning.as_ref())
    }

    /// All images of a batch, for a client without the network.
    pub fn of_client(batch: Batch<'a>, input: &'a ClientInput) -> Self {
        let shape = input.tensor.layout.shape();
        Self::new(batch, shape, input.conditioning.as_ref())
    }

    fn new(batch: Batch<'a>, shape: Chw, conditioning: Option<&'a Conditioning>) -> Self {
        Self {
            batch,
            shape,
            conditioning,
            blanked: Vec::new(),
            filler: Vec::new(),
        }
    }

    /// The batch.
    pub fn batch(&self) -> Batch<'a> {
        self.batch
    }

    /// Positions in the batch of the images that are left out, ascending.
    pub fn blanked(&self) -> &[usize] {
        &self.blanked
    }

    /// The images of a group, as the network reads them.
    ///
    /// # Errors
    /// [`ExchangeError::Data`]; [`ExchangeError::Layer`] for images of another shape.
    pub fn read(&self, group: Range<usize>) -> Result<PlainTensor, ExchangeError> {
        let images = self.batch.read(group.clone())?;
        let mut pixels = images.view().to_f64();
        if let Some(conditioning) = self.conditioning {
            conditioning.apply(self.shape, &mut pixels);
        }
        let volume = self.shape.volume();
        let mut inputs = PlainTensor::new(images.len(), self.shape, pixels)?;
        for position in self.blanked.iter().filter(|p| group.contains(p)) {
            let first = (position - group.start) * volume;
            inputs.data[first..first + volume].copy_from_slice(&self.filler);
        }
        Ok(inputs)
    }
}

/// Finds the pictures of a batch that leave a declared range, and does with them what `policy` says. `reference` is the batch
/// in the clear: [`crate::references::exact`]. `grouping`: which images are encrypted together.
///
/// # Errors
/// [`InferenceError::OutOfRange`] if there are such pictures and they are to be refused, or if nothing else is left;
/// [`InferenceError::Filler`] if what is to stand in the place of pictures leaves a range too.
pub fn screen<'a>(
    model: &'a Model,
    reference: &Reference,
    batch: Batch<'a>,
    grouping: Grouping,
    policy: OutOfRange,
    progress: &dyn Progress,
) -> Result<Screened<'a>, InferenceError> {
    let mut inputs = Inputs::all(batch, &model.spec().input);
    let harmless = policy == OutOfRange::Blank && !model.graph().grows_beyond_ranges();
    let policy = if harmless { OutOfRange::Allow } else { policy };
    // Slots without an image hold zeros.
    let mut groups = grouping.groups(batch.images);
    let has_gaps = groups.any(|group| group.range.len() < group.room);
    if policy != OutOfRange::Allow && has_gaps {
        check_filler(
            model,
            "the picture of zeros in slots without an image",
            |p| p.fill(0.0),
        )?;
    }
    let evaluation = &reference.evaluation;
    let describe = |excess: &Excess| Leaving {
        index: batch.first + excess.image,
        label: reference.labels.as_ref().map(|l| l[excess.image]),
        name: batch.data.image_name(batch.first + excess.image),
        activation: evaluation.activations[excess.activation].name.clone(),
        share: Some(excess.share).filter(|share| share.is_finite()),
    };
    let leaving: Vec<Leaving> = evaluation.out_of_range.iter().map(describe).collect();
    if leaving.is_empty() {
        return Ok(Screened { inputs, leaving });
    }
    let nothing_left = leaving.len() == batch.images;
    match policy {
        OutOfRange::Allow => progress.note(&report::out_of_range_warning(leaving.len())),
        OutOfRange::Blank if !nothing_left => {
            check_filler(
                model,
                "the mean picture, which stands for images that are left out,",
                |_| (),
            )?;
            inputs.blanked = evaluation.out_of_range.iter().map(|e| e.image).collect();
            inputs.filler = model.spec().input.mean_picture();
            let indices = leaving.iter().map(|leaving| leaving.index);
            progress.note(&report::blanked_warning(&indices.collect::<Vec<_>>()));
        }
        OutOfRange::Refuse | OutOfRange::Blank => {
            return Err(InferenceError::OutOfRange {
                model: model.name().to_owned(),
                images: batch.images,
                leaving: leaving.len(),
                named: named(&leaving),
                way_out: match nothing_left {
                    true => "`--out-of-range allow` encrypts them all the same",
                    false => "`--out-of-range blank` leaves them out",
                },
            });
        }
    }
    Ok(Screened { inputs, leaving })
}

/// What takes the place of images must be harmless itself: the mean picture, changed by `edit`.
fn check_filler(
    model: &Model,
    what: &'static str,
    edit: impl Fn(&mut [f64]),
) -> Result<(), InferenceError> {
    let mut picture = model.spec().input.mean_picture();
    edit(&mut picture);
    let evaluation = model.graph().evaluate(&picture)?;
    match evaluation.out_of_range.first() {
        None => Ok(()),
        Some(excess) => Err(InferenceError::Filler {
            model: model.name().to_owned(),
            what,
            activation: evaluation.activations[excess.activation].name.clone(),
        }),
    }
}

/// The first pictures, in words.
fn named(leaving: &[Leaving]) -> String {
    let first: Vec<String> = leaving
        .iter()
        .take(MOST_NAMED)
        .map(Leaving::to_string)
        .collect();
    let more = match leaving.len() - first.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    first.join(", ") + &more
}

impl fmt::Display for Leaving {
    /// `image 17 (label 3) with 5.20 times the range of stage1.block2.act2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {}", self.index)?;
        let label = self.label.map(|label| format!("label {label}"));
        let about: Vec<String> = label.into_iter().chain(self.name.clone()).collect();
        if !about.is_empty() {
            write!(f, " ({})", about.join(", "))?;
        }
        match self.share {
            Some(share) if share < 1e4 => write!(f, " with {share:.2} times")?,
            Some(share) => write!(f, " with {share:.1e} times")?,
            None => write!(f, " beyond all numbers in")?,
        }
        write!(f, " the range of {}", self.activation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_named_with_what_is_known_of_them() {
        let leaving = |share| Leaving {
            index: 17,
            label: Some(3),
            name: Some("dog/3.png".to_owned()),
            activation: "act2".to_owned(),
            share,
        };
        let bare = Leaving {
            label: None,
            name: None,
            ..leaving(Some(2e9))
        };
        assert_eq!(
            leaving(Some(5.2)).to_string(),
            "image 17 (label 3, dog/3.png) with 5.20 times the range of act2"
        );
        assert_eq!(
            bare.to_string(),
            "image 17 with 2.0e9 times the range of act2"
        );
        let all = vec![leaving(None); 12];
        let text = named(&all);
        assert!(
            text.contains("beyond all numbers in the range of act2"),
            "{text}"
        );
        assert!(text.ends_with(", and 2 more"), "{text}");
        assert_eq!(text.matches("image 17").count(), 10);
    }
}
