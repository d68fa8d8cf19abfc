//! The plain references against their definitions.

use he_layers::{Chw, Conv2d, Dense, LayerError, Padding, PlainTensor};
use proptest::prelude::*;

use crate::{largest_difference, random_conv, random_tensor, rng};

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn prop_conv_equals_its_definition(
        channels in (1usize..=4, 1usize..=4), kernel in (1usize..=4, 1usize..=4), stride in (1usize..=3, 1usize..=3),
        padding in prop::array::uniform4(0usize..=2), size in (1usize..=9, 1usize..=9), n in 0usize..=3, groups in 1usize..=3,
        seed: u64,
    ) {
        let rng = &mut rng(seed);
        let channels = (channels.0 * groups, channels.1 * groups);
        let mut conv = random_conv(rng, channels, kernel, stride, (0, 0));
        conv.groups = groups;
        conv.weight.truncate(conv.weight.len() / groups);
        let [top, left, bottom, right] = padding;
        conv.padding = Padding { top, left, bottom, right };
        let shape = Chw::new(channels.0, size.0, size.1);
        let x = random_tensor(rng, n, shape);
        let Ok(output) = conv.output_shape(shape) else {
            let too_large = kernel.0 > size.0 + top + bottom || kernel.1 > size.1 + left + right;
            prop_assert!(too_large);
            return Ok(());
        };
        let y = PlainTensor::from_fn(n, output, |n, o, y, x_| {
            let mut sum = conv.bias[o];
            for ky in 0..kernel.0 {
                for kx in 0..kernel.1 {
                    let at = |y: usize, k: usize, s: usize, p: usize| (y * s + k) as isize - p as isize;
                    let (sy, sx) = (at(y, ky, stride.0, top), at(x_, kx, stride.1, left));
                    if sy < 0 || sx < 0 || sy >= size.0 as isize || sx >= size.1 as isize {
                        continue;
                    }
                    sum += conv.tap_bias[(o * kernel.0 + ky) * kernel.1 + kx];
                    for i in 0..channels.0 {
                        // Zero between groups.
                        sum += conv.weight_at(o, i, ky, kx) * x.at(n, i, sy as usize, sx as usize);
                    }
                }
            }
            sum
        });
        prop_assert!(largest_difference(&conv.forward_plain(&x).unwrap(), &y) < 1e-12);
    }
}

#[test]
fn conv_rejects_wrong_parameters() {
    let rng = &mut rng(1);
    let good = random_conv(rng, (2, 3), (3, 3), (1, 1), (1, 1));
    let message = |conv: &he_layers::Conv2d| conv.validate().unwrap_err().to_string();
    let mut conv = good.clone();
    conv.weight.pop();
    assert_eq!(
        message(&conv),
        "layer conv: weight holds 53 numbers, expected 54"
    );
    let mut conv = good.clone();
    conv.tap_bias[3] = f64::NAN;
    assert_eq!(
        message(&conv),
        "layer conv: tap_bias at index 3 is NaN, expected a finite number"
    );
    let mut conv = good.clone();
    conv.stride.1 = 0;
    assert_eq!(
        message(&conv),
        "layer conv: column stride is 0, expected at least 1"
    );
    let mut conv = good.clone();
    conv.groups = 2;
    assert_eq!(
        message(&conv),
        "layer conv: groups is 2, expected a divisor of both numbers of channels"
    );
    let x = PlainTensor::zeros(1, Chw::new(4, 8, 8));
    assert!(matches!(
        good.forward_plain(&x),
        Err(LayerError::Channels {
            found: 4,
            expected: 2,
            ..
        })
    ));
    assert!(matches!(
        PlainTensor::new(2, x.shape, vec![0.0]),
        Err(LayerError::TensorLength { .. })
    ));
}

#[test]
fn pooling_averages_each_window() {
    let pool = Conv2d::average_pool("pool", 2, (2, 3), (2, 3)).unwrap();
    let x = PlainTensor::from_fn(2, Chw::new(2, 5, 6), |n, c, y, x| {
        (1000 * n + 100 * c + 10 * y + x) as f64
    });
    let y = pool.forward_plain(&x).unwrap();
    assert_eq!(y.shape, Chw::new(2, 2, 2));
    assert!((y.at(1, 1, 1, 1) - (1100.0 + 25.0 + 4.0)).abs() < 1e-9);
    // Windows that overlap.
    let pool = Conv2d::average_pool("pool", 2, (3, 1), (1, 2)).unwrap();
    let y = pool.forward_plain(&x).unwrap();
    assert_eq!(y.shape, Chw::new(2, 3, 3));
    assert!((y.at(0, 1, 2, 1) - (100.0 + 30.0 + 2.0)).abs() < 1e-9);
}

#[test]
fn slices_and_concatenations_move_channels() {
    let x = PlainTensor::from_fn(1, Chw::new(5, 1, 2), |_, c, _, x| (10 * c + x) as f64);
    let slice = Conv2d::select("slice", 5, 1..4)
        .unwrap()
        .forward_plain(&x)
        .unwrap();
    assert_eq!(slice.data, [10.0, 11.0, 20.0, 21.0, 30.0, 31.0]);
    let place = Conv2d::place("place", 3, 1, 5)
        .unwrap()
        .forward_plain(&slice)
        .unwrap();
    assert_eq!(
        place.data,
        [0.0, 0.0, 10.0, 11.0, 20.0, 21.0, 30.0, 31.0, 0.0, 0.0]
    );
    assert!(matches!(
        Conv2d::select("slice", 5, 3..6),
        Err(LayerError::Channels {
            found: 5,
            expected: 6,
            ..
        })
    ));
    assert!(matches!(
        Conv2d::place("place", 3, 3, 5),
        Err(LayerError::Channels {
            found: 6,
            expected: 5,
            ..
        })
    ));
}

#[test]
fn dense_layers_read_every_pixel() {
    let input = Chw::new(2, 1, 2);
    let x = PlainTensor::new(2, input, vec![1.0, 2.0, 3.0, 4.0, 0.0, 1.0, 0.0, 0.0]).unwrap();
    let weight = vec![1.0, 10.0, 100.0, 1000.0, 0.0, 0.0, 0.0, 1.0];
    let dense = Dense::new("dense", input, 2, weight, vec![0.5, 0.0]).unwrap();
    assert_eq!(
        dense.forward_plain(&x).unwrap().data,
        [4321.5, 4.0, 10.5, 0.0]
    );
    let pooled = Dense::pooled("pooled", input, 1, &[1.0, 10.0], vec![0.0]).unwrap();
    assert_eq!(pooled.forward_plain(&x).unwrap().data, [73.0, 1.0]);
    assert!(matches!(
        dense.forward_plain(&PlainTensor::zeros(1, Chw::new(2, 2, 1))),
        Err(LayerError::Shape { .. })
    ));
}
