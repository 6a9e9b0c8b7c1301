//! Which task an invocation asks for.

use serde_json::Value;
use thiserror::Error;

use crate::error::{Classify, Kind};
use crate::guard::trail::{TrailCall, TrailError};
use crate::model::{TableName, TableNameError};

/// Why an invocation asks for nothing that can be done.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TaskError {
    /// Neither a task nor a call.
    #[error("the event has neither a task nor the detail of a call: {start}")]
    Neither {
        /// The event's beginning.
        start: String,
    },
    /// No such task.
    #[error("there is no task {task:?}")]
    Unknown {
        /// The task.
        task: String,
    },
    /// The tables are not a list of names.
    #[error("the event's tables are not a list of table names: {reason}")]
    Tables {
        /// What is wrong.
        reason: String,
    },
    /// The call cannot be read.
    #[error(transparent)]
    Call(#[from] TrailError),
    /// It was done for some tables and failed for others; the log names each.
    #[error("upkeep failed for {count} tables, the first is {first}: {reason}")]
    Failed {
        /// Tables it failed for.
        count: usize,
        /// The first of them.
        first: TableName,
        /// Why it failed there.
        reason: String,
        /// What the caller can do about that.
        kind: Kind,
    },
}

impl Classify for TaskError {
    fn kind(&self) -> Kind {
        match self {
            Self::Failed { kind, .. } => *kind,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Call(error) => error.hint(),
            Self::Failed { first, .. } => Some(format!("journal compact --table {first} does the same from a machine; replay verify --table {first} tells whether it is sound")),
            _ => Some(r#"invoke it with {"task":"guard"} or {"task":"upkeep"}, and "tables":["name"] where only some are meant"#.to_owned()),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Look after tables; all that ought to be protected, or these of them.
    Guard {
        /// Only these.
        tables: Option<Vec<TableName>>,
        /// The call that it runs for.
        call: Option<Box<TrailCall>>,
    },
    /// Compact tables and make the snapshots that are due; of all, or of these.
    Upkeep {
        /// Only these.
        tables: Option<Vec<TableName>>,
    },
}

impl Task {
    /// Reads an event.
    ///
    /// # Errors
    /// When it asks for nothing that can be done.
    pub fn parse(event: &Value) -> Result<Self, TaskError> {
        let Some(task) = event.get("task") else {
            if event.get("detail").is_none() {
                return Err(TaskError::Neither { start: event.to_string().chars().take(200).collect() });
            }
            let call = TrailCall::parse(event.to_string().as_bytes())?;
            return Ok(Self::Guard { tables: Some(vec![call.table.clone()]), call: Some(Box::new(call)) });
        };
        let tables = tables(event)?;
        match task.as_str() {
            Some("guard") => Ok(Self::Guard { tables, call: None }),
            Some("upkeep") => Ok(Self::Upkeep { tables }),
            _ => Err(TaskError::Unknown { task: task.as_str().map_or_else(|| task.to_string(), str::to_owned) }),
        }
    }
}

fn tables(event: &Value) -> Result<Option<Vec<TableName>>, TaskError> {
    let Some(tables) = event.get("tables").filter(|tables| !tables.is_null()) else { return Ok(None) };
    let refuse = |reason: String| TaskError::Tables { reason };
    let names = tables.as_array().ok_or_else(|| refuse("it is no list".to_owned()))?;
    let parse = |name: &Value| {
        let text = name.as_str().ok_or_else(|| refuse(format!("{name} is no text")))?;
        TableName::parse(text).map_err(|error: TableNameError| refuse(error.to_string()))
    };
    names.iter().map(parse).collect::<Result<Vec<_>, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tasks_and_calls_are_told_apart_and_nonsense_is_refused_by_name() {
        let notes = TableName::parse("notes").unwrap();
        assert_eq!(Task::parse(&json!({"task": "guard"})).unwrap(), Task::Guard { tables: None, call: None });
        let one = Task::parse(&json!({"task": "upkeep", "tables": ["notes"]})).unwrap();
        assert_eq!(one, Task::Upkeep { tables: Some(vec![notes.clone()]) });
        let call = json!({"detail": {"eventName": "DeleteTable", "requestParameters": {"tableName": "notes"}}});
        let called = Task::parse(&call).unwrap();
        assert!(matches!(called, Task::Guard { tables: Some(tables), call: Some(_) } if tables == [notes]));
        for (bad, says) in [
            (json!({}), "neither a task"),
            (json!({"task": "dance"}), "\"dance\""),
            (json!({"task": 3}), "\"3\""),
            (json!({"task": "guard", "tables": "notes"}), "no list"),
            (json!({"task": "guard", "tables": ["a/b"]}), "a/b"),
            (json!({"detail": {"eventName": "PutItem"}}), "PutItem"),
            (json!([1]), "neither a task"),
        ] {
            let error = Task::parse(&bad).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
