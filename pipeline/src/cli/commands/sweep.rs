//! `polyphase sweep`: batches of many sizes.

use he_models::Model;
use pipeline::progress::Progress;
use pipeline::report;
use pipeline::sweep::{Row, Sweep, Table};

use super::plan::{self, Place};
use crate::cli::args::SweepArgs;
use crate::cli::data;
use crate::cli::output::{check_writable, print_line, write_whole};
use crate::error::CliError;

/// Runs the command.
pub fn command(args: &SweepArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let mut files = [&args.json, &args.csv, &args.svg].into_iter().flatten();
    files.try_for_each(|path| check_writable(path))?;
    let place = match args.simulate {
        true => Place::Anywhere,
        false => Place::Here,
    };
    let machine = plan::machine(&args.machine, args.machine_file.as_deref(), place)?;
    let model = Model::open(&args.model.model)?;
    let lowered = model.lower()?;
    let data = match args.simulate {
        true => None,
        false => Some(data::open(args.data.as_deref(), &model)?),
    };
    let sweep = Sweep {
        model: &model,
        lowered: &lowered,
        data: data.as_deref(),
        memory_is_asked_for: args.machine.memory_gib.is_some() || args.machine_file.is_some(),
        machine,
        kernel: args.machine.kernel(),
        max_logit_error: args.max_logit_error,
        seed: args.seed,
    };
    let settings = sweep.settings();
    let mut table = match &args.json {
        Some(path) => Table::resume(settings, path)?,
        None => Table::new(settings),
    };
    if args.seed.is_some() {
        ui.note(report::SEEDED);
    }
    print_line(&Table::header())?;
    for row in &table.rows {
        print_line(&row.to_string())?;
    }
    let draw = |table: &Table| {
        if let Some(path) = &args.csv {
            write_whole(path, table.to_csv()?.as_bytes())?;
        }
        if let Some(path) = &args.svg {
            write_whole(path, table.to_svg().as_bytes())?;
        }
        Ok::<_, CliError>(())
    };
    // A sweep with nothing left to do gives them, too.
    if !table.rows.is_empty() {
        draw(&table)?;
    }
    let keep = |table: &Table, row: &Row| {
        if let Some(path) = &args.json {
            write_whole(path, &serde_json::to_vec_pretty(table)?)?;
        }
        draw(table)?;
        print_line(&row.to_string())
    };
    if args.simulate {
        return sweep.run(&args.batches, &mut table, ui, keep);
    }
    let pool = args.machine.threads.pool(ui)?;
    pool.install(|| sweep.run(&args.batches, &mut table, ui, keep))
}
