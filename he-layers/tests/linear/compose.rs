//! Two maps as one.

use he_layers::{Chw, Conv2d, Dense, Linear, Padding};
use proptest::prelude::*;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::map::any_conv;
use crate::{largest_difference, random_conv, random_numbers, random_tensor, rng};

/// The merged map, which must equal the two in turn.
fn merged(rng: &mut ChaCha20Rng, first: &Linear, second: &Linear, input: Chw) -> Option<Linear> {
    let both = first.then(second, input).unwrap()?;
    let x = random_tensor(rng, 2, input);
    let turn = second
        .forward_plain(&first.forward_plain(&x).unwrap())
        .unwrap();
    let error = largest_difference(&both.forward_plain(&x).unwrap(), &turn);
    let size = turn.data.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    assert!(error < 1e-12 * size, "{error}");
    Some(both)
}

fn conv(
    rng: &mut ChaCha20Rng,
    channels: (usize, usize),
    kernel: usize,
    stride: usize,
    pad: usize,
) -> Linear {
    random_conv(
        rng,
        channels,
        (kernel, kernel),
        (stride, stride),
        (pad, pad),
    )
    .into()
}

fn pool(channels: usize, window: usize) -> Linear {
    Conv2d::average_pool("pool", channels, (window, window), (window, window))
        .unwrap()
        .into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn prop_merged_convolutions_equal_the_two_in_turn(
        groups in (1usize..=3, 1usize..=3), size in (1usize..=9, 1usize..=9), unpadded: bool, small: bool, seed: u64,
    ) {
        let rng = &mut rng(seed);
        let mut first = any_conv(rng, groups.0);
        if small {
            // A window without overlap, so that paddings may agree.
            first.stride = first.kernel;
            first.padding = Padding::default();
        }
        let mut second = any_conv(rng, groups.1);
        let per_group = second.group_inputs();
        second.in_channels = first.out_channels;
        if !first.out_channels.is_multiple_of(groups.1) {
            return Ok(());
        }
        let weights = second.weight.len() / per_group * second.group_inputs();
        second.weight = random_numbers(rng, weights);
        if unpadded {
            second.padding = Padding::default();
        }
        let input = Chw::new(first.in_channels, size.0, size.1);
        let fits = first.output_shape(input).and_then(|middle| second.output_shape(middle));
        if fits.is_err() {
            return Ok(());
        }
        merged(rng, &first.into(), &second.into(), input);
    }

    #[test]
    fn prop_dense_takes_in_what_comes_before(size in (1usize..=7, 1usize..=7), dense: bool, seed: u64) {
        let rng = &mut rng(seed);
        let (first, input): (Linear, Chw) = if dense {
            let input = Chw::new(3, size.0, size.1);
            let weight = random_numbers(rng, 7 * input.volume());
            (Dense::new("first", input, 7, weight, random_numbers(rng, 7)).unwrap().into(), input)
        } else {
            let conv = any_conv(rng, 2);
            let input = Chw::new(conv.in_channels, size.0, size.1);
            (conv.into(), input)
        };
        let Ok(middle) = first.output_shape(input) else { return Ok(()) };
        let weight = random_numbers(rng, 2 * middle.volume());
        let second = Dense::new("second", middle, 2, weight, random_numbers(rng, 2)).unwrap();
        prop_assert!(merged(rng, &first, &second.into(), input).is_some());
    }
}

#[test]
fn poolings_join_convolutions_and_dense_layers() {
    let rng = &mut rng(1);
    let input = Chw::new(3, 12, 12);
    let wide = conv(rng, (3, 6), 3, 1, 1);
    let Some(Linear::Conv(both)) = merged(rng, &wide, &pool(6, 2), input) else {
        panic!("a pooling joins the convolution before it");
    };
    assert_eq!((both.kernel, both.stride), ((4, 4), (2, 2)));
    assert_eq!(both.padding, Padding::from((1, 1)));
    // Windows do not overlap: the padding of the convolution after it stands where nothing is.
    let narrow = conv(rng, (3, 6), 3, 1, 1);
    assert!(merged(rng, &pool(3, 2), &narrow, input).is_some());
    // Rows that the pooling drops would be read by the merged map.
    let odd = Chw::new(3, 11, 12);
    assert!(merged(rng, &pool(3, 2), &narrow, odd).is_none());
    let dense = Dense::pooled(
        "dense",
        Chw::new(3, 6, 6),
        4,
        &random_numbers(rng, 12),
        vec![1.0; 4],
    );
    let dense = Linear::from(dense.unwrap());
    assert!(matches!(
        merged(rng, &pool(3, 2), &dense, input),
        Some(Linear::Dense(_))
    ));
    // A convolution of what a dense layer gives.
    let weight = random_numbers(rng, 5 * input.volume());
    let first = Dense::new("first", input, 5, weight, vec![0.5; 5])
        .unwrap()
        .into();
    let point = conv(rng, (5, 3), 3, 1, 1);
    assert!(merged(rng, &first, &point, input).is_some());
}

#[test]
fn padding_that_sees_a_bias_or_inputs_is_not_merged() {
    let rng = &mut rng(2);
    let input = Chw::new(2, 8, 8);
    let padded = conv(rng, (3, 2), 3, 1, 1);
    // The first convolution would compute something in the padding.
    let wide = conv(rng, (2, 3), 3, 1, 1);
    assert!(merged(rng, &wide, &padded, input).is_none());
    // One pixel for one pixel: its bias goes to the taps inside the map.
    let point = conv(rng, (2, 3), 1, 1, 0);
    assert!(merged(rng, &point, &padded, input).is_some());
    // A padded point sees its bias in its own padding, and that padding is inside for the second.
    let point = conv(rng, (2, 3), 1, 1, 1);
    assert!(merged(rng, &point, &padded, input).is_none());
    // Without a bias it is exact.
    let Linear::Conv(mut point) = point else {
        unreachable!()
    };
    point.bias.fill(0.0);
    let Linear::Conv(mut padded) = padded else {
        unreachable!()
    };
    padded.tap_bias.fill(0.0);
    assert!(merged(rng, &point.into(), &padded.into(), input).is_some());
}

#[test]
fn separable_convolutions_stay_two_unless_they_are_small() {
    let rng = &mut rng(3);
    let separable = |rng: &mut ChaCha20Rng, channels: usize| {
        let weight = (0..9 * channels)
            .map(|_| rng.random_range(0.5..1.0))
            .collect();
        let depthwise =
            Conv2d::depthwise("depth", channels, (3, 3), (1, 1), (1, 1), weight).unwrap();
        (
            Linear::from(depthwise),
            conv(rng, (channels, channels), 1, 1, 0),
        )
    };
    let (depth, point) = separable(rng, 16);
    assert!(merged(rng, &depth, &point, Chw::new(16, 8, 8)).is_none());
    let (depth, point) = separable(rng, 2);
    assert!(merged(rng, &depth, &point, Chw::new(2, 8, 8)).is_some());
}
