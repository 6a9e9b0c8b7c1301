//! Why a question has no answer.

use std::sync::Arc;

use journal::error::Result;
use journal::model::{Second, TableName};
use journal::store::ReadStore;

use super::history::{Direction, HistoryRequest, history};
use crate::coverage::CoveredTimeline;
use crate::key_schema::{KeySchema, KeySelection};
use crate::merge::{Columns, MergeOptions};
use crate::plan::covered;

/// That the time asked for lies outside what the journal covers, and what it covers; none when some of it is covered.
#[must_use]
pub(crate) fn outside(
    table: &TableName,
    timelines: &[CoveredTimeline],
    (since, until): (Second, Second),
) -> Option<String> {
    let intervals: Vec<_> = timelines
        .iter()
        .flat_map(|timeline| &timeline.intervals)
        .filter_map(|interval| Some((interval.from?, interval.through?)))
        .collect();
    if intervals.iter().any(|(from, through)| *from <= until && *through >= since) {
        return None;
    }
    let covered: Vec<String> = intervals.iter().map(|(from, through)| format!("{from} to {through}")).collect();
    let covered = if covered.is_empty() { "no time yet".to_owned() } else { covered.join(", ") };
    let asked = match (since, until) {
        (since, until) if until == Second::MAX => format!("since {since}"),
        (since, until) if since == Second::MIN => format!("until {until}"),
        (since, until) => format!("{since} to {until}"),
    };
    Some(format!("the time asked for ({asked}) is outside what the journal covers of table {table}: {covered}"))
}

/// Why no change fits a request: the time is not covered, the items have no change at all, or have changes of which none fits.
///
/// # Errors
/// As [`history`].
pub async fn why_empty(
    store: Arc<dyn ReadStore>,
    request: &HistoryRequest,
    keys: impl Fn(&KeySchema) -> Result<KeySelection>,
    options: &MergeOptions,
) -> Result<String> {
    let table = &request.table;
    let asked = (request.since.unwrap_or(Second::MIN), request.until.unwrap_or(Second::MAX));
    if let Some(outside) = outside(table, &covered(&*store, table).await?, asked) {
        return Ok(outside);
    }
    let any = HistoryRequest {
        since: None,
        until: None,
        kinds: Vec::new(),
        by: None,
        limit: 1,
        direction: Direction::NewestFirst,
        columns: Columns::Keys,
        ..request.clone()
    };
    let mut last = None;
    let found = history(store, any, keys, options, |change| {
        last = change.second;
        Ok(())
    })
    .await?;
    Ok(match (found.changes, last) {
        (0, _) => format!(
            "the journal has no change of such items of table {table}: either they never were, or have not changed since a baseline, which \
             `replay show` and `replay export` know"
        ),
        (_, Some(last)) => {
            format!("there are changes of such items of table {table}, the last at {last}, but none that fits")
        }
        (_, None) => format!("there are changes of such items of table {table}, but none that fits"),
    })
}
