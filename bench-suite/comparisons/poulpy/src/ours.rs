//! Polyphase's side.

use std::sync::Arc;

use bench_suite::args::KernelName;
use bench_suite::ring::{self, Ring};
use ckks_scheme::{
    Ciphertext, Decryptor, Encoder, Evaluator, KeyGenerator, KeyRequest, Scale, SecretEncryptor,
    SecretKey,
};
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::{BoxError, Side};

/// Bits of a ciphertext prime, about the bits of the scale.
pub const PRIME_BITS: usize = ring::PRIME_BITS as usize;

pub struct Ours {
    secret: SecretKey,
    encoder: Encoder,
    evaluator: Evaluator,
    ciphertext: Ciphertext,
    result: Option<Ciphertext>,
}

impl Ours {
    pub fn new(
        log_n: u32,
        levels: usize,
        kernel: KernelName,
        slots: &[f64],
    ) -> Result<(Self, &'static str), BoxError> {
        let ring = Ring {
            log_n,
            levels,
            kernel,
        };
        let params = ring.parameters()?;
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let keygen = KeyGenerator::new(&params);
        let secret = keygen.secret_key(&mut rng)?;
        let level = params.max_level();
        let mut request = KeyRequest::new();
        request.relin(level);
        request.rotation(1, level);
        let keys = keygen.evaluation_keys(&secret, &request, &mut rng)?;
        let encoder = Encoder::new(&params);
        let slots: Vec<_> = slots.iter().map(|&x| Complex64::new(x, 0.0)).collect();
        let scale = Scale::new(params.prime(level) as f64);
        let plaintext = encoder.encode(&slots, level, scale)?;
        let ciphertext = SecretEncryptor::new(&secret).encrypt(&plaintext, &mut rng)?;
        let kernel = params.kernel_name();
        let ours = Self {
            secret,
            encoder,
            evaluator: Evaluator::new(&params, Arc::new(keys)),
            ciphertext,
            result: None,
        };
        Ok((ours, kernel))
    }
}

impl Side for Ours {
    fn multiply(&mut self) {
        let (eval, ct) = (&self.evaluator, &self.ciphertext);
        let product = eval
            .mul(ct, ct)
            .and_then(|ct| eval.relinearize(ct))
            .and_then(|ct| eval.rescale(&ct));
        self.result = Some(product.expect("keys, levels and scales fit"));
    }

    fn rotate(&mut self) {
        let rotated = self.evaluator.rotate(&self.ciphertext, 1);
        self.result = Some(rotated.expect("the key is there"));
    }

    fn decrypt(&mut self) -> Vec<f64> {
        let result = self.result.as_ref().expect("an operation came before");
        let slots = Decryptor::new(&self.secret).decrypt(result, &self.encoder);
        slots
            .expect("a ciphertext of these parameters")
            .iter()
            .map(|z| z.re)
            .collect()
    }

    fn log_qp(&self) -> f64 {
        self.evaluator.params().log_qp()
    }
}
