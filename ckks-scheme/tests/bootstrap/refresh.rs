use crate::fixture::{Fixture, params};
use crate::function;
use ckks_scheme::{
    BootstrapError, BootstrapLiteral, BootstrapParams, Bootstrapper, Content, CosineBootstrapper,
    CosineLiteral, Evaluator, KernelChoice, KeyError, KeyGenerator, KeyRequest, Level, Operation,
    Order, Parameters, ParamsLiteral, PrecisionStats, Reduction, RefreshFunction, Scale,
};
use num_complex::Complex64;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// A small insecure ring with just the levels that the literal takes and two for the user.
pub fn scheme(log_n: u32, literal: &BootstrapLiteral) -> Parameters {
    let user = 2 + literal.input_levels();
    let q_bits: Vec<u32> = std::iter::once(50)
        .chain(std::iter::repeat_n(43, user))
        .chain(std::iter::repeat_n(50, literal.depth()))
        .collect();
    params(log_n, &q_bits, 3)
}

fn cosine(degree: usize, double_angles: u32, arcsine_degree: usize) -> Reduction {
    Reduction::Cosine(CosineLiteral {
        degree,
        double_angles,
        arcsine_degree,
    })
}

pub struct Refresh {
    pub f: Fixture,
    pub boot: CosineBootstrapper,
}

impl Refresh {
    pub fn new(log_n: u32, literal: BootstrapLiteral) -> Self {
        Self::over(&BootstrapParams::new(&scheme(log_n, &literal), literal).unwrap())
    }

    pub fn over(params: &BootstrapParams) -> Self {
        let boot = CosineBootstrapper::new(params).unwrap();
        let f = Fixture::new(params.scheme().clone(), &boot.request());
        Self { f, boot }
    }

    pub fn scale(&self) -> Scale {
        self.boot.params().output_scale()
    }

    /// Values of components up to `size`, repeated as sparse slots are.
    pub fn slots(&mut self, size: f64) -> Vec<Complex64> {
        let literal = self.boot.params().literal();
        let used = 1 << literal.log_slots;
        let real = literal.content == Content::Real;
        let mut x = self.f.slots(size, real);
        // The edge of the range.
        x[0] = Complex64::new(size, if real { 0.0 } else { -size });
        for j in used..x.len() {
            x[j] = x[j % used];
        }
        x
    }

    /// What a refresh makes of slots.
    pub fn applied(&self, x: &[Complex64]) -> Vec<Complex64> {
        let f = |v| self.boot.function(v);
        let real = self.boot.params().literal().content == Content::Real;
        x.iter()
            .map(|z| Complex64::new(f(z.re), if real { 0.0 } else { f(z.im) }))
            .collect()
    }

    /// Refreshes values once; checks level, scale and the predicted error, and returns the precision.
    pub fn check(&mut self, size: f64) -> PrecisionStats {
        let x = self.slots(size);
        let (level, scale) = (self.boot.input_level(), self.scale());
        let ct = self.f.encrypt(&x, level, scale);
        let out = self.boot.bootstrap(&self.f.eval, &ct).unwrap();
        assert_eq!(out.level(), self.boot.output_level());
        assert!(out.scale().matches(scale));
        let expected = self.applied(&x);
        let stats = PrecisionStats::new([(&self.f.decrypt(&out)[..], &expected[..])]).unwrap();
        println!("{stats:?}, predicted {:e}", out.tracked().error_bound());
        self.f.error_within_bound(&out, &expected);
        stats
    }
}

#[test]
fn full_complex_slots_are_refreshed_to_more_than_17_bits() {
    let mut r = Refresh::new(9, BootstrapLiteral::full_complex(9));
    let stats = r.check(1.0);
    assert!(stats.mean_bits > 18.0, "{stats:?}");
}

