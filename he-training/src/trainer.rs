//! The server's side: an evaluator, a layout, refreshes. It has no type that could hold a secret key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ckks_scheme::{
    BootstrapParams, Bootstrapper, Ciphertext, Encoder, Evaluator, Level, Plaintext, Scale,
};
use num_complex::Complex64;
use rayon::prelude::*;

use crate::error::{TrainingError, check};
use crate::layout::FeatureLayout;

/// Share of the nominal scale that scales keep below: products of two such scales, divided by a prime, do not grow.
const BELOW: f64 = 0.99;
/// Most times that a prime may be as large as the scale. Every product loses what it is larger by.
const LARGEST_PRIME: f64 = 2.0;

/// Trains heads on encrypted features, and applies them.
#[derive(Debug)]
pub struct Trainer {
    pub(crate) eval: Evaluator,
    encoder: Encoder,
    pub(crate) layout: FeatureLayout,
    refresher: Arc<dyn Bootstrapper>,
    target: f64,
    refreshes: AtomicUsize,
}

/// The scale of everything that is encrypted for a trainer whose refreshes have these parameters.
///
/// # Errors
/// [`TrainingError::Setting`] for a chain whose primes, between the levels of the refreshes, are more than twice as large as
/// the scale.
pub fn scale_of(params: &BootstrapParams) -> Result<Scale, TrainingError> {
    let chain = params.scheme().chain();
    let levels = params.input_level().limbs()..=params.output_level().limbs();
    let primes = levels.map(|level| chain.prime(Level::new(level)) as f64);
    let nominal = params.output_scale().value();
    let largest = primes.clone().fold(0.0, f64::max);
    let scale = BELOW * primes.fold(nominal, f64::min);
    check(
        largest <= LARGEST_PRIME * scale,
        "bits of the largest prime between the levels of the refreshes",
        format!("{:.1}", largest.log2()),
        format!("at most one more than the scale's {:.1}", scale.log2()),
    )?;
    Ok(Scale::new(scale))
}

/// Declares real numbers of an absolute value of at most `max`, and that they are in an interval of the length `width` with their
/// errors and without: that bounds the errors.
pub(crate) fn declare(ct: &mut Ciphertext, max: f64, width: f64) {
    ct.declare_values(max, max);
    ct.declare_error(0.0, width);
}

impl Trainer {
    /// A trainer whose evaluator has the keys that the training requests, and those of the refreshes. `scale`: see
    /// [`scale_of`].
    ///
    /// # Errors
    /// [`TrainingError::Count`] for a layout of another number of slots than the evaluator's.
    pub fn new(
        eval: Evaluator,
        layout: FeatureLayout,
        refresher: Arc<dyn Bootstrapper>,
        scale: Scale,
    ) -> Result<Self, TrainingError> {
        let slots = eval.params().slots();
        if layout.slots() != slots {
            return Err(TrainingError::Count {
                what: "slots of a layout",
                found: layout.slots(),
                expected: slots,
            });
        }
        Ok(Self {
            encoder: Encoder::new(eval.params()),
            eval,
            layout,
            refresher,
            target: scale.value(),
            refreshes: AtomicUsize::new(0),
        })
    }

    /// The layout.
    pub fn layout(&self) -> &FeatureLayout {
        &self.layout
    }

    /// Ciphertexts refreshed so far.
    pub fn refreshes(&self) -> usize {
        self.refreshes.load(Ordering::Relaxed)
    }

    /// Lowest level of what can be refreshed, and level of what was.
    pub(crate) fn refresh_levels(&self) -> (usize, usize) {
        let refresher = &self.refresher;
        (
            refresher.input_level().limbs(),
            refresher.output_level().limbs(),
        )
    }

    /// The scale that values keep near to.
    pub(crate) fn target(&self) -> f64 {
        self.target
    }

    pub(crate) fn prime(&self, level: Level) -> f64 {
        self.eval.params().prime(level) as f64
    }

    /// Refreshes a ciphertext of values of at most `max`, with root mean square `max` at most.
    pub(crate) fn refresh(
        &self,
        mut ct: Ciphertext,
        max: f64,
    ) -> Result<Ciphertext, TrainingError> {
        ct.declare_values(max, max);
        self.refreshes.fetch_add(1, Ordering::Relaxed);
        let mut out = self.refresher.bootstrap(&self.eval, &ct)?;
        out.declare_values(max, max);
        Ok(out)
    }

