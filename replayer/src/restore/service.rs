//! The service that has tables, as a restore needs it: a narrow trait, and DynamoDB behind it.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, PointInTimeRecoverySpecification, PutRequest, TableDescription, Tag, TimeToLiveSpecification,
    WriteRequest,
};
use journal::error::{Classify, Kind};
use journal::model::TableName;
use journal::table::recreate::PointInTimeRecovery;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An item in the client's types.
pub type SdkItem = HashMap<String, AttributeValue>;

/// Why a service did not do what was asked.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ServiceError {
    /// There is no such table.
    #[error("there is no such table")]
    NotFound,
    /// The name is taken.
    #[error("it is there already, or is being changed")]
    InUse,
    /// Too much at once: try again later.
    #[error("throttled: {reason}")]
    Throttled {
        /// What the service said.
        reason: String,
    },
    /// It did not answer, or failed: try again.
    #[error("no answer: {reason}")]
    Unavailable {
        /// What is known.
        reason: String,
    },
    /// Permission denied.
    #[error("permission denied: {reason}")]
    Denied {
        /// What the service said.
        reason: String,
    },
    /// It refuses the request.
    #[error("refused: {reason}")]
    Refused {
        /// What the service said.
        reason: String,
    },
    /// It answers with something that no table has.
    #[error("cannot be understood: {reason}")]
    Answer {
        /// What is wrong.
        reason: String,
    },
}

impl ServiceError {
    /// Whether trying again can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. })
    }
}

impl Classify for ServiceError {
    fn kind(&self) -> Kind {
        match self {
            Self::Throttled { .. } | Self::Unavailable { .. } => Kind::Unavailable,
            Self::InUse => Kind::Conflict,
            Self::NotFound | Self::Denied { .. } | Self::Refused { .. } => Kind::Invalid,
            Self::Answer { .. } => Kind::Corrupt,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { .. } => Some("check the permissions of the user or role that runs this command".to_owned()),
            Self::Unavailable { .. } => {
                Some("check the endpoint (AWS_ENDPOINT_URL_DYNAMODB), region and network".to_owned())
            }
            _ => None,
        }
    }
}

/// What is known of a table in the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetTable {
    /// Its ARN.
    pub arn: Option<String>,
    /// The service's own id of it; some emulators give none.
    pub id: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_milliseconds: Option<i64>,
    /// `TableStatus`.
    #[serde(skip)]
    pub status: String,
    /// Whether all its indexes can be used.
    #[serde(skip)]
    pub indexes_active: bool,
}

impl TargetTable {
    /// Why `other` is not this table; none when it is.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> Option<String> {
        if let (Some(one), Some(other)) = (&self.id, &other.id) {
            return (one != other).then(|| format!("its id is {other}, the run made {one}"));
        }
        if self.arn != other.arn {
            return Some(format!("its ARN is {other:?}, the run made {one:?}", other = other.arn, one = self.arn));
        }
        if self.created_milliseconds != other.created_milliseconds || self.created_milliseconds.is_none() {
            return Some("it was made at another time".to_owned());
        }
        None
    }

    /// Whether it can be written to and read by every index.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == "ACTIVE" && self.indexes_active
    }
}

/// A page of a scan.
#[derive(Debug, Clone, Default)]
pub struct ScanPage {
    /// The items.
    pub items: Vec<SdkItem>,
    /// Where the next page begins; none on the last page.
    pub next: Option<SdkItem>,
}

/// What a restore asks of the service.
#[async_trait]
pub trait TableService: Send + Sync + fmt::Debug {
    /// A table as it is; none when there is none.
    async fn describe(&self, table: &TableName) -> Result<Option<TargetTable>, ServiceError>;
    /// Begins to make a table.
    async fn create(&self, input: CreateTableInputBuilder) -> Result<TargetTable, ServiceError>;
    /// Puts up to 25 items, and gives back those that were not processed.
    async fn put(&self, table: &TableName, items: Vec<SdkItem>) -> Result<Vec<SdkItem>, ServiceError>;
    /// Reads a page of one of `total` segments, strongly consistent.
    async fn scan(
        &self,
        table: &TableName,
        segment: i32,
        total: i32,
        start: Option<SdkItem>,
    ) -> Result<ScanPage, ServiceError>;
    /// Switches TTL on.
    async fn set_time_to_live(&self, table: &TableName, attribute: &str) -> Result<(), ServiceError>;
    /// Adds tags.
    async fn tag(&self, arn: &str, tags: &[(String, String)]) -> Result<(), ServiceError>;
    /// Switches point-in-time recovery on.
    async fn set_recovery(&self, table: &TableName, recovery: PointInTimeRecovery) -> Result<(), ServiceError>;
    /// Switches deletion protection on.
    async fn protect(&self, table: &TableName) -> Result<(), ServiceError>;
}

/// DynamoDB, or what speaks its protocol.
#[derive(Debug, Clone)]
pub struct DynamoDb(pub Client);

#[async_trait]
impl TableService for DynamoDb {
    async fn describe(&self, table: &TableName) -> Result<Option<TargetTable>, ServiceError> {
        match self.0.describe_table().table_name(table.as_str()).send().await {
            Ok(answer) => answer
                .table
                .map(|table| Some(target(&table)))
                .ok_or_else(|| ServiceError::Answer { reason: "DescribeTable describes no table".to_owned() }),
            Err(error) => match classify(&error) {
                ServiceError::NotFound => Ok(None),
                other => Err(other),
            },
        }
    }

