//! `polyphase calibrate`: how fast this machine's primitives are.

use std::fmt;
use std::time::Instant;

use ckks_scheme::counts::PrimitiveCosts;
use pipeline::calibration::{self, Calibration, MachineFile};
use pipeline::progress::Progress;
use serde::Serialize;

use crate::cli::args::CalibrateArgs;
use crate::cli::output::{Output, check_writable, write_whole};
use crate::error::CliError;

/// What was measured, and how long it took.
#[derive(Serialize)]
struct CalibrateReport {
    #[serde(flatten)]
    machine: MachineFile,
    seconds_calibrate: f64,
}

/// Runs the command.
pub fn command(args: &CalibrateArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    check_writable(&args.out)?;
    let start = Instant::now();
    let (threads, memory_bytes) = (args.machine.threads.here(), args.machine.memory_bytes());
    let calibration = Calibration::new(threads, memory_bytes);
    let machine = calibration::calibrate(&args.machine.kernel(), &calibration, ui);
    let machine = machine.map_err(|error| CliError::Plan(error.into()))?;
    write_whole(&args.out, machine.to_ron().as_bytes())?;
    output.write(&CalibrateReport {
        machine,
        seconds_calibrate: start.elapsed().as_secs_f64(),
    })
}

impl fmt::Display for CalibrateReport {
    /// Nanoseconds of every primitive, one column for each ring and number of threads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        let columns = machine.speed.rings.iter();
        let columns: Vec<_> = columns
            .flat_map(|(log_n, by_threads)| {
                by_threads.iter().map(move |(t, costs)| (*log_n, *t, costs))
            })
            .collect();
        writeln!(
            f,
            "{}, kernel {}, measured in {:.0} s; nanoseconds of one unit on a thread, with so many at work",
            machine.processor, machine.speed.kernel, self.seconds_calibrate
        )?;
        write!(f, "\n{:<30}", "ring")?;
        for (log_n, _, _) in &columns {
            write!(f, "{:>8}", format!("2^{log_n}"))?;
        }
        write!(f, "\n{:<30}", "threads")?;
        for (_, threads, _) in &columns {
            write!(f, "{threads:>8}")?;
        }
        for (primitive, name) in PrimitiveCosts::NAMES.iter().enumerate() {
            write!(f, "\n{name:<30}")?;
            for (_, _, costs) in &columns {
                write!(f, "{:>8.3}", costs.to_array()[primitive] * 1e9)?;
            }
        }
        write!(f, "\n{:<30}", "spread, %")?;
        for (log_n, threads, _) in &columns {
            write!(f, "{:>8.1}", 100.0 * machine.spread[log_n][threads])?;
        }
        Ok(())
    }
}
