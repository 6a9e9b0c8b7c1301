//! What a look at a table means: pure, from what was seen to what is to be said.

use serde::Serialize;

use crate::control::WriteActivity;
use crate::error::Classify as _;
use crate::lifecycle::Known;
use crate::model::Second;
use crate::protect::{ProtectError, Sight, Wish, plan};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Worth a line.
    Notice,
    /// The table is not protected, or nobody can say that it is: somebody must act.
    Alarm,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What, in one word that does not change.
    pub code: &'static str,
    /// What, in a sentence.
    pub text: String,
    /// The way out.
    pub hint: Option<String>,
}

impl Finding {
    /// An alarm.
    #[must_use]
    pub fn alarm(code: &'static str, text: String, hint: Option<String>) -> Self {
        Self { level: Level::Alarm, code, text, hint }
    }

    /// A notice.
    #[must_use]
    pub fn notice(code: &'static str, text: String, hint: Option<String>) -> Self {
        Self { level: Level::Notice, code, text, hint }
    }
}

/// What reading the stream beside the function showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Late {
    /// Records that the journal had.
    pub there: u64,
    /// Records that it did not have, and has now.
    pub appended: u64,
    /// Of those, how many were older than a function may lag.
    pub late: u64,
    /// The oldest of these.
    pub oldest_late: Option<Second>,
}

/// How a stream's reading went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It was not asked for.
    Off,
    /// It ended before the time was over.
    Done(Late),
    /// The time was over first; what was read counts.
    Cut(Late),
    /// It failed.
    Failed(String),
}

/// All that is known of a table's freshness.
#[derive(Debug, Clone, PartialEq)]
pub struct Freshness {
    /// How the stream's reading went.
    pub reading: Reading,
    /// The table's own write activity, or why it is not known.
    pub activity: Result<WriteActivity, String>,
    /// The last second of any record in the journal.
    pub last_record: Option<Second>,
    /// Now.
    pub now: Second,
    /// So many seconds the journal may be behind.
    pub fresh_seconds: u64,
}

/// What is to be said of a table, its settings and its mapping. `named` says that it was asked for by name, so that it ought to exist.
#[must_use]
pub fn of_settings(sight: &Sight, known: &[Known], named: bool, wish: &Wish) -> Vec<Finding> {
    let table = &sight.table;
    let mut findings = Vec::new();
    if sight.state.is_none() {
        let text = if known.is_empty() {
            format!("table {table} does not exist and the journal has nothing of it")
        } else if known.iter().all(|known| known.ended) {
            format!("table {table} does not exist any more; all its timelines have ended and are whole")
        } else {
            format!("table {table} does not exist any more, and its last stream is not read to its end yet")
        };
        let hint = format!(
            "deploy it again, or take it out of the guard's settings; replay restore --table {table} brings it back"
        );
        findings.push(if named {
            Finding::alarm("table-missing", text, Some(hint))
        } else {
            Finding::notice("table-missing", text, Some(hint))
        });
        return findings;
    }
    // With all powers: what is still to be done was not allowed, or did not work.
    let all = Wish { switch_on: true, ..wish.clone() };
    match plan(sight, &all) {
        Err(error) => {
            let code = match &error {
                ProtectError::View { .. } => "wrong-view",
                ProtectError::Filters { .. } => "mapping-filters",
                ProtectError::Status { .. } => "table-busy",
                _ => "not-protected",
            };
            let hint = error.hint();
            findings.push(match error {
                ProtectError::Status { .. } => Finding::notice(code, error.to_string(), hint),
                _ => Finding::alarm(code, error.to_string(), hint),
            });
        }
        Ok(plan) => {
            let mut steps = plan.steps.iter().filter(|step| step.is_control());
            if let Some(step) = steps.next() {
                let text = format!("table {table} is not protected as it ought to be; next: {step}");
                let hint = format!("journal protect {table} does it");
                findings.push(if step.is_wait() {
                    Finding::notice("changing", text, None)
                } else {
                    Finding::alarm(code_of(sight), text, Some(hint))
                });
            }
        }
    }
    if let Some(mapping) = sight.mapping() {
        let id = &mapping.id;
        if let Some(problem) = mapping.problem() {
            let hint = "look into the function's log; the batch is tried again until its records expire".to_owned();
            findings.push(Finding::alarm(
                "function-fails",
                format!("mapping {id}: the last batch failed: {problem}"),
                Some(hint),
            ));
        }
        if mapping.starting_position.as_deref() == Some("LATEST") {
            let text = format!(
                "mapping {id} began at LATEST: records from before it, and some around its making, were never given to the function"
            );
            let hint = format!("make it anew: journal unprotect {table} --yes, then journal protect {table}");
            findings.push(Finding::notice("mapping-latest", text, Some(hint)));
        }
        if mapping.bisect {
            let text = format!("mapping {id} cuts a failing batch in two: more and smaller segments than needed");
            findings.push(Finding::notice("mapping-bisects", text, None));
        }
        if mapping.settings.on_failure.is_none() {
            let text = format!(
                "mapping {id} has no on-failure destination: what the function cannot take for a day would be gone"
            );
            findings.push(Finding::notice("no-destination", text, None));
        }
    }
    for mapping in sight.dead_mappings() {
        let text =
            format!("mapping {} is bound to {}, which is not the table's stream any more", mapping.id, mapping.source);
        let hint = format!(
            "once the timeline has ended it does nothing: aws lambda delete-event-source-mapping --uuid {}",
            mapping.id
        );
        findings.push(Finding::notice("dead-mapping", text, Some(hint)));
    }
    findings
}

