//! The report of `polyphase precision`: a table for people, JSON for programs.

use std::fmt;

use ckks_scheme::bootstrap::{PrecisionReport, Stage};
use pipeline::units::gb;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The logarithm of the least positive number in double precision: a bound on a probability of zero that JSON can hold.
const NEVER_LOG2: f64 = -1074.0;

/// What was measured. Bits are -log2 of the absolute error of a real component; seconds are wall time; bytes as resident.
#[derive(Debug, Serialize)]
pub struct PrecisionRecord {
    /// Name of the parameters.
    pub preset: &'static str,
    pub log_n: u32,
    pub log_qp: f64,
    pub security_bits: u32,
    pub slots: usize,
    /// What was applied to every value.
    pub function: String,
    /// How far the series that stands for it is from it at most; errors are those against the series.
    pub function_error: f64,
    pub ciphertexts: usize,
    /// -log2 of the mean error.
    pub mean_bits: f64,
    pub median_bits: f64,
    /// -log2 of the largest error.
    pub min_bits: f64,
    /// Of the noise tracker's bound.
    pub predicted_min_bits: f64,
    /// Values whose error is beyond that bound.
    pub range_violations: usize,
    pub residual_bits: f64,
    pub residual_levels: usize,
    /// At most; [`NEVER_LOG2`] if it cannot fail.
    pub failure_log2: f64,
    /// A ciphertext, warmed up, all threads busy.
    pub seconds: f64,
    pub microseconds_per_slot: f64,
    /// For one part of a slot and one bit of its mean precision.
    pub microseconds_per_output_bit: f64,
    /// A ciphertext on its thread.
    #[serde(serialize_with = "by_stage")]
    pub seconds_by_stage: Vec<(Stage, f64)>,
    pub seconds_keygen: f64,
    pub keys: usize,
    pub key_bytes: u64,
    /// Limb memory of the encoded matrices, in bytes.
    pub transform_bytes: u64,
    /// Limb memory that one refresh takes at most, in bytes, its result included.
    pub working_bytes: u64,
    pub pool_high_water_bytes: u64,
    /// `None` where the system does not tell.
    pub peak_rss_bytes: Option<u64>,
    pub threads: usize,
    pub kernel: String,
    pub seeded: bool,
    /// With `--profile`, a ciphertext's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Vec<OperationRecord>>,
    /// Values compared.
    #[serde(skip)]
    components: usize,
}

/// An operation in one refresh.
#[derive(Debug, Serialize)]
pub struct OperationRecord {
    pub operation: String,
    pub count: f64,
    pub seconds: f64,
}

impl PrecisionRecord {
    pub fn new(preset: &'static str, report: PrecisionReport, profile: bool) -> Self {
        let operation = |(operation, count, seconds)| OperationRecord {
            operation,
            count,
            seconds,
        };
        let values = report.overall.components as f64 / report.ciphertexts as f64;
        let microseconds = 1e6 * report.seconds;
        Self {
            preset,
            log_n: report.log_n,
            log_qp: report.log_qp,
            security_bits: report.security_bits,
            slots: report.slots,
            function: report.function,
            function_error: report.function_error,
            ciphertexts: report.ciphertexts,
            mean_bits: report.overall.mean_bits,
            median_bits: report.overall.median_bits,
            min_bits: report.overall.min_bits,
            predicted_min_bits: -report.predicted_error_bound.log2(),
            range_violations: report.range_violations,
            residual_bits: report.residual_bits,
            residual_levels: report.residual_levels,
            failure_log2: report.failure_log2.unwrap_or(NEVER_LOG2),
            seconds: report.seconds,
            microseconds_per_slot: microseconds / report.slots as f64,
            microseconds_per_output_bit: microseconds / (values * report.overall.mean_bits),
            seconds_by_stage: report.seconds_by_stage,
            seconds_keygen: report.seconds_keygen,
            keys: report.keys,
            key_bytes: report.key_bytes,
            transform_bytes: report.transform_bytes,
            working_bytes: report.working_bytes,
            pool_high_water_bytes: report.pool_high_water_bytes,
            peak_rss_bytes: None,
            threads: report.threads,
            kernel: report.kernel,
            seeded: false,
            profile: profile.then(|| report.operations.into_iter().map(operation).collect()),
            components: report.overall.components,
        }
    }

