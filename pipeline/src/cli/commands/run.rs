//! `polyphase run`: the server. It holds no secret key.

use std::num::NonZeroUsize;
use std::time::Instant;

use ckks_scheme::serial::refuse_secrets;
use he_models::Model;
use pipeline::checkpoint::Checkpoint;
use pipeline::exchange::{ClientSpec, ExchangeError, PLAN_FILE};
use pipeline::plan::Plan;
use pipeline::planner::{self, PlanError, Task};
use pipeline::progress::{Progress, Unit};
use pipeline::report::RunReport;
use pipeline::server::{self, Server};
use pipeline::system;

use super::plan::{self, Place};
use crate::cli::args::RunArgs;
use crate::cli::checkpoint;
use crate::cli::output::{Output, check_writable, file_bytes};
use crate::error::CliError;

/// Runs the command.
pub fn command(args: &RunArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    // Before anything of the folder is read.
    refuse_secrets(&args.eval_keys).map_err(ExchangeError::from)?;
    check_writable(&args.out)?;
    let pool = args.machine.threads.pool(ui)?;
    let mut checkpoint = checkpoint::open(&args.checkpoint)?;
    output.write(&pool.install(|| run(args, checkpoint.as_mut(), ui))?)?;
    checkpoint::remove(checkpoint)
}

fn run(
    args: &RunArgs,
    mut checkpoint: Option<&mut Checkpoint>,
    ui: &dyn Progress,
) -> Result<RunReport, CliError> {
    let of_client = || args.eval_keys.join(PLAN_FILE);
    let decisions = Plan::read(args.plan.clone().unwrap_or_else(of_client))?.decisions;
    let model = Model::open(&args.model.model)?.lower()?;
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint::check(checkpoint, "run", &model)?;
    }
    let batch = NonZeroUsize::new(decisions.batch).ok_or_else(|| PlanError::Foreign {
        what: "batch",
        found: "0".to_owned(),
        expected: "1 or more".to_owned(),
    })?;
    let task = Task {
        program: &model.program,
        checksum: &plan::checksum(&model),
        batch,
        max_logit_error: f64::INFINITY,
    };
    let machine = plan::machine(&args.machine, None, Place::Here)?;
    let planned = planner::obey(&decisions, &task, &machine, &args.machine.kernel())?;
    let (plan, instance) = (&planned.plan, &planned.instance);
    ui.note(&plan.to_string());
    let spec = ClientSpec::new(
        &plan.decisions,
        instance,
        &model.classes,
        model.conditioning.as_ref(),
        None,
    );
    let params = &instance.params;

    ui.begin("evaluation keys", None, Unit::Parts);
    let start = Instant::now();
    let keys = server::load_keys(&args.eval_keys, params)?;
    let key_bytes = keys.bytes();
    let server = Server::new(&planned, &spec, keys)?;
    let seconds_load = start.elapsed().as_secs_f64();
    ui.finish();
    let warmed = server::warm_up(params, plan.forecast.pool_bytes, ui);
    let seconds_warmup = warmed.map_err(ExchangeError::from)?;
    let kept = checkpoint.as_deref_mut();
    let served = server.run_file_kept(&args.input, &args.out, kept, ui)?;
    let grouping = instance.grouping();
    let groups = grouping.count(served.images);
    let refreshes = grouping.groups(served.images);
    let refreshes = refreshes.map(|group| instance.of_group(&group).refreshes());
    Ok(RunReport {
        images: served.images,
        groups,
        seconds_load,
        seconds_warmup,
        seconds_infer: served.seconds_infer,
        seconds_per_image: served.seconds_infer / served.images as f64,
        file_bytes: file_bytes(&args.out),
        key_bytes,
        bootstraps: refreshes.sum(),
        stages: served.stages,
        predicted_seconds_infer: plan.forecast.predicted_seconds_infer,
        predicted_peak_bytes: plan.forecast.predicted_peak_bytes,
        peak_rss_bytes: system::peak_rss_bytes(),
        pool_high_water_bytes: served.pool_high_water_bytes,
        threads: rayon::current_num_threads(),
        kernel: params.kernel_name().to_owned(),
        profile: args.profile.then(|| server.operations()),
        model: spec.model.clone(),
        model_checksum: spec.model_checksum.clone(),
        checkpoint: checkpoint.map(|checkpoint| checkpoint.report()),
    })
}
