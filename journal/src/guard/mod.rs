//! Guard: looks whether every table that ought to be protected is, mends what it may, and says what it may not.
//!
//! For each table: what happened to it goes into the journal as events; its stream and mapping are compared with what ought to be, and mended within the
//! guard's [`Powers`]; and the stream is read beside the function (see [`AppendMissing`]): what the journal lacks is appended, checkpoints say how far
//! it is known to be whole, a dead stream is drained and its end written. So coverage reaches the present by what was read, not by what a
//! service says of itself, and a function that fails loses nothing while the guard runs. The service allows two readers a shard: the function is
//! one, the guard the other (for a global table there is room for one only: switch the guard's reading off there).
//!
//! What enters are selections, edges and a time budget; what leaves is a report whose alarms a caller makes metrics, logs and exit codes of.

mod finding;
mod present;
mod read;
mod report;
#[cfg(test)]
mod tests;
pub mod trail;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use futures::stream::StreamExt as _;
use serde_json::json;
use tracing::{info, warn};

pub use finding::{Finding, Freshness, Late, Level, Reading, of_freshness, of_settings};
pub use present::{AppendMissing, last_second};
pub use read::{Read, read};
pub use report::{GuardError, GuardReport, TableGuard};

use crate::control::{AwsControl, ControlPlane, Mapping, MappingSettings};
use crate::documents::{self, DocumentError, EventDocument, TableDocument};
use crate::error::{Error, Result};
use crate::layout;
use crate::lifecycle::{self, Known};
use crate::listing;
use crate::model::{Second, TableName, Timeline, TimelineLabel};
use crate::protect::{self, Patience, Selection, Sight, Step, Wish, bind, observe_with};
use crate::source::follow::{Clock, SystemClock};
use crate::source::stream::StreamService;
use crate::source::stream_sdk::SdkStreams;
use crate::store::{ReadStore, WriteStore};
use crate::table;

/// Tables that are looked at or mended at the same time.
const TABLES_AT_ONCE: usize = 8;

/// The edges of a guard.
#[derive(Debug, Clone)]
pub struct GuardEdges {
    /// Tables and their streams.
    pub service: Arc<dyn StreamService>,
    /// What is around them.
    pub control: Arc<dyn ControlPlane>,
    /// The journal.
    pub store: Arc<dyn WriteStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl GuardEdges {
    /// AWS, or whatever endpoints the settings name, with a journal.
    #[must_use]
    pub fn of_aws(settings: &SdkConfig, store: Arc<dyn WriteStore>) -> Self {
        Self {
            service: Arc::new(SdkStreams::new(settings)),
            control: Arc::new(AwsControl::new(settings)),
            store,
            clock: Arc::new(SystemClock::new()),
        }
    }
}

/// What a guard may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Powers {
    /// Make, enable and mend event source mappings.
    pub mappings: bool,
    /// Switch streams on. A template that does not have the stream would switch it off again with its next deploy.
    pub streams: bool,
}

/// How a guard looks and what it may do.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardSettings {
    /// The journal's function.
    pub function: String,
    /// The tables that ought to be protected.
    pub selection: Selection,
    /// Only these of them, as when something happened to one.
    pub only: Option<BTreeSet<TableName>>,
    /// How mappings that it makes read.
    pub mapping: MappingSettings,
    /// What it may change; none at all where it is only to look.
    pub powers: Option<Powers>,
    /// Whether it reads streams.
    pub reads: bool,
    /// So many seconds the journal may be behind before it is an alarm.
    pub fresh_seconds: u64,
    /// How long a table's settings may take.
    pub patience: Patience,
    /// How long the reading of all streams may take together.
    pub read_budget: Duration,
}

impl GuardSettings {
    /// Settings for a function and tables: mappings are mended, streams are not switched, streams are read.
    #[must_use]
    pub fn new(function: String, selection: Selection) -> Self {
        Self {
            function,
            selection,
            only: None,
            mapping: MappingSettings::default(),
            powers: Some(Powers { mappings: true, streams: false }),
            reads: true,
            fresh_seconds: 900,
            patience: Patience { whole: Duration::from_mins(2), ..Patience::default() },
            read_budget: Duration::from_mins(10),
        }
    }

