//! JSON documents out of a stream of bytes: one a line, many a line, or one over many lines.
//!
//! What enters is a reader; what leaves are the bytes of one document after the other, each with its line, and of what is
//! no document. A broken line costs that line: the search goes on with the next one. Memory is bounded by the longest
//! document allowed. Knows JSON's brackets, commas and quotes, and nothing of what a document says.

use std::io::{self, BufRead};

use bytes::Bytes;

/// Most bytes of one document. Lambda's largest event has 6 MB ("Lambda quotas", invocation payload).
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// Levels of brackets that are followed. An event of items 32 levels deep has about 70.
const LEVELS_MAX: usize = 256;
/// Consumed bytes that may lie in front of the buffer before they are moved out of it.
const CONSUMED_BYTES_MAX: usize = 1 << 20;

/// What was found at one place of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A document whose brackets and quotes are whole.
    Document {
        /// Its bytes.
        raw: Bytes,
        /// The line it begins on, from 1.
        line: u64,
    },
    /// Bytes that are no document.
    Broken {
        /// The bytes.
        raw: Bytes,
        /// The line they begin on, from 1.
        line: u64,
        /// Why.
        reason: &'static str,
    },
}

/// Why the search ended before the stream did.
#[derive(Debug)]
pub(super) enum SplitError {
    /// The reader failed, after the documents before.
    Read { line: u64, source: io::Error },
    /// A document is longer than allowed.
    TooLong { line: u64, bytes_max: usize },
}

/// Splits a stream.
pub(super) struct Splitter<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Where in `buffer` the search stands: everything before has been given out.
    at: usize,
    line: u64,
    ended: bool,
    failed: Option<io::Error>,
    bytes_max: usize,
}

impl<R: BufRead> Splitter<R> {
    pub(super) fn new(reader: R, bytes_max: usize) -> Self {
        Self { reader, buffer: Vec::new(), at: 0, line: 1, ended: false, failed: None, bytes_max }
    }

    /// The next piece; none at the end of the stream. After an error there is nothing more.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, SplitError> {
        if self.at > CONSUMED_BYTES_MAX {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        if !self.skip_white_space() {
            return self.end();
        }
        let mut scan = Scan::default();
        let mut scanned = self.at;
        loop {
            match scan.run(self.buffer.get(scanned..).unwrap_or_default()) {
                Step::Ended(length) => return Ok(Some(self.document(scanned.saturating_add(length)))),
                Step::Broken(reason) => return self.broken_line(reason),
                Step::More => scanned = self.buffer.len(),
            }
            if self.buffer.len().saturating_sub(self.at) > self.bytes_max {
                self.ended = true;
                self.at = self.buffer.len();
                return Err(SplitError::TooLong { line: self.line, bytes_max: self.bytes_max });
            }
            if !self.fill() {
                return self.unfinished();
            }
        }
    }

