//! A wrapper around any store that fails where a plan says so and records every operation.
//!
//! A plan names operations by their number, counted from 1 in the order in which they begin, so a run that makes the same
//! calls meets the same faults. A seeded plan decides by seed and number alone. What happened is told by
//! [`FaultyStore::operations`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{ListPage, ObjectVersion, PutOutcome, ReadStore, StoreError, WriteStore};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Before it happened: nothing was done.
    Before,
    /// After it happened: it was done, but the answer was lost.
    After,
    /// Turned away, as by a service that is asked too often: nothing was done.
    Throttle,
    /// Everything has stopped: nothing was done, and nothing will be.
    Stopped,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "planned fault: it was not done",
            Self::After => "planned fault: it was done, the answer was lost",
            Self::Throttle => "planned fault: slow down",
            Self::Stopped => "planned fault: stopped for good",
        })
    }
}

/// Which operations fail, and how.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    at: BTreeMap<u64, Fault>,
    stop_after: Option<u64>,
    seeded: Option<(u64, u64)>,
}

impl FaultPlan {
    /// No faults.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// About `percent` of a hundred operations fail, in ways that `seed` decides.
    #[must_use]
    pub fn seeded(seed: u64, percent: u64) -> Self {
        Self { seeded: Some((seed, percent)), ..Self::default() }
    }

    /// Operation `number` fails before it happens.
    #[must_use]
    pub fn fail_before(self, number: u64) -> Self {
        self.fault(number, Fault::Before)
    }

    /// Operation `number` happens, and its answer is lost.
    #[must_use]
    pub fn fail_after(self, number: u64) -> Self {
        self.fault(number, Fault::After)
    }

    /// The operations of these numbers are turned away.
    #[must_use]
    pub fn throttle(self, numbers: RangeInclusive<u64>) -> Self {
        numbers.fold(self, |plan, number| plan.fault(number, Fault::Throttle))
    }

    /// Everything after operation `number` fails; with [`FaultPlan::fail_after`] of the same number, its answer is lost
    /// too. This is what a crash looks like to the store.
    #[must_use]
    pub fn stop_after(mut self, number: u64) -> Self {
        self.stop_after = Some(number);
        self
    }

    fn fault(mut self, number: u64, fault: Fault) -> Self {
        self.at.insert(number, fault);
        self
    }

    fn decide(&self, number: u64) -> Option<Fault> {
        if self.stop_after.is_some_and(|last| number > last) {
            return Some(Fault::Stopped);
        }
        self.at.get(&number).copied().or_else(|| {
            let (seed, percent) = self.seeded?;
            let drawn = mix(seed ^ mix(number));
            (drawn % 100 < percent).then_some(match (drawn >> 32) % 3 {
                0 => Fault::Before,
                1 => Fault::After,
                _ => Fault::Throttle,
            })
        })
    }
}

/// The finaliser of `SplitMix64`: the same draw for the same seed and number, whatever ran in between.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Which method of a store was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationName {
    /// [`ReadStore::get`].
    Get,
    /// [`ReadStore::get_range`].
    GetRange,
    /// [`ReadStore::get_tail`].
    GetTail,
    /// [`ReadStore::list`], one page.
    List,
    /// [`ReadStore::list_folders`].
    ListFolders,
    /// [`ReadStore::list_versions`].
    ListVersions,
    /// [`WriteStore::put_new`].
    PutNew,
    /// [`WriteStore::replace`].
    Replace,
    /// [`WriteStore::delete`].
    Delete,
}

impl OperationName {
    fn action(self) -> &'static str {
        match self {
            Self::Get | Self::GetRange | Self::GetTail => "read",
            Self::List | Self::ListFolders | Self::ListVersions => "list",
            Self::PutNew | Self::Replace => "write",
            Self::Delete => "delete",
        }
    }
}

/// One call of a store's method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Counted from 1.
    pub number: u64,
    /// Which method.
    pub name: OperationName,
    /// The object, prefix or folder.
    pub key: String,
    /// Bytes sent, or bytes that came back; 0 when nothing did.
    pub bytes: u64,
    /// The fault that the plan put here.
    pub fault: Option<Fault>,
}

/// A store that fails as planned and records every operation.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn WriteStore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plan: FaultPlan,
    begun: u64,
    operations: Vec<Operation>,
}

impl FaultyStore {
    /// `inner` with the faults of `plan`.
    #[must_use]
    pub fn new(inner: Arc<dyn WriteStore>, plan: FaultPlan) -> Self {
        Self { inner, state: Mutex::new(State { plan, begun: 0, operations: Vec::new() }) }
    }

