//! Stages and joins of all kinds in small networks.

use ckks_scheme::{Composite, Content, Scale};
use he_layers::conformance::ConformanceError;
use he_layers::{
    Chw, Circuit, Conv2d, Custom, Function, Grid, Layer, LayerError, Op, Packing, PlainTensor,
    Polynomial, PostActBlock, Preparation, Program, Refresh, Refresher, Square, Term, Wire,
    conformance,
};

use crate::lab::{Lab, conv, head, rng, square};
use crate::shared::check_shared;

pub const SHAPE: Chw = Chw::new(2, 8, 8);
pub const GRID: Grid = Grid::new(4, 8);

/// Prepares and checks a network in both packings, with 1 and 2 threads.
fn check(lab: &mut Lab, program: &Program) {
    for packing in [Packing::Real, Packing::Complex] {
        let layout = lab.layout(SHAPE, GRID, packing);
        let prepared = program.prepare(&lab.preparation(layout)).unwrap();
        let x = lab.images(&prepared);
        lab.check(program, &prepared, &x, (1, 1));
        lab.check(program, &prepared, &x, (4, 2));
    }
}

pub fn check_refreshed(lab: &mut Lab, refresher: &Refresher, program: &Program, packing: Packing) {
    let layout = lab.layout(SHAPE, GRID, packing);
    let prepared = program
        .prepare(&Preparation {
            refreshers: std::slice::from_ref(refresher),
            ..lab.preparation(layout)
        })
        .unwrap();
    assert!(prepared.refreshes() > 0);
    let x = lab.images(&prepared);
    lab.check(program, &prepared, &x, (1, 1));
    lab.check(program, &prepared, &x, (4, 2));
    check_shared(lab, &prepared, 2);
}

#[test]
fn polynomials_between_convolutions() {
    for (degree, levels) in [(2, 6), (7, 7), (15, 8)] {
        let mut lab = Lab::new(9, levels, 4);
        let relu = Polynomial::relu("relu", degree, vec![4.0; 3]).unwrap();
        let (a, b) = (
            conv(&mut lab.rng, "a", (2, 3), 3, 1),
            conv(&mut lab.rng, "b", (3, 3), 3, 2),
        );
        let head = head(&mut lab.rng, Chw::new(3, 4, 4), 4);
        let program = Program::of_layers("polynomials", SHAPE, &[&a, &relu, &b, &head]).unwrap();
        check(&mut lab, &program);
    }
}

#[test]
fn errors_of_equal_weights_add_up_over_the_pixels() {
    let mut lab = Lab::new(9, 6, 4);
    let shape = Chw::new(1, 16, 16);
    let stem = conv(&mut lab.rng, "stem", (1, 2), 1, 1);
    let square = square(&mut lab.rng, "square", 2);
    let head = head(&mut lab.rng, Chw::new(2, 16, 16), 4);
    let program = Program::of_layers("pooled", shape, &[&stem, &square, &head]).unwrap();
    for packing in [Packing::Real, Packing::Complex] {
        let layout = lab.layout(shape, Grid::new(4, 4), packing);
        let prepared = program.prepare(&lab.preparation(layout)).unwrap();
        // Bright and dark images: what is pooled differs from its mean in all pixels.
        let bright = |n: usize| (n % 3) as f64 - 1.0;
        let x = PlainTensor::from_fn(prepared.images(), shape, |n, _, y, x| {
            bright(n) + 0.1 * ((x + y) % 2) as f64
        });
        lab.check(&program, &prepared, &x, (1, 1));
    }
}

