//! The folder that `--checkpoint` names.

use he_models::Lowered;
use pipeline::checkpoint::Checkpoint;
use pipeline::system;

use super::args::CheckpointArgs;
use super::commands::plan;
use super::interrupt;
use crate::error::CliError;

/// Opens it, if there is to be one. From then on an interrupted command says how it goes on.
pub fn open(args: &CheckpointArgs) -> Result<Option<Checkpoint>, CliError> {
    let Some(dir) = &args.checkpoint else {
        return Ok(None);
    };
    let checkpoint = Checkpoint::open(dir)?;
    interrupt::resumable(dir);
    Ok(Some(checkpoint))
}

/// Compares what is known before the run is planned.
pub fn check(
    checkpoint: &mut Checkpoint,
    command: &'static str,
    model: &Lowered,
) -> Result<(), CliError> {
    checkpoint.check("command", command)?;
    checkpoint.check("program", system::revision())?;
    checkpoint.check("model", model.program.name())?;
    checkpoint.check("model checksum", plan::checksum(model))?;
    Ok(())
}

/// Removes it, when the command has done all that it should.
pub fn remove(checkpoint: Option<Checkpoint>) -> Result<(), CliError> {
    match checkpoint {
        Some(checkpoint) => Ok(checkpoint.remove()?),
        None => Ok(()),
    }
}
