//! Appends only what the journal does not have: the guard's reading of a stream that a function is triggered by.
//!
//! What enters are batches as a follower reads them; what leaves is the same promise as an append: when it returns, every record lies in a whole segment
//! or in quarantine. Of records that are there already nothing is written. A segment counts as holding a record only after its bytes were read
//! and every checksum held, so that the checkpoint that follows rests on what can be read, not on names.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tracing::warn;

use super::finding::Late;
use crate::append::{AppendReport, Batch};
use crate::documents::DocumentError;
use crate::error::Result;
use crate::format::{self, BlockCursor, Columns, Decompressor, FormatError};
use crate::layout::{self, SegmentName};
use crate::model::{Second, SequenceNumber, StreamRecord, TableName, Timeline};
use crate::source::follow::{Clock, Durable};
use crate::store::{ObjectMeta, ReadStore, StoreError, WriteStore};

/// Records of a batch of level 0 usually lie so few seconds apart; where a function has fallen behind, further.
const NEAR_SECONDS: u64 = 600;
/// The furthest: a stream keeps its records so long.
const FAR_SECONDS: u64 = 86_400;
/// Records that are remembered of one timeline; beyond that what was read is read again.
const REMEMBERED_MAX: usize = 2_000_000;
/// Levels of segments: what one batch made, and what compaction made of it.
const LEVELS: std::ops::RangeInclusive<u8> = 0..=3;

/// A record by its sequence number's value and its key's hash.
type Mark = ([u8; 17], u64);

/// Appends to a journal what it does not have.
#[derive(Debug)]
pub struct AppendMissing {
    store: Arc<dyn WriteStore>,
    clock: Arc<dyn Clock>,
    /// A record that is older than this and not in the journal is late.
    fresh_seconds: u64,
    lines: Mutex<BTreeMap<Timeline, Arc<tokio::sync::Mutex<Line>>>>,
    tallies: Mutex<BTreeMap<TableName, Late>>,
}

/// What is known to be in one timeline.
#[derive(Debug, Default)]
struct Line {
    marks: HashSet<Mark>,
    /// Keys of the segments that were read.
    read: HashSet<String>,
}

impl AppendMissing {
    /// Appends to the journal in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn WriteStore>, clock: Arc<dyn Clock>, fresh_seconds: u64) -> Self {
        Self { store, clock, fresh_seconds, lines: Mutex::default(), tallies: Mutex::default() }
    }

    /// What was found of one table so far.
    #[must_use]
    pub fn tally(&self, table: &TableName) -> Late {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).get(table).copied().unwrap_or_default()
    }

    fn line(&self, timeline: &Timeline) -> Arc<tokio::sync::Mutex<Line>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lines.entry(timeline.clone()).or_default())
    }

    /// The records of one timeline that no segment has.
    async fn missing(&self, timeline: &Timeline, records: Vec<StreamRecord>) -> Result<Vec<StreamRecord>> {
        let line = self.line(timeline);
        let mut line = line.lock().await;
        if line.marks.len() > REMEMBERED_MAX {
            *line = Line::default();
        }
        let mut missing = records;
        // From what is likely to what is possible; after each look fewer are left.
        for look in [None, Some(Reach::Near), Some(Reach::Far)] {
            if let Some(reach) = look {
                // What is so young is most likely on its way: to look for it everywhere is not worth it.
                if reach == Reach::Far && missing.iter().all(|record| !self.is_late(record)) {
                    break;
                }
                line.learn(self.store.as_ref(), timeline, &missing, reach).await?;
            }
            missing.retain(|record| !line.marks.contains(&mark(record)));
            if missing.is_empty() {
                break;
            }
        }
        Ok(missing)
    }

    fn is_late(&self, record: &StreamRecord) -> bool {
        let age = record.record.second.map(|second| self.clock.now().get().saturating_sub(second.get()));
        age.is_some_and(|age| age > self.fresh_seconds)
    }

    fn count(&self, table: &TableName, there: usize, missing: &[StreamRecord]) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(table.clone()).or_default();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        tally.there += number(there);
        tally.appended += number(missing.len());
        for record in missing.iter().filter(|record| self.is_late(record)) {
            tally.late += 1;
            let second = record.record.second;
            tally.oldest_late = [tally.oldest_late, second].into_iter().flatten().min();
        }
    }
}

fn mark(record: &StreamRecord) -> Mark {
    (record.record.sequence.to_parts().0, format::key_hash(record.record.key.as_bytes()))
}

