//! What the planner chooses, and what it refuses.

use std::time::{Duration, Instant};

use he_layers::{Chw, Conv2d, Grid, Packing, Program, Term};
use pipeline::decisions::FORMAT_UNEQUAL;
use pipeline::plan::Plan;
use pipeline::planner::{self, PlanError, Task};

use crate::networks::{GIB, chain, kernel, lowered, machine, pins, task};

fn choose(
    program: &Program,
    images: usize,
    memory_bytes: u64,
    pinned: &[&str],
) -> Result<Plan, PlanError> {
    let (task, machine) = (task(program, images), machine(memory_bytes));
    planner::choose(&task, &machine, &pins(pinned), &kernel())
}

fn bundled(model: &str, images: usize, memory_bytes: u64, pins: &[&str]) -> Plan {
    choose(&lowered(model).program, images, memory_bytes, pins).unwrap()
}

/// A plan without the numbers that are simulated in floating point, whose last digits are the processor's.
fn settled(mut plan: Plan) -> Plan {
    plan.forecast.errors = None;
    plan
}

#[test]
fn plans_are_as_before() {
    insta::assert_snapshot!("tiny_32", settled(bundled("tiny", 32, 4 * GIB, &[])));
    let never = ["bootstrap=never"];
    for images in [32, 512] {
        let plan = settled(bundled("resnet20", images, 16 * GIB, &never));
        insta::assert_snapshot!(format!("resnet20_{images}"), plan);
    }
}

#[test]
fn plan_files_are_as_before() {
    let plan = settled(bundled("tiny", 5, 4 * GIB, &["grid=4x4", "packing=real"]));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.ron");
    std::fs::write(&file, plan.to_ron()).unwrap();
    assert_eq!(Plan::read(&file).unwrap(), plan);
    insta::assert_snapshot!("tiny_5_file", plan.to_ron());
}

#[test]
fn more_memory_never_makes_a_slower_plan() {
    let program = lowered("tiny").program;
    let error = choose(&program, 1000, 1, &[]).unwrap_err();
    let PlanError::Memory { needed_bytes, .. } = error else {
        panic!("{error}");
    };
    let mut last = f64::INFINITY;
    let more = needed_bytes + needed_bytes / 8;
    for memory in [needed_bytes, more, GIB, 4 * GIB, 64 * GIB] {
        let forecast = choose(&program, 1000, memory, &[]).unwrap().forecast;
        assert!(forecast.predicted_peak_bytes <= memory);
        assert!(forecast.predicted_seconds_infer <= last, "{memory} bytes");
        last = forecast.predicted_seconds_infer;
    }
    let error = choose(&program, 1000, needed_bytes - 1, &[]).unwrap_err();
    assert!(
        matches!(error, PlanError::Memory { needed_bytes: n, .. } if n == needed_bytes),
        "{error}"
    );
}

#[test]
fn pins_are_obeyed() {
    let pinned = [
        "log_n=14",
        "packing=complex",
        "grid=8x8",
        "prime_bits=44",
        "digits=3",
        "log_scale=25",
        "blocks=2",
        "bootstrap=never",
    ];
    let plan = choose(&chain("pinned", 8, &[3, 4, 4]), 5, GIB, &pinned).unwrap();
    let d = plan.decisions;
    assert_eq!((d.params.log_n, d.params.digits), (14, 3));
    assert!(d.params.q_bits.iter().all(|bits| *bits == 44));
    assert_eq!((d.packing, d.grid), (Packing::Complex, Grid::new(8, 8)));
    assert_eq!((d.log_scale, d.bootstrap), (25, None));
    assert!(d.blocks_at_a_time.iter().all(|blocks| *blocks == 2));
}

#[test]
fn a_pinned_number_of_refreshes_is_made() {
    let program = chain("refreshed", 8, &[2, 4, 4, 4]);
    let pinned = [
        "bootstrap=1",
        "log_n=16",
        "prime_bits=42",
        "digits=4",
        "packing=complex",
        "grid=8x8",
    ];
    let plan = choose(&program, 5, 16 * GIB, &pinned).unwrap();
    let (d, forecast) = (plan.decisions, plan.forecast);
    assert_eq!(d.refreshes.len(), 1);
    assert!(d.bootstrap.is_some() && forecast.bootstraps >= forecast.groups);
    assert!(forecast.matrix_bytes > 0 && forecast.pool_bytes > forecast.matrix_bytes);
}

