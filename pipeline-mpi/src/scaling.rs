//! What the planner expects of several equal machines.

use std::fmt;
use std::num::NonZeroUsize;

use pipeline::calibration::MachineFile;
use pipeline::ckks_scheme::exec::KernelChoice;
use pipeline::estimate::time::Speed;
use pipeline::he_models::Model;
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, Pins, Task};
use serde::Serialize;

use crate::args::ScalingArgs;
use crate::error::RankError;
use crate::output::Output;
use crate::report::{predicted_seconds, seconds_of_group};

/// Of a machine that nothing is said of.
const THREADS: usize = 64;
const MEMORY_BYTES: u64 = 256 << 30;
/// 10 Gbit/s.
const NETWORK: f64 = 1.25e9;
/// Bits of a word in memory; files have those of its prime.
const WORD_BITS: f64 = 64.0;

/// What so many machines take.
#[derive(Debug, Serialize)]
struct Row {
    /// Machines, each with one server; the client is beside the first.
    machines: usize,
    /// Images that a group holds.
    images_per_group: usize,
    /// Groups.
    groups: usize,
    /// Estimate of the time in which keys come to all machines, in seconds.
    seconds_keys: f64,
    /// Estimate of the time from the first group that is dealt to the last that is back, in seconds.
    seconds_infer: f64,
    /// How many times as fast as one machine.
    speedup: f64,
    /// That, divided by the machines.
    efficiency: f64,
    /// Upper bound of the peak resident memory of a server in bytes.
    predicted_peak_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    images: usize,
    threads: usize,
    memory_bytes: u64,
    kernel: String,
    network_bytes_per_second: f64,
    rows: Vec<Row>,
}

/// Runs the command.
///
/// # Errors
/// [`RankError`].
pub fn command(args: &ScalingArgs) -> Result<(), RankError> {
    let output = Output::new(args.json.as_deref())?;
    let file = args.machine.as_ref().map(MachineFile::read).transpose()?;
    let file = file.as_ref();
    let threads = args.threads.map(NonZeroUsize::get);
    let memory = args.memory_gib.map(|gib| (gib * f64::from(1 << 30)) as u64);
    let network = args
        .network
        .or(file.and_then(|f| f.network_bytes_per_second));
    let network = network.unwrap_or(NETWORK);
    let machine = Machine {
        threads: threads.or(file.map(|f| f.threads)).unwrap_or(THREADS),
        memory_bytes: memory
            .or(file.map(|f| f.memory_bytes))
            .unwrap_or(MEMORY_BYTES),
        beside_bytes: 0,
        speed: match file {
            Some(file) => file.speed.clone(),
            None => Speed::built_in(KernelChoice::Auto.name()),
        },
    };
    let model = Model::open(&args.model)?;
    let lowered = model.lower()?;
    let checksum = model.checksum_hex();
    let plan = |machines: NonZeroUsize| {
        let share = args.batch.get().div_ceil(machines.get());
        let task = Task {
            program: &lowered.program,
            checksum: &checksum,
            batch: NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN),
            max_logit_error: args.max_logit_error,
        };
        // What is left of a share is not what is left of all images.
        let pins = Pins {
            equal_groups: machines.get() > 1,
            ..Pins::default()
        };
        planner::choose(&task, &machine, &pins, &KernelChoice::Auto)
    };
    let one = row(&plan(NonZeroUsize::MIN)?, args.batch, 1, network, None);
    let rows = args.machines.iter().map(|machines| {
        Ok(row(
            &plan(*machines)?,
            args.batch,
            machines.get(),
            network,
            Some(&one),
        ))
    });
    let rows = rows.collect::<Result<_, RankError>>()?;
    output.write(&Report {
        model: model.name().to_owned(),
        images: args.batch.get(),
        threads: machine.threads,
        memory_bytes: machine.memory_bytes,
        kernel: machine.speed.kernel.clone(),
        network_bytes_per_second: network,
        rows,
    })
}

/// What `machines` take for `images` images with a plan for their shares, compared with one machine.
fn row(plan: &Plan, images: NonZeroUsize, machines: usize, network: f64, one: Option<&Row>) -> Row {
    let (decisions, mut forecast) = (&plan.decisions, plan.forecast.clone());
    let of_group = seconds_of_group(&forecast);
    forecast.groups = images.get().div_ceil(forecast.images_per_group);
    let primes = &decisions.params.q_bits;
    let bits = primes.iter().sum::<u32>() as f64 / primes.len() as f64;
    // A seed stands for half of each key.
    let key_bytes = forecast.key_bytes as f64 / 2.0 * bits / WORD_BITS;
    let first = &forecast.steps[0];
    let limbs = first.ciphertexts_in * first.level_in.limbs();
    let group_bytes = limbs as f64 * f64::from(1u32 << decisions.params.log_n) * bits / 8.0;
    // One machine sends itself nothing over a network. The others get their first groups one after another.
    let is_alone = machines == 1;
    let seconds_keys = if is_alone { 0.0 } else { key_bytes / network };
    let first_groups = if is_alone {
        0
    } else {
        machines.min(forecast.groups)
    };
    let all_groups = if is_alone { 0 } else { forecast.groups };
    let computing =
        first_groups as f64 * group_bytes / network + predicted_seconds(&forecast, machines);
    let sending = all_groups as f64 * group_bytes / network + of_group;
    let seconds_infer = computing.max(sending);
    let speedup = one.map_or(1.0, |one| one.seconds_infer / seconds_infer);
    Row {
        machines,
        images_per_group: forecast.images_per_group,
        groups: forecast.groups,
        seconds_keys,
        seconds_infer,
        speedup,
        efficiency: speedup / machines as f64,
        predicted_peak_bytes: forecast.predicted_peak_bytes,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {} images; machines of {} threads, {:.0} GiB, kernel {}; network {:.2} GB/s; estimates",
            self.model,
            self.images,
            self.threads,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel,
            self.network_bytes_per_second / 1e9
        )?;
        write!(
            f,
            "{:>8}{:>14}{:>8}{:>10}{:>12}{:>12}{:>10}{:>12}{:>10}",
            "machines",
            "images/group",
            "groups",
            "keys s",
            "infer s",
            "s/image",
            "speed-up",
            "efficiency",
            "peak GB"
        )?;
        for row in &self.rows {
            write!(
                f,
                "\n{:>8}{:>14}{:>8}{:>10.2}{:>12.2}{:>12.4}{:>10.2}{:>12.3}{:>10.2}",
                row.machines,
                row.images_per_group,
                row.groups,
                row.seconds_keys,
                row.seconds_infer,
                row.seconds_infer / self.images as f64,
                row.speedup,
                row.efficiency,
                row.predicted_peak_bytes as f64 / 1e9
            )?;
        }
        Ok(())
    }
}
