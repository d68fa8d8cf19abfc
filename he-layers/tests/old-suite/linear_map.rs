//! Compiled maps against the plain references, over random shapes, layouts and batches.

use ckks_scheme::Scale;
use he_layers::{Chw, Grid, Head, Layout, LinearMap, Packing, PlainTensor, SquareActivation};
use proptest::prelude::*;

use crate::{largest_difference, random_conv, random_numbers, random_tensor, rng};

/// A grid, a map that it divides or that divides it, and slots for one to four images.
#[derive(Debug, Clone)]
struct Setup {
    grid: Grid,
    map: (usize, usize),
    packing: Packing,
    slots: usize,
}

fn setup() -> impl Strategy<Value = Setup> {
    let axis = (0u32..=4, -2i32..=2).prop_map(|(log_grid, ratio)| {
        let map = if ratio < 0 {
            (1usize << log_grid) >> -ratio
        } else {
            (1 << log_grid) << ratio
        };
        (1usize << log_grid, map.clamp(1, 32))
    });
    (
        axis.clone(),
        axis,
        prop_oneof![Just(Packing::Real), Just(Packing::Complex)],
        0u32..=2,
    )
        .prop_map(
            |((rows, height), (cols, width), packing, log_images)| Setup {
                grid: Grid::new(rows, cols),
                map: (height, width),
                packing,
                slots: (rows * cols) << log_images,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn prop_conv_on_slots_equals_plain(
        s in setup(), ins in 1usize..=17, outs in 1usize..=17, log_kernel in 0usize..=2, stride in 1usize..=2,
        skip in 0usize..3, seed: u64,
    ) {
        let kernel = 2 * log_kernel + 1;
        let rng = &mut rng(seed);
        let shape = Chw::new(ins, s.map.0, s.map.1);
        let conv = random_conv(rng, (ins, outs), (kernel, kernel), (stride, stride), (kernel / 2, kernel / 2));
        let input = Layout::new(shape, s.grid, s.packing, s.slots).unwrap();
        let Ok(output) = input.with_shape(conv.output_shape(shape).unwrap()) else { return Ok(()) };
        let map = LinearMap::conv(&conv, &input, &output).unwrap();
        let x = random_tensor(rng, input.images().saturating_sub(skip).max(1), shape);
        let slots = map.forward_slots(&input.pack(&x).unwrap(), None).unwrap();
        let y = output.unpack(&slots, x.n).unwrap();
        prop_assert!(largest_difference(&y, &conv.forward_plain(&x).unwrap()) < 1e-9);
    }

    #[test]
    fn prop_head_on_slots_equals_plain(s in setup(), channels in 1usize..=17, classes in 1usize..=20, log_cpc in 0u32..=6, seed: u64) {
        let rng = &mut rng(seed);
        let shape = Chw::new(channels, s.map.0, s.map.1);
        let input = Layout::new(shape, s.grid, s.packing, s.slots).unwrap();
        let head = Head {
            act: SquareActivation::new("act", vec![0.0; channels], vec![9.0; channels], vec![1.0; channels]).unwrap(),
            classes,
            weight: random_numbers(rng, classes * channels),
            bias: random_numbers(rng, classes),
        };
        let x = random_tensor(rng, input.images(), shape);
        let squares = head.act.forward_plain(&x).unwrap();
        let best = LinearMap::logit_layout(classes, &input).unwrap();
        let per_ct = (1usize << log_cpc).min(s.grid.cells());
        for output in [best.clone(), best.with_channels_per_ct(per_ct).unwrap()] {
            let map = LinearMap::head(&head, &input, &output).unwrap();
            let slots = map.forward_slots(&input.pack(&squares).unwrap(), None).unwrap();
            let logits = output.unpack(&slots, x.n).unwrap();
            prop_assert!(largest_difference(&logits, &head.forward_plain(&x).unwrap()) < 1e-9);
        }
    }
}

/// Rotations of a map: of inputs and of inner sums.
fn rotation_counts(map: &LinearMap) -> (usize, usize) {
    let count = |steps: Vec<Vec<i64>>| steps.iter().flatten().filter(|s| **s != 0).count();
    (count(map.baby_steps()), count(map.giant_steps()))
}

#[test]
fn resnet20_batch_512_needs_the_rotations_of_the_design() {
    let rng = &mut rng(1);
    let layout = |c, h| {
        Layout::new(
            Chw::new(c, h, h),
            Grid::new(8, 16),
            Packing::Complex,
            1 << 15,
        )
        .unwrap()
    };
    let stages = [layout(16, 32), layout(32, 16), layout(64, 8)];
    assert_eq!(stages.each_ref().map(Layout::ciphertexts), [128, 64, 32]);
    assert!(stages.iter().all(|s| s.images() == 512));
    let conv = |rng: &mut _, c, stride| random_conv(rng, c, (3, 3), (stride, stride), (1, 1));
    // 4 x 2 phases: 16 rotations a channel, all of inputs.
    let map = LinearMap::conv(&conv(rng, (16, 16), 1), &stages[0], &stages[0]).unwrap();
    assert_eq!(rotation_counts(&map), (16 * 16, 0));
    let map = LinearMap::conv(&conv(rng, (32, 32), 1), &stages[1], &stages[1]).unwrap();
    // 2 x 1 phases: two directions of each input, and one more of half of the inner sums.
    assert_eq!(rotation_counts(&map), (32 * 4, 32 * 2));
    // Two channels a ciphertext in stage 3.
    let map = LinearMap::conv(&conv(rng, (64, 64), 1), &stages[2], &stages[2]).unwrap();
    assert_eq!(rotation_counts(&map), (32 * 6, 32 * 2));
    let map = LinearMap::conv(&conv(rng, (32, 64), 2), &stages[1], &stages[2]).unwrap();
    assert_eq!(rotation_counts(&map), (32, 32 * 3));
}

#[test]
fn resnet20_batch_32_splits_rotations_into_baby_and_giant() {
    let rng = &mut rng(2);
    let layout =
        |c, h| Layout::new(Chw::new(c, h, h), Grid::new(32, 32), Packing::Real, 1 << 15).unwrap();
    let stages = [layout(16, 32), layout(32, 16), layout(64, 8)];
    assert_eq!(stages.each_ref().map(Layout::ciphertexts), [16, 8, 4]);
    let conv = |rng: &mut _, c, stride| random_conv(rng, c, (3, 3), (stride, stride), (1, 1));
    let expected = [
        ((16, 16), 1, [0, 0], (32, 32)),
        ((16, 32), 2, [0, 1], (48, 24)),
        ((32, 32), 1, [1, 1], (48, 48)),
        ((32, 64), 2, [1, 2], (64, 32)),
        ((64, 64), 1, [2, 2], (56, 56)),
    ];
    for (c, stride, [i, o], rotations) in expected {
        let map = LinearMap::conv(&conv(rng, c, stride), &stages[i], &stages[o]).unwrap();
        assert_eq!(rotation_counts(&map), rotations, "{c:?} stride {stride}");
    }
}

#[test]
fn rounded_weights_stay_close_and_their_mean_is_corrected() {
    let rng = &mut rng(3);
    let shape = Chw::new(8, 8, 8);
    for (grid, packing) in [
        (Grid::new(4, 8), Packing::Complex),
        (Grid::new(8, 16), Packing::Real),
    ] {
        let layout = Layout::new(shape, grid, packing, 1024).unwrap();
        let conv = random_conv(rng, (8, 8), (3, 3), (1, 1), (1, 1));
        // An input that is nothing but its mean: the correction leaves no error at all.
        let mean: Vec<f64> = (0..8).map(|c| 0.5 + c as f64).collect();
        let x = PlainTensor::from_fn(layout.images(), shape, |_, c, _, _| mean[c]);
        let y = conv.forward_plain(&x).unwrap();
        let rounded = Some(Scale::new(1024.0));
        let map = LinearMap::conv(&conv, &layout, &layout).unwrap();
        let run = |map: &LinearMap| {
            let slots = map
                .forward_slots(&layout.pack(&x).unwrap(), rounded)
                .unwrap();
            largest_difference(&layout.unpack(&slots, x.n).unwrap(), &y)
        };
        let raw = run(&map);
        assert!(raw > 1e-3 && raw < 1.0, "uncorrected error {raw}");
        let corrected = run(&map.with_input_mean(&mean).unwrap());
        assert!(corrected < 1e-9, "corrected error {corrected}");
    }
}

#[test]
fn compile_rejects_layouts_that_do_not_fit() {
    let rng = &mut rng(4);
    let conv = random_conv(rng, (2, 2), (3, 3), (1, 1), (1, 1));
    let layout = |c, grid| Layout::new(Chw::new(c, 8, 8), grid, Packing::Real, 256).unwrap();
    let small = layout(2, Grid::new(4, 4));
    let message = |r: Result<LinearMap, he_layers::LayerError>| r.unwrap_err().to_string();
    assert!(
        message(LinearMap::conv(&conv, &small, &layout(2, Grid::new(8, 8))))
            .contains("must share grid")
    );
    assert!(
        message(LinearMap::conv(&conv, &layout(3, Grid::new(4, 4)), &small))
            .contains("input has 3 channels, expected 2")
    );
    assert!(
        message(LinearMap::conv(&conv, &small, &layout(3, Grid::new(4, 4))))
            .contains("shape 3x8x8 meets shape 2x8x8")
    );
}
