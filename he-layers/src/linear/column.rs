//! The weights of one column of a product: of one rotated input, for all outputs.

use std::ops::ControlFlow;

use ckks_scheme::Scale;

use super::connect::Weights;
use super::map::{LinearMap, TermWeight};
use super::product::ProductTask;
use crate::rounding::Grain;

/// Error of the transform of a weight and back, over the largest weight: far more than it is.
const TRANSFORM_ERROR: f64 = 1e-10;

/// What the weights of a column have in common, worked out once for all its rows.
pub(crate) struct ColumnWeights<'a> {
    map: &'a LinearMap,
    task: &'a ProductTask,
    weights: Weights<'a>,
    is_constant: bool,
    /// Where the weights stand: the first one alone, if all cells have the same.
    places: Vec<Place>,
    /// Mean of the input where the product reads it, by cell of the weights; zero where there is no number.
    mean: Vec<f64>,
}

/// A cell of the weights, with what it connects.
#[derive(Clone, Copy)]
struct Place {
    cell: usize,
    out_sub: usize,
    in_channel: usize,
    tap: usize,
}

impl LinearMap {
    /// The grain of mean errors when weights are rounded at a scale: the same for all parts of a product. Of a weight, each of two
    /// coefficients a cell is off by half a unit at most.
    pub(crate) fn grain(&self, scale: Scale) -> Grain {
        let mean = self
            .input_mean
            .iter()
            .fold(0.0, |most: f64, m| most.max(m.abs()));
        let columns = self
            .tasks()
            .iter()
            .map(|task| task.cols.len())
            .max()
            .unwrap_or(0);
        let rounding = self.input.grid().cells() as f64 / scale.value();
        let transform = TRANSFORM_ERROR * self.largest_weight();
        Grain::new(mean * columns as f64 * (rounding + transform))
    }

    /// The weights of column `col` of a product of this map.
    pub(crate) fn column<'a>(&'a self, task: &'a ProductTask, col: usize) -> ColumnWeights<'a> {
        let column = task.cols[col];
        let term = &self.plan.terms[task.out_phase][column.term];
        let is_constant = term.is_constant();
        let mut places = Vec::new();
        // One link is enough where all cells have the same weight.
        let _ = self.plan.links.visit(term, |link| {
            let in_channel = self.input.channel_of(column.block, link.in_sub);
            places.extend(in_channel.map(|in_channel| Place {
                cell: link.cell,
                out_sub: link.out_sub,
                in_channel,
                tap: link.tap,
            }));
            match is_constant {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let cells = self.input.grid().cells();
        let baby = task.inputs[col].1.rem_euclid(cells as i64) as usize;
        let mean = |cell: usize| {
            let sub = self.plan.input_subs[(cell + baby) % cells]?;
            let channel = self.input.channel_of(column.block, sub as usize)?;
            Some(self.input_mean[channel])
        };
        ColumnWeights {
            map: self,
            task,
            weights: Weights::of(&self.linear),
            is_constant,
            places,
            mean: (0..cells).map(|cell| mean(cell).unwrap_or(0.0)).collect(),
        }
    }
}

impl ColumnWeights<'_> {
    /// The weight of row `row` of the product.
    pub(crate) fn weight(&self, row: usize) -> TermWeight {
        let block = self.task.rows[row];
        let value = |place: &Place| {
            let out_channel = self.map.output.channel_of(block, place.out_sub);
            out_channel.map_or(0.0, |o| self.weights.at(o, place.in_channel, place.tap))
        };
        if self.is_constant {
            return constant(self.places.first().map_or(0.0, value));
        }
        let mut mask = vec![0.0; self.mean.len()];
        for place in &self.places {
            mask[place.cell] = value(place);
        }
        if mask.iter().all(|v| *v == mask[0]) {
            return constant(mask[0]);
        }
        TermWeight::Masked(mask)
    }

    /// Adds to a correction plane, one number a cell of an output, what a weight's deviation from its exact value contributes
    /// at the input's mean, rounded to `grain`.
    pub(crate) fn add_mean_error(
        &self,
        plane: &mut [f64],
        exact: &TermWeight,
        rounded: &TermWeight,
        grain: Grain,
    ) {
        if *exact == TermWeight::Zero {
            return;
        }
        // The weight of cell `c` works at output cell `c - giant`.
        let giant = self.task.giant.rem_euclid(plane.len() as i64) as usize;
        let (first, last) = plane.split_at_mut(plane.len() - giant);
        for (plane, from) in [(first, giant), (last, 0)] {
            let mean = &self.mean[from..];
            match (rounded, exact) {
                (TermWeight::Masked(rounded), TermWeight::Masked(exact)) => {
                    let errors = rounded[from..].iter().zip(&exact[from..]);
                    let errors = errors.map(|(rounded, exact)| rounded - exact);
                    let terms = errors.zip(mean).map(|(error, mean)| error * mean);
                    add(plane, terms, grain);
                }
                _ => {
                    let error = rounded.at(0) - exact.at(0);
                    add(plane, mean.iter().map(|mean| error * mean), grain);
                }
            }
        }
    }
}

/// Adds terms, rounded to `grain`.
fn add(sums: &mut [f64], terms: impl Iterator<Item = f64>, grain: Grain) {
    let sums = sums.iter_mut();
    sums.zip(terms)
        .for_each(|(sum, term)| *sum += grain.round(term));
}

fn constant(weight: f64) -> TermWeight {
    match weight {
        0.0 => TermWeight::Zero,
        weight => TermWeight::Constant(weight),
    }
}
