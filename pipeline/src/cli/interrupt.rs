//! Ctrl-C and the signal to terminate: exit code 130, at once, or after tidying up where a command asks for that.

use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::visible::visible;

/// Whether a command wants to stop by itself.
static HELD: AtomicBool = AtomicBool::new(false);
/// Whether Ctrl-C was pressed while it did.
static ASKED: AtomicBool = AtomicBool::new(false);

/// How an interrupted command goes on.
static WAY_ON: Mutex<Option<String>> = Mutex::new(None);

/// From now on a command that is interrupted says how it goes on. Its files are whole at any moment.
pub fn resumable(checkpoint: &Path) {
    let dir = checkpoint.display();
    let way_on = format!("; the same command goes on from the checkpoint in {dir}");
    *WAY_ON.lock().unwrap_or_else(PoisonError::into_inner) = Some(way_on);
}

/// Catches Ctrl-C and, on Unix, SIGTERM from now on.
pub fn install() {
    let installed = ctrlc::set_handler(interrupted);
    // Without a handler the system's own stops the process, which is as good.
    drop(installed);
    #[cfg(unix)]
    on_termination();
}

/// The same for what `kill`, `timeout` and service managers send. Not for SIGHUP, which `nohup` has switched off.
#[cfg(unix)]
fn on_termination() {
    use signal_hook::consts::SIGTERM;
    use signal_hook::iterator::Signals;
    let Ok(mut signals) = Signals::new([SIGTERM]) else {
        return;
    };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            interrupted();
        }
    });
}

fn interrupted() {
    if HELD.load(Ordering::SeqCst) && !ASKED.swap(true, Ordering::SeqCst) {
        return;
    }
    let way_on = WAY_ON.lock().unwrap_or_else(PoisonError::into_inner);
    let way_on = way_on.as_deref().unwrap_or_default();
    // Nobody may be left to read it.
    let _ = writeln!(io::stderr(), "\nerror: interrupted{}", visible(way_on));
    process::exit(130);
}

/// While this lives, the first Ctrl-C is only noted. The second one ends the process.
#[cfg(feature = "download")]
pub struct Hold(());

/// Asks for the chance to tidy up.
#[cfg(feature = "download")]
pub fn hold() -> Hold {
    HELD.store(true, Ordering::SeqCst);
    Hold(())
}

#[cfg(feature = "download")]
impl Hold {
    /// Whether Ctrl-C was pressed.
    pub fn asked(&self) -> bool {
        ASKED.load(Ordering::SeqCst)
    }
}

#[cfg(feature = "download")]
impl Drop for Hold {
    fn drop(&mut self) {
        HELD.store(false, Ordering::SeqCst);
    }
}
