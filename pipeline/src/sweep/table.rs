//! A sweep for people: a table of text, CSV and plots.

use std::fmt;

use super::{Row, Table};
use crate::chart::{self, Chart, Line, Series};
use crate::units::gb;

/// What the work that this project builds on has published (arXiv 2604.16834, abstract): network, images, seconds per image, bytes.
const REFERENCE: [(&str, f64, f64, f64); 2] = [
    ("resnet20", 512.0, 8.86, 98.96e9),
    ("resnet34", 256.0, 28.14, 246.78e9),
];

impl Table {
    /// The rows as CSV, with the names of the fields above them.
    ///
    /// # Errors
    /// None for the rows of a sweep.
    pub fn to_csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.rows {
            writer.serialize(row)?;
        }
        let bytes = writer.into_inner().map_err(|error| error.into_error())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Seconds per image, seconds of a batch and peak memory against the batch, as SVG.
    pub fn to_svg(&self) -> String {
        let series = |name: &str, line, value: &dyn Fn(&Row) -> Option<f64>| Series {
            name: name.to_owned(),
            points: (self.rows.iter())
                .filter_map(|row| Some((row.batch as f64, value(row)?)))
                .collect(),
            line,
        };
        let reference = |value: fn(&(&str, f64, f64, f64)) -> f64| Series {
            name: "arXiv 2604.16834".to_owned(),
            points: (REFERENCE.iter())
                .filter(|point| point.0 == self.settings.model && !self.rows.is_empty())
                .map(|point| (point.1, value(point)))
                .collect(),
            line: Line::None,
        };
        let plot = |title: &str, y_label: &str, all: [Series; 3]| Chart {
            title: format!(
                "{}: {title}, {} threads",
                self.settings.model, self.settings.threads
            ),
            x_label: "images in a batch".to_owned(),
            y_label: y_label.to_owned(),
            series: all.into_iter().filter(|s| !s.points.is_empty()).collect(),
        };
        let bytes = |value: Option<u64>| value.map(|bytes| bytes as f64 / 1e9);
        chart::to_svg(&[
            plot(
                "encrypted inference of an image",
                "seconds per image",
                [
                    series("predicted", Line::Dashed, &Row::predicted_seconds_per_image),
                    series("measured", Line::Solid, &|row| row.seconds_per_image),
                    reference(|point| point.2),
                ],
            ),
            plot(
                "encrypted inference of a batch",
                "seconds",
                [
                    series("predicted", Line::Dashed, &|row| {
                        row.predicted_seconds_infer
                    }),
                    series("measured", Line::Solid, &|row| row.seconds_infer),
                    reference(|point| point.1 * point.2),
                ],
            ),
            plot(
                "peak memory",
                "GB",
                [
                    series("predicted at most", Line::Dashed, &|row| {
                        bytes(row.predicted_peak_bytes)
                    }),
                    series("measured", Line::Solid, &|row| bytes(row.peak_rss_bytes)),
                    reference(|point| point.3 / 1e9),
                ],
            ),
        ])
    }

    /// The line above [`Row`]s as text.
    pub fn header() -> String {
        format!(
            "{:>6}{:>7}{:>9}{:>8}{:>8}{:>8}{:>13}{:>11}{:>11}{:>12}{:>9}{:>9}{:>12}",
            "batch",
            "N",
            "packing",
            "grid",
            "images",
            "groups",
            "predicted s",
            "seconds",
            "an image",
            "at most GB",
            "GB",
            "same",
            "error / std"
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Self::header())?;
        self.rows.iter().try_for_each(|row| write!(f, "\n{row}"))
    }
}

impl fmt::Display for Row {
    /// A line below [`Table::header`], and one more for what went wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let count = |value: Option<usize>| text(value.map(|v| v.to_string()));
        let number =
            |value: Option<f64>, digits: usize| text(value.map(|v| format!("{v:.digits$}")));
        let error = self.max_logit_error.zip(self.logit_std);
        write!(
            f,
            "{:>6}{:>7}{:>9}{:>8}{:>8}{:>8}{:>13}{:>11}{:>11}{:>12}{:>9}{:>9}{:>12}",
            self.batch,
            text(self.log_n.map(|log_n| format!("2^{log_n}"))),
            text(self.packing.clone()),
            text(self.grid.clone()),
            count(self.images_per_group),
            count(self.groups),
            number(self.predicted_seconds_infer, 2),
            number(self.seconds_infer, 2),
            number(self.seconds_per_image, 4),
            number(self.predicted_peak_bytes.map(gb), 2),
            number(self.peak_rss_bytes.map(gb), 2),
            number(self.agreement, 3),
            number(error.map(|(error, std)| error / std), 4),
        )?;
        match &self.error {
            Some(error) => write!(f, "\n{:>6}{error}", ""),
            None => Ok(()),
        }
    }
}
