//! A timeline as a picture: stages, workers, memory, over one axis of time.

use std::fmt::{self, Write};

use ckks_scheme::Operation;

use super::{Stage, Timeline};
use crate::plan::Escaped;
use crate::units::gb;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 100.0;
const RIGHT: f64 = 20.0;
/// Height of a row of stages and of a worker's, and the room below them.
const STAGES: f64 = 22.0;
const WORKER: f64 = 26.0;
/// Of more workers than this the rows are lower, so that all of them have the room of so many.
const TALL_WORKERS: usize = 12;
const GAP: f64 = 8.0;
const TOP: f64 = 74.0;
const MEMORY: f64 = 150.0;
const BOTTOM: f64 = 46.0;
/// Most rectangles of all workers; with many workers the columns are wider.
const MOST_CELLS: usize = 8_000;
/// Width of a letter, about.
const LETTER: f64 = 6.5;

/// A colour for each operation, in their order; they can be told apart without colour vision, two of a kind are alike.
const COLOURS: [&str; Operation::ALL.len()] = [
    "#bbbbbb", "#aa3377", "#ddaa99", "#ccbb44", "#4477aa", "#66ccee", "#224466", "#999933",
    "#ee9966", "#228833",
];

/// Seconds to pixels.
#[derive(Clone, Copy)]
struct Axis {
    per_second: f64,
}

impl Axis {
    fn at(self, seconds: f64) -> f64 {
        LEFT + seconds * self.per_second
    }
}

impl Timeline {
    /// A picture: the stages as they were and as they were predicted, what each worker did, and the limb pool with its predicted
    /// upper bound.
    ///
    /// The text is a whole SVG 1.1 document.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.draw(&mut out);
        out
    }

    fn draw(&self, out: &mut String) -> fmt::Result {
        let rows = self.workers.max(1);
        let row = WORKER * TALL_WORKERS.min(rows) as f64 / rows as f64;
        let stages = TOP + STAGES;
        let workers = stages + 2.0 * (STAGES + GAP);
        let memory = workers + row * rows as f64 + 3.0 * GAP;
        let height = memory + MEMORY + BOTTOM;
        writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0}" viewBox="0 0 {WIDTH} {height:.0}" font-family="sans-serif" font-size="12" fill="black">
