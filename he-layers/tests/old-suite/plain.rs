//! The plain references against their definitions.

use he_layers::{AvgPool, Chw, Layer, LayerError, PlainTensor, SquareActivation};
use proptest::prelude::*;

use crate::{largest_difference, random_conv, random_tensor, rng};

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn prop_conv_equals_its_definition(
        channels in (1usize..=4, 1usize..=4), kernel in (1usize..=4, 1usize..=4), stride in (1usize..=3, 1usize..=3),
        padding in (0usize..=2, 0usize..=2), size in (1usize..=9, 1usize..=9), n in 0usize..=3, seed: u64,
    ) {
        let rng = &mut rng(seed);
        let conv = random_conv(rng, channels, kernel, stride, padding);
        let shape = Chw::new(channels.0, size.0, size.1);
        let x = random_tensor(rng, n, shape);
        let Ok(output) = conv.output_shape(shape) else {
            let too_large = kernel.0 > size.0 + 2 * padding.0 || kernel.1 > size.1 + 2 * padding.1;
            prop_assert!(too_large);
            return Ok(());
        };
        let y = PlainTensor::from_fn(n, output, |n, o, y, x_| {
            let mut sum = conv.bias[o];
            for ky in 0..kernel.0 {
                for kx in 0..kernel.1 {
                    let at = |y: usize, k: usize, s: usize, p: usize| (y * s + k) as isize - p as isize;
                    let (sy, sx) = (at(y, ky, stride.0, padding.0), at(x_, kx, stride.1, padding.1));
                    if sy < 0 || sx < 0 || sy >= size.0 as isize || sx >= size.1 as isize {
                        continue;
                    }
                    sum += conv.tap_bias[(o * kernel.0 + ky) * kernel.1 + kx];
                    for i in 0..channels.0 {
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
fn activation_squares_and_reports_ranges() {
    let act =
        SquareActivation::new("act", vec![1.0, -2.0], vec![3.0, 4.0], vec![1.0, 1.0]).unwrap();
    let shape = Chw::new(2, 1, 2);
    let x = PlainTensor::new(
        3,
        shape,
        vec![2., -1., 6., 0., 2.5, 0., 0., 0., 0., 0., f64::NAN, 0.],
    )
    .unwrap();
    let y = act.forward_plain(&x).unwrap();
    assert_eq!(y.data[..4], [9.0, 0.0, 16.0, 4.0]);
    assert_eq!(act.images_out_of_range(&x).unwrap(), [false, true, true]);
    assert_eq!(act.largest_inputs(&x.images(0..2)).unwrap(), [3.5, 4.0]);
    assert!(SquareActivation::new("act", vec![1.0], vec![], vec![1.0]).is_err());
    assert!(
        act.forward_plain(&PlainTensor::zeros(1, Chw::new(3, 1, 1)))
            .is_err()
    );
}

#[test]
fn pooling_averages_each_window() {
    let pool = AvgPool {
        name: "pool".to_owned(),
        window: (2, 3),
    };
    let x = PlainTensor::from_fn(2, Chw::new(2, 4, 6), |n, c, y, x| {
        (1000 * n + 100 * c + 10 * y + x) as f64
    });
    let y = pool.forward_plain(&x).unwrap();
    assert_eq!(y.shape, Chw::new(2, 2, 2));
    assert!((y.at(1, 1, 1, 1) - (1100.0 + 25.0 + 4.0)).abs() < 1e-9);
}
