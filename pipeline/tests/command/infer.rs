//! `polyphase infer`, on the tiny bundled network.

use super::*;
use serde_json::Value;
use std::collections::BTreeSet;

/// Most that the predicted peak of the memory may be above the measured one, in these small runs.
const OVERESTIMATE_BYTES: f64 = 1e8;

/// The report of an inference and, for the same arguments, the plan.
struct Run {
    report: Value,
    plan: Value,
}

/// Runs the tiny network with these arguments of the planner, from a seed, so that what holds once holds always.
fn run(planning: &[&str]) -> Run {
    let memory = ["--model", "tiny", "--memory-gib", "4", "--json", "-"];
    let parsed = |command: &[&str]| -> Value {
        let args = [command, &memory, planning].concat();
        let output = polyphase(&args);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{args:?}: {}",
            stderr(&output)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    };
    Run {
        report: parsed(&["infer", "--seed", "3", "--logits"]),
        plan: parsed(&["plan"]),
    }
}

fn number(value: &Value, field: &str) -> f64 {
    value[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} in {value}"))
}

/// The answers are right, and what was predicted is a bound on what was measured.
fn assert_right(Run { report, plan }: &Run, images: usize, groups: u64) {
    assert_eq!(report["images"], images);
    let forecast = &plan["forecast"];
    assert_eq!(forecast["groups"], groups);
    assert_eq!(report["groups"], groups);
    assert_eq!(report["plan"], plan["decisions"]);
    for field in ["agreement", "agreement_rounded"] {
        assert_eq!(report[field], 1.0, "{field}");
    }
    assert!(number(report, "max_logit_error") <= 0.02 * number(report, "logit_std"));
    // Estimates that hold for this seed, and are worth something.
    for (field, estimate) in [
        ("max_logit_error", "predicted_max_logit_error"),
        (
            "max_logit_error_rounded",
            "predicted_max_logit_error_rounded",
        ),
    ] {
        let (found, estimate) = (number(report, field), number(report, estimate));
        assert!(
            0.0 < found && found <= estimate && estimate <= 30.0 * found,
            "{field} {found}, estimate {estimate}"
        );
    }

    let at_most = |measured: f64, predicted: f64, what: &str| {
        assert!(
            0.0 < measured && measured <= predicted,
            "{what}: {measured} measured, {predicted} predicted"
        );
    };
    let pool = number(forecast, "pool_bytes");
    at_most(number(report, "pool_high_water_bytes"), pool, "pool");
    if !report["peak_rss_bytes"].is_null() {
        let predicted = number(report, "predicted_peak_bytes");
        let peak = number(report, "peak_rss_bytes");
        at_most(peak, predicted, "process");
        // The process itself takes little beside what is counted.
        at_most(predicted, peak + OVERESTIMATE_BYTES, "prediction");
    }
    let steps = forecast["steps"].as_array().unwrap();
    let planned: Vec<&[Value]> = steps.chunk_by(|a, b| a["stage"] == b["stage"]).collect();
    assert_eq!(report["stages"].as_array().unwrap().len(), planned.len());
    for (stage, steps) in report["stages"].as_array().unwrap().iter().zip(planned) {
        assert_eq!(stage["name"], steps[0]["stage"]);
        assert_eq!(stage["level_in"], steps[0]["level_in"]);
        let finishes = |step: &&Value| step["ciphertexts_out"] != 0;
        let last = steps.iter().rfind(finishes).unwrap();
        assert_eq!(stage["ciphertexts"], last["ciphertexts_out"]);
        assert_eq!(stage["level_out"], last["level_out"]);
        let pools = steps.iter().map(|step| number(step, "pool_bytes"));
        let pool = pools.fold(0.0, f64::max);
        at_most(number(stage, "bytes"), pool, "stage");
    }
    for field in ["key_bytes", "predicted_peak_bytes", "bootstraps"] {
        assert_eq!(report[field], forecast[field], "{field}");
    }
}

#[test]
fn one_image_is_classified() {
    assert_right(&run(&["--batch", "1"]), 1, 1);
}

