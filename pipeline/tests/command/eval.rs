//! `polyphase eval`, and what is the same for all commands.

use super::*;
use serde_json::Value;

#[test]
fn help_explains_with_examples() {
    let output = polyphase(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("eval") && stderr(&output).is_empty());
    let output = polyphase(&["eval", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("Examples:\n  polyphase eval --data"));
    assert!(stdout(&polyphase(&["--version"])).starts_with("polyphase "));
}

#[test]
fn usage_errors_exit_with_2() {
    let batch = ["--batch <B>", "expected a whole number from 1 on"];
    let offset = ["--offset <K>", "expected a whole number from 0 on"];
    let threads = ["--threads <T>", "expected a whole number from 1 on"];
    for (args, says) in [
        (&["eval", "--batch", "0"][..], &batch[..]),
        (&["eval", "--batch", "-1"], &batch),
        (&["eval", "--batch", "many"], &batch),
        (&["eval", "--offset", "-1"], &offset),
        (&["eval", "--threads", "0"], &threads),
        (
            &["eval", "--no-such-flag"],
            &["unexpected argument '--no-such-flag'"],
        ),
        (
            &["no-such-command"],
            &["unrecognized subcommand 'no-such-command'"],
        ),
    ] {
        assert_fails(args, 2, says);
    }
    assert_eq!(polyphase(&[]).status.code(), Some(2));
}

#[test]
fn bad_input_exits_with_3() {
    let dir = data(5);
    let (both, ten) = (dir.path(), dir.path().join("cifar-10-batches-bin"));
    let eval = |rest: &[&str], says: &[&str]| assert_fails(&[&["eval"], rest].concat(), 3, says);

    eval(
        &["--model", "resnet2000"],
        &["resnet2000", "resnet20, resnet34"],
    );
    eval(&["--model", "no/such/file.ron"], &["no/such/file.ron"]);
    eval(
        &["--data", "no/such/folder"],
        &["no/such/folder", "found nothing there"],
    );
    eval(
        &["--data", text(&ten), "--model", "resnet34"],
        &["found CIFAR-10; expected CIFAR-100"],
    );
    eval(
        &["--data", text(both), "--batch", "6"],
        &["CIFAR-10 test split: 5 images left after the first 0, expected at least 6"],
    );
    eval(
        &["--data", text(both), "--offset", "3", "--batch", "3"],
        &["2 images left after the first 3, expected at least 3"],
    );
    eval(
        &["--data", text(both), "--offset", "5"],
        &["0 images left after the first 5, expected at least 1"],
    );
    eval(
        &[
            "--data",
            text(both),
            "--batch",
            &usize::MAX.to_string(),
            "--offset",
            "7",
        ],
        &["0 images left after the first 7"],
    );

    let file = ten.join("test_batch.bin");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..10_000]).unwrap();
    eval(
        &["--data", text(both)],
        &[
            "test_batch.bin: found 10000 bytes",
            "multiple of 3073",
            "truncated or foreign",
        ],
    );
    let mut foreign = whole;
    foreign[3073] = 255;
    fs::write(&file, foreign).unwrap();
    eval(
        &["--data", text(&ten)],
        &["test_batch.bin: found label 255 in record 1"],
    );
}

#[test]
fn unwritable_reports_are_found_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    assert_fails(
        &["eval", "--json", text(&dir.path().join("none/report.json"))],
        3,
        &["its folder is not there"],
    );
    assert_fails(
        &["eval", "--json", text(dir.path())],
        3,
        &["it is a folder"],
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn assert_eval_report(report: &Value, images: u64, accuracy: bool, layers: usize) {
    let keys: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "accuracy",
            "images",
            "images_out_of_range",
            "max_input_by_layer"
        ]
    );
    assert_eq!(report["images"], images);
    assert_eq!(report["accuracy"].is_f64(), accuracy);
    assert_eq!(report["accuracy"].is_null(), !accuracy);
    let inputs = report["max_input_by_layer"].as_array().unwrap();
    assert_eq!(inputs.len(), layers);
    for input in inputs {
        assert!(input["name"].is_string());
        assert!(
            input["max_abs"].as_f64().unwrap() > 0.0 && input["declared"].as_f64().unwrap() > 0.0
        );
    }
}

