//! The squaring activation on ciphertexts: add, square, relinearise.

use ckks_scheme::{Ciphertext, EvalError, Evaluator, KeyRequest, Level, PeriodicPlain, Scale};
use num_complex::Complex64;
use rayon::prelude::*;

use crate::activation::SquareActivation;
use crate::cost::{Op, OpCounts};
use crate::error::LayerError;
use crate::layout::{Layout, Packing};
use crate::noise::{rounding_std, square_std};
use crate::poly_activation::largest;
use crate::prepared::accumulator::doubled;
use crate::prepared::pointwise::Pointwise;
use crate::spec::{ScaleChain, TensorSpec, square_scale};

/// A squaring activation for one input: sums at level `l` to squares at level `l - 1`.
#[derive(Debug)]
pub(crate) struct SquareStage {
    act: SquareActivation,
    input: TensorSpec,
    output: TensorSpec,
    /// Scale between the rescale and the square.
    scale: Scale,
}

/// The offsets of one channel block, encoded: for the sums and for their conjugates.
pub(crate) struct BlockOffsets {
    offset: PeriodicPlain,
    conjugate: PeriodicPlain,
    /// Largest modulus of a slot value and root mean square, of the sums and of the values that are squared.
    sums: (f64, f64),
    values: (f64, f64),
}

impl SquareStage {
    pub(crate) fn new(
        act: &SquareActivation,
        input: &TensorSpec,
        chain: &ScaleChain,
    ) -> Result<Self, LayerError> {
        act.check_channels(input.layout.shape().channels)?;
        let level = chain.below(&act.name, input.level, 1, 1)?;
        let scale = Scale::new(input.scale.value() / chain.prime(&act.name, input.level)?);
        let output = TensorSpec {
            layout: input.layout.clone(),
            level,
            scale: square_scale(scale, input.layout.packing()),
        };
        let largest = |f: &dyn Fn(usize) -> f64| (0..act.channels()).map(f).fold(0.0, f64::max);
        chain.check_range(
            &act.name,
            input,
            largest(&|c| act.declared[c] + act.t[c].abs()),
        )?;
        chain.check_range(&act.name, &output, largest(&|c| act.declared[c].powi(2)))?;
        Ok(Self {
            act: act.clone(),
            input: input.clone(),
            output,
            scale,
        })
    }

    /// Scale of the values themselves, between rescale and square.
    pub(crate) fn scale(&self) -> Scale {
        self.scale
    }

    /// Mean of each channel of the squares.
    pub(crate) fn mean(&self) -> &[f64] {
        &self.act.second_moment
    }

    fn layout(&self) -> &Layout {
        &self.input.layout
    }

    /// Error deviations of the values after the rescale, given those of the sums.
    pub(crate) fn rescaled_std(&self, input: &[f64]) -> Vec<f64> {
        let rounding = rounding_std(self.layout().slots(), self.scale);
        input.iter().map(|std| std.hypot(rounding)).collect()
    }

    /// The offsets of channel block `block`.
    pub(crate) fn offsets(&self, block: usize) -> Result<BlockOffsets, EvalError> {
        let layout = self.layout();
        let packing = layout.packing();
        let unit = packing.unit();
        let plane = doubled(layout.channel_plane(block, &self.act.t));
        let encode = |unit: Complex64| {
            let cells: Vec<_> = plane.iter().map(|t| unit * t).collect();
            PeriodicPlain::new(&cells, self.scale)
        };
        let largest = |values: &[f64]| largest(&layout.channel_plane(block, values));
        let moments = layout.channel_plane(block, &self.act.second_moment);
        let rms = (moments.iter().sum::<f64>() / moments.len() as f64).sqrt();
        let (declared, t) = (largest(&self.act.declared), largest(&self.act.t));
        let slots = |max: f64, rms: f64| (packing.modulus(max), packing.modulus(rms));
        Ok(BlockOffsets {
            offset: encode(unit)?,
            conjugate: encode(unit.conj())?,
            sums: slots(declared + t, rms + t),
            values: slots(declared, rms),
        })
    }

