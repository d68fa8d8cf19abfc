//! ReLU networks with refreshes, end to end.

use std::sync::Arc;

use ckks_scheme::{
    BootstrapLiteral, BootstrapParams, Bootstrapper, Content, CosineBootstrapper, Level,
    Parameters, Scale,
};
use he_layers::{
    Chw, Conv2d, Grid, Layer, LayerError, Layout, Packing, PlainTensor, PolyActivation,
    PooledDense, PostActBlock, Refresh, RefreshLimits, Weights,
};
use rand_chacha::ChaCha20Rng;

use crate::lab::{Lab, kernel, plain, rms_difference};
use crate::{largest_difference, random_conv, random_numbers, random_tensor};

/// Degree of the ReLUs: five levels.
const DEGREE: usize = 31;
/// Values up to 8 at this scale fill a refresh's range of 1 at scale 2^43.
const LOG_SCALE: i32 = 40;

/// A small insecure ring with the levels of a refresh and six for the user, and its bootstrapping.
fn laboratory(content: Content) -> (Lab, Arc<CosineBootstrapper>) {
    let literal = BootstrapLiteral {
        content,
        slots_to_coeffs_levels: 2,
        coeffs_to_slots_levels: 2,
        ..BootstrapLiteral::full_complex(9)
    };
    let user = literal.slots_to_coeffs_levels + 6;
    let q_bits = std::iter::once(50)
        .chain(std::iter::repeat_n(43, user))
        .chain(std::iter::repeat_n(50, literal.depth()));
    let params = Parameters::builder()
        .log_n(9)
        .q_bits(q_bits)
        .digits(3)
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap();
    let boot = BootstrapParams::new(&params, literal).unwrap();
    let boot = Arc::new(CosineBootstrapper::new(&boot).unwrap());
    (
        Lab::over(params, Scale::new(2f64.powi(LOG_SCALE)), 21),
        boot,
    )
}

fn refresh(name: &str, boot: &Arc<CosineBootstrapper>, error: f64, declared: Vec<f64>) -> Refresh {
    let limits = RefreshLimits::of(boot, error);
    Refresh::new(name, boot.clone(), limits, declared)
}

/// The deviation that the tracker predicts for a refresh of values up to 1 at its own scale.
fn refresh_error(lab: &mut Lab, boot: &Arc<CosineBootstrapper>, packing: Packing) -> f64 {
    let layout = layout(Chw::new(1, 8, 8), packing);
    let x = random_tensor(&mut lab.rng, layout.images(), layout.shape());
    let input = he_layers::TensorSpec {
        layout,
        level: boot.input_level(),
        scale: boot.params().output_scale(),
    };
    let layer = refresh("refresh", boot, 0.0, vec![1.0]);
    let run = lab.run(&[&layer], input, &x, 1);
    assert!(largest_difference(&run.y, &x) <= run.bound);
    // Twice its twelfth: part of the bound is systematic, of which the deviation is more than a twelfth.
    2.0 * run.bound / ckks_scheme::noise::BOUND_SIGMAS
}

fn layout(shape: Chw, packing: Packing) -> Layout {
    Layout::new(shape, Grid::new(8, 8), packing, 256).unwrap()
}

#[test]
fn refreshed_values_match_plain_in_every_form_and_packing() {
    let mut errors = Vec::new();
    for (packing, content) in [
        (Packing::Real, Content::Real),
        (Packing::Complex, Content::Complex),
        (Packing::Real, Content::Complex),
    ] {
        let (mut lab, boot) = laboratory(content);
        let own = refresh_error(&mut lab, &boot, packing);
        // Values above and below what the scale would let through as they are, two channels in two ciphertexts.
        for (size, rescales) in [(40.0, 2), (8.0, 1), (1.5, 1), (1e-3, 1)] {
            let declared = vec![size, 0.75 * size];
            let layer = refresh("refresh", &boot, own, declared);
            let layout = layout(Chw::new(2, 8, 8), packing);
            let mut x = random_tensor(&mut lab.rng, layout.images(), layout.shape());
            x.data.iter_mut().for_each(|v| *v *= 0.75 * size);
            let least = boot.input_level().limbs();
            let input = lab
                .chain
                .sum_form(layout, Level::new(least + rescales))
                .unwrap();
            let run = lab.run(&[&layer], input, &x, 1);
            let error = largest_difference(&run.y, &x);
            assert!(
                error <= run.bound,
                "{packing}: {error:e}, bound {:e}",
                run.bound
            );
            let measured = rms_difference(&run.y, &x);
            let output = run.prepared[0].output();
            assert_eq!(output.level, boot.output_level());
            // Never more than the range, and at least half of it.
            let filled = size * output.scale.value() / boot.params().output_scale().value();
            assert!(filled <= 1.0 + 1e-9 && filled > 0.5, "{filled}");
            let predicted = run.prepared[0].predicted_error(&[0.0; 2], Weights::Rounded)[0];
            assert!(
                measured < predicted,
                "{measured:e}, predicted {predicted:e}"
            );
            errors.push(measured / size);
        }
    }
    // Relative to the values, a refresh of any size is about as good.
    let worst = errors.iter().copied().fold(0.0, f64::max);
    assert!(worst < 2f64.powi(-15), "{errors:?}");
}

