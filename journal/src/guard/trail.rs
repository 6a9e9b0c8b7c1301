//! Calls that an audit trail shows: what `EventBridge` hands over when a table is made, changed or deleted.
//!
//! What enters are the event's bytes; what leaves is the table it is about and an event for the journal, with who did it. What the
//! guard then does is not decided here.

use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use crate::documents::{EventCause, EventDocument};
use crate::error::{Classify, Kind};
use crate::lifecycle::{API_CALL, Known};
use crate::model::{Second, TableName, Timeline};

/// Why an event is not a call about a table.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TrailError {
    /// Not JSON of the form that is expected.
    #[error("the event cannot be read: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A call that makes, changes or deletes no table.
    #[error("the event is of {call}, which makes, changes or deletes no table")]
    Call {
        /// The call.
        call: String,
    },
    /// The call's table has no sound name.
    #[error("the event of {call} names no table: {reason}")]
    Table {
        /// The call.
        call: String,
        /// What is wrong.
        reason: String,
    },
}

impl Classify for TrailError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("only rules on calls of aws.dynamodb (AWS API Call via CloudTrail) that make, change or delete tables may lead here".to_owned())
    }
}

/// Calls that make, change or delete a table.
const CALLS: [&str; 6] =
    ["CreateTable", "UpdateTable", "DeleteTable", "ImportTable", "RestoreTableFromBackup", "RestoreTableToPointInTime"];

#[derive(Deserialize)]
struct Envelope {
    detail: Detail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    event_name: String,
    event_time: Option<String>,
    #[serde(rename = "eventID")]
    event_id: Option<String>,
    error_code: Option<String>,
    user_agent: Option<String>,
    #[serde(rename = "sourceIPAddress")]
    address: Option<String>,
    #[serde(rename = "userIdentity")]
    identity: Option<Identity>,
    request_parameters: Option<Parameters>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    arn: Option<String>,
    principal_id: Option<String>,
    invoked_by: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    table_name: Option<String>,
    target_table_name: Option<String>,
    #[serde(rename = "tableCreationParameters")]
    creation: Option<Creation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Creation {
    table_name: Option<String>,
}

impl Parameters {
    /// The table that the call makes, changes or deletes.
    fn table(self) -> Option<String> {
        let made = self.creation.and_then(|creation| creation.table_name);
        self.target_table_name.or(made).or(self.table_name)
    }
}

/// A call about a table.
#[derive(Debug, Clone, PartialEq)]
pub struct TrailCall {
    /// The call, such as `DeleteTable`.
    pub call: String,
    /// The table.
    pub table: TableName,
    /// When.
    pub at: Option<Second>,
    /// Who.
    pub by: EventCause,
    /// What it failed with, where it did: then nothing happened.
    pub error: Option<String>,
}

impl TrailCall {
    /// Reads the event that a rule on an audit trail's calls hands over.
    ///
    /// # Errors
    /// When it is not such an event, or not about one table.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrailError> {
        let envelope: Envelope =
            serde_json::from_slice(bytes).map_err(|error| TrailError::Malformed { reason: error.to_string() })?;
        let detail = envelope.detail;
        let call = detail.event_name;
        if !CALLS.contains(&call.as_str()) {
            return Err(TrailError::Call { call: call.chars().take(64).collect() });
        }
        let name = detail.request_parameters.and_then(Parameters::table);
        let refuse = |reason: String| TrailError::Table { call: call.clone(), reason };
        let name = name.ok_or_else(|| refuse("its requestParameters have no table name".to_owned()))?;
        // A table may be named by its ARN.
        let name = name.rsplit_once(":table/").map_or(name.as_str(), |(_, name)| name);
        let table = TableName::parse(name).map_err(|error| refuse(error.to_string()))?;
        let at = detail.event_time.and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let at = at.and_then(|time| Second::new(u64::try_from(time.as_second()).ok()?).ok());
        let identity = detail.identity;
        let invoked_by = identity.as_ref().and_then(|identity| identity.invoked_by.clone());
        Ok(Self {
            call,
            table,
            at,
            by: EventCause {
                principal: identity.and_then(|identity| identity.arn.or(identity.principal_id)),
                agent: invoked_by.or(detail.user_agent),
                address: detail.address,
                event_id: detail.event_id,
            },
            error: detail.error_code,
        })
    }

