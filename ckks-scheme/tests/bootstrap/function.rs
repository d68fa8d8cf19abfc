use crate::fixture::{Fixture, max_error};
use crate::refresh::{Refresh, scheme};
use ckks_scheme::{
    BootstrapError, BootstrapLiteral, BootstrapParams, Bootstrapper, Content, CosineBootstrapper,
    CosineLiteral, FourierLiteral, FourierSeries, Order, Reduction, RefreshFunction, Scale,
};
use num_complex::Complex64;

/// `period` in units of the largest value.
pub fn literal(
    log_n: u32,
    function: RefreshFunction,
    harmonics: usize,
    period: f64,
) -> BootstrapLiteral {
    BootstrapLiteral {
        slots_to_coeffs_levels: 2,
        coeffs_to_slots_levels: 2,
        log_message_ratio: period.log2(),
        reduction: Reduction::Fourier(FourierLiteral {
            degree: 31,
            squarings: 3,
            function,
            harmonics,
        }),
        ..BootstrapLiteral::full_complex(log_n)
    }
}

fn relu(log_n: u32) -> BootstrapLiteral {
    literal(log_n, RefreshFunction::Relu, 15, 2.5)
}

#[test]
fn identity_by_a_series_is_more_precise_than_a_sine() {
    for (harmonics, period, bits) in [(3, 32.0, 27.0), (15, 4.0, 31.0), (31, 2.5, 31.0)] {
        let literal = literal(9, RefreshFunction::Identity, harmonics, period);
        let mut r = Refresh::new(9, literal);
        let stats = r.check(1.0);
        assert!(stats.mean_bits > bits, "{harmonics}: {stats:?}");
    }
}

#[test]
fn relu_is_applied_to_both_halves() {
    for (harmonics, period) in [(15, 3.0), (31, 2.5)] {
        let mut r = Refresh::new(9, literal(9, RefreshFunction::Relu, harmonics, period));
        let stats = r.check(1.0);
        assert!(stats.mean_bits > 30.0, "{stats:?}");
        // What it is compared with is near the function itself: 0.05 period / harmonics.
        let error = r.boot.outline().function_error();
        assert!(error < 0.051 * period / harmonics as f64, "{error}");
        for v in [-1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0f64] {
            assert!((r.boot.function(v) - v.max(0.0)).abs() <= error);
        }
    }
}

#[test]
fn every_content_and_every_number_of_slots_takes_a_function() {
    for (log_slots, content, pack_sparse) in [
        (8, Content::Real, false),
        (5, Content::Complex, false),
        (5, Content::Real, false),
        (5, Content::Complex, true),
    ] {
        let literal = BootstrapLiteral {
            log_slots,
            content,
            pack_sparse,
            ..relu(9)
        };
        let stats = Refresh::new(9, literal).check(1.0);
        assert!(stats.mean_bits > 28.0, "{stats:?}");
    }
}

#[test]
fn any_function_with_a_series_is_applied() {
    let size = 4.0;
    let sigmoid = |v: f64| 1.0 / (1.0 + (-2.0 * v).exp());
    let series = FourierSeries::fit(sigmoid, 31, size, 3.0 * size, 1e-12).unwrap();
    let error = series.distance(sigmoid, size);
    assert!(error < 1e-4, "{error}");
    let literal = BootstrapLiteral {
        max_value: size,
        ..literal(9, RefreshFunction::Series(series.clone()), 1, 3.0)
    };
    let mut r = Refresh::new(9, literal);
    let stats = r.check(size);
    assert!(stats.mean_bits > 26.0, "{stats:?}");
    assert_eq!(r.boot.function(1.25), series.evaluate(1.25));
    assert_eq!(r.boot.outline().largest_result(), Some(series.bound()));
}

/// A value beyond the range goes on periodically and stays bounded, and no other slot knows of it.
#[test]
fn values_out_of_range_leave_their_neighbours_alone() {
    let mut r = Refresh::new(9, relu(9));
    let mut x = r.slots(1.0);
    for (slot, value) in [
        (3, Complex64::new(1.4, 0.3)),
        (70, Complex64::new(-0.2, -1000.0)),
        (71, Complex64::new(57.0, 57.0)),
        (200, Complex64::new(-3.0, 0.9)),
    ] {
        x[slot] = value;
    }
    let mut ct = r.f.encrypt(&x, r.boot.input_level(), r.scale());
    // The range that was declared, and that these values leave.
    ct.declare_values(2f64.sqrt(), 0.8);
    let out = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
    r.f.error_within_bound(&out, &r.applied(&x));
    let largest = r.boot.outline().largest_result().unwrap();
    assert!(largest < 1.3);
    for z in r.f.decrypt(&out) {
        assert!(z.re.abs() < largest + 1e-6 && z.im.abs() < largest + 1e-6);
    }
    assert!(out.tracked().max >= largest && out.tracked().max < 1.5 * largest);
}

