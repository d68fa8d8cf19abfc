//! Client and server by files, on small rings without security: the same logits as in one process, and nothing foreign,
//! damaged or secret is taken.

use std::fs;
use std::path::{Path, PathBuf};

use ckks_scheme::serial::ServerKeys;
use ckks_scheme::{EvaluationKeys, Level};
use datasets::{Dataset, Shape, Synthetic};
use he_layers::{Grid, Packing};
use he_models::Model;
use pipeline::answers::Answer::{Blanked, Given, Spoiled};
use pipeline::client::{Client, Randomness, SECRET_KEY_FILE, SERVER_FOLDER, SPEC_FILE, Sharing};
use pipeline::exchange::{ClientSpec, ExchangeError, PLAN_FILE};
use pipeline::inference::{self, Batch, Options};
use pipeline::planner::{self, Planned};
use pipeline::progress::Silent;
use pipeline::screening::Inputs;
use pipeline::server::{self, Server};
use tempfile::TempDir;

use crate::networks::{GIB, Small, machine, task};
use crate::spoiled::Pictures;
use crate::unequal::planned_with_last;

pub const IMAGES: usize = 7;

pub fn images() -> Synthetic {
    let shape = Shape {
        channels: 3,
        height: 8,
        width: 8,
    };
    Synthetic::with_shape(0, shape).unwrap()
}

/// The tiny network over a ring in which 4 images, or 8, are a group.
pub fn planned(model: &Model, packing: Packing) -> Planned {
    let program = model.lower().unwrap().program;
    let small = Small::new(9, 8, packing, Grid::new(8, 8));
    let (decisions, instance) = small.ready(&program, IMAGES);
    let task = task(&program, IMAGES);
    let plan = planner::forecast(&decisions, &instance, &task, &machine(GIB)).unwrap();
    Planned { plan, instance }
}

pub fn spec(model: &Model, planned: &Planned) -> ClientSpec {
    let (decisions, instance) = (&planned.plan.decisions, &planned.instance);
    ClientSpec::new(
        decisions,
        instance,
        model.classes(),
        model.conditioning(),
        None,
    )
    .with_logit_bounds(model.logit_bounds().unwrap())
}

/// A client's folder, written and read again.
pub struct Folder {
    pub dir: TempDir,
    planned: Planned,
    pub spec: ClientSpec,
}

impl Folder {
    pub fn new(packing: Packing, seed: u64) -> Self {
        let model = Model::bundled("tiny").unwrap();
        let planned = planned(&model, packing);
        Self::of(&model, planned, seed)
    }

    fn of(model: &Model, planned: Planned, seed: u64) -> Self {
        let spec = spec(model, &planned);
        let dir = tempfile::tempdir().unwrap();
        let mut randomness = Randomness::new(Some(seed));
        let params = &planned.instance.params;
        let (client, evaluation) = Client::generate(&spec, params, &mut randomness).unwrap();
        let public = client.public_key(&mut randomness).unwrap();
        let keys = ServerKeys { public, evaluation };
        client.save(dir.path(), &keys, &planned.plan).unwrap();
        Self { dir, planned, spec }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn client(&self, seed: u64) -> Client {
        let spec = ClientSpec::load(&self.path(SPEC_FILE)).unwrap();
        let params = &self.planned.instance.params;
        let mut randomness = Randomness::new(Some(seed));
        Client::open_for(spec, params, self.dir.path(), &mut randomness).unwrap()
    }

    fn keys(&self) -> EvaluationKeys {
        server::load_keys(&self.path(SERVER_FOLDER), &self.planned.instance.params).unwrap()
    }

    pub fn server(&self) -> Server<'_> {
        Server::new(&self.planned, &self.spec, self.keys()).unwrap()
    }

    /// Encrypts the images from a seed; the file.
    pub fn encrypt(&self, seed: u64) -> PathBuf {
        self.encrypt_from(&images(), seed)
    }

    fn encrypt_from(&self, data: &dyn Dataset, seed: u64) -> PathBuf {
        let file = self.path("batch.in");
        let mut client = self.client(seed);
        let batch = Batch {
            data,
            first: 0,
            images: IMAGES,
        };
        let inputs = Inputs::of_client(batch, &self.spec.input);
        client.encrypt_file(&inputs, &file, &Silent).unwrap();
        file
    }

