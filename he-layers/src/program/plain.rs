//! A program in the clear: what its encrypted run approximates.

use rayon::prelude::*;

use super::description::{Program, Source, Term, Value};
use crate::error::LayerError;
use crate::pointwise::{self, Pointwise};
use crate::tensor::PlainTensor;

/// A place of an evaluation in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// What a stage is about to read; the value is the stage's.
    Argument(Value),
    /// A value as it comes.
    Result(Value),
}

impl Program {
    /// The network in the clear, in `f64`.
    ///
    /// # Errors
    /// [`LayerError::Shape`] for images of another shape, [`LayerError::Unfinished`].
    pub fn forward_plain(&self, x: &PlainTensor) -> Result<PlainTensor, LayerError> {
        self.forward_observed(x, &mut |_, _| ())
    }

    /// As [`Self::forward_plain`], with `observe` called on every argument of a stage and every value as it comes: to look at
    /// it, or to disturb it.
    ///
    /// # Errors
    /// As [`Self::forward_plain`].
    pub fn forward_observed(
        &self,
        x: &PlainTensor,
        observe: &mut dyn FnMut(Point, &mut PlainTensor),
    ) -> Result<PlainTensor, LayerError> {
        let output = self.output()?;
        if x.shape != self.shape(self.input()) {
            return Err(LayerError::Shape {
                layer: self.name().to_owned(),
                found: x.shape,
                expected: self.shape(self.input()),
            });
        }
        let last_use = self.last_uses();
        let mut values: Vec<Option<PlainTensor>> = Vec::with_capacity(self.values().len());
        for (index, entry) in self.values().iter().enumerate() {
            let read = |v: Value| {
                values[v.0]
                    .as_ref()
                    .expect("readers come after what they read")
            };
            let mut value = match &entry.source {
                Source::Input => x.clone(),
                Source::Stage(of, stage) => {
                    let mut x = read(*of).clone();
                    observe(Point::Argument(Value(index)), &mut x);
                    evaluate(stage.as_ref(), &mut x);
                    x
                }
                Source::Sum(node) => {
                    let mut sum: Option<PlainTensor> = None;
                    for term in self.nodes()[*node].terms() {
                        let x = read(term.value());
                        match (&mut sum, term) {
                            (None, Term::Linear(_, map)) => sum = Some(map.forward_plain(x)?),
                            (None, Term::Add(_)) => sum = Some(x.clone()),
                            (Some(sum), Term::Linear(_, map)) => {
                                sum.add_assign(map.name(), &map.forward_plain(x)?)?;
                            }
                            (Some(sum), Term::Add(_)) => sum.add_assign(self.name(), x)?,
                        }
                    }
                    sum.expect("a node has a term")
                }
            };
            observe(Point::Result(Value(index)), &mut value);
            values.push(Some(value));
            for (earlier, last) in last_use.iter().enumerate().take(index + 1) {
                if *last == index && earlier != output.0 {
                    values[earlier] = None;
                }
            }
        }
        Ok(values[output.0].take().expect("the output is kept"))
    }

    /// For each image, whether some stage reads a value of it that leaves the stage's declared range.
    ///
    /// # Errors
    /// As [`Self::forward_plain`].
    pub fn images_out_of_range(&self, x: &PlainTensor) -> Result<Vec<bool>, LayerError> {
        let mut outside = vec![false; x.n];
        let mut failed = None;
        self.forward_observed(x, &mut |point, x| {
            let Point::Argument(value) = point else {
                return;
            };
            if let Source::Stage(_, stage) = &self.values()[value.0].source {
                match pointwise::images_out_of_range(stage.as_ref(), x) {
                    Ok(found) => outside.iter_mut().zip(found).for_each(|(o, f)| *o |= f),
                    Err(error) => failed = Some(error),
                }
            }
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(outside),
        }
    }

    /// For each value the last value that is made from it; itself if there is none.
    fn last_uses(&self) -> Vec<usize> {
        let mut last: Vec<usize> = (0..self.values().len()).collect();
        for (index, entry) in self.values().iter().enumerate() {
            match &entry.source {
                Source::Input => {}
                Source::Stage(of, _) => last[of.0] = index,
                Source::Sum(node) => {
                    for term in self.nodes()[*node].terms() {
                        last[term.value().0] = index;
                    }
                }
            }
        }
        last
    }
}

/// A stage in the clear, in place. Its channels were checked when it was applied.
fn evaluate(stage: &dyn Pointwise, x: &mut PlainTensor) {
    let (channels, pixels) = (x.shape.channels, x.shape.pixels().max(1));
    x.data
        .par_chunks_mut(pixels)
        .enumerate()
        .for_each(|(map, values)| stage.evaluate_all(values, map % channels));
}
