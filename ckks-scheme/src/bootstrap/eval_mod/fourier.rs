//! Reduction by the complex exponential and a Fourier series of it.
//!
//! exp(2 pi i x / 2^r) is a polynomial of x, squared r times: the whole turns are gone, and nothing had to be small. The
//! real part of a polynomial of the result is any function of the fraction that has a Fourier series.
//!
//! The idea to look for a smooth continuation beyond the values' range is that of "High-precision functional bootstrapping
//! for CKKS from Fourier extension", 2026, <https://eprint.iacr.org/2026/367>.

use crate::bootstrap::forecast::Noise;
use crate::bootstrap::{BootstrapError, BootstrapParams, FourierLiteral, FourierSeries};
use crate::ciphertext::{Ciphertext, Level, Scale};
use crate::counts::{Counts, Work};
use crate::error::KeyError;
use crate::evaluator::Evaluator;
use crate::keys::{Galois, KeyKind, KeyRequest};
use crate::poly_eval::{Basis, Chebyshev, noisy_combination, powers_and_splits};
use num_complex::Complex64;
use std::f64::consts::{SQRT_2, TAU};

/// Takes t = x / range to f(v), v the fraction of x times the period.
#[derive(Debug)]
pub(in crate::bootstrap) struct Fourier {
    /// exp(2 pi i range t / 2^r) on [-1, 1], in the Chebyshev basis.
    exponential: Vec<Complex64>,
    squarings: u32,
    series: FourierSeries,
    /// Of the series, over the powers of the exponential.
    coefficients: Vec<Complex64>,
    /// Largest |x|.
    range: f64,
    /// Largest slope of the function.
    slope: f64,
    scales: Scales,
    approximation_error: f64,
}

/// Of the exponential before it is squared, and of half the result.
#[derive(Clone, Copy, Debug)]
struct Scales {
    exponential: Scale,
    half: Scale,
}

impl Fourier {
    pub(super) fn new(
        params: &BootstrapParams,
        lit: &FourierLiteral,
    ) -> Result<Self, BootstrapError> {
        let range = params.half_interval();
        let angle = TAU * range / f64::from(lit.squarings).exp2();
        let part =
            |f: fn(f64) -> f64| Chebyshev::interpolate(|t| f(angle * t), lit.degree, (-1.0, 1.0));
        let (cosine, sine) = (part(f64::cos)?, part(f64::sin)?);
        let exponential = (0..=lit.degree)
            .map(|k| {
                let of = |p: &Chebyshev| p.coeffs().get(k).copied().unwrap_or(0.0);
                Complex64::new(of(&cosine), of(&sine))
            })
            .collect();
        let series = params.series(lit)?;
        let coefficients = series.coefficients();

        // Scales from the end to the beginning: the series takes the exponential at about the prime that its square is
        // divided by.
        let scheme = params.scheme();
        let mut level = params.sine_level().limbs() + lit.series_depth();
        let mut scale = scheme.prime(Level::new(level)) as f64;
        for _ in 0..lit.squarings {
            level += 1;
            scale = (scale * scheme.prime(Level::new(level)) as f64).sqrt();
        }
        let mut this = Self {
            exponential,
            squarings: lit.squarings,
            slope: series.lipschitz(),
            series,
            coefficients,
            range,
            scales: Scales {
                exponential: Scale::new(scale),
                half: Scale::new(params.output_scale().value() / 2.0),
            },
            approximation_error: 0.0,
        };
        this.approximation_error = this.measure(params, lit);
        Ok(this)
    }

    pub(super) fn series(&self) -> &FourierSeries {
        &self.series
    }

    pub(super) fn approximation_error(&self) -> f64 {
        self.approximation_error
    }

    /// See [`super::EvalMod::polynomials`].
    pub(super) fn polynomials(&self) -> Vec<(usize, usize)> {
        vec![
            powers_and_splits(Basis::Chebyshev, &self.exponential),
            powers_and_splits(Basis::Monomial, &self.coefficients),
        ]
    }

    /// For the identity against the value itself, else against the series.
    fn measure(&self, params: &BootstrapParams, lit: &FourierLiteral) -> f64 {
        let period = self.series.period();
        let message = params.largest_message();
        let turns = self.range.floor() as i64;
        let mut worst = 0f64;
        for turn in -turns..=turns {
            for step in -64..=64 {
                let fraction = message * f64::from(step) / 64.0;
                let x = turn as f64 + fraction;
                if x.abs() <= self.range {
                    let v = fraction * period;
                    let found = self.series.of_unit(self.unit(x / self.range));
                    let expected = match lit.function.is_identity() {
                        true => v,
                        false => self.series.evaluate(v),
                    };
                    worst = worst.max((found - expected).abs());
                }
            }
        }
        worst
    }

