//! Baseline: a live table read into a snapshot, while it is written to.
//!
//! What enters are a client and a table's name; what leaves is a finished snapshot, or nothing that counts. The scan needs
//! no lock: an item that changes while it runs has a record in the stream, and of such a key the records alone decide;
//! the snapshot counts only for keys without any record, and those never changed, so whenever they were read they were
//! read right (DESIGN: state at a cut, rule 3). That holds for the stream the table had from the start of the scan to its
//! end, which is checked. Knows nothing of the bytes of a snapshot.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, TableDescription};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::capacity::Capacity;
use super::description::{self, describe, describe_table, stream_of};
use super::{TableError, store_description};
use crate::append::SnapshotWriter;
use crate::documents::{SnapshotDocument, TableDocument};
use crate::error::{Classify, Kind, Result};
use crate::interrupt::{Interrupt, InterruptedError};
use crate::model::{Image, ItemKey, KeyAttributes, Second, StreamArn, TableName};
use crate::source::sdk;
use crate::store::WriteStore;

/// How often a request that was throttled or got no answer is made again, on top of the client's own attempts.
const RETRIES_MAX: u32 = 10;
/// The longest wait between two of them.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);
/// Segments that DynamoDB allows (`TotalSegments`, Amazon DynamoDB API reference).
pub const SEGMENTS_MAX: u32 = 1_000_000;

/// How a table is read.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineOptions {
    /// Segments that are scanned at the same time.
    pub segments: u32,
    /// Whether reads are strongly consistent: they cost twice as much. The baseline is right either way as long as the
    /// stream is journalled from before it; without that an item written just before the scan may be missed.
    pub consistent: bool,
    /// Read units a second at most.
    pub read_units: Option<f64>,
}

impl Default for BaselineOptions {
    fn default() -> Self {
        Self { segments: 4, consistent: true, read_units: None }
    }
}

/// How far a baseline is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BaselineProgress {
    /// Items in the snapshot.
    pub items: u64,
    /// Items that the service counted some hours ago, where it says so.
    pub items_expected: Option<u64>,
    /// Read units consumed so far.
    pub read_units: f64,
    /// Requests that were throttled or got no answer, and were made again.
    pub retries: u64,
}

/// A finished baseline.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct BaselineReport {
    /// The table.
    pub table: TableName,
    /// Its stream.
    pub stream: StreamArn,
    /// The snapshot's name.
    pub name: String,
    /// What completes the snapshot.
    pub snapshot: SnapshotDocument,
    /// Read units consumed.
    pub read_units: f64,
    /// Whether `table.json` was written.
    pub described: bool,
}

/// Reads a table into a snapshot.
///
/// # Errors
/// When the table cannot be described or read, it got another stream meanwhile, an item cannot be stored, the store
/// fails, or it was interrupted. Then no snapshot counts.
pub async fn baseline(
    client: &Client,
    store: Arc<dyn WriteStore>,
    table: &TableName,
    options: &BaselineOptions,
    interrupt: &Interrupt,
    mut progress: impl FnMut(BaselineProgress),
) -> Result<BaselineReport> {
    let started = now();
    let document = describe(client, table, started).await?;
    let before = describe_table(client, table).await?;
    check_status(table, &before)?;
    check_stream(table, &document.stream_arn, &before)?;
    let described = store_description(&*store, &document).await?;
    let key_attributes = description::key_attributes(&document)?;

    let name = format!("{:010}-baseline-{:08x}", started.get(), rand::random::<u32>());
    let writer = SnapshotWriter::new(store, document.stream_arn.clone(), key_attributes.clone(), name.clone());
    let scan = Arc::new(Scan {
        client: client.clone(),
        table: table.clone(),
        options: options.clone(),
        interrupt: interrupt.clone(),
        capacity: options.read_units.map(|units| Mutex::new(Capacity::new(units, Duration::ZERO))),
        clock: Instant::now(),
        consumed: Mutex::new(0.0),
        retries: AtomicU64::new(0),
    });
    let expected = before.item_count().and_then(|count| u64::try_from(count).ok()).filter(|count| *count > 0);
    let writer = write_all(&scan, writer, &key_attributes, |items| {
        progress(BaselineProgress {
            items,
            items_expected: expected,
            read_units: scan.consumed(),
            retries: scan.retries.load(Ordering::Relaxed),
        });
    })
    .await?;

    let after = match describe_table(client, table).await {
        Ok(after) => after,
        Err(TableError::NotFound { .. }) => {
            return Err(changed(&document, "no table any more".to_owned()).into());
        }
        Err(error) => return Err(error.into()),
    };
    check_stream(table, &document.stream_arn, &after)?;
    let same_table = before.table_id() == after.table_id() && before.creation_date_time() == after.creation_date_time();
    if !same_table {
        return Err(changed(&document, "another table under the same name".to_owned()).into());
    }
    let snapshot = writer.finish(started, now()).await?;
    let read_units = scan.consumed();
    Ok(BaselineReport { table: table.clone(), stream: document.stream_arn, name, snapshot, read_units, described })
}

