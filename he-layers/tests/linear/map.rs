//! Compiled maps against the plain references, over random shapes, layouts and batches.

use std::iter::once;
use std::sync::Arc;

use ckks_scheme::Scale;
use he_layers::{
    Chw, Conv2d, Dense, Grid, LayerError, Layout, Linear, LinearMap, Packing, Padding, PlainTensor,
    RotationCosts,
};
use proptest::prelude::*;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::layout::layouts;
use crate::{largest_difference, random_conv, random_numbers, random_tensor, rng};

/// The map between two layouts, with the usual costs.
fn compile(
    linear: impl Into<Linear>,
    input: &Layout,
    output: &Layout,
) -> Result<LinearMap, LayerError> {
    let linear = Arc::new(linear.into());
    LinearMap::compile(&linear, input, output, &RotationCosts::default())
}

/// Largest difference between a compiled map on slots and the reference, on random images, `skip` fewer than fit.
fn slots_error(
    rng: &mut ChaCha20Rng,
    linear: &Linear,
    input: &Layout,
    output: &Layout,
    skip: usize,
) -> f64 {
    let map = compile(linear.clone(), input, output).unwrap();
    let n = input.images().saturating_sub(skip).max(1);
    let x = random_tensor(rng, n, input.shape());
    let slots = map.forward_slots(&input.pack(&x).unwrap(), None).unwrap();
    let y = output.unpack(&slots, x.n).unwrap();
    if !map.fold().is_empty() {
        return largest_difference(&y, &linear.forward_plain(&x).unwrap());
    }
    // What holds no number is zero; images that are not there are computed on all the same.
    let mut padding = 0.0f64;
    for (ct, values) in slots.iter().enumerate() {
        for (slot, value) in values.iter().enumerate() {
            if output.pixel_at(ct, slot % output.grid().cells()).is_none() {
                padding = padding.max(value.norm());
            }
        }
    }
    padding.max(largest_difference(&y, &linear.forward_plain(&x).unwrap()))
}

/// A convolution of any kind: groups, kernels larger than the map, padding on any side, single zeros.
pub fn any_conv(rng: &mut ChaCha20Rng, groups: usize) -> Conv2d {
    let channels = (rng.random_range(1..=5), rng.random_range(1..=5));
    let channels = match groups {
        1 => (channels.0 * 3, channels.1 * 3),
        g => (channels.0 * g, channels.1 * g),
    };
    let kernel = (rng.random_range(1..=5), rng.random_range(1..=5));
    let stride = (rng.random_range(1..=3), rng.random_range(1..=3));
    let mut conv = random_conv(rng, channels, kernel, stride, (0, 0));
    conv.groups = groups;
    conv.weight.truncate(conv.weight.len() / groups);
    conv.padding = Padding {
        top: rng.random_range(0..=3),
        left: rng.random_range(0..=3),
        bottom: rng.random_range(0..=3),
        right: rng.random_range(0..=3),
    };
    if rng.random_range(0..3) == 0 {
        let zeros = rng.random_range(0.0..1.0);
        let weights = conv.weight.iter_mut();
        weights.for_each(|w| {
            *w = if rng.random_range(0.0..1.0) < zeros {
                0.0
            } else {
                *w
            }
        });
    }
    conv
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn prop_conv_on_slots_equals_plain(
        first in layouts(), second in layouts(), aligned in 0usize..4, skip in 0usize..3, groups in 1usize..=4, seed: u64,
    ) {
        let rng = &mut rng(seed);
        let conv = any_conv(rng, groups);
        let shape = Chw { channels: conv.in_channels, ..first.shape() };
        let Ok(out_shape) = conv.output_shape(shape) else { return Ok(()) };
        let cpc = 1 + seed as usize % first.channels_per_ct();
        let Ok(input) = first.strided(shape, (1, 1)).unwrap().with_channels_per_ct(cpc) else { return Ok(()) };
        let linear = Linear::from(conv);
        // Mostly the layout that goes with the input, else any.
        let output = match aligned {
            0 => Layout::new(out_shape, second.grid(), second.packing(), second.slots()).unwrap(),
            1 => input.with_shape(out_shape).unwrap(),
            _ => linear.output_layout(&input).unwrap(),
        };
        let input = match aligned {
            0 => output.with_shape(shape).unwrap(),
            _ => input,
        };
        prop_assert!(slots_error(rng, &linear, &input, &output, skip) < 1e-9);
    }

    #[test]
    fn prop_dense_on_slots_equals_plain(
        layout in layouts(), outputs in 1usize..=40, log_group in 0u32..=6, pooled: bool, sparse: bool, seed: u64,
    ) {
        let rng = &mut rng(seed);
        let shape = layout.shape();
        let bias = random_numbers(rng, outputs);
        let mut dense = if pooled {
            Dense::pooled("dense", shape, outputs, &random_numbers(rng, outputs * shape.channels), bias).unwrap()
        } else {
            Dense::new("dense", shape, outputs, random_numbers(rng, outputs * shape.volume()), bias).unwrap()
        };
        if sparse {
            let volume = shape.volume();
            dense.weight.iter_mut().enumerate().filter(|(n, _)| n % volume % 3 != 0).for_each(|(_, w)| *w = 0.0);
        }
        let linear = Linear::from(dense);
        let clean = LinearMap::dense_layout(outputs, &layout, true).unwrap();
        prop_assert!(compile(linear.clone(), &layout, &clean).unwrap().fold().is_empty());
        let mut outs = vec![clean.clone(), LinearMap::dense_layout(outputs, &layout, false).unwrap()];
        outs.extend(clean.with_channels_per_ct(1 << log_group));
        for output in outs {
            prop_assert!(slots_error(rng, &linear, &layout, &output, 0) < 1e-9);
        }
    }
}

