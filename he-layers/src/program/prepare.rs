//! Preparation: a program is fixed for a ring, a layout and levels.

use ckks_scheme::{Level, Parameters, Scale};

use super::description::{Node, Program, Source, Term};
use super::order::{join, sort};
use super::preparation::Preparation;
use super::prepared::{Entry, PreparedNode, PreparedProgram, PreparedStage, PreparedValue};
use super::product::{Finish, Product};
use crate::error::LayerError;
use crate::layout::{Grid, Layout, Packing};
use crate::linear::{Linear, LinearMap};
use crate::pointwise::{Depth, Pointwise, Setting};
use crate::spec::{Form, TensorSpec};
use crate::tensor::Chw;

/// Least weight scale of the maps that read an input, for it to be encrypted in square form.
const LEAST_ROOM: f64 = 256.0;

/// Deviation that is assumed of inputs of which nothing is known: that of pixels in [-1, 1].
const UNKNOWN_SPREAD: f64 = 0.5;

impl Program {
    /// Fixes the program for a parameter set with the nominal scale `2^log_scale` and a grid and packing of its input, without
    /// refreshes. [`Self::prepare`] leaves more to choose.
    ///
    /// # Errors
    /// As [`Layout::new`] and [`Self::prepare`].
    pub fn prepare_on(
        &self,
        params: &Parameters,
        log_scale: u32,
        grid: Grid,
        packing: Packing,
    ) -> Result<PreparedProgram, LayerError> {
        let layout = Layout::new(self.shape(self.input()), grid, packing, params.slots())?;
        let scale = Scale::new(f64::from(log_scale).exp2());
        self.prepare(&Preparation::new(params, scale, layout))
    }

    /// Fixes the program for a chain of primes and a layout of its input. Every value gets the lowest level that its readers
    /// allow.
    ///
    /// # Errors
    /// [`LayerError::Depth`] if the chain has too few levels; else if a layer does not fit: shape, layout, scale or declared
    /// range.
    pub fn prepare(&self, to: &Preparation<'_>) -> Result<PreparedProgram, LayerError> {
        let setting = to.setting();
        let levels = self.levels(&setting, to.output_level)?;
        let forms = self.forms();
        if let Some(short) = self.first_shortage(&setting, &levels, to.chain.max_level())? {
            let (need, have) = (short.need, short.have);
            if short.value != self.input() {
                let stage = self.label(short.value);
                return Err(LayerError::RefreshLevels { stage, need, have });
            }
            return Err(LayerError::Depth {
                program: self.name().to_owned(),
                need: need.limbs(),
                have: have.limbs(),
            });
        }
        if to.input.shape() != self.shape(self.input()) {
            return Err(LayerError::Shape {
                layer: self.name().to_owned(),
                found: to.input.shape(),
                expected: self.shape(self.input()),
            });
        }
        let output = self.output()?;
        let mut values: Vec<PreparedValue> = Vec::with_capacity(self.values().len());
        let mut nodes = Vec::with_capacity(self.nodes().len());
        for (index, entry) in self.values().iter().enumerate() {
            let level = levels[index];
            let (spec, stage) = match &entry.source {
                Source::Input => {
                    let layout = to.input.clone();
                    let squares = to.chain.square_form(layout.clone(), level);
                    let room =
                        to.chain.sum_scale(self.name(), level)?.value() / squares.scale.value();
                    // Where the nominal scale is near the primes', squares would leave weights no precision.
                    let spec = if forms[index] == Form::Squares && room >= LEAST_ROOM {
                        squares
                    } else {
                        to.chain.value_form(layout, level)
                    };
                    (spec, None)
                }
                Source::Sum(node) => {
                    let is_output = index == output.0;
                    let node = self.prepare_node(*node, level, &mut values, to, is_output)?;
                    let spec = node.1;
                    nodes.push(node.0);
                    (spec, None)
                }
                Source::Stage(of, stage) => {
                    values[of.0].children.push(index);
                    let parent = &values[of.0].spec;
                    let (input, entry) = stage_input(parent, stage.as_ref(), level, &setting)?;
                    let prepared = stage.prepare(&input, &setting)?;
                    let mut spec = prepared.output().clone();
                    if spec.level < level {
                        let missing = level.limbs() - spec.level.limbs();
                        return Err(LayerError::Level {
                            layer: stage.name().to_owned(),
                            found: input.level,
                            least: Level::new(input.level.limbs() + missing),
                            most: to.chain.max_level(),
                        });
                    }
                    // What a refresh gives beyond need is dropped.
                    spec.level = level;
                    if values[of.0].sizes.is_empty() {
                        values[of.0].sizes = sizes(&spec.layout, stage.as_ref());
                    }
                    let stage = PreparedStage {
                        of: of.0,
                        entry,
                        stage: prepared,
                    };
                    (spec, Some(stage))
                }
            };
            values.push(PreparedValue {
                steps: vec![Vec::new(); spec.layout.ciphertexts()],
                spec,
                stage,
                children: Vec::new(),
                products: Vec::new(),
                adds: Vec::new(),
                sizes: Vec::new(),
            });
        }
        let mut prepared = PreparedProgram {
            name: self.name().to_owned(),
            nominal: to.chain.scale(),
            values,
            nodes,
            steps: Vec::new(),
            output: output.0,
        };
        prepared.order();
        Ok(prepared)
    }

