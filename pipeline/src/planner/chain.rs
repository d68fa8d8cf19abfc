//! A chain of primes, and the network as it runs over it.

use ckks_scheme::counts::Work;
use ckks_scheme::{
    BootstrapLiteral, BootstrapOutline, BootstrapParams, Level, ModulusChain, Parameters, Scale,
};
use he_layers::{
    CompiledMaps, Grid, LayerError, Layout, Packing, Preparation, PreparedProgram, Program,
    Refresher, RotationCosts, ScaleChain,
};

use super::PlanError;
use super::literals::WORD_BITS;
use super::pins::Pins;
use crate::decisions::{Decisions, Instance};

/// Lowest level of the output: two primes hold it.
pub(super) const OUTPUT_LEVEL: Level = Level::new(2);

/// A chain of primes with the network as it runs over it.
pub(super) struct Chain {
    /// The primes, without tables.
    pub modulus: ModulusChain,
    /// The network with its refreshes.
    pub program: Program,
    /// Names of the refreshed nodes.
    pub refreshes: Vec<String>,
    pub bootstrap: Option<BootstrapLiteral>,
    pub refreshers: Vec<Refresher>,
    /// Work of one refresh.
    pub refresh_work: Work,
    /// Size of the bootstrapping's matrices in bytes.
    pub matrix_bytes: u64,
}

impl Chain {
    /// The chain of a plan that is obeyed.
    pub fn of_decisions(decisions: &Decisions, instance: &Instance) -> Result<Self, PlanError> {
        let params = &instance.params;
        let (refreshers, refresh_work, _) = match &decisions.bootstrap {
            None => (Vec::new(), Work::default(), 0),
            Some(literal) => outlined(params, literal)?,
        };
        Ok(Self {
            modulus: params.chain().clone(),
            program: instance.program.clone(),
            refreshes: decisions.refreshes.clone(),
            bootstrap: decisions.bootstrap.clone(),
            refreshers,
            refresh_work,
            matrix_bytes: instance.matrix_bytes,
        })
    }

    /// A chain without refreshes.
    pub fn plain(program: &Program, modulus: ModulusChain) -> Self {
        Self {
            modulus,
            program: program.clone(),
            refreshes: Vec::new(),
            bootstrap: None,
            refreshers: Vec::new(),
            refresh_work: Work::default(),
            matrix_bytes: 0,
        }
    }

    /// Complex slots of a ciphertext.
    pub fn slots(&self) -> usize {
        self.modulus.slots()
    }

    /// Base-2 logarithm of the scale to begin with, before simulated errors balance it. A prime is the product of the scale S
    /// and the weights' scale, times 4 in complex packing; 7/12 of its bits to S is near the balance of most networks.
    pub fn log_scale(&self, packing: Packing, pins: &Pins) -> u32 {
        let bits = self.modulus.literal().q_bits.iter().copied().min();
        let packing_bits = if packing == Packing::Complex { 2 } else { 0 };
        let first = (bits.unwrap_or(WORD_BITS) - packing_bits) * 7 / 12;
        pins.log_scale.unwrap_or(first)
    }

    /// The network over this chain in a layout.
    pub fn prepare(
        &self,
        packing: Packing,
        grid: Grid,
        pins: &Pins,
        compiled: &CompiledMaps,
    ) -> Result<PreparedProgram, LayerError> {
        self.prepare_at(packing, grid, self.log_scale(packing, pins), compiled)
    }

    /// The same with a nominal scale.
    pub fn prepare_at(
        &self,
        packing: Packing,
        grid: Grid,
        log_scale: u32,
        compiled: &CompiledMaps,
    ) -> Result<PreparedProgram, LayerError> {
        let shape = self.program.shape(self.program.input());
        let scale = Scale::new(f64::from(log_scale).exp2());
        self.program.prepare(&Preparation {
            chain: ScaleChain::of_modulus(&self.modulus, scale),
            input: Layout::new(shape, grid, packing, self.slots())?,
            output_level: OUTPUT_LEVEL,
            refreshers: &self.refreshers,
            rotations: RotationCosts::default(),
            compiled: Some(compiled),
        })
    }
}

/// A bootstrapping to plan with, its work and the bytes of its matrices.
pub(super) fn outlined(
    params: &Parameters,
    literal: &BootstrapLiteral,
) -> Result<(Vec<Refresher>, Work, u64), PlanError> {
    let bootstrap = BootstrapParams::new(params, literal.clone())?;
    let outline = BootstrapOutline::new(&bootstrap)?;
    let keys = outline.request().reduced(params.log_n());
    let work = outline
        .work(&keys)
        .map_err(ckks_scheme::BootstrapError::from)?;
    let refresher = Refresher::outlined(&outline)?;
    Ok((vec![refresher], work.total(), outline.matrix_bytes()))
}
