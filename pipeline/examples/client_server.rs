//! Client and server by files alone, in one process: `cargo run --release -p pipeline --example client_server [FOLDER]`.
//!
//! The client plans, makes keys and encrypts; the server reads `FOLDER/keys/eval` and the encrypted images, and writes
//! encrypted logits; the client decrypts them and compares them with the network in the clear. Nothing else passes between the
//! two functions `client_*` and `server`, so that they could run on two machines.

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;

use ckks_scheme::exec::KernelChoice;
use ckks_scheme::serial::ServerKeys;
use datasets::{Dataset, Shape, Synthetic};
use he_models::Model;
use pipeline::client::{Client, Randomness, SERVER_FOLDER};
use pipeline::estimate::time::Speed;
use pipeline::exchange::{ClientSpec, PLAN_FILE};
use pipeline::inference::Batch;
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, Pins, Task};
use pipeline::progress::Silent;
use pipeline::screening::Inputs;
use pipeline::server::{self, Server};

const MODEL: &str = "tiny";
const IMAGES: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let folder = std::env::args_os().nth(1);
    let folder = folder.map_or(temporary.path().to_owned(), Into::into);
    let (keys, images, logits) = (
        folder.join("keys"),
        folder.join("images"),
        folder.join("logits"),
    );
    client_makes_keys(&keys)?;
    client_encrypts(&keys, &images)?;
    server(&keys.join(SERVER_FOLDER), &images, &logits)?;
    client_decrypts(&keys, &logits)
}

fn machine() -> Machine {
    Machine {
        threads: 2,
        memory_bytes: 4 << 30,
        beside_bytes: 0,
        together: None,
        speed: Speed::built_in(KernelChoice::Auto.name()),
    }
}

/// Plans a batch for a server like this machine, and writes the client's folder.
fn client_makes_keys(folder: &Path) -> Result<(), Box<dyn Error>> {
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
    client.save(folder, &ServerKeys { public, evaluation }, plan)?;
    println!("client: keys of {} in {}", client.key(), folder.display());
    Ok(())
}

/// The images that both the client and the comparison see.
fn data() -> Result<Synthetic, Box<dyn Error>> {
    let shape = Model::bundled(MODEL)?.input_shape();
    Ok(Synthetic::with_shape(
        0,
        Shape {
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
        },
    )?)
}

/// Encrypts images by the spec in the folder. The network is not needed.
fn client_encrypts(folder: &Path, images: &Path) -> Result<(), Box<dyn Error>> {
    let mut client = Client::open(folder, KernelChoice::Auto, &mut Randomness::new(None))?;
    let batch = Batch {
        data: &data()?,
        first: 0,
        images: IMAGES,
    };
    let input = client.spec().input.clone();
    client.encrypt_file(&Inputs::of_client(batch, &input), images, &Silent)?;
    let bytes = std::fs::metadata(images)?.len();
    println!("client: {IMAGES} encrypted images, {bytes} bytes");
    Ok(())
}

/// Runs the network on encrypted images, with nothing but what the client sent.
fn server(folder: &Path, images: &Path, logits: &Path) -> Result<(), Box<dyn Error>> {
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
    let served = Server::new(&planned, &spec, keys)?.run_file(images, logits, &Silent)?;
    println!(
        "server: {} images in {:.2} s",
        served.images, served.seconds_infer
    );
    Ok(())
}

/// Decrypts the answer and compares it with the network in the clear.
fn client_decrypts(folder: &Path, logits: &Path) -> Result<(), Box<dyn Error>> {
    let client = Client::open(folder, KernelChoice::Auto, &mut Randomness::new(None))?;
    let decrypted = client.decrypt_file(logits, None, &[], &Silent)?;
    let model = Model::bundled(MODEL)?;
    let expected = model.logits(&data()?.read(0, IMAGES)?.view().to_f64())?;
    let errors = decrypted.logits.iter().zip(&expected);
    let largest = errors.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("client: largest error of a logit {largest:.1e}");
    match largest < 0.05 {
        true => Ok(()),
        false => Err("the logits are not those of the network".into()),
    }
}