    /// Goes to the next byte that is no white space; false at the end of the stream.
    fn skip_white_space(&mut self) -> bool {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let found = rest.iter().position(|byte| !is_white_space(*byte));
            let skipped = found.unwrap_or(rest.len());
            self.line += lines(rest.get(..skipped).unwrap_or_default());
            self.at += skipped;
            if found.is_some() {
                return true;
            }
            self.buffer.clear();
            self.at = 0;
            if !self.fill() {
                return false;
            }
        }
    }

    /// Reads on; false when there is nothing more, or the reader failed.
    fn fill(&mut self) -> bool {
        if self.ended {
            return false;
        }
        loop {
            match self.reader.fill_buf() {
                Ok([]) => {
                    self.ended = true;
                    return false;
                }
                Ok(bytes) => {
                    let taken = bytes.len();
                    self.buffer.extend_from_slice(bytes);
                    self.reader.consume(taken);
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.failed = Some(error);
                    return false;
                }
            }
        }
    }

    /// Gives out the bytes up to `end`.
    fn take(&mut self, end: usize) -> (Bytes, u64) {
        let raw = self.buffer.get(self.at..end).unwrap_or_default();
        let line = self.line;
        self.line += lines(raw);
        let raw = Bytes::copy_from_slice(raw);
        self.at = end;
        (raw, line)
    }

    fn document(&mut self, end: usize) -> Piece {
        let (raw, line) = self.take(end);
        Piece::Document { raw, line }
    }

    /// Gives out the line that the search stands on. What follows is looked at afresh.
    fn broken_line(&mut self, reason: &'static str) -> Result<Option<Piece>, SplitError> {
        let mut searched = self.at;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.broken(searched + length, reason)));
            }
            let length = self.buffer.len() - self.at;
            if length > self.bytes_max {
                self.ended = true;
                self.at = self.buffer.len();
                return Err(SplitError::TooLong { line: self.line, bytes_max: self.bytes_max });
            }
            searched = self.buffer.len();
            if !self.fill() {
                return if self.failed.is_some() {
                    self.end()
                } else {
                    Ok(Some(self.broken(self.buffer.len(), reason)))
                };
            }
        }
    }

    fn broken(&mut self, end: usize, reason: &'static str) -> Piece {
        let (raw, line) = self.take(end);
        let length = raw.iter().rposition(|byte| !is_white_space(*byte)).map_or(0, |last| last + 1);
        let raw = raw.slice(..length);
        Piece::Broken { raw, line, reason }
    }

    /// The stream ended inside a document. Where the next line looks like a document of its own, the first line alone is
    /// broken; else all of it is one document that was cut.
    fn unfinished(&mut self) -> Result<Option<Piece>, SplitError> {
        if self.failed.is_some() {
            return self.end();
        }
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let mut lines = rest.splitn(2, |byte| *byte == b'\n').skip(1);
        if lines.next().is_some_and(|next| next.starts_with(b"{")) {
            return self.broken_line("the line ends inside a JSON document");
        }
        Ok(Some(self.broken(self.buffer.len(), "the file ends inside a JSON document")))
    }

    fn end(&mut self) -> Result<Option<Piece>, SplitError> {
        self.at = self.buffer.len();
        match self.failed.take() {
            Some(source) => Err(SplitError::Read { line: self.line, source }),
            None => Ok(None),
        }
    }
}

fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrClose,
    NameOrClose,
    Name,
    Colon,
    CommaOrClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Object,
    Array,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The document ended after so many bytes of those given.
    Ended(usize),
    /// All bytes are of the document, and it goes on.
    More,
    /// No JSON document begins like this.
    Broken(&'static str),
}

/// Follows one document through its bytes, whatever pieces they come in.
#[derive(Debug)]
struct Scan {
    inside: Vec<Inside>,
    expect: Expect,
    /// In a string; `escaped` after a backslash in it.
    string: bool,
    escaped: bool,
    /// In a number or a word such as `true`; what it says is for the parser.
    word: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self { inside: Vec::new(), expect: Expect::Value, string: false, escaped: false, word: false }
    }
}