    async fn create(&self, input: CreateTableInputBuilder) -> Result<TargetTable, ServiceError> {
        let answer = input.send_with(&self.0).await.map_err(|error| classify(&error))?;
        let answer = answer
            .table_description
            .ok_or_else(|| ServiceError::Answer { reason: "CreateTable describes no table".to_owned() })?;
        Ok(target(&answer))
    }

    async fn put(&self, table: &TableName, items: Vec<SdkItem>) -> Result<Vec<SdkItem>, ServiceError> {
        let answer = |error: &dyn fmt::Display| ServiceError::Answer { reason: error.to_string() };
        let mut requests = Vec::with_capacity(items.len());
        for item in items {
            let put = PutRequest::builder().set_item(Some(item)).build().map_err(|error| answer(&error))?;
            requests.push(WriteRequest::builder().put_request(put).build());
        }
        // Whoever asks paces the writes, and must hear of every one that was turned away.
        let once = aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::disabled());
        let request = self.0.batch_write_item().request_items(table.as_str(), requests);
        let sent = request.customize().config_override(once).send().await;
        let left = sent.map_err(|error| classify(&error))?.unprocessed_items.unwrap_or_default();
        Ok(left.into_values().flatten().filter_map(|request| request.put_request).map(|put| put.item).collect())
    }

    async fn scan(
        &self,
        table: &TableName,
        segment: i32,
        total: i32,
        start: Option<SdkItem>,
    ) -> Result<ScanPage, ServiceError> {
        let sent = self
            .0
            .scan()
            .table_name(table.as_str())
            .segment(segment)
            .total_segments(total)
            .consistent_read(true)
            .set_exclusive_start_key(start)
            .send()
            .await;
        let answer = sent.map_err(|error| classify(&error))?;
        let next = answer.last_evaluated_key.filter(|key| !key.is_empty());
        Ok(ScanPage { items: answer.items.unwrap_or_default(), next })
    }

    async fn set_time_to_live(&self, table: &TableName, attribute: &str) -> Result<(), ServiceError> {
        let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name(attribute).build();
        let specification = specification.map_err(|error| ServiceError::Refused { reason: error.to_string() })?;
        let request = self.0.update_time_to_live().table_name(table.as_str()).time_to_live_specification(specification);
        request.send().await.map(drop).map_err(|error| classify(&error))
    }

    async fn tag(&self, arn: &str, tags: &[(String, String)]) -> Result<(), ServiceError> {
        let tags: Result<Vec<Tag>, _> =
            tags.iter().map(|(name, value)| Tag::builder().key(name).value(value).build()).collect();
        let tags = tags.map_err(|error| ServiceError::Refused { reason: error.to_string() })?;
        let request = self.0.tag_resource().resource_arn(arn).set_tags(Some(tags));
        request.send().await.map(drop).map_err(|error| classify(&error))
    }

    async fn set_recovery(&self, table: &TableName, recovery: PointInTimeRecovery) -> Result<(), ServiceError> {
        let specification = PointInTimeRecoverySpecification::builder()
            .point_in_time_recovery_enabled(true)
            .set_recovery_period_in_days(recovery.days)
            .build();
        let specification = specification.map_err(|error| ServiceError::Refused { reason: error.to_string() })?;
        let request = self
            .0
            .update_continuous_backups()
            .table_name(table.as_str())
            .point_in_time_recovery_specification(specification);
        request.send().await.map(drop).map_err(|error| classify(&error))
    }

    async fn protect(&self, table: &TableName) -> Result<(), ServiceError> {
        let request = self.0.update_table().table_name(table.as_str()).deletion_protection_enabled(true);
        request.send().await.map(drop).map_err(|error| classify(&error))
    }
}

fn target(table: &TableDescription) -> TargetTable {
    let indexes = table.global_secondary_indexes();
    TargetTable {
        arn: table.table_arn().map(str::to_owned),
        id: table.table_id().map(str::to_owned),
        created_milliseconds: table.creation_date_time().and_then(|time| time.to_millis().ok()),
        status: table.table_status().map_or_else(|| "unknown".to_owned(), |status| status.as_str().to_owned()),
        indexes_active: indexes.iter().all(|index| index.index_status().is_none_or(|s| s.as_str() == "ACTIVE")),
    }
}

pub(crate) fn classify<E>(error: &SdkError<E>) -> ServiceError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    SdkError<E>: std::error::Error,
{
    let said = || match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => DisplayErrorContext(error).to_string(),
    };
    let status = error.raw_response().map(|response| response.status().as_u16());
    match error.code() {
        Some("ResourceNotFoundException") => ServiceError::NotFound,
        Some("ResourceInUseException" | "TableAlreadyExistsException") => ServiceError::InUse,
        Some(
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "LimitExceededException",
        ) => ServiceError::Throttled { reason: said() },
        Some(
            "AccessDeniedException"
            | "UnrecognizedClientException"
            | "MissingAuthenticationToken"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "IncompleteSignature",
        ) => ServiceError::Denied { reason: said() },
        _ => match (error, status) {
            (_, Some(500..)) => ServiceError::Unavailable { reason: said() },
            (SdkError::ServiceError(_) | SdkError::ConstructionFailure(_), _) => {
                ServiceError::Refused { reason: said() }
            }
            _ => ServiceError::Unavailable { reason: said() },
        },
    }
}
