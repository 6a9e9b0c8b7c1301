//! One item: a conditional write, tried until its outcome is known.
//!
//! What enters are an item as it is known and as it is wanted; what leaves is what became of it. The condition covers
//! the whole item where it fits; where not, the item is read strongly consistent and the condition covers what fits of what
//! was read. The old item that comes back with a write is compared as a whole: what a condition could not see is put back.

use std::time::Duration;

use async_trait::async_trait;
use journal::model::Attributes;

use super::condition::{Condition, condition};
use super::pace::SharedPace;
use super::retry::{ATTEMPTS_MAX, tried};
use super::send::{Write, Wrote};
use crate::digest::to_plain;
use crate::restore::ServiceError;

/// How often an item is looked at again that changes between a look and a write.
const ROUNDS_MAX: u32 = 5;

/// A table whose items are read and written one by one. Nothing is tried twice behind it: who retries must know that an answer was lost.
#[async_trait]
pub trait ItemTable: Send + Sync {
    /// A whole item, read strongly consistent.
    async fn get(&self, key: &Attributes) -> Result<Option<Attributes>, ServiceError>;
    /// Writes or deletes an item if the condition holds, once, and gives back the item that it replaced.
    async fn write(&self, write: Write<'_>) -> Result<Wrote, ServiceError>;
}

/// An item that is to be written, without its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a Attributes,
    /// As it is known to be; none when it is known not to be there.
    pub(crate) now: Option<&'a Attributes>,
    /// As it is to be; none deletes it.
    pub(crate) then: Option<&'a Attributes>,
}

/// What was there, and what was thought to be.
struct Before {
    old: Option<Attributes>,
    expected: Option<Attributes>,
}

/// What was written over: an item, or none.
struct Replaced(Option<Attributes>);

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Became {
    /// It was written.
    Written,
    /// It was what is wanted already.
    Already,
    /// It was not what it was known to be, and was left alone.
    Conflict,
    /// It was not what it was known to be, and was written all the same.
    Overwritten,
}

/// The same with what was seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    pub(crate) became: Became,
    /// What was there instead, for conflicts and what was overwritten.
    pub(crate) found: Option<Attributes>,
    /// Whether the condition was on the whole item.
    pub(crate) whole: bool,
}

/// A service that failed, and in what.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) action: &'static str,
    pub(crate) source: ServiceError,
}

/// What all writes to a table have in common.
pub(crate) struct ItemWriter<'a> {
    pub(crate) table: &'a dyn ItemTable,
    /// An attribute of the key.
    pub(crate) key_name: &'a str,
    pub(crate) pace: &'a SharedPace,
    pub(crate) pause: Duration,
    /// Whether an item that is not what it is known to be is written all the same.
    pub(crate) overwrite: bool,
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

impl ItemWriter<'_> {
    /// Writes an item, which takes so many write units, if it still is what it is known to be.
    pub(crate) async fn write(&self, item: Wanted<'_>, units: u32) -> Result<Written, Failed> {
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
                let became = match (lost, &overwritten) {
                    (true, Some(_)) => Became::Overwritten,
                    (true, None) => Became::Written,
                    (false, _) => Became::Already,
                };
                return Ok(Written { became, found: overwritten.and_then(|replaced| replaced.0), whole });
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
            became: Became::Conflict,
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
    ) -> Result<Written, Failed> {
        if same(old.as_ref(), expected.as_ref()) {
            let became = if overwritten.is_some() { Became::Overwritten } else { Became::Written };
            return Ok(Written { became, found: overwritten.and_then(|replaced| replaced.0), whole });
        }
        if self.overwrite {
            return Ok(Written { became: Became::Overwritten, found: old, whole });
        }
        let back = condition(self.key_name, item.then, old.as_ref());
        // Refused means that somebody has written since: theirs stays.
        let _ = self.send(item.key, old.as_ref(), &back, units).await?;
        Ok(Written { became: Became::Conflict, found: old, whole })
    }

    async fn get(&self, key: &Attributes) -> Result<Option<Attributes>, Failed> {
        let found = tried(self.pause, || self.table.get(key)).await;
        found.map(|found| without(found, key)).map_err(|source| Failed { action: "reading an item of", source })
    }

    /// Sends a write until it is answered, and tells whether an answer may have been lost before.
    async fn send(
        &self,
        key: &Attributes,
        wanted: Option<&Attributes>,
        condition: &Condition,
        units: u32,
    ) -> Result<(Wrote, bool), Failed> {
        let (mut unsure, mut attempt) = (false, 1);
        loop {
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
                    self.pace.back_off(self.pause, attempt).await;
                    attempt += 1;
                }
                Err(source) => return Err(Failed { action: "writing to", source }),
            }
        }
    }
}
