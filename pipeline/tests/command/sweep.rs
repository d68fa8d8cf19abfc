//! `polyphase sweep`.

use super::*;
use serde_json::Value;

#[test]
fn sweeps_are_measured_kept_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let [json, csv, svg] = ["json", "csv", "svg"].map(|end| dir.path().join(format!("s.{end}")));
    let common = [
        "sweep",
        "--model",
        "tiny",
        "--memory-gib",
        "2",
        "--seed",
        "1",
    ];
    let files = [
        "--json",
        text(&json),
        "--csv",
        text(&csv),
        "--svg",
        text(&svg),
    ];
    let sweep = |batches: &str| {
        let output = polyphase(&[&common[..], &files, &["--batches", batches]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("reproducible, not secure"));
        let table: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
        (table, stdout(&output).to_owned())
    };
    let (table, lines) = sweep("3");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let row = &table["rows"][0];
    assert_eq!((&row["batch"], &row["agreement"]), (&3.into(), &1.0.into()));
    let number = |field: &str| row[field].as_f64().unwrap();
    assert!(number("peak_rss_bytes") <= number("predicted_peak_bytes"));
    assert!(number("seconds_infer") > 0.0 && number("predicted_seconds_infer") > 0.0);

    let (more, lines) = sweep("1,3");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    // The row that was there was not measured again.
    assert_eq!(&more["rows"][1], row);
    assert_eq!(more["rows"][0]["batch"], 1);
    assert_eq!(fs::read_to_string(&csv).unwrap().lines().count(), 3);
    assert!(
        fs::read_to_string(&svg)
            .unwrap()
            .contains("seconds per image")
    );
    // With nothing left to measure, the files are written anew.
    fs::remove_file(&csv).unwrap();
    fs::remove_file(&svg).unwrap();
    let (same, _) = sweep("1,3");
    assert_eq!(same, more);
    assert!(svg.is_file());
    assert_eq!(fs::read_to_string(&csv).unwrap().lines().count(), 3);

    let other = [&common[..], &files, &["--threads", "1"]].concat();
    if more["settings"]["threads"] != 1 {
        let says = ["s.json: threads is", "expected 1 to go on"];
        assert_fails(&other, 3, &says);
    }
    fs::write(&json, "{}").unwrap();
    let again = [&common[..], &files].concat();
    assert_fails(&again, 3, &["sweep", "s.json"]);
    assert_eq!(fs::read_to_string(&json).unwrap(), "{}");
}

#[test]
fn sweeps_that_only_plan_need_no_data_and_run_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("s.csv");
    let common = ["sweep", "--model", "tiny", "--simulate", "--threads", "48"];
    let args = [&common[..], &["--memory-gib", "4", "--csv", text(&csv)]].concat();
    let output = polyphase(&[&args[..], &["--batches", "1,1000000,1000000000000000"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = stdout(&output);
    // A batch that does not fit says so below its line.
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(lines.contains("is not enough"), "{lines}");
    let csv = fs::read_to_string(&csv).unwrap();
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert_fails(&[&args[..], &["--data", "x"]].concat(), 2, &["--simulate"]);
    assert_fails(
        &[&args[..], &["--batches", "0"]].concat(),
        2,
        &["--batches"],
    );
}
