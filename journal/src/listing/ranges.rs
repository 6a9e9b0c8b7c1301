//! Lists a timeline's folder: in one request where it is small, else in ranges of keys at the same time.
//!
//! The ranges follow each other without a hole, so every key is found, wherever it lies; the folders of levels and dates
//! only say where to cut. What enters is a store and a folder; what leaves is what `list_all` gives.

use std::future::Future;
use std::pin::Pin;

use futures::stream::{StreamExt as _, TryStreamExt as _};

use crate::model::Second;
use crate::store::{ObjectMeta, ReadStore, StoreError};

/// Ranges that are listed at once.
const RANGES_AT_ONCE: usize = 32;
/// A date of level 0 is cut into ranges of so many seconds: it may have a segment a second.
const RANGE_SECONDS: u64 = 4 * 3600;
const DAY_SECONDS: u64 = 86_400;

type Listed<'a> = Pin<Box<dyn Future<Output = Result<Vec<ObjectMeta>, StoreError>> + Send + 'a>>;

/// All objects below `folder`, by key.
pub(super) async fn list(store: &dyn ReadStore, folder: &str) -> Result<Vec<ObjectMeta>, StoreError> {
    let first = store.list(folder, None).await?;
    let mut objects = first.objects;
    let Some(next) = first.next else { return Ok(objects) };
    let mut bounds: Vec<String> = bounds(store, folder).await?.into_iter().filter(|bound| *bound > next).collect();
    bounds.sort_unstable();
    let starts = [next].into_iter().chain(bounds.clone());
    let ends = bounds.into_iter().map(Some).chain([None]);
    let ranges: Vec<Listed<'_>> =
        starts.zip(ends).map(|(after, until)| -> Listed<'_> { Box::pin(range(store, folder, after, until)) }).collect();
    let listed: Vec<Vec<ObjectMeta>> = futures::stream::iter(ranges).buffered(RANGES_AT_ONCE).try_collect().await?;
    objects.extend(listed.into_iter().flatten());
    Ok(objects)
}

/// Where to cut: at every date of every level, and within the dates of level 0.
async fn bounds(store: &dyn ReadStore, folder: &str) -> Result<Vec<String>, StoreError> {
    let segments = format!("{folder}segments/");
    let mut bounds = Vec::new();
    for level in store.list_folders(&segments).await? {
        for date in store.list_folders(&format!("{segments}{level}/")).await? {
            let dated = format!("{segments}{level}/{date}/");
            if let Some(midnight) = midnight(&date).filter(|_| level == "0") {
                let seconds = (RANGE_SECONDS..DAY_SECONDS).step_by(usize::try_from(RANGE_SECONDS).unwrap_or(1));
                bounds.extend(seconds.map(|second| format!("{dated}{:012}", midnight.get().saturating_add(second))));
            }
            bounds.push(dated);
        }
    }
    Ok(bounds)
}

fn midnight(date: &str) -> Option<Second> {
    let date: jiff::civil::Date = date.parse().ok()?;
    let timestamp = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Second::new(u64::try_from(timestamp.as_second()).ok()?).ok()
}

/// The objects after `after` and before `until`.
async fn range(
    store: &dyn ReadStore,
    folder: &str,
    mut after: String,
    until: Option<String>,
) -> Result<Vec<ObjectMeta>, StoreError> {
    let mut objects = Vec::new();
    let within = |key: &str| until.as_deref().is_none_or(|until| key <= until);
    loop {
        let page = store.list(folder, Some(&after)).await?;
        let whole = page.objects.len();
        objects.extend(page.objects.into_iter().take_while(|object| within(&object.key)));
        match page.next {
            Some(next) if whole > 0 && within(&next) => after = next,
            _ => return Ok(objects),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::WriteStore as _;
    use crate::store::memory::{FaultPlan, FaultyStore, MemoryStore, OperationName};
    use std::sync::Arc;

    /// Keys of every sort, foreign ones among them, more than a page: each is listed once, in order.
    #[tokio::test]
    async fn a_large_folder_is_listed_whole_in_ranges() {
        let memory = Arc::new(MemoryStore::new());
        let mut expected = 0;
        for day in 21..24u64 {
            for number in 0..1500u64 {
                let second = 1_584_748_800 + (day - 21) * DAY_SECONDS + number * 57;
                let key = format!("t/1/segments/0/2020-03-{day}/{second:012}-{number}.seg");
                memory.replace(&key, Bytes::from_static(b"x")).await.unwrap();
                expected += 1;
            }
        }
        for other in [
            "t/1/a",
            "t/1/segments/0/2020-03-22/x",
            "t/1/segments/9/y",
            "t/1/segments/3/undated/z",
            "t/1/z",
            "t/1/segments/0/2020-03-22/001584835200",
        ] {
            memory.replace(other, Bytes::from_static(b"x")).await.unwrap();
            expected += 1;
        }
        memory.replace("t/2/not-this", Bytes::from_static(b"x")).await.unwrap();
        let store = FaultyStore::new(memory.clone(), FaultPlan::none());
        let listed = list(&store, "t/1/").await.unwrap();
        assert_eq!(listed.len(), expected);
        assert_eq!(listed, memory.list_all("t/1/").await.unwrap());
        assert!(store.count(OperationName::List) < 30, "{}", store.count(OperationName::List));
        let small = FaultyStore::new(memory, FaultPlan::none());
        assert_eq!(list(&small, "t/2/").await.unwrap().len(), 1);
        assert_eq!(small.operations().len(), 1, "one request where it is small");
    }
}
