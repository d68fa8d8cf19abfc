//! Plots of two logarithmic axes, as SVG.

use std::fmt::Write;

use crate::plan::Escaped;

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Both coordinates positive.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub line: Line,
}

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// What was measured.
    Solid,
    /// What is predicted.
    Dashed,
    /// Points alone: what others have published.
    None,
}

/// A plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below the horizontal axis.
    pub x_label: String,
    /// Beside the vertical axis.
    pub y_label: String,
    /// The curves.
    pub series: Vec<Series>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 68.0;
const BOTTOM: f64 = 60.0;
/// Height of the legend's middle: above the frame, where no point can be.
const LEGEND: f64 = 48.0;
/// Told apart without colour vision, too.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// One logarithmic axis: values to pixels.
struct Axis {
    /// Logarithms of the ends.
    low: f64,
    high: f64,
    /// Pixels of the ends.
    from: f64,
    to: f64,
}

impl Axis {
    /// Around all values, with a margin.
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values
            .map(f64::ln)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
        // Nothing, or one value: some room around it.
        let (low, high) = if low > high { (0.0, 0.0) } else { (low, high) };
        let margin = (0.06 * (high - low)).max(0.2);
        Self {
            low: low - margin,
            high: high + margin,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.ln() - self.low) / (self.high - self.low);
        self.from + part * (self.to - self.from)
    }

    /// 1, 2 and 5 times powers of ten within the axis.
    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        let decade = |ln: f64| (ln / std::f64::consts::LN_10).floor() as i32;
        (decade(self.low)..=decade(self.high))
            .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
            .filter(|tick| (self.low..=self.high).contains(&tick.ln()))
    }
}

/// Plots below one another as an SVG document. Horizontal axes have a tick at every value that occurs.
pub fn to_svg(charts: &[Chart]) -> String {
    // Writing to a string cannot fail.
    let mut svg = String::new();
    let _ = write_svg(&mut svg, charts);
    svg
}

fn write_svg(out: &mut String, charts: &[Chart]) -> std::fmt::Result {
    let height = HEIGHT * charts.len() as f64;
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##
    )?;
    for (number, chart) in charts.iter().enumerate() {
        let top = HEIGHT * number as f64;
        writeln!(out, r#"<g transform="translate(0 {top})">"#)?;
        chart.write(out)?;
        writeln!(out, "</g>")?;
    }
    writeln!(out, "</svg>")
}

impl Chart {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let points = || self.series.iter().flat_map(|s| &s.points);
        let x = Axis::around(points().map(|p| p.0), LEFT, WIDTH - RIGHT);
        let y = Axis::around(points().map(|p| p.1), HEIGHT - BOTTOM, TOP);
        writeln!(
            out,
            r#"<text x="{LEFT}" y="26" font-size="16">{}</text>"#,
            Escaped(&self.title)
        )?;
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in y.ticks() {
            let at = y.at(tick);
            writeln!(
                out,
                r##"<line x1="{LEFT}" y1="{at:.1}" x2="{right}" y2="{at:.1}" stroke="#dddddd"/>
<text x="{:.1}" y="{:.1}" text-anchor="end">{tick}</text>"##,
                LEFT - 8.0,
                at + 4.0
            )?;
        }
        let mut values: Vec<f64> = points().map(|p| p.0).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        for value in values {
            let at = x.at(value);
            writeln!(
                out,
                r##"<line x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{bottom}" stroke="#eeeeee"/>
<text x="{at:.1}" y="{:.1}" text-anchor="middle">{value}</text>"##,
                bottom + 18.0
            )?;
        }
        let (middle, centre) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        writeln!(
            out,
            r##"<rect x="{LEFT}" y="{TOP}" width="{}" height="{}" fill="none" stroke="#888888"/>
<text x="{middle}" y="{}" text-anchor="middle">{}</text>
<text x="20" y="{centre}" text-anchor="middle" transform="rotate(-90 20 {centre})">{}</text>"##,
            right - LEFT,
            bottom - TOP,
            HEIGHT - 16.0,
            Escaped(&self.x_label),
            Escaped(&self.y_label)
        )?;
        for (i, series) in self.series.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let dash = match series.line {
                Line::Solid => "",
                Line::Dashed => r#" stroke-dasharray="6 4""#,
                Line::None => r#" stroke-opacity="0""#,
            };
            let at: Vec<(f64, f64)> = series
                .points
                .iter()
                .map(|p| (x.at(p.0), y.at(p.1)))
                .collect();
            let line: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            writeln!(
                out,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>"#,
                line.join(" ")
            )?;
            let column = (right - LEFT) / self.series.len().max(3) as f64;
            let from = LEFT + column * i as f64;
            for (x, y) in at.into_iter().chain([(from + 16.0, LEGEND)]) {
                writeln!(
                    out,
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#
                )?;
            }
            writeln!(
                out,
                r#"<line x1="{from:.1}" y1="{LEGEND}" x2="{:.1}" y2="{LEGEND}" stroke="{colour}" stroke-width="2"{dash}/>
<text x="{:.1}" y="{}">{}</text>"#,
                from + 32.0,
                from + 40.0,
                LEGEND + 4.0,
                Escaped(&series.name)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "a & b".to_owned(),
            x_label: "x".to_owned(),
            y_label: "y".to_owned(),
            series: vec![Series {
                name: "s".to_owned(),
                points,
                line: Line::Dashed,
            }],
        }
    }

    #[test]
    fn axes_are_logarithmic_and_ticks_lie_on_them() {
        let axis = Axis::around([1.0, 100.0].into_iter(), 0.0, 100.0);
        assert!((axis.at(10.0) - 50.0).abs() < 1e-9);
        assert!(axis.at(1.0) > 0.0 && axis.at(100.0) < 100.0);
        let ticks: Vec<f64> = axis.ticks().collect();
        assert_eq!(ticks, [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn every_point_is_drawn_inside_and_text_is_escaped() {
        let one = chart(vec![(1.0, 30.0), (8.0, 3.0), (512.0, 0.2)]);
        let svg = to_svg(&[one.clone(), one]);
        // Three points and the one of the legend, twice.
        assert_eq!(svg.matches("<circle").count(), 8);
        assert_eq!(svg.matches("<svg").count(), 1);
        assert!(svg.contains("a &amp; b") && svg.contains("stroke-dasharray"));
        assert!(svg.contains(">512</text>") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        // No point is behind the legend, which is above the frame.
        let circles = svg.split("<circle").skip(1).take(4);
        let heights: Vec<f64> = circles
            .map(|circle| circle.split('"').nth(3).unwrap().parse().unwrap())
            .collect();
        let [points @ .., legend] = &heights[..] else {
            panic!("{heights:?}");
        };
        assert!(points.iter().all(|y| (TOP..HEIGHT - BOTTOM).contains(y)) && *legend < TOP);
    }

    #[test]
    fn empty_and_single_points_are_plots_too() {
        for points in [vec![], vec![(32.0, 1.5)]] {
            let svg = to_svg(&[chart(points)]);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
