//! Reports have the fields that scripts rely on, and tables that people can read.
#![allow(clippy::unwrap_used)]

use ckks_scheme::{Level, ParamsLiteral};
use he_layers::{Grid, Packing};
use pipeline::answers::{Answer, SpoiledGroup};
use pipeline::checkpoint::CheckpointReport;
use pipeline::decisions::{Decisions, FORMAT, KeySteps};
use pipeline::report::{InferReport, LogitsRecord, OperationReport, StageReport};

fn decisions() -> Decisions {
    Decisions {
        format: FORMAT,
        model: "resnet20".to_owned(),
        model_checksum: "0123456789abcdef".to_owned(),
        batch: 512,
        params: ParamsLiteral {
            log_n: 16,
            q_bits: vec![50; 21],
            p_bits: vec![50; 10],
            digits: 2,
        },
        bootstrap: None,
        refreshes: Vec::new(),
        log_scale: 28,
        packing: Packing::Complex,
        grid: Grid::new(8, 16),
        key_steps: KeySteps(vec![Level::new(9)]),
        threads: 2,
        blocks_at_a_time: vec![1, 2],
        threads_at_a_time: Vec::new(),
        last: None,
    }
}

fn report() -> InferReport {
    let stage = |name: &str, seconds, ciphertexts, level_in, level_out, bytes| StageReport {
        name: name.to_owned(),
        seconds,
        ciphertexts,
        level_in,
        level_out,
        bytes,
    };
    InferReport {
        model: "resnet20".to_owned(),
        model_checksum: "0123456789abcdef".to_owned(),
        data: "CIFAR-10 test split".to_owned(),
        offset: 1024,
        packing: "complex".to_owned(),
        grid: "8x16".to_owned(),
        groups: 1,
        plan: decisions(),
        processor: "a processor".to_owned(),
        revision: "89abcdef0123".to_owned(),
        seed: None,
        images: 512,
        accuracy_encrypted: Some(0.9140625),
        accuracy_plain: Some(0.916015625),
        agreement: 0.998046875,
        max_logit_error: 0.0123456,
        logit_std: 1.85,
        agreement_rounded: 1.0,
        max_logit_error_rounded: 0.000123,
        predicted_max_logit_error: Some(0.0198762),
        predicted_max_logit_error_rounded: None,
        images_out_of_range: 0,
        out_of_range: Vec::new(),
        images_blanked: Vec::new(),
        images_spoiled: 0,
        spoiled: Vec::new(),
        seconds_keygen: 12.34,
        seconds_warmup: 1.0,
        seconds_encrypt: 4.56,
        seconds_infer: 179.2,
        seconds_processor_infer: Some(350.1),
        seconds_decrypt: 0.04,
        seconds_per_image: 0.35,
        peak_rss_bytes: Some(7_980_000_000),
        pool_high_water_bytes: 6_000_000_000,
        key_bytes: 905_000_000,
        log_n: 16,
        log_qp: 1549.7,
        security_bits: 128,
        threads: 2,
        kernel: "avx512ifma".to_owned(),
        seeded: false,
        bootstraps: 0,
        stages: vec![
            stage("stem", 19.2, 128, 21, 20, 2_700_000_000),
            stage("stage1.block1", 150.0, 128, 20, 18, 6_000_000_000),
            stage("head", 10.0, 10, 2, 1, 12_000_000),
        ],
        predicted_seconds_infer: 180.0,
        predicted_peak_bytes: 8_000_000_000,
        logits: None,
        profile: None,
        checkpoint: None,
    }
}

