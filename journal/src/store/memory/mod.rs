//! A store in memory, and a wrapper that makes any store fail as planned: the ground that tests of all crates stand on.
//!
//! Keeps every version, as a versioned bucket does. Knows no clock: `modified` counts the changes.

mod faulty;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{ListPage, ObjectMeta, ObjectVersion, PutOutcome, ReadStore, StoreError, WriteStore, key};

pub use faulty::{Fault, FaultPlan, FaultyStore, Operation, OperationName};

/// How many objects a page of a listing holds, as in S3.
const PAGE_OBJECTS_MAX: usize = 1000;

/// Objects and all their versions, in memory.
#[derive(Debug)]
pub struct MemoryStore {
    location: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the changes; stands for the clock.
    changes: u64,
    /// Versions of each object, oldest first. Never an empty list.
    objects: BTreeMap<String, Vec<Version>>,
}

#[derive(Debug)]
struct Version {
    change: u64,
    /// None is a delete marker.
    body: Option<Bytes>,
}

impl State {
    fn live(&self, key: &str) -> Option<(&Bytes, u64)> {
        let version = self.objects.get(key)?.last()?;
        Some((version.body.as_ref()?, version.change))
    }

    fn add(&mut self, key: &str, body: Option<Bytes>) {
        self.changes += 1;
        let version = Version { change: self.changes, body };
        self.objects.entry(key.to_owned()).or_default().push(version);
    }

    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Vec<Version>)> {
        self.objects.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { location: "memory:".to_owned(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and a poisoned state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, key: &str) -> Result<Bytes, StoreError> {
        key::check(key)?;
        let state = self.state();
        let (body, _) = state
            .live(key)
            .ok_or_else(|| StoreError::NotFound { location: self.location.clone(), key: key.to_owned() })?;
        Ok(body.clone())
    }
}

/// A length as the 64 bits that listings use.
fn size(body: &Bytes) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}

#[async_trait]
impl ReadStore for MemoryStore {
    fn location(&self) -> &str {
        &self.location
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.live(key)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        key::check(key)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let body = self.live(key)?;
        let within = |at: u64| usize::try_from(at).ok().filter(|at| *at <= body.len());
        match (within(range.start), within(range.end)) {
            (Some(start), Some(end)) => Ok(body.slice(start..end)),
            _ => Err(StoreError::Range {
                location: self.location.clone(),
                key: key.to_owned(),
                start: range.start,
                end: range.end,
                size: size(&body),
            }),
        }
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        let body = self.live(key)?;
        let start = body.len().saturating_sub(usize::try_from(length).unwrap_or(usize::MAX));
        Ok((body.slice(start..), size(&body)))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        key::check_prefix(prefix)?;
        let state = self.state();
        let mut objects: Vec<ObjectMeta> = state
            .below(prefix)
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .filter_map(|(key, _)| {
                let (body, modified) = state.live(key)?;
                Some(ObjectMeta { key: key.clone(), size: size(body), modified })
            })
            .take(PAGE_OBJECTS_MAX + 1)
            .collect();
        let more = objects.len() > PAGE_OBJECTS_MAX;
        objects.truncate(PAGE_OBJECTS_MAX);
        let next = objects.last().filter(|_| more).map(|object| object.key.clone());
        Ok(ListPage { objects, next })
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        key::check_folder(folder)?;
        let state = self.state();
        let mut folders: Vec<String> = state
            .below(folder)
            .filter(|(key, _)| state.live(key).is_some())
            .filter_map(|(key, _)| Some(key.strip_prefix(folder)?.split_once('/')?.0.to_owned()))
            .collect();
        folders.sort_unstable();
        folders.dedup();
        Ok(folders)
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        key::check_prefix(prefix)?;
        let state = self.state();
        Ok(state
            .below(prefix)
            .flat_map(|(key, versions)| {
                versions.iter().rev().enumerate().map(move |(age, version)| ObjectVersion {
                    key: key.clone(),
                    version: version.change.to_string(),
                    size: version.body.as_ref().map_or(0, size),
                    modified: version.change,
                    latest: age == 0,
                    delete_marker: version.body.is_none(),
                })
            })
            .collect())
    }
}

#[async_trait]
impl WriteStore for MemoryStore {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, StoreError> {
        key::check(key)?;
        let mut state = self.state();
        match state.live(key) {
            None => {
                state.add(key, Some(body));
                Ok(PutOutcome::Created)
            }
            Some((stored, _)) if *stored == body => Ok(PutOutcome::AlreadyThere),
            Some((stored, _)) => Err(StoreError::Differs {
                location: self.location.clone(),
                key: key.to_owned(),
                found: crc32fast::hash(stored),
                expected: crc32fast::hash(&body),
            }),
        }
    }

    async fn replace(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        key::check(key)?;
        self.state().add(key, Some(body));
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        key::check(key)?;
        let mut state = self.state();
        if state.live(key).is_some() {
            state.add(key, None);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_version_is_kept_and_a_deleted_object_can_be_made_again() {
        let store = MemoryStore::new();
        store.put_new("a", Bytes::from_static(b"1")).await.unwrap();
        store.delete("a").await.unwrap();
        store.delete("a").await.unwrap();
        assert!(matches!(store.get("a").await, Err(StoreError::NotFound { .. })));
        store.put_new("a", Bytes::from_static(b"22")).await.unwrap();
        let versions = store.list_versions("").await.unwrap();
        let told: Vec<_> = versions.iter().map(|v| (v.size, v.latest, v.delete_marker)).collect();
        assert_eq!(told, [(2, true, false), (0, false, true), (1, false, false)]);
    }
}