#[test]
fn refreshes_out_of_range_level_or_content_are_refused() {
    let (lab, boot) = laboratory(Content::Real);
    let spec = |packing, level| {
        lab.chain
            .value_form(layout(Chw::new(1, 8, 8), packing), Level::new(level))
    };
    let layer = refresh("refresh", &boot, 0.0, vec![1.0]);
    let prepared = |layer: &Refresh, spec| layer.prepare(&spec, &lab.chain);
    let least = boot.input_level().limbs();
    assert!(prepared(&layer, spec(Packing::Real, least)).is_ok());
    let error = prepared(&layer, spec(Packing::Complex, least)).unwrap_err();
    assert!(
        matches!(error, LayerError::RefreshContent { .. }),
        "{error}"
    );
    let error = prepared(&layer, spec(Packing::Real, least - 1)).unwrap_err();
    assert!(matches!(error, LayerError::Level { .. }), "{error}");
    let wide = refresh("refresh", &boot, 0.0, vec![2f64.powi(100)]);
    let error = prepared(&wide, spec(Packing::Real, least)).unwrap_err();
    assert!(matches!(error, LayerError::Range { .. }), "{error}");
    let other = refresh("refresh", &boot, 0.0, vec![1.0; 2]);
    let error = prepared(&other, spec(Packing::Real, least)).unwrap_err();
    assert!(matches!(error, LayerError::Channels { .. }), "{error}");
}

/// A small ReLU network: stem, identity block, strided block, dense end, refreshed after every activation but the last.
struct ReluNetwork {
    stem: Conv2d,
    act: PolyActivation,
    after_stem: Refresh,
    blocks: [PostActBlock; 2],
    after_block: Refresh,
    dense: PooledDense,
}

fn conv(rng: &mut ChaCha20Rng, ins: usize, outs: usize, kernel: usize, stride: usize) -> Conv2d {
    let mut conv = random_conv(
        rng,
        (ins, outs),
        (kernel, kernel),
        (stride, stride),
        (kernel / 2, kernel / 2),
    );
    // More positive than negative weights, so that brightness gets through; 1 in sum.
    let norm = 2.0 / (ins * kernel * kernel) as f64;
    conv.weight.iter_mut().for_each(|w| *w = (*w + 0.5) * norm);
    conv.bias.iter_mut().for_each(|b| *b *= 0.1);
    conv.tap_bias.fill(0.0);
    conv
}

