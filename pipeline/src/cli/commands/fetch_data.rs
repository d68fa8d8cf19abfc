//! `polyphase fetch-data`: CIFAR from its official home.

use std::cell::Cell;
use std::ops::ControlFlow;

use datasets::CifarVariant;
use datasets::download::{Archive, Fetched, fetch};
use pipeline::progress::{Progress, Unit};

use crate::cli::args::{DataSetName, FetchDataArgs};
use crate::cli::interrupt;
use crate::error::CliError;

/// Runs the command; it has no report but the folders that it makes.
pub fn command(args: &FetchDataArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let variants = match args.only {
        None => vec![CifarVariant::Cifar10, CifarVariant::Cifar100],
        Some(DataSetName::Cifar10) => vec![CifarVariant::Cifar10],
        Some(DataSetName::Cifar100) => vec![CifarVariant::Cifar100],
    };
    // From here on Ctrl-C stops the download, which then removes its temporary folder.
    let interrupt = interrupt::hold();
    for variant in variants {
        let mut archive = Archive::official(variant);
        if let Some(mirror) = &args.mirror {
            let file = archive.url.rsplit('/').next().unwrap_or_default();
            archive.url = format!("{}/{file}", mirror.trim_end_matches('/'));
        }
        let (begun, done) = (Cell::new(false), Cell::new(0));
        let fetched = fetch(&archive, &args.to, &mut |progress| {
            if !begun.replace(true) {
                ui.begin(
                    &format!("download of {variant}"),
                    progress.total_bytes,
                    Unit::Bytes,
                );
            }
            ui.advance(progress.done_bytes - done.replace(progress.done_bytes));
            if interrupt.asked() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if begun.get() {
            ui.finish();
        }
        ui.note(&match fetched {
            Fetched::Downloaded(folder) => {
                format!("{variant}: SHA-256 checked, now in {}", folder.display())
            }
            Fetched::AlreadyThere(folder) => {
                format!("{variant}: already there, in {}", folder.display())
            }
        });
    }
    Ok(())
}
