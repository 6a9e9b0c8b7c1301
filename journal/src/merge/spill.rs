//! Temporary files: sorted records that do not fit memory, written once and read once, by us.
//!
//! What enters are packed records in order; what leaves are the same, from any key on. A file has no name, no header and no index: where
//! its blocks lie stays in memory. Each block has a checksum, for a disk may lose a bit. Blocks are stored as they are while all temporary
//! files together are small, for compressing them takes longer than writing and reading; beyond that they are compressed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::packed::{Choice, Head, Images, Packed, Users, pack};
use super::{MergeError, lock};
use crate::cut::Cut;
use crate::format::{Record, RecordKind};

/// A block ends with the record that brings it to this.
const BLOCK_BYTES: usize = 128 << 10;
/// Memory of an open file, in bytes: its block, and a stored one beside it.
pub(super) const OPEN_BYTES: usize = 2 * BLOCK_BYTES;
/// Beyond so many bytes on disk, blocks are compressed.
const PLAIN_BYTES_MAX: u64 = 256 << 20;
/// The level at which they are.
const LEVEL: i32 = 1;

/// Where a block lies. There are many: their keys lie one after the other in one place.
#[derive(Debug, Clone, Copy)]
struct SpilledBlock {
    offset: u64,
    stored: u32,
    raw: u32,
    crc32: u32,
    /// Where its first key ends among the keys.
    key_end: u32,
}

/// The blocks of a file.
#[derive(Debug, Default)]
struct Blocks {
    list: Vec<SpilledBlock>,
    keys: Vec<u8>,
}

impl Blocks {
    fn first_key(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.list.get(at).and_then(|block| usize::try_from(block.key_end).ok());
        let start = at.checked_sub(1).and_then(end).unwrap_or(0);
        end(at).and_then(|end| self.keys.get(start..end)).unwrap_or_default()
    }

