//! What holds for all plans: on random networks, batches, machines and pins.

use he_layers::Program;
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, PlanError};
use proptest::prelude::*;

use crate::networks::{GIB, chain, kernel, machine, pins, task};

/// A small network without any place where a refresh would pay.
fn network() -> impl Strategy<Value = Program> {
    let channels = prop::collection::vec(1..6usize, 2..5);
    (prop::sample::select(vec![4usize, 8]), channels)
        .prop_map(|(side, channels)| chain("random", side, &channels))
}

/// Numbers of cores from 2 to 192: every machine has all choices of those below it.
fn cores() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![
        2usize, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192,
    ])
}

/// Batches from 1 to 4096, small ones as often as large ones.
fn batch() -> impl Strategy<Value = usize> {
    (0..12u32, 0.0..1.0f64).prop_map(|(log, part)| {
        let least = 1usize << log;
        least + (part * least as f64) as usize
    })
}

/// A machine of so many cores.
fn of_cores(threads: usize, memory_bytes: u64) -> Machine {
    Machine {
        threads,
        ..machine(memory_bytes)
    }
}

fn choose(
    program: &Program,
    batch: usize,
    machine: &Machine,
    pinned: &[&str],
) -> Result<Plan, PlanError> {
    planner::choose(&task(program, batch), machine, &pins(pinned), &kernel())
}

/// The least memory that a plan needs.
fn least(program: &Program, batch: usize, threads: usize, pinned: &[&str]) -> u64 {
    match choose(program, batch, &of_cores(threads, 1), pinned) {
        Err(PlanError::Memory { needed_bytes, .. }) => needed_bytes,
        other => panic!("{other:?}"),
    }
}

const PINNED: [&str; 2] = ["log_n=14", "bootstrap=never"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn prop_more_memory_is_never_slower_and_plans_stay_within_it(
        program in network(),
        batch in batch(),
        threads in cores(),
        more in prop::collection::vec(1.0..3.0f64, 3),
    ) {
        let mut memory = least(&program, batch, threads, &PINNED);
        let below = of_cores(threads, memory - 1);
        prop_assert!(choose(&program, batch, &below, &PINNED).is_err());
        let mut last = f64::INFINITY;
        for factor in std::iter::once(1.0).chain(more) {
            memory = (memory as f64 * factor) as u64;
            let plan = choose(&program, batch, &of_cores(threads, memory), &PINNED).unwrap();
            let forecast = plan.forecast;
            prop_assert!(forecast.predicted_peak_bytes <= memory);
            prop_assert!(forecast.pool_bytes <= forecast.predicted_peak_bytes);
            let steps = forecast.steps.iter().chain(forecast.last.iter().flat_map(|l| &l.steps));
            for step in steps {
                prop_assert!(step.pool_bytes <= forecast.pool_bytes);
                prop_assert!((1..=threads).contains(&step.threads(threads)));
            }
            let seconds = forecast.predicted_seconds_infer;
            prop_assert!(seconds <= last, "{seconds} with {memory} bytes, {last} with fewer");
            last = seconds;
        }
    }

    #[test]
    fn prop_more_threads_are_never_slower(
        program in network(),
        batch in batch(),
        (few, many) in (cores(), cores()),
        factor in 1.0..2.0f64,
    ) {
        let (few, many) = (few.min(many), few.max(many));
        // Room for what each thread of the larger machine takes whatever it does.
        let memory = (least(&program, batch, many, &PINNED) as f64 * factor) as u64 + GIB;
        let seconds = |threads| {
            let plan = choose(&program, batch, &of_cores(threads, memory), &PINNED);
            plan.unwrap().forecast.predicted_seconds_infer
        };
        let (slow, fast) = (seconds(few), seconds(many));
        prop_assert!(fast <= slow, "{fast} on {many} threads, {slow} on {few}");
        prop_assert!(slow <= fast * (many / few + 1) as f64, "more than one can expect");
    }

    #[test]
    fn prop_pins_are_obeyed_or_refused(
        program in network(),
        batch in batch(),
        log_n in 13..15u32,
        is_complex in any::<bool>(),
        (rows, columns) in (0..5u32, 0..5u32),
        prime_bits in 36..=50u32,
        digits in 1..=6usize,
        blocks in 1..=5usize,
    ) {
        let (rows, columns) = (1usize << rows, 1usize << columns);
        let packing = if is_complex { "complex" } else { "real" };
        let pinned = [
            format!("log_n={log_n}"),
            format!("packing={packing}"),
            format!("grid={rows}x{columns}"),
            format!("prime_bits={prime_bits}"),
            format!("digits={digits}"),
            format!("blocks={blocks}"),
            "bootstrap=never".to_owned(),
            "groups=equal".to_owned(),
        ];
        let pinned: Vec<&str> = pinned.iter().map(String::as_str).collect();
        match choose(&program, batch, &of_cores(8, 64 * GIB), &pinned) {
            Ok(plan) => {
                let d = plan.decisions;
                prop_assert_eq!((d.params.log_n, d.params.digits), (log_n, digits));
                prop_assert!(d.params.q_bits.iter().all(|bits| *bits == prime_bits));
                prop_assert_eq!(d.packing.to_string(), packing);
                prop_assert_eq!(d.grid.to_string(), format!("{rows}x{columns}"));
                prop_assert!(d.blocks_at_a_time.iter().all(|b| *b == blocks));
                prop_assert!(d.last.is_none() && d.bootstrap.is_none());
            }
            Err(error) => {
                // In one sentence, that names the network or the pin.
                let words = error.to_string();
                prop_assert!(!words.contains('\n') && words.len() > 20, "{}", words);
            }
        }
    }
}
