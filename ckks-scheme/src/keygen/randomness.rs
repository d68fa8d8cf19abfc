//! What has to be random is, and is independent of whatever it must not be the same as. Keys and ciphertexts are opened
//! with the secret: what is left are their errors.

use super::*;
use crate::{Encoder, Encryptor, Plaintext, Scale, SecretEncryptor};
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

const WEIGHT: u32 = 24;

fn params() -> Parameters {
    Parameters::builder()
        .log_n(9)
        .q_bits([50, 45, 45, 45])
        .build_insecure_for_tests()
        .unwrap()
}

/// A secret and keys of every kind, at two levels, from a generator that starts at `seed`.
struct Lab {
    params: Parameters,
    secret: SecretKey,
    public: PublicKey,
    keys: EvaluationKeys,
    rng: ChaCha20Rng,
}

impl Lab {
    fn new(seed: u64) -> Self {
        let params = params();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let keygen = KeyGenerator::new(&params);
        let secret = keygen.secret_key(&mut rng).unwrap();
        let mut request = KeyRequest::new();
        for level in [Level::new(3), Level::new(4)] {
            request.relin(level);
            request.conjugation(level);
            request.rotation(1, level);
            request.rotation(2, level);
            request.encapsulation(WEIGHT, level);
        }
        Self {
            public: keygen.public_key(&secret, &mut rng).unwrap(),
            keys: keygen.evaluation_keys(&secret, &request, &mut rng).unwrap(),
            params,
            secret,
            rng,
        }
    }

    fn rings(&self, level: usize, specials: usize) -> Vec<&LimbRing> {
        let q = self.params.q()[..level].iter();
        q.chain(&self.params.p()[..specials]).collect()
    }

    /// The ephemeral secret, from the key that leads back from it: `b + a s = e + P u`, and `e` alone modulo P.
    fn ephemeral(&self) -> Vec<i64> {
        let level = Level::new(4);
        let key = &self.keys.keys[&(KeyKind::FromEphemeral(WEIGHT), level)];
        let specials = key.shape.specials;
        let [b, a] = &key.digits[0];
        let error = phase(&self.params.p()[0], &b.p[0], &a.p[0], &self.secret.coeffs);
        let ring = &self.params.q()[0];
        let found = phase(ring, &b.q[0], &a.q[0], &self.secret.coeffs);
        let q = ring.modulus();
        let p = product(ring, &self.params.p()[..specials]);
        let signed = |(x, e): (i64, &i64)| centred(q.mul(q.from_i64(x - e), q.inv(p)), q.value());
        found.into_iter().zip(&error).map(signed).collect()
    }

    /// The errors of a key's digits: the same modulo every prime, or the key does not hold.
    fn errors(&self, kind: KeyKind, level: Level) -> Vec<Vec<i64>> {
        let key = &self.keys.keys[&(kind, level)];
        let s = self.secret.coeffs.to_vec();
        let (target, source) = match kind {
            KeyKind::Relinearization => (s.clone(), None),
            KeyKind::Galois(g) => {
                let target = preimage(&s, g.element(self.params.log_n()));
                (target.to_vec(), Some(s))
            }
            KeyKind::ToEphemeral(_) => (self.ephemeral(), Some(s)),
            KeyKind::FromEphemeral(_) => (s, Some(self.ephemeral())),
        };
        let (l, specials) = (level.limbs(), key.shape.specials);
        let open = |(digit, [b, a]): (usize, &[ExtendedPoly; 2])| {
            let (from, to) = digit_range(l, key.shape.digit_limbs, digit);
            let of_limb = |(i, ring): (usize, &&LimbRing)| {
                let mut x = b.limb(i, l).to_vec();
                ring.mul_add_assign(&mut x, a.limb(i, l), &transformed(ring, &target));
                if (from..to).contains(&i) {
                    let mut gadget = match &source {
                        Some(source) => transformed(ring, source),
                        None => {
                            let s = transformed(ring, &self.secret.coeffs);
                            let mut square = s.clone();
                            ring.mul_assign(&mut square, &s);
                            square
                        }
                    };
                    let p = product(ring, &self.params.p()[..specials]);
                    ring.mul_scalar_assign(&mut gadget, p);
                    ring.sub_assign(&mut x, &gadget);
                }
                signed(ring, x)
            };
            let rings = self.rings(l, specials);
            let mut all = rings.iter().enumerate().map(of_limb);
            let first = all.next().unwrap();
            assert!(all.all(|e| e == first), "{kind} at {level}, digit {digit}");
            first
        };
        key.digits.iter().enumerate().map(open).collect()
    }