#[test]
fn the_scale_balances_noise_and_rounded_weights() {
    let ring = ["log_n=14", "prime_bits=47", "packing=real"];
    let program = lowered("tiny").program;
    let plan = |pinned: &[&str]| {
        let plan = choose(&program, 32, 4 * GIB, pinned).unwrap();
        let errors = plan.forecast.errors.unwrap();
        (plan.decisions.log_scale, errors.of_plan())
    };
    let (scale, error) = plan(&ring);
    // Beside it, noise or rounded weights do more harm.
    for other in [scale - 1, scale + 1] {
        let pin = format!("log_scale={other}");
        let (pinned, of_other) = plan(&[&ring[..], &[&pin]].concat());
        assert_eq!(pinned, other);
        assert!(error < of_other, "{scale}: {error}, {other}: {of_other}");
    }
}

#[test]
fn refreshes_have_to_pay() {
    let layout = ["packing=complex", "grid=32x64"];
    let with = |bootstrap| [layout[0], layout[1], bootstrap];
    let seconds = |plan: &Plan| plan.forecast.predicted_seconds_infer;
    let free = bundled("resnet20", 32, 16 * GIB, &layout);
    let never = bundled("resnet20", 32, 16 * GIB, &with("bootstrap=never"));
    let once = bundled("resnet20", 32, 16 * GIB, &with("bootstrap=1"));
    // A refresh would be faster by the estimates, not by enough.
    assert!(seconds(&once) < seconds(&never) && seconds(&never) < 1.15 * seconds(&once));
    assert_eq!(free.decisions, never.decisions);
}

#[test]
fn pins_that_cannot_be_obeyed_are_refused_with_words() {
    let program = chain("small", 8, &[3, 4, 4]);
    let says = |pinned: &[&str]| choose(&program, 5, GIB, pinned).unwrap_err().to_string();
    assert_eq!(
        says(&["bootstrap=9", "log_n=16"]),
        "small cannot run with exactly 9 refreshes at N = 2^16: 2 of its tensors can be refreshed, where enough levels are \
         left before and after"
    );
    assert_eq!(
        says(&["bootstrap=1", "log_n=13"]),
        "small cannot run with exactly 1 refresh at N = 2^13 (a bootstrapping needs N = 2^16 or N = 2^17): 2 of its tensors \
         can be refreshed, where enough levels are left before and after"
    );
    let depth = says(&["log_n=13", "prime_bits=50", "bootstrap=never"]);
    assert!(
        depth.contains("primes of at least 50 bits, more than 128-bit security allows at N = 2^13, and refreshes are"),
        "{depth}"
    );
    let grid = says(&["grid=512x512", "log_n=13"]);
    assert!(
        grid.starts_with("no layout fits small: grid 512x512"),
        "{grid}"
    );
}

