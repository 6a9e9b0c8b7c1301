//! A plan's items on their way: lines in a temporary file, with their digest, so that memory does not grow with a plan.
//!
//! What enters and leaves are items in the order of their keys. The digest is the SHA-256 of the lines with their ends.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::error::RewindError;
use super::item::PlanItem;
use crate::state::to_hex;

/// Longest line: two items of 400 KB, escaped and in base64.
const LINE_BYTES_MAX: u64 = 16 << 20;

fn failed(action: &'static str) -> impl Fn(std::io::Error) -> RewindError {
    move |error| RewindError::Spool { action, reason: error.to_string() }
}

/// Items that are being written.
#[derive(Debug)]
pub(super) struct SpoolWriter {
    file: BufWriter<File>,
    hasher: Sha256,
    items: u64,
}

impl SpoolWriter {
    /// An empty one, in `folder` or the system's folder for temporary files.
    pub(super) fn new(folder: Option<&Path>) -> Result<Self, RewindError> {
        let file = match folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        };
        Ok(Self { file: BufWriter::new(file.map_err(failed("making"))?), hasher: Sha256::new(), items: 0 })
    }

    pub(super) fn push(&mut self, item: &PlanItem) -> Result<(), RewindError> {
        let line =
            item.to_line().map_err(|error| RewindError::Spool { action: "writing", reason: error.to_string() })?;
        self.line(&line)
    }

    pub(super) fn line(&mut self, line: &str) -> Result<(), RewindError> {
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        self.items += 1;
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.write_all(b"\n"));
        written.map_err(failed("writing"))
    }

    pub(super) fn finish(self) -> Result<Spool, RewindError> {
        let file = self.file.into_inner().map_err(|error| failed("writing")(error.into_error()))?;
        Ok(Spool { file, items: self.items, digest: to_hex(&self.hasher.finalize()) })
    }
}

/// The items of a plan.
#[derive(Debug)]
pub struct Spool {
    file: File,
    items: u64,
    digest: String,
}

impl Spool {
    /// How many there are.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// SHA-256 of all lines, in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Reads the items from the first on.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn read(&mut self) -> Result<Lines<BufReader<&mut File>>, RewindError> {
        self.file.seek(SeekFrom::Start(0)).map_err(failed("reading"))?;
        Ok(Lines::new(BufReader::new(&mut self.file), "the plan"))
    }
}

/// Items of a plan, line by line.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    of: String,
    line: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(from: R, of: impl Into<String>) -> Self {
        Self { from, of: of.into(), line: 0 }
    }

    /// The next line as text; none at the end.
    pub(super) fn text(&mut self) -> Result<Option<String>, RewindError> {
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(failed("reading"))?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if bytes.pop() != Some(b'\n') {
            return Err(self.wrong("it has no end".to_owned()));
        }
        String::from_utf8(bytes).map(Some).map_err(|error| self.wrong(error.to_string()))
    }

    fn wrong(&self, reason: String) -> RewindError {
        RewindError::Line { of: self.of.clone(), line: self.line, reason }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<PlanItem, RewindError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.text() {
            Ok(None) => None,
            Ok(Some(text)) => Some(PlanItem::from_line(&text).map_err(|reason| self.wrong(reason))),
            Err(error) => Some(Err(error)),
        }
    }
}