    /// Squares one ciphertext of sums and lets it go; also gives the values before the offset, dropped to `keep`.
    pub(crate) fn apply_keeping(
        &self,
        evaluator: &Evaluator,
        offsets: &BlockOffsets,
        mut sum: Ciphertext,
        keep: Option<Level>,
    ) -> Result<(Ciphertext, Option<Ciphertext>), EvalError> {
        sum.declare_values(offsets.sums.0, offsets.sums.1);
        let mut z = evaluator.rescale(&sum)?;
        let conjugate = match self.layout().packing() {
            Packing::Real => None,
            Packing::Complex => Some(evaluator.conjugate_rescale(&sum)?),
        };
        drop(sum);
        let kept = match keep {
            None => None,
            Some(level) => {
                let mut kept = z.try_clone()?;
                evaluator.drop_level(&mut kept, level)?;
                Some(kept)
            }
        };
        evaluator.add_periodic_assign(&mut z, &offsets.offset)?;
        z.declare_values(offsets.values.0, offsets.values.1);
        let square = match conjugate {
            None => evaluator.square(&z)?,
            Some(mut conjugate) => {
                evaluator.add_periodic_assign(&mut conjugate, &offsets.conjugate)?;
                conjugate.declare_values(offsets.values.0, offsets.values.1);
                evaluator.square_pair(&z, &conjugate)?
            }
        };
        drop(z);
        Ok((evaluator.relinearize(square)?, kept))
    }
}

impl Pointwise for SquareStage {
    type Block = BlockOffsets;

    fn name(&self) -> &str {
        &self.act.name
    }

    fn input(&self) -> &TensorSpec {
        &self.input
    }

    /// Squares: what it gives.
    fn output(&self) -> &TensorSpec {
        &self.output
    }

    fn request_keys(&self, keys: &mut KeyRequest) {
        keys.relin(self.output.level);
        if self.layout().packing() == Packing::Complex {
            keys.conjugation(self.input.level);
        }
    }

    fn count_ops(&self, counts: &mut OpCounts) {
        let n = self.layout().ciphertexts();
        let (before, level) = (self.input.level, self.output.level);
        counts.add(Op::Rescale, before, n);
        counts.add(Op::Relinearize, level, n);
        match self.layout().packing() {
            Packing::Real => {
                counts.add(Op::AddPlane, level, n);
                counts.add(Op::SquareReal, level, n);
            }
            Packing::Complex => {
                counts.add(Op::ConjugateRescale, before, n);
                counts.add(Op::AddPlane, level, 2 * n);
                counts.add(Op::SquareComplex, level, n);
            }
        }
    }

    /// Error deviations of the squares, given those of the sums.
    fn predicted_error(&self, input: &[f64]) -> Vec<f64> {
        let values = self.rescaled_std(input);
        values
            .iter()
            .zip(&self.act.second_moment)
            .map(|(std, moment)| square_std(*std, *moment))
            .collect()
    }

    fn forward_slots(&self, x: &[Vec<Complex64>]) -> Result<Vec<Vec<Complex64>>, LayerError> {
        self.layout().check_slots(x)?;
        let square = |(index, x): (usize, &Vec<Complex64>)| {
            let block = index / self.layout().ciphertexts_per_block();
            let t = self.layout().channel_plane(block, &self.act.t);
            let value = |(slot, z): (usize, &Complex64)| {
                let t = t[slot % t.len()];
                match self.layout().packing() {
                    Packing::Real => (z + t) * (z + t),
                    Packing::Complex => Complex64::new((z.re + t).powi(2), (z.im + t).powi(2)),
                }
            };
            x.iter().enumerate().map(value).collect()
        };
        Ok(x.par_iter().enumerate().map(square).collect())
    }

    fn block(&self, block: usize) -> Result<BlockOffsets, LayerError> {
        self.offsets(block).map_err(LayerError::eval(self.name()))
    }

    fn apply(
        &self,
        evaluator: &Evaluator,
        offsets: &BlockOffsets,
        sum: Ciphertext,
    ) -> Result<Ciphertext, LayerError> {
        self.apply_keeping(evaluator, offsets, sum, None)
            .map(|(square, _)| square)
            .map_err(LayerError::eval(self.name()))
    }
}
