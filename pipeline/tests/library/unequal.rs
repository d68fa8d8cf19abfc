//! Batches whose last group has a layout of its own.

use he_layers::{Grid, Packing};
use he_models::Model;
use pipeline::decisions::{Decisions, FORMAT, FORMAT_UNEQUAL, LastGroup};
use pipeline::inference::{self, Batch, Options};
use pipeline::plan::{Plan, StepForecast};
use pipeline::planner::{self, Machine, PlanError, Planned};
use pipeline::progress::Silent;
use rayon::ThreadPoolBuilder;

use crate::networks::{GIB, machine, task};
use crate::sides::{IMAGES, images, planned, spec};

/// The tiny network over a ring in which 4 images are a group, with a layout of its own for the last 3: one for 16.
pub fn planned_with_last(model: &Model) -> Planned {
    planned_on(model, &machine(GIB))
}

pub fn planned_on(model: &Model, machine: &Machine) -> Planned {
    let program = model.lower().unwrap().program;
    let equal = planned(model, Packing::Real);
    let decisions = Decisions {
        format: FORMAT_UNEQUAL,
        last: Some(LastGroup {
            log_scale: equal.plan.decisions.log_scale,
            packing: Packing::Complex,
            grid: Grid::new(4, 8),
            blocks_at_a_time: equal.plan.decisions.blocks_at_a_time.clone(),
            threads_at_a_time: Vec::new(),
        }),
        ..equal.plan.decisions
    };
    let params = &equal.instance.params;
    let instance = decisions.instantiate_over(&program, params).unwrap();
    let task = task(&program, IMAGES);
    let plan = planner::forecast(&decisions, &instance, &task, machine).unwrap();
    let expected = Decisions {
        threads: machine.threads,
        ..decisions
    };
    assert_eq!(plan.decisions, expected);
    Planned { plan, instance }
}

#[test]
fn a_last_group_of_its_own_is_smaller_and_asked_for_in_its_format() {
    let model = Model::bundled("tiny").unwrap();
    let (equal, unequal) = (planned(&model, Packing::Real), planned_with_last(&model));
    let forecast = &unequal.plan.forecast;
    let last = forecast.last.as_ref().unwrap();
    assert_eq!((forecast.groups, last.images), (2, 3));
    let step = |steps: &[StepForecast]| steps[0].ciphertexts_in;
    // Half as many cells an image: two ciphertexts for a map.
    assert!(step(&last.steps) > step(&forecast.steps));
    // The keys of both layouts.
    assert!(forecast.keys > equal.plan.forecast.keys);
    let [ours, theirs] = [&equal, &unequal].map(|planned| spec(&model, planned));
    assert_ne!(ours.id(), theirs.id());

    let program = model.lower().unwrap().program;
    let params = &unequal.instance.params;
    let refused = |decisions: &Decisions, images, says: &str| {
        let task = task(&program, images);
        let ready = decisions.instantiate_over(&program, params);
        let plan =
            ready.and_then(|ready| planner::forecast(decisions, &ready, &task, &machine(GIB)));
        let error = plan.unwrap_err();
        assert!(matches!(error, PlanError::Foreign { .. }), "{error}");
        assert!(
            error.to_string().contains(says),
            "{says:?} is not in {error}"
        );
    };
    let decisions = unequal.plan.decisions;
    let old = Decisions {
        format: FORMAT,
        ..decisions.clone()
    };
    refused(&old, IMAGES, "format is 2, expected 3");
    refused(
        &decisions,
        8,
        "images of the last group is 0, expected 1 or more",
    );
    let mut short = decisions;
    short.last.as_mut().unwrap().blocks_at_a_time.pop();
    refused(&short, IMAGES, "steps is ");
}

#[test]
fn a_plan_with_a_last_group_is_a_file_a_table_and_a_picture() {
    let model = Model::bundled("tiny").unwrap();
    let plan = planned_with_last(&model).plan;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.ron");
    std::fs::write(&file, plan.to_ron()).unwrap();
    assert_eq!(Plan::read(&file).unwrap(), plan);
    let words = plan.to_string();
    assert!(words.contains("1 group of up to 4 images"), "{words}");
    let last = "a last group of 3 images: complex packing, grid 4x8";
    assert!(words.contains(last), "{words}");
    let svg = plan.to_svg();
    assert!(svg.contains(">the last group, 3 images</text>"), "{svg}");
    // Its stages have bars of their own.
    let stages = plan.forecast.stages();
    for stage in &stages {
        let name = format!(">{}</text>", stage.name);
        assert_eq!(svg.matches(&name).count(), 2, "{name}");
    }
    let bars = svg.matches("<rect ").count();
    // The background, three of the legend, and three for each stage.
    assert_eq!(bars, 4 + 3 * 2 * stages.len());
}

#[test]
fn a_last_group_gives_the_same_logits_on_any_number_of_threads_within_its_bound_of_memory() {
    let model = Model::bundled("tiny").unwrap();
    let run = |threads: usize| {
        let machine = Machine {
            threads,
            ..machine(GIB)
        };
        let planned = planned_on(&model, &machine);
        let bound = planned.plan.forecast.pool_bytes;
        let batch = Batch {
            data: &images(),
            first: 0,
            images: IMAGES,
        };
        let options = Options {
            seed: Some(3),
            logits: true,
            ..Options::default()
        };
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let report = pool.unwrap().install(|| {
            let report = inference::infer(&model, planned, batch, options, &Silent);
            report.unwrap()
        });
        let found = report.pool_high_water_bytes;
        assert!(found <= bound, "{found} of {bound} on {threads} threads");
        let error = report.max_logit_error_rounded;
        assert!(error < 1e-3, "{error} from the reference");
        let logits = report.logits.into_iter().flatten();
        logits
            .flat_map(|of| of.encrypted.unwrap())
            .collect::<Vec<_>>()
    };
    let logits = run(1);
    assert_eq!(logits.len(), 10 * IMAGES);
    // More threads than a group has ciphertexts share the limbs of each.
    for threads in [2, 5, 16] {
        assert!(run(threads) == logits, "{threads} threads");
    }
}
