//! What can be checked of a model file without its weights.

use std::collections::BTreeSet;

use he_layers::pointwise::Refresh;

use super::{FORMAT, INPUT, ModelSpec, OpSpec, ReluApproximation};
use crate::ModelError;

/// Largest number of channels, rows, columns or outputs that a model file may ask for.
pub(crate) const MAX_EXTENT: usize = 1 << 16;
/// Largest number of values in one feature map, and of weights that a node without a tensor stands for.
pub(crate) const MAX_MAP: usize = 1 << 26;
/// Largest number of nodes.
const MAX_NODES: usize = 10_000;
/// Longest name in bytes.
const MAX_NAME: usize = 256;
/// Highest degree of a polynomial.
const MAX_DEGREE: usize = 1023;

impl ModelSpec {
    /// Checks everything that can be checked without the weights and the shapes.
    ///
    /// # Errors
    /// [`ModelError::Format`] for another version, else [`ModelError::Value`] or [`ModelError::Node`], naming the first
    /// field that is wrong.
    pub fn validate(&self) -> Result<(), ModelError> {
        if self.format != FORMAT {
            return Err(ModelError::Format {
                file: self.name.clone(),
                found: self.format,
                expected: "2",
            });
        }
        if self.name.trim().is_empty() {
            return Err(self.value("name", "empty", "a name"));
        }
        self.check_text("name", &self.name)?;
        self.validate_weights_file()?;
        self.input.validate(&self.name)?;
        if self.classes.is_empty() || self.classes.len() > MAX_EXTENT {
            let found = format!("{} names", self.classes.len());
            return Err(self.value("classes", found, format!("1 to {MAX_EXTENT}, one a logit")));
        }
        for (i, class) in self.classes.iter().enumerate() {
            self.check_text(&format!("classes[{i}]"), class)?;
        }
        self.validate_nodes()?;
        self.validate_statistics()?;
        if let Some(accuracy) = self.provenance.accuracy
            && !(0.0..=1.0).contains(&accuracy)
        {
            return Err(self.value(
                "provenance.accuracy",
                format!("{accuracy:?}"),
                "a fraction from 0 to 1",
            ));
        }
        Ok(())
    }

    /// Refuses what would spoil a message or a report.
    fn check_text(&self, field: &str, text: &str) -> Result<(), ModelError> {
        if text.chars().any(char::is_control) {
            return Err(self.value(field, format!("`{text}`"), "no control characters"));
        }
        if text.len() > MAX_NAME {
            let found = format!("{} bytes", text.len());
            return Err(self.value(field, found, format!("at most {MAX_NAME}")));
        }
        Ok(())
    }

    fn validate_weights_file(&self) -> Result<(), ModelError> {
        let file = &self.weights.file;
        self.check_text("weights.file", file)?;
        if file.is_empty() || file.contains(['/', '\\']) || file == ".." || file == "." {
            return Err(self.value(
                "weights.file",
                format!("`{file}`"),
                "the name of a file beside the model file",
            ));
        }
        if let Some(sum) = &self.weights.sha256
            && (sum.len() != 64 || !sum.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            let found = format!("`{sum}`");
            return Err(self.value("weights.sha256", found, "64 hexadecimal digits"));
        }
        Ok(())
    }

    fn validate_nodes(&self) -> Result<(), ModelError> {
        if self.nodes.is_empty() || self.nodes.len() > MAX_NODES {
            let found = format!("{} nodes", self.nodes.len());
            return Err(self.value("nodes", found, format!("1 to {MAX_NODES}")));
        }
        let mut unread = BTreeSet::new();
        let mut names = BTreeSet::from([INPUT]);
        for (i, node) in self.nodes.iter().enumerate() {
            let at = |field: &str| format!("nodes[{i}].{field}");
            self.check_text(&at("name"), &node.name)?;
            let count = node.inputs.len();
            let fits = if node.op.joins() {
                count >= 2
            } else {
                count == 1
            };
            if !fits {
                let expected = if node.op.joins() { "2 or more" } else { "1" };
                return Err(ModelError::node(
                    &node.name,
                    "number of inputs",
                    count,
                    expected,
                ));
            }
            for input in &node.inputs {
                if !names.contains(input.as_str()) {
                    let found = format!("`{input}`");
                    let expected = format!("`{INPUT}` or the name of an earlier node");
                    return Err(ModelError::node(&node.name, "input", found, expected));
                }
                unread.remove(input);
            }
            if node.name.trim().is_empty() || !names.insert(&node.name) {
                let found = format!("`{}`", node.name);
                let expected = "a name that no other node has, nor the input";
                return Err(self.value(&at("name"), found, expected));
            }
            unread.insert(&node.name);
            node.op.validate(&node.name)?;
        }
        let last = &self.nodes[self.nodes.len() - 1].name;
        match unread.into_iter().find(|name| *name != last) {
            Some(name) => Err(ModelError::node(
                name,
                "output",
                "read by no node",
                "a reader",
            )),
            None => Ok(()),
        }
    }