#[test]
fn infer_json_has_the_promised_fields() {
    let promised = [
        "model",
        "model_checksum",
        "data",
        "offset",
        "packing",
        "grid",
        "groups",
        "plan",
        "processor",
        "revision",
        "seed",
        "predicted_max_logit_error_rounded",
        "images",
        "accuracy_encrypted",
        "accuracy_plain",
        "agreement",
        "max_logit_error",
        "logit_std",
        "agreement_rounded",
        "max_logit_error_rounded",
        "predicted_max_logit_error",
        "images_out_of_range",
        "out_of_range",
        "images_blanked",
        "images_spoiled",
        "spoiled",
        "predicted_seconds_infer",
        "predicted_peak_bytes",
        "seconds_keygen",
        "seconds_warmup",
        "seconds_encrypt",
        "seconds_infer",
        "seconds_processor_infer",
        "seconds_decrypt",
        "seconds_per_image",
        "peak_rss_bytes",
        "pool_high_water_bytes",
        "key_bytes",
        "log_n",
        "log_qp",
        "security_bits",
        "threads",
        "kernel",
        "seeded",
        "bootstraps",
        "stages",
    ];
    let fields = |report: &InferReport| {
        let json = serde_json::to_value(report).unwrap();
        json.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut expected = promised.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(fields(&report()), expected);

    let logits = LogitsRecord {
        index: 3,
        label: None,
        answer: Answer::Given,
        class: Some(0),
        encrypted: Some(vec![1.5]),
        plain: vec![1.25],
    };
    let without = LogitsRecord {
        answer: Answer::Spoiled,
        class: None,
        encrypted: None,
        ..logits.clone()
    };
    let operation = OperationReport {
        operation: "rotate".to_owned(),
        count: 16,
        seconds: 2.0,
        share: 0.5,
    };
    let full = InferReport {
        logits: Some(vec![logits, without]),
        profile: Some(vec![operation]),
        checkpoint: Some(CheckpointReport::default()),
        accuracy_plain: None,
        ..report()
    };
    expected.extend(["logits", "profile", "checkpoint"].map(str::to_owned));
    expected.sort();
    assert_eq!(fields(&full), expected);
    let json = serde_json::to_value(&full).unwrap();
    assert!(json["accuracy_plain"].is_null() && json["seed"].is_null());
    assert_eq!(json["plan"]["params"]["log_n"], 16);
    assert_eq!(
        json["logits"][0].to_string(),
        r#"{"answer":"given","class":0,"encrypted":[1.5],"index":3,"label":null,"plain":[1.25]}"#
    );
    assert_eq!(
        json["logits"][1].to_string(),
        r#"{"answer":"spoiled","class":null,"encrypted":null,"index":3,"label":null,"plain":[1.25]}"#
    );
    assert_eq!(
        json["stages"][0].to_string(),
        r#"{"bytes":2700000000,"ciphertexts":128,"level_in":21,"level_out":20,"name":"stem","seconds":19.2}"#
    );
    assert_eq!(serde_json::from_value::<InferReport>(json).unwrap(), full);
}

#[test]
fn infer_table_is_readable() {
    let table = "\
resnet20 (0123456789ab) on CIFAR-10 test split from image 1024, revision 89abcdef0123, a processor
N = 2^16, log QP = 1550, 128-bit security; 2 threads, kernel avx512ifma

512 images                     encrypted   plaintext
accuracy                          0.9141      0.9160

compared with weights              exact  as rounded
same top-1                        0.9980      1.0000
largest logit error             0.012346    0.000123
  estimated before the run      0.019876 not predicted
  in deviations of logits       0.006673    0.000066

stage                    seconds   share  ciphertexts     level        GB
stem                       19.20  10.7 %          128  21 to 20      2.70
stage1.block1             150.00  83.7 %          128  20 to 18      6.00
head                       10.00   5.6 %           10    2 to 1      0.01

keys 12.3 s, warm-up 1.0 s, encryption 4.6 s, inference 179.2 s (0.350 s an image), decryption 0.0 s
peak memory 7.98 GB: limb pool 6.00 GB, evaluation keys 0.91 GB";
    assert_eq!(report().to_string(), table);
}

#[test]
fn infer_table_warns() {
    let text = InferReport {
        seeded: true,
        images_out_of_range: 1,
        security_bits: 0,
        accuracy_plain: None,
        peak_rss_bytes: None,
        ..report()
    }
    .to_string();
    for part in [
        "reproducible, not secure",
        "parameters for tests",
        "warning: 1 image out of the declared range",
        "peak memory - GB",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let text = InferReport {
        images_out_of_range: 23,
        images_blanked: (7..30).collect(),
        images_spoiled: 4,
        spoiled: [2, 5]
            .map(|group| SpoiledGroup {
                group,
                images: vec![group; group - 1 - group / 4],
                beyond: vec![group],
            })
            .to_vec(),
        ..report()
    }
    .to_string();
    for part in [
        "warning: 23 images out of the declared range",
        "no answer for 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26 and 3 more",
        "warning: no answer for 4 images: ",
        "(group 2, 5)",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}