#[test]
fn a_network_that_is_too_deep_is_refused_as_too_deep() {
    let program = chain("deep", 8, &[2; 60]);
    let pinned = ["bootstrap=never", "log_n=15"];
    let error = choose(&program, 1, 64 * GIB, &pinned).unwrap_err();
    let PlanError::Depth { model, levels, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(model, "deep");
    assert!(*levels > 60, "{levels}");
}

#[test]
fn a_network_without_a_layout_is_refused_for_its_layout() {
    // Levels there are enough of.
    let refused = |program: &Program, pinned: &str| {
        let error = choose(program, 1, GIB, &["log_n=13", pinned]).unwrap_err();
        assert!(matches!(error, PlanError::Layout { .. }), "{error}");
    };
    refused(&chain("pinned", 8, &[3, 4]), "grid=256x256");
    // More pixels for each slot than a channel may have ciphertexts; all but four of them are skipped.
    let mut wide = Program::new("wide", Chw::new(1, 8192, 8192), Vec::new());
    let (kernel, stride) = ((1, 1), (4096, 4096));
    let conv = Conv2d::new("conv", (1, 3), kernel, stride, (0, 0), vec![1.0; 3]).unwrap();
    let terms = vec![Term::linear(wide.input(), conv)];
    let output = wide.node("conv", "conv", terms).unwrap();
    wide.finish(output).unwrap();
    refused(&wide, "packing=real");
}

#[test]
fn precision_that_no_plan_reaches_is_refused() {
    let program = chain("small", 8, &[3, 4]);
    let strict = Task {
        max_logit_error: 1e-30,
        ..task(&program, 5)
    };
    let error = planner::choose(&strict, &machine(GIB), &pins(&["log_n=13"]), &kernel());
    let error = error.unwrap_err();
    let PlanError::Precision {
        found, expected, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(found > expected && *expected == 1e-30);
}

#[test]
fn where_precision_takes_more_memory_the_error_says_how_much() {
    // Eight levels: N = 2^14 has room for small primes, N = 2^15 for large ones.
    let program = chain("small", 8, &[2; 7]);
    let choose = |max_logit_error, memory, pinned: &[&str]| {
        let task = Task {
            max_logit_error,
            ..task(&program, 5)
        };
        planner::choose(&task, &machine(memory), &pins(pinned), &kernel())
    };
    let of_ring = |ring: &str| {
        let errors = choose(1e9, GIB, &[ring, "packing=real"])
            .unwrap()
            .forecast
            .errors
            .unwrap();
        let error = choose(1e9, 1, &[ring, "packing=real"]).unwrap_err();
        let PlanError::Memory { needed_bytes, .. } = error else {
            panic!("{error}");
        };
        (errors.of_plan(), needed_bytes)
    };
    let (rough, small) = of_ring("log_n=14");
    let (fine, large) = of_ring("log_n=15");
    assert!(
        fine < rough && small < large,
        "{fine} {rough}, {small} {large}"
    );
    let allowed = (fine * rough).sqrt();
    let choose = |max_logit_error, memory| choose(max_logit_error, memory, &["packing=real"]);
    let error = choose(allowed, large - 1).unwrap_err();
    let PlanError::Precision {
        found,
        needed_bytes: Some(needed),
        ..
    } = error
    else {
        panic!("{error}");
    };
    // Either remedy is one.
    let words = error.to_string();
    let after = |flag: &str| -> f64 {
        let (_, rest) = words.split_once(flag).unwrap();
        let number = rest.split('`').next().unwrap();
        number.parse().unwrap()
    };
    let more = after("`--max-logit-error ");
    assert!(more >= found && more <= 1.2 * found, "{words}");
    choose(more, large - 1).unwrap();
    choose(allowed, needed).unwrap();
    let flag = after("`--memory-gib ") * GIB as f64;
    assert!(flag >= needed as f64, "{words}");
    // Without the precision, memory alone is what is missing.
    let error = choose(allowed, 1).unwrap_err();
    assert!(
        matches!(error, PlanError::Memory { needed_bytes, .. } if needed_bytes == needed),
        "{error}"
    );
}

#[test]
fn key_levels_of_a_network_that_shrinks_at_every_block_are_found_in_seconds() {
    // One channel a ciphertext, one fewer with every block: each is a place for a key level. All sets of them would be 2^20.
    let channels = std::iter::once(3).chain((2..=23).rev());
    let program = chain("shrinking", 8, &channels.collect::<Vec<_>>());
    let pinned = [
        "log_n=17",
        "bootstrap=never",
        "packing=real",
        "grid=8x8",
        "blocks=1",
    ];
    let start = Instant::now();
    let plan = choose(&program, 1, 64 * GIB, &pinned).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    assert!(plan.decisions.key_steps.0.len() > 1);
}

#[test]
fn large_maps_of_a_batch_take_a_small_ring_and_few_cells() {
    let program = chain("large", 128, &[3, 4, 4]);
    // The mean of so many pixels has small weights, which round badly.
    let task = Task {
        max_logit_error: 0.1,
        ..task(&program, 512)
    };
    let plan = planner::choose(&task, &machine(16 * GIB), &pins(&[]), &kernel()).unwrap();
    let (d, forecast) = (plan.decisions, plan.forecast);
    assert_eq!(d.params.log_n, 14, "the smallest ring that is secure");
    // All images at once, in ciphertexts that they fill: few cells for 128 x 128 pixels.
    assert_eq!((forecast.groups, forecast.images_per_group), (1, 512));
    assert!(d.grid.cells() <= 32, "{}", d.grid);
}

#[test]
fn few_images_beyond_full_groups_get_a_layout_of_their_own() {
    let program = lowered("resnet20").program;
    let seconds = |images, pinned: &[&str]| {
        let plan = choose(&program, images, 16 * GIB, pinned).unwrap();
        (plan.forecast.predicted_seconds_infer, plan)
    };
    let (group, _) = seconds(256, &["bootstrap=never"]);
    let (both, plan) = seconds(257, &["bootstrap=never"]);
    let (equal, other) = seconds(257, &["bootstrap=never", "groups=equal"]);
    assert!(other.decisions.last.is_none());
    assert!(
        both < 0.8 * equal && both > group,
        "{group}, {both}, {equal}"
    );
    let (d, last) = (plan.decisions, plan.forecast.last.unwrap());
    assert_eq!((last.images, d.format), (1, FORMAT_UNEQUAL));
    assert_eq!(plan.forecast.groups, 2);
    let of_last = d.last.unwrap();
    assert_ne!((of_last.packing, of_last.grid), (d.packing, d.grid));
    // Full groups need none.
    let (_, full) = seconds(512, &["bootstrap=never"]);
    assert!(full.decisions.last.is_none());
}
