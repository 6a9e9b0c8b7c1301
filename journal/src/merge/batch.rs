//! Small runs, read whole and sorted together in memory: cheaper than a place in the heap for each, and than a block of each held open.

use std::sync::Arc;

use super::MergeError;
use super::packed::{Choice, Head, Images, Packed, Users, pack, packed_bytes_max};
use super::spill::{SpillWriter, Spilled};
use crate::cut::Cut;
use crate::format::{Record, shared_prefix};

/// Memory is taken in pieces of this size, which are used again by the next batch.
const PIECE_BYTES: usize = 256 << 10;

/// Records from one key to the next where keys are sampled.
const SAMPLE: usize = 256;

/// Where a record lies, with some bytes of its key: what is sorted, so that most comparisons touch no record.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Sixteen bytes of the key, behind what all keys of the batch begin with where that is long.
    head: u128,
    piece: u32,
    offset: u32,
}

/// Heads are of the keys' beginnings while no more than so many bytes are common to all.
const SHARED_MAX: usize = 8;

fn head_of(key: &[u8]) -> u128 {
    let mut bytes = [0u8; 16];
    match key.first_chunk::<16>() {
        Some(first) => bytes = *first,
        None => bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from),
    }
    u128::from_be_bytes(bytes)
}

/// What is counted while records are sorted together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copies {
    /// Records that were in more than one run.
    pub(super) duplicates: u64,
    /// Of these, those that did not say the same.
    pub(super) contradictions: u64,
}

/// A batch that is being filled.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    pieces: Vec<Vec<u8>>,
    /// Pieces that are empty.
    spare: Vec<Vec<u8>>,
    places: Vec<Place>,
    users: Users,
    lowest: Vec<u8>,
    highest: Vec<u8>,
    scratch: Vec<u8>,
    /// Memory of the pieces.
    bytes: usize,
    /// Whether a record was added that has not happened at the cut.
    any_after: bool,
}

impl Gathering {
    /// Adds a record; in any order.
    pub(super) fn add(&mut self, record: &Record<'_>, images: Images) -> Result<(), MergeError> {
        let most = packed_bytes_max(record);
        let full = self.pieces.last().is_none_or(|piece| piece.capacity() - piece.len() < most);
        if full {
            let spare = if most <= PIECE_BYTES { self.spare.pop() } else { None };
            let piece = spare.unwrap_or_else(|| Vec::with_capacity(most.max(PIECE_BYTES)));
            self.bytes = self.bytes.saturating_add(piece.capacity());
            self.pieces.push(piece);
        }
        let number = self.pieces.len() - 1;
        let piece = self.pieces.last_mut().ok_or(MergeError::Packed)?;
        let number = u32::try_from(number).map_err(|_| MergeError::Packed)?;
        let offset = u32::try_from(piece.len()).map_err(|_| MergeError::Packed)?;
        pack(piece, record, images, &mut self.users, &mut self.scratch);
        self.any_after |= match images {
            Images::ForCut(cut) => !cut.has(record.sequence, record.second),
            Images::Both => true,
        };
        if self.places.is_empty() || record.key < self.lowest.as_slice() {
            self.lowest.clear();
            self.lowest.extend_from_slice(record.key);
        }
        if record.key > self.highest.as_slice() {
            self.highest.clear();
            self.highest.extend_from_slice(record.key);
        }
        self.places.push(Place { head: head_of(record.key), piece: number, offset });
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Memory that it takes and will take to be sorted, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        // Sorting takes as much again.
        self.bytes.saturating_add(self.places.len().saturating_mul(2 * size_of::<Place>()))
    }

