//! Changing graphs in place.

use std::sync::Arc;

use he_layers::Linear;

use crate::graph::{Graph, Node, NodeId, Op};

/// A graph that is being changed. Nodes may lose their readers; [`Self::finish`] drops those.
pub(super) struct Rewrite {
    pub graph: Graph,
    root: NodeId,
}

impl Rewrite {
    pub(super) fn new(graph: &Graph) -> Self {
        Self {
            graph: graph.clone(),
            root: graph.output(),
        }
    }

    /// A graph with the nodes of another one still to be added.
    pub(super) fn empty(graph: &Graph) -> Self {
        let graph = Graph {
            name: graph.name.clone(),
            input: graph.input,
            nodes: Vec::new(),
        };
        Self {
            graph,
            root: NodeId(0),
        }
    }

    /// Adds a node, which gives the logits until another is added.
    pub(super) fn push(&mut self, name: impl Into<String>, inputs: Vec<NodeId>, op: Op) -> NodeId {
        let name = name.into();
        self.graph.nodes.push(Node { name, inputs, op });
        self.root = self.graph.output();
        self.root
    }

    pub(super) fn push_linear(&mut self, input: NodeId, map: impl Into<Linear>) -> NodeId {
        let map = map.into();
        let name = map.name().to_owned();
        self.push(name, vec![input], Op::Linear(Arc::new(map)))
    }

    /// Lets all who read `from` read `to` instead.
    pub(super) fn bypass(&mut self, from: NodeId, to: NodeId) {
        for node in &mut self.graph.nodes {
            for input in &mut node.inputs {
                if *input == from {
                    *input = to;
                }
            }
        }
        if self.root == from {
            self.root = to;
        }
    }

    /// Whether `reader` alone reads `node`, once, and it does not give the logits.
    pub(super) fn is_only_reader(&self, node: NodeId, reader: NodeId) -> bool {
        let inputs = self.graph.nodes.iter().enumerate();
        let mut readers = inputs.flat_map(|(i, n)| n.inputs.iter().map(move |id| (i, *id)));
        let of_others = readers.any(|(i, id)| id == node && i != reader.0);
        let once = self
            .graph
            .node(reader)
            .inputs
            .iter()
            .filter(|id| **id == node)
            .count()
            == 1;
        !of_others && once && self.root != node
    }

    /// The graph without nodes that nobody reads.
    pub(super) fn finish(self) -> Graph {
        let Self { mut graph, root } = self;
        graph.nodes.truncate(root.0 + 1);
        let mut needed = vec![false; graph.nodes.len()];
        // The input stays, whatever happens.
        (needed[0], needed[root.0]) = (true, true);
        for i in (0..graph.nodes.len()).rev() {
            if needed[i] {
                graph.nodes[i]
                    .inputs
                    .iter()
                    .for_each(|id| needed[id.0] = true);
            }
        }
        let mut positions = vec![NodeId(0); graph.nodes.len()];
        let mut kept = Vec::with_capacity(graph.nodes.len());
        for (i, mut node) in graph
            .nodes
            .into_iter()
            .enumerate()
            .filter(|(i, _)| needed[*i])
        {
            node.inputs.iter_mut().for_each(|id| *id = positions[id.0]);
            positions[i] = NodeId(kept.len());
            kept.push(node);
        }
        graph.nodes = kept;
        graph
    }
}