impl Scan {
    fn run(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.string {
                match self.string(bytes.get(at..).unwrap_or_default()) {
                    Ok(length) => at += length,
                    Err(reason) => return Step::Broken(reason),
                }
                continue;
            }
            if self.word {
                if is_white_space(byte) || matches!(byte, b',' | b']' | b'}') {
                    self.word = false;
                } else if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.') {
                    at += 1;
                    continue;
                } else {
                    return Step::Broken("not a JSON document");
                }
            }
            at += 1;
            if is_white_space(byte) {
                continue;
            }
            if let Err(reason) = self.token(byte) {
                return Step::Broken(reason);
            }
            if self.inside.is_empty() {
                return Step::Ended(at);
            }
        }
        Step::More
    }

    /// Follows a string to its end or that of the bytes, and says how many bytes that were.
    fn string(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        if self.escaped {
            self.escaped = false;
            at = 1;
        }
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n')) else {
                return Ok(bytes.len());
            };
            at += found + 1;
            match rest.get(found) {
                Some(b'"') => {
                    self.string = false;
                    return Ok(at);
                }
                Some(b'\\') if at == bytes.len() => {
                    self.escaped = true;
                    return Ok(at);
                }
                Some(b'\\') => at += 1,
                _ => return Err("the line ends inside a string"),
            }
        }
    }

    fn token(&mut self, byte: u8) -> Result<(), &'static str> {
        use Expect::{Colon, CommaOrClose, Name, NameOrClose, Value, ValueOrClose};
        self.expect = match (byte, self.expect) {
            (b'{', Value | ValueOrClose) => {
                self.enter(Inside::Object)?;
                NameOrClose
            }
            (b'[', Value | ValueOrClose) => {
                self.enter(Inside::Array)?;
                ValueOrClose
            }
            (b'}', NameOrClose | CommaOrClose) if self.inside.last() == Some(&Inside::Object) => {
                self.inside.pop();
                CommaOrClose
            }
            (b']', ValueOrClose | CommaOrClose) if self.inside.last() == Some(&Inside::Array) => {
                self.inside.pop();
                CommaOrClose
            }
            (b'"', Name | NameOrClose) => {
                self.string = true;
                Colon
            }
            (b':', Colon) => Value,
            (b',', CommaOrClose) => match self.inside.last() {
                Some(Inside::Object) => Name,
                _ => Value,
            },
            // A document is an object or an array: a bare word or string is none that anybody sends.
            (_, Value | ValueOrClose) if self.inside.is_empty() => return Err("not a JSON document"),
            (b'"', Value | ValueOrClose) => {
                self.string = true;
                CommaOrClose
            }
            (b'-' | b'0'..=b'9' | b't' | b'f' | b'n', Value | ValueOrClose) => {
                self.word = true;
                CommaOrClose
            }
            _ => return Err("not a JSON document"),
        };
        Ok(())
    }

    fn enter(&mut self, inside: Inside) -> Result<(), &'static str> {
        if self.inside.len() >= LEVELS_MAX {
            return Err("a JSON document is nested too deep");
        }
        self.inside.push(inside);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A reader that gives a few bytes at a time, so that every state is left and entered in the middle.
    struct Slow<'a>(&'a [u8], usize);

    impl io::Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(to.len()).min(self.0.len());
            let (now, later) = self.0.split_at(length);
            to[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    fn split_slowly(bytes: &[u8], step: usize) -> Vec<(bool, u64, String)> {
        let mut splitter = Splitter::new(io::BufReader::new(Slow(bytes, step)), DOCUMENT_BYTES_MAX);
        let mut pieces = Vec::new();
        while let Some(piece) = splitter.next().unwrap() {
            pieces.push(match piece {
                Piece::Document { raw, line } => (true, line, String::from_utf8_lossy(&raw).into_owned()),
                Piece::Broken { raw, line, .. } => (false, line, String::from_utf8_lossy(&raw).into_owned()),
            });
        }
        pieces
    }

    fn split(text: &str) -> Vec<(bool, u64, String)> {
        let whole = split_slowly(text.as_bytes(), usize::MAX);
        for step in [1, 2, 3, 7] {
            assert_eq!(split_slowly(text.as_bytes(), step), whole, "{step} bytes at a time");
        }
        whole
    }

    fn document(line: u64, text: &str) -> (bool, u64, String) {
        (true, line, text.to_owned())
    }

    fn broken(line: u64, text: &str) -> (bool, u64, String) {
        (false, line, text.to_owned())
    }

    #[test]
    fn documents_come_one_a_line_many_a_line_and_over_many_lines() {
        assert_eq!(
            split("\n{\"a\":1}\r\n\r\n[{}]{\"b\":[true,null,-1.5e3]} {}\n{\n \"c\": {\n  \"d\": \"}\\\"{\"\n }\n}"),
            [
                document(2, "{\"a\":1}"),
                document(4, "[{}]"),
                document(4, "{\"b\":[true,null,-1.5e3]}"),
                document(4, "{}"),
                document(5, "{\n \"c\": {\n  \"d\": \"}\\\"{\"\n }\n}"),
            ]
        );
        assert_eq!(split(""), []);
        assert_eq!(split(" \n\n"), []);
    }

    #[test]
    fn a_broken_line_costs_that_line_alone() {
        for bad in [
            "hello",
            "{\"a\":1,\"b\":",
            "{\"a\":\"cut",
            "{\"a\":{\"b\":1}",
            "{\"a\":[",
            "{\"a\":1,",
            "{\"a\" 1}",
            "{\"a\":1}}",
            "[1 2]",
            "{]",
            "null",
            "{\"a\":nul\u{0}l}",
        ] {
            let text = format!("{{\"x\":1}}\n{bad}\n{{\"y\":1}}\n{{\"z\":1}}\n");
            let pieces = split(&text);
            let whole: Vec<&str> = pieces.iter().filter(|p| p.0 && p.2 != "{\"a\":1}").map(|p| p.2.as_str()).collect();
            assert_eq!(whole, ["{\"x\":1}", "{\"y\":1}", "{\"z\":1}"], "{bad}");
            assert!(pieces.iter().any(|piece| !piece.0 && piece.1 == 2), "{bad}: {pieces:?}");
        }
    }

    #[test]
    fn a_document_that_is_cut_is_one_broken_piece() {
        assert_eq!(split("{\n \"a\": [\n  1,"), [broken(1, "{\n \"a\": [\n  1,")]);
        assert_eq!(split("{\"a\":\n{\"b\":1}\n"), [broken(1, "{\"a\":"), document(2, "{\"b\":1}")]);
    }

    #[test]
    fn a_byte_that_json_does_not_know_as_white_space_is_kept() {
        assert_eq!(split("\u{c} \n{}"), [broken(1, "\u{c}"), document(2, "{}")]);
    }

    #[test]
    fn a_bomb_of_brackets_is_broken_and_not_followed() {
        let text = format!("{}\n{{}}\n", "[".repeat(1 << 20));
        let pieces = split_slowly(text.as_bytes(), usize::MAX);
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[1], document(2, "{}"));
    }

    #[test]
    fn a_document_longer_than_allowed_ends_the_search() {
        for text in ["{\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxx\"}", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            let mut splitter = Splitter::new(io::BufReader::new(Slow(text.as_bytes(), 4)), 16);
            assert!(matches!(splitter.next(), Err(SplitError::TooLong { line: 1, bytes_max: 16 })));
            assert!(splitter.next().unwrap().is_none());
        }
    }

    proptest! {
        #[test]
        fn every_byte_that_is_no_white_space_is_in_exactly_one_piece(bytes in proptest::collection::vec(
            prop_oneof![4 => proptest::sample::select(b"{}[]\",:\\ \n1ae".to_vec()), 1 => any::<u8>()], 0..200
        )) {
            let mut splitter = Splitter::new(io::BufReader::new(Slow(&bytes, 5)), DOCUMENT_BYTES_MAX);
            let mut found = Vec::new();
            while let Some(piece) = splitter.next().unwrap() {
                let (Piece::Document { raw, .. } | Piece::Broken { raw, .. }) = piece;
                found.extend(raw.iter().copied().filter(|b| !is_white_space(*b)));
            }
            let given: Vec<u8> = bytes.iter().copied().filter(|b| !is_white_space(*b)).collect();
            prop_assert_eq!(found, given);
        }

        #[test]
        fn what_a_parser_takes_is_one_document(item in crate::model::test_strategies::any_attributes()) {
            let text = serde_json::to_string_pretty(&super::super::attribute::ItemJson(&item)).unwrap();
            let pieces = split_slowly(text.as_bytes(), 11);
            prop_assert_eq!(pieces, vec![(true, 1, text)]);
        }
    }
}
