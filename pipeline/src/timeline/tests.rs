use super::*;
use ckks_scheme::{Level, Operation, Span};
use he_layers::Chw;
use serde_json::Value;

fn forecast(stage: &str, seconds: f64, pool_bytes: u64) -> StepForecast {
    StepForecast {
        stage: stage.to_owned(),
        shape: Chw::new(1, 1, 1),
        ciphertexts_in: 1,
        ciphertexts_out: 1,
        level_in: Level::new(2),
        level_out: Level::new(2),
        blocks: 1,
        fewer_threads: None,
        rotations: 0,
        pool_bytes,
        seconds,
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Two groups of three steps in two stages, a quarter faster than predicted, on two workers.
fn timeline() -> Timeline {
    let step = |group, index, start| Step {
        group,
        is_last: false,
        index,
        start: seconds(start),
        length: seconds(0.75),
        pool_bytes: 2_000_000_000,
    };
    let firsts = [(0, 1.0), (1, 5.0)].into_iter();
    let steps = firsts.flat_map(|(group, first)| {
        (0..3).map(move |index| step(group, index, first + 0.75 * index as f64))
    });
    let span = |worker, start, operation| Span {
        operation,
        worker,
        start: seconds(start),
        length: seconds(0.5),
    };
    Timeline {
        title: "a <b> & c".to_owned(),
        workers: 2,
        phases: vec![Phase {
            name: "keys",
            start: Duration::ZERO,
            length: seconds(1.0),
        }],
        steps: steps.collect(),
        forecast: Forecast {
            images_per_group: 1,
            groups: 2,
            steps: vec![
                forecast("stem", 1.0, 3_000_000_000),
                forecast("block", 1.0, 4_000_000_000),
                forecast("block", 1.0, 2_500_000_000),
            ],
            last: None,
            bootstraps: 0,
            keys: 0,
            key_bytes: 0,
            matrix_bytes: 0,
            pool_bytes: 4_000_000_000,
            predicted_peak_bytes: 5_000_000_000,
            predicted_seconds_infer: 6.0,
            errors: None,
        },
        trace: Trace {
            spans: vec![
                span(0, 1.0, Operation::ModUp),
                span(1, 1.25, Operation::Rescale),
                span(1, 5.0, Operation::ModUp),
            ],
            memory: vec![(seconds(1.0), 1_000_000_000), (seconds(5.5), 2_000_000_000)],
            left_out: 7,
        },
    }
}

#[test]
fn predicted_steps_begin_with_their_group_and_follow_one_another() {
    let timeline = timeline();
    let predicted = timeline.predicted();
    let starts: Vec<f64> = predicted.iter().map(|(_, start, _)| *start).collect();
    assert_eq!(starts, [1.0, 2.0, 3.0, 5.0, 6.0, 7.0]);
    assert_eq!(timeline.end(), 8.0);
    let stages = |stages: Vec<Stage<'_>>| -> Vec<(String, f64, f64)> {
        let row = |s: &Stage<'_>| (s.name.to_owned(), s.start, s.end);
        stages.iter().map(row).collect()
    };
    let (stem, block) = ("stem".to_owned(), "block".to_owned());
    assert_eq!(
        stages(timeline.measured_stages()),
        [
            (stem.clone(), 1.0, 1.75),
            (block.clone(), 1.75, 3.25),
            (stem, 5.0, 5.75),
            (block, 5.75, 7.25),
        ]
    );
    assert_eq!(stages(timeline.predicted_stages()).len(), 4);
}

#[test]
fn the_trace_has_what_viewers_ask_for() {
    let json: Value = serde_json::from_str(&timeline().to_json()).expect("JSON");
    let events = json["traceEvents"].as_array().expect("a list");
    let of = |ph: &str, pid: u64| {
        let found = events.iter().filter(|e| e["ph"] == ph && e["pid"] == pid);
        found.cloned().collect::<Vec<Value>>()
    };
    for event in events {
        let is_label = event["ph"] == "M";
        assert_eq!(event["ts"].is_number(), !is_label, "{event}");
        assert_eq!(event["dur"].is_number(), event["ph"] == "X", "{event}");
        assert!(
            event["name"].is_string() && event["tid"].is_u64(),
            "{event}"
        );
    }
    // Six steps, a phase, three operations; six predicted steps with a bound each.
    assert_eq!((of("X", 1).len(), of("C", 1).len()), (10, 2));
    assert_eq!((of("X", 2).len(), of("C", 2).len()), (6, 6));
    let rescale = events
        .iter()
        .find(|e| e["name"] == "rescale")
        .expect("there");
    assert_eq!(
        (&rescale["tid"], &rescale["ts"], &rescale["dur"]),
        (&3.into(), &1.25e6.into(), &0.5e6.into())
    );
    assert_eq!(json["otherData"]["operations left out"], 7);
}

#[test]
fn the_picture_has_all_of_it_and_is_well_formed() {
    let svg = timeline().to_svg();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("a &lt;b&gt; &amp; c"));
    for part in [
        "worker 0",
        "worker 1",
        "measured",
        "predicted",
        "ModUp 67 %",
        "keys 1.000 s",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    // Two rows of four stages, and the phase.
    assert_eq!(svg.matches(" s</title></rect>").count(), 9);
    // A bound for each step.
    assert_eq!(svg.matches("stroke-dasharray").count(), 6);
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn nothing_at_all_and_many_workers_are_pictures_too() {
    let empty = Timeline {
        phases: Vec::new(),
        steps: Vec::new(),
        trace: Trace::default(),
        ..timeline()
    };
    let mut many = timeline();
    many.workers = 192;
    let spans = (0..192).flat_map(|worker| {
        (0..2000).map(move |i| Span {
            operation: Operation::ALL[i % Operation::ALL.len()],
            worker,
            start: seconds(0.004 * i as f64),
            length: seconds(0.003),
        })
    });
    many.trace.spans = spans.collect();
    for timeline in [empty, many] {
        let svg = timeline.to_svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert!(svg.len() < 4_000_000, "{}", svg.len());
        serde_json::from_str::<Value>(&timeline.to_json()).expect("JSON");
    }
}

#[test]
fn steps_of_axes_are_round() {
    let found = [0.0, 0.3, 1.0, 1.7, 4.0, 5.5, 70.0].map(round_step_of);
    assert_eq!(found, [0.0, 0.2, 1.0, 1.0, 2.0, 5.0, 50.0]);
}

/// Rounded, since powers of ten are not exact.
fn round_step_of(most: f64) -> f64 {
    (svg::round_step(most) * 1e6).round() / 1e6
}