#[test]
fn spread_limbs_refresh_to_the_same_within_the_same_memory() {
    let mut r = Refresh::new(11, BootstrapLiteral::full_complex(11));
    let x = r.slots(1.0);
    let ct = r.f.encrypt(&x, r.boot.input_level(), r.scale());
    let pool = r.f.params.pool();
    let refreshed = |eval: &Evaluator| {
        let before = pool.in_use_bytes();
        pool.reset_high_water();
        let out = r.boot.bootstrap(eval, &ct).unwrap();
        let bytes = pool.high_water_bytes() - before;
        r.f.error_within_bound(&out, &x);
        let mut file = Vec::new();
        out.write_to(&r.f.params, r.f.secret.id(), &mut file)
            .unwrap();
        (file, bytes)
    };
    let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build();
    threads.unwrap().install(|| {
        let (expected, most) = refreshed(&r.f.eval);
        let (found, bytes) = refreshed(&r.f.eval.spread_limbs());
        assert!(found == expected);
        assert!(bytes <= most, "{bytes}, {most}");
    });
}

/// The sine's error is the same in slots of the same values: summed over slots it grows with their number.
#[test]
fn sums_of_equal_refreshed_slots_stay_within_the_predicted_error() {
    let literal = BootstrapLiteral::full_complex(9);
    let checked = BootstrapParams::new(&scheme(9, &literal), literal).unwrap();
    let boot = CosineBootstrapper::new(&checked).unwrap();
    let mut request = boot.request();
    let steps = (0..7).map(|log| 1i64 << log);
    for step in steps.clone() {
        request.rotation(step, boot.output_level());
    }
    let mut f = Fixture::new(checked.scheme().clone(), &request);
    let x = vec![Complex64::new(1.0, -1.0); f.params.slots()];
    let ct = f.encrypt(&x, boot.input_level(), boot.params().output_scale());
    let mut sum = boot.bootstrap(&f.eval, &ct).unwrap();
    let random = sum.tracked().error_bound() - sum.tracked().systematic;
    for step in steps {
        let turned = f.eval.rotate(&sum, step).unwrap();
        f.eval.add_assign(&mut sum, &turned).unwrap();
    }
    let expected = vec![Complex64::new(128.0, -128.0); x.len()];
    let error = f.error_within_bound(&sum, &expected);
    // Independent errors would not reach that far.
    assert!(
        error > random * 128f64.sqrt() / 4.0,
        "{error:e}, {random:e}"
    );
}

#[test]
fn real_content_takes_one_reduction_and_loses_imaginary_parts() {
    let literal = BootstrapLiteral {
        content: Content::Real,
        ..BootstrapLiteral::full_complex(9)
    };
    let mut r = Refresh::new(9, literal);
    let stats = r.check(1.0);
    assert!(stats.mean_bits > 18.0, "{stats:?}");
    let x = vec![Complex64::new(0.5, 0.25); 256];
    let ct = r.f.encrypt(&x, Level::new(4), r.scale());
    let out = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
    r.f.error_within_bound(&out, &vec![Complex64::new(0.5, 0.0); 256]);
}

#[test]
fn sparse_slots_are_refreshed_with_either_content() {
    for (log_slots, content) in [
        (7, Content::Complex),
        (5, Content::Complex),
        (5, Content::Real),
    ] {
        let literal = BootstrapLiteral {
            log_slots,
            content,
            slots_to_coeffs_levels: 2,
            coeffs_to_slots_levels: 2,
            ..BootstrapLiteral::full_complex(9)
        };
        let stats = Refresh::new(9, literal).check(1.0);
        assert!(stats.mean_bits > 18.0, "{stats:?}");
    }
}

