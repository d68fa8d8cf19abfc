//! Every linear map as one thing: rotations of ciphertexts and products with periodic weights.
//!
//! Output ciphertext `m` is `Y_m = fold(sum over giant steps u of rot_u(sum over (k, t) of P[m, u, k, t] * rot_t(X_k))) +
//! bias_m`, where `rot_r` moves slot `j + r` to slot `j` (cyclically over all slots), and each `P` is one real number or a
//! vector of reals with the grid's number of cells as period. Zero padding, and that a rotation brings in cells of the
//! neighbouring image, are zeros of those vectors. `fold` sums cells (some dense layers; otherwise nothing).

use std::sync::Arc;

use super::Linear;
use super::connect::{Connections, Weights};
use super::conv::BiasMap;
use super::costs::RotationCosts;
use super::gather::{DenseLinks, clean_rotations};
use super::links::ConvLinks;
use super::product::{ProductTask, Products};
use super::term::{Links, Term};
use crate::checks::check_array;
use crate::error::LayerError;
use crate::layout::{Layout, Packing};
use crate::tensor::Chw;

/// One weight of a product.
#[derive(Clone, Debug, PartialEq)]
pub enum TermWeight {
    /// Nothing.
    Zero,
    /// The same number in every cell: no mask.
    Constant(f64),
    /// One number a cell.
    Masked(Vec<f64>),
}

impl TermWeight {
    /// The weight at a cell.
    pub(crate) fn at(&self, cell: usize) -> f64 {
        match self {
            TermWeight::Zero => 0.0,
            TermWeight::Constant(w) => *w,
            TermWeight::Masked(w) => w[cell],
        }
    }
}

/// A linear map compiled for an input layout and an output layout. Cells of the output that hold no number are zero, except
/// behind a folded dense layer.
///
/// Clones share what was compiled. It depends on shapes, grid and which weights are zero, not on slots, packing or level:
/// see [`Self::with_slots`].
#[derive(Clone, Debug)]
pub struct LinearMap {
    pub(super) linear: Arc<Linear>,
    pub(super) plan: Arc<Plan>,
    pub(super) input: Layout,
    pub(super) output: Layout,
    pub(super) input_mean: Vec<f64>,
}

/// What compiling finds out.
#[derive(Debug)]
pub(super) struct Plan {
    pub links: Links,
    /// By output phase.
    pub terms: Vec<Vec<Term>>,
    pub tasks: Vec<ProductTask>,
    /// Rotations of each input ciphertext, and of inner sums of each output.
    babies: Vec<Vec<i64>>,
    giants: Vec<Vec<i64>>,
    pub fold: Vec<i64>,
    bias: BiasMap,
    /// For each cell of the input the sub-position whose numbers it holds, in any phase.
    pub input_subs: Vec<Option<u32>>,
}

