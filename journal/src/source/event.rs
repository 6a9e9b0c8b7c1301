//! Stream records in Lambda's JSON shape, decoded strictly and straight into the model.
//!
//! What enters is the JSON of one record or of an event with `Records`; what leaves are [`StreamRecord`]s and, for what
//! is not understood, the record's own bytes with the reason. Field names that are not known are ignored. The types read
//! from any serde deserializer, so the parser can be changed. Knows nothing of files, services or segments.
//!
//! Source: "Using AWS Lambda with Amazon DynamoDB", example event, in the AWS Lambda Developer Guide, and `Record` in the
//! Amazon DynamoDB Streams API reference.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use thiserror::Error;

use super::attribute::Item;
use super::canonical::{self, EncodedItem};
use super::ignored::Ignored;
use super::record::{self, Parts, RecordError};
use super::time::{OptionalTime, Time};
use crate::append::Batch;
use crate::error::{Classify, Kind};
use crate::model::{Attributes, StreamArn, StreamRecord};

/// Lists and objects that a document may nest to be read in one pass: twice as many as attributes may, and what is around them.
const DOCUMENT_LEVELS_MAX: usize = 128;

/// Why a document is not an event of stream records.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("not an event of stream records: {reason}")]
pub struct EventError {
    /// What is wrong and where.
    pub reason: String,
}

impl Classify for EventError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("give a document of the form {\"Records\":[…]} as a DynamoDB stream sends it to a function".to_owned())
    }
}

/// Decodes one stream record.
///
/// # Errors
/// When it is not understood; [`RecordError::reason`] is what quarantine says of it.
pub fn decode_record(raw: &[u8]) -> Result<StreamRecord, RecordError> {
    decode_record_of(raw, None)
}

/// As [`decode_record`]; a record that does not name its stream is taken to be of `stream`.
///
/// # Errors
/// As [`decode_record`].
pub fn decode_record_of(raw: &[u8], stream: Option<&StreamArn>) -> Result<StreamRecord, RecordError> {
    let record: EventRecord<'_> =
        serde_json::from_slice(raw).map_err(|error| RecordError::Malformed { reason: error.to_string() })?;
    record.into_stream_record(stream)
}

/// Decodes a `{"Records":[…]}` document. Records that are not understood are in the batch as what they are: quarantined,
/// with their own bytes.
///
/// # Errors
/// When the document as a whole is not JSON or has no `Records`.
pub fn decode_event(bytes: &[u8]) -> Result<Batch, EventError> {
    if let Some(records) = decode_sound(bytes) {
        return Ok(Batch { records, quarantined: Vec::new() });
    }
    let event: Event<'_> = serde_json::from_slice(bytes).map_err(|error| EventError { reason: error.to_string() })?;
    let mut batch = Batch::default();
    for raw in event.records {
        push(&mut batch, raw.get().as_bytes(), None);
    }
    Ok(batch)
}

/// The records of a document in which everything is as it should be, in one pass. None for any other: what is wrong in it, and
/// what is to be kept aside, is found by splitting it into its records.
fn decode_sound(bytes: &[u8]) -> Option<Vec<StreamRecord>> {
    // The parser skips a value of the wrong type by a recursion that it does not bound.
    if nested_deeper_than(bytes, DOCUMENT_LEVELS_MAX) {
        return None;
    }
    let event: SoundEvent = sonic_rs::from_slice(bytes).ok()?;
    Some(event.records)
}

