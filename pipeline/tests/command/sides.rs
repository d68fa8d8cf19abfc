//! `polyphase keygen`, `encrypt`, `run` and `decrypt`: client and server as processes, on the tiny bundled network.

use super::*;
use serde_json::Value;
use std::path::PathBuf;

use super::infer::pictures;

const PLANNING: [&str; 8] = [
    "--model",
    "tiny",
    "--batch",
    "3",
    "--memory-gib",
    "4",
    "--pin",
    "grid=8x16",
];

/// A folder with keys, encrypted images and encrypted logits, all from seed 11.
struct Sides(TempDir);

/// Runs a command that succeeds.
fn done(args: &[&str]) -> Output {
    let output = polyphase(args);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
    output
}

fn json(args: &[&str]) -> Value {
    let output = done(&[args, &["--json", "-"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Sides {
    fn keys() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        let keys = this.path("keys");
        let args = [&["keygen"], &PLANNING[..], &["--seed", "11"]].concat();
        done(&[&args[..], &["--out", text(&keys)]].concat());
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn encrypt(&self, seed: &str, out: &Path) -> Value {
        let keys = self.path("keys");
        json(&[
            "encrypt",
            "--keys",
            text(&keys),
            "--batch",
            "3",
            "--seed",
            seed,
            "--out",
            text(out),
        ])
    }

    fn run_args(&self) -> Vec<String> {
        let [eval, input, out] = ["keys/eval", "in", "out"].map(|name| self.path(name));
        let args = ["run", "--model", "tiny", "--memory-gib", "4", "--eval-keys"];
        let mut args: Vec<String> = args.map(str::to_owned).to_vec();
        args.push(text(&eval).to_owned());
        for (flag, path) in [("--in", input), ("--out", out)] {
            args.extend([flag.to_owned(), text(&path).to_owned()]);
        }
        args
    }

    fn run(&self) -> Value {
        let args = self.run_args();
        json(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn decrypt(&self, more: &[&str]) -> Vec<String> {
        let [keys, out] = ["keys", "out"].map(|name| self.path(name));
        let args = ["decrypt", "--keys", text(&keys), "--in", text(&out)];
        let all = args.iter().chain(more);
        all.map(|arg| (*arg).to_owned()).collect()
    }
}

/// The command fails with this code and, after what it has told so far, one sentence that says all of these.
fn assert_refuses(args: &[&str], code: i32, says: &[&str]) {
    let output = polyphase(args);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert_eq!(stdout(&output), "", "{args:?}");
    let last = error.lines().last().unwrap();
    assert!(last.starts_with("error: "), "{args:?}: {error}");
    for part in says {
        assert!(last.contains(part), "{args:?}: {part:?} is not in {last}");
    }
}

fn borrowed(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn three_processes_give_the_logits_of_one_to_the_last_bit() {
    let sides = Sides::keys();
    let encrypted = sides.encrypt("11", &sides.path("in"));
    assert_eq!(encrypted["images"], 3);
    assert_eq!(encrypted["seeded"], true);
    let file = fs::metadata(sides.path("in")).unwrap().len();
    assert_eq!(encrypted["file_bytes"], file);
    let report = sides.run();
    assert_eq!(
        (&report["images"], &report["groups"]),
        (&3.into(), &1.into())
    );
    assert_eq!(report["stages"].as_array().unwrap().len(), 4);
    for field in ["seconds_infer", "seconds_load", "key_bytes", "file_bytes"] {
        assert!(report[field].as_f64().unwrap() > 0.0, "{field}");
    }
    let decrypted = json(&borrowed(&sides.decrypt(&[])));
    assert!(decrypted["flooding"].is_null());
    let predictions = decrypted["predictions"].as_array().unwrap();

    let args = [&["infer"], &PLANNING[..], &["--seed", "11", "--logits"]].concat();
    let whole = json(&args);
    let whole = whole["logits"].as_array().unwrap();
    assert_eq!(predictions.len(), whole.len());
    for (index, (split, whole)) in predictions.iter().zip(whole).enumerate() {
        assert_eq!(split["logits"], whole["encrypted"]);
        assert_eq!(split["index"], index);
        let class = usize::try_from(split["class"].as_u64().unwrap()).unwrap();
        let logits = split["logits"].as_array().unwrap();
        let best = logits.iter().map(|l| l.as_f64().unwrap());
        let best = best.fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(logits[class], best);
    }

    // For people: a line for each image, and a word on what the logits are.
    let output = done(&borrowed(&sides.decrypt(&[])));
    assert!(stdout(&output).lines().count() >= 4, "{}", stdout(&output));
    let says = "exact decryptions, for the key's owner alone";
    let file = sides.path("logits.json");
    let output = done(&borrowed(&sides.decrypt(&["--json", text(&file)])));
    assert!(stderr(&output).contains(says), "{}", stderr(&output));
}

#[test]
fn randomness_is_the_systems_unless_there_is_a_seed_which_is_said() {
    let dirs = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let keys = dirs.each_ref().map(|dir| dir.path().join("keys"));
    let says = "reproducible, not secure";
    let secrets = keys.each_ref().map(|keys| {
        let args = [&["keygen"], &PLANNING[..], &["--out", text(keys)]].concat();
        assert!(!stderr(&done(&args)).contains(says));
        fs::read(keys.join("secret.key")).unwrap()
    });
    assert_ne!(secrets[0], secrets[1]);
    let file = dirs[0].path().join("in");
    let args = ["encrypt", "--keys", text(&keys[0]), "--batch", "1", "--out"];
    let args = [&args[..], &[text(&file)]].concat();
    let images = [0; 2].map(|_| {
        assert!(!stderr(&done(&args)).contains(says));
        fs::read(&file).unwrap()
    });
    assert_ne!(images[0], images[1]);
    let seeded = done(&[&args[..], &["--seed", "0"]].concat());
    assert!(stderr(&seeded).contains(says));
    assert!(!images.contains(&fs::read(&file).unwrap()));
    let other = dirs[1].path().join("seeded");
    let args = [&["keygen"], &PLANNING[..], &["--out", text(&other)]].concat();
    let seeded = done(&[&args[..], &["--seed", "0"]].concat());
    assert!(stderr(&seeded).contains(says));
    assert!(!secrets.contains(&fs::read(other.join("secret.key")).unwrap()));
}

#[test]
fn shared_logits_say_how_many_results_and_bits() {
    let sides = Sides::keys();
    sides.encrypt("1", &sides.path("in"));
    sides.run();
    let share = |bits| sides.decrypt(&["--share-with-server", "2", "--share-bits", bits]);
    let mut refused = share("128");
    let says = ["sharing 2 results with 128 bits of security", "bits"];
    assert_refuses(&borrowed(&refused), 4, &says);
    refused.truncate(5);
    refused.extend(["--share-bits".to_owned(), "3".to_owned()]);
    assert_fails(&borrowed(&refused), 2, &["--share-with-server"]);
    let json = ["--json", "-"].map(str::to_owned).to_vec();
    let report = polyphase(&borrowed(&[share("0"), json].concat()));
    // The tiny network's logits bear that much noise or the refusal says so.
    if report.status.code() == Some(0) {
        let report: Value = serde_json::from_slice(&report.stdout).unwrap();
        assert_eq!(report["flooding"]["results"], 2);
        assert!(report["flooding"]["deviation"].as_f64().unwrap() > 0.0);
    } else {
        assert_eq!(report.status.code(), Some(4), "{}", stderr(&report));
    }
}

#[test]
fn a_server_takes_no_folder_with_a_secret_key() {
    let sides = Sides::keys();
    sides.encrypt("1", &sides.path("in"));
    let mut args = sides.run_args();
    let keys = sides.path("keys");
    let at = args.iter().position(|arg| arg == "--eval-keys").unwrap() + 1;
    args[at] = text(&keys).to_owned();
    let says = [
        "secret.key",
        "is a secret key: it must not lie where a server reads",
    ];
    assert_fails(&borrowed(&args), 3, &says);
    assert!(!sides.path("out").exists());
    // The folder for the server is enough: it runs without the rest, wherever it lies.
    fs::remove_file(sides.path("keys/secret.key")).unwrap();
    fs::remove_file(sides.path("keys/client.spec")).unwrap();
    sides.run();
}

#[test]
fn what_belongs_to_others_is_refused() {
    let (ours, theirs) = (Sides::keys(), Sides(tempfile::tempdir().unwrap()));
    let keys = theirs.path("keys");
    done(&[&["keygen"], &PLANNING[..], &["--out", text(&keys)]].concat());
    theirs.encrypt("1", &ours.path("in"));
    let args = ours.run_args();
    assert_refuses(&borrowed(&args), 3, &["belongs to the secret key"]);
    ours.encrypt("1", &ours.path("in"));
    let resnet = [&borrowed(&args)[..], &["--model", "resnet20"]].concat();
    let mut other = args.clone();
    let at = other.iter().position(|arg| arg == "tiny").unwrap();
    other[at] = "resnet20".to_owned();
    assert!(polyphase(&resnet).status.code() == Some(2));
    assert_fails(
        &borrowed(&other),
        3,
        &["plan: model is tiny, expected resnet20"],
    );
    ours.run();
    fs::copy(ours.path("out"), theirs.path("out")).unwrap();
    assert_fails(
        &borrowed(&theirs.decrypt(&[])),
        3,
        &["belongs to the secret key"],
    );
    fs::copy(ours.path("in"), ours.path("out")).unwrap();
    let says = "what it holds is encrypted images, expected encrypted logits";
    assert_fails(&borrowed(&ours.decrypt(&[])), 3, &[says]);
}

#[test]
fn what_is_missing_or_there_already_is_said() {
    let sides = Sides::keys();
    let keys = sides.path("keys");
    let again = [&["keygen"], &PLANNING[..], &["--out", text(&keys)]].concat();
    assert_fails(&again, 3, &["secret.key", "is there already"]);
    let none = sides.path("none");
    let args = ["--keys", text(&none), "--out", text(&none)];
    assert_fails(&[&["encrypt"], &args[..]].concat(), 3, &["client.spec"]);
    assert_fails(&borrowed(&sides.decrypt(&[])), 3, &["out\": opening"]);
    let args = sides.run_args();
    assert_refuses(&borrowed(&args), 3, &["in\": opening"]);
    let cifar = data(3);
    let args = ["--keys", text(&keys), "--data", text(cifar.path())];
    assert_fails(
        &[&["encrypt"], &args[..], &["--out", text(&none)]].concat(),
        3,
        &["expected images of 3 x 8 x 8"],
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let secret = sides.path("keys/secret.key");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        let args = ["encrypt", "--keys", text(&keys), "--out", text(&none)];
        assert_fails(&args, 3, &["others can read this secret key"]);
    }
    assert!(!none.exists());
}

#[test]
fn a_secret_key_under_a_passphrase_takes_the_passphrase_to_open() {
    let sides = Sides(tempfile::tempdir().unwrap());
    let (right, wrong, empty) = (
        sides.path("right"),
        sides.path("wrong"),
        sides.path("empty"),
    );
    fs::write(&right, "correct horse\nand a second line\n").unwrap();
    fs::write(&wrong, "correct horse \n").unwrap();
    fs::write(&empty, "\n").unwrap();
    let (keys, images) = (sides.path("keys"), sides.path("in"));
    let under = |file| ["--passphrase-file", text(file)];
    let keygen = [
        &["keygen", "--seed", "11", "--out", text(&keys)],
        &PLANNING[..],
    ]
    .concat();
    let says = ["passphrase file", "no first line, expected 1 to 4096 bytes"];
    assert_fails(&[&keygen[..], &under(&empty)].concat(), 3, &says);
    assert!(!keys.exists());
    done(&[&keygen[..], &under(&right)].concat());
    let args = [
        "encrypt",
        "--keys",
        text(&keys),
        "--batch",
        "3",
        "--seed",
        "11",
    ];
    let encrypt = [&args[..], &["--out", text(&images)]].concat();
    assert_fails(
        &encrypt,
        3,
        &["is protected by a passphrase, and none was given"],
    );
    let says = ["cannot be opened with this passphrase"];
    assert_fails(&[&encrypt[..], &under(&wrong)].concat(), 3, &says);
    done(&[&encrypt[..], &under(&right)].concat());
    sides.run();
    let decrypt = sides.decrypt(&[]);
    let decrypt = borrowed(&decrypt);
    assert_fails(
        &decrypt,
        3,
        &["is protected by a passphrase, and none was given"],
    );
    let protected = json(&[&decrypt[..], &under(&right)].concat());

    // The same key without a passphrase gives the same logits.
    let plain = Sides::keys();
    plain.encrypt("11", &plain.path("in"));
    plain.run();
    let unprotected = json(&borrowed(&plain.decrypt(&[])));
    assert_eq!(protected["predictions"], unprotected["predictions"]);
    // A passphrase for a key that needs none is no error.
    let decrypt = plain.decrypt(&[]);
    done(&[&borrowed(&decrypt)[..], &under(&right)].concat());
}

#[test]
fn help_teaches_the_four_commands() {
    let output = done(&["keygen", "--help"]);
    for command in ["keygen", "encrypt", "run", "decrypt"] {
        let example = format!("polyphase {command} ");
        assert!(stdout(&output).contains(&example), "{command}");
        let own = done(&[command, "--help"]);
        assert!(stdout(&own).contains(&example), "{command}");
    }
}

#[cfg(unix)]
#[test]
fn a_killed_writer_leaves_the_old_file_or_the_new_one() {
    let sides = Sides::keys();
    let file = sides.path("in");
    sides.encrypt("2", &file);
    let new = fs::read(&file).unwrap();
    sides.encrypt("1", &file);
    let old = fs::read(&file).unwrap();
    assert_ne!(old, new);
    let keys = sides.path("keys");
    let mut killed = 0;
    for milliseconds in [1, 20, 50, 100, 150, 200, 250, 300, 400] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_polyphase"))
            .args(["encrypt", "--keys", text(&keys), "--batch", "3"])
            .args(["--seed", "2", "--out", text(&file)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        let found = fs::read(&file).unwrap();
        assert!(found == old || found == new, "after {milliseconds} ms");
    }
    assert!(killed > 0);
    // The next one that is not killed leaves nothing but its file.
    sides.encrypt("2", &file);
    assert_eq!(fs::read(&file).unwrap(), new);
    let names = fs::read_dir(sides.0.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.filter(|name| name.ends_with(".part")).collect();
    assert_eq!(names, Vec::<String>::new());
}

#[test]
fn a_client_that_has_the_network_leaves_out_what_would_spoil_others() {
    let sides = Sides::keys();
    let [keys, file, out] = ["keys", "pictures.npy", "in"].map(|name| sides.path(name));
    pictures(&file, 4, &[2]);
    let common = ["encrypt", "--keys", text(&keys), "--data", text(&file)];
    let common = [&common[..], &["--offset", "1", "--batch", "3"]].concat();
    let common = [&common[..], &["--out", text(&out)]].concat();
    let encrypt = |more: &[&str]| {
        let output = done(&[&common[..], more, &["--json", "-"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (report, stderr(&output).to_owned())
    };
    let decrypt = |more: &[&str]| {
        let report = json(&borrowed(&sides.decrypt(more)));
        let of = report["predictions"].as_array().unwrap().clone();
        let answers = of.iter().map(|p| p["answer"].as_str().unwrap().to_owned());
        (answers.collect::<Vec<_>>(), report)
    };

    let (report, says) = encrypt(&["--model", "tiny"]);
    assert!(says.contains("decrypt with --blanked 1"), "{says}");
    assert_eq!(report["blanked"], serde_json::json!([1]));
    assert_eq!(report["out_of_range"][0]["index"], 2);
    sides.run();
    let (answers, report) = decrypt(&["--blanked", "1"]);
    assert_eq!(answers, ["given", "blanked", "given"]);
    assert!(report["predictions"][1]["logits"].is_null());
    let table = done(&borrowed(&sides.decrypt(&["--blanked", "1"])));
    assert!(stdout(&table).contains("no answer: left out"));

    // Without a look, and against advice: found out after the decryption.
    let (report, _) = encrypt(&[]);
    assert!(report["out_of_range"].is_null());
    let (report, _) = encrypt(&["--model", "tiny", "--out-of-range", "allow"]);
    assert_eq!(report["blanked"], serde_json::json!([]));
    sides.run();
    let (answers, report) = decrypt(&[]);
    assert_eq!(answers, ["spoiled"; 3]);
    assert_eq!(report["images_spoiled"], 3);
    let words = stderr(&done(&borrowed(&sides.decrypt(&[])))).to_owned();
    assert!(words.contains("warning: no answer for 3 images"), "{words}");

    let refused = [
        &common[..],
        &["--model", "tiny", "--out-of-range", "refuse"],
    ]
    .concat();
    let says = ["1 of 3 images leave a declared range", "image 2"];
    assert_refuses(&refused, 3, &says);
    let other = [&common[..], &["--model", "resnet20"]].concat();
    let says = "expected the network tiny that the keys are for";
    assert_refuses(&other, 3, &["model resnet20: its checksum is", says]);
    let alone = [&common[..], &["--out-of-range", "allow"]].concat();
    assert_fails(&alone, 2, &["--model"]);
}
