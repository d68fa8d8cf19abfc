//! Reduction by a cosine, double angles, and if wanted an arcsine: for messages that are small beside the base prime.

use crate::bootstrap::forecast::Noise;
use crate::bootstrap::{BootstrapError, BootstrapParams, CosineLiteral};
use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::counts::{Counts, Work};
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use crate::poly_eval::{Basis, Chebyshev, noisy_combination, powers_and_splits};
use num_complex::Complex64;
use std::f64::consts::PI;

/// Takes x / range' to sin(2 pi x), range' being the range of x plus 1/4.
#[derive(Debug)]
pub(in crate::bootstrap) struct Cosine {
    /// cos(2 pi range' t / 2^r) on [-1, 1].
    cosine: Chebyshev,
    double_angles: u32,
    arcsine: Option<Chebyshev>,
    /// A quarter of a turn, in units of range'.
    quarter: f64,
    values_per_radian: f64,
    scales: Scales,
    approximation_error: f64,
}

/// Of the cosine and of the result.
#[derive(Clone, Copy, Debug)]
struct Scales {
    cosine: Scale,
    out: Scale,
}

impl Cosine {
    pub(super) fn new(
        params: &BootstrapParams,
        lit: &CosineLiteral,
    ) -> Result<Self, BootstrapError> {
        let turns = params.half_interval();
        let angle = 2.0 * PI * turns / f64::from(lit.double_angles).exp2();
        let cosine = Chebyshev::interpolate(|t| (angle * t).cos(), lit.degree, (-1.0, 1.0))?;
        let largest_sine = params.largest_sine();
        let arcsine = (lit.arcsine_degree > 0).then(|| {
            Chebyshev::interpolate(f64::asin, lit.arcsine_degree, (-largest_sine, largest_sine))
        });
        let arcsine = arcsine.transpose()?;

        // Scales from the end to the beginning.
        let out = params.sine_scale();
        let scheme = params.scheme();
        let mut level = params.sine_level();
        let mut scale = out;
        if let Some(p) = &arcsine {
            level = Level::new(level.limbs() + p.depth());
            scale = scheme.prime(level) as f64 / largest_sine;
        }
        for _ in 0..lit.double_angles {
            level = Level::new(level.limbs() + 1);
            scale = (scale * scheme.prime(level) as f64).sqrt();
        }
        let mut this = Self {
            cosine,
            double_angles: lit.double_angles,
            arcsine,
            quarter: 0.25 / turns,
            values_per_radian: params.base_prime() / (2.0 * PI * params.message_scale()),
            scales: Scales {
                cosine: Scale::new(scale),
                out: Scale::new(out),
            },
            approximation_error: 0.0,
        };
        this.approximation_error = this.measure(params);
        Ok(this)
    }

    pub(super) fn approximation_error(&self) -> f64 {
        self.approximation_error
    }

    /// See [`super::EvalMod::largest_result`]. The arcsine's polynomial may take any sine.
    pub(super) fn largest_result(&self) -> f64 {
        let angle = self.arcsine.as_ref().map_or(1.0, |p| {
            // A Chebyshev polynomial beyond its interval.
            let beyond = (1.0 / p.interval().1).max(1.0).acosh();
            let terms = p.coeffs().iter().enumerate();
            terms
                .map(|(k, c)| c.abs() * (k as f64 * beyond).cosh())
                .sum()
        });
        angle * self.values_per_radian
    }

    /// See [`super::EvalMod::polynomials`].
    pub(super) fn polynomials(&self) -> Vec<(usize, usize)> {
        let complex = |p: &Chebyshev| p.coeffs().iter().map(|&c| c.into()).collect();
        std::iter::once(&self.cosine)
            .chain(&self.arcsine)
            .map(|p| {
                let coeffs: Vec<Complex64> = complex(p);
                powers_and_splits(Basis::Chebyshev, &coeffs)
            })
            .collect()
    }

    /// Largest difference between the circuit in double precision and the exact angle, over all whole turns and the
    /// admissible values, in units of the values.
    fn measure(&self, params: &BootstrapParams) -> f64 {
        let (range, message) = (params.literal_range(), params.largest_message());
        let mut worst = 0f64;
        let turns = range.floor() as i64;
        for turn in -turns..=turns {
            for step in -64..=64 {
                let fraction = message * f64::from(step) / 64.0;
                let x = turn as f64 + fraction;
                if x.abs() <= range {
                    let found = self.plain(x * 4.0 * self.quarter) / (2.0 * PI);
                    worst = worst.max((found - fraction).abs());
                }
            }
        }
        worst * params.base_prime() / params.message_scale()
    }

