//! The plan of a scan as the engine runs it: partitions of timelines, rows streamed through a short channel.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, Partitioning, PlanProperties,
};
use journal::interrupt::Interrupt;
use journal::model::{Attributes, Image, Timeline, UserIdentity};
use journal::store::ReadStore;
use tokio::sync::mpsc::Sender;

use super::error::carried;
use super::fields::{Field, Fields};
use super::pushdown::Asked;
use super::report::{Log, ScanReport};
use super::rows::{Row, Rows, named_actor};
use crate::key_schema::{KeySchema, KeySelection};
use crate::merge::{self, Columns, MergeOptions, RecordRef, RecordScan, RunInput};
use crate::plan::ReplayPlan;
use crate::state::{Flow, Selection, visit_items};

/// Batches that wait for the engine.
const BATCHES_AHEAD: usize = 2;

/// Ranges of encoded keys that are read one after the other; none for all keys.
pub(super) type Ranges = Vec<Option<Range<Bytes>>>;

/// What all scans of a session share.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) store: Arc<dyn ReadStore>,
    pub(super) options: MergeOptions,
    pub(super) actor_attribute: Option<String>,
    pub(super) interrupt: Interrupt,
    pub(super) log: Log,
}

/// What one partition reads.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// Changes of these segments.
    Changes(Vec<RunInput>),
    /// The state that a plan makes.
    State(Box<ReplayPlan>),
}

/// What is read of one timeline.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) timeline: Timeline,
    pub(super) schema: KeySchema,
    pub(super) ranges: Ranges,
    /// Where the ranges are cut in two, each half read on a thread of its own; none where that costs more than it saves.
    pub(super) middle: Option<Bytes>,
    pub(super) work: Work,
    pub(super) segments: u64,
    pub(super) segment_bytes: u64,
}

impl Part {
    fn inputs(&self) -> &[RunInput] {
        match &self.work {
            Work::Changes(inputs) => inputs,
            Work::State(plan) => &plan.inputs,
        }
    }
}

/// A scan.
#[derive(Debug)]
pub(super) struct JournalExec {
    source: &'static str,
    reading: Reading,
    asked: Arc<Asked>,
    fields: Fields,
    parts: Vec<Arc<Part>>,
    /// Parts with the ranges that are read together.
    partitions: Vec<(Arc<Part>, Ranges)>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl JournalExec {
    pub(super) fn new(
        source: &'static str,
        reading: Reading,
        asked: Asked,
        fields: Fields,
        parts: Vec<Part>,
        limit: Option<usize>,
    ) -> Self {
        let parts: Vec<Arc<Part>> = parts.into_iter().map(Arc::new).collect();
        let partitions: Vec<_> = parts
            .iter()
            .flat_map(|part| {
                halves(&part.ranges, part.middle.as_ref()).into_iter().map(|half| (Arc::clone(part), half))
            })
            .collect();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&fields.schema)),
            Partitioning::UnknownPartitioning(partitions.len().max(1)),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            source,
            reading,
            asked: Arc::new(asked),
            fields,
            parts,
            partitions,
            limit,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The columns of segments that the query needs.
    fn columns(&self) -> Columns {
        if self.fields.has(&Field::Old) {
            Columns::All
        } else if self.source == "state_at" || self.fields.has(&Field::New) || self.names_actor() {
            Columns::New
        } else {
            Columns::Keys
        }
    }

    fn names_actor(&self) -> bool {
        self.reading.actor_attribute.is_some() && self.fields.has(&Field::Actor)
    }
}

