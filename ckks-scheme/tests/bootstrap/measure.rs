use crate::refresh::scheme;
use ckks_scheme::bootstrap::{MeasureProgress, measure_precision};
use ckks_scheme::{BootstrapError, BootstrapLiteral, BootstrapParams, Content};
use rand::SeedableRng;

#[test]
fn measured_precision_is_reproducible_and_complete() {
    let literal = BootstrapLiteral {
        log_slots: 6,
        content: Content::Real,
        slots_to_coeffs_levels: 2,
        coeffs_to_slots_levels: 2,
        ..BootstrapLiteral::full_complex(8)
    };
    let params = BootstrapParams::new(&scheme(8, &literal), literal).unwrap();
    let measure = |ciphertexts, progress: &mut dyn FnMut(MeasureProgress)| {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(7);
        measure_precision(&params, ciphertexts, &mut rng, progress)
    };
    let mut last = MeasureProgress::Setup;
    let report = measure(3, &mut |p| last = p).unwrap();
    assert_eq!(last, MeasureProgress::Refreshed(3));
    assert_eq!((report.ciphertexts, report.each.len()), (3, 3));
    // Real content: one component a slot.
    assert_eq!((report.slots, report.overall.components), (64, 3 * 64));
    assert!(report.overall.mean_bits > 17.0 && report.range_violations == 0);
    assert!(report.overall.worst <= report.predicted_error_bound);
    let worst = report.each.iter().fold(0f64, |m, s| m.max(s.worst));
    assert_eq!(report.overall.worst, worst);
    assert!((report.failure_log2, report.security_bits) == (None, 0));
    assert!((report.residual_bits - 2.0 * 43.0).abs() < 0.1 && report.residual_levels == 2);
    let stages: f64 = report.seconds_by_stage.iter().map(|(_, s)| s).sum();
    assert!(stages > 0.0 && stages <= report.seconds * report.threads as f64 * 1.01);
    assert!(report.key_bytes > 0 && report.pool_high_water_bytes > report.key_bytes);
    assert_eq!(measure(3, &mut |_| ()).unwrap().each, report.each);
    assert!(matches!(
        measure(0, &mut |_| ()),
        Err(BootstrapError::Invalid { .. })
    ));
}