#[test]
fn a_part_of_a_group_is_classified_in_both_packings() {
    for packing in ["packing=real", "packing=complex"] {
        assert_right(&run(&["--batch", "7", "--pin", packing]), 7, 1);
    }
}

#[test]
fn several_groups_are_classified_in_both_packings() {
    let grid = ["--batch", "33", "--pin", "grid=16x32", "--pin"];
    let real = run(&[&grid[..], &["packing=real"]].concat());
    assert_right(&real, 33, 3);
    let complex = run(&[&grid[..], &["packing=complex"]].concat());
    assert_right(&complex, 33, 2);
    let plain = |run: &Run| -> Vec<Value> {
        let logits = run.report["logits"].as_array().unwrap();
        logits.iter().map(|l| l["plain"].clone()).collect()
    };
    assert_eq!(plain(&real), plain(&complex));
    let indices: Vec<_> = real.report["logits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indices, (0..33).collect::<Vec<u64>>());
}

#[test]
fn groups_of_blocks_larger_than_all_blocks_are_all_blocks() {
    let pins = ["--batch", "2", "--pin", "grid=4x4", "--pin", "blocks=500"];
    assert_right(&run(&pins), 2, 1);
}

#[test]
fn the_report_has_the_documented_fields() {
    let fields = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let expected =
        |names: &str| -> BTreeSet<String> { names.split_whitespace().map(str::to_owned).collect() };
    let all = "images accuracy_encrypted accuracy_plain agreement max_logit_error logit_std agreement_rounded \
               max_logit_error_rounded predicted_max_logit_error images_out_of_range \
               out_of_range images_blanked images_spoiled spoiled seconds_keygen seconds_warmup \
               seconds_encrypt seconds_infer seconds_decrypt seconds_per_image peak_rss_bytes pool_high_water_bytes \
               key_bytes log_n log_qp security_bits threads kernel seeded bootstraps stages predicted_seconds_infer \
               predicted_peak_bytes seconds_processor_infer predicted_max_logit_error_rounded model model_checksum data offset packing grid \
               groups plan processor revision seed";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    let args = [
        "infer",
        "--model",
        "tiny",
        "--batch",
        "2",
        "--threads",
        "2",
        "--offset",
        "5",
    ];
    let more = ["--profile", "--logits", "--json", text(&file)];
    let output = polyphase(&[&args[..], &more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(fields(&report), expected(&format!("{all} logits profile")));
    let stages = report["stages"].as_array().unwrap();
    for stage in stages {
        let names = "name seconds ciphertexts level_in level_out bytes";
        assert_eq!(fields(stage), expected(names));
    }
    assert_eq!(stages.len(), 4);
    assert_eq!(
        fields(&report["logits"][0]),
        expected("index label answer class encrypted plain")
    );
    assert_eq!(report["logits"][0]["index"], 5);
    assert!(report["logits"][1]["label"].is_null() && report["accuracy_encrypted"].is_null());
    assert_eq!(
        fields(&report["profile"][0]),
        expected("operation count seconds share")
    );
    assert_eq!(report["threads"], 2);
    assert_eq!(report["security_bits"], 128);
    assert_eq!(report["seeded"], false);
    assert!(report["seed"].is_null());
    assert_eq!(report["bootstraps"], 0);
    assert_eq!(
        (&report["model"], &report["offset"]),
        (&"tiny".into(), &5.into())
    );
    assert_eq!(report["model_checksum"].as_str().unwrap().len(), 64);
    assert_eq!(report["plan"]["model_checksum"], report["model_checksum"]);
    assert!(
        report["data"].as_str().unwrap().contains("synthetic"),
        "{}",
        report["data"]
    );
    for field in ["processor", "revision", "packing", "grid"] {
        assert!(!report[field].as_str().unwrap().is_empty(), "{field}");
    }

    // A table for people, and on standard error one line a stage, without escape codes.
    assert!(stdout(&output).contains("same top-1") && stdout(&output).contains("operation"));
    let lines = stderr(&output).lines();
    assert_eq!(
        lines
            .filter(|l| l.starts_with("encrypted inference: stage"))
            .count(),
        2
    );
    assert!(!stderr(&output).contains('\u{1b}'));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn logits_without_a_report_to_put_them_into_are_a_usage_error() {
    let args = ["infer", "--model", "tiny", "--logits"];
    assert_fails(&args, 2, &["--json <FILE|->", "not provided"]);
}

/// The encrypted logits of 3 images.
fn logits(args: &[&str]) -> (Value, String) {
    let common = [
        "infer",
        "--model",
        "tiny",
        "--batch",
        "3",
        "--memory-gib",
        "4",
        "--logits",
        "--json",
        "-",
    ];
    let output = polyphase(&[&common, args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let encrypted = report["logits"].as_array().unwrap().iter();
    let seed = args.iter().position(|arg| *arg == "--seed");
    assert_eq!(report["seeded"], seed.is_some());
    let says = "keys and encryptions from a seed: reproducible, not secure";
    assert_eq!(stderr(&output).contains(says), seed.is_some());
    let seed = seed.map(|at| args[at + 1].parse::<u64>().unwrap());
    assert_eq!(report["seed"].as_u64(), seed);
    let logits = encrypted.map(|l| l["encrypted"].clone()).collect();
    (logits, report["kernel"].as_str().unwrap().to_owned())
}

#[test]
fn a_seed_gives_the_same_logits_to_the_last_bit_on_every_kernel_and_number_of_threads() {
    let grid = ["--pin", "grid=8x16", "--kernel"];
    let of = |seed: &[&str], rest: &[&str]| logits(&[&grid[..], rest, seed].concat());
    let seed = ["--seed", "11"];
    let (first, kernel) = of(&seed, &["auto", "--threads", "2"]);
    assert_eq!(of(&seed, &["auto", "--threads", "3"]).0, first);
    assert_ne!(of(&["--seed", "12"], &["auto"]).0, first);
    let system = [of(&[], &["auto"]).0, of(&[], &["auto"]).0];
    assert!(system[0] != system[1] && !system.contains(&first));
    // Where the processor has one kernel only there is nothing to compare.
    if kernel != "scalar" {
        let (scalar, name) = of(&seed, &["scalar", "--threads", "1"]);
        assert_eq!((scalar, name.as_str()), (first, "scalar"));
    }
    if kernel != "avx512ifma" {
        let args = ["infer", "--model", "tiny", "--kernel", "avx512ifma"];
        assert_fails(&args, 4, &["avx512ifma", "not available"]);
    }
}

#[test]
fn a_written_plan_gives_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("plan.ron");
    let pins = [
        "--pin",
        "grid=8x8",
        "--pin",
        "packing=complex",
        "--pin",
        "blocks=2",
    ];
    let planning = [
        "plan",
        "--model",
        "tiny",
        "--batch",
        "3",
        "--out",
        text(&plan),
    ];
    let output = polyphase(&[&planning[..], &pins].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let seed = ["--seed", "5"];
    let pinned = logits(&[&pins[..], &seed].concat());
    assert_eq!(logits(&["--plan", text(&plan), "--seed", "5"]), pinned);
}

/// `infer` fails before it has computed anything, and leaves no file.
fn assert_refused(args: &[&str], code: i32, says: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let json = ["--json", text(&report)];
    assert_fails(&[&["infer"], args, &json].concat(), code, says);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{args:?}");
}

/// A copy of the tiny network, its model file changed by `edit`.
fn model(edit: impl Fn(String) -> String) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../he-models/checkpoints/tiny");
    let dir = tempfile::tempdir().unwrap();
    let ron = fs::read_to_string(from.join("tiny.ron")).unwrap();
    fs::write(dir.path().join("tiny.ron"), edit(ron)).unwrap();
    fs::copy(
        from.join("tiny.safetensors"),
        dir.path().join("tiny.safetensors"),
    )
    .unwrap();
    dir
}

#[test]
fn models_that_cannot_be_used_are_refused() {
    assert_refused(
        &["--model", "resnet2000"],
        3,
        &["unknown model `resnet2000`", "tiny"],
    );
    assert_refused(&["--model", "no/such.ron"], 3, &["no/such.ron"]);

    let refused = |dir: &TempDir, says: &[&str]| {
        assert_refused(&["--model", text(&dir.path().join("tiny.ron"))], 3, says);
    };
    let dir = model(|ron| ron);
    let weights = dir.path().join("tiny.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 1]).unwrap();
    refused(&dir, &["weights of model `tiny`", "SHA-256 is"]);
    fs::write(&weights, "foreign").unwrap();
    refused(&dir, &["weights of model `tiny`"]);
    fs::remove_file(&weights).unwrap();
    refused(&dir, &["cannot read", "tiny.safetensors"]);

    let unchecked = model(|ron| {
        let without = |line: &&str| !line.contains("sha256: \"");
        ron.lines().filter(without).collect::<Vec<_>>().join("\n")
    });
    let truncated = &whole[..whole.len() - 1];
    fs::write(unchecked.path().join("tiny.safetensors"), truncated).unwrap();
    refused(
        &unchecked,
        &["weights of model `tiny`", "not a whole safetensors file"],
    );

    let narrower = model(|ron| ron.replacen("kernel: (3, 3)", "kernel: (1, 1)", 1));
    refused(&narrower, &["tensor `", "has shape [", "expected ["]);
    refused(
        &model(|ron| ron[..ron.len() / 2].to_owned()),
        &["tiny.ron`, line"],
    );
}

#[test]
fn data_that_cannot_be_used_is_refused() {
    let dir = data(5);
    let both = ["--data", text(dir.path())];
    let refused = |args: &[&str], says: &[&str]| assert_refused(&[&both, args].concat(), 3, says);
    let left = "CIFAR-10 test split: 2 images left after the first 3, expected at least 3";
    refused(&["--offset", "3", "--batch", "3"], &[left]);
    refused(
        &["--batch", "6"],
        &["5 images left after the first 0, expected at least 6"],
    );
    refused(
        &["--batch", &usize::MAX.to_string(), "--offset", "7"],
        &["0 images left"],
    );
    refused(
        &["--model", "tiny"],
        &["CIFAR-10 test split: found images of 3 x 32 x 32; expected images of 3 x 8 x 8"],
    );

    let file = dir.path().join("cifar-10-batches-bin/test_batch.bin");
    let mut bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..10_000]).unwrap();
    refused(&[], &["found 10000 bytes"]);
    bytes[3073] = 10;
    fs::write(&file, bytes).unwrap();
    refused(&[], &["found label 10 in record 1"]);
    fs::remove_file(&file).unwrap();
    refused(&[], &["found CIFAR-100; expected CIFAR-10"]);
    assert_refused(&["--data", "no/such/folder"], 3, &["no/such/folder"]);
}

/// A `.npy` file of `count` pictures of 3 x 8 x 8 values, those of `strong` far beyond what any picture has.
pub fn pictures(path: &Path, count: usize, strong: &[usize]) {
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, 3, 8, 8), }}");
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    for image in 0..count {
        let size = if strong.contains(&image) { 20.0 } else { 0.2 };
        let value = |at: usize| 0.45 + size * (((at + image) / 3 % 5) as f32 - 2.0) / 2.0;
        bytes.extend((0..192).flat_map(|at| value(at).to_le_bytes()));
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn images_out_of_range_are_blanked_refused_or_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pictures.npy");
    pictures(&file, 9, &[3, 6]);
    let common = [
        "infer",
        "--model",
        "tiny",
        "--memory-gib",
        "4",
        "--data",
        text(&file),
    ];
    let batch = ["--offset", "1", "--batch", "7", "--logits", "--json", "-"];
    let run = |policy: &[&str]| {
        let output = polyphase(&[&common[..], &batch, policy].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&report["images"], &report["images_out_of_range"]),
            (&7.into(), &2.into())
        );
        let left = report["out_of_range"].as_array().unwrap();
        assert_eq!(
            (&left[0]["index"], &left[1]["index"]),
            (&3.into(), &6.into())
        );
        assert!(number(&left[0], "share") > 1.0 && left[0]["name"].is_null());
        (report, stderr(&output).to_owned())
    };

    for policy in [&[][..], &["--out-of-range", "blank"]] {
        let (report, says) = run(policy);
        let warning = "warning: 2 images out of the declared range: ";
        assert!(
            says.contains(warning) && says.contains("no answer for 3, 6"),
            "{says}"
        );
        assert_eq!(report["images_blanked"], serde_json::json!([3, 6]));
        assert_eq!(report["images_spoiled"], 0);
        assert_eq!(report["agreement"], 1.0);
        for record in report["logits"].as_array().unwrap() {
            let blanked = record["index"] == 3 || record["index"] == 6;
            let answer = if blanked { "blanked" } else { "given" };
            assert_eq!(record["answer"], answer);
            assert_eq!(record["class"].is_null(), blanked);
            assert_eq!(record["encrypted"].is_null(), blanked);
        }
    }

    let (report, says) = run(&["--out-of-range", "allow"]);
    assert!(says.contains("can spoil the others"), "{says}");
    assert!(says.contains("warning: no answer for 7 images"), "{says}");
    assert_eq!(report["images_blanked"], serde_json::json!([]));
    assert_eq!(report["images_spoiled"], 7);
    assert_eq!(
        report["spoiled"][0]["images"],
        serde_json::json!([1, 2, 3, 4, 5, 6, 7])
    );
    assert!(report["agreement"].is_null());

    let report = dir.path().join("report.json");
    let refused = [
        "--batch",
        "9",
        "--out-of-range",
        "refuse",
        "--json",
        text(&report),
    ];
    let output = polyphase(&[&common[..], &refused].concat());
    assert_eq!((output.status.code(), stdout(&output)), (Some(3), ""));
    // After the plan and the plaintext evaluation, before any key is made.
    let error = stderr(&output).lines().last().unwrap();
    for part in [
        "error: 2 of 9 images leave",
        "image 3 with ",
        "image 6 with ",
        "stage1.block1.act1",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    assert!(!stderr(&output).contains("keys: ") && !report.exists());
    let args = [&common[..], &["--out-of-range", "ignore"]].concat();
    assert_fails(&args, 2, &["refuse, blank, allow"]);
}

#[test]
fn too_little_memory_is_refused_with_the_least_that_would_do() {
    let tiny = ["--model", "tiny", "--batch", "9", "--memory-gib"];
    let args = [&tiny[..], &["0.2"]].concat();
    let says = "memory of 0.21 GB is not enough for 9 images of tiny: at least ";
    assert_refused(&args, 4, &[says]);
    let output = polyphase(&[&["infer"], &args[..]].concat());
    let (_, least) = stderr(&output).split_once("(`--memory-gib ").unwrap();
    let (least, _) = least.split_once("`)").unwrap();
    let output = polyphase(&[&["infer", "--json", "-"], &tiny[..], &[least]].concat());
    assert_eq!(
        output.status.code(),
        Some(0),
        "{least}: {}",
        stderr(&output)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bound = least.parse::<f64>().unwrap() * f64::from(1 << 30);
    assert!(number(&report, "predicted_peak_bytes") <= bound);
    assert_eq!(report["agreement"], 1.0);
}

#[test]
fn reports_that_cannot_be_written_are_found_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none/report.json");
    let fails = |path: &Path, says| assert_fails(&["infer", "--json", text(path)], 3, &[says]);
    fails(&none, "its folder is not there");
    fails(dir.path(), "it is a folder");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let mut child = Command::new(env!("CARGO_BIN_EXE_polyphase"))
        .args([
            "infer",
            "--model",
            "tiny",
            "--batch",
            "20000",
            "--pin",
            "grid=16x32",
        ])
        .args(["--json", text(&report)])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut says = |what: &str| {
        lines
            .by_ref()
            .map(Result::unwrap)
            .any(|l| l.starts_with(what))
    };
    assert!(says("encrypted inference: stem"));
    let kill = ["-INT", &child.id().to_string()];
    assert!(Command::new("kill").args(kill).status().unwrap().success());
    assert!(says("error: interrupted"));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn timelines_are_written_and_other_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let planning = [
        "--model",
        "tiny",
        "--batch",
        "20",
        "--memory-gib",
        "4",
        "--threads",
        "2",
    ];
    let pins = ["--pin", "grid=16x32", "--pin", "packing=real"];
    let args = |file: &Path| -> Vec<String> {
        let args = [
            &["infer"],
            &planning[..],
            &pins,
            &["--timeline", text(file)],
        ]
        .concat();
        args.into_iter().map(str::to_owned).collect()
    };
    let run = |file: &Path| {
        let args = args(file);
        polyphase(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (json, svg) = (dir.path().join("run.json"), dir.path().join("run.svg"));
    for file in [&json, &svg] {
        let output = run(file);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let trace: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let spans = |pid: u64, tids: std::ops::Range<u64>| {
        let of = move |e: &&Value| {
            let tid = e["tid"].as_u64().unwrap();
            e["ph"] == "X" && e["pid"] == pid && tids.contains(&tid)
        };
        events.iter().filter(of).collect::<Vec<_>>()
    };
    let (steps, predicted) = (spans(1, 0..1), spans(2, 0..1));
    // As many steps in both of the groups.
    assert!(!steps.is_empty() && steps.len() % 2 == 0);
    assert_eq!(steps.len(), predicted.len());
    // The memory of each, against its bound.
    for step in &steps {
        let args = &step["args"];
        let (bytes, bound) = (
            number(args, "pool_bytes"),
            number(args, "predicted_pool_bytes"),
        );
        assert!(bound / 10.0 < bytes && bytes <= bound, "{step}");
    }
    let phases = spans(1, 1..2);
    let phases: Vec<&str> = phases.iter().filter_map(|e| e["name"].as_str()).collect();
    let before = ["plaintext network", "memory", "keys"];
    let of_group = ["encryption", "decryption"];
    assert_eq!(phases, [&before[..], &of_group, &of_group].concat());
    let work = spans(1, 2..4);
    assert_eq!(work.len(), spans(1, 2..100).len());
    let end = |e: &Value| number(e, "ts") + number(e, "dur");
    let ends = |of: &[&Value]| of.iter().map(|e| end(e)).fold(0.0, f64::max);
    let (first, last) = (number(steps[0], "ts"), ends(&steps));
    assert!(work.len() > 100);
    for span in &work {
        // Nanoseconds are cut off to microseconds.
        assert!(number(span, "ts") >= first - 2.0 && end(span) <= last + 2.0);
    }
    // Workers do one thing at a time, and something most of the time.
    for worker in 2..4 {
        let mut row = spans(1, worker..worker + 1);
        row.sort_by(|a, b| number(a, "ts").total_cmp(&number(b, "ts")));
        for pair in row.windows(2) {
            assert!(number(pair[1], "ts") >= end(pair[0]) - 2.0, "{pair:?}");
        }
    }
    let busy: f64 = work.iter().map(|e| number(e, "dur")).sum();
    let all: f64 = steps.iter().map(|e| number(e, "dur")).sum();
    assert!(busy <= 2.0 * all && busy > 0.2 * all, "{busy} of {all}");
    let picture = fs::read_to_string(&svg).unwrap();
    assert!(picture.contains("worker 1") && !picture.contains("worker 2"));

    for name in ["run.png", "run", "svg"] {
        let args = args(&dir.path().join(name));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert_fails(&args, 2, &["expected a name that ends in .svg or .json"]);
    }
    let nowhere = args(&dir.path().join("none/run.svg"));
    let nowhere: Vec<&str> = nowhere.iter().map(String::as_str).collect();
    assert_fails(&nowhere, 3, &["run.svg", "cannot be written"]);
}
