//! Circuits: ciphertext arithmetic that is written once, and run on ciphertexts or counted.

use std::cell::RefCell;
use std::rc::Rc;

use ckks_scheme::{
    Chebyshev, Ciphertext, EvalError, Evaluator, KeyRequest, Level, PolyError, Scale, Tracked,
};

use crate::cost::{Op, OpCounts};
use crate::spec::ScaleChain;

/// A ciphertext in a circuit, or what is known of it before there is any: level and scale.
#[derive(Debug)]
pub struct Wire(Repr);

#[derive(Debug)]
enum Repr {
    Encrypted(Ciphertext),
    Counted(Counted),
}

/// A wire of a counted circuit. Its limbs count as held until it is dropped.
#[derive(Debug)]
struct Counted {
    level: Level,
    scale: Scale,
    tally: Rc<RefCell<Tally>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.tally.borrow_mut().held -= 2 * self.level.limbs();
    }
}

/// What a counted circuit adds up.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Operations on one ciphertext.
    pub counts: OpCounts,
    /// Keys at the levels of use.
    pub keys: KeyRequest,
    /// Rescales, each of which makes an error.
    pub rescales: usize,
    held: usize,
    /// Most limbs held at once.
    pub most_held: usize,
}

/// The arithmetic of a pointwise stage: every operation brings its operands to one level and rescales its result.
#[derive(Debug)]
pub struct Circuit<'a> {
    mode: Mode<'a>,
    nominal: Scale,
}