impl DisplayAs for JournalExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen: usize = self.parts.iter().map(|part| part.inputs().len()).sum();
        let bytes: u64 = self.parts.iter().flat_map(|part| part.inputs()).map(|input| input.size).sum();
        let segments: u64 = self.parts.iter().map(|part| part.segments).sum();
        let lookups = self.parts.iter().flat_map(|part| &part.ranges).filter(|range| range.is_some()).count();
        let columns = match self.columns() {
            Columns::Keys => "keys and metadata (no images)",
            Columns::Latest => "keys, metadata and latest images",
            Columns::New => "keys, metadata and new images",
            Columns::All => "all",
        };
        write!(
            f,
            "JournalExec: {}, timelines={}, partitions={}, objects={chosen} of {segments} segments, bytes<={bytes}, \
             key ranges={lookups}, columns={columns}, pushed down=[{}]",
            self.source,
            self.parts.len(),
            self.partitions.len(),
            self.asked
        )?;
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for JournalExec {
    fn name(&self) -> &'static str {
        "JournalExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some((part, ranges)) = self.partitions.get(partition) else {
            return Ok(Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.fields.schema))));
        };
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.fields.schema), BATCHES_AHEAD);
        let run = Run {
            source: self.source,
            reading: self.reading.clone(),
            asked: Arc::clone(&self.asked),
            fields: self.fields.clone(),
            part: Arc::clone(part),
            ranges: ranges.clone(),
            columns: self.columns(),
            names_actor: self.names_actor(),
            left: self.limit,
            to: builder.tx(),
        };
        let bytes = MetricBuilder::new(&self.metrics).counter("bytes_read", partition);
        let opened = MetricBuilder::new(&self.metrics).counter("segments_opened", partition);
        let rows = MetricBuilder::new(&self.metrics).output_rows(partition);
        builder.spawn(async move {
            let done = run.run().await?;
            let count = |value| usize::try_from(value).unwrap_or(usize::MAX);
            bytes.add(count(done.bytes_read));
            opened.add(count(done.opened));
            rows.add(count(done.rows));
            Ok(())
        });
        Ok(builder.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// One partition on its way.
struct Run {
    source: &'static str,
    reading: Reading,
    asked: Arc<Asked>,
    fields: Fields,
    part: Arc<Part>,
    ranges: Ranges,
    columns: Columns,
    names_actor: bool,
    left: Option<usize>,
    to: Sender<Result<RecordBatch>>,
}

/// What a visitor keeps.
struct Keeping {
    rows: Rows,
    given: u64,
    left: Option<usize>,
    to: Sender<Result<RecordBatch>>,
}

impl Keeping {
    /// Takes a row; false when no more are wanted.
    fn push(&mut self, row: &Row<'_>) -> bool {
        self.rows.push(row);
        self.given += 1;
        let is_last = match &mut self.left {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => false,
        };
        if self.rows.is_full() || is_last {
            // Nobody waits for more when the query has ended.
            return self.to.blocking_send(self.rows.take()).is_ok() && !is_last;
        }
        true
    }
}

impl Run {
    async fn run(self) -> Result<ScanReport> {
        let mut report = ScanReport {
            source: self.source,
            timeline: self.part.timeline.to_string(),
            segments: self.part.segments,
            segment_bytes: self.part.segment_bytes,
            opened: 0,
            bytes_read: 0,
            rows: 0,
            asked: self.asked.to_string(),
        };
        let mut keeping = Keeping {
            rows: Rows::new(self.fields.clone(), self.part.timeline.clone()),
            given: 0,
            left: self.left,
            to: self.to.clone(),
        };
        for range in &self.ranges {
            if keeping.left == Some(0) || self.to.is_closed() {
                break;
            }
            let (kept, merged) = match &self.part.work {
                Work::Changes(inputs) => self.changes(inputs.clone(), range.clone(), keeping).await?,
                Work::State(plan) => self.state(plan, range.clone(), keeping).await?,
            };
            keeping = kept;
            report.opened += merged.objects;
            report.bytes_read += merged.bytes_read;
        }
        report.rows = keeping.given;
        if !keeping.rows.is_empty() {
            // Nobody waits for it when the query has ended.
            let _ = self.to.send(keeping.rows.take()).await;
        }
        self.reading.log.scan(report.clone());
        Ok(report)
    }

    async fn changes(
        &self,
        inputs: Vec<RunInput>,
        keys: Option<Range<Bytes>>,
        keeping: Keeping,
    ) -> Result<(Keeping, merge::MergeReport)> {
        let scan = RecordScan {
            keys,
            seconds: self.asked.seconds(),
            columns: self.columns,
            unreadable: Some(self.reading.log.unreadable.clone()),
        };
        let reader = Reader {
            asked: Arc::clone(&self.asked),
            fields: self.fields.clone(),
            schema: self.part.schema.clone(),
            needs_key: self.asked.has_key() || self.fields.needs_key(),
            actor_attribute: self.reading.actor_attribute.clone().filter(|_| self.names_actor),
        };
        let shared = Arc::new(Mutex::new(Some(keeping)));
        let inner = Arc::clone(&shared);
        let (log, timeline) = (self.reading.log.clone(), self.part.timeline.to_string());
        let visit = move |record: RecordRef<'_>| {
            let mut keeping = inner.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(keeping) = keeping.as_mut() else { return Ok(false) };
            match reader.read(&record, keeping) {
                Ok(goes_on) => Ok(goes_on),
                Err(reason) => {
                    log.unreadable.add(&format!("record {} of {timeline}", record.sequence), &reason);
                    Ok(true)
                }
            }
        };
        let options = self.reading.options.clone();
        let merged = merge::scan_records(Arc::clone(&self.reading.store), inputs, scan, options, visit).await;
        let merged = merged.map_err(carried)?;
        let keeping = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        keeping.map(|keeping| (keeping, merged)).ok_or_else(lost)
    }

    async fn state(
        &self,
        plan: &ReplayPlan,
        range: Option<Range<Bytes>>,
        keeping: Keeping,
    ) -> Result<(Keeping, merge::MergeReport)> {
        let selection = Selection { keys: KeySelection { range, begins_with: None }, ..Selection::default() };
        let (asked, schema) = (Arc::clone(&self.asked), self.part.schema.clone());
        let names: Vec<String> = schema.attributes().as_slice().iter().map(|part| part.name.clone()).collect();
        let visit = move |keeping: &mut Keeping, item: crate::state::Item<'_>| {
            let mut key = Attributes::new();
            for name in &names {
                if let Some(value) = item.attributes.get(name) {
                    key.insert(name.clone(), value.clone());
                }
            }
            let late = asked
                .seconds()
                .is_some_and(|(since, until)| item.second.is_none_or(|second| second < since || second > until));
            if late || !asked.accepts_key(&key) {
                return Ok(Flow::Continue);
            }
            let row = Row {
                sequence: item.sequence,
                second: item.second,
                key: Some(&key),
                new: Some(item.attributes),
                ..Row::default()
            };
            Ok(if keeping.push(&row) { Flow::Continue } else { Flow::Enough })
        };
        let options = self.reading.options.clone();
        let store = Arc::clone(&self.reading.store);
        let visited = visit_items(store, plan, selection, options, &self.reading.interrupt, keeping, visit).await;
        let (keeping, visited) = visited.map_err(carried)?;
        Ok((keeping, visited.merge))
    }
}

