//! The level of every value: the lowest that its readers allow.

use ckks_scheme::Level;

use super::description::{Program, Source, Term, Value};
use crate::error::LayerError;
use crate::pointwise::{Depth, Setting};
use crate::spec::Form;

/// Least level of sums: they stand at `S q`, which one prime does not hold.
const LEAST_SUM_LEVEL: usize = 2;

impl Program {
    /// Form of every value.
    pub(super) fn forms(&self) -> Vec<Form> {
        self.all_values().map(|value| self.form(value)).collect()
    }

    /// Form of a value.
    fn form(&self, value: Value) -> Form {
        match &self.values()[value.0].source {
            Source::Input if self.input_is_only_multiplied() => Form::Squares,
            Source::Input => Form::Values,
            Source::Sum(_) => Form::Sums,
            Source::Stage(_, stage) => stage.output_form(),
        }
    }

    /// Whether nothing but linear maps reads the input.
    fn input_is_only_multiplied(&self) -> bool {
        let staged = self
            .values()
            .iter()
            .any(|v| matches!(&v.source, Source::Stage(of, _) if *of == self.input()));
        let added = self
            .nodes()
            .iter()
            .flat_map(|node| node.terms())
            .any(|term| matches!(term, Term::Add(v) if *v == self.input()));
        !staged && !added
    }

    /// Level of every value, if the network's output is to have level `output`, and its spare levels
    /// ([`Self::leave_levels`]) above: the lowest that its readers allow. What a refresh gives may be asked to have more levels
    /// than it has; [`Self::prepare`] refuses that.
    ///
    /// # Errors
    /// [`LayerError::Unfinished`], and those of [`crate::Pointwise::depth`].
    pub fn levels(&self, setting: &Setting<'_>, output: Level) -> Result<Vec<Level>, LayerError> {
        let forms = self.forms();
        let mut need = vec![1; self.values().len()];
        need[self.output()?.0] = output.limbs().saturating_add(self.spare_levels());
        // Readers come after what they read.
        for (index, entry) in self.values().iter().enumerate().rev() {
            match &entry.source {
                Source::Input => {}
                Source::Sum(node) => {
                    let at = need[index].max(LEAST_SUM_LEVEL);
                    need[index] = at;
                    for term in self.nodes()[*node].terms() {
                        let read = &mut need[term.value().0];
                        *read = (*read).max(at);
                    }
                }
                Source::Stage(of, stage) => {
                    let input = match stage.depth(forms[of.0], setting)? {
                        Depth::Levels(levels) => need[index] + levels,
                        Depth::Refresh { input, .. } => input.limbs(),
                    };
                    need[of.0] = need[of.0].max(input);
                }
            }
        }
        Ok(need.into_iter().map(Level::new).collect())
    }

    /// The first value, from the output on, that needs a higher level than it can have: `most` for the input, the level that
    /// a refresh gives for what is refreshed.
    ///
    /// # Errors
    /// As [`crate::Pointwise::depth`].
    pub fn first_shortage(
        &self,
        setting: &Setting<'_>,
        levels: &[Level],
        most: Level,
    ) -> Result<Option<Shortage>, LayerError> {
        let forms = self.forms();
        for (index, entry) in self.values().iter().enumerate().rev() {
            let have = match &entry.source {
                Source::Input => most,
                Source::Sum(_) => continue,
                Source::Stage(of, stage) => match stage.depth(forms[of.0], setting)? {
                    Depth::Levels(_) => continue,
                    Depth::Refresh { output, .. } => output,
                },
            };
            if levels[index] > have {
                return Ok(Some(Shortage {
                    value: Value(index),
                    need: levels[index],
                    have,
                }));
            }
        }
        Ok(None)
    }

    /// All values, in the order of computation.
    pub fn all_values(&self) -> impl Iterator<Item = Value> + use<> {
        (0..self.values().len()).map(Value)
    }

    /// Linear maps that read a value.
    pub fn products_of(&self, value: Value) -> usize {
        let terms = self.nodes().iter().flat_map(|node| node.terms());
        terms
            .filter(|term| matches!(term, Term::Linear(v, _) if *v == value))
            .count()
    }

    /// Levels that the stage takes that gives a value; 0 for others, and for refreshes.
    ///
    /// # Errors
    /// As [`crate::Pointwise::depth`].
    pub fn stage_depth(&self, value: Value, setting: &Setting<'_>) -> Result<usize, LayerError> {
        let Source::Stage(of, stage) = &self.values()[value.0].source else {
            return Ok(0);
        };
        match stage.depth(self.form(*of), setting)? {
            Depth::Levels(levels) => Ok(levels),
            Depth::Refresh { .. } => Ok(0),
        }
    }

    /// Levels that the input needs: the number of ciphertext primes of the smallest chain.
    ///
    /// # Errors
    /// As [`Self::levels`].
    pub fn input_level(&self, setting: &Setting<'_>, output: Level) -> Result<Level, LayerError> {
        Ok(self.levels(setting, output)?[0])
    }
}

/// A value that needs more levels than it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The value.
    pub value: Value,
    /// Level that its readers need.
    pub need: Level,
    /// Level that it can have.
    pub have: Level,
}
