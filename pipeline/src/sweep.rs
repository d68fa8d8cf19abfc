//! Many batch sizes: what the planner predicts for each, and what a run takes.
//!
//! A batch that is not feasible is a row that says why. Rows are kept in a file as they come, so that a sweep that was stopped goes on
//! where it was.

mod table;

use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;

use ckks_scheme::exec::KernelChoice;
use datasets::Dataset;
use he_models::{Lowered, Model};
use serde::{Deserialize, Serialize};

use crate::inference::{self, Batch, Options};
use crate::plan::Plan;
use crate::planner::{self, Machine, Pins, Task};
use crate::progress::{Progress, Silent, Unit};
use crate::report::InferReport;
use crate::system;
use crate::text_file::{self, TextFileError};

/// What all rows have in common. A sweep goes on with the rows of another one if these are the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the network.
    pub model: String,
    /// Its checksum in hexadecimal digits.
    pub model_checksum: String,
    /// Name of the data set; nothing where plans are made only.
    pub data: Option<String>,
    /// Threads that compute.
    pub threads: usize,
    /// Upper bound of the memory in bytes; nothing where it is what is free at the time.
    pub memory_bytes: Option<u64>,
    /// Kernel of the arithmetic.
    pub kernel: String,
    /// Largest error of a logit that plans may lead to, in deviations of the logits.
    pub max_logit_error: f64,
    /// Name of the processor.
    pub processor: String,
    /// Commit of the program.
    pub revision: String,
}

/// One batch size. What was not planned or not measured is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Number of images in the batch.
    pub batch: usize,
    /// Base-2 logarithm of the ring degree.
    pub log_n: Option<u32>,
    /// Whether imaginary parts of slots hold images.
    pub packing: Option<String>,
    /// Cells of a map.
    pub grid: Option<String>,
    /// Images of a group.
    pub images_per_group: Option<usize>,
    /// Groups, run one after another.
    pub groups: Option<usize>,
    /// Ciphertexts refreshed.
    pub bootstraps: Option<usize>,
    /// Estimate of [`Self::seconds_infer`].
    pub predicted_seconds_infer: Option<f64>,
    /// Upper bound of [`Self::peak_rss_bytes`].
    pub predicted_peak_bytes: Option<u64>,
    /// Estimate of [`Self::max_logit_error`].
    pub predicted_max_logit_error: Option<f64>,
    /// Seconds of the encrypted inference of the whole batch.
    pub seconds_infer: Option<f64>,
    /// The same divided by the images.
    pub seconds_per_image: Option<f64>,
    /// High-water mark of the resident memory during the run, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// High-water mark of the limb pool in bytes.
    pub pool_high_water_bytes: Option<u64>,
    /// Part of the images with the same class as in the clear.
    pub agreement: Option<f64>,
    /// Largest error of a logit against the network in the clear.
    pub max_logit_error: Option<f64>,
    /// Deviation of the logits over images and classes.
    pub logit_std: Option<f64>,
    /// Accuracy encrypted, where the data has labels.
    pub accuracy_encrypted: Option<f64>,
    /// Accuracy in the clear.
    pub accuracy_plain: Option<f64>,
    /// Why there is no plan or no run.
    pub error: Option<String>,
}

/// A sweep, as far as it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// What all rows have in common.
    pub settings: Settings,
    /// Ascending by batch.
    pub rows: Vec<Row>,
}

/// What to run.
pub struct Sweep<'a> {
    /// The network.
    pub model: &'a Model,
    /// The same lowered.
    pub lowered: &'a Lowered,
    /// Images; nothing to plan only.
    pub data: Option<&'a dyn Dataset>,
    /// Where.
    pub machine: Machine,
    /// Whether [`Machine::memory_bytes`] was asked for, or is what is free.
    pub memory_is_asked_for: bool,
    /// With what.
    pub kernel: KernelChoice,
    /// Largest error of a logit, in deviations of the logits.
    pub max_logit_error: f64,
    /// Keys and encryptions from a seed: reproducible, not secure.
    pub seed: Option<u64>,
}