    fn prepare_node(
        &self,
        index: usize,
        level: Level,
        values: &mut [PreparedValue],
        to: &Preparation<'_>,
        is_output: bool,
    ) -> Result<(PreparedNode, TensorSpec), LayerError> {
        let node = &self.nodes()[index];
        let shape = self.shape(node.value());
        let all_dense = node
            .terms()
            .iter()
            .all(|term| matches!(term, Term::Linear(_, map) if matches!(**map, Linear::Dense(_))));
        // Cells that hold garbage after a fold must not reach a stage.
        let layout = match is_output && all_dense {
            true => {
                let input = &values[node.terms()[0].value().0].spec.layout;
                LinearMap::dense_layout(shape.channels, input, false)?
            }
            false => self.node_layout(node, shape, values, to)?,
        };
        let sums = to.chain.sum_form(layout, level)?;
        let mut products = Vec::new();
        let mut adds = false;
        for term in node.terms() {
            let number = term.value().0;
            let value = &mut values[number];
            match term {
                Term::Linear(_, map) => {
                    let input = &value.spec.layout;
                    let compiled = match to.compiled {
                        Some(maps) => maps.get(map, input, &sums.layout, &to.rotations)?,
                        None => LinearMap::compile(map, input, &sums.layout, &to.rotations)?,
                    };
                    let moments = self.moments(number);
                    value.products.push((index, products.len()));
                    products.push(Product::new(
                        number,
                        compiled,
                        &value.spec,
                        &sums,
                        &moments,
                    )?);
                }
                Term::Add(_) => {
                    if value.spec.layout != sums.layout {
                        return Err(LayerError::ForeignTensor {
                            layer: node.name().to_owned(),
                            what: "layout",
                        });
                    }
                    if value.spec.form == Form::Squares {
                        return Err(LayerError::Form {
                            reader: node.name().to_owned(),
                            found: Form::Squares,
                            expected: "sums or values to add",
                        });
                    }
                    value.adds.push(index);
                    adds = true;
                }
            }
        }
        let mut giants = vec![Vec::new(); sums.layout.ciphertexts()];
        for product in &products {
            join(&mut giants, product.map.giant_steps());
        }
        if adds {
            giants.iter_mut().for_each(|steps| steps.push(0));
        }
        giants.iter_mut().for_each(sort);
        let fold = products
            .first()
            .map_or(Vec::new(), |p| p.map.fold().to_vec());
        let prepared = PreparedNode {
            stage: node.stage().to_owned(),
            name: node.name().to_owned(),
            value: node.value().0,
            products,
            finish: Finish::new(giants, fold),
        };
        Ok((prepared, sums))
    }

    /// Layout of a node's sum: what its first convolution gives, or that of what is added, or clean channels of single pixels.
    fn node_layout(
        &self,
        node: &Node,
        shape: Chw,
        values: &[PreparedValue],
        to: &Preparation<'_>,
    ) -> Result<Layout, LayerError> {
        for term in node.terms() {
            let input = &values[term.value().0].spec.layout;
            match term {
                Term::Add(_) => return Ok(input.clone()),
                Term::Linear(_, map) if matches!(**map, Linear::Conv(_)) => {
                    return map.output_layout(input);
                }
                Term::Linear(..) => {}
            }
        }
        LinearMap::dense_layout(shape.channels, &to.input, true)
    }

    /// Mean and deviation of each channel of a value, as far as they are known.
    fn moments(&self, value: usize) -> Vec<(f64, f64)> {
        let entry = &self.values()[value];
        let channels = entry.shape.channels;
        match &entry.source {
            // Images without a known mean are taken to lie around zero.
            Source::Input if !self.given_input_mean().is_empty() => {
                self.input_mean().iter().map(|m| (*m, m.abs())).collect()
            }
            Source::Input => vec![(0.0, UNKNOWN_SPREAD); channels],
            Source::Sum(_) => vec![(0.0, 0.0); channels],
            Source::Stage(_, stage) => (0..channels).map(|c| stage.moments(c)).collect(),
        }
    }
}

/// Declared size of what a stage reads, for each channel block; nothing if it declares none.
fn sizes(layout: &Layout, stage: &dyn Pointwise) -> Vec<(f64, f64)> {
    let channels = 0..layout.shape().channels;
    let (max, rms): (Vec<f64>, Vec<f64>) = channels.map(|c| stage.input_size(c)).unzip();
    if max.iter().any(|m| !m.is_finite()) {
        return Vec::new();
    }
    let packing = layout.packing();
    let largest = |values: &[f64], block| {
        let plane = layout.channel_plane(block, values);
        packing.modulus(plane.iter().fold(0.0, |m: f64, v| m.max(*v)))
    };
    (0..layout.blocks())
        .map(|block| (largest(&max, block), largest(&rms, block)))
        .collect()
}

/// What a stage reads whose value is needed at `level`: its parent as it is, or rescaled and dropped where another reader
/// keeps it higher.
fn stage_input(
    parent: &TensorSpec,
    stage: &dyn Pointwise,
    level: Level,
    setting: &Setting<'_>,
) -> Result<(TensorSpec, Entry), LayerError> {
    let Depth::Levels(depth) = stage.depth(parent.form, setting)? else {
        return Ok((parent.clone(), Entry::Direct));
    };
    if parent.level.limbs() <= level.limbs() + depth {
        return Ok((parent.clone(), Entry::Direct));
    }
    let (form, scale) = match parent.form {
        Form::Sums => {
            let prime = setting.chain.prime(stage.name(), parent.level)?;
            (Form::Values, Scale::new(parent.scale.value() / prime))
        }
        form @ (Form::Squares | Form::Values | Form::Refreshed) => (form, parent.scale),
    };
    let Depth::Levels(depth) = stage.depth(form, setting)? else {
        return Ok((parent.clone(), Entry::Direct));
    };
    let dropped = Level::new(level.limbs() + depth);
    let input = TensorSpec {
        layout: parent.layout.clone(),
        form,
        level: dropped,
        scale,
    };
    Ok((input, Entry::Dropped(dropped)))
}