#[test]
fn blocks_between_which_all_weights_are_zero_are_in_no_product() {
    let layout = |channels| {
        let shape = Chw::new(channels, 8, 8);
        Layout::new(shape, Grid::new(4, 8), Packing::Complex, 512).unwrap()
    };
    let pairs = |map: &LinearMap| -> usize {
        let tasks = map.tasks().iter();
        tasks.map(|t| t.outputs().len() * t.inputs().len()).sum()
    };
    let masked = |map: &LinearMap| -> usize {
        let tasks = map.tasks().iter();
        tasks
            .map(|t| t.outputs().len() * map.masked_columns(t, once(0..t.inputs().len())))
            .sum()
    };
    // One channel a ciphertext, two phases: a product for each channel, tap and phase.
    let depthwise = Conv2d::depthwise("", 6, (3, 3), (1, 1), (1, 1), vec![1.0; 54]).unwrap();
    let map = compile(depthwise, &layout(6), &layout(6)).unwrap();
    assert_eq!(pairs(&map), 6 * 9 * 2);
    let place = Conv2d::place("", 4, 3, 10).unwrap();
    let map = compile(place, &layout(4), &layout(10)).unwrap();
    assert_eq!((pairs(&map), masked(&map)), (4 * 2, 0));
    let select = Conv2d::select("", 10, 2..7).unwrap();
    let map = compile(select, &layout(10), &layout(5)).unwrap();
    assert_eq!((pairs(&map), masked(&map)), (5 * 2, 0));
    assert_eq!(rotation_counts(&map), (0, 0));
    // Scattered zeros do not make products of one row.
    let rng = &mut rng(8);
    let mut conv = random_conv(rng, (8, 8), (3, 3), (1, 1), (1, 1));
    let full = compile(conv.clone(), &layout(8), &layout(8)).unwrap();
    conv.weight.iter_mut().step_by(17).for_each(|w| *w = 0.0);
    let scattered = compile(conv, &layout(8), &layout(8)).unwrap();
    assert_eq!(scattered.tasks().len(), full.tasks().len());
}

#[test]
fn clean_dense_layers_take_two_square_roots_of_rotations() {
    let shape = Chw::new(4, 16, 16);
    let layout = Layout::new(shape, Grid::new(32, 32), Packing::Real, 1 << 12).unwrap();
    assert_eq!(layout.ciphertexts(), 1);
    let weights = random_numbers(&mut rng(9), 120 * shape.volume());
    let dense = Dense::new("dense", shape, 120, weights, vec![0.0; 120]).unwrap();
    let clean = LinearMap::dense_layout(120, &layout, true).unwrap();
    let map = compile(dense, &layout, &clean).unwrap();
    let (babies, giants) = rotation_counts(&map);
    assert!(babies + giants <= 72, "{babies} + {giants}");
}