/// The word for what is not as it ought to be.
fn code_of(sight: &Sight) -> &'static str {
    if sight.stream().is_none() {
        "stream-off"
    } else if sight.mapping().is_none() {
        "no-mapping"
    } else {
        "mapping-off"
    }
}

/// What is to be said of how far the journal is behind the table. `bound_lately` says that the mapping is so young, or was mended so lately, that it
/// may still be catching up.
#[must_use]
pub fn of_freshness(sight: &Sight, freshness: &Freshness, bound_lately: bool) -> Vec<Finding> {
    let table = &sight.table;
    let mut findings = Vec::new();
    match &freshness.reading {
        Reading::Failed(reason) => {
            let text = format!("the stream of table {table} could not be read beside the function: {reason}");
            findings.push(Finding::alarm("not-read", text, None));
        }
        Reading::Done(late) | Reading::Cut(late) if late.late > 0 => {
            let since = late.oldest_late.map_or_else(String::new, |oldest| format!(", the oldest of {oldest}"));
            let text = format!(
                "{} records of table {table} were older than {} seconds and not in the journal{since}: they are now, for the guard appended them",
                late.late, freshness.fresh_seconds
            );
            let hint = "the function is behind or fails: look at its errors, throttles and iterator age".to_owned();
            findings.push(if bound_lately {
                Finding::notice("catching-up", text, None)
            } else {
                Finding::alarm("stale", text, Some(hint))
            });
        }
        Reading::Off | Reading::Done(_) | Reading::Cut(_) => {}
    }
    if let Reading::Cut(_) = &freshness.reading {
        let text =
            format!("the stream of table {table} was not read to its end in the time there was; the next run goes on");
        findings.push(Finding::notice("not-read-through", text, None));
    }
    match (&freshness.reading, &freshness.activity) {
        (Reading::Done(_), Ok(_)) => {}
        (Reading::Done(_) | Reading::Cut(_), Err(reason)) => {
            let text = format!(
                "the write activity of table {table} is not known ({reason}): freshness rests on the stream's reading alone"
            );
            findings.push(Finding::notice("activity-unknown", text, None));
        }
        (Reading::Off | Reading::Failed(_), Err(reason)) => {
            let text = format!(
                "whether the journal is behind table {table} is not known: its stream was not read, and its write activity is not known ({reason})"
            );
            let hint = "let the guard read streams, or allow cloudwatch:GetMetricData".to_owned();
            findings.push(Finding::alarm("freshness-unknown", text, Some(hint)));
        }
        (Reading::Off | Reading::Failed(_) | Reading::Cut(_), Ok(activity)) => {
            let last = freshness.last_record;
            let behind = activity.last.filter(|written| {
                let due = written.get().saturating_add(freshness.fresh_seconds) <= freshness.now.get();
                due && last.is_none_or(|last| last.get().saturating_add(freshness.fresh_seconds) < written.get())
            });
            if let Some(written) = behind {
                let last = last.map_or("it has none".to_owned(), |last| format!("its last record is of {last}"));
                let text = format!(
                    "table {table} was written at {written}, the journal is behind: {last} (or the writes changed nothing)"
                );
                let hint = "look at the function's errors, throttles and iterator age".to_owned();
                findings.push(Finding::alarm("stale", text, Some(hint)));
            }
        }
    }
    findings
}
