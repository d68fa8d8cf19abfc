//! What is refused, with its words.

use ckks_scheme::{Chebyshev, Content, Evaluator, Level, Scale};
use he_layers::{
    Chw, Client, Grid, LayerError, Packing, PlainTensor, Pointwise, PolyOutput, Polynomial,
    Preparation, Program, Refresh, Refresher, Square, Term, Value,
};

use crate::lab::{Lab, conv, rng, square};

const SHAPE: Chw = Chw::new(2, 4, 4);

/// A program whose first node is a convolution.
fn begun() -> (Program, Value) {
    let mut net = Program::new("net", SHAPE, Vec::new());
    let a = conv(&mut rng(1), "a", (2, 2), 3, 1);
    let x = net
        .node("net", "a", vec![Term::linear(net.input(), a)])
        .unwrap();
    (net, x)
}

fn words<T: std::fmt::Debug>(result: Result<T, LayerError>) -> String {
    result.unwrap_err().to_string()
}

/// What preparing over `levels` primes of 50 bits, at scale `2^log_scale`, says.
fn prepared(net: &Program, levels: usize, log_scale: i32) -> String {
    let mut lab = Lab::new(8, levels, 1);
    lab.scale = Scale::new(2f64.powi(log_scale));
    let layout = lab.layout(SHAPE, Grid::new(4, 4), Packing::Real);
    words(net.prepare(&lab.preparation(layout)))
}

#[test]
fn nodes_that_do_not_fit_are_refused() {
    let (mut net, x) = begun();
    let r = &mut rng(2);
    let strided = conv(r, "strided", (2, 2), 3, 2);
    let error = net.node("net", "sum", vec![Term::Add(x), Term::linear(x, strided)]);
    assert_eq!(words(error), "layer sum: shape 2x2x2 meets shape 2x4x4");
    let error = net.node("net", "nothing", Vec::new());
    assert_eq!(
        words(error),
        "node nothing: a sum of no terms, expected one or more"
    );
    let wide = conv(r, "wide", (3, 2), 3, 1);
    let error = net.node("net", "wide", vec![Term::linear(x, wide)]);
    assert_eq!(words(error), "layer wide: input has 2 channels, expected 3");
    let error = net.apply(x, square(r, "square", 3));
    assert_eq!(
        words(error),
        "layer square: input has 2 channels, expected 3"
    );

    let (mut longer, mut far) = begun();
    for name in ["s1", "s2", "s3"] {
        far = longer.apply(far, square(r, name, 2)).unwrap();
    }
    let error = net.node("net", "foreign", vec![Term::Add(far)]);
    assert_eq!(
        words(error),
        "foreign: reads value 4 of a program that has 2"
    );
    assert_eq!(
        words(net.finish(far)),
        "output: reads value 4 of a program that has 2"
    );
    let unfinished = "program net: its output was not named, expected the sum of a node";
    assert_eq!(words(net.output()), unfinished);
    assert_eq!(
        words(net.forward_plain(&PlainTensor::zeros(1, SHAPE))),
        unfinished
    );
    assert_eq!(prepared(&net, 3, 28), unfinished);
    net.finish(x).unwrap();
    let other = PlainTensor::zeros(1, Chw::new(2, 5, 4));
    assert_eq!(
        words(net.forward_plain(&other)),
        "layer net: shape 2x5x4 meets shape 2x4x4"
    );
}

#[test]
fn forms_that_do_not_join_are_refused() {
    let r = &mut rng(3);
    let (mut net, x) = begun();
    let squares = net.apply(x, square(r, "square", 2)).unwrap();
    let y = net
        .node("net", "sum", vec![Term::Add(squares), Term::Add(x)])
        .unwrap();
    net.finish(y).unwrap();
    assert_eq!(
        prepared(&net, 5, 28),
        "sum: cannot read squares, expected sums or values to add"
    );

    let (mut net, x) = begun();
    let squares = net.apply(x, square(r, "square", 2)).unwrap();
    let twice = net.apply(squares, square(r, "again", 2)).unwrap();
    let b = conv(r, "b", (2, 2), 1, 1);
    let y = net.node("net", "b", vec![Term::linear(twice, b)]).unwrap();
    net.finish(y).unwrap();
    assert_eq!(
        prepared(&net, 5, 28),
        "again: cannot read squares, expected sums or values"
    );
}