#[test]
fn sparse_halves_share_one_reduction() {
    let packed = |log_slots| BootstrapLiteral {
        log_slots,
        pack_sparse: true,
        slots_to_coeffs_levels: 2,
        coeffs_to_slots_levels: 2,
        ..BootstrapLiteral::full_complex(9)
    };
    for log_slots in [7, 5, 2] {
        let mut r = Refresh::new(9, packed(log_slots));
        let stats = r.check(1.0);
        assert!(stats.mean_bits > 18.0, "{stats:?}");
    }
    // Half the tensor products.
    let products = |literal| {
        let mut r = Refresh::new(9, literal);
        r.check(1.0);
        let entries = r.f.eval.profile().entries();
        let tensor = |(op, _, _): &&(Operation, u64, f64)| *op == Operation::Tensor;
        entries.iter().find(tensor).unwrap().1
    };
    let apart = BootstrapLiteral {
        pack_sparse: false,
        ..packed(5)
    };
    assert_eq!(2 * products(packed(5)), products(apart));
    // There must be room, and two halves.
    for literal in [
        packed(8),
        BootstrapLiteral {
            content: Content::Real,
            ..packed(5)
        },
    ] {
        let refused = BootstrapParams::new(&scheme(9, &literal), literal);
        assert!(matches!(refused, Err(BootstrapError::Invalid { .. })));
    }
}

#[test]
fn coefficients_to_slots_may_come_first() {
    let literal = |log_slots, content, pack_sparse| BootstrapLiteral {
        order: Order::CoeffsToSlotsFirst,
        log_slots,
        content,
        pack_sparse,
        log_message_ratio: 7.0,
        log_scale: 42.0,
        ..BootstrapLiteral::full_complex(9)
    };
    for (log_slots, content, packed) in [
        (8, Content::Complex, false),
        (8, Content::Real, false),
        (5, Content::Complex, false),
        (5, Content::Complex, true),
    ] {
        let mut r = Refresh::new(9, literal(log_slots, content, packed));
        assert_eq!(r.boot.input_level(), Level::new(1));
        let stats = r.check(1.0);
        assert!(stats.mean_bits > 17.0, "{stats:?}");
        // All of a message in one coefficient.
        let x = vec![Complex64::new(-1.0, 0.0); 256];
        let ct = r.f.encrypt(&x, Level::new(1), r.scale());
        let out = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
        r.f.error_within_bound(&out, &x);
    }
    // Nothing can be adjusted before the modulus is raised.
    let tight = BootstrapLiteral {
        log_scale: 44.0,
        ..literal(8, Content::Complex, false)
    };
    let refused = BootstrapParams::new(&scheme(9, &tight), tight);
    assert!(matches!(refused, Err(BootstrapError::Invalid { .. })));
}

#[test]
fn declared_memory_covers_what_a_refresh_takes() {
    let full = || BootstrapLiteral::full_complex(9);
    for literal in [
        full(),
        BootstrapLiteral {
            giant_cost: 4.0,
            ..full()
        },
        BootstrapLiteral {
            giant_cost: 0.2,
            coeffs_to_slots_levels: 2,
            ..full()
        },
        BootstrapLiteral {
            reduction: cosine(62, 3, 7),
            log_message_ratio: 6.0,
            giant_cost: 4.0,
            ..full()
        },
        BootstrapLiteral {
            log_slots: 4,
            pack_sparse: true,
            ..full()
        },
        BootstrapLiteral {
            order: Order::CoeffsToSlotsFirst,
            log_message_ratio: 6.0,
            ..full()
        },
        function::literal(9, RefreshFunction::Relu, 31, 2.5),
        BootstrapLiteral {
            giant_cost: 0.2,
            ..function::literal(9, RefreshFunction::Identity, 3, 32.0)
        },
    ] {
        let mut r = Refresh::new(9, literal);
        let x = r.slots(1.0);
        let ct = r.f.encrypt(&x, r.boot.input_level(), r.scale());
        let pool = r.f.params.pool();
        pool.reset_high_water();
        let before = pool.in_use_bytes();
        r.boot.bootstrap(&r.f.eval, &ct).unwrap();
        let (taken, declared) = (pool.high_water_bytes() - before, r.boot.working_bytes());
        assert!(
            taken <= declared && 10 * declared < 16 * taken,
            "{taken} bytes taken, {declared} declared"
        );
    }
}

