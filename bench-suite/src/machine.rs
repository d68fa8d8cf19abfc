//! Where a measurement was taken.

use std::num::NonZeroUsize;
use std::process::Command;

use serde::Serialize;

/// Processor and source revision, for every record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Name of the processor, as the system tells it.
    pub cpu: String,
    /// Threads that the system offers.
    pub cores: usize,
    /// Commit of the sources, with `-dirty` if they were changed since; `None` outside a repository.
    pub revision: Option<String>,
}

impl Machine {
    /// This machine and these sources.
    pub fn detect() -> Self {
        Self {
            cpu: pipeline::system::processor(),
            cores: cores(),
            revision: revision(),
        }
    }
}

/// Threads that the system offers.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn revision() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() {
        commit
    } else {
        commit + "-dirty"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_has_a_name_and_threads() {
        let machine = Machine::detect();
        assert!(!machine.cpu.is_empty());
        assert!(machine.cores >= 1);
    }
}
