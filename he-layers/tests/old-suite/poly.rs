//! Polynomial activations, dense ends and refreshes by themselves, against their references.

use ckks_scheme::{Chebyshev, Composite, Level};
use he_layers::{
    Chw, Conv2d, Grid, Layer, LayerError, Layout, Op, Packing, PlainTensor, PolyActivation,
    PolyOutput, PooledDense, PostActBlock, TensorSpec, Weights,
};

use crate::lab::{Lab, plain, rms_difference};
use crate::{largest_difference, random_conv, random_numbers, random_tensor};

const PACKINGS: [Packing; 2] = [Packing::Real, Packing::Complex];

fn layout(lab: &Lab, channels: usize, packing: Packing) -> Layout {
    let grid = Grid::new(4, 4);
    Layout::new(Chw::new(channels, 4, 4), grid, packing, lab.params.slots()).unwrap()
}

/// Inputs up to the edge of what is declared, channel by channel.
fn inputs(lab: &mut Lab, layout: &Layout, declared: &[f64]) -> PlainTensor {
    let mut x = random_tensor(&mut lab.rng, layout.images(), layout.shape());
    let pixels = layout.shape().pixels();
    for (map, values) in x.data.chunks_mut(pixels).enumerate() {
        let size = declared[map % declared.len()];
        values.iter_mut().for_each(|v| *v *= size);
        values[map % pixels] = if map % 2 == 0 { size } else { -size };
    }
    x
}

/// Runs an activation; the result must agree with the same polynomials in the clear within the tracker's bound, and its
/// error be about what the layer predicts or less.
fn check(act: &PolyActivation, packing: Packing, form: impl Fn(&Lab, Layout) -> TensorSpec) -> f64 {
    let mut lab = Lab::new(8, 12, 3);
    let layout = layout(&lab, act.channels(), packing);
    let x = inputs(&mut lab, &layout, &act.declared);
    let input = form(&lab, layout);
    let run = lab.run(&[act], input, &x, 1);
    let reference = act.forward_plain(&x).unwrap();
    assert_eq!(run.reference(&x, Weights::Rounded), reference);
    let error = largest_difference(&run.y, &reference);
    let name = &act.name;
    assert!(
        error <= run.bound,
        "{name}: {error:e}, bound {:e}",
        run.bound
    );
    let output = run.prepared[0].output();
    assert_eq!(output.scale, lab.chain.scale());
    let fresh = lab.params.noise().fresh_public() / run.prepared[0].input().scale.value();
    let fresh = vec![fresh; act.channels()];
    let predicted = run.prepared[0].predicted_error(&fresh, Weights::Rounded)[0];
    let measured = rms_difference(&run.y, &reference);
    assert!(
        measured < 1.2 * predicted,
        "{name}: {measured:e}, predicted {predicted:e}"
    );
    assert!(
        predicted < 20.0 * measured,
        "{name}: {measured:e}, predicted {predicted:e}"
    );
    error
}

#[test]
fn activations_of_any_degree_match_plain_in_both_packings_and_forms() {
    for packing in PACKINGS {
        for degree in [1, 2, 5, 15, 31, 60] {
            let act = PolyActivation::relu(format!("relu {degree}"), degree, vec![1.0, 6.5, 3.0])
                .unwrap();
            let sums = |lab: &Lab, layout| lab.chain.sum_form(layout, Level::new(10)).unwrap();
            let values = |lab: &Lab, layout| lab.chain.value_form(layout, Level::new(8));
            for error in [check(&act, packing, sums), check(&act, packing, values)] {
                assert!(error < 3e-5, "{packing}, degree {degree}: {error:e}");
            }
        }
    }
}

#[test]
fn any_function_on_any_interval_is_an_activation() {
    let shifted = Chebyshev::interpolate(|x: f64| x.exp(), 12, (-2.0, 4.0)).unwrap();
    let act = PolyActivation::new("exp", vec![shifted], PolyOutput::Value, vec![2.0]).unwrap();
    let gelu =
        Chebyshev::interpolate(|x: f64| 1.0 / (1.0 + (-1.7 * x).exp()), 21, (-3.0, 3.0)).unwrap();
    let gate = PolyActivation::new("gelu", vec![gelu], PolyOutput::Gate, vec![3.0, 2.0]).unwrap();
    assert_eq!((act.depth(), gate.depth()), (4, 6));
    for act in [act, gate] {
        for packing in PACKINGS {
            let error = check(&act, packing, |lab, layout| {
                lab.chain.sum_form(layout, Level::new(9)).unwrap()
            });
            assert!(error < 1e-4, "{}: {error:e}", act.name);
        }
    }
}