#[test]
fn chains_that_are_too_short_or_too_narrow_are_refused() {
    let r = &mut rng(4);
    let (mut net, x) = begun();
    let x = net
        .apply(x, Polynomial::relu("relu", 7, vec![4.0; 2]).unwrap())
        .unwrap();
    let b = conv(r, "b", (2, 2), 3, 1);
    let y = net.node("net", "b", vec![Term::linear(x, b)]).unwrap();
    net.finish(y).unwrap();
    let depth = "program net: needs 6 levels for its input, the chain has 5";
    assert_eq!(prepared(&net, 5, 28), depth);

    let (mut net, x) = begun();
    let x = net.apply(x, square(r, "square", 2)).unwrap();
    let b = conv(r, "b", (2, 2), 3, 1);
    let y = net.node("net", "b", vec![Term::linear(x, b)]).unwrap();
    let c = conv(r, "c", (2, 2), 1, 1);
    let y = net.node("net", "c", vec![Term::linear(y, c)]).unwrap();
    net.finish(y).unwrap();
    let found = prepared(&net, 4, 48);
    let expected = "layer b: weight scale 2^2.0, expected 2^4.0 or more: the input's scale is too large for the prime";
    assert_eq!(found, expected);

    let lab = Lab::new(8, 4, 1);
    let layout = lab.layout(Chw::new(3, 4, 4), Grid::new(4, 4), Packing::Real);
    let found = words(net.prepare(&lab.preparation(layout)));
    assert_eq!(found, "layer net: shape 3x4x4 meets shape 2x4x4");
}

/// Why a convolution, this activation and another convolution have no place in a chain of so many primes.
fn refusal(activation: impl Pointwise + 'static, primes: usize) -> LayerError {
    let (mut net, x) = begun();
    let values = net.apply(x, activation).unwrap();
    let b = conv(&mut rng(4), "b", (2, 2), 3, 1);
    let y = net.node("net", "b", vec![Term::linear(values, b)]);
    net.finish(y.unwrap()).unwrap();
    let lab = Lab::new(8, primes, 1);
    let layout = lab.layout(SHAPE, Grid::new(4, 4), Packing::Real);
    net.prepare(&lab.preparation(layout)).unwrap_err()
}

