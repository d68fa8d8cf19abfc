//! The report: that of `polyphase infer`, and what became of the ranks.

use std::fmt;

use pipeline::he_layers::Rotating;
use pipeline::plan::Forecast;
use pipeline::report::InferReport;
use pipeline::system;
use serde::Serialize;

use crate::words::{Exchanged, Facts, Split};

/// What a run on many ranks gave. `seconds_infer` is the wall time from the first group that is dealt to the last whose logits
/// are back; `seconds_encrypt` is a part of it. `seconds_warmup` is with the ranks.
#[derive(Debug, Serialize)]
pub struct MpiReport {
    /// The report of `polyphase infer`, of rank 0: its memory, its threads. `predicted_seconds_infer` is that of `split`.
    #[serde(flatten)]
    pub infer: InferReport,
    /// How the batch was shared out.
    pub split: Split,
    /// Where rotations of inputs were made, if the servers shared the channels.
    pub rotating: Option<Rotating>,
    /// Time until all servers had keys and memory.
    pub seconds_keys: f64,
    /// All ranks, the client first.
    pub ranks: Vec<RankReport>,
}

/// One rank.
#[derive(Debug, Serialize)]
pub struct RankReport {
    /// Its number; 0 is the client.
    pub rank: usize,
    /// Name of its machine.
    pub host: String,
    /// Threads that compute.
    pub threads: usize,
    /// Upper bound of its resident memory in bytes.
    pub memory_bytes: u64,
    /// Groups that it computed, or had a part in.
    pub groups: usize,
    /// Wall time in which it computed groups.
    pub seconds_busy: f64,
    /// Time on processors, of all threads, for these groups: images read, logits written and what was exchanged included;
    /// nothing for the client, or where the system does not tell.
    pub seconds_processor_busy: Option<f64>,
    /// What it exchanged with other servers for these groups.
    pub exchanged: Exchanged,
    /// Time to get the keys.
    pub seconds_keys: f64,
    /// Time to touch the pool's pages.
    pub seconds_warmup: f64,
    /// Time on processors, of all threads, from the start of the process; nothing where the system does not tell.
    pub seconds_processor: Option<f64>,
    /// High-water mark of its resident memory in bytes; nothing where the system does not tell.
    pub peak_rss_bytes: Option<u64>,
}

impl RankReport {
    /// A rank that has not done anything yet.
    pub fn new(rank: usize, facts: &Facts) -> Self {
        Self {
            rank,
            host: facts.host.clone(),
            threads: facts.threads,
            memory_bytes: facts.memory_bytes,
            groups: 0,
            seconds_busy: 0.0,
            seconds_processor_busy: None,
            exchanged: Exchanged::NOTHING,
            seconds_keys: 0.0,
            seconds_warmup: 0.0,
            seconds_processor: None,
            peak_rss_bytes: None,
        }
    }
}

/// What a dealer saw.
#[derive(Debug)]
pub struct Dealt {
    /// All ranks, the client first.
    pub ranks: Vec<RankReport>,
    /// Time until all servers had keys and memory.
    pub seconds_keys: f64,
}

impl MpiReport {
    /// Puts it together, in the client's process.
    pub fn new(
        mut infer: InferReport,
        forecast: &Forecast,
        (split, rotating): (Split, Rotating),
        dealt: Dealt,
    ) -> Self {
        let Dealt {
            mut ranks,
            seconds_keys,
        } = dealt;
        let servers = ranks.len() - 1;
        if split == Split::Groups {
            infer.predicted_seconds_infer = predicted_seconds(forecast, servers);
        }
        ranks[0].seconds_processor = system::seconds_processor();
        ranks[0].peak_rss_bytes = system::peak_rss_bytes();
        Self {
            infer,
            split,
            rotating: (split == Split::Channels).then_some(rotating),
            seconds_keys,
            ranks,
        }
    }
}

/// Estimate of the seconds in which a server computes a full group.
pub fn seconds_of_group(forecast: &Forecast) -> f64 {
    forecast.steps.iter().map(|step| step.seconds).sum()
}

