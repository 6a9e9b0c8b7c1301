//! The steps from what is there to what ought to be.
//!
//! Pure: a look and a wish go in, steps in order come out. Nothing is done here, and nothing asks whether it is to be done.

use std::fmt;

use serde::Serialize;

use super::error::{ProtectError, meaning};
use super::observe::Sight;
use crate::control::{MappingSettings, MappingState};
use crate::model::{StreamArn, TableName};
use crate::source::VIEW_NEEDED;

/// What ought to be done for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each allows one thing, and none implies another")]
pub struct Wish {
    /// How the mapping reads.
    pub settings: MappingSettings,
    /// The stream may be switched on.
    pub switch_on: bool,
    /// A stream with another view type may be switched off and on.
    pub replace_stream: bool,
    /// A baseline is to be read.
    pub baseline: bool,
    /// The stream is to be read as far as it goes.
    pub read: bool,
}

/// One step: one call, or one thing to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Wait until the table is `ACTIVE`.
    AwaitTable {
        /// Its status.
        status: String,
    },
    /// Switch the stream off.
    SwitchOff {
        /// Its view type.
        view: String,
    },
    /// Switch the stream on with both images.
    SwitchOn,
    /// Make the mapping; the stream is none where it is made by an earlier step.
    MakeMapping {
        /// The stream.
        stream: Option<StreamArn>,
        /// The settings.
        settings: MappingSettings,
    },
    /// Enable the mapping, or take away a setting that loses records.
    MendMapping {
        /// The mapping.
        id: String,
        /// What is wrong with it.
        because: String,
        /// The settings.
        settings: MappingSettings,
    },
    /// Wait until the mapping is enabled.
    AwaitMapping {
        /// The mapping, where it is there.
        id: Option<String>,
    },
    /// Read the table into a snapshot.
    ReadBaseline,
    /// Read the stream as far as it goes, and append what the journal does not have.
    ReadStream,
}

impl Step {
    /// Whether it is one of the service's settings, rather than of the journal's contents.
    #[must_use]
    pub fn is_control(&self) -> bool {
        !matches!(self, Self::ReadBaseline | Self::ReadStream)
    }

    /// Whether it only waits.
    #[must_use]
    pub fn is_wait(&self) -> bool {
        matches!(self, Self::AwaitTable { .. } | Self::AwaitMapping { .. })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitTable { status } if status == "ACTIVE" => write!(f, "wait until the table is ACTIVE again"),
            Self::AwaitTable { status } => write!(f, "wait until the table, which is {status}, is ACTIVE"),
            Self::SwitchOff { view } => write!(f, "switch the stream off (its view type is {view})"),
            Self::SwitchOn => write!(f, "switch a stream on with {VIEW_NEEDED}"),
            Self::MakeMapping { stream, settings } => {
                let stream = stream.as_ref().map_or("the new stream".to_owned(), ToString::to_string);
                write!(
                    f,
                    "make the mapping from {stream}: TRIM_HORIZON, {} records or {} s a batch, {} at a time, retried until a record expires",
                    settings.batch_records, settings.window_seconds, settings.parallelization
                )?;
                match &settings.on_failure {
                    Some(arn) => write!(f, ", what expires goes to {arn}"),
                    None => write!(f, ", no destination for what expires"),
                }
            }
            Self::MendMapping { id, because, .. } => write!(f, "mend mapping {id}: {because}"),
            Self::AwaitMapping { id: Some(id) } => write!(f, "wait until mapping {id} is enabled"),
            Self::AwaitMapping { id: None } => write!(f, "wait until the mapping is enabled"),
            Self::ReadBaseline => write!(f, "read the table into a baseline"),
            Self::ReadStream => {
                write!(f, "read the stream as far as it goes, and append what the journal does not have")
            }
        }
    }
}

/// All steps for one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The table.
    pub table: TableName,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// Plans what is to be done for a table.
///
/// # Errors
/// When the table cannot be protected as it is, or only by what the wish does not allow.
pub fn plan(sight: &Sight, wish: &Wish) -> Result<Plan, ProtectError> {
    let table = sight.table.clone();
    let Some(state) = &sight.state else { return Err(ProtectError::NoTable { table }) };
    let mut steps = Vec::new();
    match state.status.as_str() {
        // A service that says nothing is taken at its answer.
        "ACTIVE" | "" => {}
        "CREATING" | "UPDATING" => steps.push(Step::AwaitTable { status: state.status.clone() }),
        _ => return Err(ProtectError::Status { table, status: state.status.clone() }),
    }
    let again = || Step::AwaitTable { status: "ACTIVE".to_owned() };
    let on = state.stream.as_ref().filter(|stream| stream.enabled);
    let view = on.map(|stream| stream.view_type.clone().unwrap_or_else(|| "unknown".to_owned()));
    let stays = match view {
        None if !wish.switch_on => return Err(ProtectError::NoStream { table }),
        None => {
            steps.extend([Step::SwitchOn, again()]);
            false
        }
        Some(found) if found != VIEW_NEEDED => {
            if !wish.replace_stream {
                let meaning = meaning(&found);
                return Err(ProtectError::View { table, found, meaning });
            }
            steps.extend([Step::SwitchOff { view: found }, again(), Step::SwitchOn, again()]);
            false
        }
        Some(_) => true,
    };
    let mapping = if stays { sight.mapping() } else { None };
    let settings = || wish.settings.clone();
    match mapping {
        None => {
            let stream = on.filter(|_| stays).map(|stream| stream.arn.clone());
            steps.extend([Step::MakeMapping { stream, settings: settings() }, Step::AwaitMapping { id: None }]);
        }
        Some(mapping) => {
            let id = mapping.id.clone();
            if mapping.filters > 0 {
                return Err(ProtectError::Filters { table, id, filters: mapping.filters });
            }
            let wait = Step::AwaitMapping { id: Some(id.clone()) };
            let losing = mapping.loses().map(|loses| format!("it {loses}"));
            // A destination that is wished for and missing is given; every other difference is somebody's choice.
            let settings = MappingSettings {
                on_failure: mapping.settings.on_failure.clone().or_else(|| wish.settings.on_failure.clone()),
                ..mapping.settings.clone()
            };
            let mend = |because: String| Step::MendMapping { id: id.clone(), because, settings };
            match (&mapping.state, losing) {
                (MappingState::Changing, _) => steps.push(wait),
                (MappingState::Deleting, _) => steps.extend([
                    wait,
                    Step::MakeMapping { stream: on.map(|stream| stream.arn.clone()), settings: wish.settings.clone() },
                    Step::AwaitMapping { id: None },
                ]),
                (MappingState::Disabled, losing) => {
                    let because = losing.map_or(String::new(), |losing| format!(", and {losing}"));
                    steps.extend([mend(format!("it is disabled{because}")), wait]);
                }
                (MappingState::Enabled, Some(losing)) => steps.extend([mend(losing), wait]),
                (MappingState::Enabled, None) => {}
            }
        }
    }
    if wish.baseline {
        steps.push(Step::ReadBaseline);
    }
    if wish.read {
        steps.push(Step::ReadStream);
    }
    Ok(Plan { table, steps })
}
