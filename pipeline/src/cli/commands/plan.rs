//! `polyphase plan`: how a batch would be run, without running it.

use std::fmt;
use std::fs;
use std::path::Path;

use he_models::{FoldedModel, Model};
use pipeline::cost::CostModel;
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, Pins, Planned};
use pipeline::progress::Progress;
use serde::Serialize;

use crate::cli::args::{PlanArgs, PlanningArgs};
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
    let model = Model::open(&args.planning.model.model)?.fold()?;
    let planned = prepare(&model, &args.planning)?;
    if let Some(path) = &args.out {
        write_whole(path, to_ron(&planned.plan)?.as_bytes())?;
    }
    if let Some(path) = &args.svg {
        write_whole(path, planned.plan.to_svg().as_bytes())?;
    }
    output.write(&PlanReport(planned.plan))
}

fn to_ron(plan: &Plan) -> Result<String, CliError> {
    let pretty = ron::ser::PrettyConfig::new().depth_limit(3);
    Ok(ron::ser::to_string_pretty(plan, pretty)? + "\n")
}

/// Plans, or reads and checks the plan that the user names.
pub fn prepare(model: &FoldedModel, args: &PlanningArgs) -> Result<Planned, CliError> {
    let machine = Machine {
        threads: args.machine.threads(),
        memory_bytes: args.machine.memory_bytes(),
        cost: CostModel::default(),
    };
    let kernel = args.machine.kernel();
    if let Some(path) = &args.plan {
        return Ok(planner::obey(
            &read(path)?,
            model,
            args.batch,
            &machine,
            &kernel,
        )?);
    }
    let mut pins = Pins::default();
    pins.extend(args.pin.iter().copied());
    Ok(planner::plan(model, args.batch, &machine, &pins, &kernel)?)
}

/// Reads a plan from a file.
pub fn read(path: &Path) -> Result<Plan, CliError> {
    let text = fs::read_to_string(path).map_err(|source| CliError::Read {
        path: path.to_owned(),
        source,
    })?;
    ron::from_str(&text).map_err(|error| CliError::PlanFile {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
