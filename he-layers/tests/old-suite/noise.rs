//! Predicted errors against simulated and measured ones.

use std::f64::consts::PI;

use ckks_scheme::{Level, Scale};
use he_layers::{
    Chw, Grid, Layer, Layout, LinearMap, Packing, PreparedLayer, ScaleChain, Weights, noise,
};
use num_complex::Complex64;
use rand::RngExt;

use crate::lab::{Lab, Network, plain, prepare, rms_difference};
use crate::{random_conv, random_tensor, rng};

/// Values of a polynomial at the first `slots` powers of 5 of a primitive 2N-th root of unity.
fn slots(polynomial: &[f64], slots: usize) -> Vec<Complex64> {
    let n = polynomial.len();
    let mut power = 1;
    let mut values = Vec::with_capacity(slots);
    for _ in 0..slots {
        let term = |(k, c): (usize, &f64)| {
            Complex64::from_polar(*c, PI * (power * k % (2 * n)) as f64 / n as f64)
        };
        values.push(polynomial.iter().enumerate().map(term).sum());
        power = power * 5 % (2 * n);
    }
    values
}

#[test]
fn rounding_of_a_rescale_has_the_predicted_deviation() {
    let (n, trials) = (256, 40);
    let rng = &mut rng(1);
    let mut square = 0.0;
    for _ in 0..trials {
        let mut uniform = || -> Vec<f64> { (0..n).map(|_| rng.random_range(-0.5..0.5)).collect() };
        let (r0, r1) = (slots(&uniform(), n / 2), slots(&uniform(), n / 2));
        let secret: Vec<f64> = (0..n)
            .map(|_| f64::from(rng.random_range(-1..=1)))
            .collect();
        let s = slots(&secret, n / 2);
        square += (0..n / 2)
            .map(|j| (r0[j] + r1[j] * s[j]).re.powi(2))
            .sum::<f64>();
    }
    let measured = (square / (trials * n / 2) as f64).sqrt();
    let predicted = noise::rounding_std(n / 2, Scale::new(1.0));
    assert!(
        (measured / predicted - 1.0).abs() < 0.05,
        "measured {measured}, predicted {predicted}"
    );
    // The figure of the design at N = 2^16.
    assert!((noise::rounding_std(1 << 15, Scale::new(1.0)).log2() - 13.4).abs() < 0.05);
}

#[test]
fn square_error_has_the_predicted_deviation() {
    let rng = &mut rng(2);
    for (std, moment) in [(1e-3, 1.0), (0.2, 0.5), (1.0, 0.01)] {
        let mut gauss = || -> f64 { (0..12).map(|_| rng.random_range(-0.5..0.5)).sum() };
        let trials = 200_000;
        let error = |(v, e): (f64, f64)| ((v + e).powi(2) - v * v).powi(2);
        let sum: f64 = (0..trials)
            .map(|_| error((f64::sqrt(moment) * gauss(), std * gauss())))
            .sum();
        let measured = (sum / f64::from(trials)).sqrt();
        let predicted = noise::square_std(std, moment);
        assert!(
            (measured / predicted - 1.0).abs() < 0.05,
            "measured {measured}, predicted {predicted}"
        );
    }
}

/// Root mean square over the channels.
fn rms(std: &[f64]) -> f64 {
    (std.iter().map(|s| s * s).sum::<f64>() / std.len() as f64).sqrt()
}

#[test]
fn product_and_weight_rounding_have_the_predicted_deviation() {
    let rng = &mut rng(3);
    let shape = Chw::new(8, 16, 16);
    let w = Scale::new(1024.0);
    for (grid, packing) in [
        (Grid::new(4, 8), Packing::Complex),
        (Grid::new(16, 16), Packing::Real),
        (Grid::new(32, 32), Packing::Real),
    ] {
        let layout = Layout::new(shape, grid, packing, 2048).unwrap();
        let conv = random_conv(rng, (8, 8), (3, 3), (1, 1), (1, 1));
        let x = random_tensor(rng, layout.images(), shape);
        // Inputs uniform in [-1, 1] around a mean of zero; the prediction takes the spread to be the mean.
        let chain = ScaleChain::new(Scale::new(w.value()), vec![1 << 40; 3]);
        let spec = he_layers::TensorSpec {
            layout: layout.clone(),
            level: Level::new(3),
            scale: Scale::new(2f64.powi(40)),
        };
        let stem = he_layers::Stem {
            conv: conv.clone(),
            input_mean: vec![1.0 / 3f64.sqrt(); 8],
        };
        let prepared = stem.prepare(&spec, &chain).unwrap();
        let exact = conv.forward_plain(&x).unwrap();

        let map = LinearMap::conv(&conv, &layout, &layout).unwrap();
        let rounded = map
            .forward_slots(&layout.pack(&x).unwrap(), Some(w))
            .unwrap();
        let measured = rms_difference(&layout.unpack(&rounded, x.n).unwrap(), &exact);
        let predicted = rms(&prepared.predicted_error(&[0.0; 8], Weights::Exact));
        assert!(
            measured / predicted > 0.7 && measured / predicted < 1.1,
            "{grid}: {measured}, predicted {predicted}"
        );

        let mut noisy = x.clone();
        noisy
            .data
            .iter_mut()
            .for_each(|v| *v += rng.random_range(-1e-3..1e-3));
        let measured = rms_difference(&conv.forward_plain(&noisy).unwrap(), &exact);
        let predicted = rms(&prepared.predicted_error(&[1e-3 / 3f64.sqrt(); 8], Weights::Rounded));
        // Taps in the padding carry no error.
        assert!(
            measured / predicted > 0.8 && measured / predicted < 1.05,
            "{grid}: {measured}, predicted {predicted}"
        );
    }
}

