//! A program with refreshes put in.

use ckks_scheme::bootstrap::FourierSeries;

use super::description::{Program, Source, Term, Value};
use crate::error::LayerError;
use crate::pointwise::Refresh;

impl Program {
    /// The same network with the values `at` refreshed before anything reads them.
    ///
    /// # Errors
    /// [`LayerError::NoRange`] where nothing declares how large a value is; [`LayerError::Unfinished`].
    pub fn with_refreshes(&self, at: &[Value]) -> Result<Self, LayerError> {
        let mut program = Self::new(
            self.name(),
            self.shape(self.input()),
            self.given_input_mean().to_vec(),
        );
        // For each value of the old program what its readers read in the new one.
        let mut new: Vec<Value> = Vec::with_capacity(self.values().len());
        for (index, entry) in self.values().iter().enumerate() {
            let value = match &entry.source {
                Source::Input => program.input(),
                Source::Stage(of, stage) => program.apply_shared(new[of.0], stage.clone())?,
                Source::Sum(node) => {
                    let node = &self.nodes()[*node];
                    let terms = node.terms().iter().map(|term| match term {
                        Term::Linear(v, map) => Term::Linear(new[v.0], map.clone()),
                        Term::Add(v) => Term::Add(new[v.0]),
                    });
                    program.checked_node(node.stage(), node.name(), terms.collect())?
                }
            };
            let old = Value(index);
            let value = match at.contains(&old) {
                true => {
                    let name = format!("{}.refresh", self.label(old));
                    let declared = self.declared(old)?;
                    program.apply(value, Refresh::new(name, declared))?
                }
                false => value,
            };
            new.push(value);
        }
        program.finish(new[self.output()?.0])?;
        program.leave_levels(self.spare_levels());
        Ok(program)
    }

    /// The functions that refreshes of the network apply, each once.
    pub fn refresh_functions(&self) -> Vec<&FourierSeries> {
        let mut functions: Vec<&FourierSeries> = Vec::new();
        for entry in self.values() {
            if let Source::Stage(_, stage) = &entry.source
                && let Some(function) = stage.refresh_function()
                && !functions.contains(&function)
            {
                functions.push(function);
            }
        }
        functions
    }

    /// Values that [`Self::with_refreshes`] can refresh: sums whose size a stage declares.
    pub fn refreshable(&self) -> Vec<Value> {
        let sums = (0..self.values().len()).map(Value);
        sums.filter(|v| matches!(self.values()[v.0].source, Source::Sum(_)))
            .filter(|v| self.declared(*v).is_ok())
            .collect()
    }

    /// Largest absolute value of each channel of a value, as the stages that read it declare.
    fn declared(&self, value: Value) -> Result<Vec<f64>, LayerError> {
        let channels = self.shape(value).channels;
        let mut declared = vec![f64::INFINITY; channels];
        for entry in self.values() {
            if let Source::Stage(of, stage) = &entry.source
                && *of == value
            {
                for (c, max) in declared.iter_mut().enumerate() {
                    *max = max.min(stage.input_size(c).0);
                }
            }
        }
        if declared.iter().all(|d| d.is_finite()) {
            return Ok(declared);
        }
        Err(LayerError::NoRange {
            value: self.label(value),
        })
    }
}