#[async_trait]
impl Durable for AppendMissing {
    async fn append(&self, batch: Batch) -> Result<AppendReport> {
        let mut lines: BTreeMap<Timeline, Vec<StreamRecord>> = BTreeMap::new();
        for record in batch.records {
            lines.entry(record.stream.timeline().clone()).or_default().push(record);
        }
        let mut left = Batch { records: Vec::new(), quarantined: batch.quarantined };
        let mut found = Vec::new();
        for (timeline, records) in lines {
            let all = records.len();
            let missing = self.missing(&timeline, records).await?;
            found.push((timeline.table.clone(), all - missing.len(), missing.clone()));
            left.records.extend(missing);
        }
        let report = if left.records.is_empty() && left.quarantined.is_empty() {
            AppendReport::default()
        } else {
            crate::append::append(self.store.as_ref(), left).await?
        };
        // Counted only when it is durable, so that a batch that is given again counts once.
        for (table, there, missing) in &found {
            self.count(table, *there, missing);
        }
        Ok(report)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Segments of level 0 that begin shortly before the records.
    Near,
    /// Every segment that can hold them.
    Far,
}

impl Line {
    /// Reads the segments that can hold some of the records and were not read yet.
    async fn learn(
        &mut self,
        store: &dyn WriteStore,
        timeline: &Timeline,
        records: &[StreamRecord],
        reach: Reach,
    ) -> Result<(), DocumentError> {
        let first = records.iter().filter_map(|record| record.record.second).min();
        let mut listed = Vec::new();
        for level in LEVELS {
            if reach == Reach::Near && level > 0 {
                break;
            }
            let folder = format!("{}{level}/", layout::segments_folder(timeline));
            let margin = if reach == Reach::Near { NEAR_SECONDS } else { FAR_SECONDS };
            // Runs of compaction begin up to a month before what they hold: they are few, and all are listed.
            let after = first.filter(|_| level == 0).map(|first| {
                let from = Second::new(first.get().saturating_sub(margin)).unwrap_or(Second::MIN);
                format!("{folder}{}/{:012}", from.to_date(), from.get())
            });
            listed.extend(list_after(store, &folder, after).await?);
        }
        let sequences = || records.iter().map(|record| record.record.sequence);
        let low = sequences().min_by(SequenceNumber::cmp_value);
        let high = sequences().max_by(SequenceNumber::cmp_value);
        let (Some(low), Some(high)) = (low, high) else { return Ok(()) };
        for object in listed {
            let Some(name) = SegmentName::parse(&object.key) else { continue };
            let overlaps = name.sequences.0.cmp_value(&high).is_le() && low.cmp_value(&name.sequences.1).is_le();
            if !overlaps || self.read.contains(&object.key) {
                continue;
            }
            let bytes = match store.get(&object.key).await {
                Ok(bytes) => bytes,
                // Compacted meanwhile: then another one holds its records.
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let key = object.key.clone();
            let read = tokio::task::spawn_blocking(move || marks(&key, &bytes)).await;
            match read {
                Ok(Ok(marks)) => {
                    self.marks.extend(marks);
                    self.read.insert(object.key);
                }
                // What cannot be read holds nothing: its records are appended again while the stream still has them.
                Ok(Err(error)) => warn!("{error}; the segment does not count"),
                Err(error) => warn!("reading {} ended early: {error}; the segment does not count", object.key),
            }
        }
        Ok(())
    }
}

/// The objects below `folder`, from `after` on where that is given.
async fn list_after(
    store: &dyn ReadStore,
    folder: &str,
    mut after: Option<String>,
) -> Result<Vec<ObjectMeta>, StoreError> {
    let mut objects = Vec::new();
    loop {
        let page = store.list(folder, after.as_deref()).await?;
        objects.extend(page.objects);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(objects),
        }
    }
}

/// Every record of a segment, checked.
fn marks(object: &str, bytes: &[u8]) -> Result<Vec<Mark>, FormatError> {
    let verified = format::verify_object(object, bytes)?;
    let mut marks = Vec::with_capacity(usize::try_from(verified.records).unwrap_or_default());
    let mut decompressor = Decompressor::new()?;
    let mut cursor = BlockCursor::new(object, verified.tail.footer.clone());
    for (number, entry) in verified.tail.blocks.iter().enumerate() {
        cursor.load_from(&mut decompressor, number, entry, bytes, Columns::Keys)?;
        while cursor.advance()? {
            marks.push((cursor.sequence().to_parts().0, format::key_hash(cursor.key())));
        }
    }
    Ok(marks)
}

/// The last second of any segment of a timeline that a function feeds, as far as the last two days go; none when there is no such segment.
///
/// # Errors
/// When the store cannot be listed.
pub async fn last_second(
    store: &dyn ReadStore,
    timeline: &Timeline,
    now: Second,
) -> Result<Option<Second>, StoreError> {
    let folder = format!("{}0/", layout::segments_folder(timeline));
    let from = Second::new(now.get().saturating_sub(2 * FAR_SECONDS)).unwrap_or(Second::MIN);
    let after = format!("{folder}{}/{:012}", from.to_date(), from.get());
    let names = list_after(store, &folder, Some(after)).await?;
    Ok(names.iter().filter_map(|object| SegmentName::parse(&object.key)?.seconds).map(|(_, last)| last).max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::append;
    use crate::model::StreamArn;
    use crate::model::{ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType};
    use crate::source::follow::SystemClock;
    use crate::store::memory::MemoryStore;
    use bytes::Bytes;

    fn record(number: u64, second: u64) -> StreamRecord {
        let names = KeyAttributes::new(vec![KeyAttribute { name: "id".to_owned(), key_type: KeyType::N }]).unwrap();
        StreamRecord {
            stream: StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap(),
            key_attributes: names,
            record: ChangeRecord {
                key: ItemKey::from_bytes(Bytes::from(format!("k{}", number % 3))),
                sequence: SequenceNumber::parse(&number.to_string()).unwrap(),
                second: Second::new(second).ok(),
                kind: ChangeKind::Insert,
                old: None,
                new: Some(Image::from_bytes(Bytes::from_static(b"x"))),
                user: None,
            },
        }
    }

    fn batch(numbers: std::ops::Range<u64>) -> Batch {
        Batch { records: numbers.map(|number| record(number, 1_000_000 + number)).collect(), quarantined: Vec::new() }
    }

    fn missing(store: &Arc<MemoryStore>) -> AppendMissing {
        AppendMissing::new(store.clone(), Arc::new(SystemClock::new()), 900)
    }

    fn notes() -> TableName {
        TableName::parse("notes").unwrap()
    }

    #[tokio::test]
    async fn what_the_journal_has_is_not_written_again_and_what_it_lacks_is() {
        let store = Arc::new(MemoryStore::default());
        append(store.as_ref(), batch(100..110)).await.unwrap();
        append(store.as_ref(), batch(115..120)).await.unwrap();
        let guard = missing(&store);
        let report = guard.append(batch(100..120)).await.unwrap();
        assert_eq!((report.records, report.segments_created), (5, 1));
        let tally = guard.tally(&notes());
        assert_eq!((tally.there, tally.appended, tally.late), (15, 5, 5));
        assert_eq!(tally.oldest_late.map(Second::get), Some(1_000_110));
        // Another guard finds all of it.
        let again = missing(&store);
        assert_eq!(again.append(batch(100..120)).await.unwrap(), AppendReport::default());
        assert_eq!(again.tally(&notes()).there, 20);
    }

    #[tokio::test]
    async fn a_damaged_segment_counts_for_nothing() {
        let store = Arc::new(MemoryStore::default());
        append(store.as_ref(), batch(1..5)).await.unwrap();
        let key = store.list_all("notes/1/segments/").await.unwrap()[0].key.clone();
        let mut bytes = store.get(&key).await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        store.replace(&key, Bytes::from(bytes)).await.unwrap();
        let guard = missing(&store);
        // The same records make the same name: what lies there is not what they are, and it says so.
        assert!(guard.append(batch(1..5)).await.is_err());
        // Others make another name.
        assert_eq!(guard.append(batch(1..4)).await.unwrap().records, 3);
    }

    #[tokio::test]
    async fn a_batch_that_reaches_far_back_is_found() {
        let store = Arc::new(MemoryStore::default());
        let far = Batch { records: vec![record(1, 1_000_000), record(2, 1_050_000)], quarantined: Vec::new() };
        append(store.as_ref(), far).await.unwrap();
        let guard = missing(&store);
        let late = Batch { records: vec![record(2, 1_050_000)], quarantined: Vec::new() };
        assert_eq!(guard.append(late).await.unwrap(), AppendReport::default());
    }
}
