//! The plan of a rewind: every item that it would write, and what that undoes, costs and leaves alone.
//!
//! What enters are the journal, what is asked, and the live table's description; what leaves is a [`Plan`]. Only keys that
//! changed after the cut are read, and no item of the table. Writes nothing but a temporary file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::{
    Attributes, Image, KeyAttributes, Second, SequenceNumber, TableName, TimelineLabel, UserIdentity,
};
use journal::store::ReadStore;
use serde::{Deserialize, Serialize};

use super::error::RewindError;
use super::fold::{Folded, Part};
use super::item::{Effect, PlanItem};
use super::rebase::OnClash;
use super::scope::{check_key, scope};
use super::select::{Candidate, Choice};
use super::spool::{Spool, SpoolWriter};
use super::table::{DescribedTable, LiveTable};
use crate::audit::{Actor, Span};
use crate::cut::{Cut, CutRequest, Position};
use crate::key_schema::{KeySchema, KeySchemaError};
use crate::merge::{self, MergeOptions, MergeReport, RecordRef, RecordScan};
use crate::plan::{covered, footer_of};
use crate::table_write::{PAUSE, tried};

/// What a plan's first line says it is.
pub(super) const PLAN_FORMAT: &str = "replay rewind plan";
/// The version that this software writes and reads.
pub(super) const PLAN_VERSION: u32 = 1;
/// Items of each effect that a plan shows.
const SAMPLES_HELD_MAX: usize = 100;

/// What is asked of a rewind.
#[derive(Debug, Clone)]
pub struct RewindRequest {
    /// The table.
    pub table: TableName,
    /// Changes up to here stay.
    pub from: CutRequest,
    /// Changes after here stay too; none to undo all.
    pub to: Option<CutRequest>,
    /// The timeline, when it is not to be chosen by the cut.
    pub timeline: Option<TimelineLabel>,
    /// Only these items: keys, prefixes, conditions; all when empty.
    pub only: Vec<String>,
    /// Not these items.
    pub except: Vec<String>,
    /// Only changes by this actor.
    pub by: Option<Actor>,
    /// What happens where kept and undone changes clash.
    pub on_clash: OnClash,
}

/// A cut in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutDocument {
    /// The second.
    pub second: Option<Second>,
    /// Or the sequence number.
    pub sequence: Option<SequenceNumber>,
    /// Whether changes at the position have happened.
    pub inclusive: bool,
}

impl From<Cut> for CutDocument {
    fn from(cut: Cut) -> Self {
        let (second, sequence) = match cut.position {
            Position::Second(second) => (Some(second), None),
            Position::Sequence(sequence) => (None, Some(sequence)),
        };
        Self { second, sequence, inclusive: cut.inclusive }
    }
}

impl From<CutDocument> for Cut {
    fn from(document: CutDocument) -> Self {
        let position = match (document.sequence, document.second) {
            (Some(sequence), _) => Position::Sequence(sequence),
            (None, second) => Position::Second(second.unwrap_or(Second::MIN)),
        };
        Self { position, inclusive: document.inclusive }
    }
}

/// What was asked, as a plan keeps it: enough to plan the same again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Asked {
    /// Undo what changed after a cut, or in a window.
    Rewind {
        /// Changes up to here stay.
        from: CutDocument,
        /// Changes after here stay too.
        to: Option<CutDocument>,
        /// The timeline.
        timeline: TimelineLabel,
        /// Only these items.
        only: Vec<String>,
        /// Not these.
        except: Vec<String>,
        /// `ttl` or `user`.
        by: Option<String>,
        /// What happens at clashes.
        on_clash: OnClash,
    },
    /// Take a run back.
    Undo {
        /// The run.
        run: String,
    },
}

/// What a plan amounts to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Items that come back.
    pub put_back: u64,
    /// Items that change back.
    pub change_back: u64,
    /// Items that go.
    pub delete: u64,
    /// Of all these, items in which undone and kept changes clash.
    pub clashes: u64,
    /// Items that changed and are as they are wanted already.
    pub changed_back: u64,
    /// Changes that are undone.
    pub undoes: u64,
    /// Later changes of the same items that are kept.
    pub keeps: u64,
    /// Items between whose changes one is missing.
    pub broken: u64,
    /// Write units of the table, without those of its indexes.
    pub write_units: u64,
}

/// The head of a plan: its first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHeader {
    /// Always [`PLAN_FORMAT`].
    pub format: String,
    /// Always [`PLAN_VERSION`].
    pub version: u32,
    /// The journal's location; where the runs are, for a plan that takes one back.
    pub journal: String,
    /// The table.
    pub table: TableName,
    /// The service's own id of it, where it gives one.
    pub table_id: Option<String>,
    /// Names and types of its key.
    pub key_attributes: KeyAttributes,
    /// Indexes of the table, which are written to as well.
    pub indexes: usize,
    /// What was asked.
    pub asked: Asked,
    /// The last record that the journal had.
    pub head_sequence: Option<SequenceNumber>,
    /// Until when it had been read.
    pub head_second: Option<Second>,
    /// What it amounts to.
    pub counts: Counts,
    /// Items in the plan.
    pub items: u64,
    /// SHA-256 of the items' lines.
    pub digest: String,
}

