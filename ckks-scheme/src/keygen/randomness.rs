//! What has to be random is, and is independent of whatever it must not be the same as. Keys and ciphertexts are opened
//! with the secret: what is left are their errors.

use super::*;
use crate::{Encoder, Plaintext, Scale};
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

mod ciphertexts;

const WEIGHT: u32 = 24;
const FROM_EPHEMERAL: KeyKind = KeyKind::FromEphemeral {
    weight: WEIGHT,
    steps: 0,
};

fn params() -> Parameters {
    Parameters::builder()
        .log_n(9)
        .q_bits([50, 45, 45, 45])
        .build_insecure_for_tests()
        .unwrap()
}

fn all_keys(secret: &SecretKey, rng: &mut ChaCha20Rng) -> EvaluationKeys {
    let mut request = KeyRequest::new();
    for level in [Level::new(3), Level::new(4)] {
        request.relin(level);
        request.conjugation(level);
        request.rotation(1, level);
        request.rotation(2, level);
        request.encapsulation(WEIGHT, level);
        let (weight, steps) = (WEIGHT, 3);
        request.add(KeyKind::FromEphemeral { weight, steps }, level);
    }
    KeyGenerator::new(&secret.params)
        .evaluation_keys(secret, &request, rng)
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
        Self {
            public: keygen.public_key(&secret, &mut rng).unwrap(),
            keys: all_keys(&secret, &mut rng),
            params,
            secret,
            rng,
        }
    }

    /// Other evaluation keys of the same secret.
    fn renew(&mut self) {
        self.keys = all_keys(&self.secret, &mut self.rng);
    }

    fn rings(&self, level: usize, specials: usize) -> Vec<&LimbRing> {
        let q = self.params.q()[..level].iter();
        q.chain(&self.params.p()[..specials]).collect()
    }

    /// The ephemeral secret, from the key that leads back from it: `b + a s = e + P u`, and `e` alone modulo P.
    fn ephemeral(&self) -> Vec<i64> {
        let level = Level::new(4);
        let key = &self.keys.keys[&(FROM_EPHEMERAL, level)];
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
            KeyKind::FromEphemeral { steps, .. } => {
                let element = Galois::Rotation(steps).element(self.params.log_n());
                (preimage(&s, element).to_vec(), Some(self.ephemeral()))
            }
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
fn bytes_of_keys_are_those_of_their_limbs() {
    let params = params();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = KeyGenerator::new(&params).secret_key(&mut rng).unwrap();
    let keys = all_keys(&secret, &mut rng);
    let mut total = 0;
    for ((kind, level), key) in &keys.keys {
        let halves = key.digits.iter().flatten();
        let limbs: usize = halves.map(|half| half.q.len() + half.p.len()).sum();
        let bytes = limbs as u64 * params.limb_bytes();
        assert_eq!(params.switching_key_bytes(*kind, *level), bytes, "{kind:?}");
        total += bytes;
    }
    assert_eq!(keys.bytes(), total);
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
    let mut lab = Lab::new(9);
    let generation = |_| {
        lab.renew();
        lab.ephemeral()
    };
    let secrets: Vec<Vec<i64>> = (0..12).map(generation).collect();
    let mut of_quarters = [0; 4];
    let mut signs = 0;
    for u in &secrets {
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
    let mut lab = Lab::new(1);
    for _ in 0..2 {
        lab.renew();
        for &(kind, level) in lab.keys.keys.keys() {
            for e in lab.errors(kind, level) {
                assert_is_an_error(&e, &format!("{kind} at {level}"));
                errors.push(e);
            }
        }
    }
    // Two generations; three Galois keys and one to relinearise, of two digits at two levels; two from the ephemeral secret, of
    // one digit at two levels; one to it at level 1.
    assert_eq!(errors.len(), 2 * (4 * 2 * 2 + 2 * 2 + 1));
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
        let KeyKind::FromEphemeral { weight, .. } = kind else {
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
    let mut lab = Lab::new(1);
    let public = lab.public.a.iter();
    let of_public = |(ring, a): (&LimbRing, &Limb)| (ring.modulus().value(), a.to_vec());
    limbs.extend(lab.params.q().iter().zip(public).map(of_public));
    for _ in 0..2 {
        lab.renew();
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
