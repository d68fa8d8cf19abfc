//! `polyphase decrypt`: the server's answer to classes and logits.

use std::num::NonZeroU64;
use std::time::Instant;

use pipeline::answers::Answer;
use pipeline::client::{Client, Randomness, Sharing};
use pipeline::progress::Progress;
use pipeline::report::{self, DecryptReport, FloodingRecord, Prediction};

use crate::cli::args::DecryptArgs;
use crate::cli::output::Output;
use crate::error::CliError;

/// Runs the command.
pub fn command(args: &DecryptArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    let pool = args.threads.pool(ui)?;
    let report = pool.install(|| run(args, ui))?;
    if report.flooding.is_none() && args.json.json.is_some() {
        ui.note(report::EXACT);
    }
    output.write(&report)
}

fn run(args: &DecryptArgs, ui: &dyn Progress) -> Result<DecryptReport, CliError> {
    let sharing = args.share_with_server.map(|results: NonZeroU64| Sharing {
        results: results.get(),
        bits: args.share_bits,
    });
    let start = Instant::now();
    let mut unused = Randomness::new(None);
    let (passphrase, kernel) = (args.passphrase.read()?, args.kernel.choice());
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    let client = Client::open_protected(&args.keys, passphrase, kernel, &mut unused)?;
    let mut blanked = args.blanked.clone();
    blanked.sort_unstable();
    let decrypted = client.decrypt_file(&args.input, sharing.as_ref(), &blanked, ui)?;
    let seconds_decrypt = start.elapsed().as_secs_f64();
    let spec = client.spec();
    if !decrypted.answers.spoiled.is_empty() {
        ui.note(&report::spoiled_warning(&decrypted.answers.spoiled));
    }
    let logits = decrypted.logits.chunks_exact(spec.classes.len());
    let answered = logits.zip(&decrypted.answers.images).enumerate();
    let predictions = answered.map(|(index, (logits, answer))| {
        let larger = |a: &(usize, &f64), b: &(usize, &f64)| a.1.total_cmp(b.1);
        // Of equal ones the first, as everywhere.
        let best = logits.iter().enumerate().rev().max_by(larger);
        let given = *answer == Answer::Given;
        let class = best.map(|(class, _)| class).filter(|_| given);
        Prediction {
            index,
            answer: *answer,
            class,
            name: class.map(|class| spec.classes[class].clone()),
            logits: given.then(|| logits.to_vec()),
        }
    });
    Ok(DecryptReport {
        model: spec.model.clone(),
        model_checksum: spec.model_checksum.clone(),
        images: decrypted.images,
        flooding: decrypted.flooding.map(|flooding| FloodingRecord {
            results: flooding.sharing.results,
            bits: flooding.sharing.bits,
            deviation: flooding.deviation,
        }),
        predictions: predictions.collect(),
        images_spoiled: decrypted.answers.images_spoiled(),
        spoiled: decrypted.answers.spoiled.clone(),
        seconds_decrypt,
    })
}
