//! What the planner expects of several equal machines.

use std::fmt;
use std::num::NonZeroUsize;

use pipeline::calibration::MachineFile;
use pipeline::ckks_scheme::exec::KernelChoice;
use pipeline::estimate::time::{Speed, Together, packed_limb_bytes};
use pipeline::he_layers::{Rotating, Share};
use pipeline::he_models::Model;
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, Pins, Task};
use serde::Serialize;

use crate::args::{RotateName, ScalingArgs};
use crate::error::RankError;
use crate::exchange::BESIDE_BYTES;
use crate::facts::NETWORK;
use crate::output::Output;
use crate::report::{predicted_seconds, seconds_of_group};
use crate::words::Split;

/// Of a machine that nothing is said of.
const THREADS: usize = 64;
const MEMORY_BYTES: u64 = 256 << 30;

/// What so many machines take.
#[derive(Debug, Serialize)]
struct Row {
    /// Machines, each with one server; the client is beside the first.
    machines: usize,
    /// Images that a group holds.
    images_per_group: usize,
    /// Groups.
    groups: usize,
    /// Where rotations of inputs are made, if machines share the channels.
    rotating: Option<Rotating>,
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
    split: Split,
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
    let output = Output::new(args.json.json.as_deref())?;
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
        together: None,
        speed: match file {
            Some(file) => file.speed.clone(),
            None => Speed::built_in(KernelChoice::Auto.name()),
        },
    };
    let model = Model::open(&args.model.model)?;
    let lowered = model.lower()?;
    let checksum = model.checksum_hex();
    let plan = |machines: NonZeroUsize, share: Option<Share>| {
        let images = match args.split {
            Split::Groups => args.batch.get().div_ceil(machines.get()),
            Split::Channels => args.batch.get(),
        };
        let task = Task {
            program: &lowered.program,
            checksum: &checksum,
            batch: NonZeroUsize::new(images).unwrap_or(NonZeroUsize::MIN),
            max_logit_error: args.max_logit_error,
        };
        // What is left of a share is not what is left of all images.
        let pins = Pins {
            equal_groups: images < args.batch.get(),
            ..Pins::default()
        };
        let machine = Machine {
            beside_bytes: share.map_or(0, |_| BESIDE_BYTES),
            together: share.map(|share| Together {
                share,
                bytes_per_second: network,
            }),
            ..machine.clone()
        };
        planner::choose(&task, &machine, &pins, &KernelChoice::Auto)
    };
    let one = row(&plan(NonZeroUsize::MIN, None)?, args, 1, network, None);
    let of = |machines: NonZeroUsize| -> Result<Row, RankError> {
        let number = machines.get();
        if number == 1 || args.split == Split::Groups {
            let plan = plan(machines, None)?;
            return Ok(row(&plan, args, number, network, Some(&one)));
        }
        let mut best: Option<Row> = None;
        for &rotating in RotateName::candidates(None) {
            // The first share has the most blocks.
            let plan = plan(machines, Share::new(0, number, rotating))?;
            let mut row = row(&plan, args, number, network, Some(&one));
            row.rotating = Some(rotating);
            if best
                .as_ref()
                .is_none_or(|best| row.seconds_infer < best.seconds_infer)
            {
                best = Some(row);
            }
        }
        Ok(best.expect("there are candidates"))
    };
    let rows = args.machines.iter().map(|machines| of(*machines));
    let rows = rows.collect::<Result<_, RankError>>()?;
    output.write(&Report {
        model: model.name().to_owned(),
        split: args.split,
        images: args.batch.get(),
        threads: machine.threads,
        memory_bytes: machine.memory_bytes,
        kernel: machine.speed.kernel.clone(),
        network_bytes_per_second: network,
        rows,
    })
}

/// What `machines` take for all images with a plan for their shares, compared with one machine.
fn row(plan: &Plan, args: &ScalingArgs, machines: usize, network: f64, one: Option<&Row>) -> Row {
    let (decisions, mut forecast) = (&plan.decisions, plan.forecast.clone());
    let of_group = seconds_of_group(&forecast);
    let images = args.batch.get();
    forecast.groups = images.div_ceil(forecast.images_per_group);
    // A seed stands for half of each key, and of each image's ciphertext. Files have the bits of the primes.
    let literal = &decisions.params;
    let limb = packed_limb_bytes(literal);
    let words = f64::from(1u32 << literal.log_n) * size_of::<u64>() as f64;
    let key_bytes = forecast.key_bytes as f64 / 2.0 * limb / words;
    let first = &forecast.steps[0];
    let group_bytes = (first.ciphertexts_in * first.level_in.limbs()) as f64 * limb;
    // One machine sends itself nothing over a network.
    let is_alone = machines == 1;
    let network_seconds = |bytes: f64| if is_alone { 0.0 } else { bytes / network };
    let groups = forecast.groups;
    let seconds_infer = match args.split {
        // All get every group, one after another.
        Split::Channels => {
            forecast.predicted_seconds_infer + network_seconds(groups as f64 * group_bytes)
        }
        // They get their first groups one after another.
        Split::Groups => {
            let first_groups = machines.min(groups) as f64 * group_bytes;
            let computing = network_seconds(first_groups) + predicted_seconds(&forecast, machines);
            computing.max(network_seconds(groups as f64 * group_bytes) + of_group)
        }
    };
    let speedup = one.map_or(1.0, |one| one.seconds_infer / seconds_infer);
    Row {
        machines,
        images_per_group: forecast.images_per_group,
        groups,
        rotating: None,
        seconds_keys: network_seconds(key_bytes),
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
            "{}, {} images, {} shared out; machines of {} threads, {:.0} GiB, kernel {}; network {:.2} GB/s; estimates",
            self.model,
            self.images,
            match self.split {
                Split::Groups => "groups",
                Split::Channels => "channels",
            },
            self.threads,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel,
            self.network_bytes_per_second / 1e9
        )?;
        write!(
            f,
            "{:>8}{:>14}{:>8}{:>10}{:>12}{:>12}{:>10}{:>12}{:>10}{:>12}",
            "machines",
            "images/group",
            "groups",
            "keys s",
            "infer s",
            "s/image",
            "speed-up",
            "efficiency",
            "peak GB",
            "rotations"
        )?;
        for row in &self.rows {
            write!(
                f,
                "\n{:>8}{:>14}{:>8}{:>10.2}{:>12.2}{:>12.4}{:>10.2}{:>12.3}{:>10.2}{:>12}",
                row.machines,
                row.images_per_group,
                row.groups,
                row.seconds_keys,
                row.seconds_infer,
                row.seconds_infer / self.images as f64,
                row.speedup,
                row.efficiency,
                row.predicted_peak_bytes as f64 / 1e9,
                match row.rotating {
                    None => "-",
                    Some(Rotating::Everywhere) => "everywhere",
                    Some(Rotating::Once) => "once",
                }
            )?;
        }
        Ok(())
    }
}
