//! A table's stream as the follower sees it: the I/O edge behind one trait.
//!
//! What enters are requests about tables, streams, shards and iterators; what leaves are descriptions, pages of decoded
//! records, and errors whose kinds say what a reader must do next. Retries, order and durability are not known here: an
//! implementation answers each request once. The service's rules are those of the Amazon DynamoDB Streams API reference.

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use crate::append::QuarantinedRecord;
use crate::documents::TableDocument;
use crate::error::{Classify, Kind};
use crate::model::{Second, SequenceNumber, StreamArn, StreamRecord, TableName};

/// Most bytes of a shard's id. The service says 65; the room is for other services.
const SHARD_ID_BYTES_MAX: usize = 128;

/// A shard's id, as in `shardId-00000001603136395714-5f5f5a34`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(String);

impl ShardId {
    /// Checks `text`: 1 to 128 visible ASCII characters. None when it is not.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let sound = (1..=SHARD_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        sound.then(|| Self(text.to_owned()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What can go wrong when a stream is read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum StreamError {
    /// The iterator is older than 15 minutes (`ExpiredIteratorException`): get a new one after the last record.
    #[error("{action} of {object}: the iterator has expired")]
    ExpiredIterator {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
    },
    /// Records at the position are gone, for they were older than 24 hours (`TrimmedDataAccessException`).
    #[error("{action} of {object}: the records at this position have been trimmed")]
    Trimmed {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
    },
    /// Too many requests, or too many readers of one shard.
    #[error("{action} of {object} was throttled: {reason}")]
    Throttled {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// What the service said.
        reason: String,
    },
    /// No such table, stream or shard.
    #[error("{action} of {object}: it does not exist")]
    NotFound {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
    },
    /// Permission denied.
    #[error("{action} of {object}: permission denied: {reason}")]
    Denied {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// What the service said.
        reason: String,
    },
    /// The service failed inside (`InternalServerError`; DynamoDB Local also answers a stale iterator so).
    #[error("{action} of {object}: the service failed: {reason}")]
    Internal {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// What the service said.
        reason: String,
    },
    /// No answer: network, time-out, expired credentials.
    #[error("{action} of {object} got no answer: {reason}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// What happened.
        reason: String,
    },
    /// The service refuses the request as wrong: trying again does not help.
    #[error("{action} of {object} was refused: {reason}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// What the service said.
        reason: String,
    },
    /// An answer that does not say what it must.
    #[error("{action} of {object}: the answer cannot be understood: {reason}")]
    Malformed {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StreamError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.kind(), Kind::Unavailable)
    }
}

impl Classify for StreamError {
    fn kind(&self) -> Kind {
        match self {
            Self::ExpiredIterator { .. }
            | Self::Throttled { .. }
            | Self::Internal { .. }
            | Self::Unavailable { .. }
            | Self::Malformed { .. } => Kind::Unavailable,
            Self::Trimmed { .. } => Kind::Gap,
            Self::NotFound { .. } | Self::Denied { .. } | Self::Refused { .. } => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { .. } => Some(
                "allow dynamodb:DescribeTable on the table and dynamodb:DescribeStream, dynamodb:GetShardIterator and \
                 dynamodb:GetRecords on its streams (arn:…:table/NAME/stream/*)"
                    .to_owned(),
            ),
            Self::NotFound { .. } => Some("check the table's name, the region and the account".to_owned()),
            Self::Throttled { .. } => Some("at most two readers a shard are allowed; stop one of them".to_owned()),
            Self::Internal { .. } | Self::Unavailable { .. } => Some(
                "check the network, the region, the credentials and AWS_ENDPOINT_URL; then run the same command again"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// A table's stream, as `DescribeTable` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSight {
    /// `LatestStreamArn`.
    pub arn: StreamArn,
    /// Whether the stream is switched on. A stream that was switched off stays the latest one.
    pub enabled: bool,
    /// `StreamViewType`, where the service says it.
    pub view_type: Option<String>,
}

/// A table, as `DescribeTable` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSight {
    /// `TableStatus`.
    pub status: String,
    /// `TableId`, where the service gives one.
    pub table_id: Option<String>,
    /// `CreationDateTime` in milliseconds since 1970.
    pub created_milliseconds: Option<u64>,
    /// Its latest stream, if it ever had one.
    pub stream: Option<StreamSight>,
}

impl TableSight {
    /// Whether this is the table of the description: the same id or, where there is none, the same time of creation.
    #[must_use]
    pub fn is_same_table(&self, document: &TableDocument) -> bool {
        match (&self.table_id, &document.table_id) {
            (Some(here), Some(there)) => here == there,
            _ => self.created_milliseconds.is_some() && self.created_milliseconds == document.created_milliseconds,
        }
    }
}

/// Whether a stream still gets records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStatus {
    /// `ENABLING` or `ENABLED`: it gets records.
    Enabled,
    /// `DISABLING`: it soon gets none.
    Disabling,
    /// `DISABLED`: it gets none any more, and stays readable for up to 24 hours.
    Disabled,
}

/// One shard in a stream's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// The shard it came from, possibly one that is no longer there.
    pub parent: Option<ShardId>,
    /// The first sequence number it can have.
    pub first: Option<SequenceNumber>,
    /// The last sequence number it can have; none while it is open.
    pub last: Option<SequenceNumber>,
}

