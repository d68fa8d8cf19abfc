//! Every linear layer as one thing: rotations of ciphertexts and products with periodic weights.
//!
//! Output ciphertext `m` is `Y_m = fold(sum over giant steps u of rot_u(sum over (k, t) of P[m, u, k, t] * rot_t(X_k))) +
//! bias_m`, where `rot_r` moves slot `j + r` to slot `j` (cyclically over all slots), and each `P` is one real number or a
//! vector of reals with the grid's number of cells as period. Zero padding, and that a rotation brings in cells of the
//! neighbouring image, are zeros of those vectors. `fold` sums cells (dense layers; otherwise nothing).

mod estimate;
mod links;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use self::links::{AxisGeometry, Term};
use crate::error::{LayerError, check_array};
use crate::layout::Layout;
use crate::linear::{Conv2d, Dense, Linear};
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

/// A dense product: every inner sum of `outputs`, all of one giant step, takes every rotated input.
///
/// Most (output, rotated input) pairs of a polyphase convolution are structurally empty; grouped by output phase they
/// form dense products.
#[derive(Clone, Debug)]
pub struct ProductTask {
    outputs: Vec<usize>,
    giant: i64,
    inputs: Vec<(usize, i64)>,
    rows: Vec<usize>,
    cols: Vec<Column>,
    out_phase: usize,
}

/// An input of a product: channel block, and index of the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    block: usize,
    term: usize,
}

impl ProductTask {
    /// Output ciphertexts: the rows of the product.
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// The rotation, in slots, of the inner sums that this product adds to.
    pub fn giant(&self) -> i64 {
        self.giant
    }

    /// Input ciphertext and rotation, in slots, of each column; sorted by channel block.
    pub fn inputs(&self) -> &[(usize, i64)] {
        &self.inputs
    }

    /// The columns that read channel blocks `blocks` of the input.
    pub fn columns_of(&self, blocks: Range<usize>) -> Range<usize> {
        let at = |block| self.cols.partition_point(|c| c.block < block);
        at(blocks.start)..at(blocks.end)
    }
}

/// Weights by channel and tap.
#[derive(Clone, Debug)]
struct Kernel {
    in_channels: usize,
    taps: usize,
    weight: Vec<f64>,
    /// Output channel `c` reads input channel `c` only, by the same `taps` weights for all.
    channelwise: bool,
    /// The sum over all pixels is taken.
    summed: bool,
}

impl Kernel {
    fn weight(&self, o: usize, i: usize, tap: usize) -> f64 {
        if self.channelwise {
            self.weight[tap]
        } else {
            self.weight[(o * self.in_channels + i) * self.taps + tap]
        }
    }

    fn connects(&self, o: usize, i: usize) -> bool {
        !self.channelwise || o == i
    }
}

/// A linear layer compiled for an input layout and an output layout.
#[derive(Clone, Debug)]
pub struct LinearMap {
    name: String,
    input: Layout,
    output: Layout,
    kernel: Kernel,
    terms: Vec<Vec<Term>>,
    tasks: Vec<ProductTask>,
    fold: Vec<i64>,
    bias: Vec<Vec<f64>>,
    input_mean: Vec<f64>,
}

impl LinearMap {
    /// Compiles a convolution.
    ///
    /// # Errors
    /// [`LayerError::LayoutsDiffer`] if the layouts do not share grid, packing and slots, [`LayerError::Shape`] if the
    /// output layout has not the convolution's output shape, and those of [`Conv2d::output_shape`].
    pub fn conv(conv: &Conv2d, input: &Layout, output: &Layout) -> Result<Self, LayerError> {
        let shape = conv.output_shape(input.shape())?;
        check_shape(&conv.name, output, shape)?;
        let map = conv.bias_map(input.shape());
        let mut bias = vec![0.0; shape.volume()];
        map.fill(0, &mut bias);
        let kernel = Kernel {
            in_channels: conv.in_channels,
            taps: conv.kernel.0 * conv.kernel.1,
            weight: expanded(conv),
            channelwise: false,
            summed: false,
        };
        Self::compile_conv(conv, kernel, input, output, bias)
    }

