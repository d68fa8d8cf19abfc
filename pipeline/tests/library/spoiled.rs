//! Images that leave the declared ranges: left out before the encryption, or found out after the decryption.

use datasets::{DataError, Dataset, Images, Shape, Synthetic};
use he_layers::{Grid, Packing};
use he_models::spec::ReluApproximation;
use he_models::{ImportOptions, Model, import};
use pipeline::answers::Answer::{self, Blanked, Given, Spoiled};
use pipeline::grouping::Grouping;
use pipeline::inference::{self, Batch, InferenceError, Options};
use pipeline::planner;
use pipeline::progress::Silent;
use pipeline::references;
use pipeline::report::InferReport;
use pipeline::screening::{self, OutOfRange};

use crate::networks::{GIB, Small, machine, task};

/// Synthetic images for the tiny network, some of them blown up.
pub struct Pictures {
    images: Synthetic,
    blown_up: Vec<usize>,
}

impl Pictures {
    pub fn new(blown_up: &[usize]) -> Self {
        let shape = Shape {
            channels: 3,
            height: 8,
            width: 8,
        };
        Self {
            images: Synthetic::with_shape(0, shape).unwrap(),
            blown_up: blown_up.to_vec(),
        }
    }
}

impl Dataset for Pictures {
    fn name(&self) -> &str {
        "pictures"
    }

    fn shape(&self) -> Shape {
        self.images.shape()
    }

    fn num_images(&self) -> Option<usize> {
        None
    }

    fn num_classes(&self) -> Option<usize> {
        None
    }

    fn image_name(&self, index: usize) -> Option<String> {
        Some(format!("{index}.png"))
    }

    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError> {
        let mut values = self.images.read(offset, count)?.view().to_f32();
        let len = self.shape().values();
        for index in self
            .blown_up
            .iter()
            .filter(|i| (offset..offset + count).contains(i))
        {
            let image = &mut values[(index - offset) * len..][..len];
            for (at, value) in image.iter_mut().enumerate() {
                *value = if (at + at / 8) % 2 == 0 { 12.0 } else { -12.0 };
            }
        }
        Ok(Images::from_values(self.shape(), offset, values, None))
    }
}

/// Images 5 to 5 + `count` of the tiny network, encrypted in groups of 4 or 8.
fn infer(
    packing: Packing,
    count: usize,
    blown_up: &[usize],
    out_of_range: OutOfRange,
) -> Result<InferReport, Box<InferenceError>> {
    let model = Model::bundled("tiny").unwrap();
    let program = model.lower().unwrap().program;
    let (decisions, instance) = Small::new(9, 8, packing, Grid::new(8, 8)).ready(&program, count);
    let task = task(&program, count);
    let plan = planner::forecast(&decisions, &instance, &task, &machine(GIB)).unwrap();
    let data = Pictures::new(blown_up);
    let batch = Batch {
        data: &data,
        first: 5,
        images: count,
    };
    let options = Options {
        seed: Some(1),
        logits: true,
        out_of_range,
        ..Options::default()
    };
    inference::infer(
        &model,
        planner::Planned { plan, instance },
        batch,
        options,
        &Silent,
    )
    .map_err(Box::new)
}

fn answers(report: &InferReport) -> Vec<Answer> {
    let records = report.logits.as_ref().unwrap().iter();
    let answers = records.map(|record| {
        let given = record.answer == Answer::Given;
        assert_eq!(
            (record.class.is_some(), record.encrypted.is_some()),
            (given, given)
        );
        record.answer
    });
    answers.collect()
}

#[test]
fn a_blown_up_image_spoils_its_group_and_none_of_the_group_gets_an_answer() {
    for (packing, group) in [(Packing::Real, 4), (Packing::Complex, 8)] {
        let count = 3 * group - 1;
        let report = infer(packing, count, &[5 + group + 2], OutOfRange::Allow).unwrap();
        let expected = |i: usize| if i / group == 1 { Spoiled } else { Given };
        assert_eq!(
            answers(&report),
            (0..count).map(expected).collect::<Vec<_>>(),
            "{packing}"
        );
        assert_eq!(
            (report.images_out_of_range, report.images_spoiled),
            (1, group)
        );
        assert_eq!(report.spoiled.len(), 1);
        let spoiled = &report.spoiled[0];
        let of_group: Vec<usize> = (5 + group..5 + 2 * group).collect();
        assert_eq!((spoiled.group, &spoiled.images), (1, &of_group));
        // Not only the blown-up one: the others' logits are random numbers of the size of the modulus.
        assert_eq!(spoiled.beyond, of_group, "{packing}");
        // The other groups do not notice.
        assert_eq!(report.agreement, 1.0, "{packing}");
        assert!(report.max_logit_error < 0.05 * report.logit_std);
        assert!(report.images_blanked.is_empty());
        let text = report.to_string();
        assert!(
            text.contains("(group 1)") && text.contains("1 image out of the"),
            "{text}"
        );
    }
}

