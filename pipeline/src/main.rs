//! The command `polyphase`.
#![forbid(unsafe_code)]

mod cli;
mod error;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