    /// Every operation that has ended, in the order in which they ended.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.state().operations.clone()
    }

    /// How many operations of this name have ended.
    #[must_use]
    pub fn count(&self, name: OperationName) -> usize {
        self.state().operations.iter().filter(|operation| operation.name == name).count()
    }

    /// Bytes that reads gave.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes("read")
    }

    /// Bytes that writes were given, those of failed writes included.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.bytes("write")
    }

    /// Forgets the operations, counts from 1 again and takes another plan.
    pub fn restart(&self, plan: FaultPlan) {
        *self.state() = State { plan, begun: 0, operations: Vec::new() };
    }

    fn bytes(&self, action: &str) -> u64 {
        self.state().operations.iter().filter(|o| o.name.action() == action).map(|o| o.bytes).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one operation under the plan. `bytes` says how many came back; for a write, `sent` were sent.
    async fn run<T, F>(
        &self,
        name: OperationName,
        key: &str,
        sent: usize,
        operation: F,
        bytes: impl Fn(&T) -> usize + Send,
    ) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let (number, fault) = {
            let mut state = self.state();
            state.begun += 1;
            (state.begun, state.plan.decide(state.begun))
        };
        let result = match fault {
            None => operation.await,
            Some(fault) => {
                if fault == Fault::After {
                    // Its own error would hide that the answer was lost.
                    let _ = operation.await;
                }
                Err(StoreError::Unavailable {
                    action: name.action(),
                    location: self.inner.location().to_owned(),
                    key: key.to_owned(),
                    attempts: 1,
                    reason: fault.to_string(),
                })
            }
        };
        let moved = sent + result.as_ref().map_or(0, bytes);
        let bytes = u64::try_from(moved).unwrap_or(u64::MAX);
        self.state().operations.push(Operation { number, name, key: key.to_owned(), bytes, fault });
        result
    }
}

#[async_trait]
impl ReadStore for FaultyStore {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.run(OperationName::Get, key, 0, self.inner.get(key), Bytes::len).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(OperationName::GetRange, key, 0, self.inner.get_range(key, range), Bytes::len).await
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        self.run(OperationName::GetTail, key, 0, self.inner.get_tail(key, length), |(tail, _)| tail.len()).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.run(OperationName::List, prefix, 0, self.inner.list(prefix, after), |_| 0).await
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.run(OperationName::ListFolders, folder, 0, self.inner.list_folders(folder), |_| 0).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        self.run(OperationName::ListVersions, prefix, 0, self.inner.list_versions(prefix), |_| 0).await
    }
}

#[async_trait]
impl WriteStore for FaultyStore {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, StoreError> {
        self.run(OperationName::PutNew, key, body.len(), self.inner.put_new(key, body), |_| 0).await
    }

    async fn replace(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.run(OperationName::Replace, key, body.len(), self.inner.replace(key, body), |()| 0).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.run(OperationName::Delete, key, 0, self.inner.delete(key), |()| 0).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn body() -> Bytes {
        Bytes::from_static(b"body")
    }

    #[tokio::test]
    async fn a_lost_answer_leaves_the_object_and_a_retry_meets_it() {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()), FaultPlan::none().fail_before(1).fail_after(2));
        assert!(store.put_new("a", body()).await.is_err());
        assert!(matches!(store.get("a").await, Err(StoreError::Unavailable { .. })), "the second loses its answer");
        assert!(matches!(store.get("a").await, Err(StoreError::NotFound { .. })));
        store.restart(FaultPlan::none().fail_after(1));
        assert!(store.put_new("a", body()).await.is_err());
        assert_eq!(store.put_new("a", body()).await.unwrap(), PutOutcome::AlreadyThere);
    }

    #[tokio::test]
    async fn nothing_happens_after_the_stop() {
        let inner = Arc::new(MemoryStore::new());
        let store = FaultyStore::new(Arc::clone(&inner) as Arc<dyn WriteStore>, FaultPlan::none().stop_after(1));
        store.put_new("a", body()).await.unwrap();
        assert!(store.put_new("b", body()).await.is_err());
        assert!(store.delete("a").await.is_err());
        assert_eq!(inner.list_all("").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn operations_and_bytes_are_counted() {
        let store = FaultyStore::new(Arc::new(MemoryStore::new()), FaultPlan::none().throttle(4..=5));
        store.put_new("a", body()).await.unwrap();
        store.get_range("a", 1..3).await.unwrap();
        store.get_tail("a", 3).await.unwrap();
        assert!(store.get("a").await.is_err() && store.get("a").await.is_err());
        store.get("a").await.unwrap();
        assert_eq!((store.bytes_read(), store.bytes_written()), (2 + 3 + 4, 4));
        assert_eq!(store.count(OperationName::Get), 3);
        assert_eq!(store.operations().iter().filter(|o| o.fault == Some(Fault::Throttle)).count(), 2);
    }

    #[test]
    fn a_seed_always_draws_the_same_faults() {
        let draw = |seed| -> Vec<_> { (1..500).map(|n| FaultPlan::seeded(seed, 20).decide(n)).collect() };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let faults = draw(7).iter().flatten().count();
        assert!((60..140).contains(&faults), "{faults} of 500 at 20 %");
    }
}