/// Whether JSON goes down more than `levels` lists and objects. What is no JSON may be called either.
fn nested_deeper_than(json: &[u8], levels: usize) -> bool {
    let (mut rest, mut depth) = (json, 0usize);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = behind_text(rest),
            b'[' | b'{' => {
                depth += 1;
                if depth > levels {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// What follows a text's closing quote; nothing where it has none. Looks at eight bytes at once: this is most of a document.
fn behind_text(mut json: &[u8]) -> &[u8] {
    /// The high bit of each byte that is `byte`, up to the first one; above that also of others.
    fn first_of(word: u64, byte: u8) -> u64 {
        let zero_where_equal = word ^ u64::from_ne_bytes([byte; 8]);
        zero_where_equal.wrapping_sub(u64::from_ne_bytes([0x01; 8])) & !zero_where_equal & u64::from_ne_bytes([0x80; 8])
    }
    while let Some(eight) = json.first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let found = first_of(word, b'"') | first_of(word, b'\\');
        if found == 0 {
            json = json.get(8..).unwrap_or_default();
            continue;
        }
        let at = usize::try_from(found.trailing_zeros() / 8).unwrap_or(0);
        let escape = json.get(at) == Some(&b'\\');
        json = json.get(at + 1 + usize::from(escape)..).unwrap_or_default();
        if !escape {
            return json;
        }
    }
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
    bytes.as_slice()
}

/// A document whose records are read where they stand. What it has beside them is skipped with a bound on depth, which a
/// derived reader would leave to the parser.
struct SoundEvent {
    records: Vec<StreamRecord>,
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum EventField {
    Records,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for SoundEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventVisitor;

        impl<'de> Visitor<'de> for EventVisitor {
            type Value = SoundEvent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event as an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SoundEvent, A::Error> {
                let mut records = None;
                while let Some(field) = map.next_key()? {
                    match field {
                        EventField::Records => set(&mut records, "Records", Some(map.next_value_seed(Records)?))?,
                        EventField::Other => map.next_value_seed(Ignored::default())?,
                    }
                }
                records.map(|records| SoundEvent { records }).ok_or_else(|| A::Error::missing_field("Records"))
            }
        }

        deserializer.deserialize_map(EventVisitor)
    }
}

/// Reads records and puts each together before it reads the next one: what was read of one is at hand then, and let go of.
struct Records;

impl<'de> DeserializeSeed<'de> for Records {
    type Value = Vec<StreamRecord>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records {
    type Value = Vec<StreamRecord>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of stream records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut records: Vec<StreamRecord> = Vec::new();
        while let Some(record) = sequence.next_element::<EventRecord<'_>>()? {
            records.push(record.into_record_like(None, records.last()).map_err(A::Error::custom)?);
        }
        Ok(records)
    }
}

/// Decodes a record into `batch`, as a record or as quarantined.
pub(crate) fn push(batch: &mut Batch, raw: &[u8], stream: Option<&StreamArn>) {
    match decode_record_of(raw, stream) {
        Ok(record) => batch.records.push(record),
        Err(error) => {
            let named = named_stream(raw);
            batch.quarantined.push(error.quarantine(named.as_ref().or(stream), Bytes::copy_from_slice(raw)));
        }
    }
}

/// The stream that a record names, whatever else is wrong with it.
fn named_stream(raw: &[u8]) -> Option<StreamArn> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(rename = "eventSourceARN", borrow)]
        stream: Cow<'a, str>,
    }
    let named: Named<'_> = serde_json::from_slice(raw).ok()?;
    StreamArn::parse(&named.stream).ok()
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<&'a RawValue>,
}

/// One record of an event as its JSON says it, before it is checked.
#[derive(Debug, Default)]
pub struct EventRecord<'a> {
    event_name: Option<Cow<'a, str>>,
    stream: Option<Cow<'a, str>>,
    user: Option<Identity>,
    change: Option<Change<'a>>,
}

impl EventRecord<'_> {
    /// Checks the record and takes it for what it says. `stream` is what a record is of that does not name one.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn into_stream_record(self, stream: Option<&StreamArn>) -> Result<StreamRecord, RecordError> {
        self.into_record_like(stream, None)
    }

    /// As [`EventRecord::into_stream_record`]; what is the same in `like`, the record before it, is shared with it.
    fn into_record_like(
        self,
        stream: Option<&StreamArn>,
        like: Option<&StreamRecord>,
    ) -> Result<StreamRecord, RecordError> {
        let stream = match (self.stream, stream) {
            (Some(text), _) if like.is_some_and(|like| like.stream.as_str() == text) => {
                like.map(|like| like.stream.clone()).ok_or(RecordError::Missing { field: "eventSourceARN" })?
            }
            (Some(text), _) => StreamArn::parse(&text).map_err(|error| RecordError::Stream { error })?,
            (None, Some(stream)) => stream.clone(),
            (None, None) => return Err(RecordError::Missing { field: "eventSourceARN" }),
        };
        let change = self.change.ok_or(RecordError::Missing { field: "dynamodb" })?;
        let second = change.time.map(Time::second).transpose()?.flatten();
        let parts = Parts {
            event_name: self.event_name.as_deref(),
            view: change.view.as_deref(),
            sequence: change.sequence.as_deref(),
            second,
            keys: change.keys,
            new: change.new.map(record::Item::Encoded),
            old: change.old.map(record::Item::Encoded),
            user: self.user.and_then(|identity| record::user(identity.identity_type, identity.principal_id)),
        };
        record::assemble_like(stream, parts, like.map(|like| &like.key_attributes))
    }
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum RecordField {
    #[serde(rename = "eventName")]
    EventName,
    #[serde(rename = "eventSourceARN")]
    Stream,
    #[serde(rename = "userIdentity")]
    User,
    #[serde(rename = "dynamodb")]
    Change,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for EventRecord<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordVisitor;

        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = EventRecord<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stream record as an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EventRecord<'de>, A::Error> {
                let mut record = EventRecord::default();
                while let Some(field) = map.next_key()? {
                    match field {
                        RecordField::EventName => {
                            set(&mut record.event_name, "eventName", map.next_value_seed(OptionalText)?)?;
                        }
                        RecordField::Stream => {
                            set(&mut record.stream, "eventSourceARN", map.next_value_seed(OptionalText)?)?;
                        }
                        RecordField::User => {
                            set(&mut record.user, "userIdentity", map.next_value_seed(OptionalIdentity)?)?;
                        }
                        RecordField::Change => set(&mut record.change, "dynamodb", map.next_value()?)?,
                        RecordField::Other => map.next_value_seed(Ignored::default())?,
                    }
                }
                Ok(record)
            }
        }

        deserializer.deserialize_map(RecordVisitor)
    }
}