<title>{}</title>
<rect width="{WIDTH}" height="{height:.0}" fill="white"/>
<text x="20" y="26" font-size="16" font-weight="bold">{0}</text>"#,
            Escaped(&self.title)
        )?;
        let end = self.end();
        let axis = Axis {
            per_second: if end > 0.0 {
                (WIDTH - LEFT - RIGHT) / end
            } else {
                0.0
            },
        };
        self.draw_legend(out)?;
        self.draw_grid(out, axis, end, (stages - GAP, memory + MEMORY))?;
        let measured = self.measured_stages();
        draw_stages(out, axis, stages, "measured", &measured)?;
        let predicted = self.predicted_stages();
        draw_stages(out, axis, stages + STAGES + GAP, "predicted", &predicted)?;
        for phase in &self.phases {
            let (start, length) = (phase.start.as_secs_f64(), phase.length.as_secs_f64());
            let name = Escaped(phase.name);
            let (x, width) = (axis.at(start), length * axis.per_second);
            writeln!(
                out,
                r##"<rect x="{x:.2}" y="{stages}" width="{width:.2}" height="{STAGES}" fill="#eeeeee"><title>{name} {length:.3} s</title></rect>"##
            )?;
        }
        self.draw_workers(out, axis, end, (workers, row))?;
        self.draw_memory(out, axis, memory)?;
        writeln!(out, "</svg>")
    }

    /// Operations with their shares of the workers' time, the largest first.
    fn draw_legend(&self, out: &mut String) -> fmt::Result {
        let mut seconds = [0.0; Operation::ALL.len()];
        for span in &self.trace.spans {
            seconds[span.operation as usize] += span.length.as_secs_f64();
        }
        let total: f64 = seconds.iter().sum();
        let mut order: Vec<usize> = (0..seconds.len()).filter(|i| seconds[*i] > 0.0).collect();
        order.sort_by(|a, b| seconds[*b].total_cmp(&seconds[*a]));
        let mut x = 20.0;
        for index in order {
            let name = Operation::ALL[index].name();
            let words = format!("{name} {:.0} %", 100.0 * seconds[index] / total);
            writeln!(
                out,
                r#"<rect x="{x:.1}" y="42" width="11" height="11" fill="{}"/>
<text x="{:.1}" y="52" font-size="11">{words}</text>"#,
                COLOURS[index],
                x + 15.0
            )?;
            x += 26.0 + 5.8 * words.len() as f64;
        }
        Ok(())
    }

    /// A line at round times.
    fn draw_grid(
        &self,
        out: &mut String,
        axis: Axis,
        end: f64,
        (top, bottom): (f64, f64),
    ) -> fmt::Result {
        for seconds in ticks(end, 8.0) {
            let x = axis.at(seconds);
            writeln!(
                out,
                r##"<line x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="#dddddd"/>
<text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"##,
                bottom + 16.0,
                shown(seconds)
            )?;
        }
        let (middle, below) = ((LEFT + WIDTH - RIGHT) / 2.0, bottom + 34.0);
        writeln!(
            out,
            r#"<text x="{middle:.1}" y="{below:.1}" text-anchor="middle">seconds</text>"#
        )
    }

    /// A row for each worker: in each column of time as much of the height is coloured as the worker was busy.
    fn draw_workers(
        &self,
        out: &mut String,
        axis: Axis,
        end: f64,
        (top, row): (f64, f64),
    ) -> fmt::Result {
        const KINDS: usize = Operation::ALL.len();
        let rows = self.workers.max(1);
        let pixels = WIDTH - LEFT - RIGHT;
        let columns = (MOST_CELLS / rows).clamp(1, pixels as usize);
        let (width, column) = (pixels / columns as f64, end / columns as f64);
        // Seconds by worker, column and kind.
        let mut busy = vec![[0.0; KINDS]; rows * columns];
        for span in self.trace.spans.iter().filter(|_| column > 0.0) {
            let (start, length) = (span.start.as_secs_f64(), span.length.as_secs_f64());
            let last = columns - 1;
            let index = |seconds: f64| ((seconds / column) as usize).min(last);
            let worker = (span.worker as usize).min(rows - 1);
            for at in index(start)..=index(start + length) {
                let from = start.max(at as f64 * column);
                let to = (start + length).min((at + 1) as f64 * column);
                busy[worker * columns + at][span.operation as usize] += (to - from).max(0.0);
            }
        }
        for worker in 0..rows {
            let bottom = top + row * (worker + 1) as f64 - 2.0;
            let height = (row - 3.0).max(0.5 * row);
            if row >= 12.0 {
                writeln!(
                    out,
                    r#"<text x="{:.1}" y="{:.1}" text-anchor="end">worker {worker}</text>"#,
                    LEFT - 8.0,
                    bottom - 0.5 * row + 5.0
                )?;
            }
            let cells = &busy[worker * columns..(worker + 1) * columns];
            let mut paths = vec![String::new(); KINDS];
            for (at, kinds) in cells.iter().enumerate() {
                let mut y = bottom;
                for (kind, seconds) in kinds.iter().enumerate() {
                    let part = height * (seconds / column).min(1.0);
                    if part >= 0.05 {
                        let x = LEFT + at as f64 * width;
                        write!(
                            paths[kind],
                            "M{x:.1} {y:.1}h{width:.2}v-{part:.2}h-{width:.2}z"
                        )?;
                        y -= part;
                    }
                }
            }
            for (path, colour) in paths
                .iter()
                .zip(COLOURS)
                .filter(|(path, _)| !path.is_empty())
            {
                writeln!(out, r#"<path d="{path}" fill="{colour}"/>"#)?;
            }
            let right = axis.at(end);
            writeln!(
                out,
                r##"<line x1="{LEFT}" y1="{bottom:.1}" x2="{right:.1}" y2="{bottom:.1}" stroke="#888888" stroke-width="0.5"/>"##
            )?;
        }
        Ok(())
    }

    /// The limb pool: what was in use, and the bound of each step.
    fn draw_memory(&self, out: &mut String, axis: Axis, top: f64) -> fmt::Result {
        let predicted = self.steps.iter().filter_map(|step| {
            let bytes = self.forecast(step)?.pool_bytes;
            let (start, length) = (step.start.as_secs_f64(), step.length.as_secs_f64());
            Some((start, start + length, gb(bytes)))
        });
        let bounds: Vec<(f64, f64, f64)> = predicted.collect();
        let memory = self.trace.memory.iter();
        let used: Vec<(f64, f64)> = memory.map(|(at, b)| (at.as_secs_f64(), gb(*b))).collect();
        let most = bounds.iter().map(|b| b.2).chain(used.iter().map(|u| u.1));
        let most = most.fold(0.0, f64::max);
        let bottom = top + MEMORY;
        let y = |gb: f64| {
            bottom
                - if most > 0.0 {
                    0.92 * MEMORY * gb / most
                } else {
                    0.0
                }
        };
        for gb in ticks(most, 4.0) {
            writeln!(
                out,
                r##"<line x1="{LEFT}" y1="{:.1}" x2="{:.1}" y2="{0:.1}" stroke="#dddddd"/>
<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"##,
                y(gb),
                WIDTH - RIGHT,
                LEFT - 8.0,
                y(gb) + 4.0,
                shown(gb)
            )?;
        }
        let centre = (top + bottom) / 2.0;
        writeln!(
            out,
            r#"<text x="24" y="{centre:.1}" text-anchor="middle" transform="rotate(-90 24 {centre:.1})">GB of limbs</text>"#
        )?;
        let mut path = String::new();
        for column in used.chunk_by(|a, b| axis.at(a.0) as u64 == axis.at(b.0) as u64) {
            let most = column.iter().map(|u| u.1).fold(0.0, f64::max);
            let command = if path.is_empty() { 'M' } else { 'L' };
            write!(path, "{command}{:.1} {:.1}", axis.at(column[0].0), y(most))?;
        }
        if !path.is_empty() {
            writeln!(
                out,
                r##"<path d="{path}" fill="none" stroke="#0072b2" stroke-width="1.5"/>"##
            )?;
        }
        for (from, to, bound) in &bounds {
            writeln!(
                out,
                r##"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{1:.1}" stroke="#d55e00" stroke-width="2" stroke-dasharray="6 4"/>"##,
                axis.at(*from),
                y(*bound),
                axis.at(*to)
            )?;
        }
        let x = WIDTH - RIGHT;
        writeln!(
            out,
            r##"<text x="{x}" y="{:.1}" text-anchor="end"><tspan fill="#0072b2">in use</tspan>, <tspan fill="#d55e00">upper bound of the step</tspan></text>"##,
            top - 6.0
        )
    }
}