impl ReluNetwork {
    /// Random weights; ranges declared as `x` leads to them, as training data would, with 5 % to spare.
    fn new(
        rng: &mut ChaCha20Rng,
        boot: &Arc<CosineBootstrapper>,
        error: f64,
        x: &PlainTensor,
    ) -> Self {
        let declared = |x: &PlainTensor| {
            let mut largest = vec![0.0f64; x.shape.channels];
            for (map, values) in x.data.chunks(x.shape.pixels()).enumerate() {
                let of_channel = &mut largest[map % x.shape.channels];
                *of_channel = values
                    .iter()
                    .fold(*of_channel, |m, v| m.max(1.05 * v.abs()));
            }
            largest
        };
        let relu =
            |name: &str, x: &PlainTensor| PolyActivation::relu(name, DEGREE, declared(x)).unwrap();
        let block = |rng: &mut ChaCha20Rng, name: &str, x: &PlainTensor, outs: usize| {
            let ins = x.shape.channels;
            let stride = if ins == outs { 1 } else { 2 };
            let conv1 = conv(rng, ins, outs, 3, stride);
            let inner = conv1.forward_plain(x).unwrap();
            let act1 = relu(&format!("{name}.relu1"), &inner);
            let values = act1.forward_plain(&inner).unwrap();
            let conv2 = conv(rng, outs, outs, 3, 1);
            let shortcut = (ins != outs).then(|| conv(rng, ins, outs, 1, 2));
            let mut sum = conv2.forward_plain(&values).unwrap();
            let skip = shortcut.as_ref().map(|s| s.forward_plain(x).unwrap());
            sum.add_assign(name, skip.as_ref().unwrap_or(x)).unwrap();
            PostActBlock {
                name: name.to_owned(),
                conv1,
                act1,
                refresh: Some(refresh(
                    &format!("{name}.refresh"),
                    boot,
                    error,
                    declared(&values),
                )),
                conv2,
                shortcut,
                act2: relu(&format!("{name}.relu2"), &sum),
            }
        };
        let stem = conv(rng, 3, 2, 3, 1);
        let sums = stem.forward_plain(x).unwrap();
        let act = relu("relu", &sums);
        let values = act.forward_plain(&sums).unwrap();
        let first = block(rng, "block1", &values, 2);
        let between = first.forward_plain(&values).unwrap();
        let second = block(rng, "block2", &between, 4);
        Self {
            stem,
            act,
            after_stem: refresh("refresh1", boot, error, declared(&values)),
            blocks: [first, second],
            after_block: refresh("refresh2", boot, error, declared(&between)),
            dense: PooledDense {
                name: "dense".to_owned(),
                channels: 4,
                classes: 5,
                weight: random_numbers(rng, 20).iter().map(|w| w / 16.0).collect(),
                bias: random_numbers(rng, 5),
            },
        }
    }

    fn layers(&self) -> [&dyn Layer; 7] {
        let [first, second] = &self.blocks;
        [
            &self.stem,
            &self.act,
            &self.after_stem,
            first,
            &self.after_block,
            second,
            &self.dense,
        ]
    }

    /// The network with exact ReLUs, and for each logit a bound on how far the polynomials lead from it. A ReLU passes a
    /// difference at most as it is, and the polynomial in its place adds its distance from ReLU at the value that it sees;
    /// linear layers add differences up with absolute weights.
    fn exact(&self, x: &PlainTensor) -> (PlainTensor, PlainTensor) {
        let mut run = Deviation::new(x);
        run.linear(
            |x| self.stem.forward_plain(x),
            |off| absolute(&self.stem).forward_plain(off),
        );
        run.relu(&self.act);
        for block in &self.blocks {
            let skip = run.clone();
            run.linear(
                |x| block.conv1.forward_plain(x),
                |off| absolute(&block.conv1).forward_plain(off),
            );
            run.relu(&block.act1);
            run.linear(
                |x| block.conv2.forward_plain(x),
                |off| absolute(&block.conv2).forward_plain(off),
            );
            let mut side = skip;
            if let Some(shortcut) = &block.shortcut {
                side.linear(
                    |x| shortcut.forward_plain(x),
                    |off| absolute(shortcut).forward_plain(off),
                );
            }
            run.add(&side);
            run.relu(&block.act2);
        }
        let mut dense = self.dense.clone();
        dense.weight.iter_mut().for_each(|w| *w = w.abs());
        dense.bias.fill(0.0);
        run.linear(
            |x| self.dense.forward_plain(x),
            |off| dense.forward_plain(off),
        );
        assert_eq!(run.polynomials, plain(&self.layers(), x));
        (run.exact, run.off)
    }
}

/// A network with polynomials and the same with exact ReLUs, side by side, and a bound on the difference of each number.
#[derive(Clone)]
struct Deviation {
    polynomials: PlainTensor,
    exact: PlainTensor,
    off: PlainTensor,
}

impl Deviation {
    fn new(x: &PlainTensor) -> Self {
        let off = PlainTensor::zeros(x.n, x.shape);
        let (polynomials, exact) = (x.clone(), x.clone());
        Self {
            polynomials,
            exact,
            off,
        }
    }

    fn linear(
        &mut self,
        layer: impl Fn(&PlainTensor) -> Result<PlainTensor, LayerError>,
        absolute: impl Fn(&PlainTensor) -> Result<PlainTensor, LayerError>,
    ) {
        self.polynomials = layer(&self.polynomials).unwrap();
        self.exact = layer(&self.exact).unwrap();
        self.off = absolute(&self.off).unwrap();
    }

