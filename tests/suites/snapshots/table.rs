//! What the tests of this suite make journals of.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use journal::append::{Batch, append};
use journal::coverage::{CoveredTimeline, Interval};
use journal::documents::{self, StartDocument};
use journal::layout;
use journal::merge::{MergeOptions, MergeReport, RunInput, for_each_item};
use journal::model::{
    ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, Second, SequenceNumber, StreamArn,
    StreamRecord, Timeline,
};
use journal::store::memory::MemoryStore;
use journal::store::{ReadStore, WriteStore};
use journal_tests::reference::State;
use replayer::cut::Cut;

/// 2020-02-28T22:00:00Z: two hours before a day's end, a day and two hours before a month's.
pub(crate) const BEGINNING: u64 = 1_582_927_200;
/// 2021-06-01T00:00:00Z: every window is over.
pub(crate) const LATER: u64 = 1_622_505_600;

pub(crate) fn stream() -> StreamArn {
    StreamArn::parse("arn:aws:dynamodb:eu-west-1:000000000000:table/notes-table-dev/stream/2020-02-28T22:00:00.000")
        .unwrap()
}

pub(crate) fn timeline() -> Timeline {
    stream().timeline().clone()
}

pub(crate) fn names() -> KeyAttributes {
    KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap()
}

pub(crate) fn second(at: u64) -> Second {
    Second::new(at).unwrap()
}

pub(crate) fn sequence(number: u64) -> SequenceNumber {
    SequenceNumber::parse(&format!("10000000000000000{number:010}")).unwrap()
}

pub(crate) fn key(id: u64) -> ItemKey {
    let value = journal::model::AttributeValue::S(format!("note-{id:08}"));
    ItemKey::encode(&names(), &journal::model::Attributes::from([("noteId".to_owned(), value)])).unwrap()
}

pub(crate) fn image(text: String) -> Image {
    let value = journal::model::AttributeValue::S(text);
    Image::encode(&journal::model::Attributes::from([("content".to_owned(), value)])).unwrap()
}

pub(crate) fn change(id: u64, number: u64, at: u64, old: Option<Image>, new: Option<Image>) -> ChangeRecord {
    let kind = match (&old, &new) {
        (None, _) => ChangeKind::Insert,
        (_, None) => ChangeKind::Remove,
        _ => ChangeKind::Modify,
    };
    ChangeRecord { key: key(id), sequence: sequence(number), second: Some(second(at)), kind, old, new, user: None }
}

pub(crate) async fn put(store: &dyn WriteStore, records: Vec<ChangeRecord>) {
    let records =
        records.into_iter().map(|record| StreamRecord { stream: stream(), key_attributes: names(), record }).collect();
    append(store, Batch { records, quarantined: Vec::new() }).await.unwrap();
}

/// Says that the stream began with the table, or that nobody can do without a baseline.
pub(crate) async fn start(store: &dyn WriteStore, whole: bool) {
    let document = StartDocument { covered_from: second(BEGINNING), whole, reason: "of a test".to_owned() };
    let key = layout::start_document(&timeline());
    store.put_new(&key, documents::to_bytes(&document).unwrap()).await.unwrap();
}

pub(crate) async fn covered(store: &dyn ReadStore) -> CoveredTimeline {
    CoveredTimeline::new(journal::listing::timeline(store, timeline()).await.unwrap())
}

pub(crate) fn interval(covered: &CoveredTimeline) -> &Interval {
    covered.intervals.last().unwrap()
}

pub(crate) async fn state(
    store: &Arc<MemoryStore>,
    inputs: Vec<RunInput>,
    cut: Cut,
    memory: usize,
) -> (State, MergeReport) {
    let items = Arc::new(Mutex::new(State::new()));
    let into = Arc::clone(&items);
    let from: Arc<dyn ReadStore> = store.clone();
    let options = MergeOptions { memory_bytes_max: memory, ..MergeOptions::default() };
    let report = for_each_item(from, inputs, cut, None, options, move |item| {
        let key = ItemKey::from_bytes(Bytes::copy_from_slice(item.key));
        into.lock().unwrap().insert(key, Image::from_bytes(Bytes::copy_from_slice(item.image)));
        Ok(())
    })
    .await
    .unwrap();
    let state = std::mem::take(&mut *items.lock().unwrap());
    (state, report)
}
