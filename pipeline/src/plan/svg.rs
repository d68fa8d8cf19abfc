//! A plan as a picture: seconds and limb pool of each stage.

use super::{Plan, StageForecast};
use crate::units::gb;
use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// Width of the picture, and where its columns begin.
const WIDTH: f64 = 900.0;
const NAMES: f64 = 20.0;
const SECONDS: f64 = 190.0;
const POOL: f64 = 550.0;
/// Letters of a name that fit before the first bar.
const LETTERS: usize = 23;
/// Length of the longest bar of a column; its number stands behind it.
const BAR: f64 = 260.0;
/// Baselines of the first stage and of the legend, distance of two stages, height of a bar.
const TOP: f64 = 118.0;
const LEGEND: f64 = 84.0;
const ROW: f64 = 28.0;
const BAR_HEIGHT: f64 = 16.0;

/// Colours that can be told apart without colour vision: seconds, keys, the rest of the pool.
const BLUE: &str = "#4477aa";
const GREY: &str = "#999999";
const YELLOW: &str = "#ddaa33";

impl Plan {
    /// A picture of the predictions: for each stage a bar for the seconds of one group of images, and one for the peak of
    /// the limb pool, of which the switching keys are a part. A last group of a layout of its own comes below.
    ///
    /// The text is a whole SVG 1.1 document.
    pub fn to_svg(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.draw(&mut out);
        out
    }

    fn draw(&self, out: &mut String) -> fmt::Result {
        let stages = self.forecast.stages();
        let last = self.forecast.last.as_ref();
        let of_last = last.map(|last| (last.images, last.stages()));
        // A group of its own has a line for its title, and one of space above it.
        let of_last_rows = of_last.as_ref().map_or(0, |(_, stages)| stages.len() + 2);
        let rows = stages.len() + of_last_rows;
        let height = TOP + ROW * rows as f64 + 20.0;
        writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13" fill="black">"#
        )?;
        let summary = self.to_string();
        let mut lines = summary.lines();
        let title = lines.next().unwrap_or_default();
        writeln!(out, "<title>{}</title>", Escaped(title))?;
        writeln!(
            out,
            r#"<rect width="{WIDTH}" height="{height}" fill="white"/>"#
        )?;
        text(out, (NAMES, 28.0), r#" font-weight="bold""#, title)?;
        text(out, (NAMES, 48.0), "", lines.next().unwrap_or_default())?;
        let seconds = if self.forecast.groups == 1 {
            "seconds"
        } else {
            "seconds, one group"
        };
        text(out, (NAMES, LEGEND), "", "stage")?;
        legend(out, SECONDS, BLUE, seconds)?;
        legend(out, POOL, GREY, "GB of switching keys")?;
        legend(out, POOL + 170.0, YELLOW, "other limbs")?;

        let all = || stages.iter().chain(of_last.iter().flat_map(|(_, s)| s));
        let scale = |most: f64| if most > 0.0 { BAR / most } else { 0.0 };
        let bars = Bars {
            per_second: scale(all().map(|s| s.seconds).fold(0.0, f64::max)),
            per_byte: scale(all().map(|s| s.pool_bytes).max().unwrap_or(0) as f64),
            key_bytes: self.forecast.key_bytes,
        };
        let mut y = TOP;
        for stage in &stages {
            bars.draw(out, y, stage)?;
            y += ROW;
        }
        if let Some((images, stages)) = &of_last {
            y += ROW;
            let ending = if *images == 1 { "" } else { "s" };
            let title = format!("the last group, {images} image{ending}");
            text(out, (NAMES, y), r#" font-weight="bold""#, &title)?;
            for stage in stages {
                y += ROW;
                bars.draw(out, y, stage)?;
            }
        }
        writeln!(out, "</svg>")
    }
}

/// Lengths of bars, the same for all groups.
struct Bars {
    per_second: f64,
    per_byte: f64,
    key_bytes: u64,
}

impl Bars {
    fn draw(&self, out: &mut String, y: f64, stage: &StageForecast) -> fmt::Result {
        text(out, (NAMES, y), "", &shortened(&stage.name))?;
        let length = stage.seconds * self.per_second;
        bar(out, SECONDS, y, length, BLUE)?;
        let label = format!("{:.2}", stage.seconds);
        text(out, (SECONDS + length + 6.0, y), "", &label)?;

        let keys = self.key_bytes.min(stage.pool_bytes) as f64 * self.per_byte;
        let length = stage.pool_bytes as f64 * self.per_byte;
        bar(out, POOL, y, keys, GREY)?;
        bar(out, POOL + keys, y, length - keys, YELLOW)?;
        let label = format!("{:.2}", gb(stage.pool_bytes));
        text(out, (POOL + length + 6.0, y), "", &label)
    }
}

fn text(out: &mut String, (x, y): (f64, f64), style: &str, text: &str) -> fmt::Result {
    let text = Escaped(text);
    writeln!(out, r#"<text x="{x:.1}" y="{y:.1}"{style}>{text}</text>"#)
}

/// A bar whose text has its baseline at `y`.
fn bar(out: &mut String, x: f64, y: f64, length: f64, colour: &str) -> fmt::Result {
    let top = y - 13.0;
    writeln!(
        out,
        r#"<rect x="{x:.1}" y="{top:.1}" width="{length:.1}" height="{BAR_HEIGHT}" fill="{colour}"/>"#
    )
}

fn legend(out: &mut String, x: f64, colour: &str, what: &str) -> fmt::Result {
    let y = LEGEND;
    bar(out, x, y, BAR_HEIGHT, colour)?;
    text(out, (x + BAR_HEIGHT + 6.0, y), "", what)
}

/// As much of a name as there is room for.
fn shortened(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(LETTERS) {
        None => name.into(),
        Some(_) => name.chars().take(LETTERS - 1).chain(['…']).collect(),
    }
}

/// Text between tags: markup escaped, characters that XML does not have replaced.
pub(crate) struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(shortened("stage10.block10"), "stage10.block10");
        let long = shortened("a name that leaves no room for bars");
        assert_eq!(long, "a name that leaves no …");
    }

    #[test]
    fn names_are_escaped() {
        let escaped = |s| Escaped(s).to_string();
        assert_eq!(escaped("a<b> & \"c\""), "a&lt;b&gt; &amp; \"c\"");
        assert_eq!(
            escaped("\u{0}\u{1b}[0m\u{ffff}é"),
            "\u{fffd}\u{fffd}[0m\u{fffd}é"
        );
    }
}
