//! Plans for many batches and machines, and the threads of their steps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use ckks_scheme::Evaluator;
use he_layers::{Client, Grid, Packing};
use pipeline::decisions::FORMAT_UNEQUAL;
use pipeline::executor::Executor;
use pipeline::plan::{FewerThreads, Plan, StepForecast};
use pipeline::planner::{self, Machine, PlanError};
use pipeline::progress::Silent;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::networks::{GIB, Small, kernel, lowered, machine, pins, task};
use crate::runs::images;

/// One line a plan, with what matters of it.
fn line(batch: usize, cores: usize, plan: Result<Plan, PlanError>) -> String {
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return format!("{batch:>5} {cores:>4}  {error}"),
    };
    let (d, f) = (plan.decisions, plan.forecast);
    let last = d.last.as_ref().zip(f.last.as_ref());
    let last = last.map_or_else(String::new, |(last, forecast)| {
        format!(" + {} at {} {}", forecast.images, last.packing, last.grid)
    });
    let steps = || {
        f.steps
            .iter()
            .chain(f.last.iter().flat_map(|last| &last.steps))
    };
    let threads = steps().map(|step| step.threads(cores)).min().unwrap_or(0);
    format!(
        "{batch:>5} {cores:>4}  2^{} {} {}, {} of up to {}{last}; keys at {}; {threads} threads or more; {:.2e} s, {:.2} GB",
        d.params.log_n,
        d.packing,
        d.grid,
        f.groups - usize::from(f.last.is_some()),
        f.images_per_group,
        1 + d.key_steps.0.len(),
        f.predicted_seconds_infer,
        f.predicted_peak_bytes as f64 / 1e9
    )
}

/// Memory of a machine: 4 GiB, and half as much for each core.
fn sized(cores: usize) -> Machine {
    Machine {
        threads: cores,
        ..machine(4 * GIB + cores as u64 * GIB / 2)
    }
}

