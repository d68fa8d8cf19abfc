//! One of everything, over a small, insecure ring.

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::serial::{CiphertextWriter, SerialError};
use ckks_scheme::{
    Ciphertext, Decryptor, Encoder, EvaluationKeys, Evaluator, KeyGenerator, KeyRequest, Level,
    Parameters, ParamsLiteral, PublicKey, Scale, SecretEncryptor, SecretKey, SeededCiphertext,
};
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

pub const PASSPHRASE: &str = "correct horse battery staple";
pub const METADATA: &[u8] = b"what the caller says";

/// The kernel named by POLYPHASE_KERNEL, so that the whole suite can run on any.
pub fn kernel() -> KernelChoice {
    std::env::var("POLYPHASE_KERNEL").map_or(KernelChoice::Auto, |name| name.parse().unwrap())
}

/// Primes of several sizes, so that limbs are packed differently.
pub fn params() -> Parameters {
    Parameters::builder()
        .log_n(5)
        .q_bits([50, 41, 45])
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap()
}

/// A set that a file may name: files lead to secure sets only.
pub fn secure_literal() -> ParamsLiteral {
    ParamsLiteral {
        log_n: 13,
        q_bits: vec![45, 40, 40],
        p_bits: vec![50],
        digits: 3,
    }
}

pub struct Fixture {
    pub params: Parameters,
    pub secret: SecretKey,
    pub public: PublicKey,
    pub keys: EvaluationKeys,
    pub slots: Vec<Complex64>,
    pub seeded: SeededCiphertext,
    /// The same values, two polynomials, a level below.
    pub pair: Ciphertext,
    /// Their squares, three polynomials.
    pub triple: Ciphertext,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with_seed(1)
    }

    pub fn with_seed(seed: u64) -> Self {
        let params = params();
        let top = params.max_level();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let keygen = KeyGenerator::new(&params);
        let secret = keygen.secret_key(&mut rng).unwrap();
        let public = keygen.public_key(&secret, &mut rng).unwrap();
        let mut request = KeyRequest::new();
        request.relin(top);
        request.relin(Level::new(1));
        request.conjugation(top);
        request.rotation(1, top);
        request.rotation(-1, Level::new(2));
        request.encapsulation(5, top);
        let keys = keygen.evaluation_keys(&secret, &request, &mut rng).unwrap();
        let slots: Vec<_> = (0..params.slots())
            .map(|j| Complex64::new(j as f64 / 32.0, 0.25 - j as f64 / 64.0))
            .collect();
        let scale = Scale::new(2f64.powi(38));
        let pt = Encoder::new(&params).encode(&slots, top, scale).unwrap();
        let encryptor = SecretEncryptor::new(&secret);
        let seeded = encryptor.encrypt_seeded(&pt, &mut rng).unwrap();
        let evaluator = Evaluator::new(&params, Arc::new(EvaluationKeys::default()));
        let scale = Scale::new(2f64.powi(38) * params.prime(top) as f64);
        let pt = Encoder::new(&params).encode(&slots, top, scale).unwrap();
        let pair = encryptor.encrypt(&pt, &mut rng).unwrap();
        let pair = evaluator.rescale(&pair).unwrap();
        let triple = evaluator.square(&pair).unwrap();
        Self {
            params,
            secret,
            public,
            keys,
            slots,
            seeded,
            pair,
            triple,
        }
    }

    /// Largest error of the decryption.
    pub fn error(&self, ct: &Ciphertext, expected: impl Fn(Complex64) -> Complex64) -> f64 {
        let found = Decryptor::new(&self.secret)
            .decrypt(ct, &Encoder::new(&self.params))
            .unwrap();
        let errors = found.iter().zip(&self.slots);
        errors
            .map(|(z, &x)| (z - expected(x)).norm())
            .fold(0.0, f64::max)
    }

    pub fn stream<E: std::fmt::Debug>(
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        out
    }

    pub fn ciphertext(&self, ct: &Ciphertext) -> Vec<u8> {
        Self::stream(|out| ct.write_to(&self.params, self.secret.id(), out))
    }

    pub fn sequence(&self) -> Vec<u8> {
        Self::stream(|out| {
            let (params, id) = (&self.params, self.secret.id());
            let mut writer = CiphertextWriter::new(out, params, id, METADATA, 3)?;
            writer.push_seeded(&self.seeded)?;
            writer.push(&self.pair)?;
            writer.push(&self.triple)?;
            writer.finish()?;
            Ok::<_, SerialError>(())
        })
    }

    /// A stream of every kind and form.
    pub fn streams(&self) -> Vec<(&'static str, Vec<u8>)> {
        let literal = secure_literal();
        let secure = Parameters::from_literal(&literal, kernel(), None).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        vec![
            ("parameters", Self::stream(|out| secure.write_to(out))),
            ("secret_key", Self::stream(|out| self.secret.write_to(out))),
            (
                "protected_secret_key",
                Self::stream(|out| {
                    let secret = &self.secret;
                    secret.write_protected_to(PASSPHRASE, &mut rng, out)
                }),
            ),
            ("public_key", Self::stream(|out| self.public.write_to(out))),
            (
                "evaluation_keys",
                Self::stream(|out| self.keys.write_to(&self.params, out)),
            ),
            (
                "seeded_ciphertext",
                Self::stream(|out| self.seeded.write_to(out)),
            ),
            ("ciphertext", self.ciphertext(&self.pair)),
            ("product", self.ciphertext(&self.triple)),
            ("ciphertexts", self.sequence()),
        ]
    }
}
