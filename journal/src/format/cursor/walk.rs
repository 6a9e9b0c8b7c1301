//! From one record of a block to the next. FORMAT.md, "Records in blocks".

use super::{BlockCursor, Columns, Difference, New, Old, Parsed};
use crate::format::block::{
    FLAG_GOES_ON, FLAG_NEW, FLAG_SAME_KEY, FLAG_SECOND, FLAG_SUPERSEDED, FLAG_USER, OLD_SHIFT, OldState, RecordKind,
    has_image,
};
use crate::format::error::Problem;
use crate::format::footer::{Footer, RunKind};
use crate::format::wire::Wire;
use crate::model::{ChangeKind, Second, SequenceNumber};

/// Longer keys than any are refused before memory is taken for them.
const KEY_BYTES_MAX: usize = 64 << 10;

impl BlockCursor {
    pub(super) fn check_end(&self) -> Result<bool, Problem> {
        let at = self.at;
        let mut whole = at.meta == self.meta.len() && at.keys == self.keys.len() && self.latest.is_none();
        if self.footer.kind != RunKind::Rows {
            whole &= self.columns < Columns::Latest || at.images == self.images_end;
            whole &= at.history == self.history.len();
            whole &= self.columns < Columns::New || self.images_end + at.middles == self.images.len();
        }
        if whole {
            return Ok(false);
        }
        Err(Problem::Malformed { part: "block", reason: "bytes follow its last record".to_owned() })
    }

    #[inline]
    pub(super) fn step_rows(&mut self) -> Result<bool, Problem> {
        let mut wire = Wire::at(&self.meta, self.at.meta, "block");
        let flags = wire.byte()?;
        let same_key = flags & FLAG_SAME_KEY != 0;
        if !same_key {
            read_key(&mut wire, &mut self.key)?;
        } else if !self.started {
            return Err(wire.malformed("the first record has no key"));
        }
        parse(&mut self.record, &mut wire, flags, &self.footer, &self.base, self.base_second)?;
        if has_image(self.record.kind) != (flags & FLAG_NEW != 0) {
            return Err(wire.malformed("a record without the image its kind needs"));
        }
        let before = std::mem::take(&mut self.new);
        if flags & FLAG_NEW != 0 {
            let length = wire.length()?;
            wire.take(length)?;
            self.new = New::Stored(wire.position() - length..wire.position());
        }
        self.old = match self.record.old {
            OldState::None => Old::None,
            OldState::Same if same_key && !matches!(before, New::None) => Old::Same(before),
            OldState::Same => return Err(wire.malformed("an old image equal to one that is not there")),
            OldState::Stored => {
                let length = wire.length()?;
                wire.take(length)?;
                Old::Whole(wire.position() - length..wire.position())
            }
        };
        self.at.meta = wire.position();
        self.left -= 1;
        self.started = true;
        Ok(true)
    }

    /// Goes to the next key of a block of columns: reads what the first area has of it. Its latest record is then the current one, if
    /// there is one; the number tells its superseded records.
    #[inline]
    fn step_key(&mut self) -> Result<u64, Problem> {
        let mut wire = Wire::at(&self.keys, self.at.keys, "keys");
        let more = read_key(&mut wire, &mut self.key)?;
        if !more && self.started {
            return Err(wire.malformed("keys are not in order"));
        }
        self.at.keys = wire.position();
        self.started = true;
        let mut wire = Wire::at(&self.meta, self.at.meta, "block");
        let flags = wire.byte()?;
        self.goes_on = flags & FLAG_GOES_ON != 0;
        self.new = New::None;
        if !self.goes_on {
            parse(&mut self.record, &mut wire, flags, &self.footer, &self.base, self.base_second)?;
            if has_image(self.record.kind) {
                let length = wire.length()?;
                let start = self.at.images;
                let end = start.checked_add(length).filter(|end| *end <= self.images_end);
                self.at.images = end.ok_or_else(|| wire.malformed("a new image's length"))?;
                self.new = New::Stored(start..self.at.images);
            }
        } else if flags != FLAG_GOES_ON | FLAG_SUPERSEDED {
            return Err(wire.malformed("a key that goes on with unknown bits"));
        }
        let mut superseded = 0;
        if flags & FLAG_SUPERSEDED != 0 {
            superseded = wire.varint()?;
            // Where the key goes on, nothing follows in the block.
            let most = if self.goes_on { self.left } else { self.left.saturating_sub(1) };
            if superseded == 0
                || superseded > most
                || (self.goes_on && superseded < most)
                || self.footer.kind == RunKind::Snapshot
            {
                return Err(wire.malformed("a number of superseded records"));
            }
        }
        self.at.meta = wire.position();
        Ok(superseded)
    }

    #[inline]
    pub(super) fn step_latest(&mut self) -> Result<bool, Problem> {
        loop {
            // No more than are left: that was checked.
            self.left -= self.step_key()?;
            if !self.goes_on {
                self.left -= 1;
                self.old = if self.record.old == OldState::None { Old::None } else { Old::NotRead };
                return Ok(true);
            }
            if self.left == 0 {
                return self.check_end();
            }
        }
    }

