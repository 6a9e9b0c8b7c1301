//! Runs: what a rewind must leave behind so that any machine can continue it or take it back.
//!
//! Small documents and the plan's items in parts, below `~rewinds/RUN/` of a journal or of another location, each written once
//! and never replaced; FORMAT.md, "Rewinds", has the list. This is all that the read side writes, and it can write nowhere
//! else. A step's outcome is stored before the next step begins, so at most one step is in doubt.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use journal::documents;
use journal::error::Result;
use journal::layout::safe_part;
use journal::model::Attributes;
use journal::source::attribute::{ItemJson, parse_item};
use journal::store::{PutOutcome, ReadStore, StoreError, WriteStore};
use serde::{Deserialize, Serialize};

use super::error::RewindError;
use super::item::PlanItem;
use super::plan::{Plan, PlanHeader};
use super::spool::Lines;

/// The folder of all runs. No table's name begins so.
pub const RUNS_FOLDER: &str = "~rewinds/";
/// Runs that a message lists.
const SHOWN_MAX: usize = 10;

/// `run.json`: completes the beginning of a run; without it nothing was written to the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDocument {
    /// The run.
    pub run: String,
    /// What it carries out.
    pub plan: PlanHeader,
    /// Whether items that are not what the plan says are written all the same.
    pub overwrite: bool,
    /// Items in each step.
    pub steps: Vec<usize>,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Written by this run.
    #[serde(rename = "w")]
    Written,
    /// It was so already when its step was done again after a stop: most likely written by this run before.
    #[serde(rename = "m")]
    Again,
    /// It was so already.
    #[serde(rename = "a")]
    Already,
    /// It was not what the plan says, and was left alone.
    #[serde(rename = "c")]
    Conflict,
    /// It was not what the plan says, and was written all the same.
    #[serde(rename = "o")]
    Overwritten,
    /// Undone and kept changes clash in it, and it was left alone.
    #[serde(rename = "k")]
    Clash,
}

/// `done-NUMBER.json`: what became of the items of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDocument {
    /// One for each item, in their order.
    pub outcomes: Vec<Outcome>,
    /// The items that were there instead, by their number in the step: for conflicts and what was overwritten. Null for none.
    pub found: BTreeMap<usize, serde_json::Value>,
    /// Items whose write was conditional on the whole item.
    pub by_expression: u64,
    /// Items that were read first, their write being conditional on as much as a condition may hold.
    pub by_read: u64,
}

impl StepDocument {
    pub(super) fn put_found(&mut self, at: usize, item: Option<&Attributes>) {
        let value = item.and_then(|item| serde_json::to_value(ItemJson(item)).ok());
        self.found.insert(at, value.unwrap_or(serde_json::Value::Null));
    }

    /// What was found instead of an item.
    pub(super) fn found(&self, at: usize) -> Result<Option<Attributes>, String> {
        match self.found.get(&at) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(value) => parse_item(value.to_string().as_bytes()).map(Some).map_err(|error| error.to_string()),
        }
    }
}

/// Where runs are kept.
#[derive(Debug, Clone)]
pub struct Runs {
    store: Arc<dyn ReadStore>,
    write: Option<Arc<dyn WriteStore>>,
}

impl Runs {
    /// Runs that can be read.
    #[must_use]
    pub fn reading(store: Arc<dyn ReadStore>) -> Self {
        Self { store, write: None }
    }

    /// Runs that can be begun and continued.
    #[must_use]
    pub fn writing(store: Arc<dyn WriteStore>) -> Self {
        Self { store: Arc::<dyn WriteStore>::clone(&store), write: Some(store) }
    }

    /// Where.
    #[must_use]
    pub fn location(&self) -> &str {
        self.store.location()
    }

    async fn put(&self, run: &str, name: &str, bytes: Bytes) -> Result<PutOutcome, StoreError> {
        let key = key(run, name);
        let Some(store) = &self.write else {
            let (location, reason) = (self.location().to_owned(), "it was opened for reading".to_owned());
            return Err(StoreError::Denied { action: "put", location, key, reason });
        };
        store.put_new(&key, bytes).await
    }

