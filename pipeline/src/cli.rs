//! Command line: arguments, dispatch, exit codes.

mod args;
mod checkpoint;
mod commands;
mod data;
mod interrupt;
mod machine;
mod output;
mod panics;
mod passphrase;
mod terminal;
mod visible;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::error::CliError;
use args::{Cli, Command};
use terminal::Terminal;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    interrupt::install();
    let ui = Terminal::new();
    match panics::caught(|| run(cli.command, &ui)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&ui, &error.to_string(), error.exit_code()),
        Err(panic) => fail(
            &ui,
            &format!("internal error, please report it: {panic}"),
            1,
        ),
    }
}

fn run(command: Command, ui: &Terminal) -> Result<(), CliError> {
    match command {
        Command::Infer(args) => commands::infer::command(&args, ui),
        Command::Keygen(args) => commands::keygen::command(&args, ui),
        Command::Encrypt(args) => commands::encrypt::command(&args, ui),
        Command::Run(args) => commands::run::command(&args, ui),
        Command::Decrypt(args) => commands::decrypt::command(&args, ui),
        Command::Plan(args) => commands::plan::command(&args, ui),
        Command::Eval(args) => commands::eval::command(&args, ui),
        Command::Import(args) => commands::import::command(&args, ui),
        Command::Ranges(args) => commands::ranges::command(&args, ui),
        Command::Sweep(args) => commands::sweep::command(&args, ui),
        Command::Train(args) => commands::train::command(&args, ui),
        Command::Calibrate(args) => commands::calibrate::command(&args, ui),
        Command::Precision(args) => commands::precision::command(&args, ui),
        #[cfg(feature = "download")]
        Command::FetchData(args) => commands::fetch_data::command(&args, ui),
    }
}

/// Says in one line what went wrong.
fn fail(ui: &Terminal, message: &str, code: u8) -> ExitCode {
    ui.clear();
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = visible::visible(&line);
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "error: {line}");
    ExitCode::from(code)
}
