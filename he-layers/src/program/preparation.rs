//! What a program is prepared for.

use ckks_scheme::{Level, Parameters, Scale};

use super::compiled::CompiledMaps;
use crate::layout::Layout;
use crate::linear::RotationCosts;
use crate::pointwise::{Refresher, Setting};
use crate::spec::ScaleChain;

/// What a program is prepared for.
#[derive(Clone, Debug)]
pub struct Preparation<'a> {
    /// Primes and nominal scale.
    pub chain: ScaleChain,
    /// Layout of the input. All tensors share its grid, packing and slots.
    pub input: Layout,
    /// Level of the output; 2 is the least.
    pub output_level: Level,
    /// What carries out refreshes: one for each function that is applied.
    pub refreshers: &'a [Refresher],
    /// What rotations cost, by which maps choose how to split them.
    pub rotations: RotationCosts,
    /// Where compiled maps are kept for further preparations, with the same costs of rotations.
    pub compiled: Option<&'a CompiledMaps>,
}

impl<'a> Preparation<'a> {
    /// For inputs of layout `input` over the primes of `params` with nominal scale `scale`, without refreshes, down to the
    /// last two primes.
    pub fn new(params: &Parameters, scale: Scale, input: Layout) -> Self {
        Self {
            chain: ScaleChain::of(params, scale),
            input,
            output_level: Level::new(2),
            refreshers: &[],
            rotations: RotationCosts::default(),
            compiled: None,
        }
    }

    pub(super) fn setting(&self) -> Setting<'_> {
        Setting {
            chain: &self.chain,
            refreshers: self.refreshers,
        }
    }
}
