//! The client: the first rank. It plans, and [`pipeline::inference::infer_dealt`] does what is secret.

use std::num::NonZeroUsize;
use std::path::Path;

use mpi::Rank;
use pipeline::checkpoint::Checkpoint;
use pipeline::datasets::{self, Dataset, OpenOptions, Shape, Split as Part, Synthetic};
use pipeline::decisions::Decisions;
use pipeline::he_layers::{Rotating, Share};
use pipeline::he_models::Model;
use pipeline::inference::{self, Batch, Options};
use pipeline::plan::Plan;
use pipeline::planner::{self, Machine, PlanError, Planned, Task};
use pipeline::progress::Progress;
use pipeline::{report, system};

use crate::args::{InferArgs, RotateName};
use crate::dealer::Dealer;
use crate::error::RankError;
use crate::interrupt;
use crate::link::Link;
use crate::output::Output;
use crate::report::MpiReport;
use crate::words::{Facts, Order, Split};

/// Seed of the synthetic images, as for `polyphase`.
const SYNTHETIC_SEED: u64 = 0;

/// Runs the batch on all servers and reports.
///
/// # Errors
/// [`RankError`].
pub fn run(
    world: &Link,
    args: &InferArgs,
    facts: Facts,
    ui: &dyn Progress,
) -> Result<(), RankError> {
    let output = Output::new(args.json.json.as_deref())?;
    let plan_out = args.plan_out.as_deref();
    plan_out.map_or(Ok(()), crate::output::check_writable)?;
    let mut checkpoint = args
        .checkpoint
        .as_deref()
        .map(Checkpoint::open)
        .transpose()?;
    if let Some(checkpoint) = &checkpoint {
        interrupt::resumable(checkpoint.dir());
    }
    let model = Model::open(&args.model.model)?;
    let data = open(args.data.data.as_deref(), &model)?;
    let batch = Batch {
        data: data.as_ref(),
        first: args.data.offset,
        images: args.batch.get(),
    };
    check_left(batch)?;

    let servers: Vec<Rank> = (1..world.size()).collect();
    let mut ranks = vec![facts];
    for server in &servers {
        ranks.push(world.hear(*server)?);
    }
    let weakest = Facts::weakest(&ranks).expect("this rank is one");
    ui.note(&format!(
        "{} servers; the plan is for the weakest rank: {} threads, {:.2} GiB, kernel {}",
        servers.len(),
        weakest.threads,
        weakest.memory_bytes as f64 / f64::from(1 << 30),
        weakest.kernel
    ));
    let kept = checkpoint.as_mut();
    let (planned, rotating) = planned_for(args, &model, &weakest, servers.len(), kept, ui)?;
    ui.note(&planned.plan.to_string());
    let text = planned.plan.to_ron();
    if let Some(path) = plan_out {
        crate::output::write_whole(path, text.as_bytes())?;
    }
    let order = Order::Plan {
        plan: text,
        split: args.split,
        rotating,
    };
    servers.iter().for_each(|server| world.say(*server, &order));
    if args.seed.is_some() {
        ui.note(report::SEEDED);
    }

    let options = Options {
        seed: args.seed,
        profile: args.profile,
        logits: args.logits,
        out_of_range: args.out_of_range.into(),
    };
    let forecast = planned.plan.forecast.clone();
    let mut dealer = Dealer::new(world, args.split, args.keys_dir.clone(), &ranks);
    let kept = checkpoint.as_mut();
    let infer = inference::infer_dealt(&model, planned, batch, options, kept, &mut dealer, ui)?;
    if args.logits {
        ui.note(report::EXACT);
    }
    let split = (args.split, rotating);
    let report = MpiReport::new(infer, &forecast, split, dealer.into_report());
    output.write(&report)?;
    if let Some(checkpoint) = checkpoint {
        checkpoint.remove()?;
    }
    Ok(())
}

