//! A panic is a bug; the user gets a sentence and exit code 1 all the same.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, PoisonError};

/// What the first panic said, from whichever thread.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Runs `work`; a panic in it, or in a thread that it waits for, becomes a sentence.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    panic::set_hook(Box::new(|info| {
        let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| describe(info));
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| "unknown panic".to_owned())
    })
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().map(ToString::to_string);
    let message = message
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    match info.location() {
        Some(place) => format!("{message} ({}:{})", place.file(), place.line()),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_sentences() {
        let panicked = caught(|| rayon::join(|| (), || panic!("number {}", 7)));
        let message = panicked.unwrap_err();
        assert!(
            message.starts_with("number 7 (") && message.contains("panics.rs:"),
            "{message}"
        );
        assert_eq!(caught(|| 5), Ok(5));
        drop(panic::take_hook());
    }
}