    fn plain(&self, t: f64) -> f64 {
        let mut y = self.cosine.evaluate(t - self.quarter);
        for _ in 0..self.double_angles {
            y = 2.0 * y * y - 1.0;
        }
        self.arcsine.as_ref().map_or(y, |p| p.evaluate(y))
    }

    /// See [`super::EvalMod::work`].
    pub(super) fn work(
        &self,
        counts: &Counts<'_>,
        level: Level,
        parts: usize,
        key: impl Fn(Level) -> Level,
    ) -> Work {
        let mut work = counts.add_const(level) + counts.polynomial(&self.cosine, level, &key);
        let mut at = Level::new(level.limbs() - self.cosine.depth());
        for _ in 0..self.double_angles {
            work += counts.double(counts.square(at), at) + counts.add_const(at);
            work += counts.relinearize_rescale(at, key(at));
            at = Level::new(at.limbs() - 1);
        }
        if let Some(arcsine) = &self.arcsine {
            work += counts.polynomial(arcsine, at, &key);
            at = Level::new(at.limbs() - arcsine.depth());
        }
        match parts {
            2 => work * 2 + counts.mul_i(at) + counts.add(at),
            _ => work,
        }
    }

    /// See [`super::EvalMod::plain`].
    pub(super) fn noisy(&self, t: Complex64, noise: &mut Noise, rounding: f64) -> Complex64 {
        let mut error = || noise.next(rounding);
        let complex =
            |p: &Chebyshev| -> Vec<Complex64> { p.coeffs().iter().map(|&c| c.into()).collect() };
        let (coeffs, t) = (complex(&self.cosine), t - self.quarter);
        let mut y = noisy_combination(Basis::Chebyshev, t, &coeffs, &mut error) + error();
        for step in 0..self.double_angles {
            y = y * y * 2.0 - 1.0;
            // The last rescale is counted apart.
            if step + 1 < self.double_angles || self.arcsine.is_some() {
                y += error();
            }
        }
        if let Some(arcsine) = &self.arcsine {
            let t = y / arcsine.interval().1;
            y = noisy_combination(Basis::Chebyshev, t, &complex(arcsine), error);
        }
        y * self.values_per_radian
    }

    /// See [`super::EvalMod::reduce`].
    pub(super) fn reduce(
        &self,
        eval: &Evaluator,
        parts: Vec<Ciphertext>,
    ) -> Result<Ciphertext, BootstrapError> {
        let mut out: Option<Ciphertext> = None;
        for part in parts {
            let mut reduced = self.sine(eval, part)?;
            match &mut out {
                None => out = Some(reduced),
                Some(real) => {
                    eval.mul_i_assign(&mut reduced);
                    eval.add_assign(real, &reduced)?;
                }
            }
        }
        let mut out = out.expect("a real part");
        // The sine of an angle stands for the angle.
        out.reinterpret(self.values_per_radian);
        Ok(out)
    }

    /// The sine of every slot. The error that comes in goes through as it is, because a sine is nowhere steeper than its
    /// argument; operation by operation it would be predicted far too large.
    fn sine(&self, eval: &Evaluator, mut t: Ciphertext) -> Result<Ciphertext, BootstrapError> {
        let angle = 2.0 * PI * 0.25 / self.quarter;
        let incoming = std::mem::take(&mut t.tracked.error_std) * angle;
        let mut out = self.circuit(eval, t)?;
        out.tracked = out.tracked.plus_error(incoming);
        Ok(out)
    }

    fn circuit(&self, eval: &Evaluator, mut t: Ciphertext) -> Result<Ciphertext, BootstrapError> {
        eval.add_const_assign(&mut t, (-self.quarter).into())?;
        t.declare_values(1.0, 1.0);
        let mut y = eval.polynomial(&t, &self.cosine, self.scales.cosine)?;
        drop(t);
        for _ in 0..self.double_angles {
            y.declare_values(1.0, 1.0);
            let mut double = eval.product_at(&y, &y, y.level(), 2)?;
            eval.add_const_assign(&mut double, (-1.0).into())?;
            y = eval.relinearize_rescale(double)?;
        }
        if let Some(arcsine) = &self.arcsine {
            let largest = arcsine.interval().1;
            y.declare_values(largest, largest);
            return Ok(eval.polynomial(&y, arcsine, self.scales.out)?);
        }
        if !y.scale().matches(self.scales.out) {
            return Err(BootstrapError::Eval(EvalError::ScaleMismatch {
                op: "bootstrap",
                left_log2: y.scale().log2(),
                right_log2: self.scales.out.log2(),
            }));
        }
        y.scale = self.scales.out;
        Ok(y)
    }
}
