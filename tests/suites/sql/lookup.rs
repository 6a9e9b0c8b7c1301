//! How much of a journal is read for one item, and for a count: counted bytes, not time.
//!
//! By default 60,000 changes; `JOURNAL_SQL_CHANGES=5000000` is the size that the promise of half a percent is made for.

use journal::append::{Batch, append};
use journal::compact::{CompactOptions, compact_table};
use journal::format::{Columns, Layout, read_tail};
use journal::interrupt::Interrupt;
use journal::model::{Second, StreamRecord};
use journal_tests::workload::{Profile, Workload, key_attributes, stream};
use serde_json::Value;

use crate::{Folder, ask};

const CHANGES: usize = 60_000;
const BATCH: usize = 5_000;
/// What the first read of an object's end asks for.
const TAIL_BYTES: u64 = journal::format::TAIL_BYTES;

fn changes() -> usize {
    match std::env::var("JOURNAL_SQL_CHANGES") {
        Ok(text) => text.parse().expect("JOURNAL_SQL_CHANGES is a number"),
        Err(_) => CHANGES,
    }
}

/// A compacted journal of a notes app's traffic, and the key of an item that changed more than once.
fn journal_of_traffic(changes: usize) -> (Folder, Value) {
    let folder = Folder::empty();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let key = runtime.block_on(async {
        let store = journal::store::open_write(&folder.url).await.unwrap();
        let (stream, names) = (stream().unwrap(), key_attributes().unwrap());
        let mut traffic = Workload::new(Profile::w1());
        let (mut left, mut wanted) = (changes, None);
        while left > 0 {
            let records: Vec<StreamRecord> = traffic
                .by_ref()
                .take(BATCH.min(left))
                .map(|change| StreamRecord {
                    stream: stream.clone(),
                    key_attributes: names.clone(),
                    record: change.record().unwrap(),
                })
                .collect();
            left -= records.len();
            let modified = records.iter().find(|record| record.record.old.is_some() && record.record.new.is_some());
            if let (true, Some(found)) = (wanted.is_none(), modified) {
                let key = found.record.key.decode(&names).unwrap();
                wanted = key.values().next().map(|value| match value {
                    journal::model::AttributeValue::S(text) => Value::from(text.as_str()),
                    other => panic!("{other:?}"),
                });
            }
            append(store.as_ref(), Batch { records, quarantined: Vec::new() }).await.unwrap();
        }
        let options = CompactOptions {
            settle: std::time::Duration::ZERO,
            grace: std::time::Duration::ZERO,
            ..CompactOptions::default()
        };
        for _ in 0..2 {
            let table = &stream.timeline().table;
            let never = Interrupt::never();
            compact_table(store.clone(), table, Second::new(4_000_000_000).unwrap(), &options, &never, |_| {})
                .await
                .unwrap();
        }
        wanted.unwrap()
    });
    (folder, key)
}

/// Bytes of all blocks, of their keys and metadata alone, and an upper bound of what opening each object reads.
fn measured(folder: &Folder) -> (u64, u64, u64) {
    let (mut all, mut keys, mut opening) = (0, 0, 0);
    for path in folder.segments() {
        let bytes = std::fs::read(&path).unwrap();
        let size = u64::try_from(bytes.len()).unwrap();
        let Layout::Complete(tail) = read_tail("segment", &bytes, size).unwrap() else { panic!("{}", path.display()) };
        let length = |range: std::ops::Range<u64>| range.end - range.start;
        all += size;
        keys += tail.blocks.iter().flat_map(|block| block.places(Columns::Keys)).map(length).sum::<u64>();
        // The index may not fit the first read of the end; then it is read again, longer.
        opening += TAIL_BYTES + (size - tail.blocks_end());
    }
    (all, keys, opening)
}

#[test]
fn one_item_and_a_count_read_little_of_a_compacted_journal() {
    let changes = changes();
    let (folder, key) = journal_of_traffic(changes);
    let (all, keys, opening) = measured(&folder);
    let sql = format!(
        "SELECT sequence, old, new FROM changes WHERE noteId = '{}';
         SELECT date_trunc('hour', second) AS hour, count(*) AS n FROM changes GROUP BY 1;
         SELECT count(new) AS n FROM changes",
        key.as_str().unwrap()
    );
    let answers = ask(&folder, &sql, None);
    let read = |at: usize| answers[at].1.scans.iter().map(|scan| scan.bytes_read).sum::<u64>();
    assert!(answers[0].0.len() > 1, "the item changed more than once");
    let share = format!("{changes} changes, {all} bytes; one item read {}, the count {}", read(0), read(1));
    println!("{share}");
    // Opening, one filter page each, and blocks of 64 KiB before compression.
    let objects = u64::try_from(folder.segments().len()).unwrap();
    assert!(read(0) <= opening + objects * (64 << 10), "{share}");
    if changes >= 5_000_000 {
        assert!(read(0) * 200 < all, "{share}");
    }
    let counted: u64 = answers[1].0.iter().map(|row| row["n"].as_u64().unwrap()).sum();
    assert_eq!(counted, u64::try_from(changes).unwrap());
    assert!(read(1) <= opening + keys, "{share}: keys and metadata are {keys}, tails at most {opening}");
    assert!(read(1) * 3 < all && read(2) > 2 * read(1), "{share}; with images {}", read(2));
}
