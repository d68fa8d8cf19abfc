//! Plans that are obeyed, and those that are none of this network's.

use he_layers::LayerError;
use pipeline::decisions::{Decisions, FORMAT, FORMAT_UNEQUAL};
use pipeline::executor::Executor;
use pipeline::plan::Plan;
use pipeline::planner::{self, PlanError, Planned};
use pipeline::text_file::TextFileError;
use std::collections::BTreeSet;
use std::sync::Arc;

use ckks_scheme::Evaluator;
use he_layers::Client;

use crate::networks::{GIB, chain, kernel, lowered, machine, pins, task};

fn obey(decisions: &Decisions, memory_bytes: u64) -> Result<Planned, PlanError> {
    let program = chain("small", 8, &[3, 4]);
    planner::obey(
        decisions,
        &task(&program, 40),
        &machine(memory_bytes),
        &kernel(),
    )
}

fn planned() -> Planned {
    let program = chain("small", 8, &[3, 4]);
    let pins = pins(&["grid=16x32"]);
    planner::plan(&task(&program, 40), &machine(GIB), &pins, &kernel()).unwrap()
}

#[test]
fn an_obeyed_plan_is_the_same_plan() {
    let plan = planned().plan;
    assert_eq!(obey(&plan.decisions, GIB).unwrap().plan, plan);
    // What a file claims about memory is not read at all.
    let error = obey(&plan.decisions, GIB / 16).unwrap_err();
    let needed = plan.forecast.predicted_peak_bytes;
    assert!(matches!(error, PlanError::Memory { needed_bytes, .. } if needed_bytes == needed));
}

#[test]
fn a_plan_file_of_the_version_before_unequal_groups_is_obeyed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/plan-2.ron");
    let old = Plan::read(path).unwrap();
    assert_eq!(old.decisions.format, FORMAT);
    let program = lowered("tiny").program;
    let task = task(&program, 5);
    let plan = planner::obey(&old.decisions, &task, &machine(4 * GIB), &kernel());
    let mut plan = plan.unwrap().plan;
    assert_eq!(plan.decisions, old.decisions);
    assert!(plan.forecast.steps.iter().all(|step| step.threads(2) == 2));
    // A program of that version knows every field of it.
    plan.forecast.errors = None;
    let fields = |text: &str| -> BTreeSet<String> {
        let words = text.split_whitespace();
        let words = words.map(|word| word.trim_start_matches('('));
        words
            .filter(|word| word.ends_with(':'))
            .map(str::to_owned)
            .collect()
    };
    let before = fields(&std::fs::read_to_string(path).unwrap());
    assert!(before.contains("decisions:") && before.contains("seconds:"));
    assert_eq!(fields(&plan.to_ron()), before);
}

#[test]
fn a_plan_with_fewer_steps_is_refused_before_and_at_the_run() {
    let Planned { plan, instance } = planned();
    let mut short = plan.decisions.clone();
    short.blocks_at_a_time.pop();
    let steps = plan.decisions.blocks_at_a_time.len();
    let error = obey(&short, GIB).unwrap_err();
    let words = format!("plan: steps is {}, expected {steps}", steps - 1);
    assert!(matches!(error, PlanError::Foreign { .. }), "{error}");
    assert_eq!(error.to_string(), words);

    // Not by the executor either, which once gave an intermediate tensor as logits.
    let prepared = &instance.prepared;
    let (_, keys) = Client::new(&instance.params, prepared, &mut rand::rng()).unwrap();
    let evaluator = Evaluator::new(&instance.params, Arc::new(keys));
    let fewer = &plan.forecast.steps[..steps - 1];
    let error = Executor::new(&evaluator, prepared, fewer).unwrap_err();
    let refused = matches!(&error, LayerError::Step { found, steps: s, .. } if (*found, *s) == (steps - 1, steps));
    assert!(refused, "{error}");
}

#[test]
fn decisions_for_something_else_are_refused() {
    let good = planned().plan.decisions;
    let refused = |changed: Decisions, what: &str, found: &str| {
        let error = obey(&changed, GIB).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("plan: {what} is {found}, ")),
            "{error}"
        );
    };
    let with = |change: &dyn Fn(&mut Decisions)| {
        let mut decisions = good.clone();
        change(&mut decisions);
        decisions
    };
    refused(with(&|d| d.format = FORMAT_UNEQUAL + 1), "format", "4");
    refused(with(&|d| d.model = "other".to_owned()), "model", "other");
    refused(
        with(&|d| d.model_checksum = "00".to_owned()),
        "model checksum",
        "00",
    );
    refused(with(&|d| d.batch = 41), "batch", "41");
    refused(with(&|d| d.log_scale = 41), "log_scale", "41");
    refused(
        with(&|d| d.refreshes = vec!["nowhere".to_owned()]),
        "refreshed node",
        "nowhere",
    );
    refused(
        with(&|d| d.blocks_at_a_time[0] = 0),
        "channel blocks at a time",
        "0",
    );
    let params = with(&|d| d.params.q_bits = vec![50; 40]);
    let error = obey(&params, GIB).unwrap_err();
    assert!(matches!(error, PlanError::Params(_)), "{error}");
}

#[test]
fn refreshes_without_a_bootstrapping_are_refused() {
    let mut decisions = planned().plan.decisions;
    decisions.refreshes = vec!["block0.conv".to_owned()];
    let error = obey(&decisions, GIB).unwrap_err();
    let reason = |e: &PlanError| {
        let PlanError::Layout { reason, .. } = e else {
            return false;
        };
        matches!(**reason, LayerError::NoRefresher { .. })
    };
    assert!(reason(&error), "{error}");
}

#[test]
fn files_that_are_no_plan_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.ron");
    let good = planned().plan.to_ron();
    let read = |text: &[u8]| {
        std::fs::write(&file, text).unwrap();
        Plan::read(&file)
    };
    assert!(read(good.as_bytes()).is_ok());
    // Cut anywhere it is no plan; the last byte is a line feed.
    for end in (0..good.len() - 2).step_by(97) {
        let error = read(&good.as_bytes()[..end]).unwrap_err();
        assert!(
            matches!(error, TextFileError::Content { .. }),
            "{end}: {error}"
        );
    }
    let more = good.replacen("decisions:", "more: 1, decisions:", 1);
    assert!(matches!(
        read(more.as_bytes()),
        Err(TextFileError::Content { .. })
    ));
    assert!(matches!(read(&[0xff, 0xfe]), Err(TextFileError::Io { .. })));
    let missing = Plan::read(dir.path().join("none.ron"));
    assert!(matches!(missing, Err(TextFileError::Io { .. })));
    assert!(matches!(
        Plan::read(dir.path()),
        Err(TextFileError::Io { .. })
    ));
}

#[cfg(target_os = "linux")]
#[test]
fn an_endless_file_is_refused() {
    let error = Plan::read("/dev/zero").unwrap_err();
    assert!(matches!(error, TextFileError::Io { .. }), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let sparse = dir.path().join("plan.ron");
    let file = std::fs::File::create(&sparse).unwrap();
    file.set_len(1 << 40).unwrap();
    let error = Plan::read(&sparse).unwrap_err();
    assert!(matches!(error, TextFileError::Size { .. }), "{error}");
}
