//! Records of the streams client, checked as strictly as JSON is, and written as JSON for quarantine.

use std::collections::HashMap;

use aws_sdk_dynamodbstreams::primitives::{Blob, DateTime};
use aws_sdk_dynamodbstreams::types::{AttributeValue as StreamValue, Record};
use bytes::Bytes;
use serde_json::json;

use super::{SdkValueError, set};
use crate::model::{AttributeValue, Attributes, NESTING_MAX, Number, Second, StreamArn, StreamRecord};
use crate::source::record::{self, Parts, RecordError};

from_sdk!(stream_value, stream_item, StreamValue, StreamValue);

/// A record of the streams client as a change record of `stream`, checked as strictly as JSON is.
///
/// # Errors
/// When it is not understood; [`raw_record`] makes what quarantine keeps of it.
pub fn stream_record(stream: &StreamArn, record: &Record) -> Result<StreamRecord, RecordError> {
    let change = record.dynamodb().ok_or(RecordError::Missing { field: "dynamodb" })?;
    let item = |part: &'static str, values: Option<&HashMap<String, StreamValue>>| {
        let item = values.map(|values| stream_item(values, NESTING_MAX)).transpose();
        item.map_err(|error| RecordError::Attribute { part, reason: error.to_string() })
    };
    let second = match change.approximate_creation_date_time() {
        Some(time) => second(time)?,
        None => None,
    };
    let user = record.user_identity().and_then(|identity| {
        record::user(identity.r#type().map(str::to_owned), identity.principal_id().map(str::to_owned))
    });
    let parts = Parts {
        event_name: record.event_name().map(aws_sdk_dynamodbstreams::types::OperationType::as_str),
        view: change.stream_view_type().map(aws_sdk_dynamodbstreams::types::StreamViewType::as_str),
        sequence: change.sequence_number(),
        second,
        keys: item("Keys", change.keys())?,
        new: item("NewImage", change.new_image())?.map(record::Item::Tree),
        old: item("OldImage", change.old_image())?.map(record::Item::Tree),
        user,
    };
    record::assemble(stream.clone(), parts)
}

/// The second of an SDK time; none for 0, which is how a time is written that was not given. Milliseconds that were taken
/// for seconds are told by their magnitude, as in JSON.
fn second(time: &DateTime) -> Result<Option<Second>, RecordError> {
    let found = || RecordError::Time { found: time.to_string() };
    let seconds = u64::try_from(time.secs()).map_err(|_| found())?;
    let seconds = if seconds >= 100_000_000_000 { seconds / 1000 } else { seconds };
    let second = Second::new(seconds).map_err(|_| found())?;
    Ok((second != Second::MIN).then_some(second))
}

