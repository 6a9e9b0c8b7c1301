//! The service that has tables, as a restore needs it: a narrow trait, and DynamoDB behind it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use aws_sdk_dynamodb::operation::update_table::builders::UpdateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, PointInTimeRecoverySpecification, TableDescription, Tag, TimeToLiveSpecification,
};
use journal::error::{Classify, Kind};
use journal::model::TableName;
use journal::source::sdk::item_from_sdk;
use journal::table::recreate::PointInTimeRecovery;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::batch::PutBatch;
use super::wire::{Failed, Learner, Wire};

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
    /// Puts a batch once; gives the positions of those that were not processed, in order. What is not named there is written.
    async fn put(&self, batch: &PutBatch) -> Result<Vec<usize>, ServiceError>;
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
pub struct DynamoDb {
    client: Client,
    /// How the client sends batches, once one was answered.
    wire: Arc<RwLock<Option<Arc<Wire>>>>,
}

impl DynamoDb {
    /// Through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, wire: Arc::default() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn wire(&self) -> Option<Arc<Wire>> {
        self.wire.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send_by(&self, wire: Option<Wire>) {
        *self.wire.write().unwrap_or_else(PoisonError::into_inner) = wire.map(Arc::new);
    }

    /// Changes a table. The service refuses what is so already, or is on its way: where an answer was lost, or the run that goes on
    /// had set it. So a table that refuses is looked at, and is as wanted when `is_so`.
    pub(super) async fn changed(
        &self,
        table: &TableName,
        request: UpdateTableFluentBuilder,
        is_so: impl Fn(&TableDescription) -> bool,
    ) -> Result<(), ServiceError> {
        let error = match request.send().await.map_err(|error| classify(&error)) {
            Err(error @ (ServiceError::Refused { .. } | ServiceError::InUse)) => error,
            answer => return answer.map(drop),
        };
        let found = self.client.describe_table().table_name(table.as_str()).send().await.ok();
        if found.and_then(|found| found.table).is_some_and(|found| is_so(&found)) { Ok(()) } else { Err(error) }
    }

    /// A batch the client's own way, which finds endpoint, region and credentials, and corrects the clock.
    async fn put_by_client(&self, batch: &PutBatch) -> Result<Vec<usize>, ServiceError> {
        // Whoever asks paces the writes, and must hear of every one that was turned away.
        let once = aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::disabled());
        let learner = Learner::new(batch.body());
        // The learner puts the items in.
        let request = self.client.batch_write_item().request_items(batch.table().as_str(), Vec::new());
        let sent = request.customize().config_override(once).interceptor(learner.clone()).send().await;
        let left = sent.map_err(|error| classify(&error))?.unprocessed_items.unwrap_or_default();
        self.send_by(learner.learned());
        let puts = left.into_values().flatten().map(|write| {
            let answer = |reason: &str| ServiceError::Answer { reason: reason.to_owned() };
            let put = write.put_request.ok_or_else(|| answer("BatchWriteItem gives back what is no put"))?;
            item_from_sdk(&put.item).map_err(|error| answer(&error.to_string()))
        });
        batch.positions(puts.collect::<Result<Vec<_>, _>>()?)
    }
}