#[test]
fn declared_values_that_the_modulus_does_not_hold_are_refused() {
    // Sums stand at scale 2^78 under 150 bits, squares at 2^56 under 100.
    for (t, declared, size) in [(72, 1, 72), (0, 40, 80)] {
        let power = |log2: i32| vec![2f64.powi(log2); 2];
        let act = Square::new("square", power(t), power(declared), power(0)).unwrap();
        let error = refusal(act, 3);
        let LayerError::Range { layer, max, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(
            (layer.as_str(), max.log2().round()),
            ("square", f64::from(size))
        );
    }
}

#[test]
fn what_a_polynomial_declares_must_fit_the_modulus_before_and_after_it() {
    // Sums stand at scale 2^78 under 400 bits, results at 2^28 under no more.
    let wide = Polynomial::relu("wide", 7, vec![2f64.powi(340); 2]).unwrap();
    let line = Chebyshev::new(vec![0.0, 2f64.powi(390)], (-4.5, 4.5)).unwrap();
    let steep = Polynomial::new("steep", vec![line], PolyOutput::Value, vec![4.5; 2]).unwrap();
    for (name, activation) in [("wide", wide), ("steep", steep)] {
        let error = refusal(activation, 8);
        let LayerError::Range { layer, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(layer, name, "{error}");
    }
}

#[test]
fn what_a_refresh_declares_must_fit_the_modulus() {
    let (lab, refresher) = Lab::with_refresh(6, Content::Real, 6);
    let prepared = |declared: f64| {
        let (mut net, x) = begun();
        let refresh = Refresh::new("refresh", vec![1.0, declared]);
        let fresh = net.apply(x, refresh).unwrap();
        let b = conv(&mut rng(5), "b", (2, 2), 3, 1);
        let y = net.node("net", "b", vec![Term::linear(fresh, b)]);
        net.finish(y.unwrap()).unwrap();
        let layout = lab.layout(SHAPE, Grid::new(4, 4), Packing::Real);
        net.prepare(&Preparation {
            refreshers: std::slice::from_ref(&refresher),
            ..lab.preparation(layout)
        })
    };
    prepared(4.0).unwrap();
    // Below the levels of the refresh itself, the modulus has fewer bits.
    let bits = 400.0;
    let error = prepared(f64::exp2(bits)).unwrap_err();
    let LayerError::Range { layer, max, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((layer.as_str(), max.log2()), ("refresh", bits));
}

#[test]
fn refreshes_that_cannot_be_are_refused() {
    let r = &mut rng(5);
    let (mut net, x) = begun();
    let fresh = net.apply(x, Refresh::new("refresh", vec![4.0; 2])).unwrap();
    let relu = net
        .apply(fresh, Polynomial::relu("relu", 7, vec![4.5; 2]).unwrap())
        .unwrap();
    let b = conv(r, "b", (2, 2), 3, 1);
    let y = net.node("net", "b", vec![Term::linear(relu, b)]).unwrap();
    net.finish(y).unwrap();
    assert_eq!(
        prepared(&net, 8, 40),
        "stage refresh: a refresh needs a bootstrapping, and none was given"
    );

    let to = |lab: &Lab, refresher: &Refresher, packing| {
        let preparation = Preparation {
            refreshers: std::slice::from_ref(refresher),
            ..lab.preparation(lab.layout(SHAPE, Grid::new(4, 4), packing))
        };
        words(net.prepare(&preparation))
    };
    let (lab, full) = Lab::with_refresh(6, Content::Real, 6);
    let content =
        "layer refresh: its bootstrapping keeps real parts only, the layout is packed complex";
    assert_eq!(to(&lab, &full, Packing::Complex), content);
    let low = Refresher::levels_only(full.limits().input_level, Level::new(4));
    let found = to(&lab, &low, Packing::Real);
    assert_eq!(
        found,
        "stage refresh(a): gives level 4, what reads it needs level 6"
    );
    let twice = net.with_refreshes(&[y]);
    assert_eq!(
        words(twice),
        "b: no stage that reads it declares its size, which a refresh needs"
    );
}

#[test]
fn runs_out_of_order_are_refused() {
    let mut lab = Lab::new(8, 3, 7);
    let (mut net, x) = begun();
    net.finish(x).unwrap();
    let layout = lab.layout(SHAPE, Grid::new(4, 4), Packing::Real);
    let prepared = net.prepare(&lab.preparation(layout)).unwrap();
    let (mut client, keys) = Client::new(&lab.params, &prepared, &mut lab.rng).unwrap();
    let server = Evaluator::new(&lab.params, std::sync::Arc::new(keys));
    let images = PlainTensor::zeros(1, SHAPE);
    let input = client.encrypt(&images).unwrap();
    let run = prepared.begin(&server, input).unwrap();
    assert_eq!(
        words(run.finish()),
        "program net: result asked for after 0 of 1 steps"
    );
    let mut run = prepared
        .begin(&server, client.encrypt(&images).unwrap())
        .unwrap();
    run.step(1).unwrap();
    assert_eq!(
        words(run.step(1)),
        "program net: step 1 asked for, the run has 1"
    );
    let output = run.finish().unwrap();
    let error = prepared.begin(&server, output).map(|_| ());
    assert_eq!(
        words(error),
        "layer net: the tensor's form is not the one that the layer was prepared for"
    );
}