    fn compile_conv(
        conv: &Conv2d,
        kernel: Kernel,
        input: &Layout,
        output: &Layout,
        bias: Vec<f64>,
    ) -> Result<Self, LayerError> {
        check_partners(&conv.name, input, output)?;
        let connected = connected_subs(&kernel, input, output);
        let axis = |index: usize| {
            let pick = |(rows, cols): (usize, usize)| if index == 0 { rows } else { cols };
            let pick_axis = |(rows, cols)| if index == 0 { rows } else { cols };
            let pick_conv = |(rows, cols)| if index == 0 { rows } else { cols };
            let sub = |layout: &Layout, sub: usize| {
                let gap_cols = layout.gaps().1;
                pick((sub / gap_cols, sub % gap_cols))
            };
            AxisGeometry {
                input: pick_axis(input.axes()),
                output: pick_axis(output.axes()),
                conv: pick_conv(conv.axes(input.shape())),
                subs: connected
                    .iter()
                    .map(|&(o, i)| (sub(output, o), sub(input, i)))
                    .collect(),
            }
        };
        let blocks = (input.blocks(), output.blocks());
        let keep = |o, i| connected.contains(&(o, i));
        let terms = links::conv_terms(&axis(0), &axis(1), input.grid(), blocks, keep);
        Ok(Self::assemble(
            &conv.name,
            (input, output),
            kernel,
            terms,
            Vec::new(),
            bias,
        ))
    }

    /// Compiles a map.
    pub fn compile(map: &Linear, input: &Layout, output: &Layout) -> Result<Self, LayerError> {
        match map {
            Linear::Conv(conv) => Self::conv(conv, input, output),
            Linear::Dense(dense) => Self::dense(dense, input, output),
        }
    }

    /// Output layout.
    pub fn dense_layout(
        outputs: usize,
        input: &Layout,
        _clean: bool,
    ) -> Result<Layout, LayerError> {
        Self::logit_layout(outputs, input)
    }

    /// Compiles a dense layer, the sum over the pixels folded into it. The output layout has shape `classes x 1 x 1`;
    /// [`Self::logit_layout`] finds the one with the fewest rotations.
    ///
    /// Only the cells that hold classes come out right, the others are mixtures of images.
    ///
    /// # Errors
    /// As [`Self::conv`], and [`LayerError::ChannelsPerCiphertext`] if the number of classes a ciphertext is not a power
    /// of two.
    pub fn dense(dense: &Dense, input: &Layout, output: &Layout) -> Result<Self, LayerError> {
        let name = &dense.name;
        check_shape(name, output, Chw::new(dense.outputs, 1, 1))?;
        check_partners(name, input, output)?;
        let classes_per_ct = output.channels_per_ct();
        let cells = input.grid().cells();
        if !classes_per_ct.is_power_of_two() {
            return Err(LayerError::ChannelsPerCiphertext {
                found: classes_per_ct,
                room: cells,
            });
        }
        let kernel = Kernel {
            in_channels: dense.input.channels,
            taps: 1,
            weight: dense
                .weight
                .iter()
                .step_by(dense.input.pixels())
                .copied()
                .collect(),
            channelwise: false,
            summed: true,
        };
        let used = classes_per_ct.min(dense.outputs);
        let phases = input.ciphertexts_per_block();
        let terms = links::dense_terms(phases, input.grid(), classes_per_ct, used, |cell| {
            input.sub_position(cell)
        });
        let fold = std::iter::successors(Some(classes_per_ct), |r| Some(r * 2))
            .take_while(|r| *r < cells)
            .map(|r| r as i64)
            .collect();
        Ok(Self::assemble(
            name,
            (input, output),
            kernel,
            terms,
            fold,
            dense.bias.clone(),
        ))
    }

