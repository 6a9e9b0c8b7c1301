//! Stores that measure: one that keeps nothing, one that counts what is read.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use journal::store::{ListPage, ObjectVersion, PutOutcome, ReadStore, StoreError, WriteStore};

/// Takes every object and keeps none: what is left is the cost of making them.
#[derive(Debug, Default)]
pub struct NullStore {
    /// Bytes put.
    pub bytes: AtomicU64,
    /// Objects put.
    pub objects: AtomicU64,
}

fn nothing(key: &str) -> StoreError {
    StoreError::NotFound { location: "nowhere".to_owned(), key: key.to_owned() }
}

#[async_trait]
impl ReadStore for NullStore {
    fn location(&self) -> &'static str {
        "nowhere"
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        Err(nothing(key))
    }

    async fn get_range(&self, key: &str, _: Range<u64>) -> Result<Bytes, StoreError> {
        Err(nothing(key))
    }

    async fn get_tail(&self, key: &str, _: u64) -> Result<(Bytes, u64), StoreError> {
        Err(nothing(key))
    }

    async fn list(&self, _: &str, _: Option<&str>) -> Result<ListPage, StoreError> {
        Ok(ListPage::default())
    }

    async fn list_folders(&self, _: &str) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn list_versions(&self, _: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl WriteStore for NullStore {
    async fn put_new(&self, _: &str, body: Bytes) -> Result<PutOutcome, StoreError> {
        self.bytes.fetch_add(crate::count(body.len()), Ordering::Relaxed);
        self.objects.fetch_add(1, Ordering::Relaxed);
        Ok(PutOutcome::Created)
    }

    async fn replace(&self, _: &str, _: Bytes) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// One read that was asked of a store.
#[derive(Debug, Clone)]
pub struct Request {
    /// The object; empty for a listing.
    pub key: String,
    /// Where it was read; none for a listing.
    pub range: Option<Range<u64>>,
    /// When it was asked and when it was answered.
    pub span: (Instant, Instant),
}

/// How long an answer of a counting store takes at least, as a service's would: reads that are asked for at once are under way at
/// once then, and not one after the other because a folder answers before the next is asked for.
const ANSWER: std::time::Duration = std::time::Duration::from_millis(2);

/// Passes reads on and remembers them. Counts, and is too slow to be timed.
#[derive(Debug)]
pub struct CountingStore {
    inner: Arc<dyn ReadStore>,
    requests: Mutex<Vec<Request>>,
}

impl CountingStore {
    /// Over another store.
    #[must_use]
    pub fn new(inner: Arc<dyn ReadStore>) -> Self {
        Self { inner, requests: Mutex::new(Vec::new()) }
    }

    fn note(&self, key: &str, range: Option<Range<u64>>, asked: Instant) {
        let request = Request { key: key.to_owned(), range, span: (asked, Instant::now()) };
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }

    /// What was asked since the last time, and forgets it.
    #[must_use]
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many of these reads had to wait for another one's answer, at the longest chain: a request depends on all that were
/// answered before it was asked.
#[must_use]
pub fn round_trips(requests: &[Request]) -> usize {
    let mut reads: Vec<&Request> = requests.iter().filter(|request| request.range.is_some()).collect();
    reads.sort_by_key(|request| request.span.0);
    let mut depth = 0;
    let mut end: Option<Instant> = None;
    for read in reads {
        if end.is_none_or(|end| read.span.0 >= end) {
            depth += 1;
            end = Some(read.span.1);
        }
    }
    depth
}

#[async_trait]
impl ReadStore for CountingStore {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let asked = Instant::now();
        tokio::time::sleep(ANSWER).await;
        let bytes = self.inner.get(key).await?;
        self.note(key, Some(0..crate::count(bytes.len())), asked);
        Ok(bytes)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let asked = Instant::now();
        tokio::time::sleep(ANSWER).await;
        let bytes = self.inner.get_range(key, range.clone()).await?;
        self.note(key, Some(range), asked);
        Ok(bytes)
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        let asked = Instant::now();
        tokio::time::sleep(ANSWER).await;
        let (bytes, size) = self.inner.get_tail(key, length).await?;
        self.note(key, Some(size - crate::count(bytes.len())..size), asked);
        Ok((bytes, size))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        let asked = Instant::now();
        let page = self.inner.list(prefix, after).await?;
        self.note("", None, asked);
        Ok(page)
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list_folders(folder).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        self.inner.list_versions(prefix).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn reads_at_the_same_time_are_one_round_trip_and_one_after_the_other_are_two() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let read = |from, to| Request { key: "a".to_owned(), range: Some(0..1), span: (at(from), at(to)) };
        let listing = Request { key: String::new(), range: None, span: (at(0), at(1)) };
        assert_eq!(round_trips(&[listing.clone(), read(1, 5), read(2, 6)]), 1);
        assert_eq!(round_trips(&[listing, read(1, 5), read(2, 6), read(6, 8), read(9, 12)]), 3);
    }
}
