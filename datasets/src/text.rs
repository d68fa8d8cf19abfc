//! Names from files and folders, made safe for messages.

use std::path::Path;

/// Names longer than this are cut in messages.
const MOST_CHARACTERS: usize = 1000;

/// A path for messages, see [`plain`].
pub(crate) fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy())
}

/// Text for messages: control characters and others that do not print are escaped, long text is cut.
pub(crate) fn plain(text: &str) -> String {
    let mut safe = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == MOST_CHARACTERS {
            safe.push_str("...");
            break;
        }
        if matches!(c, '"' | '\'' | '\\') {
            safe.push(c);
        } else {
            safe.extend(c.escape_debug());
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_escapes_what_moves_a_cursor_and_keeps_letters() {
        assert_eq!(plain("a\u{1b}[2J\n\u{202e}b"), "a\\u{1b}[2J\\n\\u{202e}b");
        assert_eq!(plain("Käfer 'é' \\ \"日本\""), "Käfer 'é' \\ \"日本\"");
        assert_eq!(plain(&"x".repeat(1001)), "x".repeat(1000) + "...");
    }
}
