//! A live table held against its state at a cut, item by item.
//!
//! What enters are a cut and a table; what leaves are the items that differ, whole, and counts. Three ways choose the items that are
//! looked at: those that the journal says changed since the cut, all of the table, or one. Each is read strongly consistent. Nothing
//! is written. Knows nothing of command lines.

mod error;
mod look;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::StreamExt as _;
use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::{Attributes, Image, Second, TableName};
use journal::store::ReadStore;
use tokio::sync::mpsc;

use crate::audit::{ChangedKey, CompareReport, ItemDifference, Span, changed_keys};
use crate::key_schema::{KeySchema, KeySchemaError, KeySelection};
use crate::plan::{ReplayPlan, covered};
use crate::restore::{ItemService, ListedChange, Restore, RestoreOptions, TableService, list_differences};
use crate::state::{Flow, Selection, StateError, visit_items};

pub use error::LiveError;
use look::{BATCH, Candidate, Look, Shape};

/// Batches of keys that wait to be looked at.
const BATCHES_AHEAD: usize = 4;

/// Which items are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that have a change after the cut in the journal.
    Changed,
    /// All of the table and of the state: what no record tells of is found too.
    Whole,
    /// The one item that is selected.
    One,
}

/// What a look at the table found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiveReport {
    /// What differs; `changed_back` counts items that were looked at and are as they were at the cut.
    pub compared: CompareReport,
    /// Items that are not as the journal's last change left them; counted for [`Reach::Changed`] alone.
    pub unexplained: u64,
    /// The last second that the journal has read.
    pub through: Option<Second>,
}

/// A look at a table.
#[derive(Clone)]
pub struct Live<'a> {
    /// The journal.
    pub store: Arc<dyn ReadStore>,
    /// The state at the cut.
    pub plan: &'a ReplayPlan,
    /// Only these items.
    pub keys: KeySelection,
    /// The service that has the table.
    pub service: Arc<dyn ItemService>,
    /// How fast.
    pub options: &'a RestoreOptions,
    /// When to stop.
    pub interrupt: &'a Interrupt,
}

