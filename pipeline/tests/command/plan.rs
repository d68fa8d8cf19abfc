//! `polyphase plan`.

use super::*;
use serde_json::Value;

fn plan(args: &[&str]) -> Output {
    let output = polyphase(&[&["plan"], args].concat());
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {}",
        stderr(&output)
    );
    output
}

#[test]
fn numbers_and_pins_that_make_no_sense_are_usage_errors() {
    let usage = |flag: &str, value: &str, says: &str| {
        for command in ["plan", "infer"] {
            assert_fails(
                &[command, flag, value],
                2,
                &[&format!("'{value}' for '{flag}"), says],
            );
        }
    };
    for batch in ["0", "-3", "many", "1.5", "", "99999999999999999999"] {
        usage("--batch", batch, "expected a whole number from 1 on");
    }
    for gib in ["NaN", "-1", "0", "inf", "much"] {
        usage("--memory-gib", gib, "expected a number of GiB above 0");
    }
    for grid in ["grid=0x0", "grid=3x4", "grid=8"] {
        usage(
            "--pin",
            grid,
            "expected grid=ROWSxCOLUMNS, both powers of two",
        );
    }
    usage("--pin", "blocks=0", "expected blocks=1 to blocks=65536");
    let bootstrap = "expected bootstrap=never, bootstrap=allowed or bootstrap=N";
    usage("--pin", "bootstrap=0", bootstrap);
    usage("--max-logit-error", "0", "expected a number above 0");
    usage("--pin", "log_n=12", "expected log_n=13 to log_n=17");
    usage(
        "--pin",
        "groups=some",
        "expected groups=equal or groups=any",
    );
    usage(
        "--pin",
        "speed=high",
        "expected KEY=VALUE with one of the keys log_n, packing,",
    );
    usage("--kernel", "fast", "auto, scalar, avx2, avx512ifma");
    usage("--threads", "0", "expected a whole number from 1 on");
}

#[test]
fn batches_of_any_size_are_planned() {
    for batch in [1, 7, 32, 100, 512, 600, 10_000, 1_000_000] {
        let output = plan(&[
            "--model",
            "tiny",
            "--memory-gib",
            "4",
            "--batch",
            &batch.to_string(),
            "--json",
            "-",
        ]);
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let forecast = &plan["forecast"];
        let per_group = forecast["images_per_group"].as_u64().unwrap();
        assert_eq!(
            forecast["groups"],
            u64::div_ceil(batch, per_group),
            "{batch}"
        );
        assert!(forecast["predicted_peak_bytes"].as_u64().unwrap() <= 4 << 30);
    }
    // The logits alone of so many images fill every memory.
    let args = [
        "plan",
        "--model",
        "tiny",
        "--batch",
        &usize::MAX.to_string(),
    ];
    assert_fails(
        &args,
        4,
        &["is not enough for 18446744073709551615 images of tiny"],
    );
}

#[test]
fn what_is_not_feasible_says_so() {
    let fails = |args: &[&str], says: &[&str]| assert_fails(&[&["plan"], args].concat(), 4, says);
    fails(
        &["--memory-gib", "1"],
        &[
            "memory of 1.07 GB is not enough for 32 images of resnet20",
            "at least ",
            "GB are needed (`--memory-gib ",
        ],
    );
    fails(
        &["--pin", "log_n=13"],
        &["resnet20 needs 21 primes of at least 36 bits", "N = 2^13"],
    );
    fails(
        &["--model", "tiny", "--pin", "grid=512x512"],
        &["no layout fits tiny", "512x512", "65536 slots"],
    );
}

#[test]
fn plans_of_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.ron");
    plan(&[
        "--model",
        "tiny",
        "--batch",
        "5",
        "--memory-gib",
        "4",
        "--out",
        text(&file),
    ]);
    let good = fs::read_to_string(&file).unwrap();
    let obeyed = [
        "--model",
        "tiny",
        "--batch",
        "5",
        "--memory-gib",
        "4",
        "--plan",
        text(&file),
    ];
    assert!(stdout(&plan(&obeyed)).starts_with("tiny, 5 images: "));

    let fails = |args: &[&str], code: i32, says: &str| {
        for command in ["plan", "infer"] {
            assert_fails(
                &[&[command], args, &["--plan", text(&file)]].concat(),
                code,
                &[says],
            );
        }
    };
    fails(
        &["--model", "tiny", "--batch", "6"],
        3,
        "plan: batch is 5, expected 6",
    );
    fails(
        &["--batch", "5"],
        3,
        "plan: model is tiny, expected resnet20",
    );
    fails(
        &["--model", "tiny", "--batch", "5", "--memory-gib", "0.3"],
        4,
        "memory of 0.32 GB is not enough",
    );
    fails(&["--pin", "blocks=1"], 2, "cannot be used with");

    let refused = |from: &str, to: &str, says: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        fs::write(&file, changed).unwrap();
        fails(&["--model", "tiny", "--batch", "5"], 3, says);
    };
    refused("format: 2", "format: 1", "plan: format is 1, expected 2");
    refused(
        "model_checksum: \"",
        "model_checksum: \"00",
        "plan: model checksum is 00",
    );
    refused("log_scale: ", "log_scale: 4", "plan: log_scale is 4");
    let blocks = "plan: channel blocks at a time is 0, expected 1 to 65536";
    refused("blocks_at_a_time: [", "blocks_at_a_time: [0,", blocks);
    refused(
        "blocks_at_a_time: [",
        "blocks_at_a_time: [1,",
        "plan: steps is ",
    );
    refused(
        "key_steps: ([",
        "key_steps: ([(70),",
        "plan: level of keys is 70",
    );
    refused(
        "refreshes: [",
        "refreshes: [\"x\",",
        "plan: refreshed node is x",
    );
    refused(
        "digits: ",
        "digits: 0, //",
        "digits is 0, expected 1 or more",
    );
    refused("steps: [", "steps: [], rest: [", "plan.ron");
    fs::write(&file, "garbage").unwrap();
    fails(&["--model", "tiny"], 3, "plan.ron: ");
    fs::write(&file, [0xff, 0xfe]).unwrap();
    fails(&["--model", "tiny"], 3, "plan.ron: ");
    fs::remove_file(&file).unwrap();
    fails(&["--model", "tiny"], 3, "plan.ron: ");
}