    /// Sorts what was added, without copies of records; with `thin`, without what a fold at that cut does not need. The records are given
    /// up, their memory is not. `compare` says whether copies are compared.
    pub(super) fn finish(&mut self, thin: Option<Cut>, compare: bool) -> Result<(Batch, Copies), MergeError> {
        let pieces = std::mem::take(&mut self.pieces);
        let mut places = std::mem::take(&mut self.places);
        let users = std::mem::take(&mut self.users);
        let shared = shared_prefix(&self.lowest, &self.highest);
        self.lowest.clear();
        self.highest.clear();
        self.bytes = 0;
        if shared > SHARED_MAX {
            for place in &mut places {
                let key = packed_at(&pieces, *place).map_or(&[][..], |packed| packed.key);
                place.head = head_of(key.get(shared..).unwrap_or_default());
            }
        }
        // Runs are sorted already, which this sort makes use of. Copies stay in the order in which they came.
        places.sort_by(|a, b| {
            a.head.cmp(&b.head).then_with(|| match (packed_at(&pieces, *a), packed_at(&pieces, *b)) {
                (Some(a), Some(b)) => a.compare(&b),
                _ => std::cmp::Ordering::Equal,
            })
        });
        let (mut copies, mut count, mut at) = (Copies::default(), 0usize, 0usize);
        let mut choice = thin.map(Choice::new);
        while let Some(first) = places.get(at).copied() {
            let same = places.iter().skip(at).take_while(|place| place.head == first.head).count();
            if same == 1 {
                // No other record has its key.
                keep(&mut places, &mut count, first);
            } else {
                let mut last: Option<Packed<'_>> = None;
                for at in at..at + same {
                    let Some(place) = places.get(at).copied() else { break };
                    let packed = packed_at(&pieces, place).ok_or(MergeError::Packed)?;
                    let same_key = last.is_some_and(|last| last.key == packed.key);
                    let earlier =
                        last.filter(|last| same_key && last.order() == packed.order() && last.order().is_some());
                    if let Some(last) = earlier {
                        copies.duplicates += 1;
                        copies.contradictions += u64::from(compare && !last.says_the_same(&packed, &users));
                        continue;
                    }
                    last = Some(packed);
                    if let Some(choice) = &mut choice {
                        if !same_key {
                            choice.reset();
                        }
                        if !choice.takes(packed.sequence, packed.second) {
                            continue;
                        }
                        // The one that was chosen before is needed no more.
                        count -= usize::from(same_key);
                    }
                    keep(&mut places, &mut count, place);
                }
            }
            at += same;
        }
        places.truncate(count);
        let all_before = !std::mem::take(&mut self.any_after);
        Ok((Batch { pieces, places, users, all_before }, copies))
    }

    /// Takes back the memory of a batch that is not needed any more.
    pub(super) fn reuse(&mut self, batch: Batch) {
        for mut piece in batch.pieces {
            if piece.capacity() == PIECE_BYTES {
                piece.clear();
                self.spare.push(piece);
            }
        }
        let mut places = batch.places;
        places.clear();
        self.places = places;
    }
}

/// Puts a place behind those that were kept before it.
fn keep(places: &mut [Place], count: &mut usize, place: Place) {
    if let Some(slot) = places.get_mut(*count) {
        *slot = place;
    }
    *count += 1;
}

fn bytes_at(pieces: &[Vec<u8>], place: Place) -> Option<&[u8]> {
    pieces.get(usize::try_from(place.piece).ok()?)?.get(usize::try_from(place.offset).ok()?..)
}

fn packed_at(pieces: &[Vec<u8>], place: Place) -> Option<Packed<'_>> {
    Packed::first(bytes_at(pieces, place)?)
}

/// Records sorted by key and sequence number, each once.
#[derive(Debug)]
pub(super) struct Batch {
    pieces: Vec<Vec<u8>>,
    places: Vec<Place>,
    users: Users,
    /// Whether each key has one record, which has happened at the cut.
    all_before: bool,
}

impl Batch {
    pub(super) fn get(&self, at: usize) -> Option<Packed<'_>> {
        packed_at(&self.pieces, *self.places.get(at)?)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn users(&self) -> &Users {
        &self.users
    }

    pub(super) fn all_before(&self) -> bool {
        self.all_before
    }

