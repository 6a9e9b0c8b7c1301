use bytes::Bytes;
use journal::append::{Batch, append};
use journal::documents::{GapDocument, StartDocument, to_bytes};
use journal::layout;
use journal::model::{
    AttributeValue, Attributes, ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyType, StreamArn,
    StreamRecord, Timeline,
};
use journal::store::WriteStore;
use journal::store::memory::MemoryStore;

use super::*;
use journal::model::KeyAttributes;

fn stream() -> StreamArn {
    StreamArn::parse("arn:aws:dynamodb:us-east-1:0:table/notes-table-dev/stream/2020-03-29T00:00:00.000").unwrap()
}

fn timeline() -> Timeline {
    stream().timeline().clone()
}

fn record(key: &str, number: u64, old: Option<&str>, new: Option<&str>) -> StreamRecord {
    let names = KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let image = |value: Option<&str>| {
        value.map(|value| Image::encode(&Attributes::from([("content".to_owned(), text(value))])).unwrap())
    };
    StreamRecord {
        stream: stream(),
        record: ChangeRecord {
            key: ItemKey::encode(&names, &Attributes::from([("noteId".to_owned(), text(key))])).unwrap(),
            sequence: SequenceNumber::parse(&number.to_string()).unwrap(),
            second: Some(Second::new(1000 + number).unwrap()),
            kind: match (old, new) {
                (None, _) => ChangeKind::Insert,
                (_, None) => ChangeKind::Remove,
                _ => ChangeKind::Modify,
            },
            old: image(old),
            new: image(new),
            user: None,
        },
        key_attributes: names,
    }
}

async fn journal(batches: Vec<Vec<StreamRecord>>) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    for records in batches {
        append(&*store, Batch { records, quarantined: Vec::new() }).await.unwrap();
    }
    store
}

async fn document<T: Serialize + Sync>(store: &MemoryStore, key: String, document: &T) {
    store.replace(&key, to_bytes(document).unwrap()).await.unwrap();
}

async fn start(store: &MemoryStore, whole: bool) {
    let start = StartDocument { covered_from: Second::new(1000).unwrap(), whole, reason: String::new() };
    document(store, layout::start_document(&timeline()), &start).await;
}

async fn verified(store: &Arc<MemoryStore>) -> TimelineReport {
    let store: Arc<dyn ReadStore> = store.clone();
    let table = timeline().table;
    let reports = verify_table(store, &table, MergeOptions::default(), &Interrupt::never(), |_| {}).await.unwrap();
    assert_eq!(reports.len(), 1);
    reports.into_iter().next().unwrap()
}

fn history() -> Vec<Vec<StreamRecord>> {
    vec![
        vec![record("a", 1, None, Some("1")), record("b", 2, None, Some("1")), record("a", 3, Some("1"), Some("2"))],
        vec![record("a", 4, Some("2"), Some("3")), record("b", 5, Some("1"), None)],
        vec![record("b", 6, None, Some("2")), record("a", 7, Some("3"), None)],
    ]
}

#[tokio::test]
async fn a_whole_chain_is_sound_however_it_was_batched_and_sent_twice() {
    let mut batches = history();
    batches.push(vec![record("a", 3, Some("1"), Some("2")), record("a", 4, Some("2"), Some("3"))]);
    let store = journal(batches).await;
    start(&store, true).await;
    let report = verified(&store).await;
    assert_eq!(report.verdict(), None, "{report:?}");
    assert_eq!((report.records, report.keys, report.duplicates, report.segments), (7, 2, 2, 4));
}

#[tokio::test]
async fn a_lost_batch_is_a_break_with_key_and_interval() {
    let mut batches = history();
    batches.remove(1);
    let store = journal(batches).await;
    let report = verified(&store).await;
    assert_eq!(report.verdict(), Some(Kind::Gap));
    assert_eq!(report.broken, 2);
    let first = &report.breaks[0];
    assert_eq!(first.key, "{\"noteId\":{\"S\":\"a\"}}");
    assert_eq!(first.after.as_ref().unwrap().sequence.to_string(), "3");
    assert_eq!((first.before.sequence.to_string(), first.before.second.unwrap().get()), ("7".to_owned(), 1007));
}

#[tokio::test]
async fn a_stated_gap_explains_the_breaks_across_it() {
    let mut batches = history();
    batches.remove(1);
    let store = journal(batches).await;
    let gap = |from, to| GapDocument {
        shard: None,
        after_sequence: None,
        before_sequence: None,
        from: Second::new(from).unwrap(),
        to: Second::new(to).unwrap(),
        reason: "records were trimmed".to_owned(),
    };
    document(&store, format!("{}1.json", layout::gaps_folder(&timeline())), &gap(1003, 1006)).await;
    let report = verified(&store).await;
    assert_eq!((report.verdict(), report.broken, report.broken_stated), (None, 0, 2));
    assert_eq!(report.breaks[0].stated.as_deref(), Some("records were trimmed"));
    document(&store, format!("{}1.json", layout::gaps_folder(&timeline())), &gap(1007, 1008)).await;
    assert_eq!(verified(&store).await.broken, 2, "a gap elsewhere explains nothing");
}

