//! What the client says when it is stopped: by Ctrl-C, or by mpirun because another rank has died.

use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::sync::{Mutex, PoisonError};

use pipeline::inference::Numbers;

/// What to say.
struct Words {
    left: Option<String>,
    way_on: Option<String>,
}

static WORDS: Mutex<Words> = Mutex::new(Words {
    left: None,
    way_on: None,
});

/// From now on a run that is stopped says what is left and how it goes on.
pub fn install() {
    // Without a handler the system's own stops the process, which is as good.
    drop(ctrlc::set_handler(|| {
        let words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
        let left = words.left.as_deref().unwrap_or_default();
        let way_on = words.way_on.as_deref().unwrap_or_default();
        // Nobody may be left to read it.
        let _ = writeln!(io::stderr(), "error: interrupted{left}{way_on}");
        process::exit(130);
    }));
}

/// The groups that are left to do.
pub fn left(groups: &[usize]) {
    let left = format!("; groups left: {}", Numbers(groups));
    WORDS.lock().unwrap_or_else(PoisonError::into_inner).left = Some(left);
}

/// The run can go on from this folder.
pub fn resumable(checkpoint: &Path) {
    let dir = checkpoint.display();
    let way_on = format!("; the same command goes on from the checkpoint in {dir}");
    WORDS.lock().unwrap_or_else(PoisonError::into_inner).way_on = Some(way_on);
}
