use crate::refresh::Refresh;
use ckks_scheme::{
    BootstrapError, BootstrapLiteral, BootstrapParams, Bootstrapper, Content, FourierLiteral,
    FourierSeries, Level, Order, Reduction, RefreshFunction,
};
use num_complex::Complex64;

fn literal(
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

#[test]
fn identity_by_a_series_is_more_precise_than_a_sine() {
    let mut r = Refresh::new(9, literal(9, RefreshFunction::Identity, 3, 32.0));
    let stats = r.check(1.0);
    assert!(stats.mean_bits > 24.0, "{stats:?}");
    let mut r = Refresh::new(9, literal(9, RefreshFunction::Identity, 15, 4.0));
    let stats = r.check(1.0);
    assert!(stats.mean_bits > 26.0, "{stats:?}");
}

#[test]
fn relu_is_applied_to_both_halves() {
    for (harmonics, period) in [(15, 3.0), (31, 2.5)] {
        let mut r = Refresh::new(9, literal(9, RefreshFunction::Relu, harmonics, period));
        let stats = r.check(1.0);
        assert!(stats.mean_bits > 20.0, "{stats:?}");
        // The reference is near the function itself.
        for v in [-1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0] {
            assert!((r.boot.function(v) - v.max(0.0)).abs() < 0.15 / harmonics as f64);
        }
    }
}