    /// The circuit's exponential in double precision.
    fn unit(&self, t: f64) -> Complex64 {
        let (mut b1, mut b2) = (Complex64::ZERO, Complex64::ZERO);
        for c in self.exponential[1..].iter().rev() {
            (b1, b2) = (b1 * (2.0 * t) - b2 + c, b1);
        }
        let mut z = b1 * t - b2 + self.exponential[0];
        for _ in 0..self.squarings {
            z *= z;
        }
        z
    }

    /// See [`super::EvalMod::work`].
    pub(super) fn work(
        &self,
        counts: &Counts<'_>,
        level: Level,
        parts: usize,
        keys: &KeyRequest,
        key: impl Fn(Level) -> Level,
    ) -> Result<Work, KeyError> {
        let (mut work, mut at) =
            counts.combination(Basis::Chebyshev, &self.exponential, level, &key);
        for _ in 0..self.squarings {
            work += counts.square(at) + counts.relinearize_rescale(at, key(at));
            at = Level::new(at.limbs() - 1);
        }
        let (series, at) = counts.combination(Basis::Monomial, &self.coefficients, at, &key);
        work += series;
        let conjugation = keys.serving(KeyKind::Galois(Galois::Conjugation), at)?;
        let join = counts.copy(at) + counts.rotate(at, conjugation) + counts.add(at);
        Ok(match parts {
            2 => work * 2 + counts.mul_i(at) + counts.add(at) * 2 + join,
            _ => work + join,
        })
    }

    /// See [`super::EvalMod::plain`]. The imaginary part is left out: the sum with the conjugate takes it away.
    pub(super) fn noisy(&self, t: Complex64, noise: &mut Noise, rounding: f64) -> Complex64 {
        let mut error = || noise.next(rounding);
        let mut z = noisy_combination(Basis::Chebyshev, t, &self.exponential, &mut error) + error();
        for _ in 0..self.squarings {
            z = z * z + error();
        }
        let f = noisy_combination(Basis::Monomial, z, &self.coefficients, error);
        f.re.into()
    }

    /// See [`super::EvalMod::reduce`].
    pub(super) fn reduce(
        &self,
        eval: &Evaluator,
        parts: Vec<Ciphertext>,
    ) -> Result<Ciphertext, BootstrapError> {
        let mut parts = parts.into_iter();
        let real = parts.next().expect("a real part");
        let mut plus = self.complex(eval, real)?;
        let mut minus = eval.copy(&plus)?;
        if let Some(imaginary) = parts.next() {
            let mut other = self.complex(eval, imaginary)?;
            eval.mul_i_assign(&mut other);
            eval.add_assign(&mut plus, &other)?;
            eval.sub_assign(&mut minus, &other)?;
        } else {
            // Twice the same error, not two independent ones.
            plus.tracked.error_std *= SQRT_2;
            minus.tracked.error_std *= SQRT_2;
        }
        // p + i q + conj(p - i q) = 2 Re p + 2 i Re q.
        let conjugate = eval.conjugate(&minus)?;
        drop(minus);
        eval.add_assign(&mut plus, &conjugate)?;
        plus.reinterpret(0.5);
        Ok(plus)
    }

    /// The series' polynomial of the exponential. The error that comes in goes through as it is, times the function's
    /// largest slope; operation by operation it would be predicted far too large.
    fn complex(&self, eval: &Evaluator, mut t: Ciphertext) -> Result<Ciphertext, BootstrapError> {
        let steepest = self.range * self.series.period() * self.slope;
        let incoming = std::mem::take(&mut t.tracked.error_std) * steepest;
        t.declare_values(1.0, 1.0);
        let scale = self.scales.exponential;
        let mut z = eval.combination(t, Basis::Chebyshev, &self.exponential, scale)?;
        z.declare_values(1.0, 1.0);
        for _ in 0..self.squarings {
            let square = eval.product_at(&z, &z, z.level(), 1)?;
            z = eval.relinearize_rescale(square)?;
            z.declare_values(1.0, 1.0);
        }
        let mut out = eval.combination(z, Basis::Monomial, &self.coefficients, self.scales.half)?;
        let bound = self.coefficients.iter().map(|c| c.norm()).sum();
        out.declare_values(bound, bound);
        out.tracked = out.tracked.plus_error(incoming);
        Ok(out)
    }
}