#[test]
fn compiled_maps_change_slots_and_packing_without_compiling() {
    let rng = &mut rng(10);
    let shape = Chw::new(3, 7, 5);
    let input = Layout::new(shape, Grid::new(4, 6), Packing::Real, 32).unwrap();
    let linear = Linear::from(random_conv(rng, (3, 4), (3, 3), (2, 2), (1, 1)));
    let output = linear.output_layout(&input).unwrap();
    let map = compile(linear.clone(), &input, &output).unwrap();
    let wide = map.with_slots(128, Packing::Complex).unwrap();
    assert!(std::ptr::eq(map.tasks(), wide.tasks()));
    assert_eq!((wide.input().images(), wide.output().images()), (8, 8));
    let x = random_tensor(rng, 8, shape);
    let slots = wide
        .forward_slots(&wide.input().pack(&x).unwrap(), None)
        .unwrap();
    let y = wide.output().unpack(&slots, 8).unwrap();
    assert!(largest_difference(&y, &linear.forward_plain(&x).unwrap()) < 1e-9);
    assert!(matches!(
        map.with_slots(16, Packing::Real),
        Err(LayerError::Grid { slots: 16, .. })
    ));
}

#[test]
fn costs_of_rotations_decide_how_they_are_split() {
    let rng = &mut rng(11);
    let layout = Layout::new(Chw::new(32, 16, 16), Grid::new(32, 32), Packing::Real, 1024).unwrap();
    let conv = Arc::new(Linear::from(random_conv(
        rng,
        (32, 32),
        (3, 3),
        (1, 1),
        (1, 1),
    )));
    let counts = |costs: RotationCosts| {
        rotation_counts(&LinearMap::compile(&conv, &layout, &layout, &costs).unwrap())
    };
    // Where rotations after the product cost next to nothing, there are none before.
    let free = RotationCosts {
        mod_up: 0.0,
        inner_product: 0.0,
        mod_down: 1.0,
        inner_sum: 0.0,
    };
    assert_eq!(counts(free).0, 0);
    let dear = RotationCosts {
        inner_sum: 100.0,
        ..RotationCosts::default()
    };
    assert_eq!(counts(dear).1, 0);
    assert_ne!(counts(RotationCosts::default()), counts(dear));
}

/// Rotations of a map: of inputs and of inner sums.
fn rotation_counts(map: &LinearMap) -> (usize, usize) {
    let count = |steps: &[Vec<i64>]| steps.iter().flatten().filter(|s| **s != 0).count();
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
    let map = compile(conv(rng, (16, 16), 1), &stages[0], &stages[0]).unwrap();
    assert_eq!(rotation_counts(&map), (16 * 16, 0));
    let map = compile(conv(rng, (32, 32), 1), &stages[1], &stages[1]).unwrap();
    // 2 x 1 phases: two directions of each input, and one more of half of the inner sums.
    assert_eq!(rotation_counts(&map), (32 * 4, 32 * 2));
    // Two channels a ciphertext in stage 3.
    let map = compile(conv(rng, (64, 64), 1), &stages[2], &stages[2]).unwrap();
    assert_eq!(rotation_counts(&map), (32 * 6, 32 * 2));
    let map = compile(conv(rng, (32, 64), 2), &stages[1], &stages[2]).unwrap();
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
        let map = compile(conv(rng, c, stride), &stages[i], &stages[o]).unwrap();
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
        let map = compile(conv.clone(), &layout, &layout).unwrap();
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
        message(compile(conv.clone(), &small, &layout(2, Grid::new(8, 8))))
            .contains("must share grid")
    );
    assert!(
        message(compile(conv.clone(), &layout(3, Grid::new(4, 4)), &small))
            .contains("input has 3 channels, expected 2")
    );
    assert!(
        message(compile(conv.clone(), &small, &layout(3, Grid::new(4, 4))))
            .contains("shape 3x8x8 meets shape 2x8x8")
    );
}
