//! The level of every value: the lowest that its readers allow.

use ckks_scheme::Level;

use super::description::{Program, Source, Term};
use crate::error::LayerError;
use crate::pointwise::{Depth, Setting};
use crate::spec::Form;

/// Least level of sums: they stand at `S q`, which one prime does not hold.
const LEAST_SUM_LEVEL: usize = 2;

impl Program {
    /// Form of every value.
    pub(super) fn forms(&self) -> Vec<Form> {
        let form = |source: &Source| match source {
            Source::Input if self.input_is_only_multiplied() => Form::Squares,
            Source::Input => Form::Values,
            Source::Sum(_) => Form::Sums,
            Source::Stage(_, stage) => stage.output_form(),
        };
        self.values().iter().map(|v| form(&v.source)).collect()
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

    /// Level of every value, if the network's output is to have level `output`.
    ///
    /// # Errors
    /// [`LayerError::Unfinished`], [`LayerError::RefreshLevels`], and those of [`crate::Pointwise::depth`].
    pub(super) fn levels(
        &self,
        setting: &Setting<'_>,
        output: Level,
    ) -> Result<Vec<Level>, LayerError> {
        let forms = self.forms();
        let mut need = vec![1; self.values().len()];
        need[self.output()?.0] = output.limbs();
        // Readers come after what they read.
        for (index, entry) in self.values().iter().enumerate().rev() {
            let at = need[index];
            match &entry.source {
                Source::Input => {}
                Source::Sum(node) => {
                    need[index] = at.max(LEAST_SUM_LEVEL);
                    for term in self.nodes()[*node].terms() {
                        let read = &mut need[term.value().0];
                        *read = (*read).max(at.max(LEAST_SUM_LEVEL));
                    }
                }
                Source::Stage(of, stage) => {
                    let input = match stage.depth(forms[of.0], setting)? {
                        Depth::Levels(levels) => at + levels,
                        Depth::Refresh { input, output } if output.limbs() >= at => input.limbs(),
                        Depth::Refresh { output, .. } => {
                            return Err(LayerError::RefreshLevels {
                                stage: stage.name().to_owned(),
                                need: Level::new(at),
                                have: output,
                            });
                        }
                    };
                    need[of.0] = need[of.0].max(input);
                }
            }
        }
        Ok(need.into_iter().map(Level::new).collect())
    }

    /// Levels that the input needs: the number of ciphertext primes of the smallest chain without refreshes.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn input_level(&self, setting: &Setting<'_>, output: Level) -> Result<Level, LayerError> {
        Ok(self.levels(setting, output)?[0])
    }
}
