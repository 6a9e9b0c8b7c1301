//! A stream record taken for what it says: the checks that every source shares.
//!
//! What enters are a record's parts as a source spelled them; what leaves is a [`StreamRecord`] or the reason why it is
//! none. The rule is that nothing doubtful is stored as truth: a record that contradicts itself, or that may hide an
//! image, is refused here and kept whole in quarantine. Knows nothing of JSON or of the SDK.

use thiserror::Error;

use super::canonical::EncodedItem;
use crate::append::QuarantinedRecord;
use crate::error::{Classify, Kind};
use crate::model::{
    Attributes, ChangeKind, ChangeRecord, Image, ImageError, ItemKey, KeyAttributes, KeyError, Second, SequenceError,
    SequenceNumber, StreamArn, StreamArnError, StreamRecord, UserIdentity,
};

/// The view type that a journal needs.
pub const VIEW_NEEDED: &str = "NEW_AND_OLD_IMAGES";

/// Why a stream record was not understood. Its text says everything: it is stored as the reason, without a chain of sources.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RecordError {
    /// Not JSON, or not of a stream record's shape.
    #[error("not a stream record: {reason}")]
    Malformed {
        /// What is wrong and where.
        reason: String,
    },
    /// A field is not there that no record can be understood without.
    #[error("stream record has no {field}")]
    Missing {
        /// The field as the service spells it.
        field: &'static str,
    },
    /// `eventName` is none of the three.
    #[error("stream record has eventName {found:?}, not INSERT, MODIFY or REMOVE")]
    EventName {
        /// What was found, cut to 64 characters.
        found: String,
    },
    /// The stream does not carry both images.
    #[error("stream record has StreamViewType {found:?}, only {VIEW_NEEDED} shows every state")]
    View {
        /// What was found, cut to 64 characters.
        found: String,
    },
    /// An image is there, or is not there, against what the record says happened.
    #[error("{kind} record {contradiction}")]
    Contradiction {
        /// The record's own word.
        kind: &'static str,
        /// What contradicts it.
        contradiction: &'static str,
    },
    /// An image's key attributes are not those of `Keys`.
    #[error("{image} has another value than Keys in key attribute {name:?}")]
    OtherKey {
        /// `NewImage` or `OldImage`.
        image: &'static str,
        /// The attribute.
        name: String,
    },
    /// The time is none.
    #[error("ApproximateCreationDateTime {found:?} is not a time from 1970 to 9999")]
    Time {
        /// What was found, cut to 64 characters.
        found: String,
    },
    /// The sequence number is none.
    #[error("SequenceNumber: {error}")]
    Sequence {
        /// What is wrong with it.
        error: SequenceError,
    },
    /// The stream's ARN is none.
    #[error("eventSourceARN: {error}")]
    Stream {
        /// What is wrong with it.
        error: StreamArnError,
    },
    /// The key is none.
    #[error("Keys: {error}")]
    Key {
        /// What is wrong with it.
        error: KeyError,
    },
    /// An attribute is none.
    #[error("{part}: {reason}")]
    Attribute {
        /// `Keys`, `NewImage` or `OldImage`.
        part: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An image cannot be stored.
    #[error("{image}: {error}")]
    Image {
        /// `NewImage` or `OldImage`.
        image: &'static str,
        /// What is wrong with it.
        error: ImageError,
    },
}

impl Classify for RecordError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::View { .. } => format!(
                "a stream's view type cannot be changed: switch the stream off and on again with StreamViewType={VIEW_NEEDED}; it gets a new ARN"
            ),
            Self::Missing { field: "eventSourceARN" } => {
                "name the stream that the records are from: journal ingest --stream ARN".to_owned()
            }
            Self::Contradiction { .. } | Self::OtherKey { .. } => {
                "its state is in doubt, so it is kept out of history: find out what made the record, or take a baseline"
                    .to_owned()
            }
            _ => "mend a copy of the record and ingest that".to_owned(),
        })
    }
}

impl RecordError {
    /// The reason as quarantine states it: what is wrong, and what to do.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}; {hint}"),
            None => self.to_string(),
        }
    }

    /// The quarantined form of the record whose bytes are `raw`.
    #[must_use]
    pub fn quarantine(&self, stream: Option<&StreamArn>, raw: bytes::Bytes) -> QuarantinedRecord {
        QuarantinedRecord { timeline: stream.map(|arn| arn.timeline().clone()), raw, reason: self.reason() }
    }
}

/// An item as a source has it: a tree, or encoded as it was read.
#[derive(Debug)]
pub(super) enum Item {
    #[cfg_attr(not(feature = "streams"), expect(dead_code, reason = "only the client of the streams gives trees"))]
    Tree(Attributes),
    Encoded(EncodedItem),
}

impl Item {
    fn is_empty(&self) -> bool {
        match self {
            Self::Tree(attributes) => attributes.is_empty(),
            Self::Encoded(item) => item.is_empty(),
        }
    }

