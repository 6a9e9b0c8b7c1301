//! The small JSON documents beside the segments: what they say and how they are read and written.
//!
//! Specified in FORMAT.md, "Documents". Unknown fields are kept out of the way: a newer minor version may add some.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::{Classify, Kind};
use crate::model::{KeyAttributes, Second, SequenceNumber, StreamArn, TableName};
use crate::store::{ReadStore, StoreError};

/// What `journal.json` says in its field `format`.
pub const FORMAT_NAME: &str = "dynamodb-event-journal";
/// The major version that this software reads and writes.
pub const FORMAT_MAJOR: u32 = 1;

/// What is wrong with a document or a journal as a whole.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// Not the JSON that was written.
    #[error("{location}: document {key} cannot be read: {reason}")]
    Malformed {
        /// The store.
        location: String,
        /// The object.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no `journal.json`.
    #[error("{location} is not a journal: it has no journal.json")]
    NotAJournal {
        /// The store.
        location: String,
    },
    /// Another major version.
    #[error("{location} is a journal of format version {found}, this software reads version {FORMAT_MAJOR}")]
    Version {
        /// The store.
        location: String,
        /// The version found.
        found: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for DocumentError {
    fn kind(&self) -> Kind {
        match self {
            Self::Malformed { .. } => Kind::Corrupt,
            Self::NotAJournal { .. } => Kind::Invalid,
            Self::Version { .. } => Kind::Unsupported,
            Self::Store(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { key, .. } => {
                Some(format!("an earlier version of {key} may be whole: list the versions of the object"))
            }
            Self::NotAJournal { location } => {
                Some(format!("check the location, or make a journal there: journal init --journal {location}"))
            }
            Self::Version { .. } => {
                Some("use the release of this software that wrote the journal, or a newer one".to_owned())
            }
            Self::Store(error) => error.hint(),
        }
    }
}

/// `journal.json`: this location is a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalDocument {
    /// Always [`FORMAT_NAME`].
    pub format: String,
    /// Major version; another one cannot be read.
    pub major: u32,
}

impl JournalDocument {
    /// The document of this version.
    #[must_use]
    pub fn current() -> Self {
        Self { format: FORMAT_NAME.to_owned(), major: FORMAT_MAJOR }
    }
}

/// One attribute of a table's key with its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySchemaElement {
    /// The attribute's name.
    pub name: String,
    /// `HASH` (partition key) or `RANGE` (sort key).
    pub role: String,
    /// `S`, `N` or `B`.
    #[serde(rename = "type")]
    pub key_type: String,
}

/// `table.json`: all that is needed to make the table again, as last seen in this timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableDocument {
    /// The table.
    pub table: TableName,
    /// Its stream.
    pub stream_arn: StreamArn,
    /// The service's own id of the table, where it gives one: the same for a table whose stream was switched off and on,
    /// another for a table that was deleted and made again.
    pub table_id: Option<String>,
    /// Partition key first.
    pub key_schema: Vec<KeySchemaElement>,
    /// `StreamViewType`.
    pub stream_view_type: String,
    /// When the table was made, in milliseconds since 1970, as the service says.
    pub created_milliseconds: Option<u64>,
    /// When this description was read.
    pub described_at: Second,
    /// `Table` of `DescribeTable`'s answer in its JSON wire form: attribute definitions, indexes, billing mode, throughput,
    /// table class, deletion protection, encryption.
    pub description: serde_json::Value,
    /// `TimeToLiveDescription`, in wire form, where it could be read.
    pub time_to_live: Option<serde_json::Value>,
    /// The table's tags, where they could be read.
    pub tags: Option<std::collections::BTreeMap<String, String>>,
    /// `PointInTimeRecoveryDescription`, in wire form, where it could be read.
    pub point_in_time_recovery: Option<serde_json::Value>,
    /// What could not be read, each with the reason; a restore lists it.
    pub not_read: Vec<String>,
}

