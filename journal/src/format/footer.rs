//! The footer: what a run says of itself. FORMAT.md, "Footer".

use super::error::Problem;
use super::time::TimeFields;
use super::wire::{Wire, put_bytes, put_length, put_varint};
use crate::model::{KeyAttribute, KeyAttributes, KeyType, Second, SequenceNumber, StreamArn, UserIdentity};

const USERS_MAX: usize = 1 << 16;

/// What a run holds, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    /// Change records, row blocks.
    Rows,
    /// Change records, column blocks.
    Columns,
    /// Items of a snapshot, column blocks.
    Snapshot,
}

impl RunKind {
    /// Chunks of one block.
    pub(super) fn chunks(self) -> usize {
        match self {
            Self::Rows => 1,
            Self::Columns | Self::Snapshot => 5,
        }
    }
}

/// Counts and bounds of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Records, or items in a snapshot part.
    pub records: u64,
    /// INSERTs.
    pub inserts: u64,
    /// MODIFYs.
    pub modifies: u64,
    /// REMOVEs.
    pub removes: u64,
    /// Records without a second.
    pub undated: u64,
    /// Distinct keys.
    pub keys: u64,
    /// Raw bytes of all chunks.
    pub raw_bytes: u64,
    /// First and last second; none when no record has one.
    pub seconds: Option<(Second, Second)>,
}

/// The footer of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// What the run holds.
    pub kind: RunKind,
    /// The stream.
    pub stream: StreamArn,
    /// Names and types of the key's attributes.
    pub key_attributes: KeyAttributes,
    /// Counts and bounds.
    pub statistics: Statistics,
    /// First and last sequence number.
    pub sequences: (SequenceNumber, SequenceNumber),
    /// The last key.
    pub last_key: Vec<u8>,
    /// Users that records refer to.
    pub users: Vec<UserIdentity>,
    pub(super) filter_pages: usize,
    pub(super) filter_offset: u64,
    pub(super) filter_directory_length: usize,
    pub(super) filter_directory_crc32: u32,
    pub(super) index_offset: u64,
    pub(super) index_top_length: usize,
    pub(super) index_top_crc32: u32,
    pub(super) time: Option<TimeFields>,
}

fn put_whole_sequence(out: &mut Vec<u8>, sequence: SequenceNumber) {
    let (value, width) = sequence.to_parts();
    out.extend_from_slice(&value);
    out.push(width);
}

impl Footer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(300);
        out.push(match self.kind {
            RunKind::Rows => 0,
            RunKind::Columns => 1,
            RunKind::Snapshot => 2,
        });
        put_bytes(&mut out, self.stream.as_str().as_bytes());
        put_length(&mut out, self.key_attributes.as_slice().len());
        for attribute in self.key_attributes.as_slice() {
            put_bytes(&mut out, attribute.name.as_bytes());
            out.push(match attribute.key_type {
                KeyType::B => 1,
                KeyType::N => 2,
                KeyType::S => 3,
            });
        }
        let statistics = &self.statistics;
        for count in [
            statistics.records,
            statistics.inserts,
            statistics.modifies,
            statistics.removes,
            statistics.undated,
            statistics.keys,
            statistics.raw_bytes,
        ] {
            put_varint(&mut out, count);
        }
        match statistics.seconds {
            Some((first, last)) => {
                out.push(1);
                put_varint(&mut out, first.get());
                put_varint(&mut out, last.get().saturating_sub(first.get()));
            }
            None => out.push(0),
        }
        put_whole_sequence(&mut out, self.sequences.0);
        put_whole_sequence(&mut out, self.sequences.1);
        put_bytes(&mut out, &self.last_key);
        put_length(&mut out, self.users.len());
        for user in &self.users {
            put_bytes(&mut out, user.identity_type.as_bytes());
            put_bytes(&mut out, user.principal_id.as_bytes());
        }
        put_length(&mut out, self.filter_pages);
        put_varint(&mut out, self.filter_offset);
        put_length(&mut out, self.filter_directory_length);
        out.extend_from_slice(&self.filter_directory_crc32.to_le_bytes());
        put_varint(&mut out, self.index_offset);
        put_length(&mut out, self.index_top_length);
        out.extend_from_slice(&self.index_top_crc32.to_le_bytes());
        put_varint(&mut out, self.time.map_or(0, |time| time.slot_seconds));
        if let Some(time) = &self.time {
            put_varint(&mut out, time.offset);
            put_length(&mut out, time.directory_length);
            out.extend_from_slice(&time.directory_crc32.to_le_bytes());
        }
        out
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let mut wire = Wire::new(bytes, "footer");
        let kind = match wire.byte()? {
            0 => RunKind::Rows,
            1 => RunKind::Columns,
            2 => RunKind::Snapshot,
            _ => return Err(wire.malformed("unknown kind of run")),
        };
        let stream = StreamArn::parse(wire.text()?).map_err(|error| wire.malformed(&error.to_string()))?;
        let mut attributes = Vec::new();
        for _ in 0..wire.length()?.min(3) {
            let name = wire.text()?.to_owned();
            let key_type = match wire.byte()? {
                1 => KeyType::B,
                2 => KeyType::N,
                3 => KeyType::S,
                _ => return Err(wire.malformed("unknown type of a key attribute")),
            };
            attributes.push(KeyAttribute { name, key_type });
        }
        let key_attributes = KeyAttributes::new(attributes).map_err(|error| wire.malformed(&error.to_string()))?;
        let mut statistics = Statistics {
            records: wire.varint()?,
            inserts: wire.varint()?,
            modifies: wire.varint()?,
            removes: wire.varint()?,
            undated: wire.varint()?,
            keys: wire.varint()?,
            raw_bytes: wire.varint()?,
            seconds: None,
        };
        match wire.byte()? {
            0 => {}
            1 => {
                let first = wire.varint()?;
                let last = first.checked_add(wire.varint()?).ok_or_else(|| wire.malformed("a second is too large"))?;
                let second = |number| Second::new(number).map_err(|error| wire.malformed(&error.to_string()));
                statistics.seconds = Some((second(first)?, second(last)?));
            }
            _ => return Err(wire.malformed("the mark of the seconds is neither 0 nor 1")),
        }
        let sequences = (wire.whole_sequence()?, wire.whole_sequence()?);
        let last_key = wire.bytes()?.to_vec();
        let count = wire.length()?;
        if count > USERS_MAX {
            return Err(wire.malformed("too many users"));
        }
        let mut users = Vec::new();
        for _ in 0..count {
            users.push(UserIdentity { identity_type: wire.text()?.to_owned(), principal_id: wire.text()?.to_owned() });
        }
        let footer = Self {
            kind,
            stream,
            key_attributes,
            statistics,
            sequences,
            last_key,
            users,
            filter_pages: wire.length()?,
            filter_offset: wire.varint()?,
            filter_directory_length: wire.length()?,
            filter_directory_crc32: wire.u32()?,
            index_offset: wire.varint()?,
            index_top_length: wire.length()?,
            index_top_crc32: wire.u32()?,
            time: match wire.varint()? {
                0 => None,
                slot_seconds => Some(TimeFields {
                    slot_seconds,
                    offset: wire.varint()?,
                    directory_length: wire.length()?,
                    directory_crc32: wire.u32()?,
                }),
            },
        };
        if footer.statistics.records == 0 {
            return Err(wire.malformed("a run without records"));
        }
        if wire.is_empty() { Ok(footer) } else { Err(wire.malformed("bytes follow its end")) }
    }
}