    /// The image without its key attributes, which must be exactly those of `keys`.
    fn without_key(self, part: &'static str, keys: &Attributes) -> Result<Image, RecordError> {
        let other_key = |name: &str| RecordError::OtherKey { image: part, name: cut_name(name) };
        let image = match self {
            Self::Encoded(item) => item.image_without(keys).map_err(other_key)?,
            Self::Tree(mut image) => {
                for (name, value) in keys {
                    match image.remove(name) {
                        Some(found) if found == *value => {}
                        _ => return Err(other_key(name)),
                    }
                }
                Image::encode(&image)
            }
        };
        image.map_err(|error| RecordError::Image { image: part, error })
    }
}

/// A record's parts as the source spelled them.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) event_name: Option<&'a str>,
    pub(super) view: Option<&'a str>,
    pub(super) sequence: Option<&'a str>,
    pub(super) second: Option<Second>,
    pub(super) keys: Option<Attributes>,
    pub(super) new: Option<Item>,
    pub(super) old: Option<Item>,
    pub(super) user: Option<UserIdentity>,
}

/// Puts a record together, or says why it cannot be one.
///
/// What is decided here, and why:
/// - `INSERT` needs a new image and may not have an old one, `REMOVE` the other way round: else it contradicts itself.
/// - `MODIFY` needs a new image. Without an old one it is taken as "there was no item" only where the record itself says
///   that the stream carries old images: some emulators call an insert that. Where it does not say so, the old image may
///   just have been left out, and "there was no item" would be made up.
/// - `REMOVE` without an old image never stands: the item that was removed would be missing at every cut before it.
/// - An image without any attribute is taken as no image: every item has its key, so no item is meant. Programs that
///   cannot express an absent image write it so.
#[cfg_attr(not(feature = "streams"), expect(dead_code, reason = "only the client of the streams gives parts"))]
pub(super) fn assemble(stream: StreamArn, parts: Parts<'_>) -> Result<StreamRecord, RecordError> {
    assemble_like(stream, parts, None)
}

/// As [`assemble`]; where the key's attributes are those of `like`, they are shared with it.
pub(super) fn assemble_like(
    stream: StreamArn,
    parts: Parts<'_>,
    like: Option<&KeyAttributes>,
) -> Result<StreamRecord, RecordError> {
    let cut = |text: &str| super::attribute::cut(text).to_owned();
    if let Some(view) = parts.view.filter(|view| *view != VIEW_NEEDED) {
        return Err(RecordError::View { found: cut(view) });
    }
    let kind = match parts.event_name.ok_or(RecordError::Missing { field: "eventName" })? {
        "INSERT" => ChangeKind::Insert,
        "MODIFY" => ChangeKind::Modify,
        "REMOVE" => ChangeKind::Remove,
        other => return Err(RecordError::EventName { found: cut(other) }),
    };
    let sequence = SequenceNumber::parse(parts.sequence.ok_or(RecordError::Missing { field: "SequenceNumber" })?)
        .map_err(|error| RecordError::Sequence { error })?;
    let keys = parts.keys.ok_or(RecordError::Missing { field: "Keys" })?;
    let key_attributes = match like {
        Some(like) if like.are_of(&keys) => like.clone(),
        _ => KeyAttributes::of(&keys).map_err(|error| RecordError::Key { error })?,
    };
    let key = ItemKey::encode(&key_attributes, &keys).map_err(|error| RecordError::Key { error })?;
    let new = parts.new.filter(|image| !image.is_empty());
    let old = parts.old.filter(|image| !image.is_empty());
    let contradiction = match (kind, &old, &new) {
        (ChangeKind::Insert | ChangeKind::Modify, _, None) => Some("has no NewImage"),
        (ChangeKind::Insert, Some(_), Some(_)) => Some("has an OldImage"),
        (ChangeKind::Remove, _, Some(_)) => Some("has a NewImage"),
        (ChangeKind::Remove, None, None) => Some("has no OldImage"),
        (ChangeKind::Modify, None, Some(_)) if parts.view.is_none() => {
            Some("has neither OldImage nor StreamViewType, so whether there was an item before is not known")
        }
        (ChangeKind::Insert, None, Some(_))
        | (ChangeKind::Modify, _, Some(_))
        | (ChangeKind::Remove, Some(_), None) => None,
    };
    if let Some(contradiction) = contradiction {
        return Err(RecordError::Contradiction { kind: kind.as_str(), contradiction });
    }
    let new = new.map(|image| image.without_key("NewImage", &keys)).transpose()?;
    let old = old.map(|image| image.without_key("OldImage", &keys)).transpose()?;
    let record = ChangeRecord { key, sequence, second: parts.second, kind, old, new, user: parts.user };
    Ok(StreamRecord { stream, key_attributes, record })
}

fn cut_name(name: &str) -> String {
    super::attribute::cut(name).to_owned()
}

/// The user of a change. A half that is missing is left empty; without either there is none.
pub(super) fn user(identity_type: Option<String>, principal_id: Option<String>) -> Option<UserIdentity> {
    (identity_type.is_some() || principal_id.is_some()).then(|| UserIdentity {
        identity_type: identity_type.unwrap_or_default(),
        principal_id: principal_id.unwrap_or_default(),
    })
}
