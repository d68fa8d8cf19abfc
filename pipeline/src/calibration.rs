//! Machines as files: how fast the primitives are, measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ckks_scheme::ParamError;
use ckks_scheme::counts::PrimitiveCosts;
use ckks_scheme::exec::KernelChoice;
use serde::{Deserialize, Serialize};

use crate::estimate::time::Speed;
use crate::progress::{Progress, Unit};
use crate::system;
use crate::text_file::{self, TextFileError};

/// Version of the file that is written and read.
const FORMAT: u32 = 1;
/// Base-2 logarithms of the ring degrees that plans have.
const RINGS: std::ops::RangeInclusive<u32> = 13..=17;
/// How often everything is measured, some time apart.
const PASSES: usize = 2;
/// Most threads of a machine.
const MOST_THREADS: usize = 1 << 16;

/// A machine that plans are made for: this one, or an imagined one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFile {
    /// Version of the format: 1.
    pub format: u32,
    /// Name of the processor.
    pub processor: String,
    /// Threads that a run may take.
    pub threads: usize,
    /// Memory that a run may take, in bytes.
    pub memory_bytes: u64,
    /// Seconds of the primitives.
    pub speed: Speed,
    /// Bytes per second that the network brings to this machine from another one, for forecasts of several machines; it is not
    /// measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_bytes_per_second: Option<f64>,
    /// How far the passes of the measurement were apart, by ring and threads: the median over the primitives, as a part of their
    /// costs. Empty where nothing was measured.
    pub spread: BTreeMap<u32, BTreeMap<usize, f64>>,
}