impl std::fmt::Debug for Live<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("plan", &self.plan).field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Live<'_> {
    /// Gives each item that differs to `visit`: with [`Reach::Changed`] and [`Reach::Whole`] in the order of keys.
    ///
    /// # Errors
    /// When the table is not there, has another key or is not the one that the cut is of, an object of the journal cannot be read, the
    /// service refuses, `visit` fails, or the user asks to stop.
    pub async fn compare(
        &self,
        reach: Reach,
        visit: &mut (dyn FnMut(ItemDifference) -> Result<()> + Send),
    ) -> Result<LiveReport> {
        let table = &self.plan.timeline.table;
        let schema = self.plan.key.clone().ok_or_else(|| KeySchemaError::Unknown { table: table.to_string() })?;
        let restore = self.restore();
        let live = restore.check_table(&*self.service, table).await?;
        let timelines = covered(&*self.store, table).await?;
        let mut look = Look {
            service: &*self.service,
            table,
            schema: &schema,
            options: self.options,
            interrupt: self.interrupt,
            visit,
            report: LiveReport::default(),
        };
        look.report.through = timelines.last().and_then(|newest| newest.intervals.last()?.through);
        match reach {
            Reach::Changed => {
                self.check_continuous(&timelines, live.id.as_deref())?;
                self.changed(&schema, &timelines, &mut look).await?;
            }
            Reach::Whole => self.whole(&restore, table, &mut look).await?,
            Reach::One => self.one(&mut look).await?,
        }
        Ok(look.report)
    }

    fn restore(&self) -> Restore<'_> {
        let service: Arc<dyn TableService> = self.service.clone();
        Restore {
            store: Arc::clone(&self.store),
            plan: self.plan,
            selection: Selection { keys: self.keys.clone(), ..Selection::default() },
            service,
            options: self.options,
            interrupt: self.interrupt,
            progress: &|_, _, _| {},
        }
    }

    /// Refuses where changes since the cut are not all in the cut's stretch of history.
    fn check_continuous(&self, timelines: &[crate::coverage::CoveredTimeline], live: Option<&str>) -> Result<()> {
        let plan = self.plan;
        let apart = |reason: String| LiveError::Apart { table: plan.timeline.table.clone(), cut: plan.cut, reason };
        let newest = timelines.last().filter(|newest| newest.objects.timeline == plan.timeline);
        let Some(newest) = newest else {
            return Err(apart("it is of a stream that another one has followed".to_owned()).into());
        };
        let stretch = |interval: Option<&crate::coverage::Interval>| interval.map(|one| (one.from, one.through));
        if stretch(plan.interval.as_ref()) != stretch(newest.intervals.last()) {
            return Err(apart("a gap lies between it and now".to_owned()).into());
        }
        let told = plan.table.as_ref().and_then(|table| table.table_id.as_deref());
        match (told, live) {
            (Some(told), Some(live)) if told != live => {
                Err(apart(format!("the table was made again: its id is {live}, and was {told}")).into())
            }
            _ => Ok(()),
        }
    }

    /// Items with a change after the cut: found on a blocking thread, looked at meanwhile.
    async fn changed(
        &self,
        schema: &KeySchema,
        timelines: &[crate::coverage::CoveredTimeline],
        look: &mut Look<'_>,
    ) -> Result<()> {
        let newest = timelines.last().map(|newest| &newest.objects);
        let Some(objects) = newest else { return Ok(()) };
        let span = Span { from: self.plan.cut, to: None };
        let (to, mut batches) = mpsc::channel::<Candidate>(BATCH * BATCHES_AHEAD);
        let (names, keys) = (schema.clone(), self.keys.clone());
        let finding =
            changed_keys(Arc::clone(&self.store), objects, span, &self.keys, &self.options.merge, move |changed| {
                let Some(candidate) = candidate(&names, &keys, &changed)? else { return Ok(()) };
                // Nobody waits for more when looking has failed.
                Ok(to.blocking_send(candidate).map_err(|_| StateError::Enough)?)
            });
        let looking = async {
            let mut batch = Vec::with_capacity(BATCH);
            loop {
                // Full batches: a request for a few keys takes as long as one for many.
                let missing = BATCH.saturating_sub(batch.len());
                let came = batches.recv_many(&mut batch, missing).await;
                if came > 0 && batch.len() < BATCH {
                    continue;
                }
                let is_last = batch.is_empty();
                let looked = look.at(std::mem::take(&mut batch)).await;
                if looked.is_err() {
                    // Which ends the finding too.
                    batches.close();
                    return looked;
                }
                if is_last {
                    break;
                }
            }
            Ok(())
        };
        let (found, looked) = futures::join!(finding, looking);
        looked?;
        let merged = found?;
        let compared = &mut look.report.compared;
        compared.segments = u64::try_from(objects.segments.len()).unwrap_or(u64::MAX);
        (compared.opened, compared.bytes_read) = (merged.objects, merged.bytes_read);
        Ok(())
    }

    /// All items: the table is scanned and compared by hashes, and what differs is looked at once more.
    async fn whole(&self, restore: &Restore<'_>, table: &TableName, look: &mut Look<'_>) -> Result<()> {
        let (same, changes) = list_differences(restore, table).await?;
        look.report.compared.changed_back = same;
        let mut batches = std::pin::pin!(futures::stream::iter(changes).chunks(BATCH));
        while let Some(batch) = batches.next().await {
            let of = |change: Result<ListedChange>| {
                let change = change?;
                let before = change.wanted.map(|item| self.without_key(item));
                Ok(Candidate { key: change.key, before, newest: None })
            };
            look.at(batch.into_iter().map(of).collect::<Result<_>>()?).await?;
        }
        Ok(())
    }

    /// One item, whether it changed or not.
    async fn one(&self, look: &mut Look<'_>) -> Result<()> {
        let Some(range) = &self.keys.range else { return Ok(()) };
        let key = look.schema.decode(&range.start)?;
        let selection = Selection { keys: self.keys.clone(), ..Selection::default() };
        let (store, merge) = (Arc::clone(&self.store), self.options.merge.clone());
        let visit = |found: &mut Option<Attributes>, item: crate::state::Item<'_>| {
            *found = Some(item.attributes);
            Ok(Flow::Continue)
        };
        let (found, visited) = visit_items(store, self.plan, selection, merge, self.interrupt, None, visit).await?;
        let compared = &mut look.report.compared;
        compared.segments = u64::try_from(self.plan.inputs.len() + self.plan.left_out).unwrap_or(u64::MAX);
        (compared.opened, compared.bytes_read) = (visited.merge.objects, visited.merge.bytes_read);
        let before = found.map(|item| self.without_key(item));
        look.at(vec![Candidate { key, before, newest: None }]).await
    }

    fn without_key(&self, mut item: Attributes) -> Attributes {
        for attribute in self.plan.key.iter().flat_map(|key| key.attributes().as_slice()) {
            item.remove(&attribute.name);
        }
        item
    }
}

/// A key that has changed, as it is looked at; none when it is not selected.
fn candidate(schema: &KeySchema, keys: &KeySelection, changed: &ChangedKey<'_>) -> Result<Option<Candidate>> {
    let wrong = |reason: String| LiveError::Item { sequence: changed.sequence, reason };
    let key = schema.decode(changed.key).map_err(|error| wrong(error.to_string()))?;
    if !keys.contains(&key) {
        return Ok(None);
    }
    let image =
        |bytes: Option<&[u8]>| bytes.map(Image::decode_slice).transpose().map_err(|error| wrong(error.to_string()));
    let newest = Shape::of(image(changed.after)?.as_ref());
    Ok(Some(Candidate { before: image(changed.before)?, newest: Some(newest), key }))
}
