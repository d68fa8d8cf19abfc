//! Planner and inference as other crates call them.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroUsize;
use std::sync::Arc;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::{Evaluator, Scale, params};
use datasets::{Shape, Synthetic};
use he_layers::{Grid, Packing, PlainTensor};
use he_models::{FoldedModel, Model};
use pipeline::client::Client;
use pipeline::cost::CostModel;
use pipeline::executor::Executor;
use pipeline::inference::{self, Batch, Options};
use pipeline::network::{self, Network};
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, Pin, Pins, PlanError, Planned};
use pipeline::progress::Silent;

const GIB: u64 = 1 << 30;

fn machine(memory_bytes: u64) -> Machine {
    Machine {
        threads: 2,
        memory_bytes,
        cost: CostModel::default(),
    }
}

fn folded(model: &str) -> FoldedModel {
    Model::bundled(model).unwrap().fold().unwrap()
}

fn batch(images: usize) -> NonZeroUsize {
    NonZeroUsize::new(images).unwrap()
}

fn plan(
    model: &str,
    images: usize,
    memory_bytes: u64,
    pins: &[&str],
) -> Result<Planned, PlanError> {
    let mut all = Pins::default();
    all.extend(pins.iter().map(|p| p.parse::<Pin>().unwrap()));
    let kernel = KernelChoice::Named("scalar");
    let machine = machine(memory_bytes);
    planner::plan(&folded(model), batch(images), &machine, &all, &kernel)
}

/// A plan without the number that is simulated in floating point, whose last digits are the processor's.
fn settled(planned: Planned) -> Plan {
    Plan {
        predicted_max_logit_error: 0.0,
        ..planned.plan
    }
}

#[test]
fn plans_are_as_before() {
    insta::assert_snapshot!("tiny_32", settled(plan("tiny", 32, 4 * GIB, &[]).unwrap()));
    insta::assert_snapshot!(
        "resnet20_32",
        settled(plan("resnet20", 32, 16 * GIB, &[]).unwrap())
    );
    insta::assert_snapshot!(
        "resnet20_512",
        settled(plan("resnet20", 512, 16 * GIB, &[]).unwrap())
    );
}

#[test]
fn plan_files_are_as_before() {
    let plan = settled(plan("tiny", 5, 4 * GIB, &["grid=4x4", "packing=real"]).unwrap());
    let pretty = ron::ser::PrettyConfig::new().depth_limit(3);
    let text = ron::ser::to_string_pretty(&plan, pretty).unwrap();
    assert_eq!(ron::from_str::<Plan>(&text).unwrap(), plan);
    insta::assert_snapshot!("tiny_5_file", text);
}

#[test]
fn obeyed_plans_are_the_same_plans() {
    let planned = plan("tiny", 40, 4 * GIB, &["grid=16x32"]).unwrap();
    let kernel = KernelChoice::Auto;
    let obey =
        |plan: &Plan, machine| planner::obey(plan, &folded("tiny"), batch(40), &machine, &kernel);
    assert_eq!(
        obey(&planned.plan, machine(4 * GIB)).unwrap().plan,
        planned.plan
    );

    // What a file claims about memory is not believed.
    let modest = Plan {
        pool_bytes: 1,
        predicted_peak_bytes: 1,
        ..planned.plan.clone()
    };
    assert_eq!(obey(&modest, machine(4 * GIB)).unwrap().plan, planned.plan);
    let error = obey(&modest, machine(GIB / 4)).unwrap_err();
    let needed = planned.plan.predicted_peak_bytes;
    assert!(matches!(error, PlanError::Memory { needed_bytes, .. } if needed_bytes == needed));
}

#[test]
fn more_memory_never_makes_a_slower_plan() {
    let PlanError::Memory { needed_bytes, .. } = plan("tiny", 1000, 1, &[]).unwrap_err() else {
        panic!("a byte is enough");
    };
    let mut last = f64::INFINITY;
    for memory in [
        needed_bytes,
        needed_bytes + needed_bytes / 8,
        GIB,
        4 * GIB,
        64 * GIB,
    ] {
        let plan = plan("tiny", 1000, memory, &[]).unwrap().plan;
        assert!(plan.predicted_peak_bytes <= memory && plan.predicted_seconds_infer <= last);
        last = plan.predicted_seconds_infer;
    }
    assert!(plan("tiny", 1000, needed_bytes - 1, &[]).is_err());
}

