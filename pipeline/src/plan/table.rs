//! A plan as a table for people.

use std::fmt;

use super::Plan;
use crate::units::gb;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (d, forecast) = (&self.decisions, &self.forecast);
        let s = |count: usize| if count == 1 { "" } else { "s" };
        writeln!(
            f,
            "{}, {} image{}: {} packing, grid {}, {} group{} of up to {} images",
            d.model,
            d.batch,
            s(d.batch),
            d.packing,
            d.grid,
            forecast.groups,
            s(forecast.groups),
            forecast.images_per_group
        )?;
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
        writeln!(
            f,
            "\n{:<22}{:>14}{:>14}{:>10}{:>8}{:>11}{:>9}{:>9}",
            "stage", "maps out", "ciphertexts", "level", "blocks", "rotations", "GB", "seconds"
        )?;
        for stage in forecast.stages() {
            let blocks = match (stage.first.blocks, stage.last.blocks) {
                (a, b) if a == b => a.to_string(),
                (a, b) => format!("{a}, {b}"),
            };
            writeln!(
                f,
                "{:<22}{:>14}{:>14}{:>10}{:>8}{:>11}{:>9.2}{:>9.1}",
                stage.name,
                stage.last.shape.to_string(),
                format!(
                    "{} to {}",
                    stage.first.ciphertexts_in, stage.last.ciphertexts_out
                ),
                format!("{} to {}", stage.first.level_in, stage.last.level_out),
                blocks,
                stage.rotations,
                gb(stage.pool_bytes),
                stage.seconds
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
