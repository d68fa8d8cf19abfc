//! Encrypted layers at small, insecure rings, against their references.

use ckks_scheme::{KeyRequest, Level};
use he_layers::{
    AvgPool, Chw, Conv2d, EncryptedTensor, Grid, Layer, LayerError, Layout, Packing, PreActBlock,
    Weights,
};
use proptest::prelude::*;

use crate::lab::{Lab, Network, activation, plain, prepare};
use crate::{largest_difference, random_conv, random_tensor};

#[derive(Debug, Clone)]
struct Case {
    grid: Grid,
    map: usize,
    packing: Packing,
    log_n: u32,
}

fn cases() -> impl Strategy<Value = Case> {
    let packing = prop_oneof![Just(Packing::Real), Just(Packing::Complex)];
    (0u32..=3, 0u32..=4, 2u32..=4, packing, 0u32..=1).prop_map(
        |(rows, cols, map, packing, more)| Case {
            grid: Grid::new(1 << rows, 1 << cols),
            map: 1 << map,
            packing,
            log_n: (rows + cols + 1 + more).max(6),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn prop_encrypted_conv_matches_references(
        case in cases(), ins in 1usize..=5, outs in 1usize..=5, half in 0usize..=2, stride in 1usize..=2,
        group in 1usize..=3, seed: u64,
    ) {
        let mut lab = Lab::new(case.log_n, 3, seed);
        let kernel = (2 * half + 1, 2 * half + 1);
        let conv = random_conv(&mut lab.rng, (ins, outs), kernel, (stride, stride), (half, half));
        let shape = Chw::new(ins, case.map, case.map);
        let layout = Layout::new(shape, case.grid, case.packing, lab.params.slots()).unwrap();
        if layout.with_shape(conv.output_shape(shape).unwrap()).is_err() {
            return Ok(());
        }
        let x = random_tensor(&mut lab.rng, layout.images(), shape);
        let input = lab.chain.square_form(layout, Level::new(3));
        let layers: [&dyn Layer; 1] = [&conv];
        let run = lab.run(&layers, input, &x, group);
        let y = &run.y;
        prop_assert!(largest_difference(y, &run.reference(&x, Weights::Rounded)) < 1e-7);
        prop_assert!(largest_difference(y, &plain(&layers, &x)) < 0.02);
    }

    #[test]
    fn prop_encrypted_block_matches_references(
        case in cases(), channels in 1usize..=4, inner in 1usize..=4, shortcut: bool, group in 1usize..=3, seed: u64,
    ) {
        let mut lab = Lab::new(case.log_n, 6, seed);
        let outs = if shortcut { channels + 1 } else { channels };
        let stride = if shortcut { 2 } else { 1 };
        let small = |mut conv: Conv2d| {
            conv.weight.iter_mut().for_each(|w| *w *= 0.3);
            conv
        };
        let block = PreActBlock {
            name: "block".to_owned(),
            act1: activation(&mut lab.rng, channels),
            conv1: small(random_conv(&mut lab.rng, (channels, inner), (3, 3), (stride, stride), (1, 1))),
            act2: activation(&mut lab.rng, inner),
            conv2: small(random_conv(&mut lab.rng, (inner, outs), (3, 3), (1, 1), (1, 1))),
            shortcut: shortcut
                .then(|| small(random_conv(&mut lab.rng, (channels, outs), (1, 1), (2, 2), (0, 0)))),
        };
        let shape = Chw::new(channels, case.map, case.map);
        let layout = Layout::new(shape, case.grid, case.packing, lab.params.slots()).unwrap();
        let x = random_tensor(&mut lab.rng, layout.images(), shape);
        let input = lab.chain.sum_form(layout, Level::new(6)).unwrap();
        let layers: [&dyn Layer; 1] = [&block];
        let run = lab.run(&layers, input, &x, group);
        let y = &run.y;
        prop_assert!(largest_difference(y, &run.reference(&x, Weights::Rounded)) < 1e-5);
        prop_assert!(largest_difference(y, &plain(&layers, &x)) < 0.1);
    }
}

#[test]
fn residual_network_runs_encrypted_in_both_packings_and_any_grid() {
    let cases = [
        (Packing::Complex, Grid::new(2, 4), 11),
        (Packing::Complex, Grid::new(4, 8), 10),
        (Packing::Real, Grid::new(2, 4), 10),
        (Packing::Real, Grid::new(8, 8), 12),
        (Packing::Real, Grid::new(16, 32), 10),
    ];
    for (packing, grid, log_n) in cases {
        let mut lab = Lab::new(log_n, 7, 5);
        let mut network = Network::new(&mut lab.rng);
        let shape = Chw::new(3, 8, 8);
        let layout = Layout::new(shape, grid, packing, lab.params.slots()).unwrap();
        // A partial batch, but where one image fills a ciphertext.
        let x = random_tensor(&mut lab.rng, layout.images().div_ceil(2), shape);
        network.calibrate(&x);
        let input = lab.chain.square_form(layout, lab.params.max_level());
        let run = lab.run(&network.layers(), input, &x, 2);
        let rounded = run.reference(&x, Weights::Rounded);
        let exact = plain(&network.layers(), &x);
        assert!(largest_difference(&exact, &run.reference(&x, Weights::Exact)) < 1e-9);
        assert!(largest_difference(&run.y, &exact) < 0.01);

        let noise = largest_difference(&run.y, &rounded);
        assert!(
            noise < run.bound && run.bound < 30.0 * noise,
            "noise {noise}, bound {}",
            run.bound
        );
        // What the pool held most is the predicted ciphertexts and the temporaries of operations, one set a thread.
        for (layer, peak) in run.prepared.iter().zip(&run.pool_peak_bytes) {
            let predicted = layer.peak_limbs(2) as u64 * lab.params.limb_bytes();
            let temporaries = 100 * lab.params.limb_bytes();
            assert!(
                *peak + temporaries / 4 > predicted && *peak < predicted + temporaries,
                "{}",
                layer.name()
            );
        }
    }
}

#[test]
fn single_layers_run_by_themselves() {
    let mut lab = Lab::new(9, 4, 6);
    let shape = Chw::new(3, 8, 8);
    let layout = Layout::new(shape, Grid::new(4, 8), Packing::Complex, lab.params.slots()).unwrap();
    let x = random_tensor(&mut lab.rng, layout.images(), shape);
    let act = activation(&mut lab.rng, 3);
    let pool = AvgPool {
        name: "pool".to_owned(),
        window: (2, 2),
    };
    let input = lab.chain.sum_form(layout, Level::new(4)).unwrap();
    let layers: [&dyn Layer; 2] = [&act, &pool];
    let run = lab.run(&layers, input, &x, 1);
    assert_eq!(run.y.shape, Chw::new(3, 4, 4));
    assert!(largest_difference(&run.y, &plain(&layers, &x)) < 1e-3);
}

#[test]
fn layers_refuse_what_they_were_not_prepared_for() {
    let mut lab = Lab::new(8, 4, 7);
    let layout = |c| Layout::new(Chw::new(c, 4, 4), Grid::new(4, 4), Packing::Real, 128).unwrap();
    let act = activation(&mut lab.rng, 2);
    let conv = random_conv(&mut lab.rng, (2, 2), (3, 3), (1, 1), (1, 1));
    let evaluator = lab.evaluator(&KeyRequest::new());
    let chain = &lab.chain;
    let sums = |level| chain.sum_form(layout(2), Level::new(level)).unwrap();
    let squares = |level| chain.square_form(layout(2), Level::new(level));
    let message = |layer: &dyn Layer, spec| layer.prepare(&spec, chain).unwrap_err().to_string();

    assert!(matches!(
        act.prepare(&sums(1), chain),
        Err(LayerError::Level { .. })
    ));
    assert!(matches!(
        chain.sum_form(layout(2), Level::new(5)),
        Err(LayerError::Level { .. })
    ));
    assert!(matches!(
        conv.prepare(&squares(1), chain),
        Err(LayerError::Level { .. })
    ));
    assert!(
        message(&act, chain.sum_form(layout(3), Level::new(4)).unwrap())
            .contains("input has 3 channels")
    );
    // Sums stand too high for a product: they must be rescaled by an activation first.
    assert!(message(&conv, sums(4)).starts_with("layer conv: weight scale 2^0.0"));
    let mut wide = act.clone();
    wide.declared[1] = 2f64.powi(40);
    assert!(message(&wide, sums(3)).starts_with("layer act: values up to"));

    // Ciphertexts of another level, count or order of absorption.
    let layer: &dyn Layer = &conv;
    let run = |spec, group: usize| {
        let prepared = &prepare(&[layer], &squares(3), chain)[0];
        let zero = |_| evaluator.zero(Level::new(3), squares(3).scale).unwrap();
        let tensor = EncryptedTensor::new(spec, (0..2).map(zero).collect())?;
        prepared.forward(&evaluator, tensor, group)
    };
    assert!(matches!(
        run(squares(4), 1),
        Err(LayerError::ForeignTensor { what: "level", .. })
    ));
    assert!(matches!(
        run(sums(3), 1),
        Err(LayerError::ForeignTensor { what: "scale", .. })
    ));
    let missing_key = run(squares(3), 1).unwrap_err().to_string();
    assert!(
        missing_key.starts_with("layer conv: no rotation by"),
        "{missing_key}"
    );
}

#[test]
fn runs_check_that_whole_blocks_are_absorbed_in_order() {
    let mut lab = Lab::new(8, 3, 8);
    let evaluator = lab.evaluator(&KeyRequest::new());
    // Two phases a block; a 1x1 kernel needs no keys.
    let layout = Layout::new(Chw::new(2, 4, 4), Grid::new(2, 4), Packing::Real, 128).unwrap();
    let conv = Conv2d::new("conv", (2, 2), (1, 1), (1, 1), (0, 0), vec![1.0; 4]).unwrap();
    let spec = lab.chain.square_form(layout, Level::new(3));
    let prepared = conv.prepare(&spec, &lab.chain).unwrap();
    let zeros = |n: usize| {
        (0..n)
            .map(|_| evaluator.zero(spec.level, spec.scale).unwrap())
            .collect::<Vec<_>>()
    };
    let mut run = prepared.begin(&evaluator).unwrap();
    assert!(matches!(
        run.absorb(zeros(1)),
        Err(LayerError::Count { .. })
    ));
    assert!(matches!(
        run.absorb(zeros(6)),
        Err(LayerError::Count { .. })
    ));
    run.absorb(zeros(2)).unwrap();
    run.absorb(zeros(2)).unwrap();
    assert!(matches!(
        run.absorb(zeros(2)),
        Err(LayerError::Count { .. })
    ));
    assert_eq!(run.finish(1).unwrap().spec(), prepared.output());
    let mut run = prepared.begin(&evaluator).unwrap();
    run.absorb(zeros(2)).unwrap();
    assert!(matches!(
        run.finish(1),
        Err(LayerError::Count {
            found: 2,
            expected: 4,
            ..
        })
    ));
}

#[test]
fn results_do_not_depend_on_threads_or_groups() {
    let images = |threads: usize, group: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut lab = Lab::new(9, 7, 10);
            let network = Network::new(&mut lab.rng);
            // Gaps in every layer: baby and giant steps.
            let layout = Layout::new(
                Chw::new(3, 8, 8),
                Grid::new(16, 16),
                Packing::Real,
                lab.params.slots(),
            )
            .unwrap();
            let x = random_tensor(&mut lab.rng, layout.images(), layout.shape());
            let input = lab.chain.square_form(layout, lab.params.max_level());
            lab.run(&network.layers(), input, &x, group).y
        })
    };
    let one = images(1, 1);
    assert_eq!(one, images(3, 1));
    assert_eq!(one, images(2, 4));
}