impl LinearMap {
    /// Compiles a map. The rotations are split such that they cost least by `costs`.
    ///
    /// A convolution takes any output layout of its output shape; [`Linear::output_layout`] is the one that needs the fewest
    /// rotations. For a dense layer see [`Self::dense_layout`].
    ///
    /// # Errors
    /// [`LayerError::LayoutsDiffer`] if the layouts do not share grid, packing and slots; [`LayerError::Shape`] if the
    /// output layout does not have the map's output shape; [`LayerError::Spacing`] or [`LayerError::ChannelsPerCiphertext`] if
    /// it is none of a dense layer; and those of [`Linear::validate`] and [`Linear::output_shape`].
    pub fn compile(
        linear: &Arc<Linear>,
        input: &Layout,
        output: &Layout,
        costs: &RotationCosts,
    ) -> Result<Self, LayerError> {
        linear.validate()?;
        let name = linear.name();
        let shape = linear.output_shape(input.shape())?;
        if output.shape() != shape {
            return Err(LayerError::Shape {
                layer: name.to_owned(),
                found: output.shape(),
                expected: shape,
            });
        }
        check_partners(name, input, output)?;
        let weights = Weights::of(linear);
        let connections = Connections::new(&weights, input, output);
        let mut fold = Vec::new();
        let (links, mut terms, bias, uniform) = match &**linear {
            Linear::Conv(conv) => {
                let axes = conv.axes(input.shape());
                let subs = connections.subs.clone();
                let (links, terms) = ConvLinks::new(axes, input, output, subs, costs);
                let bias = conv.bias_map(input.shape());
                (Links::Conv(links), terms, bias, false)
            }
            Linear::Dense(dense) => {
                let group = folded_group(output)?;
                let (links, terms) = DenseLinks::new(input, output, group, costs);
                if let Some(group) = group {
                    let steps = std::iter::successors(Some(group), |r| Some(r * 2));
                    let steps = steps.take_while(|r| *r < input.grid().cells());
                    fold.extend(steps.map(|r| r as i64));
                }
                let bias = BiasMap::uniform(shape, &dense.bias);
                (Links::Dense(links), terms, bias, weights.is_uniform())
            }
        };
        let cells = input.grid().cells();
        links.set_periods(&mut terms, cells, uniform);
        let products = Products {
            weights,
            links: &links,
            terms: &terms,
            connections: &connections,
            input,
            output,
        };
        let tasks = products.tasks();
        let held = |cell| input.channel_at(0, cell).and(input.sub_position(cell));
        let sub = |cell| held(cell).map(|sub| sub as u32);
        let mut babies = vec![Vec::new(); input.ciphertexts()];
        let mut giants = vec![Vec::new(); output.ciphertexts()];
        for task in &tasks {
            task.inputs
                .iter()
                .for_each(|(ciphertext, baby)| babies[*ciphertext].push(*baby));
            task.outputs
                .iter()
                .for_each(|ciphertext| giants[*ciphertext].push(task.giant));
        }
        for steps in babies.iter_mut().chain(&mut giants) {
            steps.sort_unstable();
            steps.dedup();
        }
        let plan = Plan {
            links,
            terms,
            tasks,
            babies,
            giants,
            fold,
            bias,
            input_subs: (0..cells).map(sub).collect(),
        };
        Ok(Self {
            linear: Arc::clone(linear),
            plan: Arc::new(plan),
            input: input.clone(),
            output: output.clone(),
            input_mean: vec![0.0; input.shape().channels],
        })
    }