/// `userIdentity`, spelled as Lambda does and as the streams service does.
#[derive(Debug, Default)]
struct Identity {
    identity_type: Option<String>,
    principal_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum IdentityField {
    #[serde(rename = "type", alias = "Type")]
    Type,
    #[serde(rename = "principalId", alias = "PrincipalId")]
    PrincipalId,
    #[serde(other)]
    Other,
}

/// Reads an identity that may be null.
struct OptionalIdentity;

impl<'de> DeserializeSeed<'de> for OptionalIdentity {
    type Value = Option<Identity>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for OptionalIdentity {
    type Value = Option<Identity>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user identity as an object")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut identity = Identity::default();
        while let Some(field) = map.next_key()? {
            let (place, name) = match field {
                IdentityField::Type => (&mut identity.identity_type, "type"),
                IdentityField::PrincipalId => (&mut identity.principal_id, "principalId"),
                IdentityField::Other => {
                    map.next_value_seed(Ignored::default())?;
                    continue;
                }
            };
            set(place, name, map.next_value_seed(OptionalText)?.map(Cow::into_owned))?;
        }
        Ok(Some(identity))
    }
}

/// `dynamodb`: what changed.
#[derive(Debug, Default)]
struct Change<'a> {
    time: Option<Time>,
    keys: Option<Attributes>,
    new: Option<EncodedItem>,
    old: Option<EncodedItem>,
    sequence: Option<Cow<'a, str>>,
    view: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum ChangeField {
    #[serde(rename = "ApproximateCreationDateTime")]
    Time,
    Keys,
    NewImage,
    OldImage,
    SequenceNumber,
    StreamViewType,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Change<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChangeVisitor;

        impl<'de> Visitor<'de> for ChangeVisitor {
            type Value = Change<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("what changed as an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Change<'de>, A::Error> {
                let mut change = Change::default();
                while let Some(field) = map.next_key()? {
                    match field {
                        ChangeField::Time => {
                            set(&mut change.time, "ApproximateCreationDateTime", map.next_value_seed(OptionalTime)?)?;
                        }
                        ChangeField::Keys => set(&mut change.keys, "Keys", item(&mut map, "Keys", Item)?)?,
                        ChangeField::NewImage => {
                            set(&mut change.new, "NewImage", item(&mut map, "NewImage", canonical::Item)?)?;
                        }
                        ChangeField::OldImage => {
                            set(&mut change.old, "OldImage", item(&mut map, "OldImage", canonical::Item)?)?;
                        }
                        ChangeField::SequenceNumber => {
                            set(&mut change.sequence, "SequenceNumber", map.next_value_seed(OptionalText)?)?;
                        }
                        ChangeField::StreamViewType => {
                            set(&mut change.view, "StreamViewType", map.next_value_seed(OptionalText)?)?;
                        }
                        ChangeField::Other => map.next_value_seed(Ignored::default())?,
                    }
                }
                Ok(change)
            }
        }

        deserializer.deserialize_map(ChangeVisitor)
    }
}

/// Sets a field once. `null` is as good as absent, but a second value is not.
fn set<T, E: de::Error>(field: &mut Option<T>, name: &'static str, value: Option<T>) -> Result<(), E> {
    match value {
        Some(_) if field.is_some() => Err(E::duplicate_field(name)),
        Some(_) => {
            *field = value;
            Ok(())
        }
        None => Ok(()),
    }
}

fn item<'de, A: MapAccess<'de>, S: DeserializeSeed<'de>>(
    map: &mut A,
    name: &'static str,
    seed: S,
) -> Result<Option<S::Value>, A::Error> {
    map.next_value_seed(OptionalItem(seed)).map_err(|error| A::Error::custom(format_args!("{name}: {error}")))
}

/// Reads an item that may be null by a seed.
struct OptionalItem<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for OptionalItem<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for OptionalItem<S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of attribute names and values")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

struct OptionalText;

impl<'de> DeserializeSeed<'de> for OptionalText {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for OptionalText {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
pub(crate) mod tests;