/// `compactions/ID.json`: the outputs hold every record that the inputs held, and were read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionDocument {
    /// Names of segments relative to the timeline's `segments/` folder, sorted.
    pub inputs: Vec<String>,
    /// The same of what was made of them.
    pub outputs: Vec<String>,
    /// Records in the outputs.
    pub records: u64,
    /// Bytes of the inputs.
    pub bytes_in: u64,
    /// Bytes of the outputs.
    pub bytes_out: u64,
}

/// `start.json`: from when on a timeline is covered. Written once, at a follower's first sight of the stream; absent for
/// records that were ingested from files, of which nobody can say what was before them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartDocument {
    /// The first covered second.
    pub covered_from: Second,
    /// Whether the stream is known to have begun with the table, so that its records alone make the whole table. When
    /// not, a baseline is needed.
    pub whole: bool,
    /// Why that is known, or what is not.
    pub reason: String,
}

/// `end.json`: the timeline has ended, and all of it has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndDocument {
    /// When the end was seen.
    pub at: Second,
    /// `table deleted` or `stream disabled`.
    pub reason: String,
    /// The last record that was read, if there was any.
    pub last_sequence: Option<SequenceNumber>,
}

/// `checkpoints/SHARD.json`: how far one shard has been read and made durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDocument {
    /// The shard.
    pub shard: String,
    /// Its parent, where it has one.
    pub parent: Option<String>,
    /// The last durable record.
    pub last_sequence: Option<SequenceNumber>,
    /// That record's second.
    pub last_second: Option<Second>,
    /// Until when the shard is known to have been read: the time of a read that found nothing more. None until one did.
    pub read_through: Option<Second>,
    /// Whether the shard is closed and read to its end.
    pub finished: bool,
}

/// `gaps/NAME.json`: records that are known to be missing, or that cannot be ruled out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapDocument {
    /// The shard, where one is known.
    pub shard: Option<String>,
    /// The last record before the gap, where one is known.
    pub after_sequence: Option<SequenceNumber>,
    /// The first record after the gap, where one is known.
    pub before_sequence: Option<SequenceNumber>,
    /// The last second known to be complete.
    pub from: Second,
    /// The first second known to be complete again.
    pub to: Second,
    /// What happened.
    pub reason: String,
}

/// Who did something, as an audit trail says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCause {
    /// The user, role or service.
    pub principal: Option<String>,
    /// The program, such as `cloudformation.amazonaws.com`.
    pub agent: Option<String>,
    /// The address it came from.
    pub address: Option<String>,
    /// The trail's own id of the call.
    pub event_id: Option<String>,
}

/// `events/NAME.json`: something that happened to the table or its stream itself. No replay needs one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventDocument {
    /// When it happened, or was seen.
    pub at: Second,
    /// Whether `at` is only when it was seen.
    pub seen: bool,
    /// What happened, as FORMAT.md lists it.
    pub kind: String,
    /// One line for people.
    pub text: String,
    /// Who did it, where that is known.
    pub by: Option<EventCause>,
    /// More, by kind.
    pub details: serde_json::Value,
}

/// One object of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPart {
    /// The object's name in the snapshot's folder.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// CRC-32 of the whole object.
    pub crc32: u32,
    /// Items in it.
    pub items: u64,
}

/// What a snapshot of kind `fold` was made of. FORMAT.md, "Snapshots".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldDocument {
    /// The snapshot is the state at the end of this second.
    pub cut: Second,
    /// First second of the interval without a gap that it was folded in.
    pub covered_from: Option<Second>,
    /// Whether it has the whole table, as far as the journal can say: the stream began with the table, or a baseline is in it.
    pub whole: bool,
    /// The baseline that is in it, by its folder's name.
    pub baseline: Option<String>,
    /// The snapshot or baseline that it was folded from, by its folder's name.
    pub base: Option<String>,
    /// Every segment that was appended at or before this moment is in it, in seconds since 1970, as the store says.
    pub appended_through: u64,
    /// It has a tombstone of every item whose last record is a REMOVE of this second or later.
    pub horizon: Second,
    /// Highest sequence number of what is in it; none when no record is.
    pub last_sequence: Option<SequenceNumber>,
    /// Lowest second that any of its entries may have, and lowest sequence number.
    pub first: Option<(Second, SequenceNumber)>,
    /// Tombstones in all parts.
    pub tombstones: u64,
}

