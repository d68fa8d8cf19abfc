//! Ctrl-C: exit code 130, at once, or after tidying up where a command asks for that.

use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a command wants to stop by itself.
static HELD: AtomicBool = AtomicBool::new(false);
/// Whether Ctrl-C was pressed while it did.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Catches Ctrl-C from now on.
pub fn install() {
    let installed = ctrlc::set_handler(|| {
        if HELD.load(Ordering::SeqCst) && !ASKED.swap(true, Ordering::SeqCst) {
            return;
        }
        // Nobody may be left to read it.
        let _ = writeln!(io::stderr(), "\nerror: interrupted");
        process::exit(130);
    });
    // Without a handler the system's own stops the process, which is as good.
    drop(installed);
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