    /// The event for the journal, its name, and the timeline it belongs to; none when the journal knows no timeline of the table.
    #[must_use]
    pub fn event(&self, known: &[Known], now: Second) -> Option<(Timeline, String, EventDocument)> {
        let at = self.at.unwrap_or(now);
        let birth = |known: &Known| known.timeline.label.birth_milliseconds().map(|milliseconds| milliseconds / 1000);
        let line = if matches!(self.call.as_str(), "UpdateTable" | "DeleteTable") {
            known.iter().rev().find(|known| birth(known).is_none_or(|birth| birth <= at.get()))
        } else {
            // The stream comes with the table, or after it.
            known.iter().find(|known| birth(known).is_some_and(|birth| birth.saturating_add(1) >= at.get()))
        };
        let line = line.or_else(|| known.last())?;
        let name = format!("api-{}", self.by.event_id.clone().unwrap_or_else(|| format!("{}-{}", self.call, at.get())));
        let agent = self.by.agent.as_ref().map(|agent| format!(" through {agent}")).unwrap_or_default();
        let failed = self.error.as_ref().map(|code| format!(", which failed: {code}")).unwrap_or_default();
        let document = EventDocument {
            at,
            seen: self.at.is_none(),
            kind: API_CALL.to_owned(),
            text: format!("{}{agent}{failed}", self.call),
            by: Some(self.by.clone()),
            details: json!({"call": self.call, "error": self.error}),
        };
        Some((line.timeline.clone(), name, document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimelineLabel;

    fn call(name: &str, parameters: &serde_json::Value) -> Result<TrailCall, TrailError> {
        let event = json!({
            "detail-type": "AWS API Call via CloudTrail", "source": "aws.dynamodb",
            "detail": {
                "eventName": name, "eventTime": "2020-03-29T10:00:00Z", "eventID": "e-1", "sourceIPAddress": "cloudformation.amazonaws.com",
                "userAgent": "cloudformation.amazonaws.com",
                "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::0:assumed-role/deploy/ci", "invokedBy": "cloudformation.amazonaws.com"},
                "requestParameters": parameters,
            }
        });
        TrailCall::parse(event.to_string().as_bytes())
    }

    #[test]
    fn a_call_says_which_table_and_who() {
        let deleted = call("DeleteTable", &json!({"tableName": "arn:aws:dynamodb:x:0:table/notes"})).unwrap();
        assert_eq!((deleted.table.as_str(), deleted.at.map(Second::get)), ("notes", Some(1_585_476_000)));
        assert_eq!(deleted.by.principal.as_deref(), Some("arn:aws:sts::0:assumed-role/deploy/ci"));
        assert_eq!(deleted.by.agent.as_deref(), Some("cloudformation.amazonaws.com"));
        let restored = call("RestoreTableFromBackup", &json!({"targetTableName": "notes"})).unwrap();
        assert_eq!(restored.table.as_str(), "notes");
        let imported = call("ImportTable", &json!({"tableCreationParameters": {"tableName": "notes"}})).unwrap();
        assert_eq!(imported.table.as_str(), "notes");
    }

    #[test]
    fn what_is_no_such_call_is_refused_by_name() {
        assert!(matches!(call("PutItem", &json!({})), Err(TrailError::Call { call }) if call == "PutItem"));
        assert!(matches!(call("DeleteTable", &json!({})), Err(TrailError::Table { .. })));
        assert!(matches!(call("DeleteTable", &json!({"tableName": "a/b"})), Err(TrailError::Table { .. })));
        assert!(matches!(TrailCall::parse(b"{}"), Err(TrailError::Malformed { .. })));
        assert!(matches!(TrailCall::parse(b"\xff"), Err(TrailError::Malformed { .. })));
    }

    #[test]
    fn a_deletion_belongs_to_the_stream_of_that_time_and_a_creation_to_the_next() {
        let known: Vec<Known> = ["2020-03-29T09:00:00.000", "2020-03-29T11:00:00.000"]
            .iter()
            .map(|label| Known {
                timeline: Timeline {
                    table: TableName::parse("notes").unwrap(),
                    label: TimelineLabel::parse(label).unwrap(),
                },
                document: None,
                ended: false,
            })
            .collect();
        let label = |name: &str| {
            let call = call(name, &json!({"tableName": "notes"})).unwrap();
            let (timeline, name, event) = call.event(&known, Second::MIN).unwrap();
            assert_eq!((name.as_str(), event.kind.as_str()), ("api-e-1", API_CALL));
            timeline.label.to_string()
        };
        assert_eq!(label("DeleteTable"), "2020-03-29T09:00:00.000");
        assert_eq!(label("CreateTable"), "2020-03-29T11:00:00.000");
        let call = call("DeleteTable", &json!({"tableName": "notes"})).unwrap();
        assert!(call.event(&[], Second::MIN).is_none());
    }
}
