//! What a guard found and did.

use serde::Serialize;
use thiserror::Error;

use super::finding::{Finding, Level};
use crate::documents::EventDocument;
use crate::error::{Classify, Kind};
use crate::model::{Second, TableName};
use crate::source::follow::TableReport;

/// One table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableGuard {
    /// The table.
    pub table: TableName,
    /// What was found, alarms first.
    pub findings: Vec<Finding>,
    /// What was mended, in words.
    pub repairs: Vec<String>,
    /// What had happened to the table since the last look.
    pub events: Vec<EventDocument>,
    /// What reading its streams did.
    pub read: TableReport,
    /// The last second of any record of its stream, as far as the last two days go.
    pub last_record: Option<Second>,
    /// Whether there is a stream to read.
    #[serde(skip)]
    pub(super) readable: bool,
}

impl TableGuard {
    pub(super) fn new(table: TableName) -> Self {
        Self {
            table,
            findings: Vec::new(),
            repairs: Vec::new(),
            events: Vec::new(),
            read: TableReport::default(),
            last_record: None,
            readable: false,
        }
    }

    /// How many alarms it has.
    #[must_use]
    pub fn alarms(&self) -> usize {
        self.findings.iter().filter(|finding| finding.level == Level::Alarm).count()
    }
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GuardReport {
    /// When it ended.
    pub at: Second,
    /// Each table.
    pub tables: Vec<TableGuard>,
}

impl GuardReport {
    /// The error of a run that has alarms.
    ///
    /// # Errors
    /// When any table has an alarm.
    pub fn outcome(&self) -> Result<(), GuardError> {
        let failed: Vec<&TableGuard> = self.tables.iter().filter(|table| table.alarms() > 0).collect();
        if failed.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = failed.iter().take(20).map(|table| table.table.as_str()).collect();
        let more = failed.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Err(GuardError { failed: failed.len(), of: self.tables.len(), names: format!("{}{more}", names.join(", ")) })
    }
}

/// Some tables are not protected as they ought to be; what is wrong with each was reported.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{failed} of {of} tables are not protected as they ought to be: {names}")]
pub struct GuardError {
    /// Tables with an alarm.
    pub failed: usize,
    /// Tables looked at.
    pub of: usize,
    /// Their names.
    pub names: String,
}

impl Classify for GuardError {
    fn kind(&self) -> Kind {
        Kind::Gap
    }

    fn hint(&self) -> Option<String> {
        Some("each alarm above says its way out; until then changes may be lost".to_owned())
    }
}
