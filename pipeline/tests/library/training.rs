//! A head trained on encrypted images, end to end on a small ring without security.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ckks_scheme::bootstrap::{FourierLiteral, Reduction, RefreshFunction};
use ckks_scheme::{BootstrapLiteral, BootstrapParams, Parameters};
use datasets::{DataError, Dataset, Images, Shape};
use he_models::{FeatureUnits, Model, features, model_files};
use he_training::{Declared, Given, Ridge, Softmax};
use pipeline::checkpoint::Checkpoint;
use pipeline::inference::Batch;
use pipeline::progress::{Progress, Silent, Unit};
use pipeline::training::{self, Loss, Rule, TrainError, TrainReport, TrainTask};

use tempfile::TempDir;

use crate::checkpoints::copy;
use crate::networks::{GIB, kernel, machine};

/// Waves in three directions, with noise: image `i` is of class `i mod 3`.
struct Waves {
    labelled: bool,
}

impl Waves {
    const CLASSES: usize = 3;

    fn value(image: usize, channel: usize, y: usize, x: usize) -> f32 {
        let angle = (image % Self::CLASSES) as f64 * std::f64::consts::FRAC_PI_3;
        let along = x as f64 * angle.cos() + y as f64 * angle.sin();
        let phase = image as f64 * 1.618 + channel as f64 * 0.3;
        let at = ((image * 3 + channel) * 8 + y) * 8 + x;
        let noise = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let noise = noise as f64 / f64::from(1 << 24) - 0.5;
        (0.45 + 0.1 * (1.6 * along + phase).sin() + 0.06 * noise) as f32
    }
}

impl Dataset for Waves {
    fn name(&self) -> &str {
        "waves"
    }

    fn shape(&self) -> Shape {
        Shape {
            channels: 3,
            height: 8,
            width: 8,
        }
    }

    fn num_images(&self) -> Option<usize> {
        None
    }

    fn num_classes(&self) -> Option<usize> {
        Some(Self::CLASSES)
    }

    fn image_name(&self, _: usize) -> Option<String> {
        None
    }

    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError> {
        let images = offset..offset + count;
        let values = images.clone().flat_map(|image| {
            (0..3 * 64).map(move |at| Self::value(image, at / 64, at / 8 % 8, at % 8))
        });
        let labels = images.clone().map(|image| image % Self::CLASSES).collect();
        let labels = self.labelled.then_some(labels);
        Ok(Images::from_values(
            self.shape(),
            offset,
            values.collect(),
            labels,
        ))
    }
}

/// The network up to its features, in units measured on other images, and what is declared of them.
fn declared_backbone() -> (Model, Declared) {
    let (spec, weights) = model_files("tiny").unwrap();
    let raw = features(&spec, &weights, None, None).unwrap();
    let own = Waves { labelled: true }.read(10_000, 96).unwrap();
    let evaluation = raw.evaluate(&own.view().to_f64()).unwrap();
    assert!(evaluation.out_of_range.is_empty());
    let values = evaluation.logits;
    let units = FeatureUnits::of(&values, raw.classes().len());
    let model = features(&spec, &weights, None, Some(&units)).unwrap();
    let values = model.logits(&own.view().to_f64()).unwrap();
    let declared = Declared::of(model.classes().len(), &values).unwrap();
    (model, declared)
}

/// The same, and the bound of the norm alone.
fn backbone() -> (Model, f64) {
    let (model, declared) = declared_backbone();
    (model, declared.norm)
}

/// The circuit of the preset `n16-precise` on a small ring.
fn refreshes() -> BootstrapParams {
    let log_n = 10;
    let literal = BootstrapLiteral {
        log_scale: 50.0,
        log_message_ratio: 5.0,
        reduction: Reduction::Fourier(FourierLiteral {
            degree: 31,
            squarings: 3,
            function: RefreshFunction::Identity,
            harmonics: 3,
        }),
        ..BootstrapLiteral::full_complex(log_n)
    };
    let user = 8 + literal.input_levels();
    let params = Parameters::builder()
        .log_n(log_n)
        .q_bits([vec![50], vec![50; user], vec![50; literal.depth()]].concat())
        .digits(4)
        .kernel(kernel())
        .build_insecure_for_tests()
        .unwrap();
    BootstrapParams::new(&params, literal).unwrap()
}