    fn plaintext(&self) -> Plaintext {
        let slots = vec![Complex64::new(0.5, -0.25); self.params.slots()];
        let scale = Scale::new(2f64.powi(40));
        let encoder = Encoder::new(&self.params);
        encoder.encode(&slots, Level::new(3), scale).unwrap()
    }
}

fn transformed(ring: &LimbRing, coeffs: &[i64]) -> Vec<u64> {
    let mut limb = vec![0; ring.degree()];
    ring.reduce_signed_into(&mut limb, coeffs);
    ring.ntt(&mut limb);
    limb
}

fn product(ring: &LimbRing, primes: &[LimbRing]) -> u64 {
    let q = ring.modulus();
    let primes = primes.iter().map(|p| q.reduce(p.modulus().value()));
    primes.fold(1, |acc, p| q.mul(acc, p))
}

fn centred(x: u64, q: u64) -> i64 {
    if x > q / 2 {
        x as i64 - q as i64
    } else {
        x as i64
    }
}

fn signed(ring: &LimbRing, mut limb: Vec<u64>) -> Vec<i64> {
    ring.intt(&mut limb);
    let q = ring.modulus().value();
    limb.into_iter().map(|x| centred(x, q)).collect()
}

/// Coefficients of `b + a s`.
fn phase(ring: &LimbRing, b: &[u64], a: &[u64], s: &[i64]) -> Vec<i64> {
    let mut x = b.to_vec();
    ring.mul_add_assign(&mut x, a, &transformed(ring, s));
    signed(ring, x)
}

/// 512 samples of the error distribution: five deviations of their mean square either way.
fn assert_is_an_error(e: &[i64], of: &str) {
    let n = e.len() as f64;
    let variance = e.iter().map(|x| (x * x) as f64).sum::<f64>() / n;
    let expected = sample::SIGMA * sample::SIGMA;
    let tolerance = 5.0 * expected * (2.0 / n).sqrt();
    assert!(
        (variance - expected).abs() < tolerance,
        "{of}: variance {variance}"
    );
}

fn assert_all_different<T: Eq + Hash + Debug>(things: Vec<T>, what: &str) {
    let count = things.len();
    assert!(count > 1, "{what}");
    let different = things.into_iter().collect::<HashSet<_>>().len();
    assert_eq!(different, count, "{what}: some are the same");
}

#[test]
fn secret_keys_are_ternary_in_every_part_and_different() {
    let keygen = KeyGenerator::new(&params());
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secrets: Vec<Vec<i64>> = (0..4)
        .map(|_| keygen.secret_key(&mut rng).unwrap().coeffs.to_vec())
        .collect();
    for s in &secrets {
        // 64 coefficients: each value 21 times on average, with a deviation of 3.8.
        for part in s.chunks(64) {
            for value in -1..=1 {
                let count = part.iter().filter(|x| **x == value).count();
                assert!((5..=40).contains(&count), "{count} times {value}");
            }
            assert!(part.iter().all(|x| x.abs() <= 1));
        }
    }
    assert_all_different(secrets, "secrets");
}

#[test]
fn ephemeral_secrets_are_sparse_spread_and_new_in_each_generation() {
    let labs: Vec<Lab> = (0..12).map(Lab::new).collect();
    let secrets: Vec<Vec<i64>> = labs.iter().map(Lab::ephemeral).collect();
    let mut of_quarters = [0; 4];
    let mut signs = 0;
    for (u, lab) in secrets.iter().zip(&labs) {
        assert!(u.iter().all(|x| x.abs() <= 1));
        let weight = u.iter().filter(|x| **x != 0).count();
        assert_eq!(weight, WEIGHT as usize);
        assert_ne!(u[..], lab.secret.coeffs[..]);
        signs += u.iter().sum::<i64>();
        for (count, part) in of_quarters.iter_mut().zip(u.chunks(128)) {
            *count += part.iter().filter(|x| **x != 0).count();
        }
    }
    // 288 nonzero coefficients: 72 in each quarter, with a deviation of 7.3; as many of either sign, with one of 17.
    assert!(
        of_quarters.iter().all(|n| (36..=108).contains(n)),
        "{of_quarters:?}"
    );
    assert!(signs.abs() < 85, "{signs}");
    assert_all_different(secrets, "ephemeral secrets of different generations");
}