/// A plan.
#[derive(Debug)]
pub struct Plan {
    /// What it is about.
    pub header: PlanHeader,
    /// Its items.
    pub items: Spool,
    /// Some of them, by what is done to them.
    pub samples: BTreeMap<Effect, Vec<PlanItem>>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Provisioned write units of the table a second; none on demand.
    pub write_units_per_second: Option<u64>,
    /// Segments of the timeline, and what was read of them.
    pub read: (usize, MergeReport),
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.items == 0
    }
}

/// Collects items, their counts and some samples.
pub(super) struct Collected {
    spool: SpoolWriter,
    pub(super) counts: Counts,
    samples: BTreeMap<Effect, Vec<PlanItem>>,
}

impl Collected {
    pub(super) fn new(options: &MergeOptions) -> Result<Self, RewindError> {
        let spool = SpoolWriter::new(options.spill_folder.as_deref())?;
        Ok(Self { spool, counts: Counts::default(), samples: BTreeMap::new() })
    }

    pub(super) fn push(&mut self, item: PlanItem) -> Result<(), RewindError> {
        self.spool.push(&item)?;
        let counts = &mut self.counts;
        match item.effect() {
            Effect::PutBack => counts.put_back += 1,
            Effect::ChangeBack => counts.change_back += 1,
            Effect::Delete => counts.delete += 1,
        }
        counts.clashes += u64::from(item.clashes());
        counts.undoes += item.undoes;
        counts.keeps += item.keeps;
        counts.write_units += item.write_units();
        let samples = self.samples.entry(item.effect()).or_default();
        if samples.len() < SAMPLES_HELD_MAX {
            samples.push(item);
        }
        Ok(())
    }

    /// The items and their counts.
    pub(super) fn items(self) -> Result<(Spool, Counts), RewindError> {
        Ok((self.spool.finish()?, self.counts))
    }

    /// The plan, with a header whose counts are put right.
    pub(super) fn plan(
        self,
        mut header: PlanHeader,
        notes: Vec<String>,
        live: &LiveTable,
        read: (usize, MergeReport),
    ) -> Result<Plan, RewindError> {
        let items = self.spool.finish()?;
        header.counts = self.counts;
        header.items = items.items();
        items.digest().clone_into(&mut header.digest);
        let write_units_per_second = live.write_units_per_second;
        Ok(Plan { header, items, samples: self.samples, notes, write_units_per_second, read })
    }
}

/// The live table, asked for with retries.
pub(super) async fn describe(live: &dyn DescribedTable, table: &TableName) -> Result<Option<LiveTable>, RewindError> {
    tried(PAUSE, || live.describe()).await.map_err(|source| RewindError::Service {
        action: "looking at",
        table: table.clone(),
        source,
    })
}