#[test]
fn every_choice_of_the_circuit_stays_within_its_predicted_error() {
    let full = || BootstrapLiteral {
        slots_to_coeffs_levels: 2,
        coeffs_to_slots_levels: 2,
        ..BootstrapLiteral::full_complex(8)
    };
    let choices = [
        // One matrix for each transform; more double angles, fewer.
        (
            BootstrapLiteral {
                slots_to_coeffs_levels: 1,
                coeffs_to_slots_levels: 1,
                ..full()
            },
            18.0,
        ),
        (
            BootstrapLiteral {
                reduction: cosine(62, 2, 0),
                ..full()
            },
            18.0,
        ),
        (
            BootstrapLiteral {
                reduction: cosine(20, 4, 0),
                ..full()
            },
            17.0,
        ),
        // A small message ratio needs the arcsine.
        (
            BootstrapLiteral {
                log_message_ratio: 5.0,
                ..full()
            },
            8.0,
        ),
        (
            BootstrapLiteral {
                log_message_ratio: 5.0,
                reduction: cosine(30, 3, 7),
                ..full()
            },
            20.0,
        ),
        // Large values, another scale, another secret, a range that is not the largest possible.
        (
            BootstrapLiteral {
                max_value: 64.0,
                log_scale: 38.0,
                giant_cost: 1.0,
                ..full()
            },
            11.0,
        ),
        (
            BootstrapLiteral {
                ephemeral_weight: 20,
                range: Some(10.45),
                giant_cost: 4.0,
                ..full()
            },
            18.0,
        ),
    ];
    for (literal, bits) in choices {
        let size = literal.max_value;
        let stats = Refresh::new(8, literal.clone()).check(size);
        assert!(stats.mean_bits > bits, "{literal:?}: {stats:?}");
    }
}

#[test]
fn twenty_refreshes_in_a_row_stay_within_the_predicted_error() {
    let mut r = Refresh::new(8, BootstrapLiteral::full_complex(8));
    let x = r.slots(1.0);
    let mut ct = r.f.encrypt(&x, r.boot.input_level(), r.scale());
    for round in 1..=20 {
        ct = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
        let error = r.f.error_within_bound(&ct, &x);
        assert!(
            error < f64::from(round) * 2f64.powi(-14),
            "{round}: {error:e}"
        );
    }
}

#[test]
fn refreshed_ciphertexts_compute_on() {
    let literal = BootstrapLiteral::full_complex(8);
    let checked = BootstrapParams::new(&scheme(8, &literal), literal).unwrap();
    let boot = CosineBootstrapper::new(&checked).unwrap();
    let mut f = Fixture::new(checked.scheme().clone(), &boot.request());
    let x = f.slots(1.0, false);
    let scale = checked.output_scale();
    let cts: Vec<_> = (0..3)
        .map(|_| f.encrypt(&x, boot.input_level(), scale))
        .collect();
    let refs: Vec<_> = cts.iter().collect();
    for out in boot.bootstrap_many(&f.eval, &refs).unwrap() {
        let expected: Vec<_> = x.iter().map(|z| z * z).collect();
        for product in [f.eval.square(&out), f.eval.mul(&out, &out)] {
            let square = f.eval.relinearize_rescale(product.unwrap()).unwrap();
            f.error_within_bound(&square, &expected);
        }
    }
}

