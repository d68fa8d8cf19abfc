//! `polyphase encrypt`: images to ciphertexts, by the client spec alone, or with a look at them in the clear before.

use std::time::Instant;

use he_models::Model;
use pipeline::client::{Client, ClientSpec, Randomness};
use pipeline::exchange::{Content, Holds};
use pipeline::inference::Batch;
use pipeline::progress::Progress;
use pipeline::report::{self, EncryptReport};
use pipeline::screening::{self, Inputs, Screened};
use pipeline::{references, system};

use crate::cli::args::EncryptArgs;
use crate::cli::data;
use crate::cli::output::{Output, check_writable, file_bytes};
use crate::error::CliError;

/// Runs the command.
pub fn command(args: &EncryptArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    check_writable(&args.out)?;
    let pool = args.threads.pool(ui)?;
    output.write(&pool.install(|| run(args, ui))?)
}

fn run(args: &EncryptArgs, ui: &dyn Progress) -> Result<EncryptReport, CliError> {
    let mut randomness = Randomness::new(args.seed);
    let (passphrase, kernel) = (args.passphrase.read()?, args.kernel.choice());
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    let mut client = Client::open_protected(&args.keys, passphrase, kernel, &mut randomness)?;
    let spec = client.spec().clone();
    let data = data::open_for_spec(args.data.data.as_deref(), &spec)?;
    let (first, images) = (args.data.offset, args.batch.get());
    data::check_left(data.as_ref(), first, images)?;
    let batch = Batch {
        data: data.as_ref(),
        first,
        images,
    };
    let model = match &args.model {
        Some(name) => Some(open(name, &spec)?),
        None => None,
    };
    let (inputs, leaving) = match &model {
        Some(model) => {
            let reference = references::exact(model, batch, ui)?;
            let (grouping, policy) = (spec.grouping(), args.out_of_range.into());
            let Screened { inputs, leaving } =
                screening::screen(model, &reference, batch, grouping, policy, ui)?;
            (inputs, Some(leaving))
        }
        None => (Inputs::of_client(batch, &spec.input), None),
    };
    if !inputs.blanked().is_empty() {
        ui.note(&report::decrypt_blanked(inputs.blanked()));
    }
    if args.seed.is_some() {
        ui.note(report::SEEDED);
    }
    let start = Instant::now();
    client.encrypt_file(&inputs, &args.out, ui)?;
    Ok(EncryptReport {
        out_of_range: leaving,
        blanked: inputs.blanked().to_vec(),
        data: data.name().to_owned(),
        offset: first,
        images,
        groups: spec.grouping().count(images),
        ciphertexts: Content::ciphertexts(images, Holds::Images, &spec).unwrap_or(u64::MAX),
        file_bytes: file_bytes(&args.out),
        seconds_encrypt: start.elapsed().as_secs_f64(),
        seeded: args.seed.is_some(),
        threads: rayon::current_num_threads(),
        peak_rss_bytes: system::peak_rss_bytes(),
        model: spec.model,
    })
}

/// The network, which must be the one that the spec is for.
fn open(name: &str, spec: &ClientSpec) -> Result<Model, CliError> {
    let model = Model::open(name)?;
    let found = model.checksum_hex();
    if found != spec.model_checksum {
        return Err(CliError::OtherModel {
            model: name.to_owned(),
            found,
            spec: spec.model.clone(),
            expected: spec.model_checksum.clone(),
        });
    }
    Ok(model)
}