    fn wish(&self) -> Wish {
        Wish {
            settings: self.mapping.clone(),
            switch_on: self.powers.is_some_and(|powers| powers.streams),
            replace_stream: false,
            baseline: false,
            read: false,
        }
    }
}

/// Looks at all tables that ought to be protected, mends and reads as the settings allow.
///
/// # Errors
/// When tables, mappings or the journal cannot be listed at all. What fails of one table is an alarm in the report.
pub async fn guard(edges: &GuardEdges, settings: &GuardSettings) -> Result<GuardReport> {
    let tables = chosen(edges, settings).await?;
    let mappings = edges.control.mappings_of_function(&settings.function).await?;
    let mut guards: Vec<TableGuard> = futures::stream::iter(tables)
        .map(|table| {
            let mappings = &mappings;
            async move { mend(edges, settings, mappings, table).await }
        })
        .buffered(TABLES_AT_ONCE)
        .collect()
        .await;
    let mut readings = BTreeMap::new();
    if settings.reads && settings.powers.is_some() {
        let to_read = guards.iter().filter(|guard| guard.readable).map(|guard| guard.table.clone()).collect();
        readings = read(edges, to_read, settings.fresh_seconds, settings.read_budget).await;
    }
    let mappings = edges.control.mappings_of_function(&settings.function).await?;
    let guards = futures::stream::iter(guards.drain(..))
        .map(|guard| {
            let (mappings, reading) = (&mappings, readings.get(&guard.table).cloned());
            async move { judge(edges, settings, mappings, guard, reading).await }
        })
        .buffered(TABLES_AT_ONCE)
        .collect()
        .await;
    Ok(GuardReport { at: edges.clock.now(), tables: guards })
}

/// The tables of this run: those that ought to be protected, and those that the journal has without an end and that were protected by the same
/// selection, for they may be gone.
async fn chosen(edges: &GuardEdges, settings: &GuardSettings) -> Result<BTreeSet<TableName>> {
    let selection = &settings.selection;
    if let Some(only) = &settings.only {
        let mut chosen = BTreeSet::new();
        for table in only {
            let by_tags = || async {
                match edges.control.tags(table).await? {
                    Some(tags) => Ok::<_, Error>(selection.has_tags(&tags)),
                    None => Ok(false),
                }
            };
            let was = || async { Ok::<_, Error>(was_chosen(&known(edges.store.as_ref(), table).await?, selection)) };
            let has = !known(edges.store.as_ref(), table).await?.is_empty();
            if selection.has_name(table)
                || (selection.known && has)
                || (!selection.tags.is_empty() && (by_tags().await? || was().await?))
            {
                chosen.insert(table.clone());
            }
        }
        return Ok(chosen);
    }
    let mut chosen = protect::tables(edges.control.as_ref(), selection).await?;
    for table in listing::tables(edges.store.as_ref()).await? {
        if chosen.contains(&table) {
            continue;
        }
        let known = known(edges.store.as_ref(), &table).await?;
        let open = known.iter().any(|known| !known.ended);
        if open && (selection.known || selection.has_name(&table) || was_chosen(&known, selection)) {
            chosen.insert(table);
        }
    }
    Ok(chosen)
}

/// Whether the tags that a table had choose it.
fn was_chosen(known: &[Known], selection: &Selection) -> bool {
    let tags = known.iter().filter_map(|known| known.document.as_ref()?.tags.as_ref());
    tags.into_iter().any(|tags| selection.has_tags(tags))
}

