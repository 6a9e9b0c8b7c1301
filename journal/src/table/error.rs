//! What can go wrong with a live table, told from what the service answers.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

use crate::error::{Classify, Kind};
use crate::model::{StreamArn, TableName};
use crate::source::VIEW_NEEDED;

/// What can go wrong with a live table.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TableError {
    /// No such table.
    #[error("table {table} does not exist")]
    NotFound {
        /// The table.
        table: TableName,
    },
    /// It has no stream.
    #[error("table {table} has no stream, or its stream is switched off")]
    NoStream {
        /// The table.
        table: TableName,
    },
    /// Its stream does not carry both images.
    #[error("the stream of table {table} has view type {found}, a journal needs {VIEW_NEEDED}")]
    View {
        /// The table.
        table: TableName,
        /// Its stream's view type.
        found: String,
    },
    /// It cannot be read in this state.
    #[error("table {table} is {status}")]
    Status {
        /// The table.
        table: TableName,
        /// `TableStatus`.
        status: String,
    },
    /// It was deleted and made again, or its stream switched off and on, while it was read.
    #[error("table {table} got another stream while it was read: it had {before}, it has {after}")]
    Changed {
        /// The table.
        table: TableName,
        /// The stream at the start.
        before: StreamArn,
        /// What is there now.
        after: String,
    },
    /// Permission denied.
    #[error("{action} of table {table}: permission denied: {reason}")]
    Denied {
        /// The operation.
        action: &'static str,
        /// The table.
        table: TableName,
        /// What the service said.
        reason: String,
    },
    /// The service refuses the request as wrong.
    #[error("{action} of table {table} was refused: {reason}")]
    Refused {
        /// The operation.
        action: &'static str,
        /// The table.
        table: TableName,
        /// What the service said.
        reason: String,
    },
    /// Too many requests, or more capacity than the table has.
    #[error("{action} of table {table} was throttled: {reason}")]
    Throttled {
        /// The operation.
        action: &'static str,
        /// The table.
        table: TableName,
        /// What the service said.
        reason: String,
    },
    /// No answer, or the service failed inside.
    #[error("{action} of table {table} got no answer: {reason}")]
    Unavailable {
        /// The operation.
        action: &'static str,
        /// The table.
        table: TableName,
        /// What happened.
        reason: String,
    },
    /// An answer that does not say what it must.
    #[error("{action} of table {table}: the answer cannot be understood: {reason}")]
    Malformed {
        /// The operation.
        action: &'static str,
        /// The table.
        table: TableName,
        /// What is wrong with it.
        reason: String,
    },
}

impl Classify for TableError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. }
            | Self::NoStream { .. }
            | Self::View { .. }
            | Self::Denied { .. }
            | Self::Refused { .. } => Kind::Invalid,
            Self::Changed { .. } => Kind::Conflict,
            Self::Status { .. } | Self::Throttled { .. } | Self::Unavailable { .. } => Kind::Unavailable,
            Self::Malformed { .. } => Kind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { .. } => {
                "check the name, the region, the account, and AWS_ENDPOINT_URL where a local DynamoDB is meant"
                    .to_owned()
            }
            Self::NoStream { table } => format!(
                "switch it on: aws dynamodb update-table --table-name {table} \
                 --stream-specification StreamEnabled=true,StreamViewType={VIEW_NEEDED}"
            ),
            Self::View { table, .. } => format!(
                "a stream's view type cannot be changed, so switch the stream off and on again: aws dynamodb update-table \
                 --table-name {table} --stream-specification StreamEnabled=false, then, when the table is ACTIVE again, \
                 aws dynamodb update-table --table-name {table} --stream-specification \
                 StreamEnabled=true,StreamViewType={VIEW_NEEDED}; the stream gets a new ARN, so point what reads the old \
                 one at the new one, and take a baseline"
            ),
            Self::Status { .. } => "wait until it is ACTIVE, then run the same command again".to_owned(),
            Self::Changed { .. } => {
                "what was read does not count; run the same command again for the table as it is now".to_owned()
            }
            Self::Denied { action, .. } => format!("allow dynamodb:{action} on the table to this user or role"),
            Self::Throttled { .. } => "run the same command again, with a lower --read-units".to_owned(),
            Self::Unavailable { .. } => {
                "check the network, the region, the credentials and AWS_ENDPOINT_URL; then run the same command again"
                    .to_owned()
            }
            Self::Refused { .. } | Self::Malformed { .. } => return None,
        })
    }
}

impl TableError {
    /// What an SDK error says, for `action`, an operation by its name in the API.
    pub(crate) fn of<E, R>(action: &'static str, table: &TableName, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        let table = table.clone();
        let SdkError::ServiceError(answer) = error else {
            let reason = chain(error);
            return Self::Unavailable { action, table, reason };
        };
        let answer = answer.err();
        let code = answer.code().unwrap_or_default();
        let reason = match (code, answer.message()) {
            ("", None) => chain(answer),
            (code, None) => code.to_owned(),
            ("", Some(message)) => message.to_owned(),
            (code, Some(message)) => format!("{code}: {message}"),
        };
        match code {
            "ResourceNotFoundException" | "TableNotFoundException" => Self::NotFound { table },
            "AccessDeniedException"
            | "AccessDenied"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException"
            | "ExpiredTokenException"
            | "IncompleteSignatureException" => Self::Denied { action, table, reason },
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "LimitExceededException" => Self::Throttled { action, table, reason },
            "InternalServerError" | "InternalFailure" | "ServiceUnavailable" | "" => {
                Self::Unavailable { action, table, reason }
            }
            _ => Self::Refused { action, table, reason },
        }
    }
}

/// An error and what caused it, in one line. The SDK's own errors say little without their causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