fn lines(model: &str, batches: &[usize], cores: &[usize], pinned: &[&str]) -> String {
    let program = lowered(model).program;
    let pins = pins(pinned);
    let pairs = batches
        .iter()
        .flat_map(|b| cores.iter().map(move |c| (*b, *c)));
    let lines = pairs.map(|(batch, cores)| {
        let plan = planner::choose(&task(&program, batch), &sized(cores), &pins, &kernel());
        line(batch, cores, plan)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn plans_of_many_batches_and_machines_are_as_before() {
    let batches: Vec<usize> = (0..=12).map(|log| 1 << log).collect();
    let tiny = lines("tiny", &batches, &[2, 8, 64, 192], &[]);
    insta::assert_snapshot!("tiny_many", tiny);
    let pinned = ["log_n=16", "bootstrap=never"];
    let resnet20 = lines("resnet20", &[1, 32, 257, 512, 4096], &[2, 64], &pinned);
    insta::assert_snapshot!("resnet20_many", resnet20);
}

#[test]
fn under_a_budget_steps_take_the_threads_that_their_temporaries_leave_room_for() {
    let program = lowered("resnet20").program;
    let choose = |threads, memory| {
        let machine = Machine {
            threads,
            ..machine(memory)
        };
        let pins = pins(&[
            "log_n=16",
            "packing=complex",
            "grid=8x16",
            "bootstrap=never",
        ]);
        planner::choose(&task(&program, 512), &machine, &pins, &kernel())
    };
    let ample = choose(64, 256 * GIB).unwrap();
    assert!(ample.decisions.threads_at_a_time.is_empty());
    assert!(
        ample
            .forecast
            .steps
            .iter()
            .all(|step| step.threads(64) == 64)
    );
    let plan = choose(64, 12 * GIB).unwrap();
    let limited = |step: &StepForecast| match step.fewer_threads {
        Some(FewerThreads::ThatFit(threads)) => Some(threads),
        Some(FewerThreads::ThatHelp(_)) | None => None,
    };
    let steps = &plan.forecast.steps;
    let fewest = steps.iter().filter_map(limited).min();
    assert!(
        fewest.is_some_and(|threads| (1..64).contains(&threads)),
        "{plan}"
    );
    assert!(plan.forecast.predicted_peak_bytes <= 12 * GIB);
    assert_eq!(plan.decisions.threads_at_a_time.len(), steps.len());
    let words = plan.to_string();
    assert!(words.contains("the memory has room for the temporaries of so many threads"));
    // Fewer threads do not need less time: a run on few is no faster than this.
    let few = choose(2, 12 * GIB).unwrap();
    let seconds = |plan: &Plan| plan.forecast.predicted_seconds_infer;
    assert!(seconds(&plan) < seconds(&few) && seconds(&ample) <= seconds(&plan));
}

#[test]
fn one_image_does_not_gain_from_threads_what_a_batch_does() {
    let program = lowered("resnet20").program;
    let seconds = |batch, threads| {
        let machine = Machine {
            threads,
            ..machine(64 * GIB)
        };
        let pins = pins(&["log_n=16", "bootstrap=never"]);
        let plan = planner::choose(&task(&program, batch), &machine, &pins, &kernel());
        plan.unwrap().forecast.predicted_seconds_infer
    };
    let gain = |batch| seconds(batch, 1) / seconds(batch, 64);
    let (one, many) = (gain(1), gain(512));
    assert!(one > 1.5 && one < 40.0, "{one}");
    assert!(many > one && many <= 64.0, "{many}, {one}");
}

#[test]
fn a_run_takes_no_more_threads_than_its_plan_says() {
    let program = lowered("tiny").program;
    let small = Small {
        threads: 3,
        ..Small::new(9, 8, Packing::Real, Grid::new(8, 8))
    };
    let (equal, instance) = small.ready(&program, 4);
    let (params, prepared) = (&instance.params, &instance.prepared);
    let machine = Machine {
        threads: 3,
        ..machine(GIB)
    };
    // Workers of a run, its logits, and the bound of its limb pool.
    let run = |threads: Option<usize>| {
        let mut decisions = equal.clone();
        if let Some(threads) = threads {
            decisions.format = FORMAT_UNEQUAL;
            decisions.threads_at_a_time = vec![threads; prepared.steps()];
        }
        let task = task(&program, 4);
        let plan = planner::forecast(&decisions, &instance, &task, &machine).unwrap();
        let steps = &plan.forecast.steps;
        let expected = threads.unwrap_or(3);
        assert!(steps.iter().all(|step| step.threads(3) == expected));
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mut client, keys) = Client::new(params, prepared, &mut rng).unwrap();
        let evaluator = Evaluator::new(params, Arc::new(keys));
        let encrypted = client.encrypt(&images(&program, 4)).unwrap();
        evaluator.record(Instant::now());
        let executor = Executor::new(&evaluator, prepared, steps).unwrap();
        let (logits, stages) = executor.run(encrypted, &Silent).unwrap();
        for (stage, predicted) in stages.iter().zip(plan.forecast.stages()) {
            assert!(stage.bytes <= predicted.pool_bytes, "{}", stage.name);
        }
        let trace = evaluator.profile().trace().unwrap();
        let workers: BTreeSet<u32> = trace.spans.iter().map(|span| span.worker).collect();
        let logits = client.decrypt(&logits, 4).unwrap().data;
        (workers, logits, plan.forecast.pool_bytes)
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3);
    pool.build().unwrap().install(|| {
        let (_, logits, bytes) = run(None);
        for threads in [1, 2] {
            let (workers, same, fewer_bytes) = run(Some(threads));
            assert!(
                workers.iter().all(|w| (*w as usize) < threads),
                "{workers:?}"
            );
            assert_eq!(same, logits);
            assert!(fewer_bytes < bytes);
        }
    });
}