    /// Images encrypted and run; the file of logits.
    fn result(&self, seed: u64) -> PathBuf {
        self.run(&self.encrypt(seed))
    }

    pub fn run(&self, images: &Path) -> PathBuf {
        let file = self.path("batch.out");
        let served = self.server().run_file(images, &file, &Silent);
        assert_eq!(served.unwrap().images, IMAGES);
        file
    }
}

pub fn refused<T: std::fmt::Debug>(result: Result<T, ExchangeError>, says: &str) {
    let error = result.unwrap_err();
    let words = error.to_string();
    assert!(words.contains(says), "{says:?} is not in {words}");
    assert!(error.is_bad_input(), "{words}");
}

#[test]
fn the_split_run_gives_the_logits_of_one_process_to_the_last_bit() {
    let model = Model::bundled("tiny").unwrap();
    let real = || planned(&model, Packing::Real);
    let complex = || planned(&model, Packing::Complex);
    let with_last = || planned_with_last(&model);
    for planned in [&real as &dyn Fn() -> Planned, &complex, &with_last] {
        let folder = Folder::of(&model, planned(), 5);
        let split = folder
            .client(5)
            .decrypt_file(&folder.result(5), None, &[], &Silent)
            .unwrap();
        assert!(split.flooding.is_none());

        let data = images();
        let batch = Batch {
            data: &data,
            first: 0,
            images: IMAGES,
        };
        let options = Options {
            seed: Some(5),
            logits: true,
            ..Options::default()
        };
        let report = inference::infer(&model, planned(), batch, options, &Silent).unwrap();
        assert_eq!(
            (report.agreement, report.groups),
            (1.0, folder.spec.grouping().count(IMAGES))
        );
        let logits = report.logits.unwrap();
        let whole: Vec<f64> = logits
            .iter()
            .flat_map(|l| l.encrypted.clone().unwrap())
            .collect();
        assert_eq!(split.logits, whole);
        // Another seed is other noise.
        let other = folder
            .client(5)
            .decrypt_file(&folder.result(6), None, &[], &Silent)
            .unwrap();
        assert_ne!(other.logits, whole);
    }
}

#[test]
fn an_upload_is_half_of_its_ciphertexts() {
    let folder = Folder::new(Packing::Real, 1);
    let upload = fs::metadata(folder.encrypt(1)).unwrap().len() as f64;
    let mut client = folder.client(1);
    let pixels = he_layers::PlainTensor::zeros(4, folder.spec.input.tensor.layout.shape());
    // Two groups. Words of 46 bits are packed on top of the halving.
    let memory = 2.0 * client.encrypt(&pixels).unwrap().bytes() as f64;
    let share = upload / memory;
    assert!((0.3..0.5).contains(&share), "{share}");
}

#[test]
fn images_and_logits_of_others_are_refused() {
    let (ours, theirs) = (Folder::new(Packing::Real, 1), Folder::new(Packing::Real, 2));
    let out = ours.path("out");
    let images = theirs.encrypt(3);
    refused(
        ours.server().run_file(&images, &out, &Silent),
        "belongs to the secret key",
    );
    refused(
        ours.client(1)
            .decrypt_file(&theirs.result(3), None, &[], &Silent),
        "belongs to the secret key",
    );
    // Each other's files of the right client.
    let (images, logits) = (ours.encrypt(3), ours.result(3));
    refused(
        ours.client(1).decrypt_file(&images, None, &[], &Silent),
        "what it holds is encrypted images, expected encrypted logits",
    );
    refused(
        ours.server().run_file(&logits, &out, &Silent),
        "what it holds is encrypted logits, expected encrypted images",
    );
    // Another layout over the same ring and key.
    let mut other = ours.spec.clone();
    other.model_checksum = "00".to_owned();
    let server = Server::new(&ours.planned, &other, ours.keys()).unwrap();
    refused(
        server.run_file(&images, &out, &Silent),
        "the client spec that it was encrypted for is",
    );
    let complex = Folder::new(Packing::Complex, 1);
    refused(
        Server::new(&complex.planned, &complex.spec, complex.keys())
            .unwrap()
            .run_file(&images, &out, &Silent),
        "the client spec that it was encrypted for is",
    );
    assert!(!out.exists());
}

