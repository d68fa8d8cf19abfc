//! A program fixed for a ring, a layout and levels.

use ckks_scheme::{KeyRequest, Level, Parameters, Scale};

use super::compiled::CompiledMaps;
use super::description::{Program, Source, Term};
use super::product::{Finish, Product};
use crate::error::LayerError;
use crate::layout::{Grid, Layout, Packing};
use crate::linear::{Linear, LinearMap, RotationCosts};
use crate::pointwise::{PreparedPointwise, Refresher, Setting};
use crate::spec::{Form, ScaleChain, TensorSpec};

/// Least weight scale of the maps that read an input, for it to be encrypted in square form.
const LEAST_ROOM: f64 = 256.0;

/// Deviation that is assumed of inputs of which nothing is known: that of pixels in [-1, 1].
const UNKNOWN_SPREAD: f64 = 0.5;

/// What a program is prepared for.
#[derive(Clone, Debug)]
pub struct Preparation<'a> {
    /// Primes and nominal scale.
    pub chain: ScaleChain,
    /// Layout of the input. All tensors share its grid, packing and slots.
    pub input: Layout,
    /// Level of the output; 2 is the least.
    pub output_level: Level,
    /// What carries out refreshes: one for each function that is applied.
    pub refreshers: &'a [Refresher],
    /// What rotations cost, by which maps choose how to split them.
    pub rotations: RotationCosts,
    /// Where compiled maps are kept for further preparations, with the same costs of rotations.
    pub compiled: Option<&'a CompiledMaps>,
}

impl<'a> Preparation<'a> {
    /// For inputs of layout `input` over the primes of `params` with nominal scale `scale`, without refreshes, down to the
    /// last two primes.
    pub fn new(params: &Parameters, scale: Scale, input: Layout) -> Self {
        Self {
            chain: ScaleChain::of(params, scale),
            input,
            output_level: Level::new(2),
            refreshers: &[],
            rotations: RotationCosts::default(),
            compiled: None,
        }
    }

    pub(super) fn setting(&self) -> Setting<'_> {
        Setting {
            chain: &self.chain,
            refreshers: self.refreshers,
        }
    }
}

/// How a stage comes to its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// As it stands.
    Direct,
    /// Rescaled, if it is sums, and dropped to a level.
    Dropped(Level),
}

/// A stage of a value.
#[derive(Debug)]
pub(super) struct PreparedStage {
    /// Number of the value that it reads.
    pub of: usize,
    pub entry: Entry,
    pub stage: Box<dyn PreparedPointwise>,
}

/// A value: its form and level, where it comes from, and who reads it.
#[derive(Debug)]
pub(super) struct PreparedValue {
    pub spec: TensorSpec,
    /// The stage that it comes from; tensors have none.
    pub stage: Option<PreparedStage>,
    /// Stages that read it, by the number of their value.
    pub children: Vec<usize>,
    /// Nodes that multiply it, with the index of the product.
    pub products: Vec<(usize, usize)>,
    /// Nodes that it is added to as it is.
    pub adds: Vec<usize>,
    /// For each channel block the largest modulus of a slot and its root mean square, if a stage declares them.
    pub sizes: Vec<(f64, f64)>,
    /// For each ciphertext all rotations that any product reads, sorted.
    pub steps: Vec<Vec<i64>>,
}

/// A node of a prepared program.
#[derive(Debug)]
pub struct PreparedNode {
    pub(super) stage: String,
    pub(super) name: String,
    /// Number of its value.
    pub(super) value: usize,
    pub(super) products: Vec<Product>,
    pub(super) finish: Finish,
}

impl PreparedNode {
    /// Label of the part of the network that the node belongs to.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// Name for reports and errors.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One step of a run: a tensor is read by all its readers, and the nodes that wait for nothing else are finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Number of the tensor's value.
    pub tensor: usize,
    /// The tensor and all stages of it, in the order of computation.
    pub values: Vec<usize>,
    /// Nodes that are finished, in order.
    pub finishes: Vec<usize>,
}

/// A program that is ready to run: layouts, levels, scales, weights.
#[derive(Debug)]
pub struct PreparedProgram {
    pub(super) name: String,
    pub(super) nominal: Scale,
    pub(super) values: Vec<PreparedValue>,
    pub(super) nodes: Vec<PreparedNode>,
    pub(super) steps: Vec<Step>,
    pub(super) output: usize,
}

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
        prepared.collect_rotations();
        prepared.order_children();
        prepared.order_steps();
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
        node: &super::Node,
        shape: crate::tensor::Chw,
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

/// Adds the steps of a map to those of each ciphertext.
fn join(all: &mut [Vec<i64>], of_map: &[Vec<i64>]) {
    for (all, of_map) in all.iter_mut().zip(of_map) {
        all.extend(of_map);
    }
}

fn sort(steps: &mut Vec<i64>) {
    steps.sort_unstable();
    steps.dedup();
}

