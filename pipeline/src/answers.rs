//! The client's look at decrypted logits: which of them are answers.
//!
//! All images of a group share all of its ciphertexts. When a value of one of them leaves its range so far that coefficients wrap,
//! the others are spoiled too, and nothing in the ciphertexts tells. Their logits then are random numbers of the size of the
//! modulus, far beyond [`he_models::LogitBounds`]. One image with logits beyond the bounds proves that a range was left in its
//! group. So no image of the group gets an answer: those within the bounds may be wrong as well.

use std::fmt;

use he_models::LogitBounds;
use serde::{Deserialize, Serialize};

use crate::grouping::Grouping;

/// What the logits of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The image's own.
    Given,
    /// Those of the mean picture, which was encrypted in its place.
    Blanked,
    /// Not to be trusted: an image of its group has left a range.
    Spoiled,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "given",
            Self::Blanked => "left out",
            Self::Spoiled => "spoiled by an image out of range",
        })
    }
}

/// A group of images that is spoiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoiledGroup {
    /// Number of the group.
    pub group: usize,
    /// Numbers in the data set of its images without an answer for this reason.
    pub images: Vec<usize>,
    /// Those of them whose logits are beyond the bounds.
    pub beyond: Vec<usize>,
}

/// Which images have an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// One for each image, in the order of the batch.
    pub images: Vec<Answer>,
    /// The spoiled groups.
    pub spoiled: Vec<SpoiledGroup>,
}

impl Answers {
    /// Looks at the logits `[image][class]` of a batch in its groups. `first`: number of the first image in its
    /// data set; `blanked`: positions in the batch of those that were left out, ascending.
    ///
    /// # Panics
    /// If there are no classes.
    #[must_use]
    pub fn judge(
        logits: &[f64],
        bounds: &LogitBounds,
        grouping: Grouping,
        first: usize,
        blanked: &[usize],
    ) -> Self {
        let classes = bounds.least.len();
        let mut answers = Self {
            images: Vec::with_capacity(logits.len() / classes),
            spoiled: Vec::new(),
        };
        for (number, group) in grouping.groups(logits.len() / classes).enumerate() {
            let (start, end) = (group.range.start, group.range.end);
            let rows = &logits[start * classes..end * classes];
            let within: Vec<bool> = rows
                .chunks_exact(classes)
                .map(|row| bounds.hold(row))
                .collect();
            let spoiled = within.contains(&false);
            let answer = |at: usize| match (blanked.binary_search(&(start + at)).is_ok(), spoiled) {
                (true, _) => Answer::Blanked,
                (false, true) => Answer::Spoiled,
                (false, false) => Answer::Given,
            };
            answers.images.extend((0..within.len()).map(answer));
            if spoiled {
                let lost = |at: &usize| answers.images[start + at] == Answer::Spoiled;
                let images: Vec<usize> = (0..within.len()).filter(lost).collect();
                let beyond = images.iter().copied().filter(|at| !within[*at]);
                let number_of = |at: usize| first + start + at;
                answers.spoiled.push(SpoiledGroup {
                    group: number,
                    beyond: beyond.map(number_of).collect(),
                    images: images.into_iter().map(number_of).collect(),
                });
            }
        }
        answers
    }

    /// Positions of the images that have an answer.
    #[must_use]
    pub fn given(&self) -> Vec<usize> {
        let given = self.images.iter().enumerate();
        let given = given.filter(|(_, answer)| **answer == Answer::Given);
        given.map(|(position, _)| position).collect()
    }

    /// Images without an answer because their group is spoiled.
    #[must_use]
    pub fn images_spoiled(&self) -> usize {
        self.spoiled.iter().map(|group| group.images.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_beyond_the_bounds_takes_its_group_along() {
        let bounds = LogitBounds {
            least: vec![-1.0, -2.0],
            most: vec![1.0, 2.0],
        };
        // Three groups of at most three images; the second logit of image 4 is beyond its bound.
        let mut logits = vec![0.5; 14];
        logits[9] = -2.5;
        let judge = |logits: &[f64]| Answers::judge(logits, &bounds, Grouping::of(3), 100, &[1, 5]);
        let found = judge(&logits);
        use Answer::{Blanked, Given, Spoiled};
        let expected = [Given, Blanked, Given, Spoiled, Spoiled, Blanked, Given];
        assert_eq!(found.images, expected);
        let group = SpoiledGroup {
            group: 1,
            images: vec![103, 104],
            beyond: vec![104],
        };
        assert_eq!((found.images_spoiled(), found.given()), (2, vec![0, 2, 6]));
        assert_eq!(found.spoiled, [group]);

        // The mean picture's own logits are looked at too.
        logits[9] = 0.0;
        assert_eq!(judge(&logits).spoiled, []);
        logits[10] = f64::NAN;
        let found = judge(&logits);
        assert_eq!(found.images[3..6], [Spoiled, Spoiled, Blanked]);
        assert_eq!(found.spoiled[0].beyond, [0; 0]);
    }
}
