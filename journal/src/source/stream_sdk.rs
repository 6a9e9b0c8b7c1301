//! The AWS SDK as a [`StreamService`].
//!
//! What enters are requests; what leaves are the service's answers in the words of [`super::stream`]. One call here is one
//! attempt there: the clients are set not to retry, for the follower must see that it is throttled.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{TableDescription, TableStatus};
use aws_sdk_dynamodbstreams::types as streams;

use super::sdk;
use super::stream::{
    Position, RecordsPage, Shard, ShardId, ShardIterator, StreamError, StreamPage, StreamService, StreamSight,
    StreamStatus, TableSight,
};
use crate::append::QuarantinedRecord;
use crate::documents::TableDocument;
use crate::model::{Second, SequenceNumber, StreamArn, TableName};
use crate::table::{self, TableError};

/// One attempt that takes longer is given up.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// One connection that takes longer to open is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages of a list of streams: a hundred streams each, of one table name in one day.
const LIST_PAGES_MAX: usize = 20;

/// Tables and streams of AWS, or of whatever endpoint the settings name.
#[derive(Debug, Clone)]
pub struct SdkStreams {
    tables: aws_sdk_dynamodb::Client,
    /// Retries by itself: a description is made of several calls, and what one of them cannot read is left out of it.
    describer: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
}