fn now() -> Second {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
    Second::new(seconds).unwrap_or(Second::MAX)
}

fn check_status(table: &TableName, description: &TableDescription) -> Result<(), TableError> {
    let status = description.table_status().map_or("unknown", aws_sdk_dynamodb::types::TableStatus::as_str);
    match status {
        "CREATING" | "DELETING" | "ARCHIVING" | "ARCHIVED" | "INACCESSIBLE_ENCRYPTION_CREDENTIALS" => {
            Err(TableError::Status { table: table.clone(), status: status.to_owned() })
        }
        _ => Ok(()),
    }
}

/// That the table still has the stream it had.
fn check_stream(table: &TableName, stream: &StreamArn, description: &TableDescription) -> Result<(), TableError> {
    let after = match stream_of(table, description) {
        Ok(arn) if arn == *stream => return Ok(()),
        Ok(arn) => arn.to_string(),
        Err(TableError::NoStream { .. }) => "none".to_owned(),
        Err(error) => return Err(error),
    };
    Err(TableError::Changed { table: table.clone(), before: stream.clone(), after })
}

fn changed(document: &TableDocument, after: String) -> TableError {
    TableError::Changed { table: document.table.clone(), before: document.stream_arn.clone(), after }
}

fn interrupted(table: &TableName) -> InterruptedError {
    InterruptedError {
        step: format!("reading table {table}"),
        resume: "the unfinished snapshot does not count; run the same command again, it begins anew".to_owned(),
    }
}

type Page = Vec<HashMap<String, AttributeValue>>;

/// Scans all segments and writes their items.
async fn write_all(
    scan: &Arc<Scan>,
    mut writer: SnapshotWriter,
    key_attributes: &KeyAttributes,
    mut progress: impl FnMut(u64),
) -> Result<SnapshotWriter> {
    let (sender, mut pages) = mpsc::channel::<Page>(4);
    // Tasks of their own, ended when the set is dropped; the channel holds them back when the store is slower.
    let mut segments = JoinSet::new();
    for segment in 0..scan.options.segments.max(1) {
        segments.spawn(Arc::clone(scan).segment(segment, sender.clone()));
    }
    drop(sender);
    let mut items = 0;
    progress(items);
    loop {
        tokio::select! {
            biased;
            () = scan.interrupt.wait() => return Err(interrupted(&scan.table).into()),
            Some(ended) = segments.join_next(), if !segments.is_empty() => scan.ended(ended)?,
            page = pages.recv() => {
                let Some(page) = page else { break };
                for item in &page {
                    let (key, image) = split(&scan.table, item, key_attributes)?;
                    writer.push(key, image).await?;
                    items += 1;
                }
                progress(items);
            }
        }
    }
    // Every sender is gone, so every segment has ended; one that failed says so here.
    while let Some(ended) = segments.join_next().await {
        scan.ended(ended)?;
    }
    Ok(writer)
}

/// An item taken apart: its key, and its image without it.
fn split(
    table: &TableName,
    item: &HashMap<String, AttributeValue>,
    key_attributes: &KeyAttributes,
) -> Result<(ItemKey, Image), TableError> {
    let malformed = |reason: String| TableError::Malformed {
        action: "Scan",
        table: table.clone(),
        reason: format!("an item: {reason}"),
    };
    let mut attributes = sdk::item_from_sdk(item).map_err(|error| malformed(error.to_string()))?;
    let key =
        key_attributes.as_slice().iter().filter_map(|attribute| attributes.remove_entry(&attribute.name)).collect();
    let key = ItemKey::encode(key_attributes, &key).map_err(|error| malformed(error.to_string()))?;
    let image = Image::encode(&attributes).map_err(|error| malformed(error.to_string()))?;
    Ok((key, image))
}

