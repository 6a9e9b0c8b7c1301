//! Stream records from files, as batches.
//!
//! What enters are files or standard input, plain or compressed, with records in any of the shapes that AWS writes them;
//! what leaves are batches for [`append`](crate::append::append). The batches of a file depend on its bytes alone, so the
//! same file twice makes the same objects. Memory is bounded by the batch and the longest document, not by the file.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, atomic::AtomicU64};

use bytes::Bytes;
use thiserror::Error;

use super::compressed::{Opened, opened};
use super::splitter::{DOCUMENT_BYTES_MAX, Piece, SplitError, Splitter};
use super::{event, shape};
use crate::append::{Batch, QuarantinedRecord};
use crate::error::{Classify, Kind};
use crate::model::StreamArn;

pub use super::compressed::Input;

/// Why a file could not be read to its end.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be opened.
    #[error("opening {file}")]
    Open {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ends in the middle of its compressed data.
    #[error("{file} is cut off after {offset} bytes, in line {line} of its content")]
    Truncated {
        /// The file.
        file: String,
        /// Bytes of the file that were read.
        offset: u64,
        /// The line that is not whole.
        line: u64,
    },
    /// It cannot be read on.
    #[error("reading {file} after {offset} bytes, in line {line} of its content")]
    Read {
        /// The file.
        file: String,
        /// Bytes of the file that were read.
        offset: u64,
        /// The line that was not read.
        line: u64,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// A document is longer than any that AWS writes.
    #[error("{file} line {line}: a document has more than {bytes_max} bytes")]
    TooLong {
        /// The file.
        file: String,
        /// The line that it begins on.
        line: u64,
        /// Bytes allowed.
        bytes_max: usize,
    },
}

impl Classify for FileError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Open { .. } => "check the name and the permissions".to_owned(),
            Self::Truncated { .. } | Self::Read { .. } => {
                "everything before is in the journal; get the whole file and run the same command again: what is there \
                 already is not stored twice"
                    .to_owned()
            }
            Self::TooLong { .. } => {
                "write one record a line instead: jq -c '.Records[]' FILE | journal ingest -".to_owned()
            }
        })
    }
}

/// Bounds of an ingest.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Records of one batch at most.
    pub batch_records_max: usize,
    /// Bytes of one batch's raw records at most, unless one record alone has more.
    pub batch_bytes_max: usize,
    /// The stream of records that do not name theirs, as those that `aws dynamodbstreams get-records` prints.
    pub stream: Option<StreamArn>,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self { batch_records_max: 1000, batch_bytes_max: 4 << 20, stream: None }
    }
}

/// Reads batches from a file.
pub struct FileBatches {
    name: String,
    splitter: Splitter<Box<dyn io::BufRead + Send>>,
    read: Arc<AtomicU64>,
    options: IngestOptions,
    open: Batch,
    open_bytes: usize,
    ready: VecDeque<Batch>,
    ended: bool,
    failed: Option<FileError>,
}

impl std::fmt::Debug for FileBatches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileBatches").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FileBatches {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened, or its first bytes cannot be read.
    pub fn open(input: &Input, options: IngestOptions) -> Result<Self, FileError> {
        let opened = input.open().map_err(|source| FileError::Open { file: input.name(), source })?;
        Ok(Self::of(input.name(), opened, options))
    }

    /// Takes bytes from anywhere; `name` stands for them in messages.
    ///
    /// # Errors
    /// When the first bytes cannot be read.
    pub fn read(
        name: impl Into<String>,
        source: impl io::Read + Send + 'static,
        options: IngestOptions,
    ) -> Result<Self, FileError> {
        let name = name.into();
        match opened(source) {
            Ok(opened) => Ok(Self::of(name, opened, options)),
            Err(source) => Err(FileError::Open { file: name, source }),
        }
    }

    fn of(name: String, opened: Opened, options: IngestOptions) -> Self {
        Self {
            name,
            splitter: Splitter::new(opened.reader, DOCUMENT_BYTES_MAX),
            read: opened.read,
            options,
            open: Batch::default(),
            open_bytes: 0,
            ready: VecDeque::new(),
            ended: false,
            failed: None,
        }
    }

    /// Bytes of the file that were read so far, compressed as it lies.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn document(&mut self, raw: &[u8], line: u64) {
        // Most documents are one record: these are parsed once.
        if let Ok(record) = event::decode_record_of(raw, self.options.stream.as_ref()) {
            self.open.records.push(record);
            self.pushed(raw.len());
            return;
        }
        let mut records: Vec<Bytes> = Vec::new();
        if let Err(error) = shape::for_each_record(raw, &mut |record| records.push(Bytes::copy_from_slice(record))) {
            return self.quarantine(raw, line, &error.to_string());
        }
        for record in records {
            let before = self.open.quarantined.len();
            event::push(&mut self.open, &record, self.options.stream.as_ref());
            if let Some(quarantined) = self.open.quarantined.get_mut(before) {
                quarantined.reason = format!("{} line {line}: {}", self.name, quarantined.reason);
            }
            self.pushed(record.len());
        }
    }

    fn quarantine(&mut self, raw: &[u8], line: u64, reason: &str) {
        let raw = Bytes::copy_from_slice(raw);
        let bytes = raw.len();
        let reason = format!("{} line {line}: {reason}", self.name);
        self.open.quarantined.push(QuarantinedRecord { timeline: None, raw, reason });
        self.pushed(bytes);
    }

    /// Closes the open batch when it is full.
    fn pushed(&mut self, bytes: usize) {
        self.open_bytes += bytes;
        let records = self.open.records.len() + self.open.quarantined.len();
        if records >= self.options.batch_records_max || self.open_bytes >= self.options.batch_bytes_max {
            self.close();
        }
    }

    fn close(&mut self) {
        self.open_bytes = 0;
        let batch = std::mem::take(&mut self.open);
        if !batch.records.is_empty() || !batch.quarantined.is_empty() {
            self.ready.push_back(batch);
        }
    }

    fn error(&self, error: SplitError) -> FileError {
        let file = self.name.clone();
        let offset = self.bytes_read();
        match error {
            SplitError::TooLong { line, bytes_max } => FileError::TooLong { file, line, bytes_max },
            SplitError::Read { line, source } if source.kind() == io::ErrorKind::UnexpectedEof => {
                FileError::Truncated { file, offset, line }
            }
            SplitError::Read { line, source } => FileError::Read { file, offset, line, source },
        }
    }
}