#[tokio::test]
async fn the_first_record_of_a_key_must_find_no_item_when_the_stream_is_whole() {
    for (whole, broken) in [(true, 1), (false, 0)] {
        let store = journal(vec![vec![record("a", 1, Some("0"), Some("1"))]]).await;
        start(&store, whole).await;
        let report = verified(&store).await;
        assert_eq!(report.broken, broken);
        assert!(report.breaks.iter().all(|found| found.after.is_none()));
    }
}

#[tokio::test]
async fn an_unsound_object_is_named_and_the_others_are_still_checked() {
    let store = journal(history()).await;
    let key = store.list_all("").await.unwrap()[1].key.clone();
    let whole = store.get(&key).await.unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 4;
        store.replace(&key, Bytes::from(bytes)).await.unwrap();
        let report = verified(&store).await;
        assert_eq!(report.verdict(), Some(Kind::Corrupt), "byte {at}");
        assert_eq!((report.unsound, report.problems[0].object.as_str()), (1, key.as_str()));
        assert_eq!(report.records, 5, "the other segments were read");
    }
}

#[tokio::test]
async fn a_sound_object_under_a_wrong_name_is_unsound() {
    let store = journal(vec![vec![record("a", 1, None, Some("1"))]]).await;
    let key = store.list_all("").await.unwrap()[0].key.clone();
    let bytes = store.get(&key).await.unwrap();
    let other = key.replace("000000001001-", "000000001000-");
    assert_ne!(key, other);
    store.put_new(&other, bytes.clone()).await.unwrap();
    let elsewhere = key.replace("/2020-03-29T00:00:00.000/", "/2021-03-29T00:00:00.000/");
    store.put_new(&elsewhere, bytes).await.unwrap();
    let read: Arc<dyn ReadStore> = store.clone();
    let reports =
        verify_table(read, &timeline().table, MergeOptions::default(), &Interrupt::never(), |_| {}).await.unwrap();
    assert!(reports[0].problems[0].problem.contains("other seconds than its name says"), "{:?}", reports[0].problems);
    assert!(reports[1].problems[0].problem.contains("belongs to timeline"), "{:?}", reports[1].problems);
}

#[tokio::test]
async fn torn_documents_and_foreign_objects_are_named() {
    let store = journal(history()).await;
    store.replace(&layout::start_document(&timeline()), Bytes::from_static(b"{")).await.unwrap();
    let foreign = format!("{}notes.txt", layout::timeline_folder(&timeline()));
    store.put_new(&foreign, Bytes::from_static(b"x")).await.unwrap();
    let report = verified(&store).await;
    assert_eq!(report.verdict(), Some(Kind::Corrupt));
    assert_eq!(report.problems[0].object, layout::start_document(&timeline()));
    assert_eq!(report.foreign, [foreign]);
    assert_eq!(report.records, 7);
}

#[tokio::test]
async fn a_snapshot_whose_part_is_gone_is_unsound() {
    let store = journal(history()).await;
    let part =
        journal::documents::SnapshotPart { name: "part-00000-00000000.run".to_owned(), size: 1, crc32: 0, items: 1 };
    let snapshot = journal::documents::SnapshotDocument {
        kind: "baseline".to_owned(),
        started: Second::new(1000).unwrap(),
        finished: Second::new(1001).unwrap(),
        key_attributes: None,
        items: 2,
        parts: vec![part],
        fold: None,
    };
    document(&store, layout::snapshot_document(&timeline(), "1000-baseline"), &snapshot).await;
    let report = verified(&store).await;
    assert_eq!(report.unsound, 2);
    assert!(report.problems[0].problem.contains("counts 2 items"));
    assert!(report.problems[1].problem.contains("does not exist"));
}

#[tokio::test]
async fn two_records_of_one_number_that_say_different_things_are_unsound() {
    let store = journal(vec![vec![record("a", 1, None, Some("1"))], vec![record("a", 1, None, Some("2"))]]).await;
    let report = verified(&store).await;
    assert_eq!((report.contradictions, report.verdict()), (1, Some(Kind::Corrupt)));
}

#[tokio::test]
async fn a_stop_ends_it_without_a_report() {
    let store = journal(history()).await;
    let interrupt = Interrupt::manual();
    interrupt.trigger();
    let read: Arc<dyn ReadStore> = store;
    let error = verify_table(read, &timeline().table, MergeOptions::default(), &interrupt, |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
}
