//! A prepared program on plain slots: what the encrypted run computes, without its noise.

use num_complex::Complex64;
use rayon::prelude::*;

use super::description::{Program, Source};
use super::prepared::PreparedProgram;
use crate::error::LayerError;
use crate::layout::{Layout, Packing};
use crate::pointwise::Pointwise;
use crate::tensor::PlainTensor;

/// Which weights a reference computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// The weights as they are.
    Exact,
    /// The weights as the encrypted run rounds them, its mean correction included.
    Rounded,
}

type Slots = Vec<Vec<Complex64>>;

impl PreparedProgram {
    /// The network on plain slot vectors of the input's layout, cyclic rotations over all slots included: with exact
    /// weights, or with weights rounded as the encrypted run rounds them. `program` is what this was prepared from.
    ///
    /// # Errors
    /// [`LayerError::Count`] if `x` is not of the input's layout.
    pub fn forward_slots(
        &self,
        program: &Program,
        x: Slots,
        weights: Weights,
    ) -> Result<Slots, LayerError> {
        self.input().layout.check_slots(&x)?;
        let mut tensors: Vec<Option<Slots>> = vec![None; self.values.len()];
        tensors[0] = Some(x);
        for step in &self.steps {
            let tensor = tensors[step.tensor].take().unwrap_or_default();
            self.spread(program, step.tensor, &tensor, weights, &mut tensors)?;
        }
        Ok(tensors[self.output].take().unwrap_or_default())
    }

    /// Adds what the readers of a value, and of its stages, make of it.
    fn spread(
        &self,
        program: &Program,
        value: usize,
        x: &Slots,
        weights: Weights,
        tensors: &mut [Option<Slots>],
    ) -> Result<(), LayerError> {
        let prepared = &self.values[value];
        for &node in &prepared.adds {
            add(&mut tensors[self.nodes[node].value], x);
        }
        for &(node, product) in &prepared.products {
            let node = &self.nodes[node];
            let y = node.products[product].forward_slots(x, weights)?;
            add(&mut tensors[node.value], &y);
        }
        for &child in &prepared.children {
            if let Source::Stage(_, stage) = &program.values()[child].source {
                let y = map(stage.as_ref(), &prepared.spec.layout, x);
                self.spread(program, child, &y, weights, tensors)?;
            }
        }
        Ok(())
    }

    /// The network with rounded weights on up to [`Self::images`] images: what is left between this and an encrypted run is
    /// noise alone.
    ///
    /// # Errors
    /// [`LayerError::Batch`] or [`LayerError::Shape`] for other images.
    pub fn forward_rounded(
        &self,
        program: &Program,
        images: &PlainTensor,
    ) -> Result<PlainTensor, LayerError> {
        let slots = self.input().layout.pack(images)?;
        let slots = self.forward_slots(program, slots, Weights::Rounded)?;
        self.output().layout.unpack(&slots, images.n)
    }
}

fn add(sum: &mut Option<Slots>, x: &Slots) {
    match sum {
        None => *sum = Some(x.clone()),
        Some(sum) => {
            let terms = x.iter().flatten();
            sum.iter_mut()
                .flatten()
                .zip(terms)
                .for_each(|(sum, term)| *sum += term);
        }
    }
}

/// A stage on plain slots. Cells of no channel are treated as channels of zeros are: what they hold is never read.
fn map(stage: &dyn Pointwise, layout: &Layout, x: &Slots) -> Slots {
    let cells = layout.grid().cells();
    let one = |(index, slots): (usize, &Vec<Complex64>)| {
        let block = index / layout.ciphertexts_per_block();
        let channels: Vec<Option<usize>> = (0..cells)
            .map(|cell| layout.channel_at(block, cell))
            .collect();
        let value =
            |(slot, z): (usize, &Complex64)| match (channels[slot % cells], layout.packing()) {
                (None, _) => Complex64::default(),
                (Some(c), Packing::Real) => Complex64::new(stage.evaluate(z.re, c), 0.0),
                (Some(c), Packing::Complex) => {
                    Complex64::new(stage.evaluate(z.re, c), stage.evaluate(z.im, c))
                }
            };
        slots.iter().enumerate().map(value).collect()
    };
    x.par_iter().enumerate().map(one).collect()
}
