//! What a client's ciphertexts have in common, and what a report says of its logits.

use ckks_scheme::Ciphertext;
use datasets::{DataError, Dataset, Images, Shape, Synthetic};
use he_layers::{Grid, Packing, PlainTensor};
use he_models::Model;
use pipeline::client::{Client, ClientSpec, Randomness};
use pipeline::inference::{self, Batch, Options};
use pipeline::planner::{self, Planned};
use pipeline::progress::Silent;

use crate::networks::{GIB, Small, machine, task};

fn planned(model: &Model, small: &Small, images: usize) -> Planned {
    let program = model.lower().unwrap().program;
    let (decisions, instance) = small.ready(&program, images);
    let task = task(&program, images);
    let plan = planner::forecast(&decisions, &instance, &task, &machine(GIB)).unwrap();
    Planned { plan, instance }
}

/// One `a`, or one `e` with one `a`, in two ciphertexts of a client would give their difference away.
#[test]
fn all_ciphertexts_of_a_client_have_a_uniform_half_of_their_own() {
    let model = Model::bundled("tiny").unwrap();
    let small = Small::new(8, 8, Packing::Real, Grid::new(8, 8));
    let planned = planned(&model, &small, 2);
    let params = &planned.instance.params;
    let decisions = &planned.plan.decisions;
    let spec = ClientSpec::new(decisions, &planned.instance, model.classes(), None, None);
    let shape = spec.input.tensor.layout.shape();
    let images = PlainTensor::new(2, shape, vec![0.5; 2 * shape.volume()]).unwrap();
    let mut uniform = Vec::new();
    let mut add = |client: &Client, ct: &Ciphertext| {
        let mut bytes = Vec::new();
        ct.write_to(params, client.key(), &mut bytes).unwrap();
        // The last limb, of the second polynomial: 46 bits a coefficient, and its checksum.
        let limb = params.degree() * 46 / 8;
        let end = bytes.len() - 32;
        uniform.push(bytes[end - limb..end].to_vec());
    };
    // Clients of their own randomness, and one of a seed.
    for seed in [None, None, Some(1)] {
        let mut randomness = Randomness::new(seed);
        let (mut client, _) = Client::generate(&spec, params, &mut randomness).unwrap();
        for _ in 0..3 {
            let group = client.encrypt(&images).unwrap();
            assert!(group.ciphertexts().len() > 1);
            group.ciphertexts().iter().for_each(|ct| add(&client, ct));
        }
    }
    let all = uniform.len();
    uniform.sort();
    uniform.dedup();
    assert_eq!(uniform.len(), all, "some are the same");
}

/// Synthetic images with labels.
struct Labelled {
    images: Synthetic,
    labels: Vec<usize>,
}

impl Dataset for Labelled {
    fn name(&self) -> &str {
        self.images.name()
    }

    fn shape(&self) -> Shape {
        self.images.shape()
    }

    fn num_images(&self) -> Option<usize> {
        Some(self.labels.len())
    }

    fn num_classes(&self) -> Option<usize> {
        self.labels.iter().max().map(|most| most + 1)
    }

    fn read(&self, offset: usize, count: usize) -> Result<Images, DataError> {
        let images = self.images.read(offset, count)?;
        let values = images.view().to_f64().iter().map(|x| *x as f32).collect();
        let labels = self.labels[offset..offset + count].to_vec();
        Ok(Images::from_values(
            self.shape(),
            offset,
            values,
            Some(labels),
        ))
    }
}

/// With weights of a few bits the encrypted network is another one: its answers differ from the plaintext network's.
#[test]
fn agreement_and_errors_are_those_of_encrypted_logits_against_plain_ones() {
    let model = Model::bundled("tiny").unwrap();
    let images = 32;
    let small = Small {
        q_bits: vec![33; 8],
        ..Small::new(9, 0, Packing::Complex, Grid::new(8, 8))
    };
    let planned = planned(&model, &small, images);
    let shape = Shape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let mut data = Labelled {
        images: Synthetic::with_shape(0, shape).unwrap(),
        labels: vec![0; images],
    };
    // What the plaintext network sees is right.
    let plain = data.read(0, images).unwrap().view().to_f64();
    data.labels = model.evaluate(&plain).unwrap().predictions().collect();
    let batch = Batch {
        data: &data,
        first: 0,
        images,
    };
    let options = Options {
        seed: Some(1),
        logits: true,
        ..Options::default()
    };
    let report = inference::infer(&model, planned, batch, options, &Silent).unwrap();
    let largest = |logits: &[f64]| {
        let order = |a: &usize, b: &usize| logits[*a].total_cmp(&logits[*b]);
        (0..logits.len()).max_by(order).unwrap()
    };
    let (mut agree, mut error) = (0, 0f64);
    let records = report.logits.unwrap();
    for record in &records {
        let encrypted = record.encrypted.as_ref().unwrap();
        let class = largest(encrypted);
        assert_eq!(record.class, Some(class));
        agree += usize::from(class == largest(&record.plain));
        let pairs = encrypted.iter().zip(&record.plain);
        error = pairs.fold(error, |most, (a, b)| most.max((a - b).abs()));
    }
    assert_eq!(records.len(), images);
    assert!(agree < images, "nothing to see");
    assert_eq!(report.agreement, agree as f64 / images as f64);
    assert_eq!(report.accuracy_plain, Some(1.0));
    assert_eq!(report.accuracy_encrypted, Some(report.agreement));
    assert_eq!(report.max_logit_error, error);
    assert!(0.0 < report.max_logit_error_rounded && report.max_logit_error_rounded < 0.1 * error);
}
