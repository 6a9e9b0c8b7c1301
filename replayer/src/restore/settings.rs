//! What a table gets when its items are back: TTL, tags, point-in-time recovery, deletion protection.

use std::fmt;
use std::time::Duration;

use journal::interrupt::Interrupt;
use journal::model::TableName;
use journal::table::recreate::{ByHand, SettingsAfter, shell_word};
use serde::{Deserialize, Serialize};

use super::error::RestoreError;
use super::service::{ServiceError, TableService};
use crate::table_write::back_off;

/// Attempts for each setting: with the waits between them they take more than a minute, for a change of the table before may take
/// as long.
const ATTEMPTS: u32 = 12;

/// A setting that could not be set, or that no restore sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unset {
    /// What it is.
    pub setting: String,
    /// What the service said, or why nobody asked it.
    pub reason: String,
    /// The command that sets it.
    pub command: String,
}

impl From<&ByHand> for Unset {
    fn from(ByHand { setting, reason, command }: &ByHand) -> Self {
        Self { setting: setting.clone(), reason: reason.clone(), command: command.clone() }
    }
}

impl fmt::Display for Unset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not set ({}): {}", self.setting, self.reason, self.command)
    }
}

/// Sets one setting after the other, and keeps what could not be set.
pub(super) struct Setter<'a> {
    table: &'a TableName,
    pause: Duration,
    interrupt: &'a Interrupt,
    unset: Vec<Unset>,
}

impl<'a> Setter<'a> {
    /// Of a table, with this wait before a first retry.
    pub(super) fn new(table: &'a TableName, pause: Duration, interrupt: &'a Interrupt) -> Self {
        Self { table, pause, interrupt, unset: Vec::new() }
    }

    /// What could not be set.
    pub(super) fn unset(self) -> Vec<Unset> {
        self.unset
    }

    /// Sets a setting by `call`, which is tried again while the table is busy with another change or the service does not answer.
    /// Where it cannot be set, that is kept with the `command` that does it.
    ///
    /// # Errors
    /// When the user stops it.
    pub(super) async fn set<F: Future<Output = Result<(), ServiceError>>>(
        &mut self,
        setting: &str,
        command: impl FnOnce() -> String,
        mut call: impl FnMut() -> F,
    ) -> Result<(), RestoreError> {
        let stopped = || RestoreError::Interrupted { doing: "setting up", table: self.table.clone() };
        for attempt in 1.. {
            if self.interrupt.requested() {
                return Err(stopped());
            }
            let Err(error) = call().await else { break };
            if attempt == ATTEMPTS || !(error.is_transient() || error == ServiceError::InUse) {
                let (setting, reason) = (setting.to_owned(), error.to_string());
                self.unset.push(Unset { setting, reason, command: command() });
                break;
            }
            tokio::select! {
                () = back_off(self.pause, attempt) => {}
                () = self.interrupt.wait() => return Err(stopped()),
            }
        }
        Ok(())
    }
}

/// Sets what was set on the table that the journal describes. What cannot be set does not undo the restore: `setter` keeps it.
/// Deletion protection comes last, so that nothing after it can fail.
///
/// # Errors
/// When the user stops it.
pub(super) async fn apply<S: TableService + ?Sized>(
    service: &S,
    arn: Option<&str>,
    settings: &SettingsAfter,
    setter: &mut Setter<'_>,
) -> Result<(), RestoreError> {
    let table = setter.table;
    if !settings.tags.is_empty() {
        let tags: Vec<(String, String)> = settings.tags.clone().into_iter().collect();
        let command = || {
            let shown =
                tags.iter().map(|(name, value)| format!("Key={},Value={}", shell_word(name), shell_word(value)));
            let (arn, shown) = (arn.unwrap_or("ARN"), shown.collect::<Vec<_>>().join(" "));
            format!("aws dynamodb tag-resource --resource-arn {arn} --tags {shown}")
        };
        let tag = async || match arn {
            Some(arn) => service.tag(arn, &tags).await,
            None => Err(ServiceError::Answer { reason: "the service gives no ARN".to_owned() }),
        };
        setter.set("tags", command, tag).await?;
    }
    if let Some(recovery) = settings.point_in_time_recovery {
        let command = || {
            let days = recovery.days.map(|days| format!(",RecoveryPeriodInDays={days}")).unwrap_or_default();
            format!(
                "aws dynamodb update-continuous-backups --table-name {table} --point-in-time-recovery-specification \
                 PointInTimeRecoveryEnabled=true{days}"
            )
        };
        setter.set("point-in-time recovery", command, || service.set_recovery(table, recovery)).await?;
    }
    if let Some(attribute) = &settings.time_to_live {
        let command = || {
            format!(
                "aws dynamodb update-time-to-live --table-name {table} --time-to-live-specification \
                 Enabled=true,AttributeName={}",
                shell_word(attribute)
            )
        };
        setter.set("TTL", command, || service.set_time_to_live(table, attribute)).await?;
    }
    if settings.deletion_protection {
        let command = || format!("aws dynamodb update-table --table-name {table} --deletion-protection-enabled");
        setter.set("deletion protection", command, || service.protect(table)).await?;
    }
    Ok(())
}
