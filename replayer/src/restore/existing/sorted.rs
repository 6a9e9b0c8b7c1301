//! Keys and hashes, sorted on disk: what a table has, in the order of the journal.
//!
//! What enters are keys in any order; what leaves are the same, sorted. Memory is bounded by [`CHUNK_BYTES`] and one buffer a
//! chunk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};

use crate::digest::{HASH_BYTES, ItemHash};

/// Bytes of keys that are sorted in memory.
const CHUNK_BYTES: usize = 32 << 20;
/// What a key takes in memory beside its bytes.
const OVERHEAD: usize = 80;

/// A key and the hash of its item.
pub(super) type Entry = (Vec<u8>, ItemHash);

/// Takes keys, and writes sorted chunks.
pub(super) struct Sorter {
    chunk: Vec<Entry>,
    bytes: usize,
    bytes_max: usize,
    chunks: Vec<File>,
}

impl Default for Sorter {
    fn default() -> Self {
        Self { chunk: Vec::new(), bytes: 0, bytes_max: CHUNK_BYTES, chunks: Vec::new() }
    }
}

impl Sorter {
    /// A sorter with chunks of so many bytes.
    #[cfg(test)]
    pub(super) fn with_chunks(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    pub(super) fn add(&mut self, key: Vec<u8>, hash: ItemHash) -> io::Result<()> {
        self.bytes += key.len() + OVERHEAD;
        self.chunk.push((key, hash));
        if self.bytes < self.bytes_max { Ok(()) } else { self.end_chunk() }
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        self.bytes = 0;
        let mut chunk = std::mem::take(&mut self.chunk);
        if chunk.is_empty() {
            return Ok(());
        }
        chunk.sort_unstable();
        let mut file = BufWriter::new(tempfile::tempfile()?);
        for (key, hash) in chunk {
            let length = u32::try_from(key.len()).map_err(io::Error::other)?;
            file.write_all(&length.to_le_bytes())?;
            file.write_all(&key)?;
            file.write_all(&hash.to_bytes())?;
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.chunks.push(file);
        Ok(())
    }

    /// All that the sorters took, sorted.
    pub(super) fn merge(sorters: Vec<Self>) -> io::Result<Sorted> {
        let mut readers = Vec::new();
        for mut sorter in sorters {
            sorter.end_chunk()?;
            readers.extend(sorter.chunks.into_iter().map(BufReader::new));
        }
        let mut heap = BinaryHeap::new();
        for (at, reader) in readers.iter_mut().enumerate() {
            if let Some(entry) = read(reader)? {
                heap.push(Reverse((entry, at)));
            }
        }
        Ok(Sorted { readers, heap })
    }
}

/// Gives entries in order.
pub(super) struct Sorted {
    readers: Vec<BufReader<File>>,
    heap: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Sorted {
    /// The key that comes next.
    pub(super) fn peek(&self) -> Option<&[u8]> {
        self.heap.peek().map(|Reverse(((key, _), _))| key.as_slice())
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let Some(Reverse((entry, at))) = self.heap.pop() else { return Ok(None) };
        if let Some(reader) = self.readers.get_mut(at)
            && let Some(more) = read(reader)?
        {
            self.heap.push(Reverse((more, at)));
        }
        Ok(Some(entry))
    }
}

fn read(from: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    let mut key = vec![0; length];
    from.read_exact(&mut key)?;
    let mut hash = [0; HASH_BYTES];
    from.read_exact(&mut hash)?;
    Ok(Some((key, ItemHash::from_bytes(hash))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_chunks_come_back_as_one_sorted_sequence() {
        let mut sorters = vec![Sorter::with_chunks(1000), Sorter::with_chunks(500)];
        let mut expected = Vec::new();
        for at in 0..500u32 {
            let key = (at.wrapping_mul(2_654_435_761) % 10_007).to_be_bytes().to_vec();
            let hash = ItemHash::of_bytes(&key, &[]);
            expected.push((key.clone(), hash));
            sorters[usize::from(at % 3 == 0)].add(key, hash).unwrap();
        }
        expected.sort_unstable();
        let mut sorted = Sorter::merge(sorters).unwrap();
        let mut found = Vec::new();
        while let Some(entry) = sorted.next().unwrap() {
            found.push(entry);
        }
        assert_eq!(found, expected);
        assert!(sorted.peek().is_none());
    }
}