impl MachineFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TextFileError`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TextFileError> {
        let (what, path) = ("machine file", path.as_ref());
        let machine: Self = text_file::read_ron(what, path)?;
        match machine.fault() {
            None => Ok(machine),
            Some(reason) => Err(text_file::content(what, path, reason)),
        }
    }

    /// The text of a file.
    #[must_use]
    pub fn to_ron(&self) -> String {
        let pretty = ron::ser::PrettyConfig::new().depth_limit(5);
        let text = ron::ser::to_string_pretty(self, pretty);
        text.expect("a machine has nothing that RON cannot write") + "\n"
    }

    /// What cannot be.
    fn fault(&self) -> Option<String> {
        if self.format != FORMAT {
            return Some(format!("format is {}, expected {FORMAT}", self.format));
        }
        if !(1..=MOST_THREADS).contains(&self.threads) {
            let found = self.threads;
            return Some(format!("threads is {found}, expected 1 to {MOST_THREADS}"));
        }
        if self.memory_bytes == 0 {
            return Some("memory_bytes is 0, expected 1 or more".to_owned());
        }
        if let Some(found) = self.network_bytes_per_second
            && !(found.is_finite() && found > 0.0)
        {
            let expected = "a finite number above 0";
            return Some(format!(
                "network_bytes_per_second is {found}, expected {expected}"
            ));
        }
        for (log_n, by_threads) in &self.speed.rings {
            for (threads, costs) in by_threads {
                let wrong = |cost: &f64| !(cost.is_finite() && *cost >= 0.0);
                let named = PrimitiveCosts::NAMES.iter().zip(costs.to_array());
                let mut wrong = named.filter(|(_, cost)| wrong(cost));
                if let Some((name, cost)) = wrong.next() {
                    return Some(format!(
                        "seconds of {name} at N = 2^{log_n} on {threads} threads is {cost}, expected a finite number, 0 or more"
                    ));
                }
            }
        }
        None
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Base-2 logarithms of the ring degrees.
    pub rings: Vec<u32>,
    /// Threads of the machine: the primitives are measured with one at work, and with so many.
    pub threads: usize,
    /// Memory of the machine in bytes. A thread takes about 750 MB at N = 2^17, less at others: where there is too little for all
    /// threads, as many are measured as there is memory for.
    pub memory_bytes: u64,
    /// Time for each primitive.
    pub time: Duration,
}

impl Calibration {
    /// All rings that plans have: one to two minutes.
    pub fn new(threads: usize, memory_bytes: u64) -> Self {
        Self {
            rings: RINGS.collect(),
            threads,
            memory_bytes,
            time: Duration::from_millis(200),
        }
    }
}

/// Measures the primitives. Other work on the machine spoils the figures.
///
/// # Errors
/// [`ParamError`] for a kernel that this processor does not have, or when memory runs out.
pub fn calibrate(
    kernel: &KernelChoice,
    calibration: &Calibration,
    progress: &dyn Progress,
) -> Result<MachineFile, ParamError> {
    let Calibration {
        rings,
        threads,
        memory_bytes,
        time,
    } = calibration;
    let mut speed = Speed::built_in(kernel.name());
    let mut spread = BTreeMap::new();
    let at_work = |log_n: u32| {
        let affordable = usize::try_from(memory_bytes / thread_bytes(log_n)).unwrap_or(usize::MAX);
        let mut at_work = vec![1, affordable.clamp(1, *threads)];
        at_work.dedup();
        at_work
    };
    let measurements: usize = rings
        .iter()
        .map(|log_n| PASSES * at_work(*log_n).len())
        .sum();
    let total = Some(measurements as u64);
    progress.begin("calibration", total, Unit::Parts);
    let mut passes: BTreeMap<(u32, usize), Vec<PrimitiveCosts>> = BTreeMap::new();
    for _ in 0..PASSES {
        for log_n in rings {
            for threads in at_work(*log_n) {
                progress.stage(&format!("N = 2^{log_n}, threads: {threads}"));
                let costs = together(kernel, *log_n, threads, *time)?;
                passes.entry((*log_n, threads)).or_default().push(costs);
                progress.advance(1);
            }
        }
    }
    progress.finish();
    for ((log_n, threads), passes) in passes {
        let (costs, apart) = combined(&passes);
        speed.rings.entry(log_n).or_default().insert(threads, costs);
        let ring: &mut BTreeMap<usize, f64> = spread.entry(log_n).or_default();
        ring.insert(threads, apart);
    }
    Ok(MachineFile {
        format: FORMAT,
        processor: system::processor(),
        threads: *threads,
        memory_bytes: *memory_bytes,
        speed,
        network_bytes_per_second: None,
        spread,
    })
}

/// Bytes that a thread takes while it measures.
fn thread_bytes(log_n: u32) -> u64 {
    ((200 * 8) << log_n) + (512 << 20)
}

/// Costs of a thread while so many measure the same: their mean.
fn together(
    kernel: &KernelChoice,
    log_n: u32,
    threads: usize,
    time: Duration,
) -> Result<PrimitiveCosts, ParamError> {
    let costs = thread::scope(|scope| {
        let measure = || PrimitiveCosts::measure(kernel, log_n, time);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(measure)).collect();
        let joined = running.into_iter().map(|thread| match thread.join() {
            Ok(costs) => costs,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(mean(&costs))
}

fn mean(costs: &[PrimitiveCosts]) -> PrimitiveCosts {
    let mut sums = PrimitiveCosts::default().to_array();
    for each in costs {
        for (sum, cost) in sums.iter_mut().zip(each.to_array()) {
            *sum += cost / costs.len() as f64;
        }
    }
    PrimitiveCosts::from_array(sums)
}

/// The mean of the passes, and how far they are apart.
fn combined(passes: &[PrimitiveCosts]) -> (PrimitiveCosts, f64) {
    let mean = mean(passes);
    let mut apart: Vec<f64> = (0..PrimitiveCosts::NAMES.len())
        .map(|primitive| {
            let costs = passes.iter().map(|pass| pass.to_array()[primitive]);
            let (least, most) =
                costs.fold((f64::INFINITY, 0.0f64), |(a, b), c| (a.min(c), b.max(c)));
            match mean.to_array()[primitive] {
                0.0 => 0.0,
                cost => (most - least) / cost,
            }
        })
        .collect();
    apart.sort_unstable_by(f64::total_cmp);
    (mean, apart[apart.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn measured() -> MachineFile {
        let kernel = KernelChoice::Named("scalar");
        let calibration = Calibration {
            rings: vec![10],
            time: Duration::from_millis(5),
            ..Calibration::new(2, 4 << 30)
        };
        calibrate(&kernel, &calibration, &Silent).unwrap()
    }

    #[test]
    fn machines_come_back_from_their_files() {
        let machine = measured();
        let ring = &machine.speed.rings[&10];
        assert_eq!(ring.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert!(
            ring.values()
                .all(|costs| costs.forward > 0.0 && costs.residue > 0.0)
        );
        assert!(
            machine.spread[&10]
                .values()
                .all(|spread| (0.0..10.0).contains(spread))
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("machine.ron");
        std::fs::write(&path, machine.to_ron()).unwrap();
        assert_eq!(MachineFile::read(&path).unwrap(), machine);
        assert!(!machine.to_ron().contains("network"));
        let machine = MachineFile {
            network_bytes_per_second: Some(1.25e9),
            ..machine
        };
        std::fs::write(&path, machine.to_ron()).unwrap();
        assert_eq!(MachineFile::read(&path).unwrap(), machine);
    }

    #[test]
    fn machines_that_cannot_be_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("machine.ron");
        let good = MachineFile {
            format: FORMAT,
            processor: String::new(),
            threads: 1,
            memory_bytes: 1,
            speed: Speed::built_in("scalar"),
            network_bytes_per_second: None,
            spread: BTreeMap::new(),
        };
        let refused = |change: &dyn Fn(&mut MachineFile), says: &str| {
            let mut machine = good.clone();
            change(&mut machine);
            std::fs::write(&path, machine.to_ron()).unwrap();
            let error = MachineFile::read(&path).unwrap_err().to_string();
            assert!(
                error.starts_with("machine file ") && error.contains(says),
                "{error}"
            );
        };
        refused(&|m| m.format = 2, "format is 2, expected 1");
        refused(&|m| m.threads = 0, "threads is 0, expected 1 to 65536");
        refused(&|m| m.memory_bytes = 0, "memory_bytes is 0");
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let says = format!("network_bytes_per_second is {speed}");
            refused(&|m| m.network_bytes_per_second = Some(speed), &says);
        }
        let costs = |forward| PrimitiveCosts {
            forward,
            ..PrimitiveCosts::default()
        };
        for cost in [f64::NAN, -1.0, f64::INFINITY] {
            let ring = BTreeMap::from([(3, costs(cost))]);
            let says = format!("forward butterflies at N = 2^16 on 3 threads is {cost}");
            refused(&|m| drop(m.speed.rings.insert(16, ring.clone())), &says);
        }
        std::fs::write(&path, "(format: 1").unwrap();
        assert!(MachineFile::read(&path).is_err());
    }
}
