//! Text as a terminal may show it: what comes from files must not move the cursor, change colours or turn the line around.

use std::borrow::Cow;

/// Whether a character does something else than to appear.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// The text with such characters escaped; ends of lines stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |out, c| out.extend(c.escape_unicode()))
}

/// JSON with such characters escaped as JSON has it. They occur in its strings only; those below 32 are escaped already.
pub fn visible_json(text: &str) -> Cow<'_, str> {
    // All of them have one unit of UTF-16.
    escaped(text, |out, c| {
        out.push_str(&format!("\\u{:04x}", u32::from(c)))
    })
}

fn escaped(text: &str, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let acts = |c: char| c != '\n' && acts(c);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            true => escape(&mut out, c),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_letters_stay() {
        assert_eq!(visible("a\u{1b}[2J\nb\u{9b}c"), "a\\u{1b}[2J\nb\\u{9b}c");
        assert_eq!(visible("\u{202e}x\u{2069}\t"), "\\u{202e}x\\u{2069}\\u{9}");
        assert_eq!(visible("Käfer, 日本, é"), "Käfer, 日本, é");
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}[2J\u{202e}\u{7f}é"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = visible_json(&text);
        assert!(shown.chars().all(|c| c == '\n' || !acts(c)), "{shown}");
        let again: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(again, value);
    }
}
