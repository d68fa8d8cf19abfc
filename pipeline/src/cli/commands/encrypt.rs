//! `polyphase encrypt`: images to ciphertexts, by the client spec alone.

use std::time::Instant;

use pipeline::client::{Client, Randomness};
use pipeline::exchange::Content;
use pipeline::progress::Progress;
use pipeline::report::{self, EncryptReport};
use pipeline::system;

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
    if args.seed.is_some() {
        ui.note(report::SEEDED);
    }
    let start = Instant::now();
    client.encrypt_file(data.as_ref(), first, images, &args.out, ui)?;
    Ok(EncryptReport {
        data: data.name().to_owned(),
        offset: first,
        images,
        groups: images.div_ceil(spec.images_per_group()),
        ciphertexts: Content::ciphertexts(images, &spec.input.tensor).unwrap_or(u64::MAX),
        file_bytes: file_bytes(&args.out),
        seconds_encrypt: start.elapsed().as_secs_f64(),
        seeded: args.seed.is_some(),
        threads: rayon::current_num_threads(),
        peak_rss_bytes: system::peak_rss_bytes(),
        model: spec.model,
    })
}