#[test]
fn relu_by_a_composed_sign_matches_plain_and_is_as_close_as_the_sign() {
    let sign = |degrees: &[usize], gap| Composite::sign(degrees, gap, 1e-3).unwrap();
    let relu = |sign: &Composite| {
        PolyActivation::relu_by_sign("relu by sign", sign.components(), vec![4.0, 2.5]).unwrap()
    };
    // Eleven levels with the rescale.
    let coarse = relu(&sign(&[7, 7, 7], 0.02));
    assert_eq!(coarse.depth(), 10);
    for packing in PACKINGS {
        let error = check(&coarse, packing, |lab, layout| {
            lab.chain.sum_form(layout, Level::new(12)).unwrap()
        });
        assert!(error < 3e-4, "{packing}: {error:e}");
    }
    // Within the gap it is off by its width at most, beyond it by the sign's error times half the value.
    for (degrees, gap) in [([7, 7, 7], 0.02), ([15, 7, 7], 0.01), ([15, 15, 15], 0.004)] {
        let sign = sign(&degrees, gap);
        let error = relu(&sign).relu_error();
        let limit = 4.0 * gap.max(sign.error() / 2.0);
        assert!(
            error < 1.02 * limit && error > 0.05 * limit,
            "{degrees:?}: {error}"
        );
    }
}

#[test]
fn relu_error_is_the_largest_and_falls_with_the_degree() {
    let mut last = f64::INFINITY;
    for degree in [3, 7, 15, 31, 63] {
        let act = PolyActivation::relu("relu", degree, vec![2.0]).unwrap();
        let bound = act.relu_error();
        let found = (-100_000..=100_000)
            .map(|i| f64::from(i) * 2e-5)
            .map(|x| (act.evaluate(x) - x.max(0.0)).abs())
            .fold(0.0, f64::max);
        assert!(
            found <= bound && bound < 1.03 * found,
            "{degree}: {found}, bound {bound}"
        );
        assert!(bound < 0.6 * last);
        last = bound;
        assert!(act.bound() >= 2.0 && act.bound() < 2.4, "{}", act.bound());
        assert!(act.largest_slope() >= 1.0 && act.largest_slope() < 2.0);
    }
}

#[test]
fn ranges_that_polynomials_do_not_cover_are_refused() {
    let lab = Lab::new(8, 6, 5);
    let input = |packing| {
        lab.chain
            .sum_form(layout(&lab, 2, packing), Level::new(6))
            .unwrap()
    };
    let mut act = PolyActivation::relu("relu", 7, vec![2.0, 1.0]).unwrap();
    act.declared[1] = 2.5;
    let error = act.prepare(&input(Packing::Real), &lab.chain).unwrap_err();
    assert!(
        matches!(error, LayerError::Interval { max: 2.5, .. }),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "layer relu: values up to 2.500000 for a polynomial on the interval from -2.000000 to 2.000000"
    );
    // So is a polynomial that leaves the interval of the next.
    let wide = Chebyshev::new(vec![0.0, 1.2], (-1.0, 1.0)).unwrap();
    let next = Chebyshev::new(vec![0.0, 1.0], (-1.1, 1.1)).unwrap();
    let composed = PolyActivation::new("composed", vec![wide, next], PolyOutput::Value, vec![1.0]);
    assert!(matches!(composed, Err(LayerError::Interval { .. })));
    let none = PolyActivation::new("none", Vec::new(), PolyOutput::Value, vec![1.0]);
    assert!(matches!(none, Err(LayerError::ParameterValue { .. })));
    let nan = PolyActivation::relu("nan", 7, vec![f64::NAN]);
    assert!(nan.is_err());
    assert!(PolyActivation::relu("zero", 7, vec![0.0]).is_err());

    // Levels: six are too few for a rescale, a degree of 31 and the last prime but one.
    let deep = PolyActivation::relu("deep", 31, vec![1.0; 2]).unwrap();
    let error = deep
        .prepare(&input(Packing::Complex), &lab.chain)
        .unwrap_err();
    assert!(matches!(error, LayerError::Level { .. }), "{error}");
    let three = PolyActivation::relu("three", 3, vec![1.0; 3]).unwrap();
    let error = three
        .prepare(&input(Packing::Real), &lab.chain)
        .unwrap_err();
    assert!(matches!(error, LayerError::Channels { .. }), "{error}");
    let x = PlainTensor::new(2, Chw::new(1, 1, 2), vec![0.5, -0.9, 1.5, f64::NAN]).unwrap();
    let one = PolyActivation::relu("one", 3, vec![1.0]).unwrap();
    assert_eq!(one.images_out_of_range(&x).unwrap(), [false, true]);
    assert_eq!(one.largest_inputs(&x).unwrap(), [1.5]);
}

