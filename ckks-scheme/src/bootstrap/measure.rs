//! Measuring a bootstrapping: precision, time, memory.

use super::{
    BootstrapError, BootstrapParams, Bootstrapper, Content, CosineBootstrapper, PrecisionStats,
    Stage,
};
use crate::decrypt::Decryptor;
use crate::encoding::Encoder;
use crate::encrypt::SecretEncryptor;
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use crate::keygen::KeyGenerator;
use num_complex::Complex64;
use rand::{CryptoRng, RngExt};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// What [`measure_precision`] found. Bytes are bytes, seconds are wall time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionReport {
    /// Base-2 logarithm of the ring degree.
    pub log_n: u32,
    /// Bits of all ciphertext and special primes.
    pub log_qp: f64,
    /// 128, or 0 for an insecure set.
    pub security_bits: u32,
    /// Slots in use.
    pub slots: usize,
    /// Whether both components of a slot are in use.
    pub content: Content,
    /// Name of the function that is applied.
    pub function: String,
    /// How far what stands for the function is from it at most, within the range of values; errors are differences from
    /// what stands for it.
    pub function_error: f64,
    /// Ciphertexts refreshed.
    pub ciphertexts: usize,
    /// Over all components of all ciphertexts.
    pub overall: PrecisionStats,
    /// Ciphertext by ciphertext.
    pub each: Vec<PrecisionStats>,
    /// The predicted bound on the error of a component, the largest of all ciphertexts.
    pub predicted_error_bound: f64,
    /// Components whose error is larger than predicted for their ciphertext: a coefficient that left the range of the
    /// cosine shows so, as does a value beyond the declared range.
    pub range_violations: usize,
    /// Bits of modulus left for the user, above what the next refresh takes.
    pub residual_bits: f64,
    /// Levels left for the user, likewise.
    pub residual_levels: usize,
    /// Base-2 logarithm of the probability that a refresh fails, by computation; `None` where it cannot.
    pub failure_log2: Option<f64>,
    /// Wall time of all refreshes divided by their number, after one that is not counted on every thread.
    pub seconds: f64,
    /// Seconds that a refresh spends on its thread, by stage: they add up to `threads` times `seconds` where all threads
    /// are busy.
    pub seconds_by_stage: Vec<(Stage, f64)>,
    /// Name, number and seconds of the evaluator's operations in a refresh, likewise.
    pub operations: Vec<(String, f64, f64)>,
    /// Seconds for the key generation.
    pub seconds_keygen: f64,
    /// Threads of the current rayon pool.
    pub threads: usize,
    /// Kernel of the arithmetic.
    pub kernel: String,
    /// Bytes of all switching keys, as resident.
    pub key_bytes: u64,
    /// Number of switching keys.
    pub keys: usize,
    /// Bytes of the encoded matrices.
    pub transform_bytes: u64,
    /// Bytes declared for one refresh, see [`Bootstrapper::working_bytes`].
    pub working_bytes: u64,
    /// High-water mark of the limb pool while refreshing: keys, matrices and ciphertexts included.
    pub pool_high_water_bytes: u64,
}

/// How far [`measure_precision`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeasureProgress {
    /// Encodes the matrices and generates the keys.
    Setup,
    /// Refreshes that are not counted.
    WarmUp,
    /// That many ciphertexts were refreshed and compared.
    Refreshed(usize),
}

