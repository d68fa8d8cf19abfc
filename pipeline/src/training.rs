//! Training under encryption: from encrypted images to an encrypted head, client and server in one process, and the comparison with
//! the same training in the clear.
//!
//! The network ends at its features. They are computed group by group under encryption, transposed and refreshed, and a head
//! is trained on them with encrypted labels. It classifies the encrypted features of other images. Nothing is
//! decrypted between images and scores, and what the server does ([`server`]) has no type that could hold a secret key.

mod assignment;
mod error;
mod forecast;
mod planning;
mod report;
pub mod server;
mod settings;

use std::sync::Arc;
use std::time::Instant;

use ckks_scheme::{Ciphertext, CosineBootstrapper, Evaluator};
use he_models::Model;
use he_training::{Examples, Head, Trainer, Weights, accuracy, cross_entropy, logistic_regression};

use crate::checkpoint::{Begun, Checkpoint};
use crate::client::{Randomness, TrainingClient};
use crate::exchange::sealed::hex;
use crate::inference::Batch;
use crate::progress::{Progress, Silent, Unit};
use crate::references::{self, rows};
use crate::server::run_group;
use crate::system;
use assignment::Assignment;
pub use error::TrainError;
pub use forecast::TrainForecast;
pub use planning::{TrainPlan, TrainTask, plan};
pub use report::TrainReport;
use server::{FeatureServer, Features};
pub use settings::{Loss, Rule, TrainSettings};

/// What is hashed to tell images apart.
const IMAGES_CONTEXT: &str = "polyphase pipeline 1 images of a training";
/// Weight decay of the logistic regression that results are compared with, over the number of images: as weak as usual.
const REFERENCE_DECAY: f64 = 1.0;
/// Most steps of it.
const REFERENCE_STEPS: usize = 3000;

/// Images that are used, and those that are left out.
struct Selection {
    /// Numbers in the data.
    numbers: Vec<usize>,
    examples: Examples,
    left_out: usize,
}

/// Evaluates the network on a batch in the clear, and leaves out what leaves a declared range or is longer than declared: it would
/// spoil others. `order`: which of the network's features each trained one is.
fn select(
    model: &Model,
    batch: Batch<'_>,
    (order, classes): (&[usize], usize),
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
    if positions.is_empty() {
        return Err(TrainError::LeftOut {
            data,
            images: batch.images,
            norm_bound: bound,
        });
    }
    let of = positions.iter().map(|p| labels[*p]).collect();
    let features = rows(&features, d, &positions);
    let ordered = features
        .chunks_exact(d)
        .flat_map(|row| order.iter().map(|f| row[*f]));
    Ok(Selection {
        examples: Examples::new(d, classes, ordered.collect(), of)?,
        numbers: positions.iter().map(|p| batch.first + p).collect(),
        left_out,
    })
}

