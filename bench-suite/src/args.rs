//! Arguments that the benches with a main function of their own share.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
pub use pipeline::arguments::KernelName;
use serde::Serialize;

use crate::machine;
use crate::measure::Effort;

/// What every bench takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Writes one JSON record for each line of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Small rings and few repeats: to see that it runs, not for numbers.
    #[arg(long)]
    quick: bool,
    /// Kernel of the arithmetic.
    #[arg(long, value_enum, default_value_t, env = "POLYPHASE_KERNEL")]
    pub kernel: KernelName,
    /// Threads (default: all cores).
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
    /// What `cargo bench -- --test` passes: as `--quick`.
    #[arg(long, hide = true)]
    test: bool,
}

impl Common {
    /// Whether only to see that it runs.
    pub fn is_quick(&self) -> bool {
        self.quick || self.test
    }

    /// How long to measure one thing.
    pub fn effort(&self) -> Effort {
        if self.is_quick() {
            Effort::QUICK
        } else {
            Effort::FULL
        }
    }

    /// Threads.
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(machine::cores, NonZeroUsize::get)
    }

    /// Writes records where the user wants them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_json(&self, records: &impl Serialize) -> io::Result<()> {
        self.json.as_deref().map_or(Ok(()), |path| {
            let mut text = serde_json::to_string_pretty(records)?;
            text.push('\n');
            write_file(path, &text)
        })
    }
}

/// Writes a file. A relative path counts from the workspace's root, where people call cargo, and not from the package,
/// where cargo runs benches.
///
/// # Errors
/// If the file cannot be written; the message names it.
pub fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let path = workspace_root().join(path);
    fs::write(&path, text)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn workspace_root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        common: Common,
    }

    #[test]
    fn what_cargo_passes_is_understood() {
        let parse = |args: &[&str]| Cli::try_parse_from(["bench"].iter().chain(args)).unwrap();
        assert!(!parse(&["--bench"]).common.is_quick());
        let cli = parse(&["--test", "--threads", "3", "--kernel", "scalar"]);
        assert!(cli.common.is_quick());
        assert_eq!(cli.common.threads(), 3);
        assert_eq!(cli.common.kernel, KernelName::Scalar);
    }

    #[test]
    fn json_goes_to_the_file_and_errors_name_it() {
        let path = std::env::temp_dir().join(format!("bench-suite-{}.json", std::process::id()));
        let path_text = path.to_str().unwrap();
        let cli = Cli::try_parse_from(["bench", "--json", path_text]).unwrap();
        cli.common.write_json(&[1, 2]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[\n  1,\n  2\n]\n");
        fs::remove_file(&path).unwrap();
        let error = write_file(&path.join("no"), "").unwrap_err();
        assert!(error.to_string().contains(path_text), "{error}");
    }
}