    fn validate_statistics(&self) -> Result<(), ModelError> {
        if self.activations.is_empty() {
            return Ok(());
        }
        let expected: Vec<&str> = self.activation_names().collect();
        if self.activations.len() != expected.len() {
            let found = format!("{} entries", self.activations.len());
            let expected = format!("{}, one an activation, or none", expected.len());
            return Err(self.value("activations", found, expected));
        }
        for (i, (found, name)) in self.activations.iter().zip(expected).enumerate() {
            let at = |field: &str| format!("activations[{i}].{field}");
            if found.name != name {
                let found = format!("`{}`", found.name);
                return Err(self.value(&at("name"), found, format!("`{name}`")));
            }
            let fields = [
                ("declared", &found.declared),
                ("second_moment", &found.second_moment),
            ];
            for (field, values) in fields {
                if let Some(bad) = values.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
                    return Err(self.value(
                        &at(field),
                        format!("{bad:?}"),
                        "finite values from 0 on",
                    ));
                }
            }
            for (c, (range, moment)) in found.declared.iter().zip(&found.second_moment).enumerate()
            {
                if *moment > range * range {
                    let field = format!("{}[{c}]", at("second_moment"));
                    let expected = format!("at most the square of declared[{c}] = {range:?}");
                    return Err(self.value(&field, format!("{moment:?}"), expected));
                }
            }
        }
        Ok(())
    }
}

impl OpSpec {
    /// Checks the numbers of an operation by themselves; how they fit the maps is checked with the shapes.
    fn validate(&self, node: &str) -> Result<(), ModelError> {
        let positive = |what: &str, n: usize| match n {
            1..=MAX_EXTENT => Ok(()),
            _ => Err(ModelError::node(
                node,
                what,
                n,
                format!("1 to {MAX_EXTENT}"),
            )),
        };
        let pair = |what: &str, (rows, columns): (usize, usize)| {
            positive(&format!("{what} rows"), rows)?;
            positive(&format!("{what} columns"), columns)
        };
        let padding = |(top, left, bottom, right): (usize, usize, usize, usize)| match [
            top, left, bottom, right,
        ]
        .into_iter()
        .max()
        {
            Some(most) if most > MAX_EXTENT => Err(ModelError::node(
                node,
                "padding",
                most,
                format!("at most {MAX_EXTENT}"),
            )),
            _ => Ok(()),
        };
        match self {
            Self::Conv2d {
                channels,
                kernel,
                stride,
                padding: zeros,
                dilation,
                groups,
                ..
            } => {
                positive("channels", *channels)?;
                positive("groups", *groups)?;
                pair("kernel", *kernel)?;
                pair("stride", *stride)?;
                pair("dilation", *dilation)?;
                padding(*zeros)
            }
            Self::AvgPool {
                kernel,
                stride,
                padding: zeros,
            } => {
                pair("kernel", *kernel)?;
                pair("stride", *stride)?;
                padding(*zeros)
            }
            Self::Dense { outputs, .. } => positive("outputs", *outputs),
            Self::Slice { from, to } if from >= to => Err(ModelError::node(
                node,
                "slice",
                format!("{from}..{to}"),
                "at least one channel",
            )),
            Self::BatchNorm { epsilon, .. } if !(epsilon.is_finite() && *epsilon >= 0.0) => {
                Err(ModelError::node(
                    node,
                    "epsilon",
                    format!("{epsilon:?}"),
                    "a finite number from 0 on",
                ))
            }
            Self::Polynomial {
                coefficients,
                interval: (from, to),
            } => {
                if coefficients.is_empty() || coefficients.len() > MAX_DEGREE + 1 {
                    let found = coefficients.len();
                    let expected = format!("1 to {}", MAX_DEGREE + 1);
                    return Err(ModelError::node(
                        node,
                        "number of coefficients",
                        found,
                        expected,
                    ));
                }
                if !coefficients.iter().all(|c| c.is_finite()) {
                    return Err(ModelError::node(
                        node,
                        "a coefficient",
                        "not finite",
                        "finite",
                    ));
                }
                if !(from.is_finite() && to.is_finite() && from < to && (to - from).is_finite()) {
                    let found = format!("{from:?} to {to:?}");
                    return Err(ModelError::node(
                        node,
                        "interval",
                        found,
                        "an ascending one",
                    ));
                }
                Ok(())
            }
            Self::Relu { approximation } => approximation.validate(node),
            Self::BatchNorm { .. }
            | Self::Slice { .. }
            | Self::Affine { .. }
            | Self::Quadratic { .. }
            | Self::Add
            | Self::Concat
            | Self::GlobalAvgPool
            | Self::Flatten => Ok(()),
        }
    }
}

impl ReluApproximation {
    fn validate(&self, node: &str) -> Result<(), ModelError> {
        match self {
            Self::Polynomial { degree } if !(1..=MAX_DEGREE).contains(degree) => {
                let expected = format!("1 to {MAX_DEGREE}");
                Err(ModelError::node(
                    node,
                    "degree of its polynomial",
                    degree,
                    expected,
                ))
            }
            Self::Refresh { harmonics } if !(1..=Refresh::MAX_HARMONICS).contains(harmonics) => {
                let expected = format!("1 to {}", Refresh::MAX_HARMONICS);
                Err(ModelError::node(
                    node,
                    "harmonics of its series",
                    harmonics,
                    expected,
                ))
            }
            Self::Composite { degrees, gap } => {
                let odd = |d: &usize| d % 2 == 1 && *d <= 63;
                if degrees.is_empty() || degrees.len() > 16 || !degrees.iter().all(odd) {
                    let found = format!("{degrees:?}");
                    let expected = "1 to 16 odd numbers up to 63";
                    return Err(ModelError::node(
                        node,
                        "degrees of its sign",
                        found,
                        expected,
                    ));
                }
                if !(*gap > 0.0 && *gap < 1.0) {
                    return Err(ModelError::node(
                        node,
                        "gap of its sign",
                        gap,
                        "between 0 and 1",
                    ));
                }
                Ok(())
            }
            Self::Polynomial { .. } | Self::Refresh { .. } => Ok(()),
        }
    }
}
