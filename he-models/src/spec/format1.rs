//! Format 1: pre-activation residual networks as a list of blocks. Read, and made into a graph.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{
    ActivationStatistics, FORMAT, INPUT, InputSpec, NodeSpec, OpSpec, Provenance, WeightsSpec,
};
use crate::ModelError;

/// The content of a model file of format 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelSpec {
    #[serde(rename = "format")]
    _format: u32,
    name: String,
    dataset: String,
    weights: WeightsSpec,
    input: InputSpec,
    classes: Vec<String>,
    layers: Vec<LayerSpec>,
    #[serde(default)]
    activations: Vec<ActivationStatistics>,
    #[serde(default)]
    provenance: Provenance,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum LayerSpec {
    /// The first convolution.
    Stem {
        name: String,
        channels: usize,
        #[serde(default = "three")]
        kernel: usize,
        #[serde(default = "one")]
        stride: usize,
    },
    /// `h = act1(x)`, `x <- shortcut + conv2(act2(conv1(h)))`, the shortcut being `x` or a 1x1 convolution of `h`.
    PreActBlock {
        name: String,
        channels: usize,
        #[serde(default = "three")]
        kernel: usize,
        #[serde(default = "one")]
        stride: usize,
        shortcut: Shortcut,
    },
    /// A last activation, the average over all pixels, and a dense layer.
    Head { activation: String, dense: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Shortcut {
    Identity,
    Projection,
}

fn one() -> usize {
    1
}

fn three() -> usize {
    3
}

impl LayerSpec {
    fn kind(&self) -> &'static str {
        match self {
            Self::Stem { .. } => "Stem",
            Self::PreActBlock { .. } => "PreActBlock",
            Self::Head { .. } => "Head",
        }
    }

    /// The fields that name tensors, with their values.
    fn names(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Stem { name, .. } | Self::PreActBlock { name, .. } => vec![("name", name)],
            Self::Head { activation, dense } => vec![("activation", activation), ("dense", dense)],
        }
    }
}

impl ModelSpec {
    /// The same network in the present format.
    pub(super) fn upgrade(self) -> Result<super::ModelSpec, ModelError> {
        self.check()?;
        let mut graph = Nodes::default();
        for layer in &self.layers {
            match layer {
                LayerSpec::Stem {
                    name,
                    channels,
                    kernel,
                    stride,
                } => graph.stream = graph.conv(name.clone(), INPUT, *channels, *kernel, *stride),
                LayerSpec::PreActBlock {
                    name,
                    channels,
                    kernel,
                    stride,
                    shortcut,
                } => graph.block(name, *channels, *kernel, *stride, *shortcut),
                LayerSpec::Head { activation, dense } => {
                    graph.head(activation, dense, self.classes.len());
                }
            }
        }
        Ok(super::ModelSpec {
            format: FORMAT,
            name: self.name,
            dataset: self.dataset,
            weights: self.weights,
            input: self.input,
            classes: self.classes,
            nodes: graph.nodes,
            activations: self.activations,
            provenance: self.provenance,
        })
    }

    /// What format 1 asks for beyond what any graph has to keep to.
    fn check(&self) -> Result<(), ModelError> {
        let last = self.layers.len().saturating_sub(1);
        if last == 0 {
            let found = format!("{} layers", self.layers.len());
            return Err(self.value("layers", found, "a stem, blocks and a head"));
        }
        let mut names = BTreeSet::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let at = |field: &str| format!("layers[{i}].{field}");
            let expected = match i {
                0 => "Stem",
                _ if i == last => "Head",
                _ => "PreActBlock",
            };
            if layer.kind() != expected {
                return Err(self.value(&format!("layers[{i}]"), layer.kind().into(), expected));
            }
            for (field, name) in layer.names() {
                if name.is_empty() || !names.insert(name) {
                    let found = format!("`{name}`");
                    return Err(self.value(&at(field), found, "a name that no other layer has"));
                }
            }
            if let LayerSpec::Stem { kernel, stride, .. }
            | LayerSpec::PreActBlock { kernel, stride, .. } = layer
            {
                if kernel.is_multiple_of(2) {
                    return Err(self.value(&at("kernel"), kernel.to_string(), "an odd number"));
                }
                if !matches!(stride, 1 | 2) {
                    return Err(self.value(&at("stride"), stride.to_string(), "1 or 2"));
                }
            }
        }
        Ok(())
    }

    fn value(&self, field: &str, found: String, expected: &str) -> ModelError {
        ModelError::Value {
            model: self.name.clone(),
            field: field.to_owned(),
            found,
            expected: expected.to_owned(),
        }
    }
}

/// The graph so far, and the node that holds the residual stream.
#[derive(Default)]
struct Nodes {
    nodes: Vec<NodeSpec>,
    stream: String,
}

impl Nodes {
    fn push(&mut self, name: String, inputs: Vec<String>, op: OpSpec) -> String {
        let node = name.clone();
        self.nodes.push(NodeSpec { name, inputs, op });
        node
    }

    fn conv(
        &mut self,
        name: String,
        input: &str,
        channels: usize,
        kernel: usize,
        stride: usize,
    ) -> String {
        let pad = kernel / 2;
        let op = OpSpec::Conv2d {
            channels,
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: (pad, pad, pad, pad),
            dilation: (1, 1),
            groups: 1,
            weight: format!("{name}.weight"),
            bias: None,
        };
        self.push(name, vec![input.to_owned()], op)
    }

    fn quadratic(&mut self, name: String, input: &str) -> String {
        let [g, t, d] = ["g", "t", "d"].map(|part| format!("{name}.{part}"));
        self.push(name, vec![input.to_owned()], OpSpec::Quadratic { g, t, d })
    }

    fn block(
        &mut self,
        name: &str,
        channels: usize,
        kernel: usize,
        stride: usize,
        shortcut: Shortcut,
    ) {
        let stream = self.stream.clone();
        let hidden = self.quadratic(format!("{name}.act1"), &stream);
        let inner = self.conv(format!("{name}.conv1"), &hidden, channels, kernel, stride);
        let inner = self.quadratic(format!("{name}.act2"), &inner);
        let branch = self.conv(format!("{name}.conv2"), &inner, channels, kernel, 1);
        let skip = match shortcut {
            Shortcut::Identity => stream,
            Shortcut::Projection => {
                self.conv(format!("{name}.shortcut"), &hidden, channels, 1, stride)
            }
        };
        self.stream = self.push(format!("{name}.add"), vec![branch, skip], OpSpec::Add);
    }

    fn head(&mut self, activation: &str, dense: &str, classes: usize) {
        let stream = self.stream.clone();
        let last = self.quadratic(activation.to_owned(), &stream);
        let pool = format!("{activation}.pool");
        let pool = self.push(pool, vec![last], OpSpec::GlobalAvgPool);
        let op = OpSpec::Dense {
            outputs: classes,
            weight: format!("{dense}.weight"),
            bias: Some(format!("{dense}.bias")),
        };
        self.push(format!("{activation}.{dense}"), vec![pool], op);
    }
}
