//! Training under encryption: from encrypted images to an encrypted head, client and server in one process, and the comparison with
//! the same training in the clear.
//!
//! The network ends at its features. They are computed group by group under encryption, transposed and refreshed, and a head
//! is trained on them with encrypted labels. It classifies the encrypted features of other images. Nothing is
//! decrypted between images and scores, and what the server does ([`server`]) has no type that could hold a secret key.

mod assignment;
mod error;
mod planning;
mod report;
pub mod server;

use std::sync::Arc;
use std::time::Instant;

use ckks_scheme::{Ciphertext, CosineBootstrapper, Evaluator};
use he_models::Model;
use he_training::{
    Examples, Head, Ridge, Softmax, Trainer, Weights, accuracy, logistic_regression,
};

use crate::checkpoint::{Begun, Checkpoint};
use crate::client::{Randomness, TrainingClient};
use crate::exchange::sealed::hex;
use crate::inference::Batch;
use crate::progress::{Progress, Unit};
use crate::references::{self, rows};
use crate::server::run_group;
use crate::system;
use assignment::Assignment;
pub use error::TrainError;
pub use planning::{TrainPlan, TrainTask, plan};
pub use report::TrainReport;
use server::{FeatureServer, Features};

/// What is hashed to tell images apart.
const IMAGES_CONTEXT: &str = "polyphase pipeline 1 images of a training";
/// Weight decay of the logistic regression that results are compared with, over the number of images: as weak as usual.
const REFERENCE_DECAY: f64 = 1.0;
/// Most steps of it.
const REFERENCE_STEPS: usize = 3000;

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Squares, by sums over all images and iterations on those.
    Ridge(Ridge),
    /// Cross-entropy, by accelerated gradients on mini-batches.
    Softmax(Softmax),
}

impl Loss {
    /// Name in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ridge(_) => "ridge",
            Self::Softmax(_) => "softmax",
        }
    }

    /// Declared bound of the norm of an image's features.
    pub const fn norm_bound(&self) -> f64 {
        match self {
            Self::Ridge(ridge) => ridge.norm_bound,
            Self::Softmax(softmax) => softmax.norm_bound,
        }
    }
}

/// Images that are used, and those that are left out.
struct Selection {
    /// Numbers in the data.
    numbers: Vec<usize>,
    examples: Examples,
    left_out: usize,
}

/// Evaluates the network on a batch in the clear, and leaves out what leaves a declared range or is longer than declared: it would
/// spoil others.
fn select(
    model: &Model,
    batch: Batch<'_>,
    classes: usize,
    bound: f64,
    progress: &dyn Progress,
) -> Result<Selection, TrainError> {
    let data = batch.data.name().to_owned();
    let reference = references::exact(model, batch, progress)?;
    let Some(labels) = reference.labels else {
        return Err(TrainError::Labels {
            data,
            found: "images without labels".to_owned(),
            expected: "labelled images".to_owned(),
        });
    };
    let (features, d) = (reference.evaluation.logits, reference.evaluation.classes);
    let leaving: Vec<usize> = reference
        .evaluation
        .out_of_range
        .iter()
        .map(|e| e.image)
        .collect();
    let norm = |i: &usize| {
        features[i * d..(i + 1) * d]
            .iter()
            .map(|x| x * x)
            .sum::<f64>()
            .sqrt()
    };
    let positions: Vec<usize> = (0..batch.images)
        .filter(|i| leaving.binary_search(i).is_err() && norm(i) <= bound)
        .collect();
    let left_out = batch.images - positions.len();
    if left_out > 0 {
        progress.note(&format!(
            "{left_out} of {} images of {data} leave a declared range, or their features the declared norm; they are left out",
            batch.images
        ));
    }
    let of = positions.iter().map(|p| labels[*p]).collect();
    Ok(Selection {
        examples: Examples::new(d, classes, rows(&features, d, &positions), of)?,
        numbers: positions.iter().map(|p| batch.first + p).collect(),
        left_out,
    })
}