#[test]
fn network_error_has_the_predicted_deviation() {
    for (packing, grid) in [
        (Packing::Complex, Grid::new(2, 4)),
        (Packing::Real, Grid::new(8, 8)),
    ] {
        let mut lab = Lab::new(10, 7, 9);
        let mut network = Network::new(&mut lab.rng);
        let shape = Chw::new(3, 8, 8);
        let layout = Layout::new(shape, grid, packing, lab.params.slots()).unwrap();
        // As pixels: positive, with a deviation of the size of the mean, which the prediction takes it to be.
        let mut x = random_tensor(&mut lab.rng, layout.images(), shape);
        x.data.iter_mut().for_each(|v| *v = v.abs());
        network.calibrate(&x);
        let input = lab.chain.square_form(layout, lab.params.max_level());
        let prediction = |layers: &[Box<dyn PreparedLayer>], against| {
            let input = vec![0.0; 3];
            rms(&layers
                .iter()
                .fold(input, |std, layer| layer.predicted_error(&std, against)))
        };
        let run = lab.run(&network.layers(), input, &x, 1);
        let noise = rms_difference(&run.y, &run.reference(&x, Weights::Rounded));
        let predicted = prediction(&run.prepared, Weights::Rounded);
        assert!(
            noise / predicted > 0.7 && noise / predicted < 1.4,
            "{packing}: {noise}, predicted {predicted}"
        );
        let total = rms_difference(&run.y, &plain(&network.layers(), &x));
        let predicted = prediction(&run.prepared, Weights::Exact);
        assert!(
            total / predicted > 0.25 && total / predicted < 1.5,
            "{packing}: {total}, predicted {predicted}"
        );
    }
}

#[test]
fn a_block_of_stage_one_holds_what_the_design_says() {
    // ResNet-20, batch 512, N = 2^16: 6.0, 6.5 and 7.5 GB for groups of one, two and four channels.
    let rng = &mut rng(4);
    let chain = ScaleChain::new(Scale::new(2f64.powi(29)), vec![1 << 48; 21]);
    let layout = Layout::new(
        Chw::new(16, 32, 32),
        Grid::new(8, 16),
        Packing::Complex,
        1 << 15,
    )
    .unwrap();
    let act = || {
        he_layers::SquareActivation::new("act", vec![0.0; 16], vec![9.0; 16], vec![1.0; 16])
            .unwrap()
    };
    let block = he_layers::PreActBlock {
        name: "block".to_owned(),
        act1: act(),
        conv1: random_conv(rng, (16, 16), (3, 3), (1, 1), (1, 1)),
        act2: act(),
        conv2: random_conv(rng, (16, 16), (3, 3), (1, 1), (1, 1)),
        shortcut: None,
    };
    let prepared = &prepare(
        &[&block],
        &chain.sum_form(layout, Level::new(21)).unwrap(),
        &chain,
    )[0];
    let gigabytes = |group| prepared.peak_limbs(group) as f64 * 8.0 * 65536.0 / 1e9;
    for (group, expected) in [(1, 6.0), (2, 6.5), (4, 7.4)] {
        assert!(
            (gigabytes(group) - expected).abs() < 0.05,
            "groups of {group}: {} GB",
            gigabytes(group)
        );
    }
    let counts = prepared.op_counts(1);
    assert_eq!(counts.total(he_layers::Op::HoistedRotation), 2 * 16 * 16);
    assert_eq!(counts.total(he_layers::Op::Relinearize), 2 * 128);
}
