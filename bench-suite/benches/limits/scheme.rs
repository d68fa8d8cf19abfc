//! Operations of the scheme.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_suite::args::KernelName;
use bench_suite::measure::{self, Worker};
use bench_suite::ring::{self, Ring};
use bench_suite::work::{Switch, Work};
use ckks_scheme::{
    Ciphertext, Encoder, EvalError, EvaluationKeys, Evaluator, KeyGenerator, KeyRequest, Level,
    Operation, Parameters, Scale, SecretEncryptor,
};
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::{BoxError, Item};

/// Small enough for a square at two primes.
const SCALE: f64 = (1u64 << 30) as f64;
/// Rotations of one ciphertext: the three directions of a polyphase convolution's corner.
const STEPS: [i64; 3] = [1, 16, 17];

pub struct Scheme {
    params: Parameters,
    keys: Arc<EvaluationKeys>,
    /// At the top level.
    ciphertext: Ciphertext,
}

type Unary = fn(&Evaluator, &Ciphertext) -> Result<(), EvalError>;

impl Scheme {
    pub fn new(log_n: u32, levels: &[usize], kernel: KernelName) -> Result<Self, BoxError> {
        let top = levels.iter().copied().max().unwrap_or(2);
        let ring = Ring {
            log_n,
            levels: top,
            kernel,
        };
        let params = ring.parameters()?;
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut request = KeyRequest::new();
        for &level in levels {
            let level = Level::new(level);
            request.relin(level);
            request.conjugation(level);
            STEPS
                .iter()
                .for_each(|&steps| request.rotation(steps, level));
        }
        let keygen = KeyGenerator::new(&params);
        let secret = keygen.secret_key(&mut rng)?;
        let keys = Arc::new(keygen.evaluation_keys(&secret, &request, &mut rng)?);
        let slots = vec![Complex64::new(0.5, -0.25); params.slots()];
        let plaintext =
            Encoder::new(&params).encode(&slots, params.max_level(), Scale::new(SCALE))?;
        let ciphertext = SecretEncryptor::new(&secret).encrypt(&plaintext, &mut rng)?;
        Ok(Self {
            params,
            keys,
            ciphertext,
        })
    }

