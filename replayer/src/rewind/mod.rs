//! Rewinds: a table taken back in place, touching only what changed, with a way back.
//!
//! What enters are a journal, what is asked and a table; what leaves are a plan, then a run that carries it out by
//! conditional writes, and a report. Planning and merging are pure; the table stands behind [`DescribedTable`], the documents of
//! runs behind [`Runs`]. Promises stand in SEMANTICS.md, "Rewinds". Knows nothing of command lines.

mod apply;
mod error;
#[cfg(test)]
mod fake;
mod file;
mod fold;
mod item;
mod plan;
mod rebase;
mod report;
mod runs;
mod scope;
mod select;
mod spool;
mod table;
#[cfg(test)]
mod tests;
mod undo;

pub use crate::table_write::{CONDITION_BYTES_MAX, Condition, Write, Wrote, condition};
pub use apply::{ApplyOptions, Progress, Rewind, can_continue};
pub use error::RewindError;
pub use file::{load_plan, moved, save_plan};
pub use item::{Effect, PlanItem, key_text};
pub use plan::{Asked, Counts, CutDocument, Plan, PlanHeader, RewindRequest, plan_rewind};
pub use rebase::OnClash;
pub use report::{Conflict, RewindReport, clash_text};
pub use runs::{Outcome, RUNS_FOLDER, RunDocument, Runs, StepDocument};
pub use spool::{Lines, Spool};
pub use table::{DescribedTable, DynamoDbTable, LiveTable};
pub use undo::plan_undo;
