//! Compaction and snapshots in one bounded run: what a schedule calls, on a machine or in a Lambda.
//!
//! What enters are a store, a moment and a time budget; what leaves is a report that says what was done and whether anything
//! is left. A run that ends at its budget has lost nothing: outputs and parts that are stored are not made again. Knows no
//! Lambda and no command line.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::info;

use crate::compact::{CompactOptions, CompactReport, compact_table};
use crate::error::{Kind, Result};
use crate::interrupt::Interrupt;
use crate::listing;
use crate::model::{Second, TableName};
use crate::snapshot::{SnapshotOptions, SnapshotReport, snapshot_table};
use crate::store::WriteStore;

/// What a run does, and how long it may take.
#[derive(Debug, Clone)]
pub struct UpkeepOptions {
    /// Whether and how segments are compacted.
    pub compact: Option<CompactOptions>,
    /// Whether and how snapshots are made.
    pub snapshot: Option<SnapshotOptions>,
    /// After this time the run ends with what it has done; no bound when none. Give a Lambda's less half a minute.
    pub budget: Option<Duration>,
}

impl Default for UpkeepOptions {
    fn default() -> Self {
        Self { compact: Some(CompactOptions::default()), snapshot: Some(SnapshotOptions::default()), budget: None }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UpkeepReport {
    /// Tables that were looked at to the end.
    pub tables: u64,
    /// What compaction did.
    pub compact: CompactReport,
    /// What snapshots were made.
    pub snapshot: SnapshotReport,
    /// Whether all that is due was done. When not, the next run goes on.
    pub finished: bool,
    /// Tables for which it failed, each with the reason. The others were looked at all the same.
    pub failed: Vec<FailedTable>,
}

/// A table that could not be looked after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedTable {
    /// The table.
    pub table: TableName,
    /// What failed, with its causes.
    pub reason: String,
    /// The way out, where there is one.
    pub hint: Option<String>,
    /// What kind of failure it is.
    #[serde(skip)]
    pub kind: Kind,
}

/// Compacts and makes snapshots of these tables, or of every table, as of `now`, until all is done, the budget is over, or
/// `interrupt` asks to stop. A table that fails does not keep the others from being looked at.
///
/// # Errors
/// When the store cannot be listed. What fails in a table is in the report.
pub async fn upkeep(
    store: Arc<dyn WriteStore>,
    tables: Option<&[TableName]>,
    now: Second,
    options: &UpkeepOptions,
    interrupt: &Interrupt,
) -> Result<UpkeepReport> {
    let tables = match tables {
        Some(tables) => tables.to_vec(),
        None => listing::tables(store.as_ref()).await?,
    };
    // One signal for both reasons to stop.
    let stop = Interrupt::manual();
    let ending = stop.clone();
    let over = async {
        match options.budget {
            Some(budget) => tokio::time::sleep(budget).await,
            None => std::future::pending().await,
        }
    };
    let watching = async {
        tokio::select! {
            () = over => info!("the time budget is over"),
            () = interrupt.wait() => {}
        }
        ending.trigger();
        // The run hears of it and ends by itself.
        std::future::pending::<UpkeepReport>().await
    };
    let report = tokio::select! {
        biased;
        report = run(&store, &tables, now, options, &stop) => report,
        report = watching => report,
    };
    Ok(report)
}

async fn run(
    store: &Arc<dyn WriteStore>,
    tables: &[TableName],
    now: Second,
    options: &UpkeepOptions,
    stop: &Interrupt,
) -> UpkeepReport {
    let mut report = UpkeepReport { finished: true, ..UpkeepReport::default() };
    for table in tables {
        match one(store, table, now, options, stop, &mut report).await {
            Ok(()) => report.tables += 1,
            Err(error) if error.kind() == Kind::Interrupted => {
                report.finished = false;
                break;
            }
            Err(error) => report.failed.push(FailedTable {
                table: table.clone(),
                reason: error.to_string(),
                hint: error.hint(),
                kind: error.kind(),
            }),
        }
    }
    report
}

async fn one(
    store: &Arc<dyn WriteStore>,
    table: &TableName,
    now: Second,
    options: &UpkeepOptions,
    stop: &Interrupt,
    report: &mut UpkeepReport,
) -> Result<()> {
    if let Some(compact) = &options.compact {
        let before = report.compact;
        // The report is kept up to the step that fails.
        let done = compact_table(Arc::clone(store), table, now, compact, stop, |done| {
            report.compact = before;
            report.compact += *done;
        })
        .await?;
        report.compact = before;
        report.compact += done;
    }
    if let Some(snapshot) = &options.snapshot {
        let before = report.snapshot.clone();
        let done = snapshot_table(Arc::clone(store), table, now, snapshot, stop, |done| {
            report.snapshot = before.clone();
            report.snapshot += done.clone();
        })
        .await?;
        // What was done after the last step is in the answer alone.
        report.snapshot = before;
        report.snapshot += done;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::{Batch, append};
    use crate::layout;
    use crate::model::{
        ChangeKind, ChangeRecord, Image, ItemKey, KeyAttribute, KeyAttributes, KeyType, SequenceNumber, StreamArn,
        StreamRecord,
    };
    use crate::store::ReadStore as _;
    use crate::store::memory::MemoryStore;
    use bytes::Bytes;

    const NOW: u64 = 1_588_291_200;

    async fn journal() -> Arc<MemoryStore> {
        let store = Arc::new(MemoryStore::new());
        for number in 0..60u64 {
            let names = KeyAttributes::new(vec![KeyAttribute { name: "id".to_owned(), key_type: KeyType::S }]).unwrap();
            let record = ChangeRecord {
                key: ItemKey::from_bytes(Bytes::from(format!("{number:05}"))),
                sequence: SequenceNumber::parse(&(number + 1).to_string()).unwrap(),
                second: Some(Second::new(1_582_927_200 + number * 600).unwrap()),
                kind: ChangeKind::Insert,
                old: None,
                new: Some(Image::from_bytes(Bytes::from(format!("{number}")))),
                user: None,
            };
            let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
            let records = vec![StreamRecord { stream, key_attributes: names, record }];
            append(store.as_ref(), Batch { records, quarantined: Vec::new() }).await.unwrap();
        }
        store
    }

    fn options(budget: Option<Duration>) -> UpkeepOptions {
        let snapshot = SnapshotOptions { replay_bytes_max: 1, margin: Duration::ZERO, ..SnapshotOptions::default() };
        UpkeepOptions { snapshot: Some(snapshot), budget, ..UpkeepOptions::default() }
    }

    #[tokio::test]
    async fn a_run_compacts_and_makes_snapshots_and_one_without_time_says_that_more_is_due() {
        let store = journal().await;
        let now = Second::new(NOW).unwrap();
        let never = Interrupt::never();
        let none = upkeep(store.clone(), None, now, &options(Some(Duration::ZERO)), &never).await.unwrap();
        assert!(!none.finished, "{none:?}");
        let all = upkeep(store.clone(), None, now, &options(None), &never).await.unwrap();
        assert!(all.finished && all.failed.is_empty() && all.tables == 1, "{all:?}");
        assert!(none.compact.inputs + all.compact.inputs >= 60 && !all.snapshot.snapshots.is_empty(), "{all:?}");
        let again = upkeep(store, None, now, &options(None), &never).await.unwrap();
        assert_eq!((again.compact.inputs, again.snapshot.snapshots.len(), again.finished), (0, 0, true));
    }

    #[tokio::test]
    async fn a_table_that_fails_does_not_keep_the_others_from_being_looked_at() {
        let store = journal().await;
        let start =
            layout::start_document(StreamArn::parse("arn:aws:dynamodb:x:0:table/broken/stream/1").unwrap().timeline());
        store.replace(&start, Bytes::from_static(b"{")).await.unwrap();
        let report =
            upkeep(store.clone(), None, Second::new(NOW).unwrap(), &options(None), &Interrupt::never()).await.unwrap();
        assert_eq!((report.failed.len(), report.tables), (1, 1));
        assert_eq!(report.failed[0].table.as_str(), "broken");
        assert_eq!(report.failed[0].kind, Kind::Corrupt);
        assert!(report.failed[0].reason.contains("start.json"), "{report:?}");
        assert!(!store.list_all("notes/1/snapshots/").await.unwrap().is_empty());
    }
}
