//! The executor: runs a network on encrypted images as its plan says. It has no type that could hold a secret key.

use crate::network::Network;
use crate::plan::Plan;
use crate::progress::{Progress, Unit};
use crate::report::StageReport;
use ckks_scheme::Evaluator;
use he_layers::{EncryptedTensor, LayerError};
use std::time::Instant;

/// Runs prepared networks with one evaluator.
#[derive(Debug)]
pub struct Executor<'a> {
    evaluator: &'a Evaluator,
    network: &'a Network,
    plan: &'a Plan,
}

impl<'a> Executor<'a> {
    /// An executor of `network` that obeys `plan`.
    pub fn new(evaluator: &'a Evaluator, network: &'a Network, plan: &'a Plan) -> Self {
        Self {
            evaluator,
            network,
            plan,
        }
    }

    /// Runs one group of images: encrypted pixels in, encrypted logits out. Parallel on the current rayon pool.
    ///
    /// # Errors
    /// [`LayerError`], for instance when the pool's budget is exhausted.
    pub fn run(
        &self,
        images: EncryptedTensor,
        progress: &dyn Progress,
    ) -> Result<(EncryptedTensor, Vec<StageReport>), LayerError> {
        let pool = self.evaluator.params().pool();
        // The bar moves in predicted milliseconds: operations of early stages take many times those of late ones.
        let milliseconds = |seconds: f64| (seconds * 1e3).round() as u64;
        let total: f64 = self.plan.stages.iter().map(|s| s.seconds).sum();
        progress.begin(
            "encrypted inference",
            Some(milliseconds(total)),
            Unit::Parts,
        );
        let mut reports = Vec::new();
        let mut x = images;
        for (layer, stage) in self.network.layers().iter().zip(&self.plan.stages) {
            progress.stage(layer.name());
            let start = Instant::now();
            pool.reset_high_water();
            let level_in = x.spec().level.limbs();
            x = layer.forward(self.evaluator, x, stage.group_blocks)?;
            progress.advance(milliseconds(stage.seconds));
            reports.push(StageReport {
                name: layer.name().to_owned(),
                seconds: start.elapsed().as_secs_f64(),
                ciphertexts: x.ciphertexts().len(),
                level_in,
                level_out: x.spec().level.limbs(),
                bytes: pool.high_water_bytes(),
            });
        }
        progress.finish();
        Ok((x, reports))
    }
}