#[test]
fn errors_of_keys_are_gaussian_and_all_different() {
    let mut errors = Vec::new();
    for seed in [1, 2] {
        let lab = Lab::new(seed);
        for &(kind, level) in lab.keys.keys.keys() {
            for e in lab.errors(kind, level) {
                assert_is_an_error(&e, &format!("{kind} at {level}"));
                errors.push(e);
            }
        }
    }
    // Two generations; three kinds of Galois keys, two others and one for level 1; two levels; two digits but at level 1.
    assert_eq!(errors.len(), 2 * (2 * 5 * 2 + 1));
    assert_all_different(errors, "errors of keys, levels, digits and generations");
}

#[test]
fn errors_of_keys_cannot_be_expanded_from_what_is_public() {
    let lab = Lab::new(3);
    for (&(kind, level), key) in &lab.keys.keys {
        let place = Place::of_switching_key(&lab.params, lab.secret.id, kind, level);
        for (digit, e) in lab.errors(kind, level).into_iter().enumerate() {
            assert_ne!(
                e[..],
                place.error(&key.seed, digit)[..],
                "{kind} at {level}"
            );
        }
        let KeyKind::FromEphemeral(weight) = kind else {
            continue;
        };
        assert_ne!(lab.ephemeral()[..], place.ephemeral(&key.seed, weight)[..]);
    }
    let place = Place::of_public_key(&lab.params, lab.secret.id);
    let (b, a) = (lab.public.b.limb(0), lab.public.a.limb(0));
    let e = phase(&lab.params.q()[0], b, a, &lab.secret.coeffs);
    assert_is_an_error(&e, "public key");
    assert_ne!(e[..], place.error(&lab.public.seed, 0)[..]);
}

#[test]
fn uniform_halves_are_flat_and_all_different() {
    let mut limbs = Vec::new();
    for seed in [1, 2] {
        let lab = Lab::new(seed);
        let public = lab.public.a.iter();
        let rings = lab.rings(4, 0);
        limbs.extend(
            rings
                .iter()
                .zip(public)
                .map(|(r, a)| (r.modulus().value(), a.to_vec())),
        );
        for (&(_, level), key) in &lab.keys.keys {
            let rings = lab.rings(level.limbs(), key.shape.specials);
            for [_, a] in &key.digits {
                let limb = |(i, ring): (usize, &&LimbRing)| {
                    (ring.modulus().value(), a.limb(i, level.limbs()).to_vec())
                };
                limbs.extend(rings.iter().enumerate().map(limb));
            }
        }
    }
    for (q, limb) in &limbs {
        // Every eighth of the residues is met 64 times, with a deviation of 7.5.
        let mut counts = [0; 8];
        for x in limb {
            counts[(u128::from(*x) * 8 / u128::from(*q)) as usize] += 1;
        }
        assert!(counts.iter().all(|n| (24..=110).contains(n)), "{counts:?}");
    }
    let words = limbs.into_iter().map(|(_, limb)| limb).collect();
    assert_all_different(words, "uniform halves");
}

#[test]
fn public_keys_have_new_parts_each_time() {
    let mut lab = Lab::new(4);
    let keygen = KeyGenerator::new(&lab.params);
    let ring = &lab.params.q()[0];
    let (mut errors, mut uniform) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let key = keygen.public_key(&lab.secret, &mut lab.rng).unwrap();
        // (a s + e, -a).
        let e = phase(ring, key.b.limb(0), key.a.limb(0), &lab.secret.coeffs);
        assert_is_an_error(&e, "public key");
        errors.push(e);
        uniform.push(key.a.limb(0).to_vec());
    }
    assert_all_different(errors, "errors of public keys");
    assert_all_different(uniform, "uniform halves of public keys");
}

/// Of ciphertexts under the secret: errors and second polynomials.
fn opened(lab: &Lab, pt: &Plaintext, cts: &[crate::Ciphertext]) -> (Vec<Vec<i64>>, Vec<Vec<u64>>) {
    let ring = &lab.params.q()[0];
    let error = |ct: &crate::Ciphertext| {
        let mut b = ct.parts[0].limb(0).to_vec();
        ring.sub_assign(&mut b, pt.poly.limb(0));
        phase(ring, &b, ct.parts[1].limb(0), &lab.secret.coeffs)
    };
    let second = |ct: &crate::Ciphertext| ct.parts[1].limb(0).to_vec();
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
