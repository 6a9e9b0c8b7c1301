//! Where outputs, windows and the grace time end, and in which order things are stored.

use super::*;
use crate::layout::segments_folder;
use crate::store::memory::OperationName;

#[tokio::test]
async fn every_output_is_read_back_before_anything_says_that_it_holds_its_inputs() {
    let store = Arc::new(FaultyStore::new(history().await, FaultPlan::none()));
    compact(store.clone(), LATER, &options()).await.unwrap();
    let operations = store.operations();
    let (segments, compactions) = (segments_folder(&timeline()), layout::compactions_folder(&timeline()));
    let puts = |folder: &str| -> Vec<(usize, &str)> {
        let puts = operations.iter().enumerate().filter(|(_, operation)| operation.name == OperationName::PutNew);
        puts.filter(|(_, put)| put.key.starts_with(folder)).map(|(at, put)| (at, put.key.as_str())).collect()
    };
    // Of how far a run is no document says that it is done.
    let documents: Vec<usize> = puts(&compactions)
        .into_iter()
        .filter(|(_, key)| key.strip_prefix(compactions.as_str()).is_some_and(|name| !name.contains('/')))
        .map(|(at, _)| at)
        .collect();
    assert_eq!(documents.len(), 2);
    for (put, key) in puts(&segments) {
        let document = *documents.iter().find(|document| **document > put).unwrap();
        let read =
            |operation: &crate::store::memory::Operation| operation.key == key && operation.name == OperationName::Get;
        assert!(operations[put + 1..document].iter().any(read), "{key} is not read back");
    }
}

#[tokio::test]
async fn a_window_is_compacted_when_it_is_over_and_settled_and_not_a_second_before() {
    // Three segments of one hour.
    let store = history_of(&records_of(1, 6), 2).await;
    let windows = async |now: u64, inputs_min: usize| {
        let options = CompactOptions { dry_run: true, inputs_min, settle: Duration::from_mins(10), ..options() };
        compact(store.clone(), now, &options).await.unwrap().windows
    };
    let settled = BEGINNING + 3600 + 600;
    assert_eq!((windows(settled - 1, 2).await, windows(settled, 2).await), (0, 1));
    assert_eq!((windows(settled, 3).await, windows(settled, 4).await), (1, 0));
}

#[tokio::test]
async fn what_was_merged_goes_when_the_grace_time_is_over_and_not_a_second_before() {
    let store = history().await;
    compact(store.clone(), LATER, &keeping()).await.unwrap();
    let stored: Vec<u64> = objects(&store).await.compactions.iter().map(|compaction| compaction.modified).collect();
    let last = *stored.iter().max().unwrap();
    let with = |grace: u64| CompactOptions { grace: Duration::from_secs(grace), dry_run: true, ..options() };
    let early = compact(store.clone(), LATER, &with(LATER - last + 1)).await.unwrap();
    assert!(early.waiting > 0 && early.deleted < 180, "{early:?}");
    let over = compact(store.clone(), LATER, &with(LATER - last)).await.unwrap();
    assert_eq!((over.waiting, over.deleted), (0, 180));
}

/// A snapshot that began before the last of them was appended does not hold it, and must not pass over what was made of both.
#[tokio::test]
async fn an_output_says_when_the_last_of_its_inputs_was_appended() {
    let store = history_of(&records_of(1, 6), 2).await;
    let appended: Vec<u64> = objects(&store).await.segments.iter().map(|segment| segment.appended).collect();
    compact(store.clone(), LATER, &keeping()).await.unwrap();
    let segments = objects(&store).await.segments;
    let outputs: Vec<_> = segments.iter().filter(|segment| segment.name.level > 0).collect();
    assert!(appended.len() == 3 && appended[0] < appended[2] && !outputs.is_empty());
    assert!(outputs.iter().all(|output| output.name.appended == appended.iter().max().copied()), "{outputs:?}");
}
