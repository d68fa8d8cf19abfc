use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{
    Ciphertext, Decryptor, Encoder, Evaluator, KeyGenerator, KeyRequest, Level, Parameters, Scale,
    SecretEncryptor, SecretKey,
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
pub fn params(log_n: u32, q_bits: &[u32], digits: usize) -> Parameters {
    let kernel =
        std::env::var("POLYPHASE_KERNEL").map_or(KernelChoice::Auto, |name| name.parse().unwrap());
    Parameters::builder()
        .log_n(log_n)
        .q_bits(q_bits.iter().copied())
        .digits(digits)
        .kernel(kernel)
        .build_insecure_for_tests()
        .unwrap()
}

impl Fixture {
    pub fn new(params: Parameters, request: &KeyRequest) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let keygen = KeyGenerator::new(&params);
        let secret = keygen.secret_key(&mut rng).unwrap();
        let keys = keygen.evaluation_keys(&secret, request, &mut rng).unwrap();
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

    /// Real and imaginary parts uniform in `[-size, size]`; imaginary parts 0 for `real`.
    pub fn slots(&mut self, size: f64, real: bool) -> Vec<Complex64> {
        (0..self.params.slots())
            .map(|_| {
                let mut part = || size * self.rng.random_range(-1.0..1.0);
                Complex64::new(part(), if real { 0.0 } else { part() })
            })
            .collect()
    }

    pub fn encrypt(&mut self, slots: &[Complex64], level: Level, scale: Scale) -> Ciphertext {
        let pt = self.encoder.encode(slots, level, scale).unwrap();
        SecretEncryptor::new(&self.secret)
            .encrypt(&pt, &mut self.rng)
            .unwrap()
    }

    pub fn decrypt(&self, ct: &Ciphertext) -> Vec<Complex64> {
        Decryptor::new(&self.secret)
            .decrypt(ct, &self.encoder)
            .unwrap()
    }

    /// Largest error of a real component, which must stay within the ciphertext's own predicted bound.
    pub fn error_within_bound(&self, ct: &Ciphertext, expected: &[Complex64]) -> f64 {
        let error = max_error(&self.decrypt(ct), expected);
        let bound = ct.tracked().error_bound();
        assert!(
            error <= bound,
            "error {error:e} above the predicted bound {bound:e}"
        );
        error
    }
}

pub fn max_error(a: &[Complex64], b: &[Complex64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x.re - y.re).abs().max((x.im - y.im).abs()))
        .fold(0.0, f64::max)
}
