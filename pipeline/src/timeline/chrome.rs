//! A timeline in Chrome's trace format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.

use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

use super::Timeline;

/// Numbers of the processes that the viewer shows.
const MEASURED: u32 = 1;
const PREDICTED: u32 = 2;
/// Numbers of the rows of the measured process before those of the workers.
const STEPS: u32 = 0;
const PHASES: u32 = 1;
const WORKERS: u32 = 2;

/// An event. Times are microseconds.
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    /// `X` a span, `C` a counter, `M` a name.
    ph: &'static str,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Value>,
}

impl<'a> Event<'a> {
    fn span(name: &'a str, (pid, tid): (u32, u32), ts: f64, dur: f64, args: Option<Value>) -> Self {
        Self {
            name,
            ph: "X",
            pid,
            tid,
            ts: Some(ts),
            dur: Some(dur),
            args,
        }
    }

    fn counter(name: &'a str, pid: u32, ts: f64, bytes: u64) -> Self {
        Self {
            name,
            ph: "C",
            pid,
            tid: 0,
            ts: Some(ts),
            dur: None,
            args: Some(json!({ "bytes": bytes })),
        }
    }

    fn label(kind: &'a str, pid: u32, tid: u32, name: &str) -> Self {
        Self {
            name: kind,
            ph: "M",
            pid,
            tid,
            ts: None,
            dur: None,
            args: Some(json!({ "name": name })),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    trace_events: Vec<Event<'a>>,
    display_time_unit: &'static str,
    other_data: Value,
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

impl Timeline {
    /// The timeline as JSON in Chrome's trace format: the steps, everything beside them, a row for each worker, and the bytes of
    /// the limb pool, as they were; and steps and bound of the limb pool as they were predicted.
    #[must_use]
    pub fn to_json(&self) -> String {
        let document = Document {
            trace_events: self.events(),
            display_time_unit: "ms",
            other_data: json!({
                "title": self.title,
                "operations left out": self.trace.left_out,
            }),
        };
        serde_json::to_string(&document).expect("numbers and words are JSON")
    }

    fn events(&self) -> Vec<Event<'_>> {
        let mut events = vec![
            Event::label("process_name", MEASURED, STEPS, "measured"),
            Event::label("process_name", PREDICTED, STEPS, "predicted"),
            Event::label("thread_name", MEASURED, STEPS, "steps"),
            Event::label("thread_name", MEASURED, PHASES, "beside the steps"),
            Event::label("thread_name", PREDICTED, STEPS, "steps"),
        ];
        for worker in 0..self.workers as u32 {
            let name = format!("worker {worker}");
            events.push(Event::label(
                "thread_name",
                MEASURED,
                WORKERS + worker,
                &name,
            ));
        }
        for step in &self.steps {
            let forecast = self.forecast(step);
            let args = json!({
                "group": step.group,
                "step": step.index,
                "pool_bytes": step.pool_bytes,
                "predicted_pool_bytes": forecast.map(|f| f.pool_bytes),
                "predicted_seconds": forecast.map(|f| f.seconds),
            });
            let name = forecast.map_or("step", |f| f.stage.as_str());
            let (start, length) = (micros(step.start), micros(step.length));
            events.push(Event::span(
                name,
                (MEASURED, STEPS),
                start,
                length,
                Some(args),
            ));
        }
        for phase in &self.phases {
            let (start, length) = (micros(phase.start), micros(phase.length));
            events.push(Event::span(
                phase.name,
                (MEASURED, PHASES),
                start,
                length,
                None,
            ));
        }
        for span in &self.trace.spans {
            let row = (MEASURED, WORKERS + span.worker);
            let (start, length) = (micros(span.start), micros(span.length));
            events.push(Event::span(span.operation.name(), row, start, length, None));
        }
        for (at, bytes) in &self.trace.memory {
            events.push(Event::counter("limb pool", MEASURED, micros(*at), *bytes));
        }
        for (step, start, length) in self.predicted() {
            let (start, length) = (1e6 * start, 1e6 * length);
            events.push(Event::span(
                &step.stage,
                (PREDICTED, STEPS),
                start,
                length,
                None,
            ));
            let bound = "limb pool, upper bound";
            events.push(Event::counter(bound, PREDICTED, start, step.pool_bytes));
        }
        events
    }
}