    /// The output layout of a head that needs the fewest rotations: how many classes share a ciphertext.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn logit_layout(classes: usize, input: &Layout) -> Result<Layout, LayerError> {
        let one = input.with_shape(Chw::new(classes, 1, 1))?;
        let cells = input.grid().cells();
        let rotations = |per_ct: usize| {
            let used = per_ct.min(classes);
            let giants = per_ct + used - 2;
            classes.div_ceil(per_ct) * (giants + (cells / per_ct).ilog2() as usize)
        };
        let sizes = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n <= cells);
        let best = sizes.min_by_key(|n| rotations(*n)).unwrap_or(1);
        one.with_channels_per_ct(best)
    }

    /// Groups terms into products and lays the bias out in cells. `bias` is given by output channel and pixel.
    fn assemble(
        name: &str,
        (input, output): (&Layout, &Layout),
        kernel: Kernel,
        terms: Vec<Vec<Term>>,
        fold: Vec<i64>,
        bias: Vec<f64>,
    ) -> Self {
        let shape = output.shape();
        let mut planes = vec![vec![0.0; output.grid().cells()]; output.ciphertexts()];
        for (index, value) in bias.into_iter().enumerate() {
            let (pixel, channel) = (index % shape.pixels(), index / shape.pixels());
            let place = output.place(channel, pixel / shape.width, pixel % shape.width);
            planes[place.ciphertext][place.cell] = value;
        }
        let mut map = Self {
            name: name.to_owned(),
            input: input.clone(),
            output: output.clone(),
            kernel,
            terms,
            tasks: Vec::new(),
            fold,
            bias: planes,
            input_mean: vec![0.0; input.shape().channels],
        };
        map.tasks = map.group();
        map
    }

    /// Output blocks that read the same inputs with the same giant step become the rows of one product.
    fn group(&self) -> Vec<ProductTask> {
        let mut tasks = Vec::new();
        for (out_phase, terms) in self.terms.iter().enumerate() {
            let mut by_giant: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
            for (index, term) in terms.iter().enumerate() {
                by_giant.entry(term.giant).or_default().push(index);
            }
            for (giant, indices) in by_giant {
                let mut rows_by_columns: BTreeMap<Vec<Column>, Vec<usize>> = BTreeMap::new();
                for row in 0..self.output.blocks() {
                    let all = (0..self.input.blocks())
                        .flat_map(|block| indices.iter().map(move |&term| Column { block, term }));
                    let cols: Vec<Column> = all
                        .filter(|c| self.is_connected(row, *c, &terms[c.term]))
                        .collect();
                    if !cols.is_empty() {
                        rows_by_columns.entry(cols).or_default().push(row);
                    }
                }
                for (cols, rows) in rows_by_columns {
                    let input = |c: &Column| {
                        let term = &terms[c.term];
                        (
                            c.block * self.input.ciphertexts_per_block() + term.in_phase,
                            term.baby,
                        )
                    };
                    tasks.push(ProductTask {
                        outputs: rows
                            .iter()
                            .map(|r| r * self.output.ciphertexts_per_block() + out_phase)
                            .collect(),
                        giant,
                        inputs: cols.iter().map(input).collect(),
                        rows,
                        cols,
                        out_phase,
                    });
                }
            }
        }
        tasks
    }

    /// Whether any channel of output block `row` reads any channel of the column's block through the term.
    fn is_connected(&self, row: usize, column: Column, term: &Term) -> bool {
        term.links
            .iter()
            .any(|link| self.channels_of(row, column.block, link).is_some())
    }

    fn channels_of(&self, row: usize, block: usize, link: &links::Link) -> Option<(usize, usize)> {
        let o = self.output.channel_of(row, link.out_sub)?;
        let i = self.input.channel_of(block, link.in_sub)?;
        self.kernel.connects(o, i).then_some((o, i))
    }

    /// The same map with the mean of each input channel, which the mean correction of rounded weights takes into account.
    ///
    /// # Errors
    /// [`LayerError::ParameterLength`] if there is not one mean a channel.
    pub fn with_input_mean(mut self, mean: &[f64]) -> Result<Self, LayerError> {
        check_array(&self.name, "input mean", mean, self.input.shape().channels)?;
        self.input_mean = mean.to_vec();
        Ok(self)
    }

    /// Name of the layer.
    pub fn name(&self) -> &str {
        &self.name
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
        &self.tasks
    }

    /// Rotations, in slots, by which an output is summed with itself one after another, after the giant steps.
    pub fn fold(&self) -> &[i64] {
        &self.fold
    }

    /// The bias of each output ciphertext, one number a cell.
    pub fn bias(&self) -> &[Vec<f64>] {
        &self.bias
    }

    /// For each input ciphertext the rotations of it that products read, sorted, zero among them if it is read as it is.
    pub fn baby_steps(&self) -> Vec<Vec<i64>> {
        let mut steps = vec![BTreeSet::new(); self.input.ciphertexts()];
        for task in &self.tasks {
            for &(ciphertext, baby) in &task.inputs {
                steps[ciphertext].insert(baby);
            }
        }
        steps.into_iter().map(|s| s.into_iter().collect()).collect()
    }

    /// For each output ciphertext the giant steps of its inner sums, sorted, zero among them where it occurs.
    pub fn giant_steps(&self) -> Vec<Vec<i64>> {
        let mut steps = vec![BTreeSet::new(); self.output.ciphertexts()];
        for task in &self.tasks {
            for &output in &task.outputs {
                steps[output].insert(task.giant);
            }
        }
        steps.into_iter().map(|s| s.into_iter().collect()).collect()
    }

    /// The weight of row `row` and column `col` of a product of this map.
    pub fn weight(&self, task: &ProductTask, row: usize, col: usize) -> TermWeight {
        let column = task.cols[col];
        let term = &self.terms[task.out_phase][column.term];
        let cells = self.input.grid().cells();
        let value = |link: &links::Link| {
            self.channels_of(task.rows[row], column.block, link)
                .map_or(0.0, |(o, i)| self.kernel.weight(o, i, link.tap))
        };
        if term.is_constant() {
            let w = value(&term.links[0]);
            return if w == 0.0 {
                TermWeight::Zero
            } else {
                TermWeight::Constant(w)
            };
        }
        let mut mask = vec![0.0; cells];
        for link in &term.links {
            let w = value(link);
            for &cell in &link.cells {
                mask[cell as usize] += w;
            }
        }
        if mask.iter().all(|v| *v == mask[0]) {
            return if mask[0] == 0.0 {
                TermWeight::Zero
            } else {
                TermWeight::Constant(mask[0])
            };
        }
        TermWeight::Masked(mask)
    }

    /// Adds to a correction plane, one number a cell of an output, what a weight's deviation from its exact value
    /// contributes at the input's mean.
    pub(crate) fn add_mean_error(
        &self,
        plane: &mut [f64],
        (task, col): (&ProductTask, usize),
        exact: &TermWeight,
        rounded: &TermWeight,
    ) {
        if *exact == TermWeight::Zero {
            return;
        }
        let cells = plane.len() as i64;
        let mean = self
            .input
            .channel_plane(task.cols[col].block, &self.input_mean);
        for inner in 0..cells {
            let error = rounded.at(inner as usize) - exact.at(inner as usize);
            let from = (inner + task.inputs[col].1).rem_euclid(cells) as usize;
            let to = (inner - task.giant).rem_euclid(cells) as usize;
            plane[to] += error * mean[from];
        }
    }

    /// The bias of an output ciphertext, less the accumulated mean error of its weights.
    pub(crate) fn bias_plane(&self, output: usize, mut correction: Vec<f64>) -> Vec<f64> {
        let cells = correction.len();
        for &step in &self.fold {
            correction = (0..cells)
                .map(|c| correction[c] + correction[(c + step as usize) % cells])
                .collect();
        }
        self.bias[output]
            .iter()
            .zip(correction)
            .map(|(b, c)| b - c)
            .collect()
    }
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