    /// For each level from the first to the last.
    pub fn items(&self, levels: &[usize]) -> Vec<Item<'_>> {
        levels
            .iter()
            .flat_map(|&level| self.items_at(level))
            .collect()
    }

    fn items_at(&self, level: usize) -> Vec<Item<'_>> {
        let shape = self.params.key_shape(Level::new(level));
        let switch = Switch {
            log_n: self.params.log_n(),
            level,
            digit_limbs: shape.digit_limbs,
            specials: shape.specials,
        };
        let steps = STEPS.len();
        vec![
            self.item(
                "relinearize",
                "key switch (relinearise)",
                switch.relinearize(),
                level,
                Self::relinearizing,
            ),
            self.part(
                "mod_up",
                "  its ModUp",
                switch.mod_up(),
                level,
                Operation::ModUp,
            ),
            self.part(
                "inner_product",
                "  its key inner product",
                switch.inner_product(),
                level,
                Operation::InnerProduct,
            ),
            self.part(
                "mod_down",
                "  its ModDown, both halves",
                switch.mod_down(0),
                level,
                Operation::ModDown,
            ),
            self.unary(
                "rotate",
                "rotation",
                switch.rotations(1),
                level,
                |eval, ct| eval.rotate(ct, STEPS[0]).map(drop),
            ),
            Item {
                operations: steps,
                ..self.unary(
                    "rotate_hoisted3",
                    "3 hoisted rotations, each",
                    switch.rotations(steps) * (1.0 / steps as f64),
                    level,
                    |eval, ct| eval.rotate_many(ct, &STEPS).map(drop),
                )
            },
            self.unary(
                "mul_relin_rescale",
                "multiply, relinearise, rescale",
                switch.multiply(),
                level,
                |eval, ct| {
                    eval.rescale(&eval.relinearize(eval.mul(ct, ct)?)?)
                        .map(drop)
                },
            ),
            self.unary(
                "rescale",
                "rescale",
                Work::rescale(switch.log_n, level),
                level,
                |eval, ct| eval.rescale(ct).map(drop),
            ),
            self.unary(
                "conjugate_rescale",
                "conjugate and rescale",
                switch.conjugate_rescale(),
                level,
                |eval, ct| eval.conjugate_rescale(ct).map(drop),
            ),
        ]
    }

    fn item<'a>(
        &'a self,
        operation: &'static str,
        label: &str,
        work: Work,
        level: usize,
        make: impl Fn(&'a Self, usize, usize) -> Result<Worker<'a>, BoxError> + 'a,
    ) -> Item<'a> {
        Item {
            id: ring::id("ckks-scheme", operation, &self.params, level),
            label: format!("{label}, level {level}"),
            work,
            operations: 1,
            make: Box::new(move |bytes| make(self, level, bytes)),
        }
    }

    /// An operation on one ciphertext after the other.
    fn unary<'a>(
        &'a self,
        operation: &'static str,
        label: &str,
        work: Work,
        level: usize,
        call: Unary,
    ) -> Item<'a> {
        self.item(operation, label, work, level, move |this, level, bytes| {
            let eval = this.evaluator();
            let operands = this.operands(level, bytes)?;
            let mut next = (0..operands.len()).cycle();
            Ok(measure::whole(move || {
                let ct = &operands[next.next().expect("a cycle has no end")];
                call(&eval, ct).expect("keys and levels are there");
            }))
        })
    }

    /// A part of the relinearisation, as the evaluator's profile tells it.
    fn part<'a>(
        &'a self,
        operation: &'static str,
        label: &str,
        work: Work,
        level: usize,
        part: Operation,
    ) -> Item<'a> {
        self.item(operation, label, work, level, move |this, level, bytes| {
            let eval = this.evaluator();
            let seconds = {
                let eval = eval.clone();
                move || {
                    let entries = eval.profile().entries();
                    let entry = entries.iter().find(|(op, ..)| *op == part);
                    entry.map_or(0.0, |(.., seconds)| *seconds)
                }
            };
            let mut worker = this.relinearizing_with(eval, level, bytes)?;
            Ok(Box::new(move || {
                let before = seconds();
                worker();
                Duration::from_secs_f64(seconds() - before)
            }))
        })
    }

    fn relinearizing(&self, level: usize, bytes: usize) -> Result<Worker<'_>, BoxError> {
        self.relinearizing_with(self.evaluator(), level, bytes)
    }

    /// Relinearisations of copies, which do not count, of one product after the other.
    fn relinearizing_with(
        &self,
        eval: Evaluator,
        level: usize,
        bytes: usize,
    ) -> Result<Worker<'_>, BoxError> {
        let operands = self.operands(level, bytes)?;
        let products = operands
            .iter()
            .map(|ct| eval.square(ct))
            .collect::<Result<Vec<_>, _>>()?;
        let mut next = (0..products.len()).cycle();
        Ok(Box::new(move || {
            let product = &products[next.next().expect("a cycle has no end")];
            let copy = product.try_clone().expect("the pool has no bound");
            let start = Instant::now();
            let out = eval.relinearize(copy).expect("the key is there");
            let time = start.elapsed();
            drop(out);
            time
        }))
    }

    fn evaluator(&self) -> Evaluator {
        Evaluator::new(&self.params, self.keys.clone())
    }

    fn operands(&self, level: usize, bytes: usize) -> Result<Vec<Ciphertext>, BoxError> {
        let eval = self.evaluator();
        let one = || -> Result<Ciphertext, BoxError> {
            let mut ct = self.ciphertext.try_clone()?;
            eval.drop_level(&mut ct, Level::new(level))?;
            Ok(ct)
        };
        let first = one()?;
        let more = (bytes as u64 / first.bytes()).saturating_sub(1);
        std::iter::once(Ok(first))
            .chain((0..more).map(|_| one()))
            .collect()
    }
}