/// A ReLU is the same at every scale: of values twice as large at half the scale, twice as much.
#[test]
fn values_at_another_scale_are_so_much_larger() {
    let mut r = Refresh::new(9, relu(9));
    let x = r.slots(2.0);
    let half = Scale::new(r.scale().value() / 2.0);
    let ct = r.f.encrypt(&x, r.boot.input_level(), half);
    let out = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
    assert!(out.scale().matches(half));
    let expected: Vec<_> = x.iter().map(|z| z * 0.5).collect();
    let expected: Vec<_> = r.applied(&expected).iter().map(|z| z * 2.0).collect();
    let error = r.f.error_within_bound(&out, &expected);
    assert!(error < 2f64.powi(-24), "{error:e}");
}

#[test]
fn errors_of_the_input_are_foretold_through_the_steepest_slope() {
    let mut r = Refresh::new(9, relu(9));
    // At the kink, where the series is steepest.
    let x: Vec<_> = (0..256)
        .map(|k| Complex64::new(f64::from(k) / 4e3 - 0.03, 0.03 - f64::from(k) / 4e3))
        .collect();
    let scale = r.scale();
    let ct = r.f.encrypt(&x, r.boot.input_level(), scale);
    let mut off =
        r.f.encrypt(&x, r.boot.input_level(), Scale::new(scale.value() * 1.001));
    // Values held for what they are not, by less than is declared as their error.
    off.reinterpret(1.001);
    let (exact, shifted) = (ct.tracked().error_std, off.tracked().error_std);
    assert!(off.scale().matches(scale) && shifted > exact);
    let out = r.boot.bootstrap(&r.f.eval, &off).unwrap();
    let expected: Vec<_> = x.iter().map(|z| z * 1.001).collect();
    let error = max_error(&r.f.decrypt(&out), &r.applied(&expected));
    assert!(error <= out.tracked().error_bound());
}

#[test]
fn refreshing_a_relu_again_leaves_it() {
    let mut r = Refresh::new(9, literal(9, RefreshFunction::Relu, 31, 4.0));
    let x = r.slots(1.0);
    let ct = r.f.encrypt(&x, r.boot.input_level(), r.scale());
    let once = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
    let mut again = once;
    again.declare_values(1.1 * 2f64.sqrt(), 1.0);
    assert!(matches!(
        r.boot.bootstrap(&r.f.eval, &again),
        Err(BootstrapError::Range { .. })
    ));
    again.declare_values(2f64.sqrt(), 1.0);
    let twice = r.boot.bootstrap(&r.f.eval, &again).unwrap();
    let expected = r.applied(&r.applied(&x));
    r.f.error_within_bound(&twice, &expected);
}

/// A deep network refreshes again and again, and no error can be larger than two results of a refresh are apart.
#[test]
fn possible_errors_do_not_grow_from_refresh_to_refresh() {
    let mut r = Refresh::new(9, literal(9, RefreshFunction::Relu, 31, 4.0));
    let x = r.slots(1.0);
    let mut ct = r.f.encrypt(&x, r.boot.input_level(), r.scale());
    for _ in 0..40 {
        ct = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
        ct.declare_values(2f64.sqrt(), 1.0);
    }
    let apart = 2.0 * r.boot.outline().largest_result().unwrap();
    let systematic = ct.tracked().systematic;
    assert!(
        systematic > 0.9 * apart && systematic < 1.1 * apart,
        "{systematic} and {apart}"
    );
}

#[test]
fn results_are_bounded_wherever_the_argument_is() {
    let cosine = |arcsine_degree| BootstrapLiteral {
        reduction: Reduction::Cosine(CosineLiteral {
            degree: 30,
            double_angles: 3,
            arcsine_degree,
        }),
        ..BootstrapLiteral::full_complex(9)
    };
    for literal in [
        literal(9, RefreshFunction::Identity, 3, 32.0),
        cosine(0),
        cosine(3),
    ] {
        let mut r = Refresh::new(9, literal);
        let largest = r.boot.outline().largest_result().unwrap();
        let mut x = r.slots(1.0);
        for (slot, z) in x.iter_mut().enumerate().skip(1).step_by(2) {
            *z *= 1.1f64.powi(slot as i32 % 100);
        }
        let mut ct = r.f.encrypt(&x, r.boot.input_level(), r.scale());
        ct.declare_values(2f64.sqrt(), 1.0);
        let out = r.f.decrypt(&r.boot.bootstrap(&r.f.eval, &ct).unwrap());
        let found = out
            .iter()
            .fold(0.0, |m: f64, z| m.max(z.re.abs()).max(z.im.abs()));
        assert!(
            found > 0.3 * largest && found < 1.01 * largest,
            "{found} and {largest}"
        );
    }
}

