//! Names, texts, numbers and bytes as JSON, appended to a buffer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Spelling;

/// Bytes looked at together: most texts have nothing to escape, and that is seen a vector register at a time.
const LANES: usize = 32;

/// `"name":`.
pub(super) fn name(name: &str, out: &mut Vec<u8>) {
    quoted(name, out);
    out.push(b':');
}

/// A string value.
pub(super) fn string(spelling: Spelling, value: &str, out: &mut Vec<u8>) {
    typed(spelling, b"{\"S\":", out, |out| quoted(value, out));
}

/// A number; `plain` is its plain form where that is another text.
pub(super) fn number(spelling: Spelling, written: &str, plain: Option<&str>, out: &mut Vec<u8>) {
    match spelling {
        Spelling::DynamoDb => {
            out.extend_from_slice(b"{\"N\":\"");
            out.extend_from_slice(written.as_bytes());
            out.extend_from_slice(b"\"}");
        }
        Spelling::Plain => out.extend_from_slice(plain.unwrap_or(written).as_bytes()),
    }
}

/// A binary value.
pub(super) fn bytes(spelling: Spelling, value: &[u8], out: &mut Vec<u8>) {
    typed(spelling, b"{\"B\":", out, |out| base64(value, out));
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

/// A text in quotes, escaped as `serde_json` escapes it.
pub(super) fn quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (clean, dirty) = rest.split_at(clean_length(rest));
        out.extend_from_slice(clean);
        let Some((byte, after)) = dirty.split_first() else { break };
        escape(*byte, out);
        rest = after;
    }
    out.push(b'"');
}

/// How many bytes at the beginning stand for themselves.
fn clean_length(bytes: &[u8]) -> usize {
    let (lanes, _) = bytes.as_chunks::<LANES>();
    // Without a branch inside, so that it becomes vector instructions.
    let is_clean = |lane: &&[u8; LANES]| !lane.iter().fold(false, |found, byte| found | is_special(*byte));
    let clean = lanes.iter().take_while(is_clean).count() * LANES;
    clean + bytes.get(clean..).unwrap_or_default().iter().take_while(|byte| !is_special(**byte)).count()
}

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
