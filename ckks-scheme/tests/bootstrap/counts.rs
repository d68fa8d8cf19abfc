//! What a refresh is predicted to take is what it takes.

use crate::fixture::Fixture;
use crate::refresh::scheme;
use ckks_scheme::counts::Work;
use ckks_scheme::{
    BootstrapLiteral, BootstrapOutline, BootstrapParams, Bootstrapper, Content, CosineBootstrapper,
    CosineLiteral, Evaluator, FourierLiteral, KeyError, KeyRequest, Order, Reduction,
    RefreshFunction,
};

fn full(log_n: u32) -> BootstrapLiteral {
    BootstrapLiteral {
        slots_to_coeffs_levels: 2,
        coeffs_to_slots_levels: 2,
        ..BootstrapLiteral::full_complex(log_n)
    }
}

/// With a function.
fn fourier(content: Content) -> BootstrapLiteral {
    BootstrapLiteral {
        content,
        log_message_ratio: 2.5f64.log2(),
        reduction: Reduction::Fourier(FourierLiteral {
            degree: 31,
            squarings: 3,
            function: RefreshFunction::Relu,
            harmonics: 15,
        }),
        ..full(9)
    }
}

/// All choices of the circuit.
fn literals() -> Vec<BootstrapLiteral> {
    vec![
        BootstrapLiteral::full_complex(9),
        BootstrapLiteral {
            giant_cost: 2.5,
            ..full(9)
        },
        BootstrapLiteral {
            content: Content::Real,
            ..full(9)
        },
        BootstrapLiteral {
            log_slots: 5,
            ..full(9)
        },
        BootstrapLiteral {
            log_slots: 5,
            pack_sparse: true,
            ..full(9)
        },
        BootstrapLiteral {
            log_slots: 5,
            pack_sparse: true,
            order: Order::CoeffsToSlotsFirst,
            log_message_ratio: 6.0,
            ..full(9)
        },
        BootstrapLiteral {
            order: Order::CoeffsToSlotsFirst,
            log_message_ratio: 6.0,
            giant_cost: 0.3,
            ..full(9)
        },
        BootstrapLiteral {
            reduction: Reduction::Cosine(CosineLiteral {
                degree: 62,
                double_angles: 3,
                arcsine_degree: 7,
            }),
            log_message_ratio: 6.0,
            ..full(9)
        },
        fourier(Content::Complex),
        fourier(Content::Real),
    ]
}

fn params(literal: BootstrapLiteral) -> BootstrapParams {
    BootstrapParams::new(&scheme(9, &literal), literal).unwrap()
}

#[test]
fn work_keys_and_matrices_of_a_refresh_are_those_predicted() {
    for literal in literals() {
        let params = params(literal.clone());
        let outline = BootstrapOutline::new(&params).unwrap();
        let boot = CosineBootstrapper::new(&params).unwrap();
        assert_eq!(outline.matrix_bytes(), boot.transform_bytes());
        // Own keys, and a circuit's relinearisation keys for lower levels.
        let mut more = outline.request();
        more.relin(params.output_level());
        more.conjugation(params.scheme().max_level());
        for keys in [outline.request(), more] {
            let predicted = outline.work(&keys).unwrap();
            let mut f = Fixture::new(params.scheme().clone(), &keys);
            let zero = vec![0.0.into(); f.params.slots()];
            let ct = f.encrypt(&zero, params.input_level(), params.output_scale());
            boot.bootstrap(&f.eval, &ct).unwrap();
            assert_eq!(f.eval.profile().work(), predicted.total(), "{literal:?}");
            for (stage, work) in predicted.stages {
                let idle = params.literal().input_levels() == 0 && stage.name() == "SlotsToCoeffs";
                assert!(idle || work != Work::default(), "{stage:?}");
            }
        }
    }
}

#[test]
fn plans_of_patterns_are_those_of_matrices() {
    // More slots than the refreshes above have, so that there are short periods.
    for (log_n, pack_sparse, log_slots) in [(12, false, 11), (12, true, 8), (11, false, 6)] {
        for order in [Order::SlotsToCoeffsFirst, Order::CoeffsToSlotsFirst] {
            for giant_cost in [0.3, 1.0, 4.0] {
                let literal = BootstrapLiteral {
                    log_slots,
                    pack_sparse,
                    order,
                    giant_cost,
                    log_message_ratio: 6.0,
                    ..BootstrapLiteral::full_complex(log_n)
                };
                let params = BootstrapParams::new(&scheme(log_n, &literal), literal).unwrap();
                let outline = BootstrapOutline::new(&params).unwrap();
                let boot = CosineBootstrapper::new(&params).unwrap();
                assert_eq!(outline.matrix_bytes(), boot.transform_bytes());
                assert!(outline.plans().eq(boot.plans()));
            }
        }
    }
}

#[test]
fn keys_that_do_not_serve_are_named() {
    let outline = BootstrapOutline::new(&params(full(9))).unwrap();
    let none = outline.work(&KeyRequest::new());
    assert!(matches!(none, Err(KeyError::Missing { .. })), "{none:?}");
}

#[test]
fn an_evaluator_counts_for_itself() {
    let params = params(full(9));
    let outline = BootstrapOutline::new(&params).unwrap();
    let f = Fixture::new(params.scheme().clone(), &outline.request());
    let other = Evaluator::new(
        &f.params,
        std::sync::Arc::new(ckks_scheme::EvaluationKeys::default()),
    );
    other
        .zero(params.input_level(), params.output_scale())
        .unwrap();
    assert_eq!(f.eval.profile().work(), Work::default());
    assert_ne!(other.profile().work(), Work::default());
}
