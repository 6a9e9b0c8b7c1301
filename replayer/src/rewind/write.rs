//! One item: a conditional write, tried until its outcome is known.
//!
//! What enters are an item as the plan knows it and as it is wanted; what leaves is what became of it. The condition covers
//! the whole item where it fits; where not, the item is read strongly consistent and the condition covers what fits of what
//! was read. The old item that comes back with a write is compared as a whole: what a condition could not see is put back.

use std::time::Duration;

use journal::model::{Attributes, TableName};

use super::error::RewindError;
use super::runs::Outcome;
use super::table::ItemTable;
use crate::digest::to_plain;
use crate::restore::ServiceError;
use crate::table_write::{ATTEMPTS_MAX, Condition, SharedPace, Write, Wrote, back_off, condition, tried};

/// How often an item is looked at again that changes between a look and a write.
const ROUNDS_MAX: u32 = 5;

/// An item that is to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) key: &'a Attributes,
    pub(super) now: Option<&'a Attributes>,
    pub(super) then: Option<&'a Attributes>,
}

/// What was there, and what was thought to be.
struct Before {
    old: Option<Attributes>,
    expected: Option<Attributes>,
}

/// What was written over: an item, or none.
struct Replaced(Option<Attributes>);

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    pub(super) outcome: Outcome,
    /// What was there instead, for conflicts and what was overwritten.
    pub(super) found: Option<Attributes>,
    /// Whether the condition was on the whole item.
    pub(super) whole: bool,
}

/// What every write of a step has in common.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) table: &'a dyn ItemTable,
    pub(super) name: &'a TableName,
    /// An attribute of the key.
    pub(super) key_name: &'a str,
    pub(super) pace: &'a SharedPace,
    pub(super) pause: Duration,
    /// Whether an item that is not what the plan says is written all the same.
    pub(super) overwrite: bool,
    /// Whether the step may have been begun before.
    pub(super) again: bool,
}

/// Whether two items are the same, numbers by value.
fn same(a: Option<&Attributes>, b: Option<&Attributes>) -> bool {
    a == b || a.map(to_plain) == b.map(to_plain)
}

fn without(item: Option<Attributes>, key: &Attributes) -> Option<Attributes> {
    let mut item = item?;
    item.retain(|name, _| !key.contains_key(name));
    Some(item)
}

impl Writer<'_> {
    /// Writes an item if it still is what the plan says.
    pub(super) async fn write(&self, item: Wanted<'_>, units: u32) -> Result<Written, RewindError> {
        let mut expected = item.now.cloned();
        let mut overwritten = None;
        let mut whole = true;
        let mut lost = false;
        let mut seen = None;
        for _ in 0..ROUNDS_MAX {
            let condition = condition(self.key_name, expected.as_ref(), item.then);
            whole &= condition.whole;
            let found = if condition.whole { None } else { Some(self.get(item.key).await?) };
            let found = match found {
                Some(found) if !same(found.as_ref(), expected.as_ref()) => found,
                _ => {
                    let (wrote, unsure) = self.send(item.key, item.then, &condition, units).await?;
                    lost |= unsure;
                    match wrote {
                        Wrote::Done(old) => {
                            let before = Before { old: without(old, item.key), expected };
                            return self.wrote(item, before, overwritten, (whole, units)).await;
                        }
                        Wrote::Refused(Some(found)) => without(Some(found), item.key),
                        // No item, or a service that does not tell.
                        Wrote::Refused(None) => self.get(item.key).await?,
                    }
                }
            };
            if same(found.as_ref(), item.then) {
                let outcome = match (lost, &overwritten, self.again) {
                    (true, Some(_), _) => Outcome::Overwritten,
                    (true, None, _) => Outcome::Written,
                    (false, _, true) => Outcome::Again,
                    (false, _, false) => Outcome::Already,
                };
                return Ok(Written { outcome, found: overwritten.and_then(|replaced| replaced.0), whole });
            }
            if self.overwrite && !same(found.as_ref(), expected.as_ref()) {
                overwritten = Some(Replaced(found.clone()));
                expected.clone_from(&found);
                continue;
            }
            let settled = !same(found.as_ref(), expected.as_ref());
            seen = Some(found);
            if settled {
                break;
            }
        }
        Ok(Written {
            outcome: Outcome::Conflict,
            found: seen.unwrap_or(overwritten.and_then(|replaced| replaced.0)),
            whole,
        })
    }

    /// Compares what was replaced with what was expected: an attribute that nobody knew of cannot be in a condition.
    async fn wrote(
        &self,
        item: Wanted<'_>,
        Before { old, expected }: Before,
        overwritten: Option<Replaced>,
        (whole, units): (bool, u32),
    ) -> Result<Written, RewindError> {
        if same(old.as_ref(), expected.as_ref()) {
            let outcome = if overwritten.is_some() { Outcome::Overwritten } else { Outcome::Written };
            return Ok(Written { outcome, found: overwritten.and_then(|replaced| replaced.0), whole });
        }
        if self.overwrite {
            return Ok(Written { outcome: Outcome::Overwritten, found: old, whole });
        }
        let back = condition(self.key_name, item.then, old.as_ref());
        // Refused means that somebody has written since: theirs stays.
        let _ = self.send(item.key, old.as_ref(), &back, units).await?;
        Ok(Written { outcome: Outcome::Conflict, found: old, whole })
    }

    async fn get(&self, key: &Attributes) -> Result<Option<Attributes>, RewindError> {
        let found = tried(|| self.table.get(key)).await;
        let failed = |source| RewindError::Service { action: "reading an item of", table: self.name.clone(), source };
        found.map(|found| without(found, key)).map_err(failed)
    }

    /// Sends a write until it is answered, and tells whether an answer may have been lost before.
    async fn send(
        &self,
        key: &Attributes,
        wanted: Option<&Attributes>,
        condition: &Condition,
        units: u32,
    ) -> Result<(Wrote, bool), RewindError> {
        let mut unsure = false;
        for attempt in 1.. {
            self.pace.wait(units).await;
            match self.table.write(Write { key, item: wanted, condition }).await {
                Ok(wrote) => {
                    self.pace.answered(units, 0);
                    return Ok((wrote, unsure));
                }
                Err(error) if error.is_transient() && attempt < ATTEMPTS_MAX => {
                    // A throttled request was not done.
                    let throttled = matches!(error, ServiceError::Throttled { .. });
                    unsure |= !throttled;
                    if throttled {
                        self.pace.answered(0, units);
                    }
                    back_off(self.pause, attempt).await;
                }
                Err(source) => {
                    return Err(RewindError::Service { action: "writing to", table: self.name.clone(), source });
                }
            }
        }
        Err(RewindError::Lost { doing: "writing to", table: self.name.clone() })
    }
}