#[test]
fn what_is_beyond_the_range_or_the_chain_is_refused() {
    let literal = BootstrapLiteral::full_complex(8);
    let mut r = Refresh::new(8, literal.clone());
    let mut x = r.slots(1.0);
    x[3] = Complex64::new(1.5, 0.0);
    let ct = r.f.encrypt(&x, Level::new(4), r.scale());
    assert!(matches!(
        r.boot.bootstrap(&r.f.eval, &ct),
        Err(BootstrapError::Range { .. })
    ));
    // The same values at half the scale are as small as values of half the size.
    let half = Scale::new(r.scale().value() / 2.0);
    let ct = r.f.encrypt(&x, Level::new(4), half);
    let out = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
    assert!(out.scale().matches(half));
    r.f.error_within_bound(&out, &x);
    // Too low a level.
    let x = r.slots(1.0);
    let ct = r.f.encrypt(&x, Level::new(3), r.scale());
    assert!(matches!(
        r.boot.bootstrap(&r.f.eval, &ct),
        Err(BootstrapError::Eval(_))
    ));

    let refused = |change: fn(&mut BootstrapLiteral)| {
        let mut changed = literal.clone();
        change(&mut changed);
        BootstrapParams::new(&scheme(8, &literal), changed).unwrap_err()
    };
    for error in [
        refused(|l| l.log_slots = 8),
        refused(|l| l.coeffs_to_slots_levels = 8),
        refused(|l| l.slots_to_coeffs_levels = 0),
        refused(|l| l.reduction = cosine(30, 9, 0)),
        refused(|l| l.reduction = cosine(31, 3, 0)),
        refused(|l| l.reduction = cosine(30, 3, 2)),
        refused(|l| l.ephemeral_weight = 1000),
        refused(|l| l.max_value = f64::NAN),
    ] {
        assert!(matches!(error, BootstrapError::Invalid { .. }), "{error}");
    }
    let error = refused(|l| l.range = Some(9.0));
    assert!(matches!(error, BootstrapError::Failure { .. }), "{error}");
}

/// At N = 2^15 a sparse secret of weight 32 is secure under 111 bits. Two special primes of 40 bits, which the digit of the
/// base prime takes here, are too many for that; one of 50 bits is not.
#[test]
fn ephemeral_secrets_have_a_bound_of_their_own() {
    let set = |p_bits: &[u32]| {
        Parameters::builder()
            .log_n(15)
            .q_bits([50, 40])
            .p_bits(p_bits.iter().copied())
            .build()
            .unwrap()
    };
    let (tight, wide) = (set(&[50]), set(&[40, 40]));
    let request = |weight| {
        let mut request = KeyRequest::new();
        request.encapsulation(weight, Level::new(2));
        request
    };
    let generate = |params: &Parameters, weight| {
        assert_eq!(params.security_bits(), 128);
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let keygen = KeyGenerator::new(params);
        let secret = keygen.secret_key(&mut rng).unwrap();
        keygen.evaluation_keys(&secret, &request(weight), &mut rng)
    };
    assert_eq!(generate(&tight, 32).unwrap().count(), 2);
    for (params, weight, limit, bits) in [(&wide, 32, 111, 130.0), (&tight, 31, 0, 100.0)] {
        let Err(KeyError::EphemeralInsecure {
            weight: found,
            level,
            log_qp,
            bound,
        }) = generate(params, weight)
        else {
            panic!("a key under a sparse secret that is not secure");
        };
        assert_eq!((found, level, bound), (weight, Level::new(1), limit));
        assert!((log_qp - bits).abs() < 0.1, "{log_qp}");
    }
}

/// The same is checked when a bootstrapping is set up.
#[test]
fn bootstrapping_with_an_insecure_ephemeral_secret_is_refused() {
    let literal = BootstrapLiteral {
        slots_to_coeffs_levels: 2,
        coeffs_to_slots_levels: 2,
        log_scale: 40.0,
        ..BootstrapLiteral::full_complex(15)
    };
    let chain = literal.chain(15, 2, 50).unwrap();
    let build = |chain: &ParamsLiteral, weight| {
        let scheme = Parameters::from_literal(chain, KernelChoice::Auto, None).unwrap();
        assert_eq!(scheme.security_bits(), 128);
        let literal = BootstrapLiteral {
            ephemeral_weight: weight,
            ..literal.clone()
        };
        BootstrapParams::new(&scheme, literal)
    };
    build(&chain, 32).unwrap();
    let log_p: u32 = chain.p_bits.iter().sum();
    // The same bits of special primes in small ones: two of them for the base prime.
    let mut small = chain.clone();
    small.p_bits = vec![31; log_p.div_ceil(31) as usize];
    small.q_bits.remove(1);
    let what = "log2 of the modulus of the ephemeral secret";
    for refused in [build(&small, 32), build(&chain, 31)] {
        assert!(
            matches!(&refused, Err(BootstrapError::Invalid { what: found, .. }) if *found == what),
            "{refused:?}"
        );
    }
}