    fn add(&mut self, other: &Self) {
        self.polynomials
            .add_assign("sum", &other.polynomials)
            .unwrap();
        self.exact.add_assign("sum", &other.exact).unwrap();
        self.off.add_assign("sum", &other.off).unwrap();
    }

    fn relu(&mut self, act: &PolyActivation) {
        // All values are within the interval, where the largest error is what the activation says.
        assert!(
            act.images_out_of_range(&self.polynomials)
                .unwrap()
                .iter()
                .all(|out| !out)
        );
        let worst = act.relu_error();
        let activated = act.forward_plain(&self.polynomials).unwrap();
        let values = self.polynomials.data.iter().zip(&activated.data);
        for ((x, y), off) in values.zip(&mut self.off.data) {
            let error = (y - x.max(0.0)).abs();
            assert!(error <= worst);
            *off += error;
        }
        self.polynomials = activated;
        self.exact.data.iter_mut().for_each(|v| *v = v.max(0.0));
    }
}

/// A convolution's absolute weights alone.
fn absolute(conv: &Conv2d) -> Conv2d {
    let mut conv = conv.clone();
    conv.weight.iter_mut().for_each(|w| *w = w.abs());
    conv.bias.fill(0.0);
    conv
}

/// Standard deviation over images, class by class, root mean square over the classes.
fn spread(logits: &PlainTensor) -> f64 {
    let classes = logits.shape.channels;
    let variance = |class: usize| {
        let values: Vec<f64> = logits
            .data
            .iter()
            .copied()
            .skip(class)
            .step_by(classes)
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64
    };
    ((0..classes).map(variance).sum::<f64>() / classes as f64).sqrt()
}

#[test]
fn relu_network_runs_encrypted_through_refreshes() {
    for (packing, content) in [
        (Packing::Complex, Content::Complex),
        (Packing::Real, Content::Real),
    ] {
        let (mut lab, boot) = laboratory(content);
        let own = refresh_error(&mut lab, &boot, packing);
        let layout = layout(Chw::new(3, 8, 8), packing);
        // Images that differ in brightness.
        let mut x = random_tensor(&mut lab.rng, layout.images(), layout.shape());
        for channel in x.data.chunks_mut(layout.shape().pixels()) {
            let brightness = random_numbers(&mut lab.rng, 1)[0];
            channel.iter_mut().for_each(|v| *v = 0.3 * *v + brightness);
        }
        let network = ReluNetwork::new(&mut lab.rng, &boot, own, &x);
        let layers = network.layers();
        let input = lab.chain.value_form(layout, boot.output_level());
        let run = lab.run(&layers, input, &x, 1);

        // The same polynomials in the clear: what is left is noise.
        let reference = plain(&layers, &x);
        let noise = largest_difference(&run.y, &reference);
        assert!(
            noise <= run.bound,
            "{packing}: {noise:e}, bound {:e}",
            run.bound
        );
        let std = run.prepared.iter().fold(vec![0.0; 3], |std, layer| {
            layer.predicted_error(&std, Weights::Exact)
        });
        let predicted = std.iter().copied().fold(0.0, f64::max);
        let measured = rms_difference(&run.y, &reference);
        // The prediction takes errors as independent. Part of a refresh's, that of the sine, depends on the value alone and
        // is largest at the end of the range, so that it adds up over the pixels of a sum.
        assert!(
            measured < 10.0 * predicted && measured > 0.1 * predicted,
            "{packing}: {measured:e}, predicted {predicted:e}"
        );

        // Temporaries, those of refreshes above all, come on top of the predicted ciphertexts.
        for (layer, peak) in run.prepared.iter().zip(&run.pool_peak_bytes) {
            let predicted = layer.peak_limbs(1) as u64 * lab.params.limb_bytes();
            assert!(*peak >= predicted, "{}", layer.name());
        }

        // The network with true ReLUs: every logit as near as the polynomials' own errors explain, and that is nearer than
        // the logits of different images.
        let (exact, off) = network.exact(&x);
        let largest = off.data.iter().copied().fold(0.0, f64::max);
        for ((y, exact), off) in run.y.data.iter().zip(&exact.data).zip(&off.data) {
            assert!((y - exact).abs() <= off + run.bound, "{y} {exact} {off}");
        }
        assert!(
            2.0 * largest < spread(&exact),
            "{largest:e}, spread {:e}",
            spread(&exact)
        );
    }
}
