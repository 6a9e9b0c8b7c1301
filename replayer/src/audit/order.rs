//! The best changes of a search so far, in the order asked for, and which of them are certain.
//!
//! What enters are records in any order; what leaves are changes by time, those of one second by sequence number. Holds no more than
//! the limit. Pure.

use std::collections::BTreeMap;

use journal::error::Result;
use journal::model::{ChangeKind, Second, SequenceNumber, UserIdentity};

use super::history::{Actor, AuditError, Direction, HistoryRequest};
use crate::key_schema::KeySchema;
use crate::merge::RecordRef;

/// Where a change stands: what is in two segments stands once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) second: Option<Second>,
    pub(super) sequence: SequenceNumber,
    pub(super) key: Vec<u8>,
}

/// The change that stands there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: ChangeKind,
    pub(super) old: Option<Vec<u8>>,
    pub(super) new: Option<Vec<u8>>,
    pub(super) user: Option<UserIdentity>,
}

/// The first change that may still be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// One of this second.
    From(Second),
    /// One without a second, which comes after all others.
    Undated,
    /// None.
    Nothing,
}

/// A place in the order asked for: undated changes last, the others by time from the end that is wanted first.
type Rank = (bool, u64, Ranked);

/// Sequence number and key, from the end that is wanted first.
#[derive(Debug, PartialEq, Eq)]
struct Ranked {
    sequence: SequenceNumber,
    key: Vec<u8>,
    direction: Direction,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order = self.sequence.cmp(&other.sequence).then_with(|| self.key.cmp(&other.key));
        if self.direction == Direction::NewestFirst { order.reverse() } else { order }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The best changes that were not given out yet, never more than the limit leaves.
pub(super) struct Best {
    kept: BTreeMap<Rank, (Option<Second>, Found)>,
    left: usize,
    /// Whether a change that fits was left out.
    pub(super) more: bool,
    request: HistoryRequest,
    schema: KeySchema,
}

impl Best {
    pub(super) fn new(request: HistoryRequest, schema: KeySchema) -> Self {
        Self { kept: BTreeMap::new(), left: request.limit, more: false, request, schema }
    }

    /// The seconds in which a change can still matter; none for all.
    pub(super) fn seconds(&self) -> Option<(Second, Second)> {
        let (mut since, mut until) = (self.request.since, self.request.until);
        // What comes after the last one kept is left out.
        if let (true, Some((_, (Some(worst), _)))) = (self.kept.len() >= self.left, self.kept.last_key_value()) {
            match self.request.direction {
                Direction::NewestFirst => since = since.max(Some(*worst)),
                Direction::OldestFirst => until = Some(until.map_or(*worst, |until| until.min(*worst))),
            }
        }
        let bounded = since.is_some() || until.is_some();
        bounded.then(|| (since.unwrap_or(Second::MIN), until.unwrap_or(Second::MAX)))
    }

    /// Takes a record that fits.
    pub(super) fn visit(&mut self, record: &RecordRef<'_>) -> Result<()> {
        let request = &self.request;
        let outside = record.second.is_some_and(|second| {
            request.since.is_some_and(|since| second < since) || request.until.is_some_and(|until| second > until)
        });
        let by_ttl = record.user.is_some_and(UserIdentity::is_ttl);
        let other = request.by.is_some_and(|by| (by == Actor::Ttl) != by_ttl);
        if outside || other || !(request.kinds.is_empty() || request.kinds.contains(&record.kind)) {
            return Ok(());
        }
        if request.keys.begins_with.is_some() {
            let key = self.schema.decode(record.key).map_err(|error| damaged(record.sequence, &error))?;
            if !request.keys.contains(&key) {
                return Ok(());
            }
        }
        let rank = self.rank(record);
        if self.kept.len() >= self.left && !self.kept.contains_key(&rank) {
            self.more = true;
            if self.kept.last_key_value().is_none_or(|(last, _)| rank > *last) {
                return Ok(());
            }
            self.kept.pop_last();
        }
        let found = Found {
            kind: record.kind,
            old: record.old.map(<[u8]>::to_vec),
            new: record.new.map(<[u8]>::to_vec),
            user: record.user.cloned(),
        };
        self.kept.insert(rank, (record.second, found));
        Ok(())
    }

    fn rank(&self, record: &RecordRef<'_>) -> Rank {
        let direction = self.request.direction;
        let ranked = Ranked { sequence: record.sequence, key: record.key.to_vec(), direction };
        (record.second.is_none(), record.second.map_or(0, |second| turned(second, direction)), ranked)
    }

    /// Whether all that the limit leaves was found, and comes before what may still be found.
    pub(super) fn has_all_before(&self, reach: Reach) -> bool {
        let last = self.kept.last_key_value().map(|(rank, _)| rank);
        self.kept.len() >= self.left && last.is_none_or(|last| is_certain(last, reach, self.request.direction))
    }

    /// Takes out the changes that come before all that may still be found.
    pub(super) fn take_before(&mut self, reach: Reach) -> Vec<(Place, Found)> {
        let mut certain = Vec::new();
        while let Some(entry) = self.kept.first_entry() {
            if !is_certain(entry.key(), reach, self.request.direction) {
                break;
            }
            let ((_, _, Ranked { sequence, key, .. }), (second, found)) = entry.remove_entry();
            certain.push((Place { second, sequence, key }, found));
            self.left = self.left.saturating_sub(1);
        }
        certain
    }
}

/// Whether nothing that may still be found comes before a place.
fn is_certain((undated, at, _): &Rank, reach: Reach, direction: Direction) -> bool {
    match reach {
        Reach::Nothing => true,
        Reach::Undated => !undated,
        // One of the same second may have a number that comes first.
        Reach::From(second) => !undated && *at < turned(second, direction),
    }
}

/// A second as a number that is the lower the sooner it comes in the order asked for.
fn turned(second: Second, direction: Direction) -> u64 {
    match direction {
        Direction::NewestFirst => Second::MAX.get().saturating_sub(second.get()),
        Direction::OldestFirst => second.get(),
    }
}

/// A record that is not what was written.
pub(super) fn damaged(sequence: SequenceNumber, error: &dyn std::fmt::Display) -> journal::Error {
    AuditError::Image { sequence, reason: error.to_string() }.into()
}