#[derive(Debug)]
enum Mode<'a> {
    Run(&'a Evaluator),
    Count(&'a ScaleChain, Rc<RefCell<Tally>>),
}

impl<'a> Circuit<'a> {
    /// A circuit on ciphertexts.
    pub(crate) fn run(evaluator: &'a Evaluator, nominal: Scale) -> Self {
        let mode = Mode::Run(evaluator);
        Self { mode, nominal }
    }

    /// A circuit that is counted.
    pub(crate) fn count(chain: &'a ScaleChain) -> Self {
        Self {
            mode: Mode::Count(chain, Rc::default()),
            nominal: chain.scale(),
        }
    }

    /// What was counted.
    pub(crate) fn into_tally(self) -> Tally {
        match self.mode {
            Mode::Run(_) => Tally::default(),
            Mode::Count(_, tally) => tally.take(),
        }
    }

    /// A wire of a counted circuit.
    pub(crate) fn counted(&self, level: Level, scale: Scale) -> Result<Wire, EvalError> {
        match &self.mode {
            Mode::Run(_) => unreachable!("circuits on ciphertexts have ciphertexts"),
            Mode::Count(_, tally) => Ok(wire(tally, level, scale)),
        }
    }

    /// The nominal scale S of the network.
    pub fn nominal_scale(&self) -> Scale {
        self.nominal
    }

    /// Slots of the ciphertexts, if there are any.
    pub(crate) fn slots(&self) -> Option<usize> {
        match &self.mode {
            Mode::Run(evaluator) => Some(evaluator.params().slots()),
            Mode::Count(..) => None,
        }
    }

    /// The prime that a rescale at `level` divides by.
    ///
    /// # Errors
    /// [`EvalError::NoSuchLevel`].
    pub fn prime(&self, level: Level) -> Result<f64, EvalError> {
        match &self.mode {
            Mode::Run(evaluator) => Ok(evaluator.params().prime(level) as f64),
            Mode::Count(chain, _) => chain.prime("circuit", level).map_err(|_| {
                let (op, found, max) = ("circuit", level, chain.max_level());
                EvalError::NoSuchLevel {
                    op,
                    level: found,
                    max,
                }
            }),
        }
    }

    /// `x^2`, rescaled.
    ///
    /// # Errors
    /// [`EvalError`]: too few levels, a missing relinearisation key, an exhausted pool.
    pub fn square(&self, x: &Wire) -> Result<Wire, EvalError> {
        match (&self.mode, &x.0) {
            (Mode::Run(e), Repr::Encrypted(x)) => {
                let square = e.relinearize_rescale(e.square(x)?)?;
                Ok(Wire(Repr::Encrypted(square)))
            }
            (Mode::Run(_), Repr::Counted(_)) | (Mode::Count(..), _) => {
                self.product(Op::Square, x, x)
            }
        }
    }

    /// `x * y`, rescaled; the factor at the higher level is dropped to the other's.
    ///
    /// # Errors
    /// As [`Self::square`].
    pub fn mul(&self, x: &Wire, y: &Wire) -> Result<Wire, EvalError> {
        match (&self.mode, &x.0, &y.0) {
            (Mode::Run(e), Repr::Encrypted(x), Repr::Encrypted(y)) => {
                let level = x.level().min(y.level());
                let product = if x.level() == y.level() {
                    e.mul(x, y)?
                } else if x.level() > level {
                    e.mul(&e.copy_at_level(x, level)?, y)?
                } else {
                    e.mul(x, &e.copy_at_level(y, level)?)?
                };
                let product = e.relinearize_rescale(product)?;
                Ok(Wire(Repr::Encrypted(product)))
            }
            _ => self.product(Op::Multiply, x, y),
        }
    }

    /// `sum of c * x over terms + constant`, rescaled to the nominal scale, at the level below the lowest of the terms.
    ///
    /// # Errors
    /// [`EvalError`]: too few levels, a factor too large for the primes, an exhausted pool.
    pub fn combine(&self, terms: &[(f64, &Wire)], constant: f64) -> Result<Wire, EvalError> {
        let Some(level) = terms.iter().map(|(_, x)| x.level()).min() else {
            let (op, what, found, expected) = ("combine", "number of terms", 0, 1);
            return Err(EvalError::Shape {
                op,
                what,
                found,
                expected,
            });
        };
        let scale = Scale::new(self.nominal.value() * self.prime(level)?);
        match &self.mode {
            Mode::Run(e) => {
                let mut sum = e.zero(level, scale)?;
                for (c, x) in terms {
                    if let Repr::Encrypted(x) = &x.0 {
                        e.add_scaled_assign(&mut sum, x, *c)?;
                    }
                }
                if constant != 0.0 {
                    e.add_const_assign(&mut sum, constant.into())?;
                }
                Ok(Wire(Repr::Encrypted(e.rescale(&sum)?)))
            }
            Mode::Count(_, tally) => {
                {
                    let mut t = tally.borrow_mut();
                    t.counts.add(Op::Zero, level, 1);
                    t.counts.add(Op::AddScaled, level, terms.len());
                    t.counts
                        .add(Op::AddConst, level, usize::from(constant != 0.0));
                }
                let _sum = wire(tally, level, scale);
                self.rescaled(tally, level, scale, Op::Rescale)
            }
        }
    }

    /// A Chebyshev polynomial of `x`, at `scale`; conditions as for [`Evaluator::polynomial`].
    ///
    /// # Errors
    /// [`PolyError`].
    pub fn polynomial(&self, x: &Wire, p: &Chebyshev, scale: Scale) -> Result<Wire, PolyError> {
        match (&self.mode, &x.0) {
            (Mode::Run(e), Repr::Encrypted(x)) => {
                Ok(Wire(Repr::Encrypted(e.polynomial(x, p, scale)?)))
            }
            (Mode::Count(_, tally), _) => {
                let top = x.level();
                let Some(level) = top.below(p.depth()).filter(|l| l.limbs() > 0) else {
                    let (op, have) = ("polynomial", top);
                    let need = Level::new(p.depth() + 1);
                    return Err(EvalError::LevelTooLow { op, need, have }.into());
                };
                let mut t = tally.borrow_mut();
                t.counts.add_polynomial(p, top, 1);
                // At every level, so that the key that serves a product does not depend on what else is requested.
                for below in 0..p.depth() {
                    t.keys.relin(Level::new(top.limbs() - below));
                }
                t.rescales += p.depth();
                let limbs = p.working_ciphertexts() * 2 * top.limbs();
                t.most_held = t.most_held.max(t.held + limbs);
                drop(t);
                Ok(wire(tally, level, scale))
            }
            (Mode::Run(_), Repr::Counted(_)) => unreachable!("circuits do not mix"),
        }
    }

    /// The product of a counted circuit.
    fn product(&self, op: Op, x: &Wire, y: &Wire) -> Result<Wire, EvalError> {
        let Mode::Count(_, tally) = &self.mode else {
            unreachable!("circuits do not mix")
        };
        let level = x.level().min(y.level());
        let scale = Scale::new(x.scale().value() * y.scale().value());
        {
            let mut t = tally.borrow_mut();
            t.counts.add(op, level, 1);
            t.keys.relin(level);
        }
        let different = x.level() != y.level();
        let _copy = different.then(|| {
            tally.borrow_mut().counts.add(Op::Copy, level, 1);
            wire(tally, level, scale)
        });
        self.rescaled(tally, level, scale, Op::RelinearizeRescale)
    }

    fn rescaled(
        &self,
        tally: &Rc<RefCell<Tally>>,
        level: Level,
        scale: Scale,
        op: Op,
    ) -> Result<Wire, EvalError> {
        let Some(below) = level.below(1).filter(|l| l.limbs() > 0) else {
            let (op, need, have) = ("rescale", Level::new(2), level);
            return Err(EvalError::LevelTooLow { op, need, have });
        };
        let prime = self.prime(level)?;
        {
            let mut t = tally.borrow_mut();
            t.counts.add(op, level, 1);
            t.rescales += 1;
        }
        Ok(wire(tally, below, Scale::new(scale.value() / prime)))
    }
}

fn wire(tally: &Rc<RefCell<Tally>>, level: Level, scale: Scale) -> Wire {
    let mut t = tally.borrow_mut();
    t.held += 2 * level.limbs();
    t.most_held = t.most_held.max(t.held);
    let tally = tally.clone();
    Wire(Repr::Counted(Counted {
        level,
        scale,
        tally,
    }))
}

impl Wire {
    /// Primes left.
    pub fn level(&self) -> Level {
        match &self.0 {
            Repr::Encrypted(ct) => ct.level(),
            Repr::Counted(c) => c.level,
        }
    }

    /// Factor between numbers and encoded integers.
    pub fn scale(&self) -> Scale {
        match &self.0 {
            Repr::Encrypted(ct) => ct.scale(),
            Repr::Counted(c) => c.scale,
        }
    }

    /// What is predicted of the error, if there is a ciphertext.
    pub(crate) fn tracked(&self) -> Option<&Tracked> {
        match &self.0 {
            Repr::Encrypted(ct) => Some(ct.tracked()),
            Repr::Counted(_) => None,
        }
    }

    /// Lowers the predicted error to what is known better; see [`Ciphertext::declare_error`].
    pub fn declare_error(&mut self, std: f64, systematic: f64) {
        if let Repr::Encrypted(ct) = &mut self.0 {
            ct.declare_error(std, systematic);
        }
    }

    /// Says how large the values are; see [`Ciphertext::declare_values`].
    pub fn declare(&mut self, max: f64) {
        if let Repr::Encrypted(ct) = &mut self.0 {
            ct.declare_values(max, max);
        }
    }

    pub(crate) fn encrypted(ct: Ciphertext) -> Self {
        Self(Repr::Encrypted(ct))
    }

    /// The ciphertext of a circuit that was run.
    pub(crate) fn into_ciphertext(self) -> Option<Ciphertext> {
        match self.0 {
            Repr::Encrypted(ct) => Some(ct),
            Repr::Counted(_) => None,
        }
    }
}
