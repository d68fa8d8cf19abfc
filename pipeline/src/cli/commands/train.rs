//! `polyphase train`: a head trained on encrypted images, compared with the same training in the clear.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use ckks_scheme::BootstrapPreset;
use datasets::Split;
use he_models::{FeatureUnits, Model, features, model_files};
use he_training::{Declared, Given, Ridge, Softmax};
use pipeline::checkpoint::Checkpoint;
use pipeline::decisions::Decisions;
use pipeline::inference::Batch;
use pipeline::progress::Progress;
use pipeline::references::{self, rows};
use pipeline::report;
use pipeline::training::{self, Loss, Rule, TrainError, TrainPlan, TrainTask};

use super::plan::{Place, machine};
use crate::cli::args::{LossName, TrainArgs};
use crate::cli::checkpoint;
use crate::cli::data;
use crate::cli::output::Output;
use crate::error::CliError;

/// Groups of images of a mini-batch, where the range of the scores takes no more: two share every refresh.
const STEP_GROUPS: usize = 2;

/// Runs the command: the plan, then the report to standard output, to a JSON file, or both. With `--plan-only` the plan is what is
/// reported.
pub fn command(args: &TrainArgs, ui: &dyn Progress) -> Result<(), CliError> {
    let output = Output::new(args.json.json.as_deref())?;
    let pool = args.machine.threads.pool(ui)?;
    if args.plan_only {
        return pool.install(|| run(args, None, &output, ui));
    }
    let mut checkpoint = checkpoint::open(&args.checkpoint)?;
    pool.install(|| run(args, checkpoint.as_mut(), &output, ui))?;
    checkpoint::remove(checkpoint.filter(|_| !args.keep_checkpoint))
}

fn run(
    args: &TrainArgs,
    mut checkpoint: Option<&mut Checkpoint>,
    output: &Output,
    ui: &dyn Progress,
) -> Result<(), CliError> {
    // What cannot be is refused before anything is evaluated.
    early(args).validate()?;
    let (spec, weights) = model_files(&args.model.model)?;
    let until = args.until.as_deref();
    let raw = features(&spec, &weights, until, None)?;
    let (classes, own_classes) = (args.classes.get(), spec.classes.len());
    let open = |dir, split, classes| data::open_classes(dir, split, &raw, classes);
    let train = open(&args.data, Split::Train, classes)?;
    let test = open(&args.data, Split::Test, classes)?;
    let own = open(&args.own_data, Split::Train, own_classes)?;
    data::check_left(own.as_ref(), 0, args.own_images.get())?;
    data::check_left(train.as_ref(), 0, args.images.get())?;
    data::check_left(test.as_ref(), 0, args.test_images.get())?;

    let own = Batch {
        data: own.as_ref(),
        first: 0,
        images: args.own_images.get(),
    };
    let (units, declared) = measured(&raw, own, ui)?;
    let model = features(&spec, &weights, until, Some(&units))?;
    let declared = Declared {
        norm: args.norm_bound.unwrap_or(declared.norm),
        rms: args.rms_bound.unwrap_or(declared.rms),
        ..declared
    };
    let batch = |data, images| Batch {
        data,
        first: 0,
        images,
    };
    let task = TrainTask {
        model: &model,
        train: batch(train.as_ref(), args.images.get()),
        test: batch(test.as_ref(), args.test_images.get()),
        classes,
        loss: loss(args),
        rule: Some(Rule {
            declared,
            given: given(args),
        }),
        batch: args.batch,
        max_error: args.max_feature_error,
    };
    let mut begun = None;
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint::check(checkpoint, "train", &model.lower()?)?;
        let planning = (&args.preset, args.batch, args.max_feature_error);
        checkpoint.check("planning", format!("{planning:?}"))?;
        begun = checkpoint.decisions()?;
    }
    let plan = planned(args, &task, begun.as_ref())?;
    if args.plan_only {
        return output.write(&plan.summary);
    }
    ui.note(&plan.summary.to_string());
    if args.seed.is_some() {
        ui.note(report::SEEDED);
    }
    output.write(&training::train(&task, plan, args.seed, checkpoint, ui)?)
}

