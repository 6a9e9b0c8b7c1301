//! What a table gets when its items are back: TTL, tags, point-in-time recovery, deletion protection.

use std::fmt;
use std::time::Duration;

use journal::model::TableName;
use journal::table::recreate::{ByHand, SettingsAfter, shell_word};
use serde::Serialize;

use super::service::{ServiceError, TableService};

/// Attempts for each setting.
const ATTEMPTS: u32 = 5;

/// A setting that could not be set, or that no restore sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// Sets what was set on the table that the journal describes. What cannot be set does not undo the restore: it is listed, with
/// what no restore sets.
/// Deletion protection comes last, so that nothing after it can fail.
pub(super) async fn apply<S: TableService + ?Sized>(
    service: &S,
    table: &TableName,
    arn: Option<&str>,
    settings: &SettingsAfter,
    pause: Duration,
) -> Vec<Unset> {
    let mut unset: Vec<Unset> = settings.by_hand.iter().map(Unset::from).collect();
    if !settings.tags.is_empty() {
        let tags: Vec<(String, String)> = settings.tags.clone().into_iter().collect();
        let shown: Vec<String> =
            tags.iter().map(|(name, value)| format!("Key={},Value={}", shell_word(name), shell_word(value))).collect();
        let result = match arn {
            Some(arn) => again(pause, || service.tag(arn, &tags)).await,
            None => Err(ServiceError::Answer { reason: "the service gives no ARN".to_owned() }),
        };
        note(&mut unset, "tags", result, || {
            let arn = arn.unwrap_or("ARN");
            format!("aws dynamodb tag-resource --resource-arn {arn} --tags {}", shown.join(" "))
        });
    }
    if let Some(recovery) = settings.point_in_time_recovery {
        let result = again(pause, || service.set_recovery(table, recovery)).await;
        note(&mut unset, "point-in-time recovery", result, || {
            let days = recovery.days.map(|days| format!(",RecoveryPeriodInDays={days}")).unwrap_or_default();
            format!(
                "aws dynamodb update-continuous-backups --table-name {table} --point-in-time-recovery-specification \
                 PointInTimeRecoveryEnabled=true{days}"
            )
        });
    }
    if let Some(attribute) = &settings.time_to_live {
        let result = again(pause, || service.set_time_to_live(table, attribute)).await;
        note(&mut unset, "TTL", result, || {
            format!(
                "aws dynamodb update-time-to-live --table-name {table} --time-to-live-specification \
                 Enabled=true,AttributeName={}",
                shell_word(attribute)
            )
        });
    }
    if settings.deletion_protection {
        let result = again(pause, || service.protect(table)).await;
        note(&mut unset, "deletion protection", result, || {
            format!("aws dynamodb update-table --table-name {table} --deletion-protection-enabled")
        });
    }
    unset
}

pub(super) fn note(
    unset: &mut Vec<Unset>,
    setting: &str,
    result: Result<(), ServiceError>,
    command: impl FnOnce() -> String,
) {
    if let Err(error) = result {
        unset.push(Unset { setting: setting.to_owned(), reason: error.to_string(), command: command() });
    }
}

/// Tries a few times: one setting at a time may be changed, and the table may still be busy with the one before.
pub(super) async fn again<F: Future<Output = Result<(), ServiceError>>>(
    pause: Duration,
    mut call: impl FnMut() -> F,
) -> Result<(), ServiceError> {
    let mut attempt = 1;
    loop {
        match call().await {
            Err(error) if (error.is_transient() || error == ServiceError::InUse) && attempt < ATTEMPTS => {
                crate::table_write::back_off(pause, attempt).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}
