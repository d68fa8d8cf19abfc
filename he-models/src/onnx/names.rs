//! Names for nodes: those of the PyTorch modules, where the file tells them.

use std::collections::BTreeSet;

use super::proto;
use crate::spec::INPUT;

/// Longest name in bytes, with room for a number behind it.
const MOST: usize = 200;

/// The module that a node belongs to; empty for the network itself.
fn scope(node: &proto::Node) -> String {
    // The newer exporter: "['', 'blocks', 'blocks.0', 'relu']", the last entry being the operation.
    let entry = node
        .metadata
        .iter()
        .find(|e| e.key == "pkg.torch.onnx.name_scopes");
    if let Some(entry) = entry {
        let mut scopes = entry.value.trim_matches(['[', ']']).rsplit(", ").skip(1);
        return scopes
            .next()
            .unwrap_or("")
            .trim_matches(['\'', '"'])
            .to_owned();
    }
    // The older one: "/blocks/blocks.0/Relu".
    let Some((path, _)) = node.name.rsplit_once('/') else {
        return String::new();
    };
    let mut scope = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let continued = part
            .strip_prefix(scope.as_str())
            .is_some_and(|rest| rest.starts_with('.'));
        if scope.is_empty() || continued {
            scope = part.to_owned();
        } else {
            scope = format!("{scope}.{part}");
        }
    }
    scope
}

/// Names that were given.
#[derive(Default)]
pub(super) struct Names {
    used: BTreeSet<String>,
}

impl Names {
    /// A new name for a node with weights: that of its module, which its weight tells best.
    pub(super) fn module(
        &mut self,
        node: &proto::Node,
        weight: Option<&str>,
        kind: &str,
    ) -> String {
        let of_weight = weight
            .and_then(|w| w.strip_suffix(".weight"))
            .map(str::to_owned);
        let name = of_weight.unwrap_or_else(|| scope(node));
        self.unused(if name.is_empty() { kind } else { &name })
    }

    /// A new name for a node without: its module's, and what it does.
    pub(super) fn part(&mut self, node: &proto::Node, kind: &str) -> String {
        let scope = scope(node);
        let name = if scope.is_empty() {
            kind.to_owned()
        } else {
            format!("{scope}.{kind}")
        };
        self.unused(&name)
    }

    fn unused(&mut self, name: &str) -> String {
        let mut clean: String = name
            .chars()
            .map(|c| if c.is_control() { '_' } else { c })
            .collect();
        while clean.len() > MOST {
            clean.pop();
        }
        let numbered = (2..).map(|k| format!("{clean}_{k}"));
        let mut names = std::iter::once(clean.clone()).chain(numbered);
        let free = names.find(|n| n != INPUT && !self.used.contains(n));
        let free = free.unwrap_or(clean);
        self.used.insert(free.clone());
        free
    }
}
