//! A store in memory that takes time and fails, before or after it did what it was asked.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::Chance;
use super::clock::VirtualClock;
use crate::source::follow::Clock;
use crate::store::memory::MemoryStore;
use crate::store::{ListPage, ObjectVersion, PutOutcome, ReadStore, StoreError, WriteStore};

/// What sees every document before it is replaced.
pub(in super::super) type Watch = Box<dyn Fn(&str, &[u8]) + Send + Sync>;

/// The store.
pub(in super::super) struct SimStore {
    pub(in super::super) inner: Arc<MemoryStore>,
    clock: VirtualClock,
    chance: Chance,
    failures: u32,
    watch: Watch,
}

impl std::fmt::Debug for SimStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimStore").finish_non_exhaustive()
    }
}

impl SimStore {
    pub(in super::super) fn new(
        inner: Arc<MemoryStore>,
        clock: VirtualClock,
        seed: u64,
        failures: u32,
        watch: Watch,
    ) -> Self {
        Self { inner, clock, chance: Chance::new(seed), failures, watch }
    }

    async fn pause(&self) {
        self.clock.sleep(Duration::from_millis(self.chance.below(15))).await;
    }

    fn fault(&self, action: &'static str, key: &str) -> Result<(), StoreError> {
        if self.chance.permille(self.failures) {
            return Err(StoreError::Unavailable {
                action,
                location: "simulated".to_owned(),
                key: key.to_owned(),
                attempts: 1,
                reason: "simulated".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl ReadStore for SimStore {
    fn location(&self) -> &'static str {
        "simulated"
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.pause().await;
        self.fault("read", key)?;
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        self.inner.get_tail(key, length).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.pause().await;
        self.fault("list", prefix)?;
        self.inner.list(prefix, after).await
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.pause().await;
        self.fault("list", folder)?;
        self.inner.list_folders(folder).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        self.inner.list_versions(prefix).await
    }
}

#[async_trait]
impl WriteStore for SimStore {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, StoreError> {
        self.pause().await;
        self.fault("write", key)?;
        let outcome = self.inner.put_new(key, body).await?;
        self.pause().await;
        self.fault("write", key)?;
        Ok(outcome)
    }

    async fn replace(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.pause().await;
        self.fault("write", key)?;
        (self.watch)(key, &body);
        self.inner.replace(key, body).await?;
        self.pause().await;
        self.fault("write", key)
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}
