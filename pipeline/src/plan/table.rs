//! A plan as a table for people.

use std::fmt;

use super::{FewerThreads, Plan, StageForecast, StepForecast};
use crate::units::gb;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (d, forecast) = (&self.decisions, &self.forecast);
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let last = d.last.as_ref().zip(forecast.last.as_ref());
        let groups = forecast.groups - usize::from(last.is_some());
        writeln!(
            f,
            "{}, {} image{}: {} packing, grid {}, {} group{} of up to {} images",
            d.model,
            d.batch,
            s(d.batch),
            d.packing,
            d.grid,
            groups,
            s(groups),
            forecast.images_per_group
        )?;
        if let Some((last, found)) = last {
            let (images, packing, grid) = (found.images, last.packing, last.grid);
            writeln!(
                f,
                "a last group of {images} image{}: {packing} packing, grid {grid}",
                s(images)
            )?;
        }
        let p = &d.params;
        let (least, most) = (p.q_bits.iter().min(), p.q_bits.iter().max());
        let bits = match (least, most) {
            (Some(least), Some(most)) if least != most => format!("{least} to {most}"),
            (_, most) => most.unwrap_or(&0).to_string(),
        };
        writeln!(
            f,
            "N = 2^{}, {} primes of {bits} bits and {} special ones, {} digits, scale 2^{}",
            p.log_n,
            p.q_bits.len(),
            p.p_bits.len(),
            p.digits,
            d.log_scale
        )?;
        if !d.refreshes.is_empty() {
            writeln!(
                f,
                "refreshed: {} ({} ciphertexts in all)",
                d.refreshes.join(", "),
                forecast.bootstraps
            )?;
        }
        let of_last = last.map_or(&[][..], |(_, last)| &last.steps);
        let steps = || forecast.steps.iter().chain(of_last);
        let fewer = || steps().filter_map(|step| step.fewer_threads);
        let threads = fewer().next().map(|_| d.threads);
        write_stages(f, "stage", &forecast.stages(), threads)?;
        if let Some((_, last)) = last {
            write_stages(f, "stage, last group", &last.stages(), threads)?;
        }
        if fewer().any(|fewer| matches!(fewer, FewerThreads::ThatFit(_))) {
            writeln!(
                f,
                "\n*: the memory has room for the temporaries of so many threads; more would be faster"
            )?;
        }
        if fewer().any(|fewer| matches!(fewer, FewerThreads::ThatHelp(_))) {
            writeln!(
                f,
                "\n-: no more threads than these have something to do, and each would take memory"
            )?;
        }
        writeln!(
            f,
            "\n{} switching keys, {:.2} GB; limb pool at most {:.2} GB, process at most {:.2} GB",
            forecast.keys,
            gb(forecast.key_bytes),
            gb(forecast.pool_bytes),
            gb(forecast.predicted_peak_bytes)
        )?;
        write!(
            f,
            "about {:.1} s on {} thread{}, {:.3} s per image; largest logit error: ",
            forecast.predicted_seconds_infer,
            d.threads,
            s(d.threads),
            forecast.predicted_seconds_infer / d.batch as f64
        )?;
        match &forecast.errors {
            None => write!(f, "not predicted"),
            Some(e) => {
                let (total, noise) = (e.total / e.logit_std, e.noise / e.logit_std);
                write!(
                    f,
                    "about {total:.4} of the logits' deviation, {noise:.4} of it noise"
                )?;
                match e.approximation > 0.0 {
                    true => write!(
                        f,
                        ", {:.4} approximated activations",
                        e.approximation / e.logit_std
                    ),
                    false => Ok(()),
                }
            }
        }
    }
}

/// The lines of stages; with the threads of each if `threads`, those of the machine, are given.
fn write_stages(
    f: &mut fmt::Formatter<'_>,
    label: &str,
    stages: &[StageForecast],
    threads: Option<usize>,
) -> fmt::Result {
    write!(
        f,
        "\n{:<22}{:>14}{:>14}{:>10}{:>8}",
        label, "maps out", "ciphertexts", "level", "blocks"
    )?;
    if threads.is_some() {
        write!(f, "{:>9}", "threads")?;
    }
    writeln!(f, "{:>11}{:>9}{:>9}", "rotations", "GB", "seconds")?;
    for stage in stages {
        let (first, last) = (&stage.first, &stage.last);
        let both = |a: String, b: String| if a == b { a } else { format!("{a}, {b}") };
        write!(
            f,
            "{:<22}{:>14}{:>14}{:>10}{:>8}",
            stage.name,
            last.shape.to_string(),
            format!("{} to {}", first.ciphertexts_in, last.ciphertexts_out),
            format!("{} to {}", first.level_in, last.level_out),
            both(first.blocks.to_string(), last.blocks.to_string())
        )?;
        if let Some(all) = threads {
            let of = |step: &StepForecast| {
                let why = match step.fewer_threads {
                    None => "",
                    Some(FewerThreads::ThatFit(_)) => "*",
                    Some(FewerThreads::ThatHelp(_)) => "-",
                };
                format!("{}{why}", step.threads(all))
            };
            write!(f, "{:>9}", both(of(first), of(last)))?;
        }
        writeln!(
            f,
            "{:>11}{:>9.2}{:>9.1}",
            stage.rotations,
            gb(stage.pool_bytes),
            stage.seconds
        )?;
    }
    Ok(())
}