/// The plan of the run, made ready, and where rotations are made if servers share the channels: where that is faster.
fn planned_for(
    args: &InferArgs,
    model: &Model,
    weakest: &Facts,
    servers: usize,
    mut checkpoint: Option<&mut Checkpoint>,
    ui: &dyn Progress,
) -> Result<(Planned, Rotating), RankError> {
    let candidates = RotateName::candidates(args.rotate);
    let of = |rotating| {
        // The first share has the most blocks.
        let share = Share::new(0, servers, rotating);
        let share = share.filter(|_| args.split == Split::Channels);
        weakest.machine(args, share)
    };
    let mut best: Option<(f64, Rotating)> = None;
    let mut failed = None;
    // One server alone makes every rotation once.
    let is_choice = args.split == Split::Channels && servers > 1 && candidates.len() > 1;
    for &rotating in candidates.iter().filter(|_| is_choice) {
        let kept = checkpoint.as_deref_mut();
        match planned(args, model, &of(rotating)?, servers, kept) {
            Err(error) => failed = failed.or(Some(error)),
            Ok(planned) => {
                let seconds = planned.plan.forecast.predicted_seconds_infer;
                if best.is_none_or(|(least, _)| seconds < least) {
                    best = Some((seconds, rotating));
                }
            }
        }
    }
    let rotating = match (best, failed) {
        (Some((_, rotating)), _) => rotating,
        (None, Some(error)) => return Err(error),
        (None, None) => candidates[0],
    };
    let machine = of(rotating)?;
    ui.note(&match args.split {
        Split::Groups => format!(
            "planned for a server's share of {} images on {servers} servers",
            args.batch
        ),
        Split::Channels => {
            let rotations = match rotating {
                Rotating::Everywhere => "every server makes all rotations of inputs",
                Rotating::Once => "each rotation of an input is made once, and sums go to their owners",
            };
            format!("{servers} servers share the channels of every group; {rotations}")
        }
    });
    let planned = planned(args, model, &machine, servers, checkpoint)?;
    Ok((planned, rotating))
}

/// The plan of the run, made ready: that of the checkpoint, that of the user, or one for groups so small that every server has
/// some.
fn planned(
    args: &InferArgs,
    model: &Model,
    machine: &Machine,
    servers: usize,
    checkpoint: Option<&mut Checkpoint>,
) -> Result<Planned, RankError> {
    let lowered = model.lower()?;
    let checksum = model.checksum_hex();
    let task = |batch| Task {
        program: &lowered.program,
        checksum: &checksum,
        batch,
        max_logit_error: args.max_logit_error,
    };
    let kernel = args.kernel.choice();
    let obey = |decisions: &Decisions| {
        planner::obey(decisions, &task(args.batch), machine, &kernel).map_err(RankError::from)
    };
    if let Some(checkpoint) = checkpoint {
        checkpoint.check("command", "mpi infer")?;
        checkpoint.check("program", system::revision())?;
        checkpoint.check("model", lowered.program.name())?;
        checkpoint.check("model checksum", &checksum)?;
        checkpoint.check("number of images", args.batch)?;
        checkpoint.check("planning", asked_for(args))?;
        if let Some(decisions) = checkpoint.decisions()? {
            return obey(&decisions);
        }
    }
    if let Some(path) = &args.plan {
        return obey(&Plan::read(path)?.decisions);
    }
    let share = match args.split {
        Split::Groups => args.batch.get().div_ceil(servers),
        Split::Channels => args.batch.get(),
    };
    let share = NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN);
    let mut machine_left = machine.clone();
    loop {
        let mut pins = args.pins();
        // What is left of a share is not what is left of the batch.
        pins.equal_groups |= share.get() < args.batch.get();
        let plan = planner::choose(&task(share), &machine_left, &pins, &kernel)?;
        let decisions = Decisions {
            batch: args.batch.get(),
            ..plan.decisions
        };
        let planned = obey(&decisions);
        // The logits of the whole batch take memory too.
        if let Err(RankError::Plan(error)) = &planned
            && let PlanError::Memory {
                needed_bytes,
                budget_bytes,
                ..
            } = **error
            && machine_left.memory_bytes == machine.memory_bytes
        {
            let missing = needed_bytes - budget_bytes;
            machine_left.memory_bytes = machine_left.memory_bytes.saturating_sub(missing);
            continue;
        }
        return planned;
    }
}

/// What a plan must do, in words that can be compared.
fn asked_for(args: &InferArgs) -> String {
    match &args.plan {
        Some(_) => "from a file".to_owned(),
        None => format!("error {}, {:?}", args.max_logit_error, args.pins()),
    }
}

/// The test images at `path`, or synthetic ones where there is none; refused if they are nothing for the model.
fn open(path: Option<&Path>, model: &Model) -> Result<Box<dyn Dataset>, RankError> {
    let shape = model.input_shape();
    let shape = Shape {
        channels: shape.channels,
        height: shape.height,
        width: shape.width,
    };
    let Some(path) = path else {
        return Ok(Box::new(Synthetic::with_shape(SYNTHETIC_SEED, shape)?));
    };
    let options = OpenOptions {
        shape: Some(shape),
        split: Part::Test,
        classes: Some(model.classes().to_vec()),
        ..OpenOptions::default()
    };
    Ok(datasets::open(path, &options)?)
}

/// Refuses more images than there are, and image files whose headers are wrong.
fn check_left(batch: Batch<'_>) -> Result<(), RankError> {
    let (data, offset, count) = (batch.data, batch.first, batch.images);
    match data.num_images() {
        Some(images) if count > images.saturating_sub(offset) => Err(RankError::ImagesLeft {
            dataset: data.name().to_owned(),
            left: images.saturating_sub(offset),
            offset,
            count,
        }),
        _ => Ok(data.check_range(offset, count)?),
    }
}
