//! A server over HTTP, and its client: `cargo run --release -p pipeline --example http` runs both, on the loopback interface.
//!
//! ```text
//! POST   /batches              encrypted images, as `polyphase encrypt` writes them; gives the batch's name
//! GET    /batches/NAME         how far it is: {"state": "waiting" | "running" | "done" | "failed", "percent": .., "error": ..}
//! GET    /batches/NAME/logits  encrypted logits, as `polyphase decrypt` reads them; the batch is forgotten after that
//! DELETE /batches/NAME         forgets it
//! ```
//!
//! Uploads have limits of size and time, and go to the disk as they arrive. The server keeps few batches, and forgets each
//! after a while: nothing is left of a client that vanishes. Names are random, so that nobody meets the batch of another by
//! chance. What is missing for the open network: encryption of the transport (the ciphertexts need none, but who may use the
//! server is said there) and limits for each client, both of which a reverse proxy has.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path as Name, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use ckks_scheme::exec::KernelChoice;
use ckks_scheme::serial::ServerKeys;
use datasets::{Dataset, Shape, Synthetic};
use futures_util::StreamExt;
use he_models::Model;
use pipeline::client::{Client, Randomness, SERVER_FOLDER};
use pipeline::estimate::time::Speed;
use pipeline::exchange::{ClientSpec, PLAN_FILE};
use pipeline::inference;
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, Pins, Task};
use pipeline::progress::{Progress, Silent, Unit};
use pipeline::screening::Inputs;
use pipeline::server::{self, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const MODEL: &str = "tiny";
const IMAGES: usize = 20;

/// Largest upload in bytes.
const MOST_BYTES: u64 = 1 << 30;
/// Longest upload.
const MOST_UPLOAD: Duration = Duration::from_secs(60);
/// Batches at a time, those whose logits nobody has fetched yet included.
const MOST_BATCHES: usize = 4;
/// How long a batch is kept after its upload began.
const KEPT: Duration = Duration::from_secs(600);

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let keys = folder.path().join("keys");
    make_keys(&keys)?;
    let address = start_server(&keys.join(SERVER_FOLDER))?;
    println!("server: http://{address}");
    client(&keys, &format!("http://{address}/batches"))
}

// The server.

/// A batch that the server knows.
struct Batch {
    begun: Instant,
    /// Its files; they go when it is forgotten.
    folder: Arc<TempDir>,
    state: &'static str,
    error: Option<String>,
    progress: Arc<Counter>,
}

/// Predicted milliseconds: those that are over, and all of them.
#[derive(Default)]
struct Counter {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress for Counter {
    fn begin(&self, _: &str, total: Option<u64>, _: Unit) {
        let total = total.unwrap_or(0);
        self.total.fetch_add(total, Ordering::Relaxed);
    }
    fn stage(&self, _: &str) {}
    fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
    }
    fn finish(&self) {}
    fn note(&self, _: &str) {}
}

#[derive(Clone)]
struct Shared {
    batches: Arc<Mutex<HashMap<String, Batch>>>,
    work: mpsc::SyncSender<String>,
}

impl Shared {
    fn batches(&self) -> MutexGuard<'_, HashMap<String, Batch>> {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.retain(|_, batch| batch.begun.elapsed() < KEPT);
        batches
    }

    fn folder(&self, name: &str) -> Option<Arc<TempDir>> {
        self.batches().get(name).map(|batch| batch.folder.clone())
    }

    fn set(&self, name: &str, state: &'static str, error: Option<String>) {
        if let Some(batch) = self.batches().get_mut(name) {
            (batch.state, batch.error) = (state, error);
        }
    }
}

/// A batch while it is uploaded: forgotten if the client goes away.
struct Upload<'a> {
    shared: &'a Shared,
    name: String,
    whole: bool,
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.shared.batches().remove(&self.name);
        }
    }
}