impl Sweep<'_> {
    /// What all rows have in common.
    pub fn settings(&self) -> Settings {
        Settings {
            model: self.model.name().to_owned(),
            model_checksum: self.model.checksum_hex(),
            data: self.data.map(|data| data.name().to_owned()),
            threads: self.machine.threads,
            memory_bytes: self
                .memory_is_asked_for
                .then_some(self.machine.memory_bytes),
            kernel: self.kernel.name().to_owned(),
            max_logit_error: self.max_logit_error,
            processor: system::processor(),
            revision: system::revision().to_owned(),
        }
    }

    /// Plans, and runs, the batches that `table` does not have yet, in the current rayon pool. `keep` sees the table after each.
    ///
    /// # Errors
    /// Those of `keep`.
    pub fn run<E>(
        &self,
        batches: &[NonZeroUsize],
        table: &mut Table,
        progress: &dyn Progress,
        mut keep: impl FnMut(&Table, &Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let missing = |batch: &&NonZeroUsize| table.rows.iter().all(|row| row.batch != batch.get());
        let missing: Vec<NonZeroUsize> = batches.iter().filter(missing).copied().collect();
        let total: u64 = missing.iter().map(|batch| batch.get() as u64).sum();
        progress.begin("sweep", Some(total), Unit::Things("images"));
        for batch in missing {
            progress.stage(&format!("batch {batch}"));
            let row = self.row(batch);
            let at = table.rows.partition_point(|other| other.batch < row.batch);
            table.rows.insert(at, row);
            keep(table, &table.rows[at])?;
            progress.advance(batch.get() as u64);
        }
        progress.finish();
        Ok(())
    }

    /// One batch.
    pub fn row(&self, batch: NonZeroUsize) -> Row {
        let mut row = Row {
            batch: batch.get(),
            ..Row::default()
        };
        if let Err(error) = self.fill(&mut row, batch) {
            row.error = Some(error.to_string());
        }
        row
    }

    fn fill(&self, row: &mut Row, batch: NonZeroUsize) -> Result<(), Box<dyn Error>> {
        let checksum = self.model.checksum_hex();
        let task = Task {
            program: &self.lowered.program,
            checksum: &checksum,
            batch,
            max_logit_error: self.max_logit_error,
        };
        let fresh = system::reset_peak_rss();
        let planned = planner::plan(&task, &self.machine, &Pins::default(), &self.kernel)?;
        row.predicted(&planned.plan);
        let Some(data) = self.data else {
            return Ok(());
        };
        if data.num_images().is_some_and(|images| images < batch.get()) {
            let (name, images) = (data.name(), data.num_images().unwrap_or(0));
            return Err(format!("{name}: {images} images, expected at least {batch}").into());
        }
        let images = Batch {
            data,
            first: 0,
            images: batch.get(),
        };
        let options = Options {
            seed: self.seed,
            ..Options::default()
        };
        let report = inference::infer(self.model, planned, images, options, &Silent)?;
        row.measured(&report);
        if !fresh {
            row.peak_rss_bytes = None;
        }
        Ok(())
    }
}

impl Row {
    fn predicted(&mut self, plan: &Plan) {
        let (decisions, forecast) = (&plan.decisions, &plan.forecast);
        self.log_n = Some(decisions.params.log_n);
        self.packing = Some(decisions.packing.to_string());
        self.grid = Some(decisions.grid.to_string());
        self.images_per_group = Some(forecast.images_per_group);
        self.groups = Some(forecast.groups);
        self.bootstraps = Some(forecast.bootstraps);
        self.predicted_seconds_infer = Some(forecast.predicted_seconds_infer);
        self.predicted_peak_bytes = Some(forecast.predicted_peak_bytes);
        self.predicted_max_logit_error = forecast.errors.map(|errors| errors.total);
    }

    fn measured(&mut self, report: &InferReport) {
        self.seconds_infer = Some(report.seconds_infer);
        self.seconds_per_image = Some(report.seconds_per_image);
        self.peak_rss_bytes = report.peak_rss_bytes;
        self.pool_high_water_bytes = Some(report.pool_high_water_bytes);
        self.agreement = Some(report.agreement);
        self.max_logit_error = Some(report.max_logit_error);
        self.logit_std = Some(report.logit_std);
        self.accuracy_encrypted = report.accuracy_encrypted;
        self.accuracy_plain = report.accuracy_plain;
    }

    /// The estimate of the seconds for one image.
    pub fn predicted_seconds_per_image(&self) -> Option<f64> {
        let seconds = self.predicted_seconds_infer?;
        Some(seconds / self.batch as f64)
    }
}

impl Table {
    /// A sweep without rows.
    pub fn new(settings: Settings) -> Self {
        let rows = Vec::new();
        Self { settings, rows }
    }

