//! The state of a run between two steps: what there is to keep, and a run that goes on from what was kept.

use std::collections::{BTreeMap, BTreeSet};

use ckks_scheme::{Ciphertext, Evaluator};

use super::accumulator::Accumulator;
use super::prepared::PreparedProgram;
use super::run::Run;
use super::share::Share;
use crate::encrypted::EncryptedTensor;
use crate::error::LayerError;
use crate::rounding::MeanError;

/// What a run holds after so many steps, besides ciphertexts.
#[derive(Clone, Debug, PartialEq)]
pub struct RunState {
    /// Steps that are done.
    pub done: usize,
    /// Mean errors of rounded weights in sums under way. They are subtracted when a sum is finished.
    pub corrections: Vec<MeanError>,
}

impl Run<'_> {
    /// What the run holds, besides [`Self::ciphertexts`].
    pub fn state(&self) -> RunState {
        RunState {
            done: self.done,
            corrections: self.sums.values().flat_map(|s| s.corrections()).collect(),
        }
    }

    /// All ciphertexts that later steps need: tensors that are finished and not read yet, then the inner sums under way.
    /// [`PreparedProgram::resume`] takes them in this order.
    pub fn ciphertexts(&self) -> impl Iterator<Item = &Ciphertext> {
        let sums = self.sums.values().flat_map(|sums| sums.ciphertexts());
        self.tensors.values().flatten().chain(sums)
    }
}

/// The inner sums under way after some steps: by node, for each output its giant steps.
type UnderWay = BTreeMap<usize, Vec<BTreeSet<i64>>>;

impl PreparedProgram {
    /// Number of ciphertexts that a run holds after `done` steps. More steps than there are count as all.
    pub fn ciphertexts_after(&self, done: usize) -> usize {
        let tensors = self.finished_after(done).into_iter();
        let tensors = tensors.map(|tensor| self.values[tensor].spec.layout.ciphertexts());
        let sums = self.under_way_after(done);
        tensors.sum::<usize>() + sums.values().flatten().map(BTreeSet::len).sum::<usize>()
    }

    /// A run that goes on from a state that [`Run::state`] and [`Run::ciphertexts`] gave. The results are those that the first
    /// run would have had, to the last bit.
    ///
    /// # Errors
    /// [`LayerError::Count`] and [`LayerError::ForeignTensor`] for what is no state of this program; the first error of
    /// `ciphertexts`.
    pub fn resume<'a, E: From<LayerError>>(
        &'a self,
        evaluator: &'a Evaluator,
        state: &RunState,
        ciphertexts: impl IntoIterator<Item = Result<Ciphertext, E>>,
    ) -> Result<Run<'a>, E> {
        let done = state.done;
        check_count("steps that are done", done.min(self.steps()), done)?;
        let expected = self.ciphertexts_after(done);
        let mut read = 0;
        let mut left = ciphertexts.into_iter();
        let mut next = || {
            let missing = LayerError::Count {
                what: "ciphertexts of a state",
                found: read,
                expected,
            };
            read += 1;
            left.next().unwrap_or_else(|| Err(missing.into()))
        };
        let mut tensors = BTreeMap::new();
        for tensor in self.finished_after(done) {
            let spec = &self.values[tensor].spec;
            let count = spec.layout.ciphertexts();
            let read: Vec<_> = (0..count).map(|_| next()).collect::<Result<_, E>>()?;
            let read = EncryptedTensor::new(spec.clone(), read)?;
            tensors.insert(tensor, read.into_parts().1);
        }
        let mut corrections = &state.corrections[..];
        let mut sums = BTreeMap::new();
        for (node, opened) in self.under_way_after(done) {
            let spec = &self.values[self.nodes[node].value].spec;
            let cells = spec.layout.grid().cells();
            let of_node = corrections.split_at_checked(opened.len() * cells);
            let Some((of_node, rest)) = of_node else {
                return Err(wrong_corrections(state, opened.len() * cells));
            };
            corrections = rest;
            let mut by_output = Vec::new();
            for giants in opened {
                let mut by_giant = BTreeMap::new();
                for giant in giants {
                    let sum = next()?;
                    spec.check(&self.nodes[node].name, &sum)?;
                    by_giant.insert(giant, sum);
                }
                by_output.push(by_giant);
            }
            let restored = Accumulator::restore(evaluator, spec, by_output, of_node);
            sums.insert(node, restored);
        }
        if !corrections.is_empty() {
            return Err(wrong_corrections(state, 0));
        }
        if let Some(more) = left.next() {
            drop(more?);
            check_count("ciphertexts of a state", expected + 1, expected)?;
        }
        Ok(Run {
            program: self,
            evaluator,
            share: Share::whole(),
            tensors,
            sums,
            done,
        })
    }

    /// Tensors that are there after `done` steps and that a later step, or the client, reads.
    fn finished_after(&self, done: usize) -> BTreeSet<usize> {
        let (before, after) = self.steps.split_at(done.min(self.steps()));
        let finished = before.iter().flat_map(|step| &step.finishes);
        let finished: BTreeSet<usize> = finished.map(|node| self.nodes[*node].value).collect();
        let later = after.iter().map(|step| step.tensor).chain([self.output]);
        let input = |tensor: usize| tensor == 0 && before.is_empty();
        later
            .filter(|tensor| finished.contains(tensor) || input(*tensor))
            .collect()
    }

    /// The inner sums that are under way after `done` steps.
    fn under_way_after(&self, done: usize) -> UnderWay {
        let (before, after) = self.steps.split_at(done.min(self.steps()));
        let unfinished: BTreeSet<usize> = after.iter().flat_map(|s| &s.finishes).copied().collect();
        let mut sums = UnderWay::new();
        for value in before.iter().flat_map(|step| &step.values) {
            let value = &self.values[*value];
            for &node in value.adds.iter().filter(|node| unfinished.contains(node)) {
                let of_node = self.opened(&mut sums, node).iter_mut();
                let added = of_node.take(value.spec.layout.ciphertexts());
                for giants in added {
                    giants.insert(0);
                }
            }
            let products = value.products.iter();
            for &(node, product) in products.filter(|(node, _)| unfinished.contains(node)) {
                let of_node = self.opened(&mut sums, node);
                for task in self.nodes[node].products[product].map.tasks() {
                    for &output in task.outputs() {
                        of_node[output].insert(task.giant());
                    }
                }
            }
        }
        sums
    }

    fn opened<'s>(&self, sums: &'s mut UnderWay, node: usize) -> &'s mut [BTreeSet<i64>] {
        let outputs = self.values[self.nodes[node].value]
            .spec
            .layout
            .ciphertexts();
        sums.entry(node)
            .or_insert_with(|| vec![BTreeSet::new(); outputs])
    }
}

pub(super) fn check_count(
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), LayerError> {
    if found == expected {
        return Ok(());
    }
    Err(LayerError::Count {
        what,
        found,
        expected,
    })
}

fn wrong_corrections<E: From<LayerError>>(state: &RunState, expected: usize) -> E {
    let error = LayerError::Count {
        what: "corrections of a state",
        found: state.corrections.len(),
        expected,
    };
    error.into()
}
