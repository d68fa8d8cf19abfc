//! `polyphase keygen`: the client's keys for one network.

use std::time::Instant;

use ckks_scheme::serial::ServerKeys;
use he_models::Model;
use pipeline::client::{Client, ClientSpec, Randomness, SERVER_FOLDER};
use pipeline::exchange::ExchangeError;
use pipeline::progress::{Progress, Unit};
use pipeline::report::{self, KeygenReport};
use pipeline::system;

use super::plan::{self, Place};
use crate::cli::args::KeygenArgs;
use crate::cli::output::{Output, folder_bytes};
use crate::error::CliError;

/// Runs the command.
pub fn command(args: &KeygenArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    Client::check_free(&args.out)?;
    let pool = args.planning.machine.threads.pool(ui)?;
    output.write(&pool.install(|| run(args, ui))?)
}

fn run(args: &KeygenArgs, ui: &dyn Progress) -> Result<KeygenReport, CliError> {
    let passphrase = args.passphrase.read()?;
    let planning = &args.planning;
    let model = Model::open(&planning.model.model)?;
    let planned = plan::prepare(&model.lower()?, planning, Place::Anywhere, 0)?;
    let (plan, instance) = (&planned.plan, &planned.instance);
    ui.note(&plan.to_string());
    if args.seed.is_some() {
        ui.note(report::SEEDED);
    }
    let spec = ClientSpec::for_client(&model, &planned)?;
    let params = &instance.params;

    ui.begin("keys", None, Unit::Parts);
    let start = Instant::now();
    let mut randomness = Randomness::new(args.seed);
    let made = Client::generate(&spec, params, &mut randomness);
    let (client, evaluation) = made.map_err(ExchangeError::from)?;
    let public = client.public_key(&mut randomness);
    let public = public.map_err(ExchangeError::from)?;
    let seconds_keygen = start.elapsed().as_secs_f64();
    ui.finish();

    let (key, keys, key_bytes) = (evaluation.id(), evaluation.count(), evaluation.bytes());
    ui.begin("writing keys", None, Unit::Parts);
    let start = Instant::now();
    let keys_of_server = ServerKeys { public, evaluation };
    match passphrase {
        None => client.save(&args.out, &keys_of_server, plan)?,
        Some(passphrase) => {
            client.save_protected(&args.out, &keys_of_server, plan, &passphrase)?;
        }
    }
    let seconds_write = start.elapsed().as_secs_f64();
    ui.finish();
    ui.note(&format!(
        "for the server: {}; keep the rest of {}",
        args.out.join(SERVER_FOLDER).display(),
        args.out.display()
    ));
    Ok(KeygenReport {
        model: spec.model.clone(),
        model_checksum: spec.model_checksum.clone(),
        key: key.to_string(),
        images_per_group: spec.images_per_group(),
        keys,
        key_bytes,
        file_bytes: folder_bytes(&args.out.join(SERVER_FOLDER)),
        log_n: params.log_n(),
        log_qp: params.log_qp(),
        security_bits: params.security_bits(),
        seconds_keygen,
        seconds_write,
        seeded: args.seed.is_some(),
        threads: rayon::current_num_threads(),
        peak_rss_bytes: system::peak_rss_bytes(),
    })
}