/// Estimate of the seconds in which `servers` compute all groups, without the network. A last group of a layout of its own is
/// dealt last.
pub fn predicted_seconds(forecast: &Forecast, servers: usize) -> f64 {
    let last = forecast.last.as_ref();
    let last = last.map(|last| last.steps.iter().map(|step| step.seconds).sum::<f64>());
    let full = forecast.groups - usize::from(last.is_some());
    let rounds = full.div_ceil(servers) as f64 * seconds_of_group(forecast);
    match last {
        // No server is free before all full groups are done.
        Some(last) if full.is_multiple_of(servers) => rounds + last,
        Some(last) => rounds.max((full / servers) as f64 * seconds_of_group(forecast) + last),
        None => rounds,
    }
}

impl fmt::Display for MpiReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.infer)?;
        writeln!(f)?;
        writeln!(
            f,
            "{:<6}{:<24}{:>8}{:>8}{:>12}{:>12}{:>12}{:>14}{:>14}{:>10}",
            "rank",
            "host",
            "threads",
            "groups",
            "busy s",
            "keys s",
            "memory s",
            "busy core s",
            "exchanged GB",
            "peak GB"
        )?;
        for rank in &self.ranks {
            let seconds = rank
                .seconds_processor_busy
                .map_or("-".to_owned(), |s| format!("{s:.2}"));
            let peak = rank
                .peak_rss_bytes
                .map_or("-".to_owned(), |b| format!("{:.2}", b as f64 / 1e9));
            writeln!(
                f,
                "{:<6}{:<24}{:>8}{:>8}{:>12.2}{:>12.2}{:>12.2}{:>14}{:>14.3}{:>10}",
                rank.rank,
                rank.host,
                rank.threads,
                rank.groups,
                rank.seconds_busy,
                rank.seconds_keys,
                rank.seconds_warmup,
                seconds,
                (rank.exchanged.bytes_given + rank.exchanged.bytes_received) as f64 / 1e9,
                peak
            )?;
        }
        write!(
            f,
            "keys out and memory ready after {:.2} s",
            self.seconds_keys
        )
    }
}

#[cfg(test)]
mod tests {
    use pipeline::ckks_scheme::Level;
    use pipeline::he_layers::Chw;
    use pipeline::plan::{LastForecast, StepForecast};

    use super::*;

    fn step(seconds: f64) -> StepForecast {
        StepForecast {
            stage: "stem".to_owned(),
            shape: Chw::new(1, 1, 1),
            ciphertexts_in: 1,
            ciphertexts_out: 1,
            level_in: Level::new(2),
            level_out: Level::new(1),
            blocks: 1,
            fewer_threads: None,
            rotations: 0,
            pool_bytes: 0,
            seconds,
        }
    }

    #[test]
    fn servers_take_full_groups_in_rounds_and_the_last_one_then() {
        let of = |groups, last: Option<f64>| Forecast {
            images_per_group: 4,
            groups,
            steps: vec![step(3.0), step(1.0)],
            last: last.map(|seconds| LastForecast {
                images: 1,
                steps: vec![step(seconds)],
            }),
            bootstraps: 0,
            keys: 0,
            key_bytes: 0,
            matrix_bytes: 0,
            pool_bytes: 0,
            predicted_peak_bytes: 0,
            predicted_seconds_infer: 0.0,
            errors: None,
        };
        let seconds = |groups, last, servers| predicted_seconds(&of(groups, last), servers);
        assert_eq!(seconds(5, None, 1), 20.0);
        assert_eq!(seconds(5, None, 2), 12.0);
        assert_eq!(seconds(5, None, 64), 4.0);
        // One server: four full groups, then the last.
        assert_eq!(seconds(5, Some(1.5), 1), 17.5);
        // Both are busy with full groups until the end.
        assert_eq!(seconds(5, Some(1.5), 2), 9.5);
        // One of three is free while another computes a full group.
        assert_eq!(seconds(5, Some(1.5), 3), 8.0);
        assert_eq!(seconds(5, Some(5.0), 3), 9.0);
    }
}