/// An SDK record as JSON in Lambda's shape, with everything that the client parsed: what quarantine keeps, and what can
/// be ingested again from there.
#[must_use]
pub fn raw_record(stream: &StreamArn, record: &Record) -> Bytes {
    let mut document = json!({
        "eventID": record.event_id(),
        "eventName": record.event_name().map(aws_sdk_dynamodbstreams::types::OperationType::as_str),
        "eventVersion": record.event_version(),
        "eventSource": record.event_source(),
        "awsRegion": record.aws_region(),
        "eventSourceARN": stream.as_str(),
    });
    let change = record.dynamodb().map(|change| {
        let item =
            |values: Option<&HashMap<String, StreamValue>>| values.map(|values| raw_item(values, RAW_LEVELS_MAX));
        let time = change.approximate_creation_date_time().map(|time| {
            let whole = time.secs();
            if time.has_subsec_nanos() { json!(time.as_secs_f64()) } else { json!(whole) }
        });
        present(json!({
            "ApproximateCreationDateTime": time,
            "Keys": item(change.keys()),
            "NewImage": item(change.new_image()),
            "OldImage": item(change.old_image()),
            "SequenceNumber": change.sequence_number(),
            "SizeBytes": change.size_bytes(),
            "StreamViewType": change.stream_view_type().map(aws_sdk_dynamodbstreams::types::StreamViewType::as_str),
        }))
    });
    let user = record
        .user_identity()
        .map(|identity| present(json!({"type": identity.r#type(), "principalId": identity.principal_id()})));
    if let Some(fields) = document.as_object_mut() {
        fields.insert("dynamodb".to_owned(), json!(change));
        fields.insert("userIdentity".to_owned(), json!(user));
    }
    Bytes::from(present(document).to_string())
}

/// Levels of a quarantined item that are written out. Far more than any item has, and few enough for any stack.
const RAW_LEVELS_MAX: usize = 200;

fn present(mut document: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = document.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    document
}

fn raw_item(values: &HashMap<String, StreamValue>, levels: usize) -> serde_json::Value {
    values.iter().map(|(name, value)| (name.clone(), raw_value(value, levels))).collect()
}

fn raw_value(value: &StreamValue, levels: usize) -> serde_json::Value {
    use base64::Engine as _;
    let base64 = |blob: &Blob| base64::engine::general_purpose::STANDARD.encode(blob.as_ref());
    let Some(below) = levels.checked_sub(1) else { return json!({"~too deep": true}) };
    match value {
        StreamValue::S(text) => json!({"S": text}),
        StreamValue::N(text) => json!({"N": text}),
        StreamValue::B(blob) => json!({"B": base64(blob)}),
        StreamValue::Ss(set) => json!({"SS": set}),
        StreamValue::Ns(set) => json!({"NS": set}),
        StreamValue::Bs(set) => json!({"BS": set.iter().map(base64).collect::<Vec<_>>()}),
        StreamValue::M(map) => json!({"M": raw_item(map, below)}),
        StreamValue::L(list) => json!({"L": list.iter().map(|value| raw_value(value, below)).collect::<Vec<_>>()}),
        StreamValue::Null(value) => json!({"NULL": value}),
        StreamValue::Bool(value) => json!({"BOOL": value}),
        _ => json!({"~unknown type": true}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodbstreams::types::{
        Identity, OperationType, StreamRecord as SdkChange, StreamViewType, builders::StreamRecordBuilder,
    };

    fn stream() -> StreamArn {
        StreamArn::parse(crate::source::event::tests::ARN).unwrap()
    }

    fn change() -> StreamRecordBuilder {
        SdkChange::builder()
            .approximate_creation_date_time(DateTime::from_secs(1_585_476_000))
            .keys("noteId", StreamValue::S("a".to_owned()))
            .new_image("noteId", StreamValue::S("a".to_owned()))
            .new_image("tags", StreamValue::Ss(vec!["y".to_owned(), "x".to_owned()]))
            .sequence_number("100000000000000000000007")
            .stream_view_type(StreamViewType::NewAndOldImages)
    }

    fn record(change: StreamRecordBuilder) -> Record {
        Record::builder().event_id("e").event_name(OperationType::Insert).dynamodb(change.build()).build()
    }

    fn nested(levels: usize) -> StreamValue {
        (1..levels).fold(StreamValue::Null(true), |value, _| StreamValue::L(vec![value]))
    }

    #[test]
    fn a_record_of_the_client_is_the_record_of_its_json() {
        for record in [
            record(change()),
            record(change().approximate_creation_date_time(DateTime::from_millis(1_585_476_000_987))),
            Record::builder()
                .event_name(OperationType::Remove)
                .dynamodb(
                    SdkChange::builder()
                        .keys("n", StreamValue::N("1".to_owned()))
                        .old_image("n", StreamValue::N("1".to_owned()))
                        .old_image("b", StreamValue::B(Blob::new([0, 255])))
                        .sequence_number("1")
                        .stream_view_type(StreamViewType::NewAndOldImages)
                        .build(),
                )
                .user_identity(Identity::builder().r#type("Service").principal_id("dynamodb.amazonaws.com").build())
                .build(),
        ] {
            let decoded = stream_record(&stream(), &record).unwrap();
            let raw = raw_record(&stream(), &record);
            assert_eq!(crate::source::event::decode_record(&raw).unwrap(), decoded);
        }
    }

    #[test]
    fn a_time_in_milliseconds_is_told_and_none_stays_none() {
        let second = |change| stream_record(&stream(), &record(change)).unwrap().record.second.map(Second::get);
        let at = |seconds| change().approximate_creation_date_time(DateTime::from_secs(seconds));
        assert_eq!(second(at(1_585_476_000_987)), Some(1_585_476_000));
        assert_eq!(second(at(0)), None);
        assert_eq!(second(change().set_approximate_creation_date_time(None)), None);
        for bad in [-1, i64::MAX] {
            assert!(matches!(stream_record(&stream(), &record(at(bad))), Err(RecordError::Time { .. })));
        }
    }

    #[test]
    fn the_client_is_trusted_no_more_than_json() {
        let with = |value: StreamValue| stream_record(&stream(), &record(change().new_image("x", value)));
        let text = |text: &str| text.to_owned();
        for bad in [
            StreamValue::N(text("one")),
            StreamValue::Null(false),
            StreamValue::Ss(Vec::new()),
            StreamValue::Ss(vec![text("a"), text("a")]),
            StreamValue::Ns(vec![text("1"), text("x")]),
            StreamValue::Bs(vec![Blob::new([1]), Blob::new([1])]),
            StreamValue::M(HashMap::from([(text("y"), StreamValue::Ns(Vec::new()))])),
            nested(33),
        ] {
            let error = with(bad).unwrap_err();
            assert!(matches!(error, RecordError::Attribute { part: "NewImage", .. }), "{error}");
        }
        assert!(with(nested(32)).is_ok());
        let empty = Record::builder().build();
        assert_eq!(stream_record(&stream(), &empty), Err(RecordError::Missing { field: "dynamodb" }));
        assert!(raw_record(&stream(), &empty).starts_with(b"{"));
        let keys_only = record(change().stream_view_type(StreamViewType::KeysOnly));
        assert!(matches!(stream_record(&stream(), &keys_only), Err(RecordError::View { .. })));
    }

    #[test]
    fn a_record_that_is_not_understood_is_kept_with_all_that_the_client_parsed() {
        let record = record(change().set_sequence_number(None).new_image("x", nested(40)));
        assert!(stream_record(&stream(), &record).is_err());
        let raw: serde_json::Value = serde_json::from_slice(&raw_record(&stream(), &record)).unwrap();
        assert_eq!(raw["eventSourceARN"], stream().as_str());
        assert_eq!(raw["dynamodb"]["NewImage"]["tags"]["SS"], json!(["y", "x"]));
        assert!(raw["dynamodb"].get("SequenceNumber").is_none());
    }

    #[test]
    fn a_record_nested_without_end_is_kept_in_bounds() {
        let record = record(change().new_image("x", nested(5000)));
        assert!(stream_record(&stream(), &record).is_err());
        assert!(raw_record(&stream(), &record).len() < 5000);
    }
}
