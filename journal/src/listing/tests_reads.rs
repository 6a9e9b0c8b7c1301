//! What is read of a timeline beside its listing, and when.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::model::Second;
use crate::store::memory::MemoryStore;
use crate::store::{ListPage, ObjectVersion, StoreError, WriteStore as _};

/// A store whose answers wait until everything else that can be asked for was asked for, and that gets an object right after it was listed.
#[derive(Debug, Default)]
struct Slow {
    inner: MemoryStore,
    after_listing: Option<(String, Bytes)>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    /// Requests that list.
    listings: AtomicUsize,
}

#[async_trait]
impl ReadStore for Slow {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        self.inner.get_tail(key, length).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        self.listings.fetch_add(1, Ordering::SeqCst);
        let page = self.inner.list(prefix, after).await?;
        if let Some((key, bytes)) = &self.after_listing {
            self.inner.replace(key, bytes.clone()).await?;
        }
        Ok(page)
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.listings.fetch_add(1, Ordering::SeqCst);
        self.inner.list_folders(folder).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        self.inner.list_versions(prefix).await
    }
}

fn of(label: &str) -> Timeline {
    Timeline { table: TableName::parse("notes").unwrap(), label: TimelineLabel::parse(label).unwrap() }
}

async fn begin(store: &MemoryStore, timeline: &Timeline) {
    let start = StartDocument { covered_from: Second::new(5).unwrap(), whole: true, reason: String::new() };
    store.replace(&layout::start_document(timeline), documents::to_bytes(&start).unwrap()).await.unwrap();
}

fn end() -> Bytes {
    let end = EndDocument { at: Second::new(7).unwrap(), reason: "table deleted".to_owned(), last_sequence: None };
    documents::to_bytes(&end).unwrap()
}

#[tokio::test]
async fn documents_of_all_timelines_are_asked_for_before_the_first_is_waited_for() {
    let store = Slow::default();
    for label in ["1", "2"] {
        begin(&store.inner, &of(label)).await;
        store.inner.replace(&layout::end_document(&of(label)), end()).await.unwrap();
    }
    let found = timelines(&store, &of("1").table).await.unwrap();
    assert_eq!(found.iter().map(|objects| objects.timeline.label.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    assert!(found.iter().all(|objects| objects.start.is_some() && objects.end.is_some() && objects.table.is_none()));
    assert_eq!(store.most.load(Ordering::SeqCst), 4);
    assert_eq!(store.listings.load(Ordering::SeqCst), 1, "a small table is listed by one request");
}

/// In no order, and one that no stream has.
const LABELS: [&str; 4] = ["b", "a", "a-b", "none of ours"];

#[tokio::test]
async fn a_table_that_no_one_request_lists_has_the_same_timelines() {
    let store = Slow::default();
    for label in LABELS {
        for number in 0..400 {
            store.inner.replace(&format!("notes/{label}/quarantine/{number}.json"), Bytes::new()).await.unwrap();
        }
        if let Ok(label) = TimelineLabel::parse(label) {
            begin(&store.inner, &of(label.as_str())).await;
        }
    }
    for (left, in_one_request) in [(400, false), (40, true)] {
        for label in LABELS {
            for number in left..400 {
                store.inner.delete(&format!("notes/{label}/quarantine/{number}.json")).await.unwrap();
            }
        }
        let found = timelines(&store, &of("a").table).await.unwrap();
        let told = found.iter().map(|objects| (objects.timeline.label.as_str(), objects.quarantined));
        assert_eq!(told.collect::<Vec<_>>(), ["a", "a-b", "b"].map(|label| (label, left)));
        assert_eq!(store.listings.swap(0, Ordering::SeqCst) == 1, in_one_request);
    }
}

#[tokio::test]
async fn an_end_that_came_after_the_listing_is_not_told_of_segments_that_came_before_it() {
    let timeline = of("1");
    let after_listing = Some((layout::end_document(&timeline), end()));
    let store = Slow { after_listing, ..Slow::default() };
    begin(&store.inner, &timeline).await;
    let found = super::timeline(&store, timeline.clone()).await.unwrap();
    assert!(found.start.is_some() && found.end.is_none());
    let found = super::timeline(&store, timeline).await.unwrap();
    assert_eq!(found.end.unwrap().at, Second::new(7).unwrap());
}