    /// How many blocks begin below a key.
    fn below(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.list.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_key(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// A temporary file that is being written.
pub(super) struct SpillWriter {
    folder: PathBuf,
    file: File,
    block: Vec<u8>,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    /// Where the last record lies in the block.
    last_at: usize,
    blocks: Blocks,
    size: u64,
    compress: bool,
}

impl SpillWriter {
    /// In a folder where this merge has spilled `spilled` bytes.
    pub(super) fn new(folder: PathBuf, spilled: u64) -> Result<Self, MergeError> {
        let file = match tempfile::tempfile_in(&folder) {
            Ok(file) => file,
            Err(source) => return Err(MergeError::Spill { action: "make", folder, source }),
        };
        Ok(Self {
            folder,
            file,
            block: Vec::with_capacity(BLOCK_BYTES),
            first_key: Vec::new(),
            last_key: Vec::new(),
            last_at: 0,
            blocks: Blocks::default(),
            size: 0,
            compress: spilled > PLAIN_BYTES_MAX,
        })
    }

    /// Adds a packed record, whose key is given beside it.
    pub(super) fn push(&mut self, packed: &[u8], key: &[u8]) -> Result<(), MergeError> {
        if self.block.is_empty() {
            self.first_key.clear();
            self.first_key.extend_from_slice(key);
        }
        self.last_at = self.block.len();
        self.block.extend_from_slice(packed);
        if self.block.len() < BLOCK_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), MergeError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let failed = |source| MergeError::Spill { action: "write", folder: self.folder.clone(), source };
        let packed = if self.compress { zstd::bulk::compress(&self.block, LEVEL).map_err(failed)? } else { Vec::new() };
        let stored = if self.compress { &packed } else { &self.block };
        self.file.write_all(stored).map_err(failed)?;
        let number = |length: usize| u32::try_from(length).map_err(|error| failed(std::io::Error::other(error)));
        self.blocks.keys.extend_from_slice(&self.first_key);
        self.blocks.list.push(SpilledBlock {
            offset: self.size,
            stored: number(stored.len())?,
            raw: number(self.block.len())?,
            crc32: crc32fast::hash(stored),
            key_end: number(self.blocks.keys.len())?,
        });
        self.size = self.size.saturating_add(u64::try_from(stored.len()).unwrap_or(u64::MAX));
        if let Some(last) = self.block.get(self.last_at..).and_then(Packed::first) {
            self.last_key.clear();
            self.last_key.extend_from_slice(last.key);
        }
        self.block.clear();
        Ok(())
    }

    /// The file, open for reading; none when nothing was pushed. `all_before` says that each key has one record, which has happened at the
    /// cut.
    pub(super) fn finish(mut self, users: Users, all_before: bool) -> Result<Option<Arc<Spilled>>, MergeError> {
        self.flush()?;
        let Self { folder, file, last_key, mut blocks, size, compress, .. } = self;
        if blocks.list.is_empty() {
            return Ok(None);
        }
        blocks.list.shrink_to_fit();
        blocks.keys.shrink_to_fit();
        let file = Mutex::new(file);
        Ok(Some(Arc::new(Spilled { folder, file, last_key, blocks, users, all_before, size, compress })))
    }
}

/// A temporary file that was written.
#[derive(Debug)]
pub(super) struct Spilled {
    folder: PathBuf,
    file: Mutex<File>,
    last_key: Vec<u8>,
    blocks: Blocks,
    users: Users,
    all_before: bool,
    size: u64,
    compress: bool,
}

impl Spilled {
    pub(super) fn users(&self) -> &Users {
        &self.users
    }

    pub(super) fn all_before(&self) -> bool {
        self.all_before
    }

    /// Bytes on disk.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Its first and last key.
    pub(super) fn ends(&self) -> Option<(&[u8], &[u8])> {
        self.blocks.list.first().map(|_| (self.blocks.first_key(0), self.last_key.as_slice()))
    }

    /// The first keys of its blocks, and the bytes of each.
    pub(super) fn places(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let blocks = self.blocks.list.iter().enumerate();
        blocks.map(|(at, block)| (self.blocks.first_key(at), usize::try_from(block.raw).unwrap_or(usize::MAX)))
    }

    /// The blocks that can have keys from `keys`.
    fn blocks_of(&self, keys: &Range<&[u8]>) -> Range<usize> {
        let first = self.blocks.below(keys.start).saturating_sub(1);
        let end = self.blocks.below(keys.end);
        first.min(end)..end
    }

    fn read(&self, number: usize, into: &mut Vec<u8>) -> Result<(), MergeError> {
        let failed = |source| MergeError::Spill { action: "read", folder: self.folder.clone(), source };
        let Some(block) = self.blocks.list.get(number) else { return Ok(()) };
        let length = |length: u32| usize::try_from(length).unwrap_or(usize::MAX);
        let mut stored = if self.compress { Vec::new() } else { std::mem::take(into) };
        stored.resize(length(block.stored), 0);
        {
            let mut file = lock(&self.file);
            file.seek(SeekFrom::Start(block.offset)).map_err(failed)?;
            file.read_exact(&mut stored).map_err(failed)?;
        }
        if crc32fast::hash(&stored) != block.crc32 {
            return Err(failed(std::io::Error::other("its checksum does not hold")));
        }
        *into =
            if self.compress { zstd::bulk::decompress(&stored, length(block.raw)).map_err(failed)? } else { stored };
        Ok(())
    }
}

/// A place in a temporary file.
#[derive(Debug)]
pub(super) struct SpilledCursor {
    spilled: Arc<Spilled>,
    blocks: Range<usize>,
    block: Vec<u8>,
    at: usize,
    end: usize,
    /// The head of the current record.
    head: Option<Head>,
}

impl SpilledCursor {
    /// Stands before the first record of the blocks that can have the wanted keys.
    pub(super) fn new(spilled: Arc<Spilled>, keys: Option<&Range<&[u8]>>) -> Self {
        let blocks = keys.map_or(0..spilled.blocks.list.len(), |keys| spilled.blocks_of(keys));
        Self { spilled, blocks, block: Vec::new(), at: 0, end: 0, head: None }
    }

    /// Goes to the next record; false at the end.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<bool, MergeError> {
        self.at = self.end;
        if self.at >= self.block.len() {
            let Some(number) = self.blocks.next() else { return Ok(false) };
            self.spilled.read(number, &mut self.block)?;
            self.at = 0;
        }
        let here = self.block.get(self.at..).unwrap_or_default();
        self.head = Head::read(here);
        let Some(packed) = self.head.and_then(|head| head.packed(here)) else {
            // Blocks hold whole records: an end in the middle of one would be one that loses the rest.
            let source = std::io::Error::other("a block of it ends within a record");
            return Err(MergeError::Spill { action: "read", folder: self.spilled.folder.clone(), source });
        };
        self.end = self.at.saturating_add(packed.bytes.len());
        Ok(true)
    }

    /// The key of the current record.
    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        let bytes = self.block.get(self.at..).unwrap_or_default();
        self.head.as_ref().map_or(&[], |head| head.key(bytes))
    }

    #[inline]
    pub(super) fn packed(&self) -> Option<Packed<'_>> {
        self.head.as_ref()?.packed(self.block.get(self.at..)?)
    }

    pub(super) fn spilled(&self) -> &Spilled {
        &self.spilled
    }
}

/// Writes records in order to a temporary file, where it is given a cut only those that a fold at it still needs.
pub(super) struct FoldingWriter {
    writer: SpillWriter,
    cut: Option<Cut>,
    choice: Option<Choice>,
    /// The record that may be written, packed.
    kept: Vec<u8>,
    users: Users,
    scratch: Vec<u8>,
    all_before: bool,
}

