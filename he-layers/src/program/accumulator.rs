//! Sums of products, kept by output ciphertext and giant step until all inputs have been absorbed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use ckks_scheme::{
    Ciphertext, EncodeError, EvalError, Evaluator, PeriodicMatrix, PeriodicPlain, Scale,
};
use num_complex::Complex64;
use rayon::prelude::*;

use super::share::{Partial, Share};
use crate::linear::{LinearMap, ProductTask, TermWeight};
use crate::rounding::{Grain, MeanError, period, periodic};
use crate::spec::TensorSpec;

/// Inner sums of an output that are rotated one after another with one last part of the key switch for all. More of them run
/// in parallel; a fixed number, so that results do not depend on the number of threads.
pub(crate) const GIANTS_A_SUM: usize = 8;

/// The rotations of one input ciphertext, by step.
pub(crate) type Rotations = BTreeMap<i64, Ciphertext>;

/// Output ciphertexts with what rounding some of their weights does to the mean, one number a cell.
type Corrections = Vec<(usize, Vec<f64>)>;

/// An inner sum: of an output ciphertext, and the giant step by which it is rotated in the end.
pub(crate) type Inner = (usize, i64);

/// Accumulates products of one or several maps with one output.
#[derive(Debug)]
pub(crate) struct Accumulator<'a> {
    evaluator: &'a Evaluator,
    output: &'a TensorSpec,
    /// The output's channel blocks that are finished here.
    share: Share,
    /// For each output ciphertext its inner sums by giant step.
    sums: Vec<BTreeMap<i64, Ciphertext>>,
    /// For each output ciphertext the mean error of its rounded weights, one number a cell, before any fold.
    corrections: Vec<Vec<MeanError>>,
}

impl<'a> Accumulator<'a> {
    pub(crate) fn new(evaluator: &'a Evaluator, output: &'a TensorSpec, share: Share) -> Self {
        let n = output.layout.ciphertexts();
        let cells = output.layout.grid().cells();
        Self {
            evaluator,
            output,
            share,
            sums: (0..n).map(|_| BTreeMap::new()).collect(),
            corrections: vec![vec![MeanError::default(); cells]; n],
        }
    }

    /// The accumulator that had these sums, for each output by giant step, and these corrections, output by output.
    pub(crate) fn restore(
        evaluator: &'a Evaluator,
        output: &'a TensorSpec,
        sums: Vec<BTreeMap<i64, Ciphertext>>,
        corrections: &[MeanError],
    ) -> Self {
        let cells = output.layout.grid().cells();
        Self {
            evaluator,
            output,
            share: Share::whole(),
            sums,
            corrections: corrections.chunks(cells).map(<[_]>::to_vec).collect(),
        }
    }

    /// The inner sums, output by output and there by giant step.
    pub(crate) fn ciphertexts(&self) -> impl Iterator<Item = &Ciphertext> {
        self.sums.iter().flat_map(BTreeMap::values)
    }

    /// Mean errors of rounded weights, output by output and there cell by cell.
    pub(crate) fn corrections(&self) -> impl Iterator<Item = MeanError> {
        self.corrections.iter().flatten().copied()
    }

    /// Adds a ciphertext of the output's level and scale to output `index`.
    pub(crate) fn add(&mut self, index: usize, ct: Ciphertext) -> Result<(), EvalError> {
        match self.sums[index].get_mut(&0) {
            Some(sum) => self.evaluator.add_assign(sum, &ct)?,
            None => {
                self.sums[index].insert(0, ct);
            }
        }
        Ok(())
    }

