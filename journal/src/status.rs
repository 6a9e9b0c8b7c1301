//! What a journal holds and how far it reaches: the report of `journal status`.
//!
//! What enters is a store and the time; what leaves is a report that can be printed or serialised. Reads listings and
//! small documents alone, never a segment.

use std::sync::Arc;

use serde::Serialize;

use crate::coverage::{Beginning, CoveredTimeline, Ending, Interval};
use crate::documents::EventDocument;
use crate::error::Result;
use crate::layout;
use crate::listing::{self, TimelineObjects};
use crate::model::{Second, SequenceNumber, TableName};
use crate::store::ReadStore;

/// A whole journal, or one table of it.
#[derive(Debug, Clone, Serialize)]
pub struct JournalStatus {
    /// Where it lies.
    pub journal: String,
    /// When this was looked at.
    pub at: Second,
    /// Its tables, by name.
    pub tables: Vec<TableStatus>,
    /// Quarantined records of which not even the table is known.
    pub quarantined_of_unknown_tables: usize,
}

/// One table.
#[derive(Debug, Clone, Serialize)]
pub struct TableStatus {
    /// Its name.
    pub table: TableName,
    /// Its timelines, oldest first.
    pub timelines: Vec<TimelineStatus>,
}

/// One timeline.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineStatus {
    /// The stream's label.
    pub label: String,
    /// `followed`, `ended`, or `ingested` (nobody follows the stream, so nothing is known beyond its records).
    pub state: &'static str,
    /// Why it ended.
    pub end: Option<String>,
    /// Segments.
    pub segments: usize,
    /// Bytes of the segments.
    pub segment_bytes: u64,
    /// Completed snapshots.
    pub snapshots: usize,
    /// Items of the newest snapshot.
    pub snapshot_items: Option<u64>,
    /// Bytes of all completed snapshots.
    pub snapshot_bytes: u64,
    /// Records in quarantine.
    pub quarantined: u64,
    /// Objects that no journal writes.
    pub foreign: usize,
    /// Lowest and highest sequence number.
    pub sequences: Option<(SequenceNumber, SequenceNumber)>,
    /// Last second of any record.
    pub last_record: Option<Second>,
    /// Seconds from the end of coverage until now; none where the timeline has ended or is not followed.
    pub lag_seconds: Option<u64>,
    /// Shards that are not read to their end.
    pub open_shards: usize,
    /// The covered intervals, oldest first.
    pub coverage: Vec<IntervalStatus>,
    /// Gaps, stated or between intervals.
    pub gaps: Vec<GapStatus>,
    /// What happened to the table or its stream itself, in order of time.
    pub events: Vec<EventDocument>,
}

/// A covered interval.
#[derive(Debug, Clone, Serialize)]
pub struct IntervalStatus {
    /// First covered second.
    pub from: Option<Second>,
    /// Last covered second.
    pub through: Option<Second>,
    /// Whether the whole table can be rebuilt at any second of it: `true`, `false` (take a baseline), or none where that
    /// cannot be known.
    pub whole: Option<bool>,
    /// Why, in a few words.
    pub because: String,
}

/// A gap.
#[derive(Debug, Clone, Serialize)]
pub struct GapStatus {
    /// The last second known to be complete before it.
    pub from: Second,
    /// The first second known to be complete after it.
    pub to: Second,
    /// What happened.
    pub reason: String,
}

