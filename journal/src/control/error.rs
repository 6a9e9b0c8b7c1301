//! What can go wrong around a table, told from what the services answer.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use thiserror::Error;

use crate::error::{Classify, Kind};

/// What can go wrong around a table.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ControlError {
    /// No such table, function or mapping.
    #[error("{action} of {object}: it does not exist: {reason}")]
    NotFound {
        /// The operation.
        action: &'static str,
        /// On what.
        object: String,
        /// What the service said.
        reason: String,
    },
    /// It is being changed, or is there already: look again.
    #[error("{action} of {object}: it is being changed or is there already: {reason}")]
    Busy {
        /// The operation.
        action: &'static str,
        /// On what.
        object: String,
        /// What the service said.
        reason: String,
    },
    /// Permission denied.
    #[error("{action} of {object}: permission denied: {reason}")]
    Denied {
        /// The operation.
        action: &'static str,
        /// On what.
        object: String,
        /// What the service said.
        reason: String,
    },
    /// The service refuses the request as wrong.
    #[error("{action} of {object} was refused: {reason}")]
    Refused {
        /// The operation.
        action: &'static str,
        /// On what.
        object: String,
        /// What the service said.
        reason: String,
    },
    /// Too many requests.
    #[error("{action} of {object} was throttled: {reason}")]
    Throttled {
        /// The operation.
        action: &'static str,
        /// On what.
        object: String,
        /// What the service said.
        reason: String,
    },
    /// No answer, or the service failed inside.
    #[error("{action} of {object} got no answer: {reason}")]
    Unavailable {
        /// The operation.
        action: &'static str,
        /// On what.
        object: String,
        /// What happened.
        reason: String,
    },
    /// An answer that does not say what it must.
    #[error("{action} of {object}: the answer cannot be understood: {reason}")]
    Malformed {
        /// The operation.
        action: &'static str,
        /// On what.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ControlError {
    /// Whether the same thing may work when the state was looked at again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Throttled { .. } | Self::Unavailable { .. })
    }

    /// What an SDK error says, for `action`, an operation by its name in the API.
    pub(super) fn of<E, R>(action: &'static str, object: impl Into<String>, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        let object = object.into();
        let SdkError::ServiceError(refused) = error else {
            return Self::Unavailable { action, object, reason: DisplayErrorContext(error).to_string() };
        };
        let code = refused.err().code().unwrap_or_default();
        let reason = match (code, refused.err().message()) {
            ("", None) => DisplayErrorContext(error).to_string(),
            (code, None) => code.to_owned(),
            ("", Some(message)) => message.to_owned(),
            (code, Some(message)) => format!("{code}: {message}"),
        };
        match code {
            "ResourceNotFoundException" | "TableNotFoundException" => Self::NotFound { action, object, reason },
            "ResourceInUseException" | "ResourceConflictException" => Self::Busy { action, object, reason },
            "AccessDeniedException"
            | "AccessDenied"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignature"
            | "ExpiredTokenException"
            | "ExpiredToken" => Self::Denied { action, object, reason },
            "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            | "LimitExceededException"
            | "RequestLimitExceeded" => Self::Throttled { action, object, reason },
            "ServiceException"
            | "InternalServerError"
            | "InternalFailure"
            | "InternalServiceError"
            | "ServiceUnavailable"
            | "InternalServiceFault"
            | "" => Self::Unavailable { action, object, reason },
            _ => Self::Refused { action, object, reason },
        }
    }
}

/// The permission that an operation needs.
fn permission(action: &str) -> String {
    match action {
        "ListTables" | "ListTagsOfResource" | "UpdateTable" | "DescribeTable" => format!("dynamodb:{action}"),
        "GetMetricData" => format!("cloudwatch:{action}"),
        action => format!("lambda:{action}"),
    }
}

impl Classify for ControlError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } | Self::Denied { .. } | Self::Refused { .. } => Kind::Invalid,
            Self::Busy { .. } => Kind::Conflict,
            Self::Throttled { .. } | Self::Unavailable { .. } => Kind::Unavailable,
            Self::Malformed { .. } => Kind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { action: "ListEventSourceMappings" | "CreateEventSourceMapping", .. } => {
                "deploy the journal's stack first, or name its function with --function or JOURNAL_FUNCTION".to_owned()
            }
            Self::NotFound { .. } => "check the name, the region, the account and AWS_ENDPOINT_URL".to_owned(),
            Self::Busy { .. } => "somebody else changes it: run the same command again in a minute".to_owned(),
            Self::Denied { action, .. } => format!("allow {} to this user or role", permission(action)),
            Self::Throttled { .. } | Self::Unavailable { .. } => {
                "check the network, the region, the credentials and AWS_ENDPOINT_URL; then run the same command again"
                    .to_owned()
            }
            Self::Refused { .. } | Self::Malformed { .. } => return None,
        })
    }
}