/// Trains a head and applies it, in the current rayon pool. The checkpoint keeps what the network gives; the head is trained anew by
/// each process.
///
/// # Errors
/// [`TrainError`].
pub fn train(
    task: &TrainTask<'_>,
    plan: TrainPlan,
    seed: Option<u64>,
    mut checkpoint: Option<&mut Checkpoint>,
    progress: &dyn Progress,
) -> Result<TrainReport, TrainError> {
    let bound = task.loss.norm_bound();
    let training = select(task.model, task.train, task.classes, bound, progress)?;
    let test = select(task.model, task.test, task.classes, bound, progress)?;
    let layout = *plan.arrangement.layout();
    let groups: Vec<Examples> = training.examples.groups(layout.capacity()).collect();
    let test_groups: Vec<Examples> = test.examples.groups(layout.capacity()).collect();

    // The clear twin.
    let clear = clear_twin(&task.loss, &training.examples, layout.capacity(), progress)?;
    let decay = REFERENCE_DECAY / training.examples.images() as f64;
    let reference = logistic_regression(&training.examples, decay, 1e-5, REFERENCE_STEPS);

    // Keys for the features, and the features.
    let params = plan.planned.instance.params.clone();
    let prepared = &plan.planned.instance.prepared;
    let specs = (prepared.input(), prepared.output());
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint.check("seed", seed.map_or("none".to_owned(), |s| s.to_string()))?;
        checkpoint.check("images", digest(&[&training, &test]))?;
    }
    // With a seed the key is made again.
    let stored = checkpoint.as_deref().filter(|_| seed.is_none());
    let mut client = TrainingClient::generate(&params, specs, Randomness::new(seed), stored)?;
    progress.begin("keys of the network", None, Unit::Parts);
    let keys = client.keys(&plan.feature_keys()?)?;
    progress.finish();
    let (key, encryption) = (client.key(), plan.encryption());
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint.begin(&plan.planned.plan.decisions, key)?;
    }
    let evaluator = Evaluator::new(&params, Arc::new(keys));
    let mut feature_server = FeatureServer::new(&plan, &evaluator, encryption.1)?;
    let assignments = [&training, &test].map(|s| {
        let capacity = layout.capacity();
        Assignment::new(
            &plan.arrangement,
            prepared.images(),
            s.numbers.len(),
            capacity,
        )
    });
    let datas = [(task.train, &training), (task.test, &test)];
    let (mut number, mut seconds_features) = (0, 0.0);
    let mut transposed: Vec<Features> = Vec::new();
    for ((batch, selection), assignment) in datas.iter().zip(&assignments) {
        let mut features = Features::default();
        for run in 0..assignment.runs() {
            let executor = feature_server.executor();
            let kept = checkpoint.as_deref_mut();
            let mut kept = kept.map(|checkpoint| checkpoint.group(&params, key, prepared, number));
            let found = kept.as_mut().map(|kept| kept.find(executor, progress));
            let begun = if let Some(begun) = found.transpose()?.flatten() {
                client.skip_group();
                begun
            } else {
                let numbers = &selection.numbers;
                let images = assignment.pictures(task.model, batch.data, numbers, run)?;
                let start = Instant::now();
                let encrypted = client.encrypt(&images)?;
                seconds_features += start.elapsed().as_secs_f64();
                Begun::at(executor.begin(encrypted)?)
            };
            let done = run_group(begun, kept, None, progress)?;
            seconds_features += done.seconds;
            let start = Instant::now();
            feature_server.transpose(done.logits, assignment, run, &mut features)?;
            seconds_features += start.elapsed().as_secs_f64();
            number += 1;
        }
        transposed.push(features);
    }
    drop(feature_server);
    drop(evaluator);

    // Keys for the training; refreshed features.
    progress.begin("keys of the training", None, Unit::Parts);
    let keys = client.keys(&plan.training_keys())?;
    progress.finish();
    params.pool().set_budget(Some(plan.memory_bytes));
    let refresher = CosineBootstrapper::new(&plan.refreshes)?;
    let evaluator = Evaluator::new(&params, Arc::new(keys));
    let trainer = Trainer::new(evaluator, layout, Arc::new(refresher), encryption.1)?;
    let start = Instant::now();
    let mut refreshed = Vec::new();
    for features in transposed {
        refreshed.push(server::refreshed(
            &trainer,
            &plan.arrangement,
            features,
            bound,
            progress,
        )?);
    }
    let test_features = refreshed.pop().unwrap_or_default();
    let features = refreshed.pop().unwrap_or_default();
    seconds_features += start.elapsed().as_secs_f64();

    // The training itself.
    let encrypted = {
        let mut client = client.heads(layout, encryption);
        let labels = groups.iter().map(|g| client.encrypt_labels(g.labels()));
        server::groups(features, labels.collect::<Result<_, _>>()?, &groups)
    };
    let features_refreshed = trainer.refreshes();
    let start = Instant::now();
    let head = server::train(&trainer, &task.loss, encrypted, progress)?;
    let seconds_train = start.elapsed().as_secs_f64();
    let bootstraps_train = trainer.refreshes() - features_refreshed;

    // The use of the head.
    let start = Instant::now();
    let spread = trainer.spread(&head)?;
    let mut scores = Vec::new();
    for features in &test_features {
        scores.push(trainer.scores(&spread, features)?);
    }
    let seconds_scores = start.elapsed().as_secs_f64();
    let (found, encrypted_scores) = decrypted(&mut client, &plan, &head, (&scores, &test_groups))?;
    let encrypted_accuracy = accuracy(&encrypted_scores, task.classes, test.examples.labels());
    Ok(TrainReport {
        model: task.model.name().to_owned(),
        data: task.train.data.name().to_owned(),
        loss: task.loss.name().to_owned(),
        images: training.examples.images(),
        images_left_out: training.left_out,
        test_images: test.examples.images(),
        test_images_left_out: test.left_out,
        classes: task.classes,
        features: layout.features(),
        accuracy_encrypted: encrypted_accuracy,
        accuracy_plain: clear.accuracy(&test.examples),
        accuracy_reference: reference.accuracy(&test.examples),
        largest_weight_difference: clear.difference(&found),
        seconds_features,
        seconds_train,
        seconds_per_step: seconds_train / plan.forecast.steps as f64,
        seconds_scores,
        steps: plan.forecast.steps,
        bootstraps: trainer.refreshes() + plan.network_refreshes(&assignments),
        bootstraps_train,
        predicted_seconds_train: plan.seconds_train,
        key_bytes: plan.forecast.key_bytes,
        peak_rss_bytes: system::peak_rss_bytes(),
        log_n: params.log_n(),
        log_qp: params.log_qp(),
        security_bits: params.security_bits(),
        threads: rayon::current_num_threads(),
        kernel: params.kernel_name().to_owned(),
        seeded: seed.is_some(),
        processor: system::processor(),
        revision: system::revision().to_owned(),
        checkpoint: checkpoint.map(|checkpoint| checkpoint.report()),
    })
}

