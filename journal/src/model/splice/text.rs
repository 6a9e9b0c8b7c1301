//! Names, texts, numbers and bytes as JSON, appended to a buffer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Spelling;

/// A text whose bytes are checked, and whether they may stand in JSON as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    bytes: &'a [u8],
    look: Look,
}

/// What bytes of a text are, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Printable ASCII without anything that JSON escapes.
    Plain,
    /// Printable ASCII once it is escaped.
    Escaped,
    /// There are other characters.
    Other,
}

impl<'a> Text<'a> {
    /// Checks bytes; none when they are no text. Most texts are plain ASCII, and a single look finds that there is nothing to check
    /// and nothing to escape.
    #[inline]
    pub(super) fn check(bytes: &'a [u8]) -> Option<Self> {
        if is_plain(bytes) {
            return Some(Self { bytes, look: Look::Plain });
        }
        Self::check_other(bytes)
    }

    fn check_other(bytes: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()?;
        let ascii = bytes.iter().all(|byte| *byte < 0x7F);
        Some(Self { bytes, look: if ascii { Look::Escaped } else { Look::Other } })
    }

    /// Of bytes that are those of a text that has been looked at.
    #[inline]
    pub(super) fn again(bytes: &'a [u8], look: Look) -> Self {
        Self { bytes, look }
    }

    /// Of what is a text already.
    pub(super) fn of(text: &'a str) -> Self {
        Self::check(text.as_bytes()).unwrap_or(Self { bytes: text.as_bytes(), look: Look::Other })
    }

    pub(super) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn look(&self) -> Look {
        self.look
    }

    /// Whether it is printable ASCII once it is escaped.
    pub(super) fn is_printable(&self) -> bool {
        self.look != Look::Other
    }

    /// Appends it, escaped as `serde_json` escapes it.
    #[inline]
    pub(super) fn escaped(&self, out: &mut Vec<u8>) {
        if self.look == Look::Plain {
            out.extend_from_slice(self.bytes);
        } else {
            escaped(self.bytes, out);
        }
    }

    /// The same in quotes.
    #[inline]
    pub(super) fn quoted(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        self.escaped(out);
        out.push(b'"');
    }
}

/// `"name":`.
#[inline]
pub(super) fn name(name: Text<'_>, out: &mut Vec<u8>) {
    name.quoted(out);
    out.push(b':');
}

/// A string value.
#[inline]
pub(super) fn string(spelling: Spelling, value: Text<'_>, out: &mut Vec<u8>) {
    begin_string(spelling, out);
    value.escaped(out);
    out.push(b'"');
    if spelling == Spelling::DynamoDb {
        out.push(b'}');
    }
}

/// What stands before a string's text.
pub(super) fn begin_string(spelling: Spelling, out: &mut Vec<u8>) {
    match spelling {
        Spelling::DynamoDb => out.extend_from_slice(b"{\"S\":\""),
        Spelling::Plain => out.push(b'"'),
    }
}

/// What stands behind a string's text, and the comma behind that.
#[inline]
pub(super) fn end_string_member(spelling: Spelling, out: &mut Vec<u8>) {
    match spelling {
        Spelling::DynamoDb => out.extend_from_slice(b"\"},"),
        Spelling::Plain => out.extend_from_slice(b"\","),
    }
}

/// A number's text in quotes.
pub(super) fn digits(written: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(written.as_bytes());
    out.push(b'"');
}

/// A number; `plain` is its plain form where that is another text.
pub(super) fn number(spelling: Spelling, written: &str, plain: Option<&str>, out: &mut Vec<u8>) {
    match spelling {
        Spelling::DynamoDb => {
            out.extend_from_slice(b"{\"N\":");
            digits(written, out);
            out.push(b'}');
        }
        Spelling::Plain => out.extend_from_slice(plain.unwrap_or(written).as_bytes()),
    }
}

/// A binary value.
pub(super) fn bytes(spelling: Spelling, value: &[u8], out: &mut Vec<u8>) {
    typed(spelling, b"{\"B\":", out, |out| base64(value, out));
}

/// NULL.
pub(super) fn null(spelling: Spelling, out: &mut Vec<u8>) {
    let value: &[u8] = if spelling == Spelling::DynamoDb { b"true" } else { b"null" };
    typed(spelling, b"{\"NULL\":", out, |out| out.extend_from_slice(value));
}

/// A boolean.
pub(super) fn truth(spelling: Spelling, value: bool, out: &mut Vec<u8>) {
    let value: &[u8] = if value { b"true" } else { b"false" };
    typed(spelling, b"{\"BOOL\":", out, |out| out.extend_from_slice(value));
}

/// What `write` writes, with its type where types are written.
pub(super) fn typed(spelling: Spelling, head: &[u8], out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    match spelling {
        Spelling::DynamoDb => {
            out.extend_from_slice(head);
            write(out);
            out.push(b'}');
        }
        Spelling::Plain => write(out),
    }
}

/// Bytes as base64 text in quotes.
pub(super) fn base64(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    // Four for every three begun.
    out.resize(start + value.len().div_ceil(3) * 4, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(value, room).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

fn escaped(mut rest: &[u8], out: &mut Vec<u8>) {
    loop {
        let (clean, dirty) = rest.split_at(clean_length(rest));
        out.extend_from_slice(clean);
        let Some((byte, after)) = dirty.split_first() else { break };
        escape(*byte, out);
        rest = after;
    }
}

/// Bytes looked at together: most texts have nothing to escape, and that is seen some vector registers at a time.
const LANES: usize = 32;

/// Whether all bytes are printable ASCII that JSON does not escape.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    let (lanes, _) = bytes.as_chunks::<LANES>();
    if !lanes.iter().all(all_plain) {
        return false;
    }
    // The last bytes of a text are looked at in the largest lane that it has room for, some of them twice.
    if let (true, Some(last)) = (bytes.len() >= LANES, bytes.last_chunk::<LANES>()) {
        return all_plain(last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<16>(), bytes.last_chunk::<16>()) {
        return all_plain(first) && all_plain(last);
    }
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => all_plain(first) && all_plain(last),
        _ => bytes.iter().all(|byte| !is_not_plain(*byte)),
    }
}

/// Without a branch inside, so that it becomes vector instructions.
#[inline]
fn all_plain<const N: usize>(lane: &[u8; N]) -> bool {
    !lane.iter().fold(false, |found, byte| found | is_not_plain(*byte))
}

#[inline]
fn is_not_plain(byte: u8) -> bool {
    (byte >= 0x7F) | is_special(byte)
}

/// How many bytes at the beginning stand for themselves.
fn clean_length(bytes: &[u8]) -> usize {
    let (lanes, _) = bytes.as_chunks::<LANES>();
    let is_clean = |lane: &&[u8; LANES]| !lane.iter().fold(false, |found, byte| found | is_special(*byte));
    let clean = lanes.iter().take_while(is_clean).count() * LANES;
    clean + bytes.get(clean..).unwrap_or_default().iter().take_while(|byte| !is_special(**byte)).count()
}

#[inline]
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch would keep the look at many bytes from being one of vectors"
)]
fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0C => b'f',
        b'\r' => b'r',
        _ => {
            let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