#[test]
fn ephemeral_keys_exist_at_the_bottom_only() {
    let mut f = Fixture::new(params(8, &[50, 43, 43], 2), &KeyRequest::new());
    let keygen = ckks_scheme::KeyGenerator::new(&f.params);
    let mut request = KeyRequest::new();
    request.encapsulation(32, Level::new(3));
    // Fewer key levels do not lift the one that must stay.
    assert_eq!(request.at_steps(&[Level::new(3)]), request);
    let keys = keygen
        .evaluation_keys(&f.secret, &request, &mut f.rng)
        .unwrap();
    assert_eq!(keys.count(), 2);
    let mut high = KeyRequest::new();
    high.add(ckks_scheme::KeyKind::ToEphemeral(32), Level::new(2));
    let refused = keygen.evaluation_keys(&f.secret, &high, &mut f.rng);
    assert!(matches!(
        refused,
        Err(ckks_scheme::KeyError::EphemeralInsecure { .. })
    ));
    let mut heavy = KeyRequest::new();
    heavy.encapsulation(257, Level::new(3));
    let refused = keygen.evaluation_keys(&f.secret, &heavy, &mut f.rng);
    assert!(matches!(
        refused,
        Err(ckks_scheme::KeyError::EphemeralWeight { .. })
    ));
}

#[test]
fn preset_for_log_n_16_is_secure_and_leaves_600_bits() {
    let preset = ckks_scheme::BootstrapPreset::ALL[0];
    let kernel = ckks_scheme::exec::KernelChoice::Auto;
    let boot = preset.build(kernel, None).unwrap();
    let scheme = boot.scheme().clone();
    assert_eq!(boot.literal(), &BootstrapLiteral::full_complex(16));
    assert_eq!(scheme.security_bits(), 128);
    assert!(scheme.log_qp() <= 1747.0);
    assert!(boot.residual_bits() >= 600.0, "{}", boot.residual_bits());
    assert!(boot.failure_log2() < -128.0);
    // A sparser secret, or one under a larger modulus, is refused.
    let sparser = BootstrapLiteral {
        ephemeral_weight: 31,
        ..BootstrapLiteral::full_complex(16)
    };
    assert!(matches!(
        BootstrapParams::new(&scheme, sparser),
        Err(BootstrapError::Invalid { .. })
    ));
}

#[test]
#[ignore = "slow: timing and precision at N = 2^13, one thread"]
fn timing_log_n_13() {
    let literal = BootstrapLiteral::full_complex(13);
    let mut r = Refresh::new(13, literal);
    let x = r.slots(1.0);
    let ct = r.f.encrypt(&x, r.boot.input_level(), r.scale());
    r.boot.bootstrap(&r.f.eval, &ct).unwrap();
    let start = std::time::Instant::now();
    let out = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let stats = PrecisionStats::new([(&r.f.decrypt(&out)[..], &x[..])]).unwrap();
    r.f.error_within_bound(&out, &x);
    println!(
        "{seconds:.3} s, keys {:.0} MB, matrices {:.0} MB, pool {:.0} MB, {stats:?}",
        r.boot.request().bytes(r.f.params.chain()) as f64 / 1e6,
        r.boot.transform_bytes() as f64 / 1e6,
        r.f.params.pool().high_water_bytes() as f64 / 1e6,
    );
    for line in r.f.eval.profile().entries() {
        println!("{line:?}");
    }
}
