//! Seconds of the primitives.

use super::{Primitives, Work};

/// Seconds that one unit of each primitive takes on one thread of a machine, at one ring degree, with one kernel.
pub type PrimitiveCosts = Primitives<f64>;

impl PrimitiveCosts {
    /// Figures that come with the crate.
    pub fn built_in(_kernel: &str, _log_n: u32) -> Self {
        Self::default()
    }

    /// Seconds that each primitive of `work` takes.
    pub fn breakdown(&self, work: &Work) -> Primitives<f64> {
        let mut seconds = self.to_array();
        for (cost, amount) in seconds.iter_mut().zip(work.to_array()) {
            *cost *= amount as f64;
        }
        Primitives::from_array(seconds)
    }

    /// Seconds of all primitives of `work` together.
    pub fn seconds(&self, work: &Work) -> f64 {
        self.breakdown(work).to_array().iter().sum()
    }
}