/// `snapshots/NAME/plan.json`: what a snapshot under way is made of. Whoever goes on with it uses this and no new listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPlanDocument {
    /// The stream.
    pub stream: StreamArn,
    /// Names and types of the key's attributes.
    pub key_attributes: KeyAttributes,
    /// What the finished snapshot will say of itself; the number of tombstones is not known yet.
    pub fold: FoldDocument,
    /// Names of the segments, relative to the timeline's `segments/` folder, each with its bytes and the second before which its
    /// records are passed over, if any.
    pub segments: Vec<(String, u64, Option<Second>)>,
    /// Records of later seconds are passed over; none when all count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Second>,
    /// A part ends with the key that brings it to this size.
    pub part_bytes_max: u64,
}

/// `snapshots/NAME/undated.json`: why no snapshot was made of what was planned. While the object is there, none is tried of it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndatedDocument {
    /// The first segment that was found to have records without a second, by its key in the store.
    pub object: String,
    /// How many it has.
    pub count: u64,
}

/// `compactions/ID/NUMBER.json`: an output of a compaction under way, and up to which key the outputs hold everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionProgress {
    /// Name of the output, relative to the timeline's `segments/` folder.
    pub output: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its records.
    pub records: u64,
    /// Its last key in hexadecimal digits.
    pub last_key: String,
    /// Records up to that key whose old image is not the new image of the record before.
    pub breaks: u64,
}

/// `snapshots/NAME/snapshot.json`: completes a snapshot. A folder without it does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDocument {
    /// `baseline`: read from the live table. `fold`: made of the journal's own records.
    pub kind: String,
    /// When the first item was read; the cut of a fold.
    pub started: Second,
    /// When the last item was read; the cut of a fold.
    pub finished: Second,
    /// Names and types of the key's attributes.
    pub key_attributes: Option<KeyAttributes>,
    /// Items in all parts.
    pub items: u64,
    /// The parts: sorted runs, each item in one of them.
    pub parts: Vec<SnapshotPart>,
    /// What a fold was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<FoldDocument>,
}

/// Reads a document; none when the object is not there.
///
/// # Errors
/// When the store fails or the object is not the JSON that was written.
pub async fn read<T: DeserializeOwned>(store: &dyn ReadStore, key: &str) -> Result<Option<T>, DocumentError> {
    let bytes = match store.get(key).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| DocumentError::Malformed {
        location: store.location().to_owned(),
        key: key.to_owned(),
        reason: error.to_string(),
    })
}

/// A document's bytes: pretty JSON with a line end, fields in the order of the type, so equal documents are equal bytes.
///
/// # Errors
/// Never for the types of this module; the encoder's error is passed on.
pub fn to_bytes<T: Serialize>(document: &T) -> Result<Bytes, DocumentError> {
    let mut bytes = serde_json::to_vec_pretty(document).map_err(|error| DocumentError::Malformed {
        location: "memory".to_owned(),
        key: std::any::type_name::<T>().to_owned(),
        reason: error.to_string(),
    })?;
    bytes.push(b'\n');
    Ok(Bytes::from(bytes))
}

/// Checks that a store holds a journal of this version.
///
/// # Errors
/// When it holds none, or one of another version.
pub async fn check_journal(store: &dyn ReadStore) -> Result<(), DocumentError> {
    let document: Option<JournalDocument> = read(store, crate::layout::JOURNAL_DOCUMENT).await?;
    match document {
        Some(document) if document.format != FORMAT_NAME => {
            Err(DocumentError::NotAJournal { location: store.location().to_owned() })
        }
        Some(document) if document.major != FORMAT_MAJOR => {
            Err(DocumentError::Version { location: store.location().to_owned(), found: document.major })
        }
        Some(_) => Ok(()),
        None => Err(DocumentError::NotAJournal { location: store.location().to_owned() }),
    }
}
