#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod args;
mod client;
mod dealer;
mod error;
mod exchange;
mod facts;
mod interrupt;
mod link;
mod output;
mod report;
mod scaling;
mod server;
mod words;

use std::env;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use mpi::Threading;
use mpi::topology::Color;
use mpi::traits::Communicator;

use args::{Cli, Command, InferArgs};
use error::RankError;
use link::Link;
use output::Lines;
use words::Facts;

/// What tells a process its rank before MPI is started.
const RANKS: [&str; 4] = [
    "OMPI_COMM_WORLD_RANK",
    "PMIX_RANK",
    "PMI_RANK",
    "SLURM_PROCID",
];

/// Runs the command that the process was started with.
fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // All ranks have the same arguments, and the first one says what is wrong with them. mpirun ends it as soon as any
            // other has ended.
            let is_first = |name| env::var(name).map_or(true, |rank| rank == "0");
            if !RANKS.iter().all(is_first) {
                thread::sleep(Duration::from_secs(1));
                return ExitCode::from(error.exit_code() as u8);
            }
            error.exit();
        }
    };
    match cli.command {
        Command::Infer(args) => infer(&args),
        Command::Scaling(args) => match scaling::command(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&error.to_string());
                ExitCode::from(error.exit_code())
            }
        },
    }
}

fn infer(args: &InferArgs) -> ExitCode {
    // Only this thread talks to MPI; those that compute do not.
    let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else {
        say(&RankError::Mpi.to_string());
        return ExitCode::FAILURE;
    };
    let world = universe.world();
    let on_host = world.split_shared(world.rank()).size();
    let is_client = world.rank() == 0;
    let servers = world.split_by_color(Color::with_value(i32::from(is_client)));
    let (world, servers) = (Link::new(world), servers.map(Link::new));
    if world.size() < 2 {
        let error = RankError::Ranks {
            found: world.size(),
        };
        say(&error.to_string());
        return ExitCode::from(error.exit_code());
    }
    panic::set_hook(Box::new(|_| ()));
    let done = panic::catch_unwind(AssertUnwindSafe(|| -> Result<(), RankError> {
        let facts = Facts::here(args, on_host as usize, world.size() as usize);
        let threads = rayon::ThreadPoolBuilder::new().num_threads(facts.threads);
        threads.build_global()?;
        match servers {
            Some(servers) if !is_client => server::serve(&world, &servers, args, &facts),
            _ => {
                interrupt::install();
                client::run(&world, args, facts, &Lines::default())
            }
        }
    }));
    let rank = world.rank();
    // The others wait for this rank: it ends them too.
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            let of_rank = if is_client {
                String::new()
            } else {
                format!("rank {rank}: ")
            };
            say(&format!("{of_rank}{error}"));
            world.abort(error.exit_code())
        }
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or(panic.downcast_ref::<&str>().copied());
            let words = words.unwrap_or("no words");
            say(&format!(
                "rank {rank}: internal error, please report it: {words}"
            ));
            world.abort(1)
        }
    }
}

/// Says in one line what went wrong.
fn say(message: &str) {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // With standard error closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "error: {line}");
}
