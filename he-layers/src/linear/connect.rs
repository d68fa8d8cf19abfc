//! Which channels a linear map connects at all: those between which a weight is not zero.

use std::ops::Range;

use super::Linear;
use crate::layout::Layout;

/// Weights by output channel, input channel and tap; for dense layers a pixel takes the place of a tap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights<'a> {
    data: &'a [f64],
    taps: usize,
    /// Output and input channels of a group.
    group: (usize, usize),
}

impl<'a> Weights<'a> {
    pub(super) fn of(linear: &'a Linear) -> Self {
        match linear {
            Linear::Conv(conv) => Self {
                data: &conv.weight,
                taps: conv.taps(),
                group: (conv.out_channels / conv.groups, conv.group_inputs()),
            },
            Linear::Dense(dense) => Self {
                data: &dense.weight,
                taps: dense.input.pixels(),
                group: (dense.outputs, dense.input.channels),
            },
        }
    }

    /// The input channels that output channel `o` may read.
    pub(super) fn inputs_of(&self, o: usize) -> Range<usize> {
        let first = o / self.group.0 * self.group.1;
        first..first + self.group.1
    }

    /// The weights between two channels, one for each tap; none between groups.
    pub(super) fn between(&self, o: usize, i: usize) -> &'a [f64] {
        let inputs = self.inputs_of(o);
        if !inputs.contains(&i) {
            return &[];
        }
        let row = o * self.group.1 + i - inputs.start;
        &self.data[row * self.taps..(row + 1) * self.taps]
    }

    pub(super) fn at(&self, o: usize, i: usize, tap: usize) -> f64 {
        self.between(o, i).get(tap).copied().unwrap_or(0.0)
    }

    /// Whether all taps have one weight, for every pair of channels.
    pub(super) fn is_uniform(&self) -> bool {
        let mut pairs = self.data.chunks_exact(self.taps);
        pairs.all(|taps| taps.iter().all(|w| *w == taps[0]))
    }
}

/// Pairs of an output and an input sub-position that connected channels have.
#[derive(Clone, Debug)]
pub(super) struct SubPairs {
    ins: usize,
    connected: Vec<bool>,
}

impl SubPairs {
    pub(super) fn contains(&self, out_sub: usize, in_sub: usize) -> bool {
        let pair = out_sub * self.ins + in_sub;
        in_sub < self.ins && self.connected.get(pair).is_some_and(|c| *c)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let all = self.connected.iter().enumerate();
        all.filter(|(_, connected)| **connected)
            .map(|(index, _)| (index / self.ins, index % self.ins))
    }
}

/// An input block that an output block reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlockLink {
    pub block: usize,
    /// Both blocks have all their channels, and no weight between them is zero.
    pub full: bool,
}

/// What connects with what.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    /// For each output block the input blocks that it reads, in order.
    pub blocks: Vec<Vec<BlockLink>>,
    pub subs: SubPairs,
}

impl Connections {
    pub(super) fn new(weights: &Weights, input: &Layout, output: &Layout) -> Self {
        let (ins, outs) = (input.channels_per_ct(), output.channels_per_ct());
        let mut subs = SubPairs {
            ins,
            connected: vec![false; ins * outs],
        };
        let mut links = |row: usize| {
            // Pairs of channels with a weight, and without zeros, for each input block.
            let mut counts = vec![(0, 0); input.blocks()];
            let channels = row * outs..((row + 1) * outs).min(output.shape().channels);
            for o in channels {
                for i in weights.inputs_of(o) {
                    let taps = weights.between(o, i);
                    let zeros = taps.iter().filter(|w| **w == 0.0).count();
                    if zeros < taps.len() {
                        let count = &mut counts[i / ins];
                        count.0 += 1;
                        count.1 += usize::from(zeros == 0);
                        subs.connected[o % outs * ins + i % ins] = true;
                    }
                }
            }
            let links = counts.into_iter().enumerate();
            links
                .filter(|(_, (any, _))| *any > 0)
                .map(|(block, (_, whole))| BlockLink {
                    block,
                    full: whole == ins * outs,
                })
                .collect()
        };
        Self {
            blocks: (0..output.blocks()).map(&mut links).collect(),
            subs,
        }
    }

    /// Output blocks that need not be told apart: they read the same input blocks, all of them fully.
    pub(super) fn classes(&self) -> Vec<(&[BlockLink], Vec<usize>)> {
        let mut classes: Vec<(&[BlockLink], Vec<usize>)> = Vec::new();
        for (row, links) in self.blocks.iter().enumerate() {
            let full = links.iter().all(|link| link.full);
            let known = classes.iter_mut().find(|(l, _)| full && *l == links);
            match known {
                Some((_, rows)) => rows.push(row),
                None => classes.push((links, vec![row])),
            }
        }
        classes
    }
}