/// Refreshes ciphertexts of values whose components are uniform in `[-max_value, max_value]`, as many at a time as the
/// current rayon pool has threads, and compares. Holds the client's and the server's side, for this purpose only.
///
/// Repetitions of sparse slots count once; imaginary parts of real content do not count. `ciphertexts` is at least 1.
/// `progress` is called from the calling thread.
///
/// # Errors
/// As [`CosineBootstrapper::new`] and [`Bootstrapper::bootstrap`]; [`BootstrapError::Invalid`] for no ciphertext at all.
pub fn measure_precision<R: CryptoRng>(
    params: &BootstrapParams,
    ciphertexts: usize,
    rng: &mut R,
    progress: &mut dyn FnMut(MeasureProgress),
) -> Result<PrecisionReport, BootstrapError> {
    if ciphertexts == 0 {
        return Err(BootstrapError::Invalid {
            what: "number of ciphertexts",
            found: "0".into(),
            expected: "1 or more".into(),
        });
    }
    progress(MeasureProgress::Setup);
    let scheme = params.scheme();
    let threads = rayon::current_num_threads();
    let boot = CosineBootstrapper::new(params)?;
    let request = boot.request();
    let keygen = KeyGenerator::new(scheme);
    let secret = keygen.secret_key(rng)?;
    let start = Instant::now();
    let keys = keygen.evaluation_keys(&secret, &request, rng)?;
    let seconds_keygen = start.elapsed().as_secs_f64();
    let (key_bytes, key_count) = (keys.bytes(), keys.count());
    let keys = Arc::new(keys);
    let eval = Evaluator::new(scheme, keys.clone());
    let client = Client {
        params,
        encoder: Encoder::new(scheme),
        encryptor: SecretEncryptor::new(&secret),
        decryptor: Decryptor::new(&secret),
    };

    progress(MeasureProgress::WarmUp);
    let warm_up = client.batch(ciphertexts.min(threads), rng)?;
    let inputs: Vec<_> = warm_up.iter().map(|(ct, _)| ct).collect();
    drop(boot.bootstrap_many(&eval, &inputs)?);
    drop(warm_up);

    scheme.pool().reset_high_water();
    let before = boot.stage_seconds();
    // A profile of its own.
    let eval = Evaluator::new(scheme, keys);
    let mut seconds = 0.0;
    let mut tally = Tally::default();
    while tally.each.len() < ciphertexts {
        let count = threads.min(ciphertexts - tally.each.len());
        let batch = client.batch(count, rng)?;
        let inputs: Vec<_> = batch.iter().map(|(ct, _)| ct).collect();
        let start = Instant::now();
        let refreshed = boot.bootstrap_many(&eval, &inputs)?;
        seconds += start.elapsed().as_secs_f64();
        for (out, (_, expected)) in refreshed.iter().zip(&batch) {
            let mut found = client.decryptor.decrypt(out, &client.encoder)?;
            tally.add(
                client.compared(&mut found),
                client
                    .compared(&mut expected.clone())
                    .map(|v| boot.function(v)),
                out.tracked().error_bound(),
            )?;
        }
        progress(MeasureProgress::Refreshed(tally.each.len()));
    }
    let count = ciphertexts as f64;
    let stages = boot.stage_seconds().into_iter().zip(before);
    let failure = params.failure_log2();
    Ok(PrecisionReport {
        log_n: scheme.log_n(),
        log_qp: scheme.log_qp(),
        security_bits: scheme.security_bits(),
        slots: params.slots(),
        content: params.literal().content,
        function: params.literal().function().name().into(),
        function_error: boot.outline().function_error(),
        ciphertexts,
        overall: PrecisionStats::of_errors(tally.errors).ok_or_else(no_number)?,
        each: tally.each,
        predicted_error_bound: tally.predicted,
        range_violations: tally.violations,
        residual_bits: params.residual_bits(),
        residual_levels: params.residual_levels(),
        failure_log2: failure.is_finite().then_some(failure),
        seconds: seconds / count,
        seconds_by_stage: stages
            .map(|((stage, after), (_, before))| (stage, (after - before) / count))
            .collect(),
        operations: eval
            .profile()
            .entries()
            .into_iter()
            .map(|(op, n, seconds)| (op.name().into(), n as f64 / count, seconds / count))
            .collect(),
        seconds_keygen,
        threads,
        kernel: scheme.kernel_name().into(),
        key_bytes,
        keys: key_count,
        transform_bytes: boot.transform_bytes(),
        working_bytes: boot.working_bytes(),
        pool_high_water_bytes: scheme.pool().high_water_bytes(),
    })
}

/// The side that holds the secret.
struct Client<'a> {
    params: &'a BootstrapParams,
    encoder: Encoder,
    encryptor: SecretEncryptor<'a>,
    decryptor: Decryptor<'a>,
}

impl Client<'_> {
    /// Ciphertexts at the input level, with their slots.
    fn batch<R: CryptoRng>(
        &self,
        count: usize,
        rng: &mut R,
    ) -> Result<Vec<(crate::Ciphertext, Vec<Complex64>)>, BootstrapError> {
        let size = self.params.literal().max_value;
        let (level, scale) = (self.params.input_level(), self.params.output_scale());
        let one = |rng: &mut R| {
            let mut component = || size * rng.random_range(-1.0..=1.0);
            let mut slots = Vec::with_capacity(self.params.scheme().slots());
            for _ in 0..self.params.slots() {
                let re = component();
                slots.push(match self.params.literal().content {
                    Content::Real => re.into(),
                    Content::Complex => Complex64::new(re, component()),
                });
            }
            while slots.len() < self.params.scheme().slots() {
                slots.extend_from_within(..self.params.slots());
            }
            let plain = self.encoder.encode(&slots, level, scale);
            let plain = plain.map_err(EvalError::from)?;
            let ct = self.encryptor.encrypt(&plain, rng)?;
            Ok((ct, slots))
        };
        (0..count).map(|_| one(rng)).collect()
    }

    /// The components that count, as real numbers.
    fn compared<'v>(&self, slots: &'v mut Vec<Complex64>) -> impl Iterator<Item = f64> + 'v {
        slots.truncate(self.params.slots());
        let components = match self.params.literal().content {
            Content::Real => 1,
            Content::Complex => 2,
        };
        slots
            .iter()
            .flat_map(move |z| [z.re, z.im].into_iter().take(components))
    }
}

#[derive(Default)]
struct Tally {
    errors: Vec<f64>,
    each: Vec<PrecisionStats>,
    predicted: f64,
    violations: usize,
}

impl Tally {
    fn add(
        &mut self,
        found: impl Iterator<Item = f64>,
        expected: impl Iterator<Item = f64>,
        predicted: f64,
    ) -> Result<(), BootstrapError> {
        let errors: Vec<f64> = found.zip(expected).map(|(x, y)| (x - y).abs()).collect();
        self.violations += errors.iter().filter(|e| **e > predicted).count();
        self.predicted = self.predicted.max(predicted);
        self.errors.extend_from_slice(&errors);
        self.each
            .push(PrecisionStats::of_errors(errors).ok_or_else(no_number)?);
        Ok(())
    }
}

fn no_number() -> BootstrapError {
    BootstrapError::Invalid {
        what: "error of a refreshed value",
        found: "NaN".into(),
        expected: "a number".into(),
    }
}