#[test]
fn blanked_images_spoil_nothing() {
    for (packing, group) in [(Packing::Real, 4), (Packing::Complex, 8)] {
        let (count, blown_up) = (2 * group, [5, 5 + group - 1, 5 + group + 1]);
        let report = infer(packing, count, &blown_up, OutOfRange::Blank).unwrap();
        assert_eq!((report.images_out_of_range, report.images_spoiled), (3, 0));
        assert_eq!(report.images_blanked, blown_up);
        let expected = |i: usize| {
            if blown_up.contains(&(5 + i)) {
                Blanked
            } else {
                Given
            }
        };
        assert_eq!(
            answers(&report),
            (0..count).map(expected).collect::<Vec<_>>(),
            "{packing}"
        );
        assert_eq!(report.agreement, 1.0, "{packing}");
        assert!(report.max_logit_error < 0.05 * report.logit_std);
        assert_eq!(report.out_of_range[0].index, 5);
        assert_eq!(report.out_of_range[0].name.as_deref(), Some("5.png"));
        assert_eq!(report.out_of_range[0].activation, "stage1.block1.act1");
        let text = report.to_string();
        let says = format!("no answer for 5, {}, {}", blown_up[1], blown_up[2]);
        assert!(text.contains(&says), "{text}");
    }
}

#[test]
fn refused_images_are_named_before_anything_is_encrypted() {
    let error = infer(Packing::Real, 6, &[6, 9], OutOfRange::Refuse).unwrap_err();
    assert!(error.is_bad_input() && !error.out_of_memory());
    let text = error.to_string();
    for part in [
        "2 of 6 images leave a declared range of tiny",
        "image 6 (6.png) with ",
        "image 9 (9.png) with ",
        " times the range of stage1.block1.act1",
        "`--out-of-range blank`",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // Nothing would be left to run.
    let error = infer(Packing::Real, 2, &[5, 6], OutOfRange::Blank).unwrap_err();
    assert!(error.to_string().contains("2 of 2 images"), "{error}");
    assert!(
        error.to_string().contains("`--out-of-range allow`"),
        "{error}"
    );
    let report = infer(Packing::Real, 6, &[], OutOfRange::Refuse).unwrap();
    assert_eq!(answers(&report), [Given; 6]);
    assert_eq!((report.images_out_of_range, report.agreement), (0, 1.0));
}

/// A small network with ReLUs, its ranges from images 5 to 12.
fn relu_network(relu: ReluApproximation) -> Model {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../he-models/tests/onnx");
    let options = ImportOptions {
        shape: Some((3, 8, 8)),
        relu: Some(relu),
        ..ImportOptions::default()
    };
    let imported = import(format!("{folder}/reference.weights.safetensors"), &options).unwrap();
    let images = Pictures::new(&[]).read(5, 8).unwrap();
    let seen = imported.model().evaluate(&images.view().to_f64()).unwrap();
    let imported = imported.with_statistics(seen.statistics()).unwrap();
    imported.model().clone()
}

/// What refreshes apply is bounded, so that an image out of range is counted but spoils no other.
#[test]
fn images_out_of_range_are_left_out_unless_refreshes_apply_the_activations() {
    let data = Pictures::new(&[7]);
    let batch = Batch {
        data: &data,
        first: 5,
        images: 8,
    };
    for (relu, blanked) in [
        (ReluApproximation::Polynomial { degree: 31 }, vec![2]),
        (ReluApproximation::Refresh { harmonics: 31 }, vec![]),
    ] {
        let model = relu_network(relu);
        let reference = references::exact(&model, batch, &Silent).unwrap();
        let screen = |policy| {
            let grouping = Grouping::of(8);
            screening::screen(&model, &reference, batch, grouping, policy, &Silent)
                .map_err(Box::new)
        };
        for (policy, blanked) in [(OutOfRange::Blank, blanked), (OutOfRange::Allow, vec![])] {
            let screened = screen(policy).unwrap();
            let leaving: Vec<usize> = screened.leaving.iter().map(|l| l.index).collect();
            assert_eq!(leaving, [7]);
            assert_eq!(screened.inputs.blanked(), blanked);
        }
        let refused = screen(OutOfRange::Refuse).map(|_| ());
        assert!(matches!(
            refused.unwrap_err().as_ref(),
            InferenceError::OutOfRange { leaving: 1, .. }
        ));
    }
}
