//! The control plane around a table: its stream's switch, its event source mappings, its tags, its write activity.
//!
//! One narrow trait, [`ControlPlane`], behind which AWS or a stand-in lies; each method is one attempt, and who calls it looks again before the
//! next one. What enters are table names, streams and settings; what leaves are the services' answers in the journal's words. What ought
//! to be is not known here: `protect` and `guard` decide that.

mod aws;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod mapping;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

pub use aws::AwsControl;
pub use error::ControlError;
pub use mapping::{Mapping, MappingSettings, MappingState};

use crate::model::{Second, StreamArn, TableName};

/// A table's writes in one minute or more, as its own metric says.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct WriteActivity {
    /// The beginning of the last period with any consumed write capacity; none when there was none in the time looked at.
    pub last: Option<Second>,
    /// Write units consumed in the time looked at.
    pub units: f64,
}

/// What can be asked and changed around a table. Each method is one attempt.
#[async_trait]
pub trait ControlPlane: Send + Sync + fmt::Debug {
    /// The names of all tables of the account and region.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    async fn list_tables(&self) -> Result<Vec<TableName>, ControlError>;

    /// A table's tags; none when there is no such table.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    async fn tags(&self, table: &TableName) -> Result<Option<BTreeMap<String, String>>, ControlError>;

    /// Switches the table's stream on with both images, or off. The table is `UPDATING` for a while afterwards.
    ///
    /// # Errors
    /// When the service does not answer or refuses; [`ControlError::Busy`] while the table is changed by somebody else.
    async fn switch_stream(&self, table: &TableName, on: bool) -> Result<(), ControlError>;

    /// The event source mappings of a function whose sources are table streams.
    ///
    /// # Errors
    /// When the service does not answer or refuses, or there is no such function.
    async fn mappings_of_function(&self, function: &str) -> Result<Vec<Mapping>, ControlError>;

    /// All event source mappings of a stream, whatever their function.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    async fn mappings_of_stream(&self, stream: &StreamArn) -> Result<Vec<Mapping>, ControlError>;

    /// Makes a mapping from the stream's oldest record on (`TRIM_HORIZON`), enabled.
    ///
    /// # Errors
    /// When the service does not answer or refuses; [`ControlError::Busy`] when the function has one for this stream already.
    async fn make_mapping(
        &self,
        function: &str,
        stream: &StreamArn,
        settings: &MappingSettings,
    ) -> Result<Mapping, ControlError>;

    /// Enables a mapping and gives it these settings, or switches it off and leaves its settings as they are.
    ///
    /// # Errors
    /// When the service does not answer or refuses; [`ControlError::Busy`] while it is changed by somebody else.
    async fn update_mapping(&self, id: &str, settings: Option<&MappingSettings>) -> Result<(), ControlError>;

    /// Deletes a mapping. That there is none is success.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    async fn delete_mapping(&self, id: &str) -> Result<(), ControlError>;

    /// What the table's metric `ConsumedWriteCapacityUnits` says of the time from `since` to `until`. The metric is some minutes behind.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    async fn write_activity(
        &self,
        table: &TableName,
        since: Second,
        until: Second,
    ) -> Result<WriteActivity, ControlError>;
}
