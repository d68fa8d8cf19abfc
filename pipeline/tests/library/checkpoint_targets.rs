//! The files of a checkpoint as functions of bytes: a server that takes up a run which an earlier process has begun.

use std::fs;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use ckks_scheme::KeyId;
use ckks_scheme::serial::{CiphertextReader, CiphertextWriter};
use datasets::{Shape, Synthetic};
use he_layers::Program;
use he_models::Model;
use pipeline::checkpoint::Checkpoint;
use pipeline::client::{Client, Randomness};
use pipeline::exchange::{ClientSpec, ExchangeError};
use pipeline::inference::Batch;
use pipeline::planner::{self, Planned};
use pipeline::progress::{Progress, Silent, Unit};
use pipeline::screening::Inputs;
use pipeline::server::{Served, Server};
use tempfile::TempDir;

use crate::networks::{GIB, machine, task};
use crate::targets::{IMAGES, plain, repaired};

/// What the hash of a run's description is derived with.
const RUN_CONTEXT: &str = "polyphase pipeline 1 run file";
const RUN: &str = "server/run";
const STATE: &str = "server/group-0.state";
const LOGITS: &str = "server/group-0.logits";
/// What the server reads and writes.
const IN: &str = "images";
const OUT: &str = "logits";

/// A server, a client's images, and what a run of them leaves.
struct Begun {
    dir: TempDir,
    server: Server<'static>,
    program: Program,
    planned: &'static Planned,
    key: KeyId,
    run: Vec<u8>,
    state: Vec<u8>,
    logits: Vec<u8>,
}

/// Keeps the last state that is there when a stage of the network begins.
struct Keeper {
    path: PathBuf,
    kept: Mutex<Vec<u8>>,
}

impl Progress for Keeper {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn stage(&self, _: &str) {
        if let Ok(bytes) = fs::read(&self.path) {
            *self.kept.lock().unwrap() = bytes;
        }
    }
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, _: &str) {}
}

impl Begun {
    fn new() -> Self {
        let ready = plain();
        let forecast = planner::forecast(
            &ready.decisions,
            &ready.instance,
            &task(&ready.program, IMAGES),
            &machine(GIB),
        );
        // Tests and fuzzing need one, and for as long as they run.
        let planned = Box::leak(Box::new(Planned {
            plan: forecast.unwrap(),
            instance: ready.instance,
        }));
        let model = Model::bundled("tiny").unwrap();
        let (decisions, instance) = (&planned.plan.decisions, &planned.instance);
        let classes = &model.classes()[..3];
        let spec = ClientSpec::new(decisions, instance, classes, None, None);
        let spec = Box::leak(Box::new(spec));

        let dir = tempfile::tempdir().unwrap();
        let mut randomness = Randomness::new(Some(1));
        let (mut client, keys) =
            Client::generate(spec, &planned.instance.params, &mut randomness).unwrap();
        let shape = spec.input.tensor.layout.shape();
        let shape = Shape {
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
        };
        let images = Synthetic::with_shape(0, shape).unwrap();
        let batch = Batch {
            data: &images,
            first: 0,
            images: IMAGES,
        };
        let inputs = Inputs::of_client(batch, &spec.input);
        let file = dir.path().join(IN);
        client.encrypt_file(&inputs, &file, &Silent).unwrap();

        let mut this = Self {
            key: keys.id(),
            server: Server::new(planned, spec, keys).unwrap(),
            program: ready.program,
            planned,
            dir,
            run: Vec::new(),
            state: Vec::new(),
            logits: Vec::new(),
        };
        let keeper = Keeper {
            path: this.path(STATE),
            kept: Mutex::default(),
        };
        this.resume(&keeper).unwrap();
        this.run = fs::read(this.path(RUN)).unwrap();
        this.logits = fs::read(this.path(LOGITS)).unwrap();
        this.state = keeper.kept.into_inner().unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn resume(&self, progress: &dyn Progress) -> Result<Served, ExchangeError> {
        let mut checkpoint = Checkpoint::open(self.dir.path())?;
        let (images, output) = (self.path(IN), self.path(OUT));
        self.server
            .run_file_kept(&images, &output, Some(&mut checkpoint), progress)
    }

    /// Leaves just these files of a run in the folder.
    fn put(&self, run: &[u8], group: Option<(&str, &[u8])>) {
        fs::write(self.path(RUN), run).unwrap();
        for name in [STATE, LOGITS, OUT] {
            let _ = fs::remove_file(self.path(name));
        }
        if let Some((name, bytes)) = group {
            fs::write(self.path(name), bytes).unwrap();
        }
    }

    /// A file of a group with other metadata and checksums that belong to it.
    fn with_metadata(&self, file: &[u8], metadata: &[u8]) -> Vec<u8> {
        let params = &self.planned.instance.params;
        let reader = CiphertextReader::new(file, params, self.key).unwrap();
        let count = reader.announced();
        let mut out = CiphertextWriter::new(Vec::new(), params, self.key, metadata, count).unwrap();
        for ct in reader {
            out.push(&ct.unwrap()).unwrap();
        }
        out.finish().unwrap()
    }

    fn metadata(&self, file: &[u8]) -> Vec<u8> {
        let params = &self.planned.instance.params;
        let reader = CiphertextReader::new(file, params, self.key).unwrap();
        reader.metadata().to_vec()
    }
}

static BEGUN: LazyLock<Mutex<Begun>> = LazyLock::new(|| Mutex::new(Begun::new()));

/// What the corpus begins with: a description, and the metadata of a state and of logits.
pub fn seeds() -> [Vec<u8>; 3] {
    let begun = BEGUN.lock().unwrap();
    let metadata = |file: &[u8], kind: u8| [&[kind][..], &begun.metadata(file)].concat();
    [
        begun.run.clone(),
        metadata(&begun.state, 0),
        metadata(&begun.logits, 1),
    ]
}

/// A description of a run, as it is, and once more with the right checksum. Its plan is obeyed as far as an instance.
pub fn fuzz_run(bytes: &[u8]) -> bool {
    let begun = BEGUN.lock().unwrap();
    let read = |bytes: &[u8]| {
        begun.put(bytes, None);
        let opened = Checkpoint::open(begun.dir.path());
        if let Ok(Some(decisions)) = opened.as_ref().map_or(Ok(None), Checkpoint::decisions) {
            let _ = decisions.instantiate_over(&begun.program, &begun.planned.instance.params);
        }
        drop(opened);
        begun.resume(&Silent).is_ok()
    };
    let is_read = read(bytes);
    read(&repaired(bytes, RUN_CONTEXT));
    is_read
}

/// The metadata of a group's file: of a state if the first byte is even, of logits if it is odd.
pub fn fuzz_group(bytes: &[u8]) -> bool {
    let Some((kind, metadata)) = bytes.split_first() else {
        return false;
    };
    let begun = BEGUN.lock().unwrap();
    let (name, file) = match kind % 2 {
        0 => (STATE, &begun.state),
        _ => (LOGITS, &begun.logits),
    };
    begun.put(
        &begun.run,
        Some((name, &begun.with_metadata(file, metadata))),
    );
    let result = begun.resume(&Silent);
    if let Ok(served) = &result {
        assert_eq!(served.images, IMAGES);
        assert!(begun.path(OUT).exists());
    }
    result.is_ok()
}