fn trained(
    loss: Loss,
    model: &Model,
    data: &Waves,
    (images, test_images, classes): (usize, usize, usize),
    checkpoint: Option<&mut Checkpoint>,
) -> Result<TrainReport, TrainError> {
    watched(
        loss,
        model,
        data,
        (images, test_images, classes),
        checkpoint,
        &Silent,
    )
}

fn watched(
    loss: Loss,
    model: &Model,
    data: &Waves,
    (images, test_images, classes): (usize, usize, usize),
    checkpoint: Option<&mut Checkpoint>,
    progress: &dyn Progress,
) -> Result<TrainReport, TrainError> {
    let batch = |first, images| Batch {
        data,
        first,
        images,
    };
    let task = TrainTask {
        model,
        train: batch(0, images),
        test: batch(5000, test_images),
        classes,
        loss,
        rule: None,
        batch: NonZeroUsize::new(16).unwrap(),
        max_error: 0.05,
    };
    let begun = checkpoint.as_deref().map(Checkpoint::decisions);
    let begun = begun.transpose()?.flatten();
    let plan = training::plan(&task, &refreshes(), &machine(4 * GIB), begun.as_ref())?;
    assert!(plan.summary.to_string().contains("8 features x "));
    training::train(&task, plan, Some(1), checkpoint, progress)
}

fn check(report: &TrainReport) {
    println!("{report}");
    assert!(
        report.largest_feature_error < 0.01,
        "{}",
        report.largest_feature_error
    );
    assert!(report.largest_weight_difference < 1e-3 && report.weight_difference < 1e-3);
    let same_features = [
        report.largest_weight_difference_same_features,
        report.weight_difference_same_features,
    ];
    assert!(same_features.iter().all(|d| (1e-12..1e-3).contains(d)));
    assert!(report.accuracy_plain > 0.8);
    // One image more or less.
    let most = 1.5 / report.test_images as f64;
    assert!((report.accuracy_encrypted - report.accuracy_plain).abs() < most);
    assert!(report.bootstraps > report.bootstraps_train && report.bootstraps_train > 0);
    assert!(report.seeded && report.security_bits == 0);
}