/// Looks at a journal; at one table of it, when one is named.
///
/// # Errors
/// When the store cannot be read, a document is not what was written, or the journal has no such table.
pub async fn status(store: Arc<dyn ReadStore>, table: Option<&TableName>, now: Second) -> Result<JournalStatus> {
    let tables = match table {
        Some(table) => vec![table.clone()],
        None => listing::tables(&*store).await?,
    };
    let mut report = JournalStatus {
        journal: store.location().to_owned(),
        at: now,
        tables: Vec::with_capacity(tables.len()),
        quarantined_of_unknown_tables: store.list_all(layout::UNKNOWN_QUARANTINE).await?.len(),
    };
    for name in tables {
        let mut timelines: Vec<CoveredTimeline> = match listing::timelines(&*store, &name).await {
            Ok(timelines) => timelines.into_iter().map(CoveredTimeline::new).collect(),
            // A folder without any timeline is worth a line when it was not asked for.
            Err(_) if table.is_none() => Vec::new(),
            Err(error) => return Err(error),
        };
        timelines.sort_by_key(CoveredTimeline::beginning);
        let mut reports = Vec::with_capacity(timelines.len());
        for timeline in &timelines {
            reports.push(timeline_status(timeline, now, events(&*store, &timeline.objects).await?));
        }
        let timelines = reports;
        report.tables.push(TableStatus { table: name, timelines });
    }
    Ok(report)
}

/// The events of a timeline, in order of time.
async fn events(store: &dyn ReadStore, objects: &TimelineObjects) -> Result<Vec<EventDocument>> {
    let mut events = listing::read_each::<EventDocument>(store, &objects.events).await?;
    events.sort_by_key(|event| event.at);
    Ok(events)
}

fn timeline_status(covered: &CoveredTimeline, now: Second, events: Vec<EventDocument>) -> TimelineStatus {
    let objects = &covered.objects;
    let newest = objects.snapshots.iter().max_by_key(|snapshot| snapshot.document.finished);
    let followed = objects.end.is_none() && !objects.checkpoints.is_empty();
    let through = covered.intervals.last().and_then(|interval| interval.through);
    TimelineStatus {
        label: objects.timeline.label.to_string(),
        state: match (&objects.end, followed) {
            (Some(_), _) => "ended",
            (None, true) => "followed",
            (None, false) => "ingested",
        },
        end: objects.end.as_ref().map(|end| format!("{} ({})", end.reason, end.at)),
        segments: objects.segments.len(),
        segment_bytes: objects.segments.iter().map(|segment| segment.size).sum(),
        snapshots: objects.snapshots.len(),
        snapshot_items: newest.map(|snapshot| snapshot.document.items),
        snapshot_bytes: objects
            .snapshots
            .iter()
            .flat_map(|snapshot| &snapshot.document.parts)
            .map(|part| part.size)
            .sum(),
        quarantined: objects.quarantined,
        foreign: objects.foreign.len(),
        sequences: covered.sequences(),
        last_record: objects.segments.iter().filter_map(|segment| segment.name.seconds).map(|(_, last)| last).max(),
        lag_seconds: through.filter(|_| followed).map(|through| now.get().saturating_sub(through.get())),
        open_shards: objects.checkpoints.iter().filter(|checkpoint| !checkpoint.finished).count(),
        coverage: covered.intervals.iter().map(|interval| interval_status(interval, objects)).collect(),
        gaps: objects
            .gaps
            .iter()
            .map(|gap| GapStatus { from: gap.from, to: gap.to, reason: gap.reason.clone() })
            .collect(),
        events,
    }
}

fn interval_status(interval: &Interval, objects: &TimelineObjects) -> IntervalStatus {
    let baseline = interval.baselines.first().and_then(|at| objects.snapshots.get(*at));
    let (whole, because) = match (&interval.beginning, baseline) {
        (_, Some(baseline)) => (Some(true), format!("baseline of {}", baseline.document.started)),
        (Beginning::Whole, None) => (Some(true), "the stream began with the table".to_owned()),
        (Beginning::NotWhole { reason }, None) => (
            Some(false),
            match interval.awaited_baseline {
                Some(finished) => format!("a baseline counts once records are read through {finished}"),
                None => format!("{reason}; take a baseline: journal baseline --table {}", objects.timeline.table),
            },
        ),
        (Beginning::Unknown, None) => (None, "what was before the first record is not known".to_owned()),
    };
    let because = match &interval.ending {
        Ending::LastRecord => format!("{because}; nothing is known after the last record"),
        Ending::Gap => format!("{because}; a gap follows"),
        Ending::Read | Ending::Ended { .. } => because,
    };
    IntervalStatus { from: interval.from, through: interval.through, whole, because }
}
