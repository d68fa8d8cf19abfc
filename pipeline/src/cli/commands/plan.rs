//! `polyphase plan`: how a batch would be run, without running it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;

use he_models::{Lowered, Model};
use pipeline::calibration::MachineFile;
use pipeline::decisions::Decisions;
use pipeline::estimate::time::Speed;
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, Pins, Planned, Task};
use pipeline::progress::Progress;
use serde::Serialize;

use crate::cli::args::{MachineArgs, PlanArgs, PlanningArgs};
use crate::cli::output::{Output, check_writable, write_whole};
use crate::error::CliError;

/// A plan as a report: a table for people, the plan itself as JSON.
#[derive(Serialize)]
#[serde(transparent)]
struct PlanReport(Plan);

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Runs the command.
pub fn command(args: &PlanArgs, _: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    let mut files = args.out.iter().chain(&args.svg);
    files.try_for_each(|path| check_writable(path))?;
    let model = Model::open(&args.planning.model.model)?.lower()?;
    let planned = prepare(&model, &args.planning, Place::Anywhere, 0)?;
    if let Some(path) = &args.out {
        write_whole(path, planned.plan.to_ron().as_bytes())?;
    }
    if let Some(path) = &args.svg {
        write_whole(path, planned.plan.to_svg().as_bytes())?;
    }
    output.write(&PlanReport(planned.plan))
}

/// Where a plan is to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this machine, at once.
    Here,
    /// On the machine that the arguments describe.
    Anywhere,
}

/// Plans, or obeys the plan that the user names; `beside_bytes` as in [`Machine`].
pub fn prepare(
    model: &Lowered,
    args: &PlanningArgs,
    place: Place,
    beside_bytes: u64,
) -> Result<Planned, CliError> {
    if let Some(path) = &args.plan {
        let plan = Plan::read(path)?;
        return obey(model, args, &plan.decisions, place, beside_bytes);
    }
    let machine = machine_beside(args, place, beside_bytes)?;
    let checksum = checksum(model);
    let task = task(model, args, &checksum);
    let kernel = args.machine.kernel();
    Ok(planner::plan(&task, &machine, &pins(args), &kernel)?)
}

/// Obeys a plan; `beside_bytes` as in [`Machine`].
pub fn obey(
    model: &Lowered,
    args: &PlanningArgs,
    decisions: &Decisions,
    place: Place,
    beside_bytes: u64,
) -> Result<Planned, CliError> {
    let machine = machine_beside(args, place, beside_bytes)?;
    let checksum = checksum(model);
    let task = task(model, args, &checksum);
    let kernel = args.machine.kernel();
    Ok(planner::obey(decisions, &task, &machine, &kernel)?)
}

/// What a plan must do, in words that can be compared: pins and precision, or that a file says it.
pub fn asked_for(args: &PlanningArgs) -> String {
    match &args.plan {
        Some(_) => "from a file".to_owned(),
        None => format!("error {}, {:?}", args.max_logit_error, pins(args)),
    }
}

fn pins(args: &PlanningArgs) -> Pins {
    let mut pins = Pins::default();
    pins.extend(args.pin.iter().copied());
    pins
}

fn task<'a>(model: &'a Lowered, args: &PlanningArgs, checksum: &'a str) -> Task<'a> {
    Task {
        program: &model.program,
        checksum,
        batch: args.batch,
        max_logit_error: args.max_logit_error,
    }
}

fn machine_beside(
    args: &PlanningArgs,
    place: Place,
    beside_bytes: u64,
) -> Result<Machine, CliError> {
    Ok(Machine {
        beside_bytes,
        ..machine(&args.machine, args.machine_file.as_deref(), place)?
    })
}

/// The machine that the arguments speak of: of `file` its speed, and anywhere else than here its threads and memory too.
pub fn machine(args: &MachineArgs, file: Option<&Path>, place: Place) -> Result<Machine, CliError> {
    let kernel = args.kernel();
    let mut machine = Machine {
        threads: match place {
            Place::Here => args.threads.here(),
            Place::Anywhere => args.threads.asked(),
        },
        memory_bytes: args.memory_bytes(),
        beside_bytes: 0,
        together: None,
        speed: Speed::built_in(kernel.name()),
    };
    let Some(path) = file else {
        return Ok(machine);
    };
    let file = MachineFile::read(path)?;
    match place {
        Place::Here if file.speed.kernel != kernel.name() => {
            return Err(CliError::MachineKernel {
                path: path.to_owned(),
                found: file.speed.kernel,
                expected: kernel.name().to_owned(),
            });
        }
        Place::Here => {}
        Place::Anywhere => {
            machine.threads = args.threads.threads.map_or(file.threads, NonZeroUsize::get);
            if args.memory_gib.is_none() {
                machine.memory_bytes = file.memory_bytes;
            }
        }
    }
    machine.speed = file.speed;
    Ok(machine)
}

/// A model's checksum in hexadecimal digits.
pub fn checksum(model: &Lowered) -> String {
    model.checksum.map(|b| format!("{b:02x}")).concat()
}