    /// Rotations of one ciphertext, in the order of `steps`. Parallel on the current rayon pool.
    pub(crate) fn rotations(
        &self,
        ct: &Ciphertext,
        steps: &[i64],
    ) -> Result<Vec<Ciphertext>, TrainingError> {
        let part = steps.len().div_ceil(rayon::current_num_threads()).max(1);
        let parts = steps
            .par_chunks(part)
            .map(|steps| self.eval.rotate_many(ct, steps))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// The sum of the rotations by `0, stride, .., (count - 1) stride`; `count` is a power of two.
    pub(crate) fn window_sum(
        &self,
        mut ct: Ciphertext,
        stride: i64,
        count: usize,
    ) -> Result<Ciphertext, TrainingError> {
        for log in 0..count.ilog2() {
            let rotated = self.eval.rotate(&ct, stride << log)?;
            self.eval.add_assign(&mut ct, &rotated)?;
        }
        Ok(ct)
    }

    /// The real part of `z` in its place; `conjugate` is its conjugate. The scale doubles.
    pub(crate) fn take_real(
        &self,
        z: &mut Ciphertext,
        conjugate: &Ciphertext,
    ) -> Result<(), TrainingError> {
        self.eval.add_assign(z, conjugate)?;
        z.reinterpret(0.5);
        Ok(())
    }

    /// The imaginary part of `z` in its place; `conjugate` is its conjugate. The scale doubles.
    pub(crate) fn take_imaginary(
        &self,
        z: &mut Ciphertext,
        conjugate: &Ciphertext,
    ) -> Result<(), TrainingError> {
        // z - conj(z) is 2 i times the imaginary part.
        self.eval.sub_assign(z, conjugate)?;
        self.eval.mul_i_assign(z);
        self.eval.negate_assign(z);
        z.reinterpret(0.5);
        Ok(())
    }

    /// [`Self::recentred_below`] the target.
    pub(crate) fn recentred(&self, ct: Ciphertext) -> Result<Ciphertext, TrainingError> {
        self.recentred_below(ct, self.target)
    }

    /// The same values at a scale above half of `most`, if it was lower: multiplied by an integer. Scales would fall from square to
    /// square otherwise.
    pub(crate) fn recentred_below(
        &self,
        ct: Ciphertext,
        most: f64,
    ) -> Result<Ciphertext, TrainingError> {
        let factor = (most / ct.scale().value()).floor();
        if factor < 2.0 {
            return Ok(ct);
        }
        Ok(self.eval.mul_const(&ct, 1.0, Scale::new(factor))?)
    }

    /// Encodes slots given by lane and image.
    pub(crate) fn plain(
        &self,
        level: Level,
        scale: f64,
        value: impl Fn(usize, usize) -> Complex64,
    ) -> Result<Plaintext, TrainingError> {
        let images = self.layout.images();
        let slots: Vec<Complex64> = (0..self.layout.slots())
            .map(|slot| value(slot / images, slot % images))
            .collect();
        Ok(self.encoder.encode(&slots, level, Scale::new(scale))?)
    }

    /// The product with slots given by lane and image, not rescaled: it would be at scale `rescaled` afterwards.
    pub(crate) fn masked(
        &self,
        ct: &Ciphertext,
        rescaled: f64,
        value: impl Fn(usize, usize) -> Complex64,
    ) -> Result<Ciphertext, TrainingError> {
        let scale = rescaled * self.prime(ct.level()) / ct.scale().value();
        let plain = self.plain(ct.level(), scale, value)?;
        Ok(self.eval.mul_plain(ct, &plain)?)
    }

    /// Checks that there is one ciphertext for each block.
    pub(crate) fn check_blocks(
        &self,
        what: &'static str,
        found: usize,
    ) -> Result<(), TrainingError> {
        let expected = self.layout.blocks();
        if found == expected {
            return Ok(());
        }
        Err(TrainingError::Count {
            what,
            found,
            expected,
        })
    }
}