    pub(super) fn step_all(&mut self) -> Result<bool, Problem> {
        let same_key = self.superseded > 0 || self.latest.is_some();
        let before = std::mem::take(&mut self.new);
        let has_before = same_key && !matches!(before, New::None);
        if has_before {
            let [now, last] = &mut self.built;
            std::mem::swap(now, last);
        }
        if !same_key {
            self.superseded = self.step_key()?;
            if self.superseded > 0 {
                let image = std::mem::take(&mut self.new);
                self.latest = (!self.goes_on).then_some(self.record);
                self.latest_image = if let New::Stored(range) = image { Some(range) } else { None };
            }
        }
        let mut wire = Wire::at(&self.history, self.at.history, "block");
        let with_images = self.columns >= Columns::New;
        let mut middle = self.images_end.saturating_add(self.at.middles);
        if self.superseded > 0 {
            let flags = wire.byte()?;
            if flags & (FLAG_SUPERSEDED | FLAG_GOES_ON) != 0 {
                return Err(wire.malformed("a superseded record with unknown bits"));
            }
            parse(&mut self.record, &mut wire, flags, &self.footer, &self.base, self.base_second)?;
            if has_image(self.record.kind) {
                let difference = Difference::read(&mut wire, &mut middle)?;
                self.new = New::Built;
                if with_images {
                    let [now, last] = &mut self.built;
                    let latest = self.latest_image.clone().and_then(|range| self.images.get(range));
                    let other = if has_before { last.as_slice() } else { latest.unwrap_or_default() };
                    difference.check(&wire, other.len(), self.images.len())?;
                    difference.build(other, &self.images, now);
                }
            }
            self.superseded -= 1;
        } else if let Some(record) = self.latest.take() {
            self.record = record;
            self.new = self.latest_image.take().map_or(New::None, New::Stored);
        }
        self.old = match self.record.old {
            OldState::None => Old::None,
            OldState::Same if has_before => Old::Same(New::Built),
            OldState::Same => return Err(wire.malformed("an old image equal to one that is not there")),
            OldState::Stored => {
                let difference = Difference::read(&mut wire, &mut middle)?;
                if with_images {
                    difference.check(&wire, self.image(&self.new).map_or(0, <[u8]>::len), self.images.len())?;
                }
                if self.columns == Columns::All { Old::Difference(difference) } else { Old::NotRead }
            }
        };
        self.at.history = wire.position();
        self.at.middles = middle.saturating_sub(self.images_end);
        self.left -= 1;
        Ok(true)
    }
}

/// Reads a key relative to the one before it; whether it has bytes that the other has not.
#[inline]
fn read_key(wire: &mut Wire<'_>, key: &mut Vec<u8>) -> Result<bool, Problem> {
    let shared = wire.length()?;
    let rest = wire.bytes()?;
    if shared > key.len() || shared + rest.len() > KEY_BYTES_MAX {
        return Err(wire.malformed("a key's length"));
    }
    key.truncate(shared);
    key.extend_from_slice(rest);
    Ok(!rest.is_empty())
}

/// What follows the flags (and, in rows, the key) of every record.
#[inline]
fn parse(
    record: &mut Parsed,
    wire: &mut Wire<'_>,
    flags: u8,
    footer: &Footer,
    base: &([u8; 17], u8),
    base_second: u64,
) -> Result<(), Problem> {
    record.kind = match (flags & 3, footer.kind) {
        (0, RunKind::Rows | RunKind::Columns) => RecordKind::Change(ChangeKind::Insert),
        (1, RunKind::Rows | RunKind::Columns) => RecordKind::Change(ChangeKind::Modify),
        (2, RunKind::Rows | RunKind::Columns) => RecordKind::Change(ChangeKind::Remove),
        (2, RunKind::Snapshot) => RecordKind::Tombstone,
        (3, RunKind::Snapshot) => RecordKind::Item,
        _ => return Err(wire.malformed("a record of the wrong sort")),
    };
    // An item has no old image: these bits say there whether its sequence number follows.
    let (old, sequence_follows) = match ((flags >> OLD_SHIFT) & 3, record.kind) {
        (bits @ 0..=1, RecordKind::Item) => (OldState::None, bits == 1),
        (0, _) => (OldState::None, true),
        (1, RecordKind::Change(_)) => (OldState::Same, true),
        (2, RecordKind::Change(_)) => (OldState::Stored, true),
        _ => return Err(wire.malformed("an old image of an unknown sort")),
    };
    record.old = old;
    record.sequence = if sequence_follows { wire.sequence(base)? } else { SequenceNumber::MIN };
    record.second = if flags & FLAG_SECOND == 0 {
        None
    } else {
        let second = base_second.checked_add(wire.varint()?).and_then(|second| Second::new(second).ok());
        Some(second.ok_or_else(|| wire.malformed("a second is too large"))?)
    };
    record.user = if flags & FLAG_USER == 0 {
        None
    } else {
        let number = wire.length()?;
        if number >= footer.users.len() {
            return Err(wire.malformed("a user that is not listed"));
        }
        Some(number)
    };
    Ok(())
}

impl Difference {
    /// Reads one, whose middle begins at `middle`, and leaves that where the next begins.
    fn read(wire: &mut Wire<'_>, middle: &mut usize) -> Result<Self, Problem> {
        let (prefix, suffix, length) = (wire.length()?, wire.length()?, wire.length()?);
        let end = middle.checked_add(length).ok_or_else(|| wire.malformed("a length is too large"))?;
        let start = std::mem::replace(middle, end);
        Ok(Self { prefix, suffix, middle: start..end })
    }

    /// Whether there is as much of the other image, and of middles.
    fn check(&self, wire: &Wire<'_>, other: usize, images: usize) -> Result<(), Problem> {
        if self.prefix.checked_add(self.suffix).is_none_or(|both| both > other) {
            return Err(wire.malformed("an image keeps more of another than there is"));
        }
        if self.middle.end > images {
            return Err(wire.malformed("an image's length"));
        }
        Ok(())
    }

    fn build(&self, other: &[u8], images: &[u8], into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(other.get(..self.prefix).unwrap_or_default());
        into.extend_from_slice(images.get(self.middle.clone()).unwrap_or_default());
        into.extend_from_slice(other.get(other.len().saturating_sub(self.suffix)..).unwrap_or_default());
    }
}