/// A row of stages with as much of their names as there is room for.
fn draw_stages(
    out: &mut String,
    axis: Axis,
    y: f64,
    label: &str,
    stages: &[Stage<'_>],
) -> fmt::Result {
    let text = y + 15.0;
    writeln!(
        out,
        r#"<text x="{:.1}" y="{text:.1}" text-anchor="end">{label}</text>"#,
        LEFT - 8.0
    )?;
    for (index, stage) in stages.iter().enumerate() {
        let (x, width) = (
            axis.at(stage.start),
            (stage.end - stage.start) * axis.per_second,
        );
        let colour = ["#cfe0ef", "#f3dcc4"][index % 2];
        let (name, seconds) = (Escaped(stage.name), stage.end - stage.start);
        writeln!(
            out,
            r##"<rect x="{x:.2}" y="{y:.1}" width="{width:.2}" height="{STAGES}" fill="{colour}" stroke="#888888" stroke-width="0.5"><title>{name} {seconds:.3} s</title></rect>"##
        )?;
        let letters = (width / LETTER) as usize;
        if letters >= 2 {
            let name: String = stage.name.chars().take(letters).collect();
            writeln!(
                out,
                r#"<text x="{:.1}" y="{text:.1}" font-size="11">{}</text>"#,
                x + 3.0,
                Escaped(&name)
            )?;
        }
    }
    Ok(())
}

/// Round values from 0 to `end`, at least `parts` of them; none on an axis without a length.
fn ticks(end: f64, parts: f64) -> impl Iterator<Item = f64> {
    let step = round_step(end / parts);
    (0..)
        .map(move |index| f64::from(index) * step)
        .take_while(move |value| step > 0.0 && *value <= end)
}

/// The largest of 1, 2 and 5 times a power of ten that is not above `most`.
pub(super) fn round_step(most: f64) -> f64 {
    if !(most > 0.0 && most.is_finite()) {
        return 0.0;
    }
    let power = 10f64.powf(most.log10().floor());
    let digit = [5.0, 2.0, 1.0].into_iter().find(|d| d * power <= most);
    digit.unwrap_or(1.0) * power
}

/// A number at a tick, without the digits that arithmetic leaves behind.
fn shown(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