/// Reads the client's folder, and serves from a thread of its own.
fn start_server(folder: &Path) -> Result<SocketAddr, Failure> {
    let (work, jobs) = mpsc::sync_channel(MOST_BATCHES);
    let shared = Shared {
        batches: Arc::default(),
        work,
    };
    let (folder, worker) = (folder.to_owned(), shared.clone());
    let (ready, is_ready) = mpsc::channel();
    thread::spawn(move || {
        if let Err(error) = work_off(&folder, &worker, &jobs, &ready) {
            eprintln!("server: {error}");
        }
    });
    is_ready.recv()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let app = Router::new()
        .route("/batches", post(upload))
        .route("/batches/{name}", get(state).delete(forget))
        .route("/batches/{name}/logits", get(logits))
        .with_state(shared.clone());
    thread::spawn(move || {
        runtime.block_on(async {
            // Forgets what is too old even when nobody asks.
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(KEPT / 10).await;
                    drop(shared.batches());
                }
            });
            axum::serve(listener, app).await
        })
    });
    Ok(address)
}

/// Runs one batch after the other.
fn work_off(
    folder: &Path,
    shared: &Shared,
    jobs: &mpsc::Receiver<String>,
    ready: &mpsc::Sender<()>,
) -> Result<(), Failure> {
    let model = Model::bundled(MODEL)?.lower()?;
    let decisions = Plan::read(folder.join(PLAN_FILE))?.decisions;
    let task = Task {
        program: &model.program,
        checksum: &decisions.model_checksum,
        batch: NonZeroUsize::new(decisions.batch).ok_or("a plan without images")?,
        max_logit_error: f64::INFINITY,
    };
    let planned = planner::obey(&decisions, &task, &machine(), &KernelChoice::Auto)?;
    let spec = ClientSpec::new(
        &decisions,
        &planned.instance,
        &model.classes,
        model.conditioning.as_ref(),
        None,
    );
    let keys = server::load_keys(folder, &planned.instance.params)?;
    let server = Server::new(&planned, &spec, keys)?;
    ready.send(())?;
    for name in jobs {
        let Some((folder, progress)) = shared
            .batches()
            .get(&name)
            .map(|batch| (batch.folder.clone(), batch.progress.clone()))
        else {
            continue;
        };
        shared.set(&name, "running", None);
        let (images, logits) = (folder.path().join("images"), folder.path().join("logits"));
        match server.run_file(&images, &logits, &*progress) {
            Ok(_) => shared.set(&name, "done", None),
            // The sentence names files of the server, which are nobody's business.
            Err(error) => {
                eprintln!("server: {error}");
                let refused = error.is_bad_input();
                let error = if refused {
                    "not for this server"
                } else {
                    "out of memory"
                };
                shared.set(&name, "failed", Some(error.to_owned()));
            }
        }
    }
    Ok(())
}

