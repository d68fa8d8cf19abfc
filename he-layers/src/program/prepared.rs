//! A program fixed for a ring, a layout and levels: what it consists of, and the keys that it needs.

use ckks_scheme::{KeyRequest, Level, Scale};

use super::product::{Finish, Product};
use crate::pointwise::PreparedPointwise;
use crate::spec::{Form, TensorSpec};

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

impl PreparedProgram {
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

    /// Lets go of what carries out refreshes, with its matrices and its hold on the limb pool. The program can still be
    /// evaluated in the clear and asked about; a run would be refused ([`LayerError::NoRefresher`]).
    ///
    /// [`LayerError::NoRefresher`]: crate::LayerError::NoRefresher
    pub fn release_refreshers(&mut self) {
        let stages = self.values.iter_mut().filter_map(|v| v.stage.as_mut());
        stages.for_each(|stage| stage.stage.release_refresher());
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