impl Iterator for FileBatches {
    type Item = Result<Batch, FileError>;

    /// The next batch. An error comes after every batch before it, and nothing comes after an error.
    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.ended {
            match self.splitter.next() {
                Ok(Some(Piece::Document { raw, line })) => self.document(&raw, line),
                Ok(Some(Piece::Broken { raw, line, reason })) => self.quarantine(&raw, line, reason),
                Ok(None) => {
                    self.ended = true;
                    self.close();
                }
                Err(error) => {
                    self.ended = true;
                    self.close();
                    self.failed = Some(self.error(error));
                }
            }
        }
        self.ready.pop_front().map(Ok).or_else(|| self.failed.take().map(Err))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::source::event::tests::insert;
    use std::io::Write as _;

    pub(crate) fn record(number: u64) -> String {
        let mut record = insert();
        let key = serde_json::json!({"S": format!("note {number}")});
        record["dynamodb"]["Keys"]["noteId"] = key.clone();
        record["dynamodb"]["NewImage"]["noteId"] = key;
        record["dynamodb"]["SequenceNumber"] = serde_json::json!(format!("{}", 1_000_000 + number));
        record.to_string()
    }

    pub(crate) fn lines(count: u64) -> String {
        (0..count).map(|number| record(number) + "\n").collect()
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn batches(bytes: Vec<u8>, options: IngestOptions) -> (Vec<Batch>, Option<FileError>) {
        let mut found = Vec::new();
        for batch in FileBatches::read("the file", io::Cursor::new(bytes), options).unwrap() {
            match batch {
                Ok(batch) => found.push(batch),
                Err(error) => return (found, Some(error)),
            }
        }
        (found, None)
    }

    fn counts(batches: &[Batch]) -> (usize, usize) {
        (batches.iter().map(|b| b.records.len()).sum(), batches.iter().map(|b| b.quarantined.len()).sum())
    }

    #[test]
    fn plain_gzip_of_many_members_and_zstd_give_the_same_batches() {
        let text = lines(25);
        let (first, second) = text.split_at(text.len() / 2);
        let options = IngestOptions { batch_records_max: 10, ..IngestOptions::default() };
        let (plain, none) = batches(text.clone().into_bytes(), options.clone());
        assert!(none.is_none());
        assert_eq!(plain.iter().map(|batch| batch.records.len()).collect::<Vec<_>>(), [10, 10, 5]);
        let members = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
        let frames =
            [zstd::encode_all(first.as_bytes(), 1).unwrap(), zstd::encode_all(second.as_bytes(), 1).unwrap()].concat();
        let marked = [b"\xEF\xBB\xBF".to_vec(), text.into_bytes()].concat();
        for bytes in [members, frames, marked] {
            let (found, error) = batches(bytes, options.clone());
            assert!(error.is_none(), "{error:?}");
            let records = |batches: &[Batch]| batches.iter().map(|b| b.records.clone()).collect::<Vec<_>>();
            assert_eq!(records(&found), records(&plain));
        }
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_too() {
        let one = record(0).len();
        let options = IngestOptions { batch_bytes_max: one * 3, ..IngestOptions::default() };
        let (found, _) = batches(lines(9).into_bytes(), options);
        assert_eq!(found.iter().map(|batch| batch.records.len()).collect::<Vec<_>>(), [3, 3, 3]);
    }

    #[test]
    fn all_shapes_may_stand_in_one_file() {
        let event = format!("{{\"Records\":[{},\n  {}]}}", record(1), record(2));
        let failed = serde_json::json!({"requestContext": {}, "payload": event.clone()});
        let pretty = serde_json::to_string_pretty(&failed).unwrap();
        let text = format!("{}\n{event}{}\n{pretty}\n[{}]", record(0), record(3), record(4));
        let (found, error) = batches(text.into_bytes(), IngestOptions::default());
        assert!(error.is_none());
        assert_eq!(counts(&found), (7, 0));
    }

    #[test]
    fn what_is_no_json_is_quarantined_with_file_and_line_and_does_not_stop_the_others() {
        let text = format!("{}\nhello, world \n{}\n{{\"Records\":[{{\"a\":1}}]}}\n", record(0), record(1));
        let (found, error) = batches(text.into_bytes(), IngestOptions::default());
        assert!(error.is_none());
        assert_eq!(counts(&found), (2, 2));
        let quarantined = &found[0].quarantined;
        assert_eq!(quarantined[0].raw, "hello, world");
        assert!(quarantined[0].reason.starts_with("the file line 2: "), "{}", quarantined[0].reason);
        assert_eq!(quarantined[1].raw, "{\"a\":1}");
        assert!(
            quarantined[1].reason.starts_with("the file line 4: stream record has no "),
            "{}",
            quarantined[1].reason
        );
    }

    #[test]
    fn text_that_is_not_utf_8_is_quarantined_as_it_is() {
        let mut bytes = record(0).into_bytes();
        let at = bytes.windows(5).position(|window| window == b"hello").unwrap();
        bytes[at] = 0xFF;
        let raw = bytes.clone();
        bytes.push(b'\n');
        bytes.extend(record(1).into_bytes());
        let (found, error) = batches(bytes, IngestOptions::default());
        assert!(error.is_none());
        assert_eq!(counts(&found), (1, 1));
        assert_eq!(found[0].quarantined[0].raw, raw);
    }

    #[test]
    fn of_a_file_that_is_cut_off_everything_before_comes_first_and_then_the_error() {
        let text = lines(2000);
        let whole = gzip(text.as_bytes());
        let cut = whole[..whole.len() * 2 / 3].to_vec();
        let (found, error) = batches(cut.clone(), IngestOptions { batch_records_max: 100, ..IngestOptions::default() });
        let (records, quarantined) = counts(&found);
        assert!(records > 200 && records < 2000 && quarantined == 0, "{records}");
        let Some(FileError::Truncated { file, offset, line }) = error else { panic!("{error:?}") };
        assert_eq!((file.as_str(), offset), ("the file", u64::try_from(cut.len()).unwrap()));
        assert_eq!(line, u64::try_from(records).unwrap() + 1);

        let whole = zstd::encode_all(text.as_bytes(), 1).unwrap();
        let (_, error) = batches(whole[..whole.len() / 2].to_vec(), IngestOptions::default());
        assert!(matches!(error, Some(FileError::Truncated { .. })), "{error:?}");

        let mut flipped = gzip(text.as_bytes());
        let at = flipped.len() / 2;
        flipped[at] ^= 0x55;
        let (_, error) = batches(flipped, IngestOptions::default());
        assert!(matches!(error, Some(FileError::Read { .. } | FileError::Truncated { .. })), "{error:?}");
    }

    #[test]
    fn what_is_not_text_at_all_is_told() {
        let utf_16: Vec<u8> = std::iter::once(0xFEFF).chain("{}".encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let error = FileBatches::read("x", io::Cursor::new(utf_16), IngestOptions::default()).unwrap_err();
        let error = crate::Error::from(error);
        assert!(error.to_string().contains("UTF-16"), "{error}");
        let missing = Input::File("no/such/file".into());
        assert!(matches!(FileBatches::open(&missing, IngestOptions::default()), Err(FileError::Open { .. })));
        let folder = Input::File(std::env::temp_dir());
        assert!(matches!(FileBatches::open(&folder, IngestOptions::default()), Err(FileError::Open { .. })));
    }

    #[test]
    fn an_empty_file_has_no_batch() {
        for bytes in [Vec::new(), b" \n\n".to_vec(), gzip(b"")] {
            assert!(batches(bytes, IngestOptions::default()).0.is_empty());
        }
    }
}