#[test]
fn images_that_leave_a_range_anywhere_in_a_program_are_found() {
    let mut net = Program::new("net", Chw::new(1, 1, 1), vec![0.0]);
    let map = |gain| Conv2d::new("map", (1, 1), (1, 1), (1, 1), (0, 0), vec![gain]).unwrap();
    let square = |t| Square::new("square", vec![t], vec![2.0], vec![1.0]).unwrap();
    let a = net.node("a", "a", vec![Term::linear(net.input(), map(1.0))]);
    let a = net.apply(a.unwrap(), square(0.5)).unwrap();
    let b = net.node("b", "b", vec![Term::linear(a, map(1.0))]).unwrap();
    let b = net.apply(b, square(0.0)).unwrap();
    let y = net.node("y", "y", vec![Term::linear(b, map(1.0))]).unwrap();
    net.finish(y).unwrap();
    // The first square promises |x + 0.5| <= 2, the second (x + 0.5)^2 <= 2.
    let values = vec![0.9, 1.0, -2.6, f64::NAN, -1.9];
    let x = PlainTensor::new(5, Chw::new(1, 1, 1), values).unwrap();
    let outside = net.images_out_of_range(&x).unwrap();
    assert_eq!(outside, [false, true, true, true, false]);
    let other = PlainTensor::zeros(1, Chw::new(2, 1, 1));
    assert!(matches!(
        net.images_out_of_range(&other),
        Err(LayerError::Shape { .. })
    ));
}

/// `x^3 / 4 + x`.
#[derive(Clone, Debug)]
struct Cubic;

impl Function for Cubic {
    fn name(&self) -> &str {
        "cubic"
    }
    fn evaluate(&self, x: f64) -> f64 {
        x * x * x / 4.0 + x
    }
    fn declared(&self, _channel: usize) -> f64 {
        4.0
    }
    fn run(&self, c: &Circuit<'_>, x: Wire, _declared: f64) -> Result<Wire, LayerError> {
        let square = c.square(&x).map_err(|e| self.failed(e))?;
        let cube = c.mul(&square, &x).map_err(|e| self.failed(e))?;
        c.combine(&[(0.25, &cube), (1.0, &x)], 0.0)
            .map_err(|e| self.failed(e))
    }
}

#[test]
fn functions_of_ones_own_are_costed_and_run() {
    let mut lab = Lab::new(9, 8, 5);
    let mut net = Program::new("cubic", SHAPE, Vec::new());
    let a = conv(&mut lab.rng, "a", (2, 3), 3, 1);
    let b = conv(&mut lab.rng, "b", (3, 2), 3, 1);
    let x = net
        .node("net", "a", vec![Term::linear(net.input(), a)])
        .unwrap();
    let x = net.apply(x, Custom(Cubic)).unwrap();
    let y = net.node("net", "b", vec![Term::linear(x, b)]).unwrap();
    net.finish(y).unwrap();
    check(&mut lab, &net);
}

#[test]
fn raw_sums_several_terms_and_joins() {
    let mut lab = Lab::new(9, 7, 6);
    let r = &mut lab.rng;
    let mut net = Program::new("joins", SHAPE, Vec::new());
    let maps: Vec<_> = (0..5)
        .map(|i| conv(r, &format!("m{i}"), (2, 2), [3, 1, 3, 5, 3][i], 1))
        .collect();
    let term = |v, i: usize| Term::linear(v, maps[i].clone());
    let a = net.node("net", "a", vec![term(net.input(), 0)]).unwrap();
    // A convolution reads sums as they are.
    let b = net
        .node("net", "b", vec![term(a, 1), Term::Add(a)])
        .unwrap();
    let squared = net.apply(b, square(r, "square", 2)).unwrap();
    // Several maps of one value and of others, and two values as they are.
    let terms = vec![
        term(squared, 2),
        term(squared, 3),
        term(a, 4),
        Term::Add(a),
        Term::Add(b),
    ];
    let c = net.node("net", "c", terms).unwrap();
    let d = net.apply(c, square(r, "last", 2)).unwrap();
    let y = net
        .node("net", "head", vec![Term::linear(d, head(r, SHAPE, 3))])
        .unwrap();
    net.finish(y).unwrap();
    check(&mut lab, &net);
}