#[test]
fn functions_of_coefficients_and_foreign_periods_are_refused() {
    let refused = |literal: BootstrapLiteral| {
        let error = BootstrapParams::new(&scheme(9, &literal), literal).unwrap_err();
        assert!(matches!(error, BootstrapError::Invalid { .. }), "{error}");
    };
    let other = |function, harmonics| literal(9, function, harmonics, 2.5);
    refused(BootstrapLiteral {
        order: Order::CoeffsToSlotsFirst,
        ..relu(9)
    });
    refused(other(RefreshFunction::Relu, 0));
    refused(other(RefreshFunction::Relu, 256));
    let series = FourierSeries::relu(15, 1.0, 2.6).unwrap();
    refused(other(RefreshFunction::Series(series), 15));
    refused(BootstrapLiteral {
        log_message_ratio: 0.5,
        ..relu(9)
    });
    for (degree, squarings) in [(1, 3), (256, 3), (31, 17)] {
        refused(BootstrapLiteral {
            reduction: Reduction::Fourier(FourierLiteral {
                degree,
                squarings,
                function: RefreshFunction::Identity,
                harmonics: 3,
            }),
            ..relu(9)
        });
    }
}

#[test]
fn coefficients_to_slots_may_come_first_for_the_identity() {
    let literal = BootstrapLiteral {
        order: Order::CoeffsToSlotsFirst,
        log_scale: 42.0,
        ..literal(9, RefreshFunction::Identity, 7, 8.0)
    };
    let mut r = Refresh::new(9, literal);
    let stats = r.check(1.0);
    assert!(stats.mean_bits > 20.0, "{stats:?}");
}

#[test]
fn the_error_to_expect_is_near_the_measured_one() {
    let cosine = BootstrapLiteral::full_complex(10);
    let with_arcsine = BootstrapLiteral {
        log_message_ratio: 5.0,
        reduction: Reduction::Cosine(CosineLiteral {
            degree: 62,
            double_angles: 2,
            arcsine_degree: 7,
        }),
        ..BootstrapLiteral::full_complex(10)
    };
    let identity = |harmonics, period| literal(10, RefreshFunction::Identity, harmonics, period);
    let relu = literal(10, RefreshFunction::Relu, 31, 2.5);
    // With small primes at the top, rounding is most of the error.
    for (literal, top) in [
        (cosine, 42),
        (with_arcsine, 45),
        (identity(3, 32.0), 42),
        (identity(3, 32.0), 45),
        (identity(15, 4.0), 42),
        (identity(15, 4.0), 45),
        (relu, 45),
    ] {
        let q_bits: Vec<u32> = std::iter::once(50)
            .chain([43; 5])
            .chain(std::iter::repeat_n(top, literal.depth()))
            .collect();
        let params = crate::fixture::params(10, &q_bits, 3);
        let params = BootstrapParams::new(&params, literal.clone()).unwrap();
        let mut r = Refresh::over(&params);
        let x = r.slots(1.0);
        let ct = r.f.encrypt(&x, r.boot.input_level(), r.scale());
        let out = r.boot.bootstrap(&r.f.eval, &ct).unwrap();
        let (found, expected) = (r.f.decrypt(&out), r.applied(&x));
        let pairs = found.iter().zip(&expected);
        let squares: f64 = pairs.map(|(a, b)| (a - b).norm_sqr() / 2.0).sum();
        let measured = (squares / x.len() as f64).sqrt();
        let forecast = r.boot.outline().error_std();
        assert!(
            measured < 1.3 * forecast && measured > forecast / 1.3,
            "{measured:e} measured, {forecast:e} expected, primes of {top} bits, {literal:?}"
        );
    }
}

/// One ciphertext after the other through a refresh that applies a ReLU, on either parts and with foreign literals read
/// from a file.
#[test]
fn literals_with_functions_survive_a_file() {
    for function in [
        RefreshFunction::Identity,
        RefreshFunction::Relu,
        RefreshFunction::Series(FourierSeries::relu(5, 1.0, 2.5).unwrap()),
    ] {
        let literal = literal(9, function, 5, 2.5);
        let text = ron::to_string(&literal).unwrap();
        let found: BootstrapLiteral = ron::from_str(&text).unwrap();
        assert_eq!(found, literal);
    }
    let series = "(cosines: [1.0, 2.0], sines: [0.0], period: 1.0)";
    let refused = ron::from_str::<FourierSeries>(series)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("Fourier series"), "{refused}");
    let series = "(cosines: [1.0, 2.0], sines: [0.0, 1.0], period: 1.0)";
    assert!(ron::from_str::<FourierSeries>(series).is_ok());
}

#[test]
fn many_are_refreshed_in_parallel() {
    let literal = relu(8);
    let checked = BootstrapParams::new(&scheme(8, &literal), literal).unwrap();
    let boot = CosineBootstrapper::new(&checked).unwrap();
    let mut f = Fixture::new(checked.scheme().clone(), &boot.request());
    let x: Vec<_> = (0..3).map(|_| f.slots(1.0, false)).collect();
    let (level, scale) = (boot.input_level(), checked.output_scale());
    let cts: Vec<_> = x.iter().map(|x| f.encrypt(x, level, scale)).collect();
    let refs: Vec<_> = cts.iter().collect();
    let out = boot.bootstrap_many(&f.eval, &refs).unwrap();
    for (out, x) in out.iter().zip(&x) {
        let expected: Vec<_> = x
            .iter()
            .map(|z| Complex64::new(boot.function(z.re), boot.function(z.im)))
            .collect();
        f.error_within_bound(out, &expected);
    }
}
