//! Clients from AWS settings taken the standard way: profiles, `AWS_*`, `AWS_ENDPOINT_URL_*`.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use thiserror::Error;

use crate::error::{Classify, Kind};

/// The settings of the environment are not enough.
#[derive(Debug, Error)]
#[error("AWS settings name no region")]
pub struct SettingsError;

impl Classify for SettingsError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("set AWS_REGION, or name a profile with AWS_PROFILE; for a local endpoint any region will do".to_owned())
    }
}

/// The settings of the environment, with a bound on the time of every attempt.
///
/// # Errors
/// When they name no region.
pub async fn settings() -> Result<SdkConfig, SettingsError> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(30))
        .build();
    let settings = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load().await;
    if settings.region().is_none() {
        return Err(SettingsError);
    }
    Ok(settings)
}

/// A client of tables.
///
/// # Errors
/// As [`settings`].
pub async fn tables() -> Result<aws_sdk_dynamodb::Client, SettingsError> {
    Ok(aws_sdk_dynamodb::Client::new(&settings().await?))
}