/// Declared size of what a stage reads, for each channel block; nothing if it declares none.
fn sizes(layout: &Layout, stage: &dyn crate::pointwise::Pointwise) -> Vec<(f64, f64)> {
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
    stage: &dyn crate::pointwise::Pointwise,
    level: Level,
    setting: &Setting<'_>,
) -> Result<(TensorSpec, Entry), LayerError> {
    use crate::pointwise::Depth;
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

impl PreparedProgram {
    /// For each value and ciphertext all rotations that its products read.
    fn collect_rotations(&mut self) {
        for product in self.nodes.iter().flat_map(|node| &node.products) {
            join(
                &mut self.values[product.value].steps,
                product.map.baby_steps(),
            );
        }
        self.values
            .iter_mut()
            .flat_map(|value| &mut value.steps)
            .for_each(sort);
    }

    /// Stages that read a dropped copy come first: the first of the others may take the rescaled sums.
    fn order_children(&mut self) {
        for value in 0..self.values.len() {
            let mut children = std::mem::take(&mut self.values[value].children);
            children.sort_by_key(|child| self.entry(*child) == Entry::Direct);
            self.values[value].children = children;
        }
    }

    /// The tensor that a value is made of.
    fn tensor_of(&self, mut value: usize) -> usize {
        while let Some(stage) = &self.values[value].stage {
            value = stage.of;
        }
        value
    }

    /// One step for each tensor that is read, in order.
    fn order_steps(&mut self) {
        let tensors: Vec<usize> = (0..self.values.len())
            .filter(|v| self.values[*v].stage.is_none() && *v != self.output)
            .collect();
        let mut last_read = vec![0; self.nodes.len()];
        let mut values = vec![Vec::new(); self.values.len()];
        for (index, value) in self.values.iter().enumerate() {
            let tensor = self.tensor_of(index);
            values[tensor].push(index);
            for node in value
                .products
                .iter()
                .map(|p| p.0)
                .chain(value.adds.iter().copied())
            {
                last_read[node] = last_read[node].max(tensor);
            }
        }
        self.steps = tensors
            .into_iter()
            .map(|tensor| Step {
                tensor,
                values: std::mem::take(&mut values[tensor]),
                finishes: (0..self.nodes.len())
                    .filter(|node| last_read[*node] == tensor)
                    .collect(),
            })
            .collect();
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the client encrypts.
    pub fn input(&self) -> &TensorSpec {
        &self.values[0].spec
    }

    /// What the client decrypts.
    pub fn output(&self) -> &TensorSpec {
        &self.values[self.output].spec
    }

    /// The nodes, in the order of computation.
    pub fn nodes(&self) -> &[PreparedNode] {
        &self.nodes
    }

    /// Images that one set of ciphertexts holds.
    pub fn images(&self) -> usize {
        self.input().layout.images()
    }

    /// Steps of a run.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// What step `step` reads.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn step_input(&self, step: usize) -> &TensorSpec {
        &self.values[self.steps[step].tensor].spec
    }

    /// The nodes that step `step` finishes, with what they give.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn step_outputs(&self, step: usize) -> impl Iterator<Item = (&PreparedNode, &TensorSpec)> {
        self.steps[step].finishes.iter().map(|node| {
            let node = &self.nodes[*node];
            (node, &self.values[node.value].spec)
        })
    }

    /// The part of the network that step `step` works for: that of the first node that it adds to.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn step_stage(&self, step: usize) -> &str {
        let step = &self.steps[step];
        let nodes = step.values.iter().flat_map(|v| {
            let v = &self.values[*v];
            v.products.iter().map(|p| p.0).chain(v.adds.iter().copied())
        });
        nodes.min().map_or("", |node| &self.nodes[node].stage)
    }

    /// Ciphertexts that one run refreshes.
    pub fn refreshes(&self) -> usize {
        let refreshed = |v: &&PreparedValue| v.spec.form == Form::Refreshed;
        let refreshed = self.values.iter().filter(refreshed);
        refreshed.map(|v| v.spec.layout.ciphertexts()).sum()
    }

    /// All switching keys, at the levels of use.
    pub fn required_keys(&self) -> KeyRequest {
        let mut keys = self.movable_keys();
        self.request_fixed_keys(&mut keys);
        keys
    }

    /// All switching keys for rings of degree `2^log_n`, those of refreshes at their levels, all others at `levels`, each of
    /// which serves the levels down to the next. Without any levels they are at the levels of use.
    pub fn keys_at(&self, levels: &[Level], log_n: u32) -> KeyRequest {
        let mut keys = self.movable_keys().reduced(log_n);
        if !levels.is_empty() {
            keys = keys.at_steps(levels);
        }
        self.request_fixed_keys(&mut keys);
        keys.reduced(log_n)
    }

    fn request_fixed_keys(&self, keys: &mut KeyRequest) {
        for stage in self.values.iter().filter_map(|v| v.stage.as_ref()) {
            stage.stage.request_fixed_keys(keys);
        }
    }

    fn movable_keys(&self) -> KeyRequest {
        let mut keys = KeyRequest::new();
        for value in &self.values {
            if let Some(stage) = &value.stage {
                stage.stage.request_keys(&mut keys);
            }
            for step in value.steps.iter().flatten() {
                keys.rotation(*step, value.spec.level);
            }
        }
        for node in &self.nodes {
            node.finish
                .request_keys(&self.values[node.value].spec, &mut keys);
        }
        keys
    }
}