/// Ranges cut at a key into those before it and those from it on; one list where there is nothing on one side.
pub(super) fn halves(ranges: &[Option<Range<Bytes>>], middle: Option<&Bytes>) -> Vec<Ranges> {
    let Some(middle) = middle else { return vec![ranges.to_vec()] };
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for range in ranges {
        // No key is higher than this: the first byte of each is the tag of a type.
        let whole = || Bytes::new()..Bytes::from_static(&[u8::MAX]);
        let Range { start, end } = range.clone().unwrap_or_else(whole);
        if start < *middle {
            before.push(Some(start.clone()..end.clone().min(middle.clone())));
        }
        if end > *middle {
            after.push(Some(start.max(middle.clone())..end));
        }
    }
    [before, after].into_iter().filter(|half| !half.is_empty()).collect()
}

fn lost() -> DataFusionError {
    carried(crate::state::StateError::Lost)
}

/// Reads records into rows.
struct Reader {
    asked: Arc<Asked>,
    fields: Fields,
    schema: KeySchema,
    needs_key: bool,
    actor_attribute: Option<String>,
}

impl Reader {
    /// Takes a record that fits; false when no more are wanted.
    fn read(&self, record: &RecordRef<'_>, keeping: &mut Keeping) -> journal::error::Result<bool> {
        let late = self
            .asked
            .seconds()
            .is_some_and(|(since, until)| record.second.is_none_or(|second| second < since || second > until));
        if late || !self.asked.accepts_kind(record.kind) {
            return Ok(true);
        }
        let key = if self.needs_key { Some(self.schema.decode(record.key)?) } else { None };
        if key.as_ref().is_some_and(|key| !self.asked.accepts_key(key)) {
            return Ok(true);
        }
        let image = |bytes: Option<&[u8]>| bytes.map(Image::decode_slice).transpose();
        let old = if self.fields.has(&Field::Old) { image(record.old)? } else { None };
        let needs_new = self.fields.has(&Field::New) || self.actor_attribute.is_some();
        let new = if needs_new { image(record.new)? } else { None };
        let actor = match record.user {
            Some(user) if user.is_ttl() => Some("ttl".to_owned()),
            Some(UserIdentity { principal_id, .. }) => Some(principal_id.clone()),
            None => self.actor_attribute.as_ref().and_then(|attribute| named_actor(attribute, new.as_ref())),
        };
        let row = Row {
            sequence: Some(record.sequence),
            second: record.second,
            kind: record.kind.as_str(),
            actor,
            key: key.as_ref(),
            old,
            new,
        };
        Ok(keeping.push(&row))
    }
}
