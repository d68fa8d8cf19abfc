//! Known answers: from one seed the same words on every kernel and machine, so that no refactoring changes results
//! unnoticed. Who changes them on purpose replaces the table by what the failing test prints.

use crate::exec::KernelChoice;
use crate::keys::{ExtendedPoly, Galois, KeyKind, SwitchingKey};
use crate::{
    Ciphertext, Encoder, Encryptor, Evaluator, KeyGenerator, KeyRequest, Level, Parameters,
    PeriodicMatrix, PeriodicPlain, Scale, SecretEncryptor,
};
use ckks_math::Limb;
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

const EXPECTED: &[(&str, &str)] = &[
    ("secret key", "f35b7785035b9528a103e66a5b403e09"),
    ("public key", "244f28f2e6d115df92ff15e62d99dffb"),
    ("relinearisation key", "e1f66bdde4091cbcdb4f4066365b6553"),
    ("rotation key", "1c4a16558a076ab1619197bede54df16"),
    ("conjugation key", "f454c905039941e13c551d232aca4161"),
    (
        "encrypted with the public key",
        "16036394fac56f95756d8ab47877f0c0",
    ),
    (
        "encrypted with the secret key",
        "5c16aaec1703e46ff461fa1f6a7c7f1a",
    ),
    ("rescaled", "70d56036c5cf6c6d9a9a01eb24c5fe77"),
    (
        "conjugated and rescaled",
        "03c3182788813fd3701a3c3ae98c08d9",
    ),
    (
        "multiplied and relinearised",
        "32c27ce518121231c00d08ad7f24654e",
    ),
    ("square pair", "b2146819454d8dbdfab2dbb092e47448"),
    (
        "squared and relinearised",
        "12028a05a83083931a04e86593d09b4d",
    ),
    ("rotated by 5", "82dd4b25e982ebf9b529e2150ef4e567"),
    ("rotated by -3", "af1bf7d46c5eac5852f5c416aa1063f1"),
    ("sum of rotations", "ba98cd5c7a9b33fb47f599b16648141d"),
    ("lifted", "4d1df2db3a9367860a65b09015afc1ba"),
    ("matrix product", "5a0aef41c4ae88db083f2f36d5132e09"),
];