impl SdkStreams {
    /// Clients of `settings` that try each request once, in bounded time.
    #[must_use]
    pub fn new(settings: &SdkConfig) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(ATTEMPT_TIMEOUT)
            .build();
        let once = RetryConfig::disabled();
        let describer = aws_sdk_dynamodb::Client::new(settings);
        let tables = aws_sdk_dynamodb::config::Builder::from(settings)
            .retry_config(once.clone())
            .timeout_config(timeouts.clone())
            .build();
        let streams = aws_sdk_dynamodbstreams::config::Builder::from(settings)
            .retry_config(once)
            .timeout_config(timeouts)
            .build();
        Self {
            describer,
            tables: aws_sdk_dynamodb::Client::from_conf(tables),
            streams: aws_sdk_dynamodbstreams::Client::from_conf(streams),
        }
    }

    async fn table(&self, table: &TableName) -> Result<Option<TableDescription>, StreamError> {
        match self.tables.describe_table().table_name(table.as_str()).send().await {
            Ok(answer) => Ok(answer.table),
            Err(error) => match classify("DescribeTable", table.to_string(), &error) {
                StreamError::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// What an error of the SDK is to a reader.
fn classify<E, R>(action: &'static str, object: String, error: &SdkError<E, R>) -> StreamError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let SdkError::ServiceError(refused) = error else {
        let reason = DisplayErrorContext(error).to_string();
        return match error {
            SdkError::ResponseError(_) => StreamError::Malformed { action, object, reason },
            _ => StreamError::Unavailable { action, object, reason },
        };
    };
    let code = refused.err().code().unwrap_or("no code");
    let reason = match refused.err().message() {
        Some(message) => format!("{code}: {message}"),
        None => code.to_owned(),
    };
    match code {
        "ExpiredIteratorException" => StreamError::ExpiredIterator { action, object },
        "TrimmedDataAccessException" => StreamError::Trimmed { action, object },
        "ResourceNotFoundException" => StreamError::NotFound { action, object },
        "LimitExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException" => StreamError::Throttled { action, object, reason },
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "IncompleteSignature"
        | "OptInRequired" => StreamError::Denied { action, object, reason },
        // The provider fetches new credentials by itself.
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" | "RequestTimeout" => {
            StreamError::Unavailable { action, object, reason }
        }
        "ValidationException" | "UnknownOperationException" | "SerializationException" => {
            StreamError::Refused { action, object, reason }
        }
        _ => StreamError::Internal { action, object, reason },
    }
}

#[async_trait]
impl StreamService for SdkStreams {
    async fn find_table(&self, table: &TableName) -> Result<Option<TableSight>, StreamError> {
        self.table(table).await?.map(|description| sight(table, &description)).transpose()
    }

    async fn describe_table(&self, table: &TableName, now: Second) -> Result<Option<TableDocument>, StreamError> {
        let object = table.to_string();
        match table::describe(&self.describer, table, now).await {
            Ok(document) => Ok(Some(document)),
            // It changed since it was seen: the next look tells.
            Err(
                TableError::NotFound { .. }
                | TableError::NoStream { .. }
                | TableError::View { .. }
                | TableError::Changed { .. },
            ) => Ok(None),
            Err(TableError::Denied { action, reason, .. }) => Err(StreamError::Denied { action, object, reason }),
            Err(TableError::Refused { action, reason, .. }) => Err(StreamError::Refused { action, object, reason }),
            Err(TableError::Throttled { action, reason, .. }) => Err(StreamError::Throttled { action, object, reason }),
            Err(error) => Err(StreamError::Unavailable { action: "DescribeTable", object, reason: error.to_string() }),
        }
    }

    async fn list_streams(&self, table: &TableName) -> Result<Vec<StreamArn>, StreamError> {
        let mut arns = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..LIST_PAGES_MAX {
            let answer = self
                .streams
                .list_streams()
                .table_name(table.as_str())
                .set_exclusive_start_stream_arn(after.take())
                .send()
                .await
                .map_err(|error| classify("ListStreams", table.to_string(), &error))?;
            let listed = answer.streams().iter().filter_map(|stream| StreamArn::parse(stream.stream_arn()?).ok());
            arns.extend(listed.filter(|arn| arn.timeline().table == *table));
            match answer.last_evaluated_stream_arn {
                Some(last) if !last.is_empty() => after = Some(last),
                _ => break,
            }
        }
        Ok(arns)
    }

    async fn describe_stream(&self, stream: &StreamArn, after: Option<&ShardId>) -> Result<StreamPage, StreamError> {
        let action = "DescribeStream";
        let malformed =
            |reason: &str| StreamError::Malformed { action, object: stream.to_string(), reason: reason.to_owned() };
        let answer = self
            .streams
            .describe_stream()
            .stream_arn(stream.as_str())
            .set_exclusive_start_shard_id(after.map(|shard| shard.as_str().to_owned()))
            .send()
            .await
            .map_err(|error| classify(action, stream.to_string(), &error))?;
        let description = answer.stream_description().ok_or_else(|| malformed("there is no description"))?;
        let status = match description.stream_status() {
            Some(streams::StreamStatus::Disabled) => StreamStatus::Disabled,
            Some(streams::StreamStatus::Disabling) => StreamStatus::Disabling,
            Some(_) => StreamStatus::Enabled,
            None => return Err(malformed("there is no status")),
        };
        let shard_id = |text: &str| ShardId::parse(text).ok_or_else(|| malformed("a shard's id is not one"));
        let sequence = |text: Option<&str>| {
            let parsed = text.filter(|text| !text.is_empty()).map(SequenceNumber::parse).transpose();
            parsed.map_err(|error| malformed(&error.to_string()))
        };
        let shards = description
            .shards()
            .iter()
            .map(|shard| {
                let range = shard.sequence_number_range();
                Ok(Shard {
                    id: shard_id(shard.shard_id().unwrap_or_default())?,
                    parent: shard.parent_shard_id().filter(|id| !id.is_empty()).map(shard_id).transpose()?,
                    first: sequence(range.and_then(streams::SequenceNumberRange::starting_sequence_number))?,
                    last: sequence(range.and_then(streams::SequenceNumberRange::ending_sequence_number))?,
                })
            })
            .collect::<Result<_, StreamError>>()?;
        let next = description.last_evaluated_shard_id().filter(|id| !id.is_empty()).map(shard_id).transpose()?;
        let view_type = description.stream_view_type().map(|view| view.as_str().to_owned());
        Ok(StreamPage { status, view_type, shards, next })
    }

    async fn get_shard_iterator(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
        position: Position,
    ) -> Result<ShardIterator, StreamError> {
        let action = "GetShardIterator";
        let object = || format!("{shard} of {stream}");
        let (kind, sequence) = match position {
            Position::TrimHorizon => (streams::ShardIteratorType::TrimHorizon, None),
            Position::After(sequence) => (streams::ShardIteratorType::AfterSequenceNumber, Some(sequence)),
            Position::At(sequence) => (streams::ShardIteratorType::AtSequenceNumber, Some(sequence)),
        };
        let answer = self
            .streams
            .get_shard_iterator()
            .stream_arn(stream.as_str())
            .shard_id(shard.as_str())
            .shard_iterator_type(kind)
            .set_sequence_number(sequence.map(|sequence| sequence.to_string()))
            .send()
            .await
            .map_err(|error| classify(action, object(), &error))?;
        answer.shard_iterator.map(ShardIterator::new).ok_or_else(|| StreamError::Malformed {
            action,
            object: object(),
            reason: "there is no iterator".to_owned(),
        })
    }

    async fn get_records(&self, stream: &StreamArn, iterator: &ShardIterator) -> Result<RecordsPage, StreamError> {
        let answer = self
            .streams
            .get_records()
            .shard_iterator(iterator.as_str())
            .send()
            .await
            .map_err(|error| classify("GetRecords", stream.to_string(), &error))?;
        let records = answer
            .records()
            .iter()
            .map(|record| {
                sdk::stream_record(stream, record).map_err(|error| QuarantinedRecord {
                    timeline: Some(stream.timeline().clone()),
                    raw: sdk::raw_record(stream, record),
                    reason: error.to_string(),
                })
            })
            .collect();
        let next = answer.next_shard_iterator.filter(|next| !next.is_empty()).map(ShardIterator::new);
        Ok(RecordsPage { records, next })
    }
}

fn sight(table: &TableName, description: &TableDescription) -> Result<TableSight, StreamError> {
    let specification = description.stream_specification();
    let stream = match description.latest_stream_arn().filter(|arn| !arn.is_empty()) {
        None => None,
        Some(arn) => Some(StreamSight {
            arn: StreamArn::parse(arn).map_err(|error| StreamError::Malformed {
                action: "DescribeTable",
                object: table.to_string(),
                reason: error.to_string(),
            })?,
            enabled: specification.is_some_and(aws_sdk_dynamodb::types::StreamSpecification::stream_enabled),
            view_type: specification
                .and_then(|specification| specification.stream_view_type())
                .map(|view| view.as_str().to_owned()),
        }),
    };
    Ok(TableSight {
        status: description.table_status().map(TableStatus::as_str).unwrap_or_default().to_owned(),
        table_id: description.table_id().map(str::to_owned),
        created_milliseconds: description
            .creation_date_time()
            .and_then(|time| time.to_millis().ok())
            .and_then(|milliseconds| u64::try_from(milliseconds).ok()),
        stream,
    })
}
