//! What a run did: counts, and the items that it left alone.

use journal::model::TableName;
use serde::Serialize;

use super::apply::{shown_key, what_was_found};
use super::item::{Effect, PlanItem};
use super::plan::Asked;
use super::runs::{Outcome, RunDocument, StepDocument};

/// Conflicts that a report lists.
const CONFLICTS_LISTED_MAX: usize = 1000;

/// An item that was left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Its key, as text that no terminal obeys.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RewindReport {
    /// The run.
    pub run: String,
    /// The table.
    pub table: TableName,
    /// The run that this one took back.
    pub took_back: Option<String>,
    /// Items that came back.
    pub put_back: u64,
    /// Items that changed back.
    pub changed_back: u64,
    /// Items that went.
    pub deleted: u64,
    /// Items that were so already.
    pub already: u64,
    /// Of the written items, those that were not what the plan says and were written all the same.
    pub overwritten: u64,
    /// Items that were not what the plan says, and were left alone.
    pub conflicts: u64,
    /// Items in which undone and kept changes clash, and that were left alone.
    pub clashes: u64,
    /// Items whose write was conditional on the whole item.
    pub by_expression: u64,
    /// Items that were read first, for a condition cannot hold all of them.
    pub by_read: u64,
    /// The first thousand items that were left alone.
    pub left_alone: Vec<Conflict>,
}

impl RewindReport {
    pub(super) fn new(document: &RunDocument) -> Self {
        let took_back = match &document.plan.asked {
            Asked::Undo { run } => Some(run.clone()),
            Asked::Rewind { .. } => None,
        };
        Self {
            run: document.run.clone(),
            table: document.plan.table.clone(),
            took_back,
            put_back: 0,
            changed_back: 0,
            deleted: 0,
            already: 0,
            overwritten: 0,
            conflicts: 0,
            clashes: 0,
            by_expression: 0,
            by_read: 0,
            left_alone: Vec::new(),
        }
    }

    /// Items that are done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.written() + self.already + self.left()
    }

    /// Items that were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.put_back + self.changed_back + self.deleted
    }

    /// Items that were left alone.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.conflicts + self.clashes
    }

    pub(super) fn add(&mut self, items: &[PlanItem], done: &StepDocument) {
        self.by_expression += done.by_expression;
        self.by_read += done.by_read;
        for (at, (item, outcome)) in items.iter().zip(&done.outcomes).enumerate() {
            match outcome {
                Outcome::Written | Outcome::Again | Outcome::Overwritten => {
                    self.overwritten += u64::from(*outcome == Outcome::Overwritten);
                    match item.effect() {
                        Effect::PutBack => self.put_back += 1,
                        Effect::ChangeBack => self.changed_back += 1,
                        Effect::Delete => self.deleted += 1,
                    }
                }
                Outcome::Already => self.already += 1,
                Outcome::Conflict => {
                    self.conflicts += 1;
                    let found = done.found(at).unwrap_or_default();
                    self.list(item, what_was_found(item, found.as_ref()));
                }
                Outcome::Clash => {
                    self.clashes += 1;
                    self.list(item, clash_text(item));
                }
            }
        }
    }

    fn list(&mut self, item: &PlanItem, reason: String) {
        if self.left_alone.len() < CONFLICTS_LISTED_MAX {
            self.left_alone.push(Conflict { key: shown_key(item), reason });
        }
    }
}

/// Why an item of a plan clashes.
#[must_use]
pub fn clash_text(item: &PlanItem) -> String {
    if item.item_clash {
        return "a later change, which is kept, made or removed the item".to_owned();
    }
    let names: Vec<String> = item.clashes.iter().take(5).map(|name| crate::audit::inert(name)).collect();
    format!("a later change, which is kept, changed the same: {}", names.join(", "))
}
