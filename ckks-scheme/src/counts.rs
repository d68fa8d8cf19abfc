//! What operations cost, written down once: the primitive work of every operation of an evaluator, from ring degree,
//! primes, digits and levels.
//!
//! [`Counts`] predicts, an evaluator's [`Profile`](crate::Profile) counts while it runs, and both give the same numbers
//! exactly. [`PrimitiveCosts`] says how long a unit of each primitive takes on a machine: their product is the time on one
//! thread.
//!
//! ```
//! use ckks_scheme::counts::PrimitiveCosts;
//! use ckks_scheme::{Level, ModulusChain, params};
//!
//! # fn main() -> Result<(), ckks_scheme::ParamError> {
//! let chain = ModulusChain::from_literal(&params::classic128(15)?)?;
//! let (level, key) = (Level::new(7), Level::new(11));
//! let work = chain.counts().rescale(level, 2) + chain.counts().rotate_many(level, key, 3);
//! let seconds = PrimitiveCosts::built_in("avx512ifma", 15).seconds(&work);
//! # assert!(seconds > 0.0);
//! # Ok(())
//! # }
//! ```

mod calibrate;
mod circuit;
mod costs;
mod ops;
mod switch;
mod work;

pub use costs::PrimitiveCosts;
pub(crate) use work::PRIMITIVES;
pub use work::{Primitives, Work};

use crate::params::ModulusChain;

/// The work of operations over one chain of primes. Levels are levels of the chain; where they are not, it panics.
#[derive(Clone, Copy, Debug)]
pub struct Counts<'a> {
    chain: &'a ModulusChain,
}

impl<'a> Counts<'a> {
    pub(crate) fn new(chain: &'a ModulusChain) -> Self {
        Self { chain }
    }

    /// The chain.
    pub fn chain(&self) -> &'a ModulusChain {
        self.chain
    }

    /// Words of a limb.
    fn words(&self) -> usize {
        self.chain.degree()
    }
}
