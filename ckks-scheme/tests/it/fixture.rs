use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    Ciphertext, Decryptor, Encoder, EvaluationKeys, Evaluator, KeyGenerator, KeyRequest, Level,
    Parameters, Scale, SecretEncryptor, SecretKey,
};
use num_complex::Complex64;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

/// A client and a server over one small, insecure ring.
pub struct Fixture {
    pub params: Parameters,
    pub secret: SecretKey,
    pub encoder: Encoder,
    pub eval: Evaluator,
    pub rng: ChaCha20Rng,
}

/// The kernel named by POLYPHASE_KERNEL, so that the whole suite can run on any.
pub fn kernel() -> KernelChoice {
    std::env::var("POLYPHASE_KERNEL").map_or(KernelChoice::Auto, |name| name.parse().unwrap())
}

pub fn params(log_n: u32, levels: usize, digits: usize) -> Parameters {
    Parameters::builder()
        .log_n(log_n)
        .q_bits(std::iter::repeat_n(50, levels))
        .digits(digits)
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap()
}

impl Fixture {
    /// With the keys of all kinds, and of some rotations, for the highest level.
    pub fn new(params: Parameters, rotations: &[i64]) -> Self {
        let mut request = KeyRequest::new();
        let top = params.max_level();
        request.relin(top);
        request.conjugation(top);
        for &r in rotations {
            request.rotation(r, top);
        }
        Self::with_keys(params, &request)
    }

    pub fn with_keys(params: Parameters, request: &KeyRequest) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let keygen = KeyGenerator::new(&params);
        let secret = keygen.secret_key(&mut rng).unwrap();
        let keys = keygen.evaluation_keys(&secret, request, &mut rng).unwrap();
        assert_eq!(keys.bytes(), request.bytes(params.chain()));
        let eval = Evaluator::new(&params, Arc::new(keys));
        let encoder = Encoder::new(&params);
        Self {
            params,
            secret,
            encoder,
            eval,
            rng,
        }
    }

    /// The key of one rotation at the highest level.
    pub fn keys(secret: &SecretKey, steps: i64) -> EvaluationKeys {
        let params = secret.params();
        let mut request = KeyRequest::new();
        request.rotation(steps, params.max_level());
        KeyGenerator::new(params)
            .evaluation_keys(secret, &request, &mut ChaCha20Rng::seed_from_u64(8))
            .unwrap()
    }

    pub fn random_slots(&mut self) -> Vec<Complex64> {
        (0..self.params.slots())
            .map(|_| {
                Complex64::new(
                    self.rng.random_range(-1.0..1.0),
                    self.rng.random_range(-1.0..1.0),
                )
            })
            .collect()
    }

    pub fn encrypt(&mut self, slots: &[Complex64], level: usize, scale: f64) -> Ciphertext {
        let pt = self
            .encoder
            .encode(slots, Level::new(level), Scale::new(scale))
            .unwrap();
        SecretEncryptor::new(&self.secret)
            .encrypt(&pt, &mut self.rng)
            .unwrap()
    }

    pub fn decrypt(&self, ct: &Ciphertext) -> Vec<Complex64> {
        Decryptor::new(&self.secret)
            .decrypt(ct, &self.encoder)
            .unwrap()
    }

    /// Largest error of a real component against `expected`.
    pub fn largest_error(&self, ct: &Ciphertext, expected: &[Complex64]) -> f64 {
        max_error(&self.decrypt(ct), expected)
    }

    /// Asserts that the ciphertext decrypts to `expected` within its own predicted bound.
    pub fn assert_within_bound(&self, ct: &Ciphertext, expected: &[Complex64]) {
        let error = self.largest_error(ct, expected);
        let bound = ct.tracked().error_bound();
        assert!(
            error <= bound,
            "error {error:e} above the predicted bound {bound:e}"
        );
        let largest = expected.iter().map(|z| z.norm()).fold(0.0, f64::max);
        assert!(
            largest <= ct.tracked().max * (1.0 + 1e-9),
            "{largest} above {}",
            ct.tracked().max
        );
    }
}

pub fn zip(
    a: &[Complex64],
    b: &[Complex64],
    f: impl Fn(Complex64, Complex64) -> Complex64,
) -> Vec<Complex64> {
    a.iter().zip(b).map(|(&x, &y)| f(x, y)).collect()
}

pub fn rotated(a: &[Complex64], steps: i64) -> Vec<Complex64> {
    let n = a.len() as i64;
    (0..n)
        .map(|j| a[(j + steps).rem_euclid(n) as usize])
        .collect()
}

pub fn max_error(a: &[Complex64], b: &[Complex64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x.re - y.re).abs().max((x.im - y.im).abs()))
        .fold(0.0, f64::max)
}