impl FoldingWriter {
    pub(super) fn new(writer: SpillWriter, cut: Option<Cut>) -> Self {
        let (kept, users, scratch) = (Vec::new(), Users::default(), Vec::new());
        Self { writer, cut, choice: cut.map(Choice::new), kept, users, scratch, all_before: cut.is_some() }
    }

    /// Adds the next record; whether it is of another key than the one before it.
    pub(super) fn push(&mut self, record: &Record<'_>) -> Result<bool, MergeError> {
        let other = Packed::first(&self.kept).is_none_or(|kept| kept.key != record.key);
        let images = if let (Some(cut), Some(choice), RecordKind::Change(_)) = (self.cut, &mut self.choice, record.kind)
        {
            if other {
                choice.reset();
            }
            let first = choice.is_empty();
            if !choice.takes(record.sequence, record.second) {
                return Ok(other);
            }
            // What was kept of the key is needed no more, but for what a snapshot has of it.
            if !first {
                self.kept.clear();
            }
            Images::ForCut(cut)
        } else {
            self.choice.iter_mut().for_each(Choice::reset);
            Images::Both
        };
        self.write()?;
        pack(&mut self.kept, record, images, &mut self.users, &mut self.scratch);
        Ok(other)
    }

    fn write(&mut self) -> Result<(), MergeError> {
        if let Some(kept) = Packed::first(&self.kept) {
            self.all_before &=
                kept.order().is_some() && self.cut.is_some_and(|cut| cut.has(kept.sequence, kept.second));
            self.writer.push(kept.bytes, kept.key)?;
        }
        self.kept.clear();
        Ok(())
    }

    /// The file, open for reading; none when nothing was pushed.
    pub(super) fn finish(mut self) -> Result<Option<Arc<Spilled>>, MergeError> {
        self.write()?;
        self.writer.finish(self.users, self.all_before)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::format::OldImage;
    use crate::model::{ChangeKind, SequenceNumber};

    fn spilled(before: u64) -> (tempfile::TempDir, Arc<Spilled>) {
        let folder = tempfile::tempdir().unwrap();
        let writer = SpillWriter::new(folder.path().to_owned(), before).unwrap();
        let mut writer = FoldingWriter::new(writer, None);
        for number in 0..5000u64 {
            let key = format!("{number:05}");
            writer
                .push(&Record {
                    key: key.as_bytes(),
                    sequence: SequenceNumber::parse(&number.to_string()).unwrap(),
                    second: None,
                    kind: RecordKind::Change(ChangeKind::Modify),
                    new: Some(&[7; 100]),
                    old: OldImage::Whole(b"old"),
                    user: None,
                })
                .unwrap();
        }
        (folder, writer.finish().unwrap().unwrap())
    }

    fn keys(spilled: &Arc<Spilled>, keys: Option<&Range<&[u8]>>) -> Result<Vec<Vec<u8>>, MergeError> {
        let mut cursor = SpilledCursor::new(spilled.clone(), keys);
        let mut found = Vec::new();
        while cursor.advance()? {
            let packed = cursor.packed().unwrap();
            assert_eq!((packed.new.map(<[u8]>::len), packed.old), (Some(100), Some(&b"old"[..])));
            found.push(packed.key.to_vec());
        }
        Ok(found)
    }

    #[test]
    fn what_was_written_is_read_from_any_key_on_compressed_or_not() {
        for before in [0, PLAIN_BYTES_MAX + 1] {
            let (_folder, spilled) = spilled(before);
            assert_eq!(spilled.size() < 200 << 10, before > 0);
            let all = keys(&spilled, None).unwrap();
            assert_eq!(all.len(), 5000);
            assert_eq!(spilled.ends(), Some((&b"00000"[..], &b"04999"[..])));
            let part = keys(&spilled, Some(&(&b"01234"[..]..&b"01300"[..]))).unwrap();
            assert!(part.len() < 3000 && part.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(part[0].as_slice() <= &b"01234"[..] && part[part.len() - 1].as_slice() >= &b"01299"[..]);
        }
    }

    #[test]
    fn a_block_that_ends_within_a_record_is_an_error_and_no_end() {
        let (_folder, spilled) = spilled(0);
        let mut cursor = SpilledCursor::new(spilled, None);
        assert!(cursor.advance().unwrap());
        cursor.block.pop();
        let mut found = 1;
        let error = loop {
            match cursor.advance() {
                Ok(true) => found += 1,
                Ok(false) => panic!("an end after {found} records"),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, MergeError::Spill { action: "read", .. }) && found > 1 && found < 5000,
            "{found} {error}"
        );
    }

    #[test]
    fn a_bit_that_the_disk_lost_is_an_error() {
        for before in [0, PLAIN_BYTES_MAX + 1] {
            let (_folder, spilled) = spilled(before);
            let at = spilled.size() / 2;
            let mut byte = [0];
            let file = spilled.file.lock().unwrap();
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            drop(file);
            assert!(matches!(keys(&spilled, None), Err(MergeError::Spill { action: "read", .. })));
        }
    }
}