    /// Stores a plan as a run that is about to begin. `step_items` and `step_bytes` bound a step.
    pub(super) async fn begin(
        &self,
        run: &str,
        plan: &mut Plan,
        overwrite: bool,
        (step_items, step_bytes): (usize, usize),
    ) -> Result<RunDocument> {
        let mut steps = Vec::new();
        let (mut part, mut items) = (Vec::new(), 0usize);
        let mut lines = plan.items.read()?;
        loop {
            let line = lines.text()?;
            let full = line.as_ref().is_none_or(|line| items == step_items || part.len() + line.len() > step_bytes);
            if full && items > 0 {
                let name = items_name(steps.len());
                self.put(run, &name, Bytes::from(std::mem::take(&mut part))).await?;
                steps.push(std::mem::take(&mut items));
            }
            let Some(line) = line else { break };
            part.extend_from_slice(line.as_bytes());
            part.push(b'\n');
            items += 1;
        }
        let document = RunDocument { run: run.to_owned(), plan: plan.header.clone(), overwrite, steps };
        self.put(run, "run.json", documents::to_bytes(&document)?).await?;
        Ok(document)
    }

    /// Reads a run.
    ///
    /// # Errors
    /// When there is none, or it was never begun.
    pub async fn load(&self, run: &str) -> Result<RunDocument> {
        if let Some(document) = documents::read(&*self.store, &key(run, "run.json")).await? {
            return Ok(document);
        }
        let mut known = self.store.list_folders(RUNS_FOLDER).await?;
        if known.iter().any(|known| known == run) {
            let reason = "it was stopped before it began, and has written nothing to the table".to_owned();
            return Err(RewindError::State { run: run.to_owned(), asked: "used", reason }.into());
        }
        known.reverse();
        known.truncate(SHOWN_MAX);
        let location = self.location().to_owned();
        Err(RewindError::NoRun { run: run.to_owned(), location, known: known.join(", ") }.into())
    }

    /// The items of a step.
    pub(super) async fn items(&self, document: &RunDocument, step: usize) -> Result<Vec<PlanItem>> {
        let key = key(&document.run, &items_name(step));
        let bytes = self.store.get(&key).await?;
        let items: Vec<PlanItem> = Lines::new(&*bytes, key.clone()).collect::<Result<_, _>>()?;
        if document.steps.get(step) != Some(&items.len()) {
            let reason = format!("it has {} items", items.len());
            return Err(RewindError::Line { of: key, line: 1, reason }.into());
        }
        Ok(items)
    }

    /// What became of a step, once it is done.
    pub(super) async fn outcome(&self, document: &RunDocument, step: usize) -> Result<Option<StepDocument>> {
        let key = key(&document.run, &done_name(step));
        let done: Option<StepDocument> = documents::read(&*self.store, &key).await?;
        if let Some(done) = &done
            && document.steps.get(step) != Some(&done.outcomes.len())
        {
            let reason = format!("it has {} outcomes", done.outcomes.len());
            return Err(RewindError::Line { of: key, line: 1, reason }.into());
        }
        Ok(done)
    }

    /// Stores what became of a step.
    pub(super) async fn done(&self, document: &RunDocument, step: usize, outcome: &StepDocument) -> Result<()> {
        match self.put(&document.run, &done_name(step), documents::to_bytes(outcome)?).await {
            Ok(_) => Ok(()),
            Err(StoreError::Differs { .. }) => Err(RewindError::Busy { run: document.run.clone(), step }.into()),
            Err(error) => Err(error.into()),
        }
    }
}

fn key(run: &str, name: &str) -> String {
    format!("{RUNS_FOLDER}{}/{name}", safe_part(run))
}

fn items_name(step: usize) -> String {
    format!("items-{step:06}.jsonl")
}

fn done_name(step: usize) -> String {
    format!("done-{step:06}.json")
}