#[test]
fn convolutions_and_dense_ends_read_values() {
    for packing in PACKINGS {
        let mut lab = Lab::new(8, 9, 6);
        let layout = layout(&lab, 2, packing);
        let small = |mut conv: Conv2d| {
            conv.weight.iter_mut().for_each(|w| *w *= 0.2);
            conv
        };
        let conv = small(random_conv(&mut lab.rng, (2, 3), (3, 3), (2, 2), (1, 1)));
        let x = random_tensor(&mut lab.rng, layout.images(), layout.shape());
        let sums = conv.forward_plain(&x).unwrap();
        let largest = sums.data.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let act = PolyActivation::relu("relu", 15, vec![largest; 3]).unwrap();
        let dense = PooledDense {
            name: "dense".to_owned(),
            channels: 3,
            classes: 5,
            weight: random_numbers(&mut lab.rng, 15),
            bias: random_numbers(&mut lab.rng, 5),
        };
        let layers: [&dyn Layer; 3] = [&conv, &act, &dense];
        let input = lab.chain.value_form(layout, Level::new(9));
        let run = lab.run(&layers, input, &x, 1);
        assert!(largest_difference(&run.y, &run.reference(&x, Weights::Rounded)) <= run.bound);
        let error = largest_difference(&run.y, &plain(&layers, &x));
        assert!(error < 1e-3, "{packing}: {error:e}");
    }
}

#[test]
fn post_activation_blocks_match_references_with_and_without_shortcut() {
    for packing in PACKINGS {
        for (outs, stride, group) in [(3, 1, 1), (3, 1, 2), (4, 2, 1), (4, 2, 3)] {
            let mut lab = Lab::new(8, 9, 7);
            // Phases before the stride, gaps after it or not.
            let shape = Chw::new(3, 8, 8);
            let layout = Layout::new(shape, Grid::new(8, 4), packing, lab.params.slots()).unwrap();
            let x = random_tensor(&mut lab.rng, layout.images(), shape);
            let conv = |lab: &mut Lab, ins, kernel: usize, stride| {
                let (size, pad) = ((kernel, kernel), (kernel / 2, kernel / 2));
                let mut conv = random_conv(&mut lab.rng, (ins, outs), size, (stride, stride), pad);
                conv.weight.iter_mut().for_each(|w| *w *= 0.2);
                conv
            };
            let relu = |x: &PlainTensor| {
                let largest = x.data.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                PolyActivation::relu("relu", 7, vec![largest; outs]).unwrap()
            };
            let conv1 = conv(&mut lab, 3, 3, stride);
            let inner = conv1.forward_plain(&x).unwrap();
            let act1 = relu(&inner);
            let conv2 = conv(&mut lab, outs, 3, 1);
            let shortcut = (stride > 1).then(|| conv(&mut lab, 3, 1, stride));
            let mut sum = conv2
                .forward_plain(&act1.forward_plain(&inner).unwrap())
                .unwrap();
            let skip = shortcut.as_ref().map(|s| s.forward_plain(&x).unwrap());
            sum.add_assign("sum", skip.as_ref().unwrap_or(&x)).unwrap();
            let block = PostActBlock {
                name: "block".to_owned(),
                conv1,
                act1,
                refresh: None,
                conv2,
                shortcut,
                act2: relu(&sum),
            };
            // Two convolutions, two rescales, two polynomials of three levels each: the last prime is left.
            let input = lab.chain.value_form(layout, Level::new(9));
            let run = lab.run(&[&block], input, &x, group);
            assert_eq!(run.prepared[0].output().level, Level::new(1));
            let error = largest_difference(&run.y, &run.reference(&x, Weights::Rounded));
            assert!(
                error <= run.bound,
                "{packing}: {error:e}, bound {:e}",
                run.bound
            );
            let error = largest_difference(&run.y, &block.forward_plain(&x).unwrap());
            assert!(error < 1e-4, "{packing}, stride {stride}: {error:e}");
            let counts = run.prepared[0].op_counts(group);
            assert_eq!(counts.total(Op::Lift), if stride > 1 { 0 } else { 6 });
        }
    }
    // Blocks whose branches do not meet.
    let mut rng = crate::rng(8);
    let relu = |channels| PolyActivation::relu("relu", 7, vec![1.0; channels]).unwrap();
    let block = PostActBlock {
        name: "block".to_owned(),
        conv1: random_conv(&mut rng, (3, 4), (3, 3), (2, 2), (1, 1)),
        act1: relu(4),
        refresh: None,
        conv2: random_conv(&mut rng, (4, 4), (3, 3), (1, 1), (1, 1)),
        shortcut: None,
        act2: relu(4),
    };
    let error = block.output_shape(Chw::new(3, 8, 8)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer block: shape 3x8x8 meets shape 4x4x4"
    );
}