/// What the journal knows of a table's timelines, in the order of their births.
async fn known(store: &dyn ReadStore, table: &TableName) -> Result<Vec<Known>> {
    let mut known = Vec::new();
    for folder in store.list_folders(&layout::table_folder(table)).await? {
        let Ok(label) = TimelineLabel::parse(&folder) else { continue };
        let timeline = Timeline { table: table.clone(), label };
        let document = match documents::read::<TableDocument>(store, &layout::table_document(&timeline)).await {
            Ok(document) => document,
            // `replay verify` names it; a table cannot wait until it is mended.
            Err(DocumentError::Malformed { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let end = documents::read::<serde_json::Value>(store, &layout::end_document(&timeline)).await?;
        known.push(Known { timeline, document, ended: end.is_some() });
    }
    Ok(lifecycle::by_birth(known))
}

/// Notes what happened to a table, and mends its settings.
async fn mend(edges: &GuardEdges, settings: &GuardSettings, mappings: &[Mapping], table: TableName) -> TableGuard {
    let mut guard = TableGuard::new(table);
    if let Err(error) = try_mend(edges, settings, mappings, &mut guard).await {
        warn!(table = %guard.table, "{error}");
        guard.findings.push(Finding::alarm("not-examined", error.to_string(), error.hint()));
        // Its stream may be readable all the same.
        guard.readable = true;
    }
    guard
}

async fn try_mend(
    edges: &GuardEdges,
    settings: &GuardSettings,
    mappings: &[Mapping],
    guard: &mut TableGuard,
) -> Result<()> {
    let table = guard.table.clone();
    let mut sight = observe_with(edges.service.as_ref(), mappings, &table).await?;
    let known = known(edges.store.as_ref(), &table).await?;
    let Some(powers) = settings.powers else { return Ok(()) };
    note(edges, &known, &sight, guard).await?;
    let mut wish = settings.wish();
    let off = sight.state.is_some() && sight.stream().is_none();
    if off && !powers.streams {
        wish.switch_on = false;
    }
    let due = match protect::plan(&sight, &wish) {
        Ok(plan) => powers.mappings && plan.steps.iter().any(Step::is_control),
        // Said at the end, by whoever judges.
        Err(_) => false,
    };
    if due {
        let bound = bind(
            edges.service.as_ref(),
            edges.control.as_ref(),
            &settings.function,
            &table,
            &wish,
            edges.clock.as_ref(),
            settings.patience,
        )
        .await;
        match bound {
            Ok(bound) => {
                sight = bound.sight;
                for step in &bound.done {
                    guard.repairs.push(step.to_string());
                    record_repair(edges, &sight, step, guard).await?;
                }
                // A stream that was switched on just now.
                note(edges, &known, &sight, guard).await?;
            }
            Err(error) => {
                guard.findings.push(Finding::alarm("not-mended", error.to_string(), error.hint()));
            }
        }
    }
    if sight.stream().is_some()
        && let Some(document) = edges.service.describe_table(&table, edges.clock.now()).await?
    {
        table::store_description(edges.store.as_ref(), &document).await?;
    }
    guard.readable = sight.stream().is_some() || known.iter().any(|known| !known.ended);
    Ok(())
}

/// Writes down what happened to the table since it was last looked at.
async fn note(edges: &GuardEdges, known: &[Known], sight: &Sight, guard: &mut TableGuard) -> Result<()> {
    for (timeline, name, event) in lifecycle::compare(known, sight.state.as_ref(), edges.clock.now()) {
        if lifecycle::record(edges.store.as_ref(), &timeline, name, &event).await? {
            info!(table = %guard.table, kind = event.kind, "{}", event.text);
            if event.kind == lifecycle::TABLE_DELETED {
                // Rings once: when it is seen for the first time.
                let hint = format!("if nobody meant it: replay restore --table {} brings it back", guard.table);
                let text = format!("table {}: {}", guard.table, event.text);
                guard.findings.push(Finding::alarm("table-deleted", text, Some(hint)));
            }
            guard.events.push(event);
        }
    }
    Ok(())
}

/// Writes a repair down in the timeline that it serves.
async fn record_repair(edges: &GuardEdges, sight: &Sight, step: &Step, guard: &mut TableGuard) -> Result<()> {
    let (Some(stream), Some(mapping)) = (sight.stream(), sight.mapping()) else { return Ok(()) };
    let now = edges.clock.now();
    let (kind, name) = match step {
        Step::MakeMapping { .. } => (lifecycle::MAPPING_MADE, format!("mapping-made-{}", mapping.id)),
        Step::MendMapping { .. } => (lifecycle::MAPPING_MENDED, format!("mapping-mended-{}-{}", mapping.id, now.get())),
        _ => return Ok(()),
    };
    let event = EventDocument {
        at: now,
        seen: false,
        kind: kind.to_owned(),
        text: format!("guard: {step}"),
        by: None,
        details: json!({"mapping": mapping.id, "function": mapping.function}),
    };
    if lifecycle::record(edges.store.as_ref(), stream.timeline(), &name, &event).await? {
        guard.events.push(event);
    }
    Ok(())
}

/// Says what a table looks like now that everything was done.
async fn judge(
    edges: &GuardEdges,
    settings: &GuardSettings,
    mappings: &[Mapping],
    mut guard: TableGuard,
    reading: Option<Read>,
) -> TableGuard {
    if let Err(error) = try_judge(edges, settings, mappings, &mut guard, reading).await {
        guard.findings.push(Finding::alarm("not-examined", error.to_string(), error.hint()));
    }
    guard.findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    guard.findings.dedup();
    guard
}

async fn try_judge(
    edges: &GuardEdges,
    settings: &GuardSettings,
    mappings: &[Mapping],
    guard: &mut TableGuard,
    reading: Option<Read>,
) -> Result<()> {
    let table = guard.table.clone();
    let now = edges.clock.now();
    let sight = observe_with(edges.service.as_ref(), mappings, &table).await?;
    let known = known(edges.store.as_ref(), &table).await?;
    let named = settings.selection.names.contains(&table);
    guard.findings.extend(of_settings(&sight, &known, named, &settings.wish()));
    if let Some(read) = &reading {
        guard.read = read.report;
        if read.report.gaps > 0 {
            let text = format!("table {table}: {} gaps had to be stated, see journal status", read.report.gaps);
            let hint = format!("changes were lost before anybody read them; journal baseline --table {table}");
            guard.findings.push(Finding::alarm("gap", text, Some(hint)));
        }
    }
    let Some(stream) = sight.stream() else {
        if let Some(Read { reading: Reading::Failed(reason), .. }) = reading {
            guard.findings.push(Finding::alarm("not-read", reason, None));
        }
        return Ok(());
    };
    let since = Second::new(now.get().saturating_sub(3 * 3600)).unwrap_or(Second::MIN);
    let freshness = Freshness {
        reading: reading.map_or(Reading::Off, |read| read.reading),
        activity: edges.control.write_activity(&table, since, now).await.map_err(|error| error.to_string()),
        last_record: last_second(edges.store.as_ref(), stream.timeline(), now).await.map_err(DocumentError::from)?,
        now,
        fresh_seconds: settings.fresh_seconds,
    };
    guard.last_record = freshness.last_record;
    let young = sight
        .mapping()
        .and_then(|mapping| mapping.modified)
        .is_some_and(|modified| now.get().saturating_sub(modified.get()) <= settings.fresh_seconds);
    guard.findings.extend(of_freshness(&sight, &freshness, young || !guard.repairs.is_empty()));
    Ok(())
}

/// Writes a call that an audit trail shows into the journal; whether there was a timeline to write it to.
///
/// # Errors
/// When the journal cannot be read or written.
pub async fn record_call(edges: &GuardEdges, call: &trail::TrailCall) -> Result<bool> {
    let known = known(edges.store.as_ref(), &call.table).await?;
    let Some((timeline, name, event)) = call.event(&known, edges.clock.now()) else { return Ok(false) };
    lifecycle::record(edges.store.as_ref(), &timeline, &name, &event).await?;
    Ok(true)
}
