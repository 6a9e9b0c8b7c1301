//! Calls of the merge, in process: what lies in a store, and the state that the merge makes of it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use journal::error::Result;
use journal::layout;
use journal::model::{Image, ItemKey, Timeline};
use journal::store::ReadStore;
use replayer::cut::Cut;
use replayer::merge::{MergeOptions, MergeReport, RunInput, RunKind, for_each_item};

use crate::reference::State;

/// Every segment and every part of a snapshot in a timeline, in the order of the listing.
///
/// # Errors
/// When the store cannot be listed.
pub async fn inputs(store: &dyn ReadStore, timeline: &Timeline) -> Result<Vec<RunInput>> {
    let mut inputs = Vec::new();
    for object in store.list_all(&layout::segments_folder(timeline)).await? {
        inputs.push(RunInput { key: object.key, size: object.size, kind: RunKind::Segment, from: None, until: None });
    }
    for object in store.list_all(&layout::snapshots_folder(timeline)).await? {
        if object.key.strip_suffix(".run").is_some() {
            inputs.push(RunInput {
                key: object.key,
                size: object.size,
                kind: RunKind::Snapshot,
                from: None,
                until: None,
            });
        }
    }
    Ok(inputs)
}

/// The state at `cut` as the merge gives it, and what the merge says it did.
///
/// # Errors
/// When the merge fails.
///
/// # Panics
/// When the merge gives a key twice, or keys out of order.
pub async fn state_at(
    store: Arc<dyn ReadStore>,
    inputs: Vec<RunInput>,
    cut: Cut,
    keys: Option<Range<Bytes>>,
    options: MergeOptions,
) -> Result<(State, MergeReport)> {
    let state = Arc::new(Mutex::new(State::new()));
    let filled = state.clone();
    let report = for_each_item(store, inputs, cut, keys, options, move |item| {
        let mut state = filled.lock().unwrap_or_else(PoisonError::into_inner);
        let key = ItemKey::from_bytes(Bytes::copy_from_slice(item.key));
        let last = state.last_key_value().map(|(last, _)| last);
        assert!(last.is_none_or(|last| *last < key), "{cut}: key {key:?} came after {last:?}");
        state.insert(key, Image::from_bytes(Bytes::copy_from_slice(item.image)));
        Ok(())
    })
    .await?;
    let state = std::mem::take(&mut *state.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((state, report))
}

/// The keys that begin with `prefix`, as a half-open range.
#[must_use]
pub fn keys_with_prefix(prefix: &[u8]) -> Range<Bytes> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    Bytes::copy_from_slice(prefix)..Bytes::from(end)
}