async fn upload(
    State(shared): State<Shared>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let internal = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let folder = Arc::new(tempfile::tempdir().map_err(internal)?);
    let name = format!("{:032x}", rand::random::<u128>());
    {
        let mut batches = shared.batches();
        if batches.len() >= MOST_BATCHES {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let batch = Batch {
            begun: Instant::now(),
            folder: folder.clone(),
            state: "waiting",
            error: None,
            progress: Arc::default(),
        };
        batches.insert(name.clone(), batch);
    }
    let mut upload = Upload {
        shared: &shared,
        name: name.clone(),
        whole: false,
    };
    let written = write_body(body, folder.path().join("images"));
    tokio::time::timeout(MOST_UPLOAD, written)
        .await
        .map_err(|_| StatusCode::REQUEST_TIMEOUT)??;
    shared
        .work
        .try_send(name.clone())
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    upload.whole = true;
    Ok((StatusCode::ACCEPTED, Json(json!({ "batch": name }))))
}

async fn write_body(body: Body, path: PathBuf) -> Result<(), StatusCode> {
    let internal = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let mut file = tokio::fs::File::create(path).await.map_err(internal)?;
    let (mut body, mut bytes) = (body.into_data_stream(), 0);
    while let Some(part) = body.next().await {
        let part = part.map_err(|_| StatusCode::BAD_REQUEST)?;
        bytes += part.len() as u64;
        if bytes > MOST_BYTES {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        file.write_all(&part).await.map_err(internal)?;
    }
    file.flush().await.map_err(internal)
}

async fn state(
    State(shared): State<Shared>,
    Name(name): Name<String>,
) -> Result<Json<Value>, StatusCode> {
    let batches = shared.batches();
    let batch = batches.get(&name).ok_or(StatusCode::NOT_FOUND)?;
    let done = batch.progress.done.load(Ordering::Relaxed);
    let total = batch.progress.total.load(Ordering::Relaxed).max(1);
    Ok(Json(json!({
        "state": batch.state,
        "percent": 100 * done.min(total) / total,
        "error": batch.error,
    })))
}

async fn logits(
    State(shared): State<Shared>,
    Name(name): Name<String>,
) -> Result<Vec<u8>, StatusCode> {
    let folder = shared.folder(&name).ok_or(StatusCode::NOT_FOUND)?;
    let bytes = tokio::fs::read(folder.path().join("logits")).await;
    let bytes = bytes.map_err(|_| StatusCode::CONFLICT)?;
    shared.batches().remove(&name);
    Ok(bytes)
}

async fn forget(State(shared): State<Shared>, Name(name): Name<String>) -> StatusCode {
    match shared.batches().remove(&name) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

// The client.

fn machine() -> Machine {
    Machine {
        threads: 2,
        memory_bytes: 4 << 30,
        beside_bytes: 0,
        together: None,
        speed: Speed::built_in(KernelChoice::Auto.name()),
    }
}

/// As `polyphase keygen`.
fn make_keys(folder: &Path) -> Result<(), Failure> {
    let model = Model::bundled(MODEL)?;
    let lowered = model.lower()?;
    let task = Task {
        program: &lowered.program,
        checksum: &model.checksum_hex(),
        batch: NonZeroUsize::new(IMAGES).ok_or("no images")?,
        max_logit_error: 0.02,
    };
    let planned = planner::plan(&task, &machine(), &Pins::default(), &KernelChoice::Auto)?;
    let (plan, instance) = (&planned.plan, &planned.instance);
    let spec = ClientSpec::for_client(&model, &planned)?;
    let mut randomness = Randomness::new(None);
    let (client, evaluation) = Client::generate(&spec, &instance.params, &mut randomness)?;
    let public = client.public_key(&mut randomness)?;
    Ok(client.save(folder, &ServerKeys { public, evaluation }, plan)?)
}

/// Uploads a batch, waits for its logits, and compares them with the network in the clear.
fn client(keys: &Path, url: &str) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (images, logits) = (folder.path().join("images"), folder.path().join("logits"));
    let model = Model::bundled(MODEL)?;
    let input = model.input_shape();
    let shape = Shape {
        channels: input.channels,
        height: input.height,
        width: input.width,
    };
    let data = Synthetic::with_shape(0, shape)?;
    let mut client = Client::open(keys, KernelChoice::Auto, &mut Randomness::new(None))?;
    let batch = inference::Batch {
        data: &data,
        first: 0,
        images: IMAGES,
    };
    let input = client.spec().input.clone();
    client.encrypt_file(&Inputs::of_client(batch, &input), &images, &Silent)?;

    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(MOST_UPLOAD))
        .build()
        .into();
    let mut answer = agent.post(url).send(fs::File::open(&images)?)?;
    let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
    let batch = answer["batch"]
        .as_str()
        .ok_or("an answer without a batch")?;
    loop {
        let mut answer = agent.get(format!("{url}/{batch}")).call()?;
        let state: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
        println!("client: {state}");
        match state["state"].as_str() {
            Some("done") => break,
            Some("waiting" | "running") => thread::sleep(Duration::from_millis(100)),
            _ => return Err(state.to_string().into()),
        }
    }
    let mut answer = agent.get(format!("{url}/{batch}/logits")).call()?;
    fs::write(&logits, answer.body_mut().read_to_vec()?)?;

    let decrypted = client.decrypt_file(&logits, None, &[], &Silent)?;
    let expected = model.logits(&data.read(0, IMAGES)?.view().to_f64())?;
    let errors = decrypted.logits.iter().zip(&expected);
    let largest = errors.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("client: largest error of a logit {largest:.1e}");
    if largest >= 0.05 {
        return Err("the logits are not those of the network".into());
    }

    // What is no batch of this client is refused, and the batch is gone once it is fetched.
    let garbage = agent.post(url).send("garbage")?;
    assert_eq!(garbage.status().as_u16(), 202);
    let gone = agent.get(format!("{url}/{batch}")).call();
    assert!(matches!(gone, Err(ureq::Error::StatusCode(404))));
    Ok(())
}