    /// The place of the first record whose key is not below `key`.
    pub(super) fn find(&self, key: &[u8]) -> usize {
        self.places.partition_point(|place| packed_at(&self.pieces, *place).is_some_and(|packed| packed.key < key))
    }

    /// Its first and last key.
    pub(super) fn ends(&self) -> Option<(&[u8], &[u8])> {
        Some((self.get(0)?.key, self.get(self.len().checked_sub(1)?)?.key))
    }

    /// Keys here and there, with the bytes from each to the next.
    pub(super) fn sample(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let bytes: usize = self.pieces.iter().map(Vec::len).sum();
        let each = bytes / self.len().max(1) * SAMPLE;
        (0..self.len()).step_by(SAMPLE).filter_map(move |at| Some((self.get(at)?.key, each)))
    }

    /// Memory that it takes, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(Vec::capacity).sum();
        pieces.saturating_add(self.places.capacity().saturating_mul(size_of::<Place>()))
    }

    /// Writes it to a temporary file.
    pub(super) fn spill(&self, mut writer: SpillWriter) -> Result<Option<Arc<Spilled>>, MergeError> {
        for at in 0..self.len() {
            let packed = self.get(at).ok_or(MergeError::Packed)?;
            writer.push(packed.bytes, packed.key)?;
        }
        writer.finish(self.users.clone(), self.all_before)
    }
}

/// A place in a batch.
#[derive(Debug)]
pub(super) struct BatchCursor {
    batch: Arc<Batch>,
    places: std::ops::Range<usize>,
    /// The current record: its place and its head.
    here: Option<(Place, Head)>,
}

impl BatchCursor {
    /// Stands before the first record of a half-open range of places.
    pub(super) fn new(batch: Arc<Batch>, places: std::ops::Range<usize>) -> Self {
        Self { batch, places, here: None }
    }

    /// Goes to the next record; false at the end.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<bool, MergeError> {
        let Some(at) = self.places.next() else { return Ok(false) };
        let head = |place: Place| Some((place, Head::read(bytes_at(&self.batch.pieces, place)?)?));
        self.here = Some(self.batch.places.get(at).copied().and_then(head).ok_or(MergeError::Packed)?);
        Ok(true)
    }

    /// The key of the current record.
    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        let Some((place, head)) = &self.here else { return &[] };
        bytes_at(&self.batch.pieces, *place).map_or(&[], |bytes| head.key(bytes))
    }

    #[inline]
    pub(super) fn packed(&self) -> Option<Packed<'_>> {
        let (place, head) = self.here.as_ref()?;
        head.packed(bytes_at(&self.batch.pieces, *place)?)
    }

    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{OldImage, RecordKind};
    use crate::model::{ChangeKind, SequenceNumber};

    fn filled() -> Gathering {
        let mut gathering = Gathering::default();
        for number in 1..=10u64 {
            let record = Record {
                key: b"a",
                sequence: SequenceNumber::parse(&number.to_string()).unwrap(),
                second: None,
                kind: RecordKind::Change(ChangeKind::Modify),
                new: Some(b"image"),
                old: OldImage::None,
                user: None,
            };
            gathering.add(&record, Images::Both).unwrap();
        }
        gathering
    }

    #[test]
    fn a_record_that_is_not_there_any_more_is_an_error_and_not_passed_over() {
        let mut gathering = filled();
        gathering.pieces[0].pop();
        assert!(matches!(gathering.finish(None, true), Err(MergeError::Packed)));

        let (mut batch, _) = filled().finish(None, true).unwrap();
        assert_eq!(batch.len(), 10);
        batch.pieces[0].pop();
        let writer = SpillWriter::new(std::env::temp_dir(), 0).unwrap();
        assert!(matches!(batch.spill(writer), Err(MergeError::Packed)));
        batch.pieces.clear();
        let mut cursor = BatchCursor::new(Arc::new(batch), 0..10);
        assert!(matches!(cursor.advance(), Err(MergeError::Packed)));
    }
}
