//! The plan that takes a run back: what the run wrote, the other way round.
//!
//! What enters are a run's documents and the live table's description; what leaves is a plan like any other, so a run that
//! takes another back can itself be taken back. The journal's segments are not read.

use journal::error::Result;
use journal::interrupt::Interrupt;

use super::error::RewindError;
use super::item::PlanItem;
use super::plan::{Asked, Collected, Plan, PlanHeader, describe};
use super::runs::{Outcome, RunDocument, Runs, StepDocument};
use super::scope::check_key;
use super::table::DescribedTable;
use crate::merge::{MergeOptions, MergeReport};

/// Plans to take a run back.
///
/// # Errors
/// When there is no such run, its documents cannot be read, or the table is not there or is another one.
pub async fn plan_undo(
    runs: &Runs,
    live: &dyn DescribedTable,
    run: &str,
    options: &MergeOptions,
    interrupt: &Interrupt,
) -> Result<Plan> {
    let document = runs.load(run).await?;
    let table = document.plan.table.clone();
    let found = check_table(live, &document).await?;
    let mut collected = Collected::new(options)?;
    let mut in_doubt = None;
    for step in 0..document.steps.len() {
        if interrupt.requested() {
            return Err(RewindError::Interrupted { doing: "planning for", table }.into());
        }
        let done = runs.outcome(&document, step).await?;
        for (at, item) in runs.items(&document, step).await?.iter().enumerate() {
            if let Some(item) = reversed(item, at, done.as_ref()).map_err(|reason| RewindError::Line {
                of: format!("the outcome of step {step}"),
                line: 1,
                reason,
            })? {
                collected.push(item)?;
            }
        }
        if done.is_none() {
            // Later steps were never begun.
            in_doubt = Some(step);
            break;
        }
    }
    let mut notes = Vec::new();
    if let Some(step) = in_doubt {
        notes.push(format!(
            "run {run} was stopped in step {} of {}: what it wrote of that step is found by what the items are now",
            step + 1,
            document.steps.len()
        ));
    }
    let header = PlanHeader {
        journal: runs.location().to_owned(),
        table_id: found.id.clone(),
        indexes: found.indexes,
        asked: Asked::Undo { run: document.run.clone() },
        ..document.plan.clone()
    };
    Ok(collected.plan(header, notes, &found, (0, MergeReport::default()))?)
}

/// Makes sure that the live table is the one of a run.
pub(super) async fn check_table(
    live: &dyn DescribedTable,
    document: &RunDocument,
) -> Result<super::LiveTable, RewindError> {
    let table = &document.plan.table;
    let of = format!("run {}", document.run);
    let Some(found) = describe(live, table).await? else {
        return Err(RewindError::Missing { table: table.clone(), at: "--at TIME".to_owned() });
    };
    if let (Some(known), Some(id)) = (&document.plan.table_id, &found.id)
        && known != id
    {
        let reason = format!("its id is {id}, and was {known}: it was deleted and made again since");
        return Err(RewindError::OtherTable { table: table.clone(), of, reason });
    }
    check_key(table, &of, &document.plan.key_attributes, &found)?;
    Ok(found)
}

/// An item as the undo writes it; none where the run wrote nothing.
fn reversed(item: &PlanItem, at: usize, done: Option<&StepDocument>) -> Result<Option<PlanItem>, String> {
    let clashes = item.clashes();
    let back = |now, wanted| PlanItem { key: item.key.clone(), now, wanted, undoes: 1, ..PlanItem::default() };
    let Some(done) = done else {
        return Ok((!clashes).then(|| back(item.wanted.clone(), item.now.clone())));
    };
    Ok(match done.outcomes.get(at) {
        Some(Outcome::Written | Outcome::Again) => Some(back(item.wanted.clone(), item.now.clone())),
        Some(Outcome::Overwritten) => Some(back(item.wanted.clone(), done.found(at)?)),
        _ => None,
    })
}
