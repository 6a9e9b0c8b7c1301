//! Proof: every checksum of every object, and the image chain of every key.
//!
//! What enters is a store; what leaves is a [`TimelineReport`] a timeline. An unsound object is reported and everything
//! else is still checked. What the chain can and cannot see is said in SEMANTICS.md, "The proof".

mod chain;
mod objects;

use std::sync::Arc;

use journal::documents::GapDocument;
use journal::error::{Classify, Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::{Second, SequenceNumber, TableName, TimelineLabel};
use journal::store::ReadStore;
use serde::Serialize;
use thiserror::Error;

use crate::coverage::{CoveredTimeline, Ending};
use crate::merge::MergeOptions;

/// Problems and breaks that a report lists; all are counted.
pub const LISTED_MAX: usize = 1000;

/// Why a check ended without a report.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The user stopped it.
    #[error("stopped while checking {timeline}")]
    Interrupted {
        /// What was being checked.
        timeline: String,
    },
    /// There is nothing to check.
    #[error("{location} has no table yet")]
    Empty {
        /// The store.
        location: String,
    },
    /// The thread that checks an object was lost.
    #[error("checking {key} ended without an answer")]
    Lost {
        /// The object.
        key: String,
    },
}

impl Classify for VerifyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Interrupted { .. } => Kind::Interrupted,
            Self::Empty { .. } => Kind::Invalid,
            Self::Lost { .. } => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Interrupted { .. } => Some("nothing was changed; run the same command again".to_owned()),
            Self::Empty { .. } => Some("fill it with `journal follow` or `journal ingest`".to_owned()),
            Self::Lost { .. } => None,
        }
    }
}

/// An object that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectProblem {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
}

/// One end of a break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainEnd {
    /// The record.
    pub sequence: SequenceNumber,
    /// Its second.
    pub second: Option<Second>,
}

/// Two records of one key between which a change of state is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainBreak {
    /// The key in DynamoDB JSON.
    pub key: String,
    /// The record before; none when a whole timeline's first record of the key has an old image.
    pub after: Option<ChainEnd>,
    /// The record that does not follow from it.
    pub before: ChainEnd,
    /// The reason of the stated gap that lies between them, where one does.
    pub stated: Option<String>,
}

/// What is known of one covered interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoveredInterval {
    /// First covered second.
    pub from: Option<Second>,
    /// Last covered second.
    pub through: Option<Second>,
    /// Whether nothing is known of what came after it.
    pub open_end: bool,
}

/// What a check of one timeline found.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineReport {
    /// The table.
    pub table: TableName,
    /// The stream's label.
    pub timeline: TimelineLabel,
    /// Covered intervals.
    pub covered: Vec<CoveredInterval>,
    /// Segments that were read.
    pub segments: u64,
    /// Parts of snapshots that were read.
    pub snapshot_parts: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Different change records.
    pub records: u64,
    /// Keys with a change record.
    pub keys: u64,
    /// Records that lie in more than one segment: harmless.
    pub duplicates: u64,
    /// Those of them that do not say the same: the journal contradicts itself.
    pub contradictions: u64,
    /// Records without a second.
    pub undated: u64,
    /// Records whose second is before that of an earlier record of their key: harmless, sequence order decides.
    pub out_of_order: u64,
    /// Records in quarantine: they could not be understood when they came.
    pub quarantined: u64,
    /// Objects that are not what was written, counted.
    pub unsound: u64,
    /// The first of them.
    pub problems: Vec<ObjectProblem>,
    /// Breaks of the image chain that no stated gap explains, counted.
    pub broken: u64,
    /// Breaks that a stated gap explains, counted.
    pub broken_stated: u64,
    /// The first breaks.
    pub breaks: Vec<ChainBreak>,
    /// Stated gaps.
    pub gaps: Vec<GapDocument>,
    /// Objects of snapshots that were never completed: they do not count.
    pub unfinished: Vec<String>,
    /// Objects that are none of a journal: left alone.
    pub foreign: Vec<String>,
}

impl TimelineReport {
    /// What the report amounts to; none when the timeline is sound.
    #[must_use]
    pub fn verdict(&self) -> Option<Kind> {
        if self.unsound > 0 || self.contradictions > 0 {
            Some(Kind::Corrupt)
        } else if self.broken > 0 {
            Some(Kind::Gap)
        } else {
            None
        }
    }

    fn new(covered: &CoveredTimeline) -> Self {
        let objects = &covered.objects;
        let intervals = covered.intervals.iter().map(|interval| CoveredInterval {
            from: interval.from,
            through: interval.through,
            open_end: interval.ending == Ending::LastRecord,
        });
        Self {
            table: objects.timeline.table.clone(),
            timeline: objects.timeline.label.clone(),
            covered: intervals.collect(),
            segments: 0,
            snapshot_parts: 0,
            bytes: 0,
            records: 0,
            keys: 0,
            duplicates: 0,
            contradictions: 0,
            undated: 0,
            out_of_order: 0,
            quarantined: objects.quarantined,
            unsound: 0,
            problems: Vec::new(),
            broken: 0,
            broken_stated: 0,
            breaks: Vec::new(),
            gaps: objects.gaps.clone(),
            unfinished: objects.unfinished.iter().map(|object| object.key.clone()).collect(),
            foreign: objects.foreign.clone(),
        }
    }

    fn problem(&mut self, object: &str, problem: String) {
        self.unsound += 1;
        if self.problems.len() < LISTED_MAX {
            self.problems.push(ObjectProblem { object: object.to_owned(), problem });
        }
    }
}

/// Checks all timelines of a table. `progress` hears of the bytes read.
///
/// # Errors
/// When the journal has no such table, the store cannot be read, or `interrupt` asks to stop. What is unsound is no
/// error: the report has it.
pub async fn verify_table(
    store: Arc<dyn ReadStore>,
    table: &TableName,
    options: MergeOptions,
    interrupt: &Interrupt,
    progress: impl Fn(u64) + Send,
) -> Result<Vec<TimelineReport>> {
    let mut reports = Vec::new();
    for listed in objects::listed(&*store, table).await? {
        let covered = CoveredTimeline::new(listed.objects);
        let mut report = TimelineReport::new(&covered);
        for (object, problem) in listed.problems {
            report.problem(&object, problem);
        }
        let sound = objects::check(&store, &covered, &mut report, interrupt, &progress).await?;
        chain::check(&store, &covered, sound, &mut report, options.clone(), interrupt).await?;
        reports.push(report);
    }
    Ok(reports)
}

#[cfg(test)]
mod tests;
