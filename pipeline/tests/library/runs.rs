//! Runs on small rings without security: memory stays within what was forecast, and within what there is.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use ckks_scheme::Evaluator;
use datasets::{Shape, Synthetic};
use he_layers::{Client, Grid, Packing, PlainTensor, Program};
use he_models::Model;
use pipeline::executor::Executor;
use pipeline::inference::{self, Batch, Options};
use pipeline::planner::{self, Machine};
use pipeline::progress::{Progress, Silent, Unit};
use pipeline::system;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::networks::{GIB, Small, chain, faint, kernel, lowered, machine, pins, task};

/// Images with values in `[0, 1)`.
pub fn images(program: &Program, count: usize) -> PlainTensor {
    PlainTensor::from_fn(count, program.shape(program.input()), |n, c, y, x| {
        ((n + c + x * y) % 9) as f64 / 9.0
    })
}

/// Runs a network and compares the limb pool's high-water mark with the forecast, over the whole run and step by step. What a
/// stage or the run took, as shares of the bounds.
fn pool_shares(program: &Program, small: &Small) -> Vec<f64> {
    let (mut decisions, instance) = small.ready(program, 1);
    decisions.batch = instance.prepared.images();
    let (params, prepared) = (&instance.params, &instance.prepared);
    let machine = Machine {
        threads: small.threads,
        ..machine(GIB)
    };
    let task = task(program, decisions.batch);
    let forecast = planner::forecast(&decisions, &instance, &task, &machine)
        .unwrap()
        .forecast;
    let run = || {
        let (mut client, keys) = Client::new(params, prepared, &mut rand::rng()).unwrap();
        let evaluator = Evaluator::new(params, Arc::new(keys));
        let encrypted = client.encrypt(&images(program, decisions.batch)).unwrap();
        let before = params.pool().high_water_bytes();
        let executor = Executor::new(&evaluator, prepared, &forecast.steps).unwrap();
        let (logits, stages) = executor.run(encrypted, &Silent).unwrap();
        client.decrypt(&logits, decisions.batch).unwrap();
        let of_stages = stages.iter().map(|s| s.bytes);
        let most = of_stages.fold(params.pool().high_water_bytes().max(before), u64::max);
        let predicted = forecast.stages();
        assert_eq!(stages.len(), predicted.len());
        let pairs = stages.iter().zip(&predicted);
        pairs
            .map(|(measured, predicted)| (measured.bytes, predicted.pool_bytes))
            .chain([(most, forecast.pool_bytes)])
            .map(|(measured, predicted)| measured as f64 / predicted as f64)
            .collect::<Vec<_>>()
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(small.threads);
    pool.build().unwrap().install(run)
}

#[test]
fn planned_pools_are_bounds_in_every_layout() {
    let program = lowered("tiny").program;
    for packing in [Packing::Real, Packing::Complex] {
        for (rows, cols) in [(1, 1), (2, 2), (2, 4), (8, 8), (8, 16), (16, 16), (1, 32)] {
            for (blocks, threads) in [(1, 1), (2, 2), (1, 5), (100, 2)] {
                let small = Small {
                    blocks,
                    threads,
                    ..Small::new(9, 8, packing, Grid::new(rows, cols))
                };
                let shares = pool_shares(&program, &small);
                let within = shares.iter().all(|s| (0.3..=1.0).contains(s));
                assert!(
                    within,
                    "{packing}, grid {rows}x{cols}, {blocks} blocks, {threads} threads: {shares:.2?}"
                );
            }
        }
    }
}

#[test]
fn runs_can_go_on_in_another_thread() {
    let program = chain("small", 8, &[3, 4]);
    let (decisions, instance) = Small::new(9, 6, Packing::Real, Grid::new(8, 8)).ready(&program, 2);
    let prepared = &instance.prepared;
    let task = task(&program, 2);
    let forecast = planner::forecast(&decisions, &instance, &task, &machine(GIB)).unwrap();
    let (mut client, keys) = Client::new(&instance.params, prepared, &mut rand::rng()).unwrap();
    let evaluator = Evaluator::new(&instance.params, Arc::new(keys));
    let executor = Executor::new(&evaluator, prepared, &forecast.forecast.steps).unwrap();
    let x = images(&program, 2);
    let mut execution = executor.begin(client.encrypt(&x).unwrap()).unwrap();
    execution.step().unwrap();
    let (logits, _) = std::thread::scope(|scope| {
        let rest = scope.spawn(move || {
            while execution.next_step().is_some() {
                execution.step().unwrap();
            }
            execution.finish().unwrap()
        });
        rest.join().unwrap()
    });
    let found = client.decrypt(&logits, 2).unwrap();
    let expected = program.forward_plain(&x).unwrap();
    for (a, b) in found.data.iter().zip(&expected.data) {
        assert!((a - b).abs() < 1e-3, "{a} for {b}");
    }
}

#[test]
fn a_run_is_between_stages_at_its_ends_and_where_the_stage_changes() {
    let program = lowered("tiny").program;
    let small = Small::new(9, 8, Packing::Real, Grid::new(8, 8));
    let (decisions, instance) = small.ready(&program, 2);
    let (params, prepared) = (&instance.params, &instance.prepared);
    let task = task(&program, 2);
    let plan = planner::forecast(&decisions, &instance, &task, &machine(GIB)).unwrap();
    let steps = &plan.forecast.steps;
    let changes = steps.windows(2).map(|pair| pair[0].stage != pair[1].stage);
    let expected: Vec<bool> = [true].into_iter().chain(changes).chain([true]).collect();
    assert!(expected.contains(&false));

    let (mut client, keys) = Client::new(params, prepared, &mut rand::rng()).unwrap();
    let evaluator = Evaluator::new(params, Arc::new(keys));
    let executor = Executor::new(&evaluator, prepared, steps).unwrap();
    let encrypted = client.encrypt(&images(&program, 2)).unwrap();
    let mut execution = executor.begin(encrypted).unwrap();
    let mut found = vec![execution.is_between_stages()];
    while execution.next_step().is_some() {
        execution.step().unwrap();
        found.push(execution.is_between_stages());
    }
    assert_eq!(found, expected);
}

/// Two groups, so that what is summed over groups is seen too.
#[test]
fn seconds_of_a_report_are_those_of_its_parts() {
    let model = Model::bundled("tiny").unwrap();
    let planned = crate::sides::planned(&model, Packing::Real);
    let data = crate::sides::images();
    let images = crate::sides::IMAGES;
    let batch = Batch {
        data: &data,
        first: 0,
        images,
    };
    let (start, before) = (Instant::now(), system::seconds_processor());
    let report = inference::infer(&model, planned, batch, Options::default(), &Silent).unwrap();
    let (wall, after) = (start.elapsed().as_secs_f64(), system::seconds_processor());
    assert_eq!(report.groups, 2);
    let infer = report.seconds_infer;
    let parts = [
        report.seconds_keygen,
        report.seconds_warmup,
        report.seconds_encrypt,
        infer,
        report.seconds_decrypt,
    ];
    assert!(parts.iter().all(|seconds| *seconds > 0.0), "{parts:?}");
    assert!(parts.iter().sum::<f64>() <= wall, "{parts:?} of {wall}");
    assert_eq!(report.seconds_per_image, infer / images as f64);
    let stages: Vec<f64> = report.stages.iter().map(|stage| stage.seconds).collect();
    assert!(stages.iter().all(|seconds| *seconds > 0.0), "{stages:?}");
    let sum: f64 = stages.iter().sum();
    assert!(infer / 2.0 < sum && sum <= infer, "{sum} of {infer}");
    // Other tests in this process take some of them too.
    if let (Some(before), Some(after)) = (before, after) {
        let found = report.seconds_processor_infer.unwrap();
        let most = after - before;
        assert!((0.0..=most + 1e-9).contains(&found), "{found} of {most}");
    }
}

#[test]
fn a_run_never_takes_more_limbs_than_its_memory_has_room_for() {
    let model = Model::bundled("tiny").unwrap();
    let program = model.lower().unwrap().program;
    let shape = Shape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let data = Synthetic::with_shape(0, shape).unwrap();
    let batch = Batch {
        data: &data,
        first: 0,
        images: 2,
    };
    let plan = || {
        let pins = pins(&["grid=8x16"]);
        planner::plan(&task(&program, 2), &machine(2 * GIB), &pins, &kernel()).unwrap()
    };
    let planned = plan();
    let (forecast, params) = (&planned.plan.forecast, &planned.instance.params);
    let fixed = forecast.predicted_peak_bytes - forecast.pool_bytes;
    let room = (2 * GIB - fixed) / params.limb_bytes();
    let error = params.pool().reserve(room as usize + 1).unwrap_err();
    assert!(error.out_of_memory(), "{error}");

    // The planner is wrong, and the bound holds nevertheless.
    let mut short = plan();
    let keys = short.plan.forecast.key_bytes;
    short.plan.forecast.pool_bytes = keys;
    short
        .instance
        .params
        .pool()
        .set_budget(Some(keys + (1 << 20)));
    let error = inference::infer(&model, short, batch, Options::default(), &Silent).unwrap_err();
    assert!(error.out_of_memory() && !error.is_bad_input(), "{error}");
    assert!(
        error.to_string().contains("buffer pool exhausted"),
        "{error}"
    );
}

/// What a run told of its progress.
#[derive(Default)]
struct Told {
    tasks: Mutex<Vec<Task>>,
    stages: Mutex<Vec<String>>,
}

/// Name, total, and what was done.
type Task = (String, Option<u64>, Vec<u64>);

impl Progress for Told {
    fn begin(&self, task: &str, total: Option<u64>, _: Unit) {
        let task = (task.to_owned(), total, Vec::new());
        self.tasks.lock().unwrap().push(task);
    }
    fn stage(&self, name: &str) {
        self.stages.lock().unwrap().push(name.to_owned());
    }
    fn advance(&self, units: u64) {
        self.tasks.lock().unwrap().last_mut().unwrap().2.push(units);
    }
    fn finish(&self) {}
    fn note(&self, _: &str) {}
}

#[test]
fn every_long_task_tells_how_far_it_is() {
    let model = Model::bundled("tiny").unwrap();
    let program = model.lower().unwrap().program;
    let pins = pins(&["log_n=15", "grid=8x16", "blocks=100"]);
    let planned = planner::plan(&task(&program, 2), &machine(4 * GIB), &pins, &kernel()).unwrap();
    let forecast = planned.plan.forecast.clone();
    let (pool_bytes, steps) = (forecast.pool_bytes, forecast.steps.len() as u64);
    let shape = Shape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let batch = Batch {
        data: &Synthetic::with_shape(0, shape).unwrap(),
        first: 0,
        images: 2,
    };
    let told = Told::default();
    inference::infer(&model, planned, batch, Options::default(), &told).unwrap();
    // Each stage once, when it begins.
    let stages = forecast.stages();
    assert!(stages.len() < forecast.steps.len());
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(told.stages.into_inner().unwrap(), names);
    let told = told.tasks.into_inner().unwrap();
    for (task, total, done) in &told {
        let sum: u64 = done.iter().sum();
        match total {
            // Milliseconds of the steps are rounded one by one.
            Some(total) if task == "encrypted inference" => {
                assert!(sum.abs_diff(*total) <= steps);
                let seconds: f64 = forecast.steps.iter().map(|step| step.seconds).sum();
                assert_eq!(*total as f64, (1e3 * seconds).round());
            }
            Some(total) => assert_eq!(sum, *total, "{task}"),
            None => assert!(done.is_empty(), "{task}"),
        }
    }
    let memory = told.iter().find(|(task, _, _)| task == "memory").unwrap();
    // A step of the bar at least every 256 MiB.
    let total = memory.1.unwrap();
    assert!(
        pool_bytes / 2 < total && total <= pool_bytes + (1 << 20),
        "{total} of {pool_bytes}"
    );
    assert!(
        memory.2.iter().all(|step| *step <= 256 << 20),
        "{:?}",
        memory.2
    );
    assert!(memory.2.len() > 1, "{:?}", memory.2);
}

#[test]
fn errors_are_simulated_on_images_within_the_ranges() {
    let program = faint();
    let batch = 4;
    let (decisions, instance) =
        Small::new(9, 8, Packing::Real, Grid::new(8, 8)).ready(&program, batch);
    let (params, prepared) = (&instance.params, &instance.prepared);
    let task = task(&program, batch);
    let plan = planner::forecast(&decisions, &instance, &task, &machine(GIB)).unwrap();
    let errors = plan.forecast.errors.unwrap();

    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let (mut client, keys) = Client::new(params, prepared, &mut rng).unwrap();
    let evaluator = Evaluator::new(params, Arc::new(keys));
    let mut x = images(&program, batch);
    x.data.iter_mut().for_each(|v| *v /= 1000.0);
    assert_eq!(program.images_out_of_range(&x).unwrap(), [false; 4]);
    let executor = Executor::new(&evaluator, prepared, &plan.forecast.steps).unwrap();
    let (logits, _) = executor.run(client.encrypt(&x).unwrap(), &Silent).unwrap();
    let found = client.decrypt(&logits, batch).unwrap();
    let expected = program.forward_plain(&x).unwrap();
    let pairs = found.data.iter().zip(&expected.data);
    let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let within = (error..=100.0 * error).contains(&errors.total);
    assert!(within, "{error} found, {errors:?} estimated");
}
