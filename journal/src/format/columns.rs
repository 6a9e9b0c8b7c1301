//! Columns: the records of a block in five chunks, what a replay needs before what only history needs. FORMAT.md, "Records in
//! blocks".

use std::ops::Range;

use super::block::{Base, FLAG_GOES_ON, FLAG_SUPERSEDED, Head, OldState, Record, put_key};
use super::wire::{put_length, shared_prefix, shared_suffix};

/// So many bytes of differences, and of superseded images before their differences are known, count as one: little is stored of
/// them.
pub(super) const SUPERSEDED_SHARE: usize = 4;
/// The same for superseded images as they are put together, at least.
const BUILT_SHARE: usize = 16;
/// What a record takes beside its images, about.
const RECORD_BYTES: usize = 12;

/// Records of one block, being gathered: raw chunks, and the records of the last key.
#[derive(Debug, Default)]
pub(super) struct ColumnBlock {
    pub(super) keys: Vec<u8>,
    pub(super) latest: Vec<u8>,
    pub(super) images: Vec<u8>,
    pub(super) superseded: Vec<u8>,
    pub(super) differences: Vec<u8>,
    /// Bytes of all superseded images that are in the chunks.
    superseded_bytes: usize,
    gathered: Vec<Gathered>,
    /// Images of these.
    pool: Vec<u8>,
}

/// A record of the key that is being gathered; its images lie in the pool.
#[derive(Debug)]
struct Gathered {
    head: Head,
    new: Option<Range<usize>>,
    /// Where it is stored.
    old: Option<Range<usize>>,
}

impl ColumnBlock {
    pub(super) fn fill(&self) -> usize {
        let last = self.gathered.last().and_then(|record| record.new.as_ref()).map_or(0, Range::len);
        let others = self.pool.len() - last;
        let superseded = (self.differences.len() / SUPERSEDED_SHARE).max(self.superseded_bytes / BUILT_SHARE);
        self.keys.len()
            + self.latest.len()
            + self.images.len()
            + self.superseded.len()
            + superseded
            + last
            + others / SUPERSEDED_SHARE
            + self.gathered.len() * RECORD_BYTES
    }

    pub(super) fn clear(&mut self) {
        for buffer in [
            &mut self.keys,
            &mut self.latest,
            &mut self.images,
            &mut self.superseded,
            &mut self.differences,
            &mut self.pool,
        ] {
            buffer.clear();
        }
        self.superseded_bytes = 0;
        self.gathered.clear();
    }

    pub(super) fn push(
        &mut self,
        record: &Record<'_>,
        old: Option<&[u8]>,
        user: Option<usize>,
        base: Base,
        same_key: bool,
        last_key: &mut Vec<u8>,
    ) {
        if !same_key {
            self.end_key(false, base);
            put_key(&mut self.keys, last_key, record.key);
        }
        let before = self.gathered.last().and_then(|before| self.pool.get(before.new.clone()?));
        let head = Head {
            kind: record.kind,
            sequence: record.sequence,
            second: record.second,
            user,
            old: OldState::of(old, before),
        };
        let old = old.filter(|_| head.old == OldState::Stored).map(|old| self.keep(old));
        let new = record.new.map(|new| self.keep(new));
        self.gathered.push(Gathered { head, new, old });
    }

    fn keep(&mut self, image: &[u8]) -> Range<usize> {
        self.pool.extend_from_slice(image);
        self.pool.len() - image.len()..self.pool.len()
    }

    /// Writes the records of the key that was gathered; `goes_on` says that its last one here is not its latest.
    pub(super) fn end_key(&mut self, goes_on: bool, base: Base) {
        let Some((last, before)) = self.gathered.split_last() else { return };
        let pool = self.pool.as_slice();
        let image = |place: &Option<Range<usize>>| place.clone().and_then(|place| pool.get(place));
        let superseded = if goes_on { self.gathered.as_slice() } else { before };
        let count = if superseded.is_empty() { 0 } else { FLAG_SUPERSEDED };
        let mut other: &[u8] = &[];
        if goes_on {
            self.latest.push(FLAG_GOES_ON | count);
        } else {
            self.latest.push(last.head.flags() | count);
            last.head.put_rest(&mut self.latest, base);
            if let Some(new) = image(&last.new) {
                put_length(&mut self.latest, new.len());
                self.images.extend_from_slice(new);
                other = new;
            }
        }
        if !superseded.is_empty() {
            put_length(&mut self.latest, superseded.len());
        }
        let latest = other;
        let (meta, middles) = (&mut self.superseded, &mut self.differences);
        for record in superseded {
            meta.push(record.head.flags());
            record.head.put_rest(meta, base);
            let new = image(&record.new);
            if let Some(new) = new {
                put_difference(meta, middles, new, other);
                self.superseded_bytes += new.len();
            }
            if let Some(old) = image(&record.old) {
                put_difference(meta, middles, old, new.unwrap_or_default());
            }
            other = new.unwrap_or(latest);
        }
        if !goes_on && let Some(old) = image(&last.old) {
            put_difference(meta, middles, old, image(&last.new).unwrap_or_default());
        }
        self.gathered.clear();
        self.pool.clear();
    }
}

/// Appends what an image has that another has not.
fn put_difference(meta: &mut Vec<u8>, middles: &mut Vec<u8>, image: &[u8], other: &[u8]) {
    let prefix = shared_prefix(other, image);
    let (other_rest, rest) = (other.get(prefix..).unwrap_or_default(), image.get(prefix..).unwrap_or_default());
    let suffix = shared_suffix(other_rest, rest);
    let middle = rest.get(..rest.len() - suffix).unwrap_or_default();
    put_length(meta, prefix);
    put_length(meta, suffix);
    put_length(meta, middle.len());
    middles.extend_from_slice(middle);
}