/// Trains a head and applies it, in the current rayon pool. The checkpoint keeps what the network gives, and the weights of a softmax
/// head after every step. With a seed a run that goes on gives the same head to the last bit; without one its switching keys and
/// encryptions are new, and the head differs by their noise.
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
    let loss = plan.loss;
    let bound = loss.norm_bound();
    let order = plan.arrangement.order();
    let columns = (&order[..], task.classes);
    let training = select(task.model, task.train, columns, bound, progress)?;
    let test = select(task.model, task.test, columns, bound, progress)?;
    let layout = *plan.arrangement.layout();
    let groups: Vec<Examples> = training.examples.groups(layout.capacity()).collect();
    let test_groups: Vec<Examples> = test.examples.groups(layout.capacity()).collect();

    // The clear twin. Another one is trained on the features that the server has.
    let clear = clear_twin(&loss, &training.examples, layout.capacity(), progress)?;
    let decay = REFERENCE_DECAY / training.examples.images() as f64;
    let reference = logistic_regression(&training.examples, decay, 1e-5, REFERENCE_STEPS);

    // The features.
    let params = plan.planned.instance.params.clone();
    let prepared = &plan.planned.instance.prepared;
    let specs = (prepared.input(), prepared.output());
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint.check("seed", seed.map_or("none".to_owned(), |s| s.to_string()))?;
        checkpoint.check("images", digest(&[&training, &test]))?;
        // They decide which image is in which run.
        checkpoint.check("classes", task.classes)?;
    }
    // With a seed the key is made again.
    let stored = checkpoint.as_deref().filter(|_| seed.is_none());
    let mut client = TrainingClient::generate(&params, specs, Randomness::new(seed), stored)?;
    if let Some(checkpoint) = &mut checkpoint {
        checkpoint.begin(&plan.planned.plan.decisions, client.key())?;
    }
    let sources = [
        Source::new(&plan, task.train, &training),
        Source::new(&plan, task.test, &test),
    ];
    let runs = sources.iter().map(|source| source.assignment.runs());
    let bootstraps_network = plan.network_refreshes(runs.sum());
    let kept = checkpoint.as_deref_mut();
    let (transposed, mut seconds_features) =
        features(task, &plan, &sources, &mut client, kept, progress)?;

    // The network is not needed any more: its matrices make room for those of the training.
    let encryption = plan.encryption();
    drop(plan.planned);
    progress.begin("keys of the training", None, Unit::Parts);
    let keys = client.keys(&plan.forecast.keys)?;
    progress.finish();
    let refresher = CosineBootstrapper::new(&plan.refreshes)?;
    let evaluator = Evaluator::new(&params, Arc::new(keys));
    let trainer = Trainer::new(evaluator, layout, Arc::new(refresher), encryption.1)?;
    let start = Instant::now();
    let [features, test_features] = transposed.map(|transposed| {
        server::refreshed(&trainer, &plan.arrangement, transposed, bound, progress)
    });
    let (features, test_features) = (features?, test_features?);
    seconds_features += start.elapsed().as_secs_f64();

    // The training itself.
    let (seen, largest_feature_error) = {
        let client = client.heads(layout, encryption);
        let (seen, error) = decrypted_features(&client, &features, &groups)?;
        let (_, of_test) = decrypted_features(&client, &test_features, &test_groups)?;
        (seen, error.max(of_test))
    };
    let same_features = clear_twin(&loss, &seen, layout.capacity(), &Silent)?;
    let encrypted = {
        let mut client = client.heads(layout, encryption);
        let labels = groups.iter().map(|g| client.encrypt_labels(g.labels()));
        server::groups(features, labels.collect::<Result<_, _>>()?, &groups)
    };
    let bootstraps_features = trainer.refreshes();
    let key = client.key();
    let mut kept = checkpoint
        .as_deref_mut()
        .map(|checkpoint| checkpoint.head(&params, key, loss.identity()));
    let trained = server::train(&trainer, &loss, encrypted, kept.as_mut(), progress)?;
    let (head, seconds_train) = (trained.head, trained.seconds);

    // The use of the head.
    let start = Instant::now();
    let spread = trainer.spread(&head)?;
    let scores = test_features.iter().map(|x| trainer.scores(&spread, x));
    let scores = scores.collect::<Result<Vec<_>, _>>()?;
    let seconds_scores = start.elapsed().as_secs_f64();
    let client = client.heads(layout, encryption);
    let (found, encrypted_scores) = decrypted(&client, &head, (&scores, &test_groups))?;
    if let Some(kept) = kept {
        kept.remove()?;
    }
    let encrypted_accuracy = accuracy(&encrypted_scores, task.classes, test.examples.labels());
    Ok(TrainReport {
        model: task.model.name().to_owned(),
        data: task.train.data.name().to_owned(),
        loss: loss.name().to_owned(),
        settings: plan.summary.settings.clone(),
        images: training.examples.images(),
        images_left_out: training.left_out,
        test_images: test.examples.images(),
        test_images_left_out: test.left_out,
        classes: task.classes,
        features: layout.features(),
        accuracy_encrypted: encrypted_accuracy,
        accuracy_plain: clear.accuracy(&test.examples),
        accuracy_reference: reference.accuracy(&test.examples),
        largest_feature_error,
        largest_weight_difference: clear.difference(&found),
        weight_difference: clear.distance(&found),
        largest_weight_difference_same_features: same_features.difference(&found),
        weight_difference_same_features: same_features.distance(&found),
        seconds_features,
        seconds_train,
        seconds_per_step: seconds_train / plan.forecast.steps as f64,
        seconds_scores,
        steps: plan.forecast.steps,
        bootstraps: bootstraps_network + bootstraps_features + trained.refreshes,
        bootstraps_train: trained.refreshes,
        predicted_seconds_features: plan.summary.predicted_seconds_features,
        predicted_seconds_train: plan.summary.predicted_seconds_train,
        predicted_peak_bytes: plan.summary.predicted_peak_bytes,
        key_bytes: plan.forecast.key_bytes,
        peak_rss_bytes: system::peak_rss_bytes(),
        pool_high_water_bytes: params.pool().high_water_bytes(),
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

/// Images whose features are to be made.
struct Source<'a> {
    batch: Batch<'a>,
    selection: &'a Selection,
    assignment: Assignment,
}

impl<'a> Source<'a> {
    fn new(plan: &TrainPlan, batch: Batch<'a>, selection: &'a Selection) -> Self {
        Self {
            batch,
            selection,
            assignment: plan.assignment(selection.numbers.len()),
        }
    }
}

/// Encrypts images and runs the network on them: transposed features of each source, not refreshed, and the seconds that it took, without
/// the keys and what an earlier process has done.
fn features(
    task: &TrainTask<'_>,
    plan: &TrainPlan,
    sources: &[Source<'_>; 2],
    client: &mut TrainingClient,
    mut checkpoint: Option<&mut Checkpoint>,
    progress: &dyn Progress,
) -> Result<([Features; 2], f64), TrainError> {
    let (params, key) = (&plan.planned.instance.params, client.key());
    let prepared = &plan.planned.instance.prepared;
    progress.begin("keys of the network", None, Unit::Parts);
    let keys = client.keys(&plan.feature_keys()?)?;
    progress.finish();
    let evaluator = Evaluator::new(params, Arc::new(keys));
    let mut server = FeatureServer::new(plan, &evaluator, plan.encryption().1)?;
    let (mut number, mut seconds) = (0, 0.0);
    let mut all = [Features::default(), Features::default()];
    for (source, features) in sources.iter().zip(&mut all) {
        let Source {
            batch,
            selection,
            assignment,
        } = source;
        for run in 0..assignment.runs() {
            let executor = server.executor();
            let kept = checkpoint.as_deref_mut();
            let mut kept = kept.map(|checkpoint| checkpoint.group(params, key, prepared, number));
            let found = kept.as_mut().map(|kept| kept.find(executor, progress));
            let begun = if let Some(begun) = found.transpose()?.flatten() {
                client.skip_group();
                begun
            } else {
                let images =
                    assignment.pictures(task.model, batch.data, &selection.numbers, run)?;
                let start = Instant::now();
                let encrypted = client.encrypt(&images)?;
                seconds += start.elapsed().as_secs_f64();
                Begun::at(executor.begin(encrypted)?)
            };
            let done = run_group(begun, kept, None, progress)?;
            seconds += done.seconds;
            let start = Instant::now();
            server.transpose(done.logits, assignment, run, features)?;
            seconds += start.elapsed().as_secs_f64();
            number += 1;
        }
    }
    Ok((all, seconds))
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

/// The client's look at features: what the server has of them, and the largest error, in their deviations over the network's own images.
fn decrypted_features(
    client: &he_training::Client<'_>,
    features: &[Vec<Ciphertext>],
    groups: &[Examples],
) -> Result<(Examples, f64), TrainError> {
    let (mut rows, mut labels, mut largest) = (Vec::new(), Vec::new(), 0f64);
    for (features, group) in features.iter().zip(groups) {
        let found = client.decrypt_features(features, group.images())?;
        let off = found.iter().zip(group.rows()).map(|(a, b)| (a - b).abs());
        largest = off.fold(largest, f64::max);
        rows.extend(found);
        labels.extend_from_slice(group.labels());
    }
    let (d, classes) = (groups[0].features(), groups[0].classes());
    // In their units, a feature's deviation is one over the root of their number.
    let deviations = largest * (d as f64).sqrt();
    Ok((Examples::new(d, classes, rows, labels)?, deviations))
}

/// The client's look at the head and at all scores.
fn decrypted(
    client: &he_training::Client<'_>,
    head: &Head,
    (scores, groups): (&[Ciphertext], &[Examples]),
) -> Result<(Weights, Vec<f64>), TrainError> {
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
            let mut losses = Vec::new();
            let weights = softmax.train_clear(&batches, |step, weights| {
                if step.is_multiple_of(batches.len()) {
                    losses.push(format!("{:.4}", cross_entropy(weights, all)));
                }
                progress.advance(1);
            })?;
            progress.finish();
            let losses = losses.join(", ");
            progress.note(&format!(
                "cross-entropy in the clear, after each epoch: {losses}"
            ));
            weights
        }
    })
}