    /// What to tell if errors were larger than they can be.
    pub fn range_warning(&self) -> Option<String> {
        (self.range_violations > 0).then(|| {
            format!(
                "warning: {} of {} values are further off than predicted: their coefficients left the range of the modular reduction",
                self.range_violations, self.components
            )
        })
    }

    /// Microseconds for one real value, and for one level of it.
    fn microseconds(&self) -> (f64, f64) {
        let values = self.components as f64 / self.ciphertexts as f64;
        let each = 1e6 * self.seconds / values;
        (each, each / self.residual_levels as f64)
    }
}

fn by_stage<S: Serializer>(stages: &[(Stage, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(stages.len()))?;
    for (stage, seconds) in stages {
        map.serialize_entry(stage.name(), seconds)?;
    }
    map.end()
}

impl fmt::Display for PrecisionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let security = match self.security_bits {
            0 => "without security".to_owned(),
            bits => format!("{bits}-bit security"),
        };
        writeln!(
            f,
            "{}: N = 2^{}, log QP {:.1}, {security}, {} slots",
            self.preset, self.log_n, self.log_qp, self.slots
        )?;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        writeln!(
            f,
            "{} ciphertext{} on {} thread{}, kernel {}{}",
            self.ciphertexts,
            plural(self.ciphertexts),
            self.threads,
            plural(self.threads),
            self.kernel,
            if self.seeded {
                "; reproducible, not secure"
            } else {
                ""
            }
        )?;
        if self.function != "identity" {
            writeln!(
                f,
                "function       {}, by a series that is {:.5} off at most",
                self.function, self.function_error
            )?;
        }
        writeln!(
            f,
            "\nprecision      {:.2} bits mean, {:.2} median, {:.2} worst (predicted {:.2} or more)",
            self.mean_bits, self.median_bits, self.min_bits, self.predicted_min_bits
        )?;
        writeln!(
            f,
            "for the user   {:.1} bits in {} level{}",
            self.residual_bits,
            self.residual_levels,
            plural(self.residual_levels)
        )?;
        if self.failure_log2 > NEVER_LOG2 {
            writeln!(f, "failure        probability 2^{:.1}", self.failure_log2)?;
        } else {
            writeln!(f, "failure        cannot happen")?;
        }
        let (value, level) = self.microseconds();
        writeln!(
            f,
            "time           {:.3} s a ciphertext, {:.2} us per slot, {value:.2} us per real value, {level:.3} us per value and level, {:.3} us per output bit",
            self.seconds, self.microseconds_per_slot, self.microseconds_per_output_bit
        )?;
        let all: f64 = self.seconds_by_stage.iter().map(|(_, s)| s).sum();
        writeln!(f, "\n{:<18}{:>10}{:>8}", "stage", "seconds", "share")?;
        for (stage, seconds) in &self.seconds_by_stage {
            let share = if all > 0.0 {
                100.0 * seconds / all
            } else {
                0.0
            };
            writeln!(f, "{:<18}{seconds:>10.3}{share:>6.1} %", stage.name())?;
        }
        if let Some(profile) = &self.profile {
            writeln!(f, "\n{:<18}{:>10}{:>10}", "operation", "count", "seconds")?;
            for row in profile {
                writeln!(
                    f,
                    "{:<18}{:>10.1}{:>10.3}",
                    row.operation, row.count, row.seconds
                )?;
            }
        }
        write!(
            f,
            "\n{} keys {:.2} GB in {:.1} s, matrices {:.2} GB, {:.2} GB for each refresh; peak memory {}",
            self.keys,
            gb(self.key_bytes),
            self.seconds_keygen,
            gb(self.transform_bytes),
            gb(self.working_bytes),
            self.peak_rss_bytes
                .map_or("unknown".to_owned(), |bytes| format!("{:.2} GB", gb(bytes)))
        )?;
        match self.range_warning() {
            Some(warning) => write!(f, "\n{warning}"),
            None => Ok(()),
        }
    }
}