#[test]
fn eval_writes_json_and_nothing_else_to_standard_output() {
    let dir = data(7);
    let output = polyphase(&[
        "eval",
        "--data",
        text(dir.path()),
        "--offset",
        "2",
        "--json",
        "-",
        "--threads",
        "1",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eval_report(
        &serde_json::from_slice(&output.stdout).unwrap(),
        5,
        true,
        19,
    );
    // Not a terminal: one line, without escape codes.
    assert_eq!(stderr(&output).lines().count(), 1);
    assert!(stderr(&output).starts_with("plaintext resnet20 on CIFAR-10 test split: 5 images, "));
}

#[test]
fn robustness_is_told_family_by_family() {
    let args = ["eval", "--model", "tiny", "--batch", "6", "--json", "-"];
    let of = |robustness: &str| -> Value {
        let output = polyphase(&[&args[..], &[robustness]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("robustness: drawings, "),
            "{}",
            stderr(&output)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let report = of("--robustness=10");
    let families = report["robustness"].as_array().unwrap();
    assert_eq!(families.len(), 24);
    let counts: Vec<(&str, u64)> = families
        .iter()
        .map(|family| {
            let keys: Vec<_> = family.as_object().unwrap().keys().collect();
            let names =
                "activation family images images_blown_up images_out_of_range largest_share left_first";
            assert_eq!(keys, names.split(' ').collect::<Vec<_>>());
            assert!(family["activation"].is_string());
            let [images, left, blown_up] = ["images", "images_out_of_range", "images_blown_up"]
                .map(|field| family[field].as_u64().unwrap());
            assert!(left <= images && blown_up <= images);
            let first = family["left_first"].as_array().unwrap().iter();
            let sum: u64 = first.map(|first| first["images"].as_u64().unwrap()).sum();
            assert_eq!(sum, left);
            if let Some(share) = family["largest_share"].as_f64() {
                assert_eq!(share > 1.0, left > 0, "{family}");
            }
            (family["family"].as_str().unwrap(), images)
        })
        .collect();
    for expected in [
        ("the images themselves", 6),
        ("contrast x4", 6),
        ("black-and-white noise, cells of 8", 10),
        ("single colours", 729),
        ("drawings", 50),
    ] {
        assert!(counts.contains(&expected), "{expected:?}");
    }
    assert_eq!(of("--robustness=10"), report);
    // The first family is what the rest of the report is about.
    assert_eq!(
        families[0]["images_out_of_range"],
        report["images_out_of_range"]
    );

    let output = polyphase(&["eval", "--model", "tiny", "--batch", "2", "--robustness=1"]);
    assert!(
        stdout(&output).contains("\nsharpening x3  "),
        "{}",
        stdout(&output)
    );
    assert_fails(&["eval", "--robustness=0"], 2, &["from 1 on"]);
}

#[test]
fn a_plan_says_how_weights_are_rounded() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plan.ron");
    let plan = ["plan", "--batch", "5", "--memory-gib", "4", "--out"];
    let output = polyphase(&[&plan, &[text(&file), "--model", "tiny"][..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));

    // Two groups of at most 512, the last of them not full; neither the batch nor the memory of the plan matters.
    let args = ["eval", "--plan", text(&file), "--batch", "600"];
    let args = [&args[..], &["--model", "tiny", "--json", "-"]].concat();
    let output = polyphase(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["images"], 600);
    assert!(report["accuracy_rounded"].is_null());
    let rounding = ["max_logit_error_rounded", "logit_std", "agreement_rounded"];
    let [error, deviation, agreement] = rounding.map(|key| report[key].as_f64().unwrap());
    assert!(
        0.0 < error && error < 0.01 * deviation && agreement > 0.98,
        "{report}"
    );

    let says = ["plan: model is tiny, expected resnet20"];
    assert_fails(&["eval", "--plan", text(&file)], 3, &says);
    // The same name, other weights.
    let plan = fs::read_to_string(&file).unwrap();
    let foreign = plan.replacen("model_checksum: \"", "model_checksum: \"00", 1);
    fs::write(&file, foreign).unwrap();
    let args = ["eval", "--model", "tiny", "--plan", text(&file)];
    assert_fails(&args, 3, &["plan: model checksum is 00"]);
    assert_fails(&["eval", "--plan", "no/plan.ron"], 3, &["no/plan.ron"]);
}

#[test]
fn eval_writes_a_table_beside_the_json_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    for _ in 0..2 {
        let output = polyphase(&[
            "eval",
            "--batch",
            "3",
            "--model",
            "resnet34",
            "--json",
            text(&file),
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            stdout(&output).contains("images out of range")
                && stdout(&output).contains("stage4.block3.act2")
        );
        assert_eval_report(
            &serde_json::from_slice(&fs::read(&file).unwrap()).unwrap(),
            3,
            false,
            33,
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn synthetic_images_stay_in_the_declared_ranges_of_bundled_models() {
    for model in ["resnet20", "resnet34"] {
        let output = polyphase(&["eval", "--model", model, "--batch", "64", "--json", "-"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["images_out_of_range"], 0, "{model}");
        for input in report["max_input_by_layer"].as_array().unwrap() {
            // Declared is twice what training images reach.
            let share = input["max_abs"].as_f64().unwrap() / input["declared"].as_f64().unwrap();
            assert!((0.1..0.8).contains(&share), "{model}: {input}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn reports_to_devices_leave_the_device_there() {
    use std::os::unix::fs::FileTypeExt;
    let output = polyphase(&["eval", "--batch", "1", "--json", "/dev/null"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
}