#[test]
fn keys_of_another_plan_are_refused() {
    let folder = Folder::new(Packing::Real, 1);
    let mut wants_more = folder.spec.clone();
    let top = Level::new(wants_more.params.q_bits.len());
    wants_more.keys = vec![(
        ckks_scheme::KeyKind::Galois(ckks_scheme::Galois::Rotation(99)),
        top,
    )];
    let error = Server::new(&folder.planned, &wants_more, folder.keys());
    refused(
        error,
        "the evaluation keys are not those of this plan: no rotation by 99 key",
    );
}

#[test]
fn damaged_files_are_refused_and_leave_the_old_result() {
    let folder = Folder::new(Packing::Real, 1);
    let (server, client) = (folder.server(), folder.client(1));
    let (input, output) = (folder.encrypt(1), folder.result(1));
    let (images, logits) = (fs::read(&input).unwrap(), fs::read(&output).unwrap());
    let run = |bytes: &[u8]| {
        fs::write(&input, bytes).unwrap();
        server.run_file(&input, &output, &Silent).map(drop)
    };
    let decrypt = |bytes: &[u8]| {
        let file = folder.path("damaged.out");
        fs::write(&file, bytes).unwrap();
        client.decrypt_file(&file, None, &[], &Silent).map(drop)
    };
    type Read<'a> = &'a dyn Fn(&[u8]) -> Result<(), ExchangeError>;
    for (whole, read) in [(&images[..], &run as Read<'_>), (&logits, &decrypt)] {
        let places = (0..whole.len()).step_by(whole.len() / 60 + 1);
        for at in places.chain(0..100) {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x10;
            let error = read(&bytes).unwrap_err();
            assert!(error.is_bad_input(), "byte {at}: {error}");
        }
        for length in (0..whole.len()).step_by(whole.len() / 30 + 1) {
            let error = read(&whole[..length]).unwrap_err();
            assert!(error.is_bad_input(), "{length} bytes: {error}");
        }
        refused(read(&[whole, &[0][..]].concat()), "goes on after its end");
        // The last ciphertext in the place of the one before: every part knows its place.
        let (half, rest) = whole.split_at(whole.len() - whole.len() / 4);
        let swapped = [&half[..half.len() - rest.len()], rest, rest].concat();
        assert!(read(&swapped).is_err());
        read(whole).unwrap();
    }
    // The run of the undamaged file above wrote the same result again.
    assert_eq!(fs::read(&output).unwrap(), logits);
    run(&images[..images.len() / 2]).unwrap_err();
    assert_eq!(fs::read(&output).unwrap(), logits);
    let left_over = fs::read_dir(folder.dir.path()).unwrap();
    let names = left_over.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".part")).count(), 0);
}

#[test]
fn a_server_refuses_a_folder_with_a_secret_key_whatever_its_name() {
    let folder = Folder::new(Packing::Real, 1);
    let params = &folder.planned.instance.params;
    let secret = folder.path(SECRET_KEY_FILE);
    let says = "is a secret key: it must not lie where a server reads";
    refused(server::load_keys(folder.dir.path(), params), says);
    let copy = folder.path(SERVER_FOLDER).join("notes.txt");
    fs::copy(&secret, &copy).unwrap();
    refused(server::load_keys(&folder.path(SERVER_FOLDER), params), says);
    fs::remove_file(copy).unwrap();
    assert!(server::load_keys(&folder.path(SERVER_FOLDER), params).is_ok());
}