/// One page of a stream's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPage {
    /// The stream's status.
    pub status: StreamStatus,
    /// `StreamViewType`, where the service says it.
    pub view_type: Option<String>,
    /// Shards, at most 100.
    pub shards: Vec<Shard>,
    /// `LastEvaluatedShardId`: the next page begins after this shard. None on the last page.
    pub next: Option<ShardId>,
}

/// Where a shard iterator begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The oldest record that has not been trimmed.
    TrimHorizon,
    /// The record after this one.
    After(SequenceNumber),
    /// This record.
    At(SequenceNumber),
}

/// A place in a shard from which records can be read for 15 minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIterator(String);

impl ShardIterator {
    /// Takes the service's text as it is.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The service's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What one read of a shard gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordsPage {
    /// At most 1,000 records, decoded; those that cannot be understood as raw bytes.
    pub records: Vec<Result<StreamRecord, QuarantinedRecord>>,
    /// Where to go on reading. None when the shard is closed and this was its end. A page without records but with a next
    /// iterator does not prove that there are none: several calls may be needed to reach the next records.
    pub next: Option<ShardIterator>,
}

/// Tables and their streams. Each method is one attempt; who calls it decides about the next.
#[async_trait]
pub trait StreamService: Send + Sync + fmt::Debug {
    /// The table as it is now, in one cheap request; none when there is no table of this name.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    async fn find_table(&self, table: &TableName) -> Result<Option<TableSight>, StreamError>;

    /// All that is needed to make the table again; none when there is no table of this name, or it has no stream.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    async fn describe_table(&self, table: &TableName, now: Second) -> Result<Option<TableDocument>, StreamError>;

    /// The streams of all tables that have or had this name, as far as they can still be read, in no order.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    async fn list_streams(&self, table: &TableName) -> Result<Vec<StreamArn>, StreamError>;

    /// One page of the stream's description, from the shard after `after`.
    ///
    /// # Errors
    /// [`StreamError::NotFound`] when there is no such stream (any more).
    async fn describe_stream(&self, stream: &StreamArn, after: Option<&ShardId>) -> Result<StreamPage, StreamError>;

    /// An iterator for a shard.
    ///
    /// # Errors
    /// [`StreamError::NotFound`] when there is no such stream or shard (any more), [`StreamError::Trimmed`] when the record
    /// of the position has been trimmed.
    async fn get_shard_iterator(
        &self,
        stream: &StreamArn,
        shard: &ShardId,
        position: Position,
    ) -> Result<ShardIterator, StreamError>;

    /// Up to 1,000 records or 1 MB from an iterator.
    ///
    /// # Errors
    /// [`StreamError::ExpiredIterator`], [`StreamError::Trimmed`], [`StreamError::Throttled`], and as the other methods.
    async fn get_records(&self, stream: &StreamArn, iterator: &ShardIterator) -> Result<RecordsPage, StreamError>;
}
