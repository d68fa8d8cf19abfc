//! What the operating system says about memory and processor, and what was built. `None` where it says nothing, that is,
//! elsewhere than on Linux.

use std::fs;

/// Share of the free memory that a run may take, unless the user says how much.
const MEMORY_SHARE: f64 = 0.8;
/// Memory to plan for on systems that do not tell how much is free.
const UNKNOWN_MEMORY: u64 = 8 << 30;
/// Clock ticks per second in what Linux says of a process.
const TICKS: f64 = 100.0;

/// High-water mark of the resident memory of this process, in bytes (`VmHWM`).
#[must_use]
pub fn peak_rss_bytes() -> Option<u64> {
    field("/proc/self/status", "VmHWM")
}

/// Lets the high-water mark of the resident memory begin anew at what is resident now; whether the system can do that.
pub fn reset_peak_rss() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Memory that programs can still have without swapping, in bytes (`MemAvailable`).
#[must_use]
pub fn available_memory_bytes() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable")
}

/// Memory that a run may take where nobody says how much, in bytes: 80 % of what is free, 8 GiB where that is not known.
#[must_use]
pub fn memory_for_a_run() -> u64 {
    let free = available_memory_bytes();
    free.map_or(UNKNOWN_MEMORY, |free| (free as f64 * MEMORY_SHARE) as u64)
}

/// Time on processors of all threads of this process since it began, in seconds.
#[must_use]
pub fn seconds_processor() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

/// Name of the processor; the architecture where the system does not tell more.
#[must_use]
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim())
        .to_owned()
}

/// Commit of the sources that this was built from, with `-dirty` if they were changed when it was first built; `unknown`
/// outside a repository.
#[must_use]
pub fn revision() -> &'static str {
    option_env!("POLYPHASE_REVISION").unwrap_or("unknown")
}

/// The value of a line `name:  123 kB`, in bytes.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value
        .trim()
        .strip_suffix("kB")?
        .trim_end()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_grows_with_what_is_touched() {
        let before = peak_rss_bytes().unwrap();
        let block = vec![1_u8; 64 << 20];
        assert!(block.contains(&1));
        assert!(peak_rss_bytes().unwrap() >= before.max(64 << 20));
        assert!(available_memory_bytes().unwrap() > 0);
        let high = peak_rss_bytes().unwrap();
        drop(block);
        if reset_peak_rss() {
            assert!(peak_rss_bytes().unwrap() <= high - (32 << 20));
        }
    }

    #[test]
    fn time_on_processors_grows_while_something_is_computed() {
        let before = seconds_processor().unwrap();
        let mut sum = 0u64;
        while seconds_processor().unwrap() < before + 0.05 {
            sum = std::hint::black_box(sum + 1);
        }
        let after = seconds_processor().unwrap();
        // Other tests run in this process at the same time.
        assert!(after < before + 60.0, "{before} to {after}, {sum}");
    }

    #[test]
    fn processor_and_revision_are_one_line_of_words() {
        for text in [&*processor(), revision()] {
            assert!(!text.is_empty() && text.trim() == text && text.lines().count() == 1);
        }
    }

    #[test]
    fn missing_fields_are_none() {
        assert_eq!(field("/proc/self/status", "VmNothing"), None);
        assert_eq!(field("/proc/no/such/file", "VmHWM"), None);
    }
}