#[cfg(target_os = "linux")]
#[test]
fn an_endless_plan_file_is_refused() {
    for command in ["plan", "infer", "eval"] {
        let args = [command, "--model", "tiny", "--plan", "/dev/zero"];
        assert_fails(&args, 3, &["plan file /dev/zero: it is no regular file"]);
    }
}

#[test]
fn files_of_a_plan_are_written_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (ron, svg) = (dir.path().join("plan.ron"), dir.path().join("plan.svg"));
    let missing = dir.path().join("none/file");
    let tiny = ["plan", "--model", "tiny"];
    for files in [
        ["--out", text(&ron), "--svg", text(&missing)],
        ["--svg", text(&svg), "--out", text(&missing)],
    ] {
        assert_fails(
            &[&tiny[..], &files].concat(),
            3,
            &["none/file: cannot be written", "folder"],
        );
    }
    let files = ["--out", text(&ron), "--svg", text(&svg)];
    assert_fails(
        &[&tiny[..], &files, &["--memory-gib", "0.1"]].concat(),
        4,
        &["memory of 0.11 GB is not enough"],
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    plan(&[&["--model", "tiny"], &files[..]].concat());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn the_picture_is_well_formed_and_shows_every_stage() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.svg");
    plan(&["--model", "tiny", "--batch", "3", "--svg", text(&file)]);
    let svg = fs::read_to_string(&file).unwrap();
    assert!(
        svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" ") && svg.ends_with("</svg>\n")
    );
    for stage in ["stem", "stage1.block1", "stage2.block1", "final"] {
        assert!(svg.contains(&format!(">{stage}</text>")), "{stage}");
    }
    // Every tag is closed, and no attribute is a number that is none.
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert!(!text.contains('>'), "{text}");
        let name = tag.split(' ').next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
        assert!(
            !tag.contains("NaN") && !tag.contains("inf") && !tag.contains("=\"-"),
            "{tag}"
        );
    }
    assert!(open.is_empty());
}

#[test]
fn plans_for_other_machines_take_their_threads_memory_and_speed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("machine.ron");
    let machine = |threads: usize, forward: f64| {
        let costs = "inverse: 1e-10, conversion: 1e-10, inner_product: 1e-10, matrix_product: 1e-10, residue: 1e-10, \
             product: 1e-10, moved: 1e-10, permuted: 1e-10, embedding: 1e-10, key_byte: 1e-10, diagonal_byte: 1e-10";
        let rings = (13..=17).map(|ring| format!("{ring}: {{1: (forward: {forward:e}, {costs})}}"));
        let rings = rings.collect::<Vec<_>>().join(", ");
        let text = format!(
            "(format: 1, processor: \"imagined\", threads: {threads}, memory_bytes: 3000000000, \
             speed: (kernel: \"imagined\", rings: {{{rings}}}), spread: {{}})"
        );
        fs::write(&file, text).unwrap();
    };
    let plan = |more: &[&str]| {
        let args = ["plan", "--model", "tiny", "--batch", "100", "--json", "-"];
        let args = [&args[..], &["--machine", text(&file)], more].concat();
        let output = polyphase(&args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let seconds = plan["forecast"]["predicted_seconds_infer"]
            .as_f64()
            .unwrap();
        assert!(plan["forecast"]["predicted_peak_bytes"].as_u64().unwrap() <= 3_000_000_000);
        (plan["decisions"]["threads"].as_u64().unwrap(), seconds)
    };
    machine(3, 1e-10);
    let (threads, fast) = plan(&[]);
    assert_eq!(threads, 3);
    assert_eq!(plan(&["--threads", "5"]).0, 5);
    machine(3, 1e-7);
    let (_, slow) = plan(&[]);
    assert!(slow > 10.0 * fast, "{slow} against {fast}");
    // For a run here the kernel has to be the one that runs.
    let infer = ["infer", "--model", "tiny", "--machine", text(&file)];
    let says = "kernel is imagined, expected ";
    assert_fails(&infer, 3, &["machine file", says]);
    machine(0, 1e-10);
    let none = ["plan", "--machine", text(&file)];
    assert_fails(
        &none,
        3,
        &["machine.ron: threads is 0, expected 1 to 65536"],
    );
    fs::remove_file(&file).unwrap();
    assert_fails(&none, 3, &["machine file", "machine.ron"]);
}