#[test]
fn ridge_head_on_encrypted_images_is_that_of_the_clear_twin() {
    let (model, norm_bound) = backbone();
    let loss = Loss::Ridge(Ridge {
        norm_bound,
        regularisation: 0.02,
        ..Ridge::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let mut checkpoint = Checkpoint::open(dir.path()).unwrap();
    let data = Waves { labelled: true };
    // One group and a part of a second one.
    let report = trained(loss, &model, &data, (90, 30, 3), Some(&mut checkpoint)).unwrap();
    assert_eq!((report.images, report.features), (90, 8));
    check(&report);

    // What the network gave is found again.
    drop(checkpoint);
    let mut checkpoint = Checkpoint::open(dir.path()).unwrap();
    let again = trained(loss, &model, &data, (90, 30, 3), Some(&mut checkpoint)).unwrap();
    let runs = report.checkpoint.unwrap().writes;
    let kept = again.checkpoint.unwrap();
    assert!(kept.groups_found > 0 && kept.groups_found <= runs);
    assert_eq!(kept.writes, 0);
    let weights = |report: &TrainReport| report.largest_weight_difference;
    assert_eq!(weights(&again), weights(&report));
    // A group that is left is encrypted as if the one before it had been.
    drop(checkpoint);
    fs::remove_file(dir.path().join("server/group-1.logits")).unwrap();
    let mut checkpoint = Checkpoint::open(dir.path()).unwrap();
    let again = trained(loss, &model, &data, (90, 30, 3), Some(&mut checkpoint)).unwrap();
    let found = again.checkpoint.unwrap().groups_found;
    assert_eq!(found, kept.groups_found - 1);
    assert_eq!(weights(&again), weights(&report));
    for (sizes, differs) in [((80, 30, 3), "images"), ((90, 30, 5), "classes")] {
        drop(checkpoint);
        checkpoint = Checkpoint::open(dir.path()).unwrap();
        let other = trained(loss, &model, &data, sizes, Some(&mut checkpoint)).unwrap_err();
        assert!(other.to_string().contains(differs), "{other}");
    }
    checkpoint.remove().unwrap();
}

#[test]
fn softmax_head_on_encrypted_images_is_that_of_the_clear_twin() {
    let (model, norm_bound) = backbone();
    let loss = Loss::Softmax(Softmax {
        norm_bound,
        momentum: 0.7,
        decay: 0.02,
        epochs: 3,
        ..Softmax::default()
    });
    let report = trained(loss, &model, &Waves { labelled: true }, (90, 30, 3), None).unwrap();
    assert_eq!(report.steps, 6);
    check(&report);
}

#[test]
fn settings_that_are_not_given_follow_from_the_own_images_and_the_steps() {
    let (model, declared) = declared_backbone();
    let data = Waves { labelled: true };
    let batch = |first, images| Batch {
        data: &data,
        first,
        images,
    };
    let planned = |loss, given| {
        let task = TrainTask {
            model: &model,
            train: batch(0, 90),
            test: batch(5000, 30),
            classes: 3,
            loss,
            rule: Some(Rule { declared, given }),
            batch: NonZeroUsize::new(16).unwrap(),
            max_error: 0.05,
        };
        training::plan(&task, &refreshes(), &machine(4 * GIB), None)
    };
    let softmax = Loss::Softmax(Softmax::default());
    let none = Given::default();
    let plan = planned(softmax, none).unwrap();
    // Two groups, ten times.
    assert_eq!(plan.summary.steps, 20);
    let settings = &plan.summary.settings;
    let (rate, momentum) = (settings.rate.unwrap(), settings.momentum.unwrap());
    assert!((rate * declared.eigenvalue - 1.0).abs() < 1e-9);
    assert!((momentum - 19.0 / 22.0).abs() < 1e-9);
    assert!((settings.decay - (3.0f64 / 41.0).powi(2) / rate).abs() < 1e-12);
    assert_eq!(settings.norm_bound, declared.norm);
    assert!(settings.given.is_empty());
    let by_rule = Softmax::default().by_rule(&declared, &none, 2).unwrap();
    assert_eq!(plan.loss, Loss::Softmax(by_rule));
    assert!(plan.summary.to_string().contains(", by the rule"));

    let given = Given {
        rate: Some(1.0),
        ..none
    };
    let summary = planned(softmax, given).unwrap().summary;
    assert_eq!(
        (summary.settings.rate, &summary.settings.given[..]),
        (Some(1.0), &["rate"][..])
    );
    assert!(summary.to_string().contains(", of these given: rate"));

    let ridge = planned(Loss::Ridge(Ridge::default()), none).unwrap();
    let expected = declared.rms.powi(2) / 90.0;
    assert!((ridge.summary.settings.decay / expected - 1.0).abs() < 1e-9);
    let error = planned(
        softmax,
        Given {
            decay: Some(1e4),
            ..none
        },
    )
    .unwrap_err();
    assert!(
        error.is_bad_input() && error.to_string().contains("weight decay"),
        "{error}"
    );
}

/// Copies the folder of a training after each step of its head: what a kill would leave then.
struct Steps {
    dir: PathBuf,
    is_head: Mutex<bool>,
    copies: Mutex<Vec<TempDir>>,
}

impl Progress for Steps {
    fn begin(&self, task: &str, _: Option<u64>, _: Unit) {
        *self.is_head.lock().unwrap() = task == "steps";
    }
    fn stage(&self, _: &str) {}
    fn advance(&self, _: u64) {
        if *self.is_head.lock().unwrap() {
            let to = tempfile::tempdir().unwrap();
            copy(&self.dir, to.path());
            self.copies.lock().unwrap().push(to);
        }
    }
    fn finish(&self) {
        *self.is_head.lock().unwrap() = false;
    }
    fn note(&self, _: &str) {}
}

#[test]
fn a_softmax_head_that_is_killed_after_a_step_goes_on_from_there_to_the_same_head() {
    let (model, norm_bound) = backbone();
    let softmax = Softmax {
        norm_bound,
        momentum: 0.7,
        decay: 0.02,
        epochs: 2,
        ..Softmax::default()
    };
    let (data, sizes) = (Waves { labelled: true }, (90, 30, 3));
    let run = |softmax: Softmax, dir: &Path, progress: &dyn Progress| {
        let mut checkpoint = Checkpoint::open(dir).unwrap();
        let loss = Loss::Softmax(softmax);
        watched(loss, &model, &data, sizes, Some(&mut checkpoint), progress)
    };
    let dir = tempfile::tempdir().unwrap();
    let steps = Steps {
        dir: dir.path().to_owned(),
        is_head: Mutex::new(false),
        copies: Mutex::default(),
    };
    let whole = run(softmax, dir.path(), &steps).unwrap();
    // When the head has served, its state is gone.
    let state = |dir: &Path| dir.join("server/head.state");
    assert!(!state(dir.path()).exists());
    let results = |report: &TrainReport| {
        let differences = [
            report.largest_weight_difference,
            report.largest_feature_error,
        ];
        let counts = (report.steps, report.bootstraps_train, report.bootstraps);
        (differences, report.accuracy_encrypted, counts)
    };
    let copies = steps.copies.into_inner().unwrap();
    // Once before the first step.
    assert_eq!(copies.len(), 5);
    assert!(!state(copies[0].path()).exists());
    for done in [1, 3, 4] {
        let again = run(softmax, copies[done].path(), &Silent).unwrap();
        assert_eq!(results(&again), results(&whole), "after step {done}");
        let found = again.checkpoint.unwrap();
        assert_eq!((found.head_steps_found, found.writes), (done, 4 - done));
    }

    let refuses = |softmax: Softmax, says: &str| {
        let error = run(softmax, copies[2].path(), &Silent).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.is_bad_input(), "{error}");
    };
    let state = state(copies[2].path());
    let kept = fs::read(&state).unwrap();
    let other = Softmax {
        rate: 0.9,
        ..softmax
    };
    refuses(other, "its settings of the training");
    // A bit of a ciphertext, and a part that is missing.
    let mut damaged = kept.clone();
    let at = damaged.len() - 1000;
    damaged[at] ^= 1;
    fs::write(&state, &damaged).unwrap();
    refuses(softmax, "checksum");
    fs::write(&state, &kept[..at]).unwrap();
    refuses(softmax, "without the file");
    // The state of another run.
    let foreign = tempfile::tempdir().unwrap();
    let other = Steps {
        dir: foreign.path().to_owned(),
        is_head: Mutex::new(false),
        copies: Mutex::default(),
    };
    let mut checkpoint = Checkpoint::open(foreign.path()).unwrap();
    let (loss, fewer) = (Loss::Softmax(softmax), (70, 30, 3));
    watched(loss, &model, &data, fewer, Some(&mut checkpoint), &other).unwrap();
    let others = other.copies.into_inner().unwrap();
    fs::copy(others[2].path().join("server/head.state"), &state).unwrap();
    refuses(softmax, "one of another run");
}

#[test]
fn trainings_without_labels_or_images_that_fit_are_refused() {
    let (model, norm_bound) = backbone();
    let loss = |norm_bound| {
        Loss::Ridge(Ridge {
            norm_bound,
            ..Ridge::default()
        })
    };
    let unlabelled = Waves { labelled: false };
    let error = trained(loss(norm_bound), &model, &unlabelled, (20, 20, 3), None).unwrap_err();
    let text = "waves: images without labels, expected labelled images";
    assert_eq!(error.to_string(), text);
    assert!(error.is_bad_input());
    // All images are longer than that.
    let labelled = Waves { labelled: true };
    let error = trained(loss(1e-3), &model, &labelled, (20, 20, 3), None).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
    let text = "waves: all 20 images leave a range that the network declares, or their features the norm 0.001";
    assert!(error.to_string().starts_with(text), "{error}");
}