    /// Adds the products of channel blocks `blocks` of the input, in ranges; `inputs` holds the rotations of their ciphertexts.
    /// `share` says for which outputs, in this step.
    pub(crate) fn absorb(
        &mut self,
        map: &LinearMap,
        weight_scale: Scale,
        blocks: &[Range<usize>],
        inputs: &[Rotations],
        share: Share,
    ) -> Result<(), EvalError> {
        let per_block = map.input().ciphertexts_per_block();
        let places: HashMap<usize, usize> = blocks
            .iter()
            .cloned()
            .flatten()
            .zip((0..).step_by(per_block))
            .collect();
        let tasks: Vec<Part> = map
            .tasks()
            .iter()
            .map(|task| Part {
                task,
                rows: self.rows_of(task, share),
                cols: task.columns_of(blocks).flatten().collect(),
            })
            .filter(|part| !part.rows.is_empty() && !part.cols.is_empty())
            .collect();

        let grain = map.grain(weight_scale);

        // Hand every product its own sums.
        let mut owners = HashMap::new();
        for (index, part) in tasks.iter().enumerate() {
            let giant = part.task.giant();
            for output in part.outputs() {
                owners.insert((output, giant), index);
                if !self.sums[output].contains_key(&giant) {
                    let zero = self.evaluator.zero(self.output.level, self.output.scale)?;
                    self.sums[output].insert(giant, zero);
                }
            }
        }
        let mut sums: Vec<Vec<&mut Ciphertext>> = tasks.iter().map(|_| Vec::new()).collect();
        for (output, by_giant) in self.sums.iter_mut().enumerate() {
            for (giant, sum) in by_giant {
                if let Some(index) = owners.get(&(output, *giant)) {
                    sums[*index].push(sum);
                }
            }
        }

        let product = |(part, mut sums): (Part<'_>, Vec<&mut Ciphertext>)| {
            let x: Vec<&Ciphertext> = part
                .cols
                .iter()
                .map(|col| &part.task.inputs()[*col])
                .map(|(index, baby)| {
                    let place = places[&(index / per_block)];
                    &inputs[place + index % per_block][baby]
                })
                .collect();
            let (weights, corrections) = round_weights(map, &part, (weight_scale, grain))?;
            self.evaluator.matmul_accumulate(&mut sums, &x, &weights)?;
            Ok(corrections)
        };
        let corrections: Vec<Corrections> = tasks
            .into_par_iter()
            .zip(sums)
            .map(product)
            .collect::<Result<_, EvalError>>()?;
        for (output, correction) in corrections.into_iter().flatten() {
            self.corrections[output]
                .iter_mut()
                .zip(correction)
                .for_each(|(a, b)| *a += MeanError::new(b));
        }
        Ok(())
    }

    /// Takes out inner sums, and the mean errors of outputs.
    pub(crate) fn take(&mut self, sums: &[Inner], outputs: &[usize]) -> Partial {
        let taken = |(output, giant): &Inner| self.sums[*output].remove(giant);
        Partial {
            sums: sums.iter().filter_map(taken).collect(),
            errors: outputs
                .iter()
                .flat_map(|output| std::mem::take(&mut self.corrections[*output]))
                .collect(),
        }
    }

    /// Adds what another process has of these inner sums and of the mean errors of these outputs; as much of it as there is.
    pub(crate) fn put(
        &mut self,
        sums: &[Inner],
        outputs: &[usize],
        partial: Partial,
    ) -> Result<(), EvalError> {
        let evaluator = self.evaluator.spread_limbs();
        for ((output, giant), ct) in sums.iter().zip(partial.sums) {
            match self.sums[*output].get_mut(giant) {
                Some(sum) => evaluator.add_assign(sum, &ct)?,
                None => {
                    self.sums[*output].insert(*giant, ct);
                }
            }
        }
        let mut errors = partial.errors.into_iter();
        for output in outputs {
            let own = self.corrections[*output].iter_mut();
            own.zip(errors.by_ref()).for_each(|(a, b)| *a += b);
        }
        Ok(())
    }

    /// The rows of a product that are summed here.
    fn rows_of(&self, task: &ProductTask, share: Share) -> Vec<usize> {
        let per_block = self.output.layout.ciphertexts_per_block();
        let outputs = task.outputs().iter().enumerate();
        outputs
            .filter(|(_, output)| share.sums(**output / per_block))
            .map(|(row, _)| row)
            .collect()
    }

    /// Whether an output ciphertext is finished here.
    fn owns(&self, output: usize) -> bool {
        let per_block = self.output.layout.ciphertexts_per_block();
        self.share.owns(output / per_block)
    }