fn planned(
    args: &TrainArgs,
    task: &TrainTask<'_>,
    begun: Option<&Decisions>,
) -> Result<TrainPlan, CliError> {
    let machine = machine(&args.machine, args.machine_file.as_deref(), Place::Here)?;
    // The names are those that clap allows.
    let preset = BootstrapPreset::named(&args.preset).unwrap_or(BootstrapPreset::ALL[0]);
    let refreshes = preset.build(args.machine.kernel(), None)?;
    Ok(training::plan(task, &refreshes, &machine, begun)?)
}

/// What is minimised, as far as the arguments say.
fn loss(args: &TrainArgs) -> Loss {
    match args.loss {
        LossName::Ridge => Loss::Ridge(Ridge {
            bias: !args.no_bias,
            ..Ridge::default()
        }),
        LossName::Softmax => Loss::Softmax(Softmax {
            epochs: args.epochs.get(),
            step_groups: args.step_groups.map_or(STEP_GROUPS, NonZeroUsize::get),
            bias: !args.no_bias,
            ..Softmax::default()
        }),
    }
}

/// The settings that the arguments say, and the rule does not.
fn given(args: &TrainArgs) -> Given {
    Given {
        rate: args.rate,
        momentum: args.momentum,
        decay: args.decay,
        step_groups: args.step_groups.map(NonZeroUsize::get),
    }
}

/// The loss as the arguments say, with usual numbers for what is measured later.
fn early(args: &TrainArgs) -> Loss {
    match loss(args) {
        Loss::Ridge(ridge) => Loss::Ridge(Ridge {
            norm_bound: args.norm_bound.unwrap_or(ridge.norm_bound),
            rms_bound: args.rms_bound.unwrap_or(ridge.rms_bound),
            regularisation: args.decay.unwrap_or(ridge.regularisation),
            ..ridge
        }),
        Loss::Softmax(softmax) => {
            let rate = args.rate.unwrap_or(softmax.rate);
            // Whether a decay alone is too much depends on the rate.
            let decay = args.decay.filter(|_| args.rate.is_some());
            Loss::Softmax(Softmax {
                norm_bound: args.norm_bound.unwrap_or(softmax.norm_bound),
                rate,
                momentum: args.momentum.unwrap_or(softmax.momentum),
                decay: decay.unwrap_or(softmax.decay.min(1.0 / rate)),
                ..softmax
            })
        }
    }
}

/// The units of a network's features, measured on its own training images, and what is declared of features in them.
fn measured(
    raw: &Model,
    own: Batch<'_>,
    ui: &dyn Progress,
) -> Result<(FeatureUnits, Declared), CliError> {
    let evaluation = references::exact(raw, own, ui)?.evaluation;
    // An image that leaves a declared range may have features of any size.
    let leaving = evaluation.out_of_range.iter().map(|e| e.image);
    let leaving: BTreeSet<usize> = leaving.collect();
    let within: Vec<usize> = (0..own.images).filter(|i| !leaving.contains(i)).collect();
    if within.is_empty() {
        return Err(CliError::OwnImages {
            data: own.data.name().to_owned(),
            images: own.images,
        });
    }
    let d = evaluation.classes;
    let values = rows(&evaluation.logits, d, &within);
    let units = FeatureUnits::of(&values, d);
    let root = (d as f64).sqrt();
    let in_units = values.iter().enumerate().map(|(i, x)| {
        let f = i % d;
        (x - units.mean[f]) / (units.deviation[f] * root)
    });
    let declared = Declared::of(d, &in_units.collect::<Vec<_>>()).map_err(TrainError::from)?;
    Ok((units, declared))
}