/// Pairs of output and input sub-positions that some pair of connected channels has.
fn connected_subs(kernel: &Kernel, input: &Layout, output: &Layout) -> BTreeSet<(usize, usize)> {
    let (ins, outs) = (input.shape().channels, output.shape().channels);
    if kernel.channelwise {
        (0..ins)
            .map(|c| (c % output.channels_per_ct(), c % input.channels_per_ct()))
            .collect()
    } else {
        let (ins, outs) = (
            ins.min(input.channels_per_ct()),
            outs.min(output.channels_per_ct()),
        );
        (0..outs)
            .flat_map(|o| (0..ins).map(move |i| (o, i)))
            .collect()
    }
}

fn check_shape(layer: &str, output: &Layout, expected: Chw) -> Result<(), LayerError> {
    if output.shape() != expected {
        return Err(LayerError::Shape {
            layer: layer.to_owned(),
            found: output.shape(),
            expected,
        });
    }
    Ok(())
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

/// Weights of a convolution without groups that does the same.
fn expanded(conv: &Conv2d) -> Vec<f64> {
    let (kh, kw) = conv.kernel;
    let mut weight = Vec::with_capacity(conv.out_channels * conv.in_channels * kh * kw);
    for o in 0..conv.out_channels {
        for i in 0..conv.in_channels {
            let taps = (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx)));
            weight.extend(taps.map(|(ky, kx)| conv.weight_at(o, i, ky, kx)));
        }
    }
    weight
}
