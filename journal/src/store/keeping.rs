//! A store that keeps what it read of objects that never change, so that the next question need not ask for it again.
//!
//! Runs are written once, so their tails, pages and blocks are kept as they are asked for; documents (`.json`) and listings may change
//! and are always asked for. Memory is bounded: when half of the bound has come in since, what was not asked for meanwhile is let go.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{ListPage, ObjectVersion, ReadStore, StoreError};

/// Longest answer that is kept, in bytes: tails and pages are far shorter, long spans of blocks are of scans.
const PIECE_BYTES_MAX: u64 = 1 << 20;
/// What an answer takes beside its bytes.
const OVERHEAD_BYTES: u64 = 200;

/// What was asked of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Piece {
    Whole,
    Range(u64, u64),
    Tail(u64),
}

/// An answer, and for a tail the object's size.
type Answer = (Bytes, u64);
type Asked = (String, Piece);

/// A store before another one that keeps what it read of objects that never change.
#[derive(Debug)]
pub struct KeepingStore {
    inner: Arc<dyn ReadStore>,
    kept: Mutex<Kept>,
}

/// Answers of two generations: those that were asked for lately, and those before.
#[derive(Debug)]
struct Kept {
    young: HashMap<Asked, Answer>,
    old: HashMap<Asked, Answer>,
    young_bytes: u64,
    generation_bytes_max: u64,
}

impl Kept {
    fn get(&mut self, asked: &Asked) -> Option<Answer> {
        if let Some(answer) = self.young.get(asked) {
            return Some(answer.clone());
        }
        let (asked, answer) = self.old.remove_entry(asked)?;
        self.put(asked, answer.clone());
        Some(answer)
    }

    fn put(&mut self, asked: Asked, answer: Answer) {
        let length = u64::try_from(answer.0.len()).unwrap_or(u64::MAX);
        if length > PIECE_BYTES_MAX.min(self.generation_bytes_max) {
            return;
        }
        let bytes = length.saturating_add(OVERHEAD_BYTES);
        if self.young_bytes.saturating_add(bytes) > self.generation_bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(asked, answer).is_none() {
            self.young_bytes = self.young_bytes.saturating_add(bytes);
        }
    }
}

impl KeepingStore {
    /// A store before `inner` that keeps answers of at most `bytes_max` bytes in all.
    #[must_use]
    pub fn new(inner: Arc<dyn ReadStore>, bytes_max: u64) -> Self {
        let kept =
            Kept { young: HashMap::new(), old: HashMap::new(), young_bytes: 0, generation_bytes_max: bytes_max / 2 };
        Self { inner, kept: Mutex::new(kept) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of an object that never changes, or what `ask` answers. Errors are not kept.
    async fn answer(
        &self,
        key: &str,
        piece: Piece,
        ask: impl Future<Output = Result<Answer, StoreError>>,
    ) -> Result<Answer, StoreError> {
        // A document may be replaced.
        if key.rsplit_once('.').is_some_and(|(_, ending)| ending == "json") {
            return ask.await;
        }
        let asked = (key.to_owned(), piece);
        let kept = self.kept().get(&asked);
        if let Some(answer) = kept {
            return Ok(answer);
        }
        let answer = ask.await?;
        self.kept().put(asked, answer.clone());
        Ok(answer)
    }
}

#[async_trait]
impl ReadStore for KeepingStore {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let ask = async { self.inner.get(key).await.map(|bytes| (bytes, 0)) };
        self.answer(key, Piece::Whole, ask).await.map(|(bytes, _)| bytes)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let piece = Piece::Range(range.start, range.end);
        let ask = async { self.inner.get_range(key, range).await.map(|bytes| (bytes, 0)) };
        self.answer(key, piece, ask).await.map(|(bytes, _)| bytes)
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        self.answer(key, Piece::Tail(length), self.inner.get_tail(key, length)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.inner.list(prefix, after).await
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
    use super::super::WriteStore as _;
    use super::super::memory::MemoryStore;
    use super::*;

    async fn filled() -> Arc<MemoryStore> {
        let store = Arc::new(MemoryStore::new());
        for number in 0..10u8 {
            store.put_new(&format!("a/{number}.seg"), Bytes::from(vec![number; 1000])).await.unwrap();
        }
        store.replace("a/table.json", Bytes::from_static(b"old")).await.unwrap();
        store
    }

    #[tokio::test]
    async fn what_was_read_of_a_run_is_not_asked_for_again_and_a_document_is() {
        let inner = filled().await;
        let store = KeepingStore::new(inner.clone(), 1 << 20);
        let read = async || {
            let tail = store.get_tail("a/1.seg", 10).await.unwrap();
            let range = store.get_range("a/1.seg", 3..7).await.unwrap();
            (tail, range, store.get("a/2.seg").await.unwrap(), store.get("a/table.json").await.unwrap())
        };
        let first = read().await;
        // What is gone from the store below can only come from what was kept.
        inner.delete("a/1.seg").await.unwrap();
        inner.delete("a/2.seg").await.unwrap();
        inner.replace("a/table.json", Bytes::from_static(b"new")).await.unwrap();
        let second = read().await;
        assert_eq!((&first.0, &first.1, &first.2), (&second.0, &second.1, &second.2));
        assert_eq!((first.0.1, first.1.len(), first.2.len()), (1000, 4, 1000));
        assert_eq!((&first.3[..], &second.3[..]), (&b"old"[..], &b"new"[..]));
        assert!(store.get_tail("a/1.seg", 11).await.is_err(), "another question is asked");
        assert_eq!(store.list("a/", None).await.unwrap().objects.len(), 9);
    }

    #[tokio::test]
    async fn memory_is_bounded_and_what_is_asked_for_often_stays() {
        let inner = filled().await;
        let store = KeepingStore::new(inner.clone(), 8_000);
        let _ = store.get("a/0.seg").await.unwrap();
        for number in 1..10 {
            let _ = store.get(&format!("a/{number}.seg")).await.unwrap();
            let _ = store.get("a/0.seg").await.unwrap();
            let kept = store.kept();
            let bytes: usize = kept.young.values().chain(kept.old.values()).map(|(bytes, _)| bytes.len()).sum();
            assert!(bytes <= 8_000, "{bytes}");
        }
        for number in 0..10 {
            inner.delete(&format!("a/{number}.seg")).await.unwrap();
        }
        assert!(store.get("a/0.seg").await.is_ok() && store.get("a/9.seg").await.is_ok());
        assert!(store.get("a/1.seg").await.is_err(), "it was let go");
    }
}
