//! Progress on standard error: a bar with the time left on a terminal, elsewhere one line a stage.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline::progress::{Progress, Unit};

use super::visible::visible;

/// Standard error, and the task that is running.
pub struct Terminal {
    interactive: bool,
    task: Mutex<Option<Task>>,
}

struct Task {
    name: String,
    unit: Unit,
    begun: Instant,
    stage: Option<(String, Instant)>,
    bar: ProgressBar,
}

impl Terminal {
    pub fn new() -> Self {
        Self {
            interactive: io::stderr().is_terminal(),
            task: Mutex::new(None),
        }
    }

    /// Takes away the bar of a task that will not finish.
    pub fn clear(&self) {
        if let Some(task) = self.task().take() {
            task.bar.finish_and_clear();
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        let print = || {
            // Without standard error there is nobody to tell.
            let _ = writeln!(io::stderr(), "{}", visible(text));
        };
        match &*self.task() {
            Some(task) => task.bar.suspend(print),
            None => print(),
        }
    }

    /// The line that ends a stage, where there is no bar to look at.
    fn end_stage(&self) {
        let line = self.task().as_mut().and_then(|task| {
            let (stage, begun) = task.stage.take()?;
            let done = match task.bar.length() {
                Some(total) if total > 0 => {
                    format!(", {} % done", 100 * task.bar.position().min(total) / total)
                }
                _ => String::new(),
            };
            Some(format!(
                "{}: {stage}, {}{done}",
                task.name,
                seconds(begun.elapsed())
            ))
        });
        if let (false, Some(line)) = (self.interactive, line) {
            self.line(&line);
        }
    }
}

impl Progress for Terminal {
    fn begin(&self, name: &str, total: Option<u64>, unit: Unit) {
        let target = if self.interactive {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total, target)
            .with_style(style(total, unit))
            .with_prefix(visible(name).into_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.task() = Some(Task {
            name: name.to_owned(),
            unit,
            begun: Instant::now(),
            stage: None,
            bar,
        });
    }

    fn stage(&self, name: &str) {
        self.end_stage();
        if let Some(task) = &mut *self.task() {
            task.bar.set_message(visible(name).into_owned());
            task.stage = Some((name.to_owned(), Instant::now()));
        }
    }

    fn advance(&self, units: u64) {
        if let Some(task) = &*self.task() {
            task.bar.inc(units);
        }
    }

    fn finish(&self) {
        self.end_stage();
        let Some(task) = self.task().take() else {
            return;
        };
        task.bar.finish_and_clear();
        let done = task.bar.position();
        let amount = match task.unit {
            Unit::Things(things) => format!("{done} {things}, "),
            Unit::Bytes => format!("{:.1} MB, ", done as f64 / 1e6),
            Unit::Parts => String::new(),
        };
        self.line(&format!(
            "{}: {amount}{}",
            task.name,
            seconds(task.begun.elapsed())
        ));
    }

    fn note(&self, sentence: &str) {
        self.line(sentence);
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn style(total: Option<u64>, unit: Unit) -> ProgressStyle {
    let position = match (total, unit) {
        (Some(_), Unit::Things(things)) => format!("{{pos}}/{{len}} {things}"),
        (None, Unit::Things(things)) => format!("{{pos}} {things}"),
        (Some(_), Unit::Bytes) => "{decimal_bytes}/{decimal_total_bytes}".to_owned(),
        (None, Unit::Bytes) => "{decimal_bytes}".to_owned(),
        (_, Unit::Parts) => "{percent} %".to_owned(),
    };
    let template = match total {
        Some(_) => {
            format!("{{prefix}} [{{bar:30}}] {position}, {{elapsed}}, about {{eta}} left {{msg}}")
        }
        None => format!("{{prefix}} {{spinner}} {position}, {{elapsed}} {{msg}}"),
    };
    ProgressStyle::with_template(&template)
        .expect("the template is well formed")
        .progress_chars("=> ")
}