    /// The output layout of a dense layer of `outputs` outputs that needs the fewest rotations, for input in `input`.
    ///
    /// With `clean`, all cells that hold no output are zero, as pointwise stages need it that come after; about
    /// `2 sqrt(cells)` rotations of each input ciphertext and each output. Without, outputs may be folded, which leaves
    /// mixtures of images in other cells: fewer rotations, for the end of a network.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn dense_layout(outputs: usize, input: &Layout, clean: bool) -> Result<Layout, LayerError> {
        let whole = input.with_shape(Chw::new(outputs, 1, 1))?;
        let (cells, room) = (input.grid().cells(), whole.channels_per_ct());
        if clean || room == 1 {
            return Ok(whole);
        }
        let folded = |group: usize| {
            let used = group.min(outputs);
            let giants = group + used - 2;
            outputs.div_ceil(group) * (giants + (cells / group).ilog2() as usize)
        };
        let groups = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < room);
        let rotations = groups.map(|n| (folded(n), n));
        match rotations.min_by_key(|(count, _)| *count) {
            Some((count, group))
                if count <= clean_rotations(input, &whole, &RotationCosts::default()) =>
            {
                whole.with_channels_per_ct(group)
            }
            _ => Ok(whole),
        }
    }

    /// The same map in ciphertexts of `slots` complex slots and with packing `packing`, without compiling it again.
    ///
    /// # Errors
    /// As [`Layout::with_slots`].
    pub fn with_slots(&self, slots: usize, packing: Packing) -> Result<Self, LayerError> {
        Ok(Self {
            linear: Arc::clone(&self.linear),
            plan: Arc::clone(&self.plan),
            input: self.input.clone().with_slots(slots, packing)?,
            output: self.output.clone().with_slots(slots, packing)?,
            input_mean: self.input_mean.clone(),
        })
    }

    /// The same map with the mean of each input channel, which the mean correction of rounded weights takes into account.
    ///
    /// # Errors
    /// [`LayerError::ParameterLength`] if there is not one mean a channel.
    pub fn with_input_mean(mut self, mean: &[f64]) -> Result<Self, LayerError> {
        let channels = self.input.shape().channels;
        check_array(self.name(), "input mean", mean, channels)?;
        self.input_mean = mean.to_vec();
        Ok(self)
    }

    /// Name of the map.
    pub fn name(&self) -> &str {
        self.linear.name()
    }

    /// What is compiled.
    pub fn linear(&self) -> &Arc<Linear> {
        &self.linear
    }

    /// Layout of the input.
    pub fn input(&self) -> &Layout {
        &self.input
    }

    /// Layout of the output.
    pub fn output(&self) -> &Layout {
        &self.output
    }

    /// The products.
    pub fn tasks(&self) -> &[ProductTask] {
        &self.plan.tasks
    }

    /// Rotations, in slots, by which an output is summed with itself one after another, after the giant steps.
    pub fn fold(&self) -> &[i64] {
        &self.plan.fold
    }

    /// For each input ciphertext the rotations of it that products read, sorted, zero among them if it is read as it is.
    pub fn baby_steps(&self) -> &[Vec<i64>] {
        &self.plan.babies
    }

    /// For each output ciphertext the giant steps of its inner sums, sorted, zero among them where it occurs.
    pub fn giant_steps(&self) -> &[Vec<i64>] {
        &self.plan.giants
    }

    /// The largest absolute value of a weight.
    pub(crate) fn largest_weight(&self) -> f64 {
        let weights = match &*self.linear {
            Linear::Conv(conv) => &conv.weight,
            Linear::Dense(dense) => &dense.weight,
        };
        weights.iter().fold(0.0, |most: f64, w| most.max(w.abs()))
    }

    /// The bias of an output ciphertext, less the accumulated mean error of its weights.
    pub(crate) fn bias_plane(&self, output: usize, mut correction: Vec<f64>) -> Vec<f64> {
        let cells = correction.len();
        for &step in self.fold() {
            correction = (0..cells)
                .map(|c| correction[c] + correction[(c + step as usize) % cells])
                .collect();
        }
        let bias = |cell: usize| {
            let pixel = self.output.pixel_at(output, cell);
            pixel.map_or(0.0, |(c, y, x)| self.plan.bias.at(c, y, x))
        };
        let cells = correction.into_iter().enumerate();
        cells
            .map(|(cell, correction)| bias(cell) - correction)
            .collect()
    }
}

/// The cells of a folded group of a dense output layout; none if the layout is clean.
fn folded_group(output: &Layout) -> Result<Option<usize>, LayerError> {
    let whole = output.with_shape(output.shape())?;
    if output.spacing() != whole.spacing() {
        return Err(LayerError::Spacing {
            shape: output.shape(),
            grid: output.grid(),
            spacing: output.spacing(),
        });
    }
    let group = output.channels_per_ct();
    if group == whole.channels_per_ct() {
        return Ok(None);
    }
    if !group.is_power_of_two() {
        return Err(LayerError::ChannelsPerCiphertext {
            found: group,
            room: whole.channels_per_ct(),
        });
    }
    Ok(Some(group))
}

fn check_partners(layer: &str, input: &Layout, output: &Layout) -> Result<(), LayerError> {
    let key = |l: &Layout| (l.grid(), l.packing(), l.slots());
    if key(input) != key(output) {
        return Err(LayerError::LayoutsDiffer {
            layer: layer.to_owned(),
            in_grid: input.grid(),
            in_packing: input.packing(),
            in_slots: input.slots(),
            out_grid: output.grid(),
            out_packing: output.packing(),
            out_slots: output.slots(),
        });
    }
    Ok(())
}