#[test]
fn a_folder_has_its_files_and_the_secret_is_the_owners_alone() {
    let folder = Folder::new(Packing::Real, 1);
    let names = |dir: &Path| {
        let entries = fs::read_dir(dir).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    assert_eq!(
        names(folder.dir.path()),
        [SPEC_FILE, SERVER_FOLDER, SECRET_KEY_FILE]
    );
    assert_eq!(
        names(&folder.path(SERVER_FOLDER)),
        ["evaluation.keys", "parameters", PLAN_FILE, "public.key"]
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.path(SECRET_KEY_FILE))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
    // Nothing takes the place of a secret key.
    let before = fs::read(folder.path(SECRET_KEY_FILE)).unwrap();
    let params = &folder.planned.instance.params;
    let mut randomness = Randomness::new(Some(2));
    let (client, evaluation) = Client::generate(&folder.spec, params, &mut randomness).unwrap();
    let public = client.public_key(&mut randomness).unwrap();
    let keys = ServerKeys { public, evaluation };
    let error = client.save(folder.dir.path(), &keys, &folder.planned.plan);
    assert!(matches!(error, Err(ExchangeError::KeyThere { .. })));
    assert_eq!(fs::read(folder.path(SECRET_KEY_FILE)).unwrap(), before);
    assert_eq!(folder.keys().id(), folder.client(1).key());
}

#[test]
fn shared_logits_are_flooded_and_say_by_how_much() {
    let folder = Folder::new(Packing::Real, 1);
    let (client, file) = (folder.client(1), folder.result(1));
    let exact = client.decrypt_file(&file, None, &[], &Silent).unwrap();
    let sharing = Sharing {
        results: 3,
        bits: 2.0,
    };
    let shared = || {
        client
            .decrypt_file(&file, Some(&sharing), &[], &Silent)
            .unwrap()
    };
    let (first, second) = (shared(), shared());
    // Fresh noise each time, of the size that is told.
    assert_ne!(first.logits, second.logits);
    let flooding = first.flooding.unwrap();
    assert_eq!(flooding.sharing, sharing);
    let pairs = first.logits.iter().zip(&exact.logits);
    let squares: Vec<f64> = pairs.map(|(a, b)| (a - b).powi(2)).collect();
    let found = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
    let ratio = found / flooding.deviation;
    assert!((0.5..2.0).contains(&ratio), "{ratio}");
    // More results take more noise, by the square root.
    let more = Sharing {
        results: 12,
        ..sharing
    };
    let more = client
        .decrypt_file(&file, Some(&more), &[], &Silent)
        .unwrap();
    let ratio = more.flooding.unwrap().deviation / flooding.deviation;
    assert!((ratio - 2.0).abs() < 1e-9, "{ratio}");
    // What the server says of its errors is not the last word.
    let mut wary = folder.spec.clone();
    wary.logit_error = Some(1e-3);
    let params = &folder.planned.instance.params;
    let wary = Client::open_for(wary, params, folder.dir.path(), &mut Randomness::new(None));
    let wary = wary
        .unwrap()
        .decrypt_file(&file, Some(&sharing), &[], &Silent);
    match wary {
        Ok(shared) => assert!(shared.flooding.unwrap().deviation > flooding.deviation),
        Err(error) => assert!(matches!(error, ExchangeError::Flooding { .. }), "{error}"),
    }
    let secret = Sharing {
        results: 1,
        bits: 100.0,
    };
    let error = client
        .decrypt_file(&file, Some(&secret), &[], &Silent)
        .unwrap_err();
    assert!(error.is_not_feasible(), "{error}");
    assert!(error.to_string().contains("at most "), "{error}");
}

#[test]
fn groups_with_logits_beyond_the_bounds_get_no_answers() {
    let folder = Folder::new(Packing::Real, 8);
    // Groups of four: the picture is in the second one.
    let file = folder.run(&folder.encrypt_from(&Pictures::new(&[5]), 8));
    let client = folder.client(8);
    let found = client.decrypt_file(&file, None, &[6], &Silent).unwrap();
    let expected = [Given, Given, Given, Given, Spoiled, Spoiled, Blanked];
    assert_eq!(found.answers.images, expected);
    assert_eq!(found.answers.spoiled[0].images, [4, 5]);
    assert!(found.answers.spoiled[0].beyond.contains(&5));
    // Noise does not hide it.
    let sharing = Sharing {
        results: 1,
        bits: 1.0,
    };
    let shared = client.decrypt_file(&file, Some(&sharing), &[6], &Silent);
    assert_eq!(shared.unwrap().answers, found.answers);

    let mut spec = folder.spec.clone();
    spec.logit_bounds = None;
    spec.save(&folder.path(SPEC_FILE)).unwrap();
    let found = folder.client(8).decrypt_file(&file, None, &[], &Silent);
    assert_eq!(found.unwrap().answers.images, [Given; IMAGES]);
}