#[test]
fn one_tensor_is_read_at_several_levels() {
    let mut lab = Lab::new(9, 8, 7);
    let r = &mut lab.rng;
    let mut net = Program::new("dense connections", SHAPE, Vec::new());
    let maps: Vec<_> = (0..6)
        .map(|i| conv(r, &format!("m{i}"), (2, 2), 3, 1))
        .collect();
    let term = |v, i: usize| Term::linear(v, maps[i].clone());
    let x0 = net.node("net", "x0", vec![term(net.input(), 0)]).unwrap();
    let early = net.apply(x0, square(r, "early", 2)).unwrap();
    let x1 = net.node("net", "x1", vec![term(early, 1)]).unwrap();
    let late = net.apply(x0, square(r, "late", 2)).unwrap();
    let of1 = net.apply(x1, square(r, "of1", 2)).unwrap();
    let x2 = net
        .node("net", "x2", vec![term(late, 2), term(of1, 3)])
        .unwrap();
    let last = net
        .apply(x0, Polynomial::relu("last", 3, vec![4.0; 2]).unwrap())
        .unwrap();
    let of2 = net.apply(x2, square(r, "of2", 2)).unwrap();
    let y = net
        .node("net", "y", vec![term(last, 4), term(of2, 5), Term::Add(x0)])
        .unwrap();
    net.finish(y).unwrap();
    let layout = lab.layout(SHAPE, GRID, Packing::Real);
    let prepared = net.prepare(&lab.preparation(layout)).unwrap();
    // Two stages and an addition read copies at lower levels.
    assert!(prepared.op_counts(1, 1).total(Op::Copy) >= 3);
    check(&mut lab, &net);
}

#[test]
fn features_are_outputs_too() {
    let mut lab = Lab::new(9, 6, 8);
    for squares in [true, false] {
        let mut net = Program::new("features", SHAPE, Vec::new());
        let a = conv(&mut lab.rng, "a", (2, 3), 3, 2);
        let x = net
            .node("net", "a", vec![Term::linear(net.input(), a)])
            .unwrap();
        let y = match squares {
            true => net.apply(x, square(&mut lab.rng, "square", 3)).unwrap(),
            false => net
                .apply(x, Polynomial::relu("relu", 3, vec![4.0; 3]).unwrap())
                .unwrap(),
        };
        net.finish(y).unwrap();
        check(&mut lab, &net);
    }
}

#[test]
fn refreshed_values_are_squared_added_and_multiplied() {
    for (packing, content) in [
        (Packing::Real, Content::Real),
        (Packing::Complex, Content::Complex),
    ] {
        let (mut lab, refresher) = Lab::with_refresh(6, content, 9);
        // Room for the weights that read squares.
        lab.scale = Scale::new(2f64.powi(33));
        let r = &mut lab.rng;
        let mut net = Program::new("refreshed", SHAPE, Vec::new());
        let maps: Vec<_> = (0..3)
            .map(|i| conv(r, &format!("m{i}"), (2, 2), 3, 1))
            .collect();
        let term = |v, i: usize| Term::linear(v, maps[i].clone());
        let a = net.node("net", "a", vec![term(net.input(), 0)]).unwrap();
        let fresh = net.apply(a, Refresh::new("refresh", vec![4.0; 2])).unwrap();
        let squared = net.apply(fresh, square(r, "square", 2)).unwrap();
        let terms = vec![term(squared, 1), term(fresh, 2), Term::Add(fresh)];
        let y = net.node("net", "y", terms).unwrap();
        net.finish(y).unwrap();
        check_refreshed(&mut lab, &refresher, &net, packing);
    }
}

#[test]
fn errors_of_polynomials_in_a_row_are_predicted_within_measure() {
    let mut lab = Lab::new(9, 27, 13);
    let r = &mut lab.rng;
    let convs: Vec<_> = (0..5)
        .map(|i| conv(r, &format!("conv{i}"), (2, 2), 3, 1))
        .collect();
    let relu = Polynomial::relu("relu", 31, vec![4.0; 2]).unwrap();
    let mut layers: Vec<&dyn Layer> = vec![&convs[0]];
    for conv in &convs[1..] {
        layers.extend([&relu as &dyn Layer, conv]);
    }
    let program = Program::of_layers("relus", SHAPE, &layers).unwrap();
    for packing in [Packing::Real, Packing::Complex] {
        let layout = lab.layout(SHAPE, GRID, packing);
        let prepared = program.prepare(&lab.preparation(layout)).unwrap();
        let x = lab.images(&prepared);
        let outcome = lab.check(&program, &prepared, &x, (4, 2));
        // Four ReLUs of degree 31, of slopes near 1: products alone would foretell a million times the error.
        assert!(outcome.bound < 0.01, "{packing}: {:e}", outcome.bound);
    }
}