fn digest<'a>(limbs: impl IntoIterator<Item = &'a [u64]>) -> String {
    let mut hasher = blake3::Hasher::new();
    for word in limbs.into_iter().flatten() {
        hasher.update(&word.to_le_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

fn words(limbs: &[Limb]) -> impl Iterator<Item = &[u64]> {
    limbs.iter().map(|l| &l[..])
}

fn of_ciphertext(ct: &Ciphertext) -> String {
    digest(ct.parts.iter().flat_map(|p| p.iter().map(|l| &l[..])))
}

fn of_key(key: &SwitchingKey) -> String {
    fn limbs(half: &ExtendedPoly) -> impl Iterator<Item = &[u64]> {
        words(&half.q).chain(words(&half.p))
    }
    digest(key.digits.iter().flatten().flat_map(limbs))
}

fn answers(kernel: KernelChoice) -> Vec<(&'static str, String)> {
    let params = Parameters::builder()
        .log_n(6)
        .q_bits([50, 48, 40, 45, 45])
        .kernel(kernel)
        .build_insecure_for_tests()
        .unwrap();
    let level = params.max_level();
    let mut rng = ChaCha20Rng::seed_from_u64(20);
    let keygen = KeyGenerator::new(&params);
    let secret = keygen.secret_key(&mut rng).unwrap();
    let public = keygen.public_key(&secret, &mut rng).unwrap();
    let mut request = KeyRequest::new();
    request.relin(level);
    request.conjugation(level);
    request.rotation(-3, Level::new(4));
    request.rotation(5, level);
    let keys = keygen.evaluation_keys(&secret, &request, &mut rng).unwrap();
    let key = |kind, level| of_key(&keys.keys[&(kind, level)]);
    let rotation = |steps| KeyKind::Galois(Galois::Rotation(steps));
    let mut answers = vec![
        ("secret key", digest(secret.q.iter().map(|l| &l[..]))),
        (
            "public key",
            digest(
                [&public.b, &public.a]
                    .into_iter()
                    .flat_map(|p| p.iter().map(|l| &l[..])),
            ),
        ),
        ("relinearisation key", key(KeyKind::Relinearization, level)),
        ("rotation key", key(rotation(29), Level::new(4))),
        (
            "conjugation key",
            key(KeyKind::Galois(Galois::Conjugation), level),
        ),
    ];

    // The same value in all slots: its encoding does not depend on the machine's sine.
    let slots = vec![Complex64::new(0.75, -0.3125); params.slots()];
    let scale = Scale::new(2f64.powi(30) * params.prime(level) as f64);
    let pt = Encoder::new(&params).encode(&slots, level, scale).unwrap();
    let a = Encryptor::new(&public).encrypt(&pt, &mut rng).unwrap();
    let b = SecretEncryptor::new(&secret)
        .encrypt(&pt, &mut rng)
        .unwrap();
    let eval = Evaluator::new(&params, Arc::new(keys));
    let z = eval.rescale(&b).unwrap();
    let conjugate = eval.conjugate_rescale(&b).unwrap();
    let product = eval.mul(&eval.rescale(&a).unwrap(), &z).unwrap();
    let product = eval.relinearize(product).unwrap();
    let pair = eval.square_pair(&z, &conjugate).unwrap();
    let square = eval.relinearize(eval.square(&z).unwrap()).unwrap();
    let rotated = eval.rotate_many(&square, &[5, -3]).unwrap();
    let sum = eval
        .rotate_sum(&[(&square, 5), (&product, -3), (&square, 0)])
        .unwrap();
    let lifted = eval.lift(z.try_clone().unwrap(), Level::new(4)).unwrap();

    let mut w = PeriodicMatrix::new(1, 2, 4, Scale::new(2f64.powi(20))).unwrap();
    w.set_scalar(0, 0, 0.7).unwrap();
    w.set_masked(0, 1, &[0.1, -0.2, 0.3, 0.4]).unwrap();
    let out_scale = Scale::new(square.scale().value() * w.scale().value());
    let mut out = eval.zero(Level::new(3), out_scale).unwrap();
    eval.matmul_accumulate(&mut [&mut out], &[&rotated[0], &rotated[1]], &w)
        .unwrap();
    let plane = [0.5, 0.25].map(|x| Complex64::new(x, 1.0));
    eval.add_periodic_assign(&mut out, &PeriodicPlain::new(&plane, out_scale).unwrap())
        .unwrap();
    eval.add_const_assign(&mut out, Complex64::new(0.5, 2.0))
        .unwrap();
    eval.mul_i_assign(&mut out);
    answers.extend(
        [
            ("encrypted with the public key", &a),
            ("encrypted with the secret key", &b),
            ("rescaled", &z),
            ("conjugated and rescaled", &conjugate),
            ("multiplied and relinearised", &product),
            ("square pair", &pair),
            ("squared and relinearised", &square),
            ("rotated by 5", &rotated[0]),
            ("rotated by -3", &rotated[1]),
            ("sum of rotations", &sum),
            ("lifted", &lifted),
            ("matrix product", &out),
        ]
        .map(|(name, ct)| (name, of_ciphertext(ct))),
    );
    answers
}

#[test]
fn kat_keys_and_ciphertexts() {
    let scalar = answers(KernelChoice::Named("scalar"));
    assert_eq!(scalar, answers(KernelChoice::Auto), "kernels disagree");
    let expected: Vec<_> = EXPECTED
        .iter()
        .map(|&(name, hash)| (name, hash.to_owned()))
        .collect();
    assert_eq!(scalar, expected);
}
