//! `polyphase train`, as far as it goes without a run at full size.

use super::infer::pictures;
use super::*;

#[test]
fn trainings_that_cannot_be_are_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("pictures.npy");
    pictures(&own, 40, &[]);
    let with = |more: &[&'static str]| {
        let common = ["train", "--model", "tiny", "--classes", "3"];
        let files = ["--data", text(&own), "--own-data", text(&own)];
        let more: Vec<String> = more.iter().map(|arg| (*arg).to_owned()).collect();
        let all = common.iter().chain(&files).map(|arg| (*arg).to_owned());
        all.chain(more).collect::<Vec<String>>()
    };
    for (more, code, says) in [
        (&["--rate", "0"][..], 2, "expected a number above 0"),
        (&["--momentum", "1"], 2, "up to but not including 1"),
        (&["--preset", "n17"], 2, "n16-precise"),
        (&["--until", "final.pool"], 3, "final.pool"),
        (&["--own-images", "41"], 3, "41"),
        (&["--own-images", "40", "--images", "41"], 3, "41"),
        (
            &[
                "--own-images",
                "40",
                "--images",
                "9",
                "--test-images",
                "9",
                "--norm-bound",
                "1e4",
            ],
            3,
            "norm of features",
        ),
    ] {
        let args = with(more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert_fails(&args, code, &[says]);
    }
}
