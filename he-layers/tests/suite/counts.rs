//! Predicted work and memory of runs, against what evaluator and pool count.

use ckks_scheme::Level;
use ckks_scheme::counts::Work;
use he_layers::{Chw, Grid, OpCounts, Packing, PreparedProgram, Program, Share, cost};

use crate::lab::{Lab, residual_network, threads};

/// Predicted work of a whole run, with keys at the levels of use.
pub fn predicted(lab: &Lab, prepared: &PreparedProgram, at_a_time: usize) -> Work {
    predicted_of(lab, prepared, at_a_time, Share::whole())
}

/// As [`predicted`], in one process of several that make a run together.
pub fn predicted_of(lab: &Lab, prepared: &PreparedProgram, at_a_time: usize, share: Share) -> Work {
    let cells = prepared.input().layout.grid().cells();
    let mut counts = OpCounts::default();
    for step in 0..prepared.steps() {
        let phases = prepared.phases_of(step, at_a_time, share);
        phases.iter().for_each(|phase| counts.extend(&phase.counts));
    }
    cost::work(&counts, &lab.params.counts(), &|l| l, cells, &|_| {
        Work::default()
    })
}

/// Most limbs of ciphertexts of each step, and what one thread holds beside, as predicted.
pub fn predicted_limbs(
    lab: &Lab,
    prepared: &PreparedProgram,
    at_a_time: usize,
) -> Vec<(usize, usize)> {
    let chain = lab.params.chain();
    let step = |step| {
        let counts = prepared.op_counts(step, at_a_time);
        let temporary = cost::temporary_limbs(&counts, chain, &|l: Level| l);
        let thread = temporary + prepared.working_limbs(step);
        (prepared.peak_limbs(step, at_a_time), thread)
    };
    (0..prepared.steps()).map(step).collect()
}

/// Checks that no step of a run held more than predicted.
pub fn check_bound(
    lab: &Lab,
    prepared: &PreparedProgram,
    (at_a_time, threads): (usize, usize),
    peaks: &[usize],
    what: &str,
) {
    let predicted = predicted_limbs(lab, prepared, at_a_time);
    assert_eq!(predicted.len(), peaks.len());
    for (step, ((ciphertexts, thread), found)) in predicted.into_iter().zip(peaks).enumerate() {
        let bound = ciphertexts + threads * thread;
        assert!(
            *found <= bound,
            "{what}, step {step}: {found} limbs of {bound}"
        );
    }
}

/// Checks that a wide network's steps hold about what is predicted: at least 0.85 of that where ciphertexts are most of it,
/// at least 0.8 for the largest step of one thread.
fn check_limbs(
    lab: &Lab,
    prepared: &PreparedProgram,
    (at_a_time, threads): (usize, usize),
    peaks: &[usize],
    what: &str,
) {
    check_bound(lab, prepared, (at_a_time, threads), peaks, what);
    let most = *peaks.iter().max().unwrap();
    let predicted = predicted_limbs(lab, prepared, at_a_time);
    for (step, ((ciphertexts, thread), found)) in predicted.into_iter().zip(peaks).enumerate() {
        let bound = ciphertexts + threads * thread;
        let words = format!("{what}, step {step}: {found} limbs of {bound}");
        let share = *found as f64 / bound as f64;
        if 7 * threads * thread < bound {
            assert!(share >= 0.85, "{words}, {thread} a thread");
        } else if threads == 1 && *found == most {
            assert!(share >= 0.8, "{words}, {thread} a thread");
        }
    }
}

/// Work and memory of runs of `program` on several grids, in both packings, with several numbers of blocks at a time.
fn check(lab: &mut Lab, program: &Program, shape: Chw, grids: &[Grid]) {
    for packing in [Packing::Real, Packing::Complex] {
        for grid in grids {
            let layout = lab.layout(shape, *grid, packing);
            let prepared = program.prepare(&lab.preparation(layout)).unwrap();
            let x = lab.images(&prepared);
            for (at_a_time, workers) in [(1, 1), (2, 1), (64, 2)] {
                let outcome = threads(workers).install(|| lab.run(&prepared, &x, at_a_time));
                let what = format!("{packing}, grid {grid}, {at_a_time} blocks, {workers} threads");
                assert_eq!(predicted(lab, &prepared, at_a_time), outcome.work, "{what}");
                check_limbs(lab, &prepared, (at_a_time, workers), &outcome.peaks, &what);
            }
        }
    }
}

#[test]
fn residual_network_takes_the_work_and_memory_that_are_predicted() {
    let mut lab = Lab::new(10, 7, 1);
    let program = residual_network(&mut lab.rng, 8, 8);
    let grids = [Grid::new(4, 8), Grid::new(8, 8), Grid::new(2, 2)];
    check(&mut lab, &program, Chw::new(3, 8, 8), &grids);
}

#[test]
fn wide_network_is_mostly_ciphertexts_and_predicted_closely() {
    let mut lab = Lab::new(9, 7, 2);
    let program = residual_network(&mut lab.rng, 8, 32);
    let layout = lab.layout(Chw::new(3, 8, 8), Grid::new(4, 8), Packing::Complex);
    let prepared = program.prepare(&lab.preparation(layout)).unwrap();
    let large = |(ciphertexts, thread): &(usize, usize)| 14 * thread < *ciphertexts;
    assert!(
        predicted_limbs(&lab, &prepared, 8)
            .iter()
            .filter(|l| large(l))
            .count()
            >= 3
    );
    let x = lab.images(&prepared);
    for (at_a_time, workers) in [(8, 1), (8, 2), (64, 2)] {
        let outcome = threads(workers).install(|| lab.run(&prepared, &x, at_a_time));
        let what = format!("{at_a_time} blocks, {workers} threads");
        check_limbs(&lab, &prepared, (at_a_time, workers), &outcome.peaks, &what);
    }
}