/// What images are compared by, in hexadecimal digits: their features, which follow from them and the network.
fn digest(selections: &[&Selection]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(IMAGES_CONTEXT);
    for selection in selections {
        for value in selection.examples.rows() {
            hasher.update(&value.to_le_bytes());
        }
    }
    hex(hasher.finalize().as_bytes())
}

/// The client's look at the head and at all scores.
fn decrypted(
    client: &mut TrainingClient,
    plan: &TrainPlan,
    head: &Head,
    (scores, groups): (&[Ciphertext], &[Examples]),
) -> Result<(Weights, Vec<f64>), TrainError> {
    let client = client.heads(*plan.arrangement.layout(), plan.encryption());
    let weights = client.decrypt_head(head)?;
    let mut all = Vec::new();
    for (scores, group) in scores.iter().zip(groups) {
        all.extend(client.decrypt_scores(scores, group.images())?);
    }
    Ok((weights, all))
}

/// The same training in the clear; `group`: images of a group.
fn clear_twin(
    loss: &Loss,
    all: &Examples,
    group: usize,
    progress: &dyn Progress,
) -> Result<Weights, TrainError> {
    Ok(match loss {
        Loss::Ridge(ridge) => ridge.train_clear(all)?,
        Loss::Softmax(softmax) => {
            let batches: Vec<Examples> = all.groups(group * softmax.step_groups).collect();
            let steps = (softmax.epochs * batches.len()) as u64;
            progress.begin("the same in the clear", Some(steps), Unit::Things("steps"));
            let weights = softmax.train_clear(&batches, |_, _| progress.advance(1))?;
            progress.finish();
            weights
        }
    })
}