#[async_trait]
impl TableService for DynamoDb {
    async fn describe(&self, table: &TableName) -> Result<Option<TargetTable>, ServiceError> {
        match self.client.describe_table().table_name(table.as_str()).send().await {
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
        let answer = input.send_with(&self.client).await.map_err(|error| classify(&error))?;
        let answer = answer
            .table_description
            .ok_or_else(|| ServiceError::Answer { reason: "CreateTable describes no table".to_owned() })?;
        Ok(target(&answer))
    }

    async fn put(&self, batch: &PutBatch) -> Result<Vec<usize>, ServiceError> {
        let Some(wire) = self.wire() else { return self.put_by_client(batch).await };
        match wire.send(batch).await {
            Ok(left) => Ok(left),
            // The client may know better: other credentials by now, or another clock.
            Err(Failed::Unsent | Failed::Answer(ServiceError::Denied { .. })) => {
                self.send_by(None);
                self.put_by_client(batch).await
            }
            Err(Failed::Answer(error)) => Err(error),
        }
    }

    async fn scan(
        &self,
        table: &TableName,
        segment: i32,
        total: i32,
        start: Option<SdkItem>,
    ) -> Result<ScanPage, ServiceError> {
        let sent = self
            .client
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
        let request =
            self.client.update_time_to_live().table_name(table.as_str()).time_to_live_specification(specification);
        match request.send().await.map_err(|error| classify(&error)) {
            // A run that goes on had set it before: the service takes that for a mistake ("TimeToLive is already enabled").
            Err(ServiceError::Refused { reason }) if reason.contains("already enabled") => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn tag(&self, arn: &str, tags: &[(String, String)]) -> Result<(), ServiceError> {
        let tags: Result<Vec<Tag>, _> =
            tags.iter().map(|(name, value)| Tag::builder().key(name).value(value).build()).collect();
        let tags = tags.map_err(|error| ServiceError::Refused { reason: error.to_string() })?;
        let request = self.client.tag_resource().resource_arn(arn).set_tags(Some(tags));
        request.send().await.map(drop).map_err(|error| classify(&error))
    }

    async fn set_recovery(&self, table: &TableName, recovery: PointInTimeRecovery) -> Result<(), ServiceError> {
        let specification = PointInTimeRecoverySpecification::builder()
            .point_in_time_recovery_enabled(true)
            .set_recovery_period_in_days(recovery.days)
            .build();
        let specification = specification.map_err(|error| ServiceError::Refused { reason: error.to_string() })?;
        let request = self
            .client
            .update_continuous_backups()
            .table_name(table.as_str())
            .point_in_time_recovery_specification(specification);
        request.send().await.map(drop).map_err(|error| classify(&error))
    }

    async fn protect(&self, table: &TableName) -> Result<(), ServiceError> {
        let request = self.client.update_table().table_name(table.as_str()).deletion_protection_enabled(true);
        self.changed(table, request, |found| found.deletion_protection_enabled() == Some(true)).await
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

/// What a service or the way to it said of a request that failed.
pub(super) struct Said<'a> {
    /// The error's code.
    pub(super) code: Option<&'a str>,
    /// The answer's status, where there was one.
    pub(super) status: Option<u16>,
    /// All of it, for people.
    pub(super) text: String,
    /// Whether the service has understood the request: asking for the same again is no use then.
    pub(super) by_service: bool,
}

impl ServiceError {
    /// The error that was meant.
    pub(super) fn of(said: &Said<'_>) -> Self {
        let reason = said.text.clone();
        match said.code {
            Some("ResourceNotFoundException") => return Self::NotFound,
            // The last is what a table answers for a while after its making when backups are to be switched on.
            Some(
                "ResourceInUseException" | "TableAlreadyExistsException" | "ContinuousBackupsUnavailableException",
            ) => {
                return Self::InUse;
            }
            Some(
                "ProvisionedThroughputExceededException"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "LimitExceededException",
            ) => return Self::Throttled { reason },
            Some(
                "AccessDeniedException"
                | "UnrecognizedClientException"
                | "MissingAuthenticationToken"
                | "InvalidSignatureException"
                | "SignatureDoesNotMatch"
                | "RequestTimeTooSkewed"
                | "ExpiredTokenException"
                | "ExpiredToken"
                | "IncompleteSignature",
            ) => return Self::Denied { reason },
            _ => {}
        }
        match (said.by_service, said.status) {
            (_, Some(500..)) => Self::Unavailable { reason },
            (_, Some(429)) => Self::Throttled { reason },
            (true, _) => Self::Refused { reason },
            (false, _) => Self::Unavailable { reason },
        }
    }
}

pub(crate) fn classify<E>(error: &SdkError<E>) -> ServiceError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    SdkError<E>: std::error::Error,
{
    let text = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => DisplayErrorContext(error).to_string(),
    };
    ServiceError::of(&Said {
        code: error.code(),
        status: error.raw_response().map(|response| response.status().as_u16()),
        text,
        by_service: matches!(error, SdkError::ServiceError(_) | SdkError::ConstructionFailure(_)),
    })
}