/// Runs a model on a small insecure ring and compares the limb pool's high-water mark with the plan, over the whole run and
/// stage by stage. What a stage or the run took, as shares of the predictions.
fn pool_shares(
    model: &FoldedModel,
    (packing, grid): (Packing, Grid),
    group: usize,
    threads: usize,
) -> Vec<f64> {
    let params = params::insecure_log_n(9, network::levels(model));
    let network =
        Network::prepare(model, &params, Scale::new(2f64.powi(28)), packing, grid).unwrap();
    let machine = Machine {
        threads,
        ..machine(GIB)
    };
    let images = network.images();
    let plan = planner::schedule(
        "small",
        &network,
        &params,
        batch(images),
        &machine,
        Some(group),
    )
    .unwrap();
    let run = || {
        let x = PlainTensor::from_fn(images, model.input, |n, c, y, x| {
            ((n + c + x * y) % 9) as f64 / 9.0
        });
        let (mut client, keys) = Client::new(&params, &network, &plan, &mut rand::rng()).unwrap();
        let evaluator = Evaluator::new(&params, Arc::new(keys));
        let encrypted = client.encrypt(&x).unwrap();
        let before = params.pool().high_water_bytes();
        let executor = Executor::new(&evaluator, &network, &plan);
        let (logits, stages) = executor.run(encrypted, &Silent).unwrap();
        client.decrypt(&logits, images).unwrap();
        let of_stages = stages.iter().map(|s| s.bytes);
        let most = of_stages.fold(params.pool().high_water_bytes().max(before), u64::max);
        let predicted = plan.stages.iter().map(|s| s.pool_bytes);
        let pairs = stages.iter().map(|s| s.bytes).zip(predicted);
        pairs
            .chain([(most, plan.pool_bytes)])
            .map(|(measured, predicted)| measured as f64 / predicted as f64)
            .collect::<Vec<_>>()
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(run)
}

#[test]
fn planned_pools_are_bounds_in_every_layout() {
    let model = folded("tiny");
    for packing in [Packing::Real, Packing::Complex] {
        for (rows, cols) in [(1, 1), (2, 2), (2, 4), (8, 8), (8, 16), (16, 16), (1, 32)] {
            for (group, threads) in [(1, 1), (2, 2), (1, 5), (100, 2)] {
                let case = (packing, Grid::new(rows, cols));
                let shares = pool_shares(&model, case, group, threads);
                let within = shares.iter().all(|s| (0.3..=1.0).contains(s));
                assert!(
                    within,
                    "{case:?}, group {group}, threads {threads}: {shares:.2?}"
                );
            }
        }
    }
}

#[test]
fn a_run_never_takes_more_limbs_than_its_memory_has_room_for() {
    let model = Model::bundled("tiny").unwrap();
    let shape = Shape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let data = Synthetic::with_shape(0, shape).unwrap();
    let images = Batch {
        data: &data,
        first: 0,
        images: 2,
    };
    let planned = plan("tiny", 2, 2 * GIB, &["grid=8x16"]).unwrap();
    let pool = planned.params.pool().clone();
    let fixed = planned.plan.predicted_peak_bytes - planned.plan.pool_bytes;
    assert!(
        pool.reserve(((2 * GIB - fixed) / planned.params.limb_bytes()) as usize + 1)
            .is_err()
    );

    let mut short = plan("tiny", 2, 2 * GIB, &["grid=8x16"]).unwrap();
    // The planner is wrong, and the bound holds nevertheless.
    short.plan.pool_bytes = short.plan.key_bytes;
    short
        .params
        .pool()
        .set_budget(Some(short.plan.key_bytes + (1 << 20)));
    let error = inference::infer(&model, short, images, Options::default(), &Silent).unwrap_err();
    assert!(error.out_of_memory(), "{error}");
    assert!(
        error.to_string().contains("buffer pool exhausted"),
        "{error}"
    );
}
