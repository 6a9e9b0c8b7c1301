//! Does the planned steps, one at a time, and looks again after each.

use std::time::Duration;

use serde::Serialize;
use tracing::{info, warn};

use super::error::ProtectError;
use super::observe::{Sight, observe};
use super::plan::{Step, Wish, plan};
use crate::control::{ControlError, ControlPlane};
use crate::error::{Kind, Result};
use crate::model::TableName;
use crate::source::follow::Clock;
use crate::source::stream::StreamService;

/// How long services are waited for, and how often a step is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until everything is as it ought to be.
    pub whole: Duration,
    /// Between two looks.
    pub poll: Duration,
    /// Failures in a row that may pass.
    pub failures_max: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { whole: Duration::from_mins(10), poll: Duration::from_secs(2), failures_max: 8 }
    }
}

/// What was done for a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Binding {
    /// The steps that were taken, in order; waits are left out.
    pub done: Vec<Step>,
    /// How it looks now.
    #[serde(skip)]
    pub sight: Sight,
}

/// Brings the stream and the mapping of a table to what ought to be: steps of the control plane alone. Nothing is done when nothing is to be done.
///
/// # Errors
/// When the table cannot be protected, a service fails for good, or it takes longer than patience has. What was done until then stands, and the
/// same call goes on from there.
pub async fn bind(
    service: &dyn StreamService,
    control: &dyn ControlPlane,
    function: &str,
    table: &TableName,
    wish: &Wish,
    clock: &dyn Clock,
    patience: Patience,
) -> Result<Binding> {
    let began = clock.running();
    let mut done: Vec<Step> = Vec::new();
    let mut failures = 0;
    loop {
        let tried = match observe(service, control, function, table).await {
            Ok(sight) => {
                let Some(step) = plan(&sight, wish)?.steps.into_iter().find(Step::is_control) else {
                    return Ok(Binding { done, sight });
                };
                let waited = clock.running().saturating_sub(began);
                if waited >= patience.whole {
                    return Err(ProtectError::Slow { table: table.clone(), step: step.to_string(), waited }.into());
                }
                let taken = act(control, function, &sight, &step).await.map_err(crate::Error::from);
                if taken.is_ok() && !step.is_wait() {
                    info!(%table, "{step}");
                    done.push(step);
                }
                taken
            }
            Err(error) => Err(error),
        };
        match tried {
            Ok(()) => failures = 0,
            // The next look shows whether it was done: an answer may have been lost.
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Conflict) => {
                failures += 1;
                if failures > patience.failures_max {
                    return Err(error);
                }
                warn!(%table, failures, "{error}; looking again");
            }
            Err(error) => return Err(error),
        }
        let doubled = patience.poll.saturating_mul(1 << failures.min(4));
        clock.sleep(doubled.min(Duration::from_secs(30))).await;
    }
}

/// Takes one step of the control plane.
async fn act(control: &dyn ControlPlane, function: &str, sight: &Sight, step: &Step) -> Result<(), ControlError> {
    match step {
        Step::SwitchOff { .. } => control.switch_stream(&sight.table, false).await,
        Step::SwitchOn => control.switch_stream(&sight.table, true).await,
        Step::MakeMapping { stream, settings } => match stream {
            Some(stream) => control.make_mapping(function, stream, settings).await.map(|_| ()),
            // It comes after a step that makes the stream, so it is never the first one.
            None => Ok(()),
        },
        Step::MendMapping { id, settings, .. } => control.update_mapping(id, Some(settings)).await,
        Step::AwaitTable { .. } | Step::AwaitMapping { .. } | Step::ReadBaseline | Step::ReadStream => Ok(()),
    }
}

/// Deletes every mapping from the table's streams to the journal's function; the ids of those deleted. Stream, table and journal stay as they are.
///
/// # Errors
/// When a service fails for good.
pub async fn unbind(
    service: &dyn StreamService,
    control: &dyn ControlPlane,
    function: &str,
    table: &TableName,
    clock: &dyn Clock,
    patience: Patience,
) -> Result<Vec<String>> {
    let began = clock.running();
    let mut deleted = Vec::new();
    let mut failures = 0;
    loop {
        let tried = async {
            let sight = observe(service, control, function, table).await?;
            for mapping in &sight.mappings {
                if !deleted.contains(&mapping.id) {
                    control.delete_mapping(&mapping.id).await?;
                    info!(%table, mapping = mapping.id, "mapping deleted");
                    deleted.push(mapping.id.clone());
                }
            }
            Ok::<_, crate::Error>(sight.mappings.len())
        }
        .await;
        match tried {
            Ok(0) => return Ok(deleted),
            Ok(left) => {
                failures = 0;
                let waited = clock.running().saturating_sub(began);
                if waited >= patience.whole {
                    let step = format!("{left} mappings are still being deleted");
                    return Err(ProtectError::Slow { table: table.clone(), step, waited }.into());
                }
            }
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Conflict) => {
                failures += 1;
                if failures > patience.failures_max {
                    return Err(error);
                }
                warn!(%table, failures, "{error}; looking again");
            }
            Err(error) => return Err(error),
        }
        clock.sleep(patience.poll).await;
    }
}