    /// The rows of a file that are there already, those that failed left out, to go on with; none if there is no file.
    ///
    /// # Errors
    /// [`TextFileError`] for a file that is no sweep or another one.
    pub fn resume(settings: Settings, path: &Path) -> Result<Self, TextFileError> {
        if path.symlink_metadata().is_err() {
            return Ok(Self::new(settings));
        }
        let what = "sweep";
        let mut table: Self = text_file::read_json(what, path)?;
        if let Some(reason) = settings.difference(&table.settings) {
            return Err(text_file::content(what, path, reason));
        }
        table.rows.retain(|row| row.error.is_none());
        table.rows.sort_by_key(|row| row.batch);
        Ok(table)
    }
}

impl Settings {
    /// The first difference of the settings of a file, in words.
    fn difference(&self, found: &Self) -> Option<String> {
        let none = || "none".to_owned();
        let text = |value: &Option<String>| value.clone().unwrap_or_else(none);
        let bytes = |value: Option<u64>| value.map_or_else(none, |bytes| bytes.to_string());
        let fields = |s: &Self| {
            [
                ("model", s.model.clone()),
                ("model_checksum", s.model_checksum.clone()),
                ("data", text(&s.data)),
                ("threads", s.threads.to_string()),
                ("memory_bytes", bytes(s.memory_bytes)),
                ("kernel", s.kernel.clone()),
                ("max_logit_error", s.max_logit_error.to_string()),
                ("processor", s.processor.clone()),
                ("revision", s.revision.clone()),
            ]
        };
        let mut pairs = fields(found).into_iter().zip(fields(self));
        let ((what, found), (_, expected)) = pairs.find(|(found, expected)| found != expected)?;
        Some(format!(
            "{what} is {found}, expected {expected} to go on (another file begins anew)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::time::Speed;

    #[test]
    fn a_sweep_goes_on_with_the_rows_of_its_file() {
        let model = Model::bundled("tiny").unwrap();
        let lowered = model.lower().unwrap();
        let sweep = Sweep {
            model: &model,
            lowered: &lowered,
            data: None,
            machine: Machine {
                threads: 2,
                memory_bytes: 1 << 30,
                beside_bytes: 0,
                together: None,
                speed: Speed::built_in("scalar"),
            },
            memory_is_asked_for: true,
            kernel: KernelChoice::Auto,
            max_logit_error: 0.02,
            seed: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sweep.json");
        let batches = [200, 1, 1 << 50].map(|b| NonZeroUsize::new(b).unwrap());
        let mut table = Table::resume(sweep.settings(), &path).unwrap();
        let mut kept = Vec::new();
        // Stopped after two batches.
        let stopped = sweep.run(&batches, &mut table, &Silent, |table, row| {
            std::fs::write(&path, serde_json::to_string(table).unwrap()).unwrap();
            kept.push(row.batch);
            if kept.len() == 2 { Err(()) } else { Ok(()) }
        });
        assert_eq!((stopped, &*kept), (Err(()), &[200, 1][..]));

        let mut table = Table::resume(sweep.settings(), &path).unwrap();
        let sizes = |table: &Table| table.rows.iter().map(|r| r.batch).collect::<Vec<_>>();
        assert_eq!(sizes(&table), [1, 200]);
        let mut again = 0;
        let done = sweep.run(&batches, &mut table, &Silent, |_, row| {
            assert_eq!(row.batch, 1 << 50);
            again += 1;
            Ok::<(), ()>(())
        });
        assert_eq!((done, again), (Ok(()), 1));
        assert!(table.rows[2].error.as_ref().unwrap().contains("memory"));
        let few = &table.rows[0];
        assert!(few.predicted_seconds_infer.unwrap() > 0.0 && few.seconds_infer.is_none());

        // What failed is tried again.
        std::fs::write(&path, serde_json::to_string(&table).unwrap()).unwrap();
        assert_eq!(
            sizes(&Table::resume(sweep.settings(), &path).unwrap()),
            [1, 200]
        );
        let other = Settings {
            threads: 3,
            ..sweep.settings()
        };
        let words = Table::resume(other, &path).unwrap_err().to_string();
        assert!(
            words.contains("threads is 2, expected 3 to go on"),
            "{words}"
        );

        let csv = table.to_csv().unwrap();
        assert_eq!(csv.lines().count(), 4);
        assert!(csv.starts_with("batch,log_n,packing,grid,"), "{csv}");
        let svg = table.to_svg();
        assert_eq!(svg.matches("<g ").count(), 3);
        assert!(svg.contains("predicted at most") && !svg.contains("NaN"));
    }
}