    /// Rotates the inner sums and adds them up, folds, and adds the biases of `maps`, all those that were absorbed. Gives the
    /// outputs that are finished here, in order.
    pub(crate) fn finish(self, maps: &[&LinearMap]) -> Result<Vec<Ciphertext>, EvalError> {
        let own: Vec<bool> = (0..self.sums.len()).map(|at| self.owns(at)).collect();
        let Self {
            evaluator,
            output,
            sums,
            corrections,
            ..
        } = self;
        // A thread that waits for limbs takes up another sum: there must be no more of them than threads have temporaries for.
        let summed = sums.iter().zip(&own).filter(|(_, own)| **own);
        let parts = summed.map(|(sums, _)| sums.len().div_ceil(GIANTS_A_SUM).max(1));
        let are_few = parts.sum::<usize>() < rayon::current_num_threads();
        let spread = are_few.then(|| evaluator.spread_limbs());
        let evaluator = spread.as_ref().unwrap_or(evaluator);
        let finish =
            |(index, (sums, correction)): (usize, (BTreeMap<i64, Ciphertext>, Vec<MeanError>))| {
                let mut sum = rotated_sum(evaluator, output, sums)?;
                // Maps that meet in one sum have the same fold.
                for step in maps.first().map_or(&[][..], |map| map.fold()) {
                    let turned = evaluator.rotate(&sum, *step)?;
                    evaluator.add_assign(&mut sum, &turned)?;
                }
                let mut bias = vec![0.0; correction.len()];
                for (n, map) in maps.iter().enumerate() {
                    // The mean error is common to all maps: taken off with the first.
                    let error = match n {
                        0 => correction.iter().map(|error| error.value()).collect(),
                        _ => vec![0.0; correction.len()],
                    };
                    bias.iter_mut()
                        .zip(map.bias_plane(index, error))
                        .for_each(|(a, b)| *a += b);
                }
                if maps.is_empty() {
                    return Ok(sum);
                }
                let unit = output.layout.packing().unit();
                let cells: Vec<Complex64> = periodic(bias).iter().map(|b| unit * b).collect();
                evaluator
                    .add_periodic_assign(&mut sum, &PeriodicPlain::new(&cells, output.scale)?)?;
                Ok(sum)
            };
        sums.into_par_iter()
            .zip(corrections)
            .enumerate()
            .filter(|(index, _)| own[*index])
            .map(finish)
            .collect()
    }
}

/// The rows and columns of a product that are multiplied at a time.
struct Part<'a> {
    task: &'a ProductTask,
    rows: Vec<usize>,
    cols: Vec<usize>,
}

impl Part<'_> {
    /// Output ciphertexts of the rows.
    fn outputs(&self) -> impl Iterator<Item = usize> {
        self.rows.iter().map(|row| self.task.outputs()[*row])
    }
}

fn rotated_sum(
    evaluator: &Evaluator,
    output: &TensorSpec,
    mut sums: BTreeMap<i64, Ciphertext>,
) -> Result<Ciphertext, EvalError> {
    if sums.keys().any(|giant| *giant != 0) {
        let terms: Vec<(&Ciphertext, i64)> =
            sums.iter().map(|(giant, sum)| (sum, *giant)).collect();
        let parts: Vec<_> = terms
            .par_chunks(GIANTS_A_SUM)
            .map(|terms| evaluator.rotate_sum(terms))
            .collect::<Result<_, _>>()?;
        let mut parts = parts.into_iter();
        let mut total = parts.next().expect("a giant step makes a part");
        parts.try_for_each(|part| evaluator.add_assign(&mut total, &part))?;
        return Ok(total);
    }
    match sums.remove(&0) {
        Some(sum) => Ok(sum),
        None => evaluator.zero(output.level, output.scale),
    }
}

/// The weights of a part of a product as the evaluator takes them, and for each output ciphertext the mean error that rounding
/// them causes.
fn round_weights(
    map: &LinearMap,
    part: &Part<'_>,
    (scale, grain): (Scale, Grain),
) -> Result<(PeriodicMatrix, Corrections), EncodeError> {
    let Part { task, rows, cols } = part;
    let cells = map.input().grid().cells();
    let mut matrix = PeriodicMatrix::new(rows.len(), cols.len(), period(cells), scale)?;
    let outputs = part.outputs().map(|output| (output, vec![0.0; cells]));
    let mut corrections: Corrections = outputs.collect();
    for (at, &col) in cols.iter().enumerate() {
        let column = map.column(task, col);
        for (to, (row, (_, correction))) in rows.iter().zip(&mut corrections).enumerate() {
            let exact = column.weight(*row);
            let rounded = match &exact {
                TermWeight::Zero => continue,
                TermWeight::Constant(w) => TermWeight::Constant(matrix.set_scalar(to, at, *w)?),
                TermWeight::Masked(w) => TermWeight::Masked(matrix.set_masked(to, at, w)?),
            };
            column.add_mean_error(correction, &exact, &rounded, grain);
        }
    }
    Ok((matrix, corrections))
}