/// Plans a rewind.
///
/// # Errors
/// When the cut is not covered, changes between it and now may be missing, the table is not there or is another one, a text
/// of `only` or `except` cannot be read, or an object of the journal.
pub async fn plan_rewind(
    store: Arc<dyn ReadStore>,
    live: &dyn DescribedTable,
    request: &RewindRequest,
    options: &MergeOptions,
    interrupt: &Interrupt,
) -> Result<Plan> {
    let table = &request.table;
    let timelines = covered(&*store, table).await?;
    let found = describe(live, table).await?;
    let scope = scope(table, &timelines, (request.from, request.to), request.timeline.as_ref(), found.as_ref())?;
    let (Some(found), Some(chosen)) = (found, timelines.get(scope.timeline)) else {
        return Err(RewindError::Missing { table: table.clone(), at: super::error::flags(scope.from) }.into());
    };
    let schema = match &chosen.objects.table {
        Some(document) => KeySchema::of_table(document)?,
        None => match chosen.objects.segments.first() {
            Some(segment) => KeySchema::unordered(footer_of(&*store, &segment.key).await?.key_attributes.clone()),
            None => return Err(KeySchemaError::Unknown { table: table.to_string() }.into()),
        },
    };
    check_key(table, "the journal", schema.attributes(), &found)?;
    let choice = Choice::parse(&request.only, &request.except, &schema)?;
    let range = choice.range();
    let location = store.location().to_owned();
    let fold = Fold {
        from: scope.from,
        to: scope.to,
        by: request.by,
        on_clash: request.on_clash,
        key_attributes: schema.attributes().clone(),
        schema: schema.clone(),
        choice,
        interrupt: interrupt.clone(),
        table: table.clone(),
        key: Vec::new(),
        last_second: None,
        last_sequence: SequenceNumber::MIN,
        folded: Folded::default(),
        collected: Collected::new(options)?,
    };
    let shared = Arc::new(Mutex::new(Some(fold)));
    let inner = Arc::clone(&shared);
    // Records from well before the cut end nothing that is undone: SEMANTICS.md, "Audit".
    let seconds = Span { from: scope.from, to: None }.seconds();
    let scan = RecordScan { keys: range, seconds, ..RecordScan::default() };
    let report = merge::scan_records(store, scope.inputs, scan, options.clone(), move |record| {
        let mut fold = inner.lock().unwrap_or_else(PoisonError::into_inner);
        fold.as_mut().map_or(Ok(()), |fold| fold.add(&record)).map(|()| true)
    })
    .await?;
    let fold = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut fold = fold.ok_or_else(|| RewindError::Lost { doing: "planning for", table: table.clone() })?;
    fold.end_key()?;
    let mut notes = scope.notes;
    if report.undated > 0 {
        notes.push(format!(
            "{} records have no time and count as at the record before them of their key",
            report.undated
        ));
    }
    if fold.collected.counts.broken > 0 {
        let broken = fold.collected.counts.broken;
        notes.push(format!("changes are missing in the history of {broken} items: run replay verify"));
    }
    let header = PlanHeader {
        format: PLAN_FORMAT.to_owned(),
        version: PLAN_VERSION,
        journal: location,
        table: table.clone(),
        table_id: found.id.clone(),
        key_attributes: fold.key_attributes.clone(),
        indexes: found.indexes,
        asked: Asked::Rewind {
            from: scope.from.into(),
            to: scope.to.map(CutDocument::from),
            timeline: chosen.objects.timeline.label.clone(),
            only: request.only.clone(),
            except: request.except.clone(),
            by: request.by.map(|by| if by == Actor::Ttl { "ttl" } else { "user" }.to_owned()),
            on_clash: request.on_clash,
        },
        head_sequence: scope.last,
        head_second: scope.through,
        counts: Counts::default(),
        items: 0,
        digest: String::new(),
    };
    Ok(fold.collected.plan(header, notes, &found, (scope.segments, report))?)
}

/// One key after the other.
struct Fold {
    from: Cut,
    to: Option<Cut>,
    by: Option<Actor>,
    on_clash: OnClash,
    key_attributes: KeyAttributes,
    schema: KeySchema,
    choice: Choice,
    interrupt: Interrupt,
    table: TableName,
    key: Vec<u8>,
    last_second: Option<Second>,
    last_sequence: SequenceNumber,
    folded: Folded,
    collected: Collected,
}

impl Fold {
    fn add(&mut self, record: &RecordRef<'_>) -> Result<()> {
        if self.key.as_slice() != record.key {
            self.end_key()?;
            self.key.clear();
            self.key.extend_from_slice(record.key);
            self.last_second = None;
        }
        let second = record.second.or(self.last_second);
        self.last_second = second;
        self.last_sequence = record.sequence;
        let is_in = self.to.is_none_or(|to| to.has(record.sequence, second));
        let is_by = self.by.is_none_or(|by| (by == Actor::Ttl) == record.user.is_some_and(UserIdentity::is_ttl));
        let part = if self.from.has(record.sequence, second) {
            Part::Before
        } else if is_in && is_by {
            Part::Undo
        } else {
            Part::Keep
        };
        let added = self.folded.add(part, record.old, record.new, self.on_clash);
        Ok(added.map_err(|error| self.unreadable(&error))?)
    }

    fn unreadable(&self, error: &dyn std::fmt::Display) -> RewindError {
        RewindError::Item { sequence: self.last_sequence, reason: error.to_string() }
    }

    fn end_key(&mut self) -> Result<()> {
        let folded = std::mem::take(&mut self.folded);
        if self.interrupt.requested() {
            return Err(RewindError::Interrupted { doing: "planning for", table: self.table.clone() }.into());
        }
        if folded.undoes == 0 {
            return Ok(());
        }
        let image = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(Image::decode_slice).transpose();
        let now: Option<Attributes> = image(&folded.now).map_err(|error| self.unreadable(&error))?;
        let wanted: Option<Attributes> = image(&folded.wanted).map_err(|error| self.unreadable(&error))?;
        let key = self.schema.decode(&self.key).map_err(|error| self.unreadable(&error))?;
        if !self.choice.has(&Candidate { bytes: &self.key, key: &key, now: now.as_ref(), wanted: wanted.as_ref() }) {
            return Ok(());
        }
        self.collected.counts.broken += u64::from(folded.broken);
        if folded.now == folded.wanted {
            self.collected.counts.changed_back += 1;
            return Ok(());
        }
        self.collected.push(PlanItem {
            key,
            now,
            wanted,
            undoes: folded.undoes,
            keeps: folded.keeps,
            clashes: folded.clashes.into_iter().collect(),
            item_clash: folded.item_clash,
        })?;
        Ok(())
    }
}
