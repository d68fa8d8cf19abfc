//! Of fresh ciphertexts.

use super::*;
use crate::{Ciphertext, Encryptor, SecretEncryptor};

/// Of ciphertexts under the secret: errors and second polynomials.
fn opened(lab: &Lab, pt: &Plaintext, cts: &[Ciphertext]) -> (Vec<Vec<i64>>, Vec<Vec<u64>>) {
    let ring = &lab.params.q()[0];
    let error = |ct: &Ciphertext| {
        let mut b = ct.parts[0].limb(0).to_vec();
        ring.sub_assign(&mut b, pt.poly.limb(0));
        phase(ring, &b, ct.parts[1].limb(0), &lab.secret.coeffs)
    };
    let second = |ct: &Ciphertext| ct.parts[1].limb(0).to_vec();
    (
        cts.iter().map(error).collect(),
        cts.iter().map(second).collect(),
    )
}

#[test]
fn ciphertexts_of_a_client_share_nothing() {
    let mut lab = Lab::new(5);
    let pt = lab.plaintext();
    let encryptor = SecretEncryptor::new(&lab.secret);
    let mut cts = Vec::new();
    for _ in 0..3 {
        cts.push(encryptor.encrypt(&pt, &mut lab.rng).unwrap());
        let seeded = encryptor.encrypt_seeded(&pt, &mut lab.rng).unwrap();
        cts.push(seeded.expand().unwrap());
    }
    let many = |lab: &Lab| (0..3).map(|_| lab.plaintext()).collect::<Vec<_>>();
    cts.extend(encryptor.encrypt_many(many(&lab), &mut lab.rng).unwrap());
    let seeded = encryptor
        .encrypt_seeded_many(many(&lab), &mut lab.rng)
        .unwrap();
    cts.extend(seeded.into_iter().map(|ct| ct.expand().unwrap()));
    assert_eq!(cts.len(), 12);
    let (errors, uniform) = opened(&lab, &pt, &cts);
    errors
        .iter()
        .for_each(|e| assert_is_an_error(e, "ciphertext"));
    assert_all_different(errors, "errors of ciphertexts");
    assert_all_different(uniform, "uniform polynomials of ciphertexts");
}

#[test]
fn many_ciphertexts_are_those_of_one_after_the_other() {
    let lab = Lab::new(6);
    let encryptor = SecretEncryptor::new(&lab.secret);
    let mut rng = lab.rng.clone();
    let one: Vec<_> = (0..5)
        .map(|_| encryptor.encrypt(&lab.plaintext(), &mut rng).unwrap())
        .collect();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let plaintexts = (0..5).map(|_| lab.plaintext()).collect();
        let mut rng = lab.rng.clone();
        let many = pool.install(|| encryptor.encrypt_many(plaintexts, &mut rng).unwrap());
        assert_eq!(many.len(), one.len());
        for (a, b) in one.iter().zip(&many) {
            for (p, q) in a.parts.iter().zip(&b.parts) {
                assert!(p.iter().zip(q.iter()).all(|(x, y)| x[..] == y[..]));
            }
        }
    }
}

#[test]
fn errors_of_ciphertexts_cannot_be_expanded_from_what_is_sent() {
    let mut lab = Lab::new(7);
    let pt = lab.plaintext();
    let encryptor = SecretEncryptor::new(&lab.secret);
    let seeded = encryptor.encrypt_seeded(&pt, &mut lab.rng).unwrap();
    let seed = seeded.seed;
    let ct = seeded.expand().unwrap();
    let (errors, _) = opened(&lab, &pt, &[ct]);
    let place = Place::of_ciphertext(&lab.params, lab.secret.id, Level::new(3));
    assert_ne!(errors[0][..], place.error(&seed, 0)[..]);
}

/// `e0` and `e1` of some encryptions under the public key. Their masks are drawn once more: a mask comes before its errors.
fn errors_beside_masks(lab: &Lab, pt: &Plaintext) -> Vec<Vec<i64>> {
    let ring = &lab.params.q()[0];
    let mut rng = lab.rng.clone();
    let mut errors = Vec::new();
    for _ in 0..3 {
        let mut minus_v = vec![0; lab.params.degree()];
        sample::ternary_into(&mut rng.clone(), &mut minus_v);
        minus_v.iter_mut().for_each(|x| *x = -*x);
        let ct = Encryptor::new(&lab.public).encrypt(pt, &mut rng).unwrap();
        let mut b = ct.parts[0].limb(0).to_vec();
        ring.sub_assign(&mut b, pt.poly.limb(0));
        let a = ct.parts[1].limb(0);
        for (part, half) in [(&b[..], &lab.public.b), (a, &lab.public.a)] {
            let e = phase(ring, part, half.limb(0), &minus_v);
            assert_is_an_error(&e, "encryption under the public key");
            errors.push(e);
        }
    }
    errors
}

#[test]
fn encryptions_under_the_public_key_are_masked_by_something_new() {
    let mut lab = Lab::new(8);
    let pt = lab.plaintext();
    let encryptor = Encryptor::new(&lab.public);
    let cts: Vec<_> = (0..6)
        .map(|_| encryptor.encrypt(&pt, &mut lab.rng).unwrap())
        .collect();
    let ring = &lab.params.q()[0];
    let q = ring.modulus().value() as i64;
    // Without a mask v, or with the same one, the second polynomials or their differences would be small.
    let far = |x: &[i64]| x.iter().filter(|x| x.abs() > q / 1000).count();
    let seconds: Vec<Vec<u64>> = cts.iter().map(|ct| ct.parts[1].limb(0).to_vec()).collect();
    for (i, a) in seconds.iter().enumerate() {
        assert!(far(&signed(ring, a.clone())) > 490);
        for b in &seconds[..i] {
            let mut difference = a.clone();
            ring.sub_assign(&mut difference, b);
            assert!(far(&signed(ring, difference)) > 490);
        }
    }
    assert_all_different(errors_beside_masks(&lab, &pt), "errors beside masks");
    // The error `v e + e0 + e1 s` has the size that a dense ternary v gives it.
    let (errors, _) = opened(&lab, &pt, &cts);
    let n = errors[0].len() as f64;
    let squares: f64 = errors.iter().flatten().map(|x| (x * x) as f64).sum();
    let variance = squares / (n * errors.len() as f64);
    let expected = sample::SIGMA.powi(2) * (1.0 + 4.0 * n / 3.0);
    assert!(
        (variance / expected - 1.0).abs() < 0.15,
        "{variance} {expected}"
    );
    assert_all_different(errors, "errors under the public key");
}