#[test]
fn refreshed_values_are_read_by_polynomials() {
    for (packing, content) in [
        (Packing::Real, Content::Complex),
        (Packing::Real, Content::Real),
        (Packing::Complex, Content::Complex),
    ] {
        for (degree, log_scale) in [(7, 40), (31, 25)] {
            let (mut lab, refresher) = Lab::with_refresh(10, content, 12);
            lab.scale = Scale::new(2f64.powi(log_scale));
            let r = &mut lab.rng;
            let (a, b) = (conv(r, "a", (2, 2), 3, 1), conv(r, "b", (2, 2), 3, 1));
            let refresh = Refresh::new("refresh", vec![4.0; 2]);
            let relu = Polynomial::relu("relu", degree, vec![4.5; 2]).unwrap();
            let program =
                Program::of_layers("refreshed", SHAPE, &[&a, &refresh, &relu, &b]).unwrap();
            check_refreshed(&mut lab, &refresher, &program, packing);
        }
    }
}

#[test]
fn relu_network_with_post_activation_blocks_and_refreshes() {
    for (packing, content) in [
        (Packing::Real, Content::Real),
        (Packing::Complex, Content::Complex),
    ] {
        let (mut lab, refresher) = Lab::with_refresh(6, content, 10);
        let r = &mut lab.rng;
        let relu = |name: &str, c: usize| Polynomial::relu(name, 7, vec![4.0; c]).unwrap();
        let refresh = |name: &str, c: usize| Refresh::new(name, vec![4.5; c]);
        let stem = conv(r, "stem", (2, 2), 3, 1);
        let block = |r: &mut _, name: &str, (ins, outs): (usize, usize)| PostActBlock {
            name: name.into(),
            conv1: conv(
                r,
                &format!("{name}.conv1"),
                (ins, outs),
                3,
                if ins == outs { 1 } else { 2 },
            ),
            act1: relu(&format!("{name}.relu1"), outs),
            refresh: Some(refresh(&format!("{name}.refresh"), outs)),
            conv2: conv(r, &format!("{name}.conv2"), (outs, outs), 3, 1),
            shortcut: (ins != outs)
                .then(|| conv(r, &format!("{name}.shortcut"), (ins, outs), 1, 2)),
            act2: relu(&format!("{name}.relu2"), outs),
        };
        let (b1, b2) = (block(r, "b1", (2, 2)), block(r, "b2", (2, 4)));
        let head = head(r, Chw::new(4, 4, 4), 3);
        let (a, f0, f1, f2) = (
            relu("relu", 2),
            refresh("f0", 2),
            refresh("f1", 2),
            refresh("f2", 4),
        );
        let program =
            Program::of_layers("relu", SHAPE, &[&stem, &a, &f0, &b1, &f1, &b2, &f2, &head])
                .unwrap();
        check_refreshed(&mut lab, &refresher, &program, packing);
    }
}

#[test]
fn stages_conform() {
    conformance::check_pointwise(Custom(Cubic), 3).unwrap();
    conformance::check_pointwise(Polynomial::relu("relu", 7, vec![4.0; 3]).unwrap(), 3).unwrap();
    conformance::check_pointwise(square(&mut rng(1), "square", 3), 3).unwrap();
    let sign = Composite::sign(&[15, 15], 0.05, 1e-3).unwrap();
    let relu = Polynomial::relu_by_sign("sign", sign.components(), vec![4.0; 3]).unwrap();
    conformance::check_pointwise(relu, 3).unwrap();
}

/// A function whose circuit is another than it says.
#[derive(Clone, Debug)]
struct Wrong;

impl Function for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }
    fn evaluate(&self, x: f64) -> f64 {
        x * x + 0.001
    }
    fn declared(&self, _channel: usize) -> f64 {
        2.0
    }
    fn run(&self, c: &Circuit<'_>, x: Wire, _declared: f64) -> Result<Wire, LayerError> {
        let square = c.square(&x).map_err(|e| self.failed(e))?;
        c.combine(&[(1.0, &square)], 0.0)
            .map_err(|e| self.failed(e))
    }
}

#[test]
fn a_wrong_circuit_does_not_conform() {
    let error = conformance::check_pointwise(Custom(Wrong), 2).unwrap_err();
    assert!(
        matches!(error, ConformanceError::Value { found, .. } if (found - 0.001).abs() < 1e-4),
        "{error}"
    );
}
