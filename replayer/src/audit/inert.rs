//! Values as text that no terminal obeys.
//!
//! An item's attributes are whatever somebody stored: escape sequences, control characters, marks that turn the direction
//! of text around. Shown, they are none of that, and no longer than a line.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::model::AttributeValue;

use crate::output::json;

/// Characters of a value that are shown.
pub const VALUE_CHARS_MAX: usize = 120;

/// Whether a terminal may take the character for something else than itself, or not show it at all.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with every active character written as JSON escapes it.
#[must_use]
pub fn inert(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        push_inert(&mut safe, character);
    }
    safe
}

fn push_inert(safe: &mut String, character: char) {
    if !is_active(character) {
        safe.push(character);
        return;
    }
    let mut units = [0u16; 2];
    for unit in character.encode_utf16(&mut units) {
        // Writing to a string does not fail.
        let _ = write!(safe, "\\u{unit:04x}");
    }
}

/// The text with every active character escaped but those that texts of several lines and of some scripts are made of: line feeds, with
/// or without a carriage return before them, tabs, and the two marks that say how letters join. For formats that carry whole texts and
/// have no escapes of their own.
#[must_use]
pub(crate) fn inert_lines(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return Cow::Borrowed(text);
    }
    let mut characters = text.chars().peekable();
    let mut safe = String::new();
    while let Some(character) = characters.next() {
        let plain = matches!(character, '\n' | '\t' | '\u{200c}' | '\u{200d}')
            || (character == '\r' && characters.peek() == Some(&'\n'));
        if plain {
            safe.push(character);
        } else {
            push_inert(&mut safe, character);
        }
    }
    if safe == text { Cow::Borrowed(text) } else { Cow::Owned(safe) }
}

/// Writes JSON on, active characters inside its texts as the escapes that JSON has for them: it reads back as the same. What is
/// written in one piece must be whole characters.
#[derive(Debug)]
pub(crate) struct InertJson<W>(pub(crate) W);

impl<W: Write> Write for InertJson<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The serialiser escapes what is below 0x20 itself.
        if bytes.iter().all(|byte| *byte < 0x7f) {
            self.0.write_all(bytes)?;
        } else {
            let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
            self.0.write_all(inert(text).as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Escapes the active characters of the JSON that lies in the buffer from `start` on, as `InertJson` does.
pub(crate) fn make_json_inert(buffer: &mut Vec<u8>, start: usize) {
    let json = buffer.get(start..).unwrap_or_default();
    if json.iter().all(|byte| *byte < 0x7f) {
        return;
    }
    // JSON is text.
    let text = String::from_utf8_lossy(json);
    if text.chars().any(is_active) {
        let safe = inert(&text);
        buffer.truncate(start);
        buffer.extend_from_slice(safe.as_bytes());
    }
}

/// A value as inert text of at most `chars_max` characters, with a note of how much was left out: JSON, with the type before
/// it where JSON has none of its own.
#[must_use]
pub fn shown(value: &AttributeValue, chars_max: usize) -> String {
    if let AttributeValue::B(bytes) = value {
        // Not all of a long binary is worth encoding.
        let head = bytes.get(..chars_max.min(bytes.len())).unwrap_or_default();
        let cut = if head.len() < bytes.len() { "…" } else { "" };
        return shorten(&format!("binary {}{cut}", STANDARD.encode(head)), chars_max, bytes.len());
    }
    let mut text = Vec::new();
    // Writing to memory does not fail.
    drop(json::value(value, &mut text));
    let text = String::from_utf8_lossy(&text);
    let prefix = match value {
        AttributeValue::Ss(_) | AttributeValue::Ns(_) | AttributeValue::Bs(_) => "set ",
        _ => "",
    };
    let bytes = text.len();
    shorten(&format!("{prefix}{text}"), chars_max, bytes)
}

fn shorten(text: &str, chars_max: usize, bytes: usize) -> String {
    let Some((at, _)) = text.char_indices().nth(chars_max) else { return inert(text) };
    format!("{}… ({bytes} bytes)", inert(text.get(..at).unwrap_or_default()))
}