/// What the segments of one scan share.
struct Scan {
    client: Client,
    table: TableName,
    options: BaselineOptions,
    interrupt: Interrupt,
    capacity: Option<Mutex<Capacity>>,
    clock: Instant,
    consumed: Mutex<f64>,
    retries: AtomicU64,
}

impl Scan {
    fn consumed(&self) -> f64 {
        *self.consumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a segment's task ended.
    fn ended(&self, ended: Result<Result<(), TableError>, JoinError>) -> Result<(), TableError> {
        ended.unwrap_or_else(|error| {
            let reason = format!("a segment's task ended early: {error}");
            Err(TableError::Unavailable { action: "Scan", table: self.table.clone(), reason })
        })
    }

    /// Scans one segment, page after page.
    async fn segment(self: Arc<Self>, segment: u32, pages: mpsc::Sender<Page>) -> Result<(), TableError> {
        let mut start: Option<HashMap<String, AttributeValue>> = None;
        loop {
            let page = self.page(segment, start.take()).await?;
            if !page.items.is_empty() && pages.send(page.items).await.is_err() {
                return Ok(());
            }
            match page.next {
                Some(next) => start = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn with_capacity<T>(&self, use_it: impl FnOnce(&mut Capacity, Duration) -> T) -> Option<T> {
        let capacity = self.capacity.as_ref()?;
        let mut capacity = capacity.lock().unwrap_or_else(PoisonError::into_inner);
        Some(use_it(&mut capacity, self.clock.elapsed()))
    }

    /// Waits until there is capacity for another page, and takes it. What it takes is put right when the page is there.
    async fn take(&self) -> f64 {
        loop {
            match self.with_capacity(Capacity::take) {
                None => return 0.0,
                Some(Ok(taken)) => return taken,
                Some(Err(wait)) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// One page, throttling and silence waited out.
    async fn page(
        &self,
        segment: u32,
        start: Option<HashMap<String, AttributeValue>>,
    ) -> Result<ScannedPage, TableError> {
        let mut retries = 0;
        loop {
            let taken = self.take().await;
            let answer = self.request(segment, start.clone()).await;
            let (units, items) = answer.as_ref().map_or((0.0, 0), |page| (page.units, page.items.len()));
            let items = u32::try_from(items).unwrap_or(u32::MAX);
            self.with_capacity(|capacity, now| capacity.settle(taken, units, items, now));
            *self.consumed.lock().unwrap_or_else(PoisonError::into_inner) += units;
            match answer {
                Ok(page) => return Ok(page),
                Err(error) if error.kind() == Kind::Unavailable && retries < RETRIES_MAX => {
                    tracing::info!(%error, segment, retries, "a page of the scan is asked for again");
                    self.retries.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(retry_wait(retries, rand::random())).await;
                    retries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn request(
        &self,
        segment: u32,
        start: Option<HashMap<String, AttributeValue>>,
    ) -> Result<ScannedPage, TableError> {
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let mut request = self
            .client
            .scan()
            .table_name(self.table.as_str())
            .consistent_read(self.options.consistent)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_limit(self.with_capacity(|capacity, _| capacity.page_items()))
            .set_exclusive_start_key(start);
        if self.options.segments > 1 {
            request = request.segment(count(segment)).total_segments(count(self.options.segments));
        }
        let answer = request.send().await.map_err(|error| TableError::of("Scan", &self.table, &error))?;
        let units = answer.consumed_capacity().and_then(aws_sdk_dynamodb::types::ConsumedCapacity::capacity_units);
        Ok(ScannedPage {
            units: units.filter(|units| units.is_finite()).unwrap_or(0.0),
            items: answer.items.unwrap_or_default(),
            next: answer.last_evaluated_key.filter(|key| !key.is_empty()),
        })
    }
}

struct ScannedPage {
    units: f64,
    items: Page,
    next: Option<HashMap<String, AttributeValue>>,
}

/// The wait before a retry: doubled each time from 100 ms, and anywhere between half of that and all of it. `jitter` is
/// from 0 to 1.
fn retry_wait(retries: u32, jitter: f64) -> Duration {
    let longest = Duration::from_millis(100).saturating_mul(1 << retries.min(16)).min(RETRY_WAIT_MAX);
    longest.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::fake::{self, Answer};
    use super::*;
    use crate::documents;
    use crate::store::ReadStore as _;
    use crate::store::memory::MemoryStore;
    use serde_json::{Value, json};

    const ITEMS: u64 = 40;

    /// A page of two items of the requested segment.
    fn scan(body: &Value) -> Answer {
        let segment = body.get("Segment").and_then(Value::as_u64).unwrap_or(0);
        let segments = body.get("TotalSegments").and_then(Value::as_u64).unwrap_or(1);
        let after = body.pointer("/ExclusiveStartKey/noteId/S").and_then(Value::as_str);
        let after: Option<u64> = after.map(|text| text.parse().unwrap());
        let mine =
            (0..ITEMS).filter(|number| number % segments == segment && after.is_none_or(|after| *number > after));
        let mine: Vec<u64> = mine.take(2).collect();
        let items: Vec<Value> = mine.iter().map(|number| item(*number)).collect();
        let last = mine.last().map(|number| json!({"noteId": {"S": number.to_string()}, "createdAt": {"N": "1"}}));
        let mut answer = json!({"Items": items, "Count": items.len(), "ConsumedCapacity": {"CapacityUnits": 1.5}});
        if let Some(last) = last {
            answer["LastEvaluatedKey"] = last;
        }
        (200, answer)
    }

    fn item(number: u64) -> Value {
        json!({"noteId": {"S": number.to_string()}, "createdAt": {"N": "1"}, "content": {"S": "x"}})
    }

    fn answer(operation: &str, body: &Value) -> Answer {
        if operation == "Scan" { scan(body) } else { fake::describe(operation, &fake::table()) }
    }

    async fn run(
        handler: impl FnMut(&str, &Value) -> Answer + Send + 'static,
        options: BaselineOptions,
    ) -> (Arc<MemoryStore>, Result<BaselineReport>) {
        let fake = fake::start(handler).await;
        let store = Arc::new(MemoryStore::new());
        let interrupt = Interrupt::never();
        let result = baseline(&fake.client, store.clone(), &fake::table_name(), &options, &interrupt, |_| {}).await;
        (store, result)
    }

    async fn counts(store: &MemoryStore) -> bool {
        store.list_all("").await.unwrap().iter().any(|object| object.key.ends_with("/snapshot.json"))
    }

    #[tokio::test]
    async fn every_item_of_every_segment_is_in_the_snapshot() {
        for segments in [1, 3, 64] {
            let (store, report) = run(answer, BaselineOptions { segments, ..BaselineOptions::default() }).await;
            let report = report.unwrap();
            assert_eq!(report.snapshot.items, ITEMS, "{segments} segments");
            assert!(report.described && report.read_units > 0.0);
            assert!(report.snapshot.started <= report.snapshot.finished);
            assert!(report.name.starts_with(&format!("{:010}-baseline-", report.snapshot.started.get())));
            let stream = StreamArn::parse(fake::STREAM).unwrap();
            let key = crate::layout::snapshot_document(stream.timeline(), &report.name);
            let document: SnapshotDocument = documents::read(&*store, &key).await.unwrap().unwrap();
            assert_eq!(document, report.snapshot);
            assert_eq!(document.key_attributes.unwrap().to_string(), "createdAt (N), noteId (S)");
            let described: TableDocument =
                documents::read(&*store, &crate::layout::table_document(stream.timeline())).await.unwrap().unwrap();
            assert_eq!(described.table, fake::table_name());
        }
    }

    #[tokio::test]
    async fn flags_reach_the_service() {
        let handler = |operation: &str, body: &Value| {
            if operation == "Scan" {
                assert_eq!(body["ConsistentRead"], false);
                assert_eq!(body["ReturnConsumedCapacity"], "TOTAL");
                assert_eq!(body["TotalSegments"], 2);
                assert!(body["Limit"].as_u64().is_some_and(|limit| limit >= 50), "{body}");
            }
            answer(operation, body)
        };
        let options = BaselineOptions { segments: 2, consistent: false, read_units: Some(1_000_000.0) };
        run(handler, options).await.1.unwrap();
    }

    #[tokio::test]
    async fn throttling_is_waited_out() {
        let mut asked = 0;
        let handler = move |operation: &str, body: &Value| {
            if operation == "Scan" {
                asked += 1;
                if asked % 3 == 1 {
                    return fake::error("ProvisionedThroughputExceededException");
                }
            }
            answer(operation, body)
        };
        let report = run(handler, BaselineOptions { segments: 2, ..BaselineOptions::default() }).await.1.unwrap();
        assert_eq!(report.snapshot.items, ITEMS);
    }

    #[tokio::test]
    async fn a_refused_scan_ends_the_baseline_and_nothing_counts() {
        for (code, kind) in [("AccessDeniedException", Kind::Invalid), ("ResourceNotFoundException", Kind::Invalid)] {
            let mut asked = 0;
            let handler = move |operation: &str, body: &Value| {
                if operation == "Scan" {
                    asked += 1;
                    if asked > 5 {
                        return fake::error(code);
                    }
                }
                answer(operation, body)
            };
            let (store, result) = run(handler, BaselineOptions::default()).await;
            let error = result.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!counts(&store).await);
        }
    }

    /// Answers with `after` in place of some fields once the scan has begun.
    async fn changed_meanwhile(after: &'static [(&'static str, Value)]) -> (bool, crate::Error) {
        let mut scanned = false;
        let handler = move |operation: &str, body: &Value| {
            if operation == "Scan" {
                scanned = true;
                return scan(body);
            }
            let mut table = fake::table();
            for (field, value) in after {
                if scanned {
                    table[*field] = value.clone();
                }
            }
            fake::describe(operation, &table)
        };
        let (store, result) = run(handler, BaselineOptions::default()).await;
        (counts(&store).await, result.unwrap_err())
    }

    #[tokio::test]
    async fn a_table_that_was_made_again_during_the_scan_is_a_conflict_and_nothing_counts() {
        static CHANGES: std::sync::LazyLock<[Vec<(&'static str, Value)>; 3]> = std::sync::LazyLock::new(|| {
            let other = fake::STREAM.replace("2020-03-29", "2020-03-30");
            [
                vec![("LatestStreamArn", json!(other))],
                vec![("StreamSpecification", json!({"StreamEnabled": false}))],
                vec![("TableId", json!("99999999-2222-3333-4444-555555555555"))],
            ]
        });
        for changes in CHANGES.iter() {
            let (counts, error) = changed_meanwhile(changes).await;
            assert_eq!(error.kind(), Kind::Conflict, "{error}");
            assert!(!counts);
        }
    }

    #[tokio::test]
    async fn a_table_that_is_being_deleted_is_not_read() {
        let handler = |operation: &str, _: &Value| {
            let mut table = fake::table();
            table["TableStatus"] = json!("DELETING");
            fake::describe(operation, &table)
        };
        let error = run(handler, BaselineOptions::default()).await.1.unwrap_err();
        assert!(error.to_string().contains("DELETING"), "{error}");
    }

    #[tokio::test]
    async fn an_item_that_cannot_be_stored_stops_the_baseline_and_is_named() {
        let handler = |operation: &str, body: &Value| {
            if operation == "Scan" {
                return (200, json!({"Items": [{"noteId": {"S": "1"}}]}));
            }
            answer(operation, body)
        };
        let error = run(handler, BaselineOptions::default()).await.1.unwrap_err();
        assert!(error.to_string().contains("\"createdAt\" is missing"), "{error}");
    }

    #[tokio::test]
    async fn an_interrupt_ends_it_and_the_unfinished_snapshot_does_not_count() {
        let interrupt = Interrupt::manual();
        let stop = interrupt.clone();
        // A table without end.
        let fake = fake::start(move |operation, body| {
            if operation == "Scan" {
                if body.get("ExclusiveStartKey").is_some() {
                    stop.trigger();
                }
                let items = [item(1)];
                return (200, json!({"Items": items, "LastEvaluatedKey": items[0]}));
            }
            answer(operation, body)
        })
        .await;
        let store = Arc::new(MemoryStore::new());
        let options = BaselineOptions::default();
        let result = baseline(&fake.client, store.clone(), &fake::table_name(), &options, &interrupt, |_| {}).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Interrupted);
        assert!(error.hint().unwrap().contains("does not count"));
        assert!(!counts(&store).await);
    }

    #[tokio::test]
    async fn progress_ends_at_all_items() {
        let fake = fake::start(answer).await;
        let mut last = BaselineProgress::default();
        let interrupt = Interrupt::never();
        let options = BaselineOptions { read_units: Some(1_000_000.0), ..BaselineOptions::default() };
        let store = Arc::new(MemoryStore::new());
        baseline(&fake.client, store, &fake::table_name(), &options, &interrupt, |progress| last = progress)
            .await
            .unwrap();
        assert_eq!((last.items, last.items_expected, last.retries), (ITEMS, Some(9), 0));
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        assert_eq!(retry_wait(0, 1.0), Duration::from_millis(100));
        assert_eq!(retry_wait(3, 0.0), Duration::from_millis(400));
        assert_eq!(retry_wait(u32::MAX, 1.0), RETRY_WAIT_MAX);
    }
}
