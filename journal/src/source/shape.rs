//! Which records a JSON document holds, told by its shape.
//!
//! What enters is one document; what leaves are the raw bytes of its records, in order. Four shapes of AWS are known: an event
//! with `Records`, what an event source mapping leaves in S3 when it gives a batch up, a list of records, and one record.
//! Knows nothing of what is in a record.
//!
//! Source: "Retain discarded records for a DynamoDB event source in Lambda" in the AWS Lambda Developer Guide. There the
//! event is the field `payload`, as text; a destination of asynchronous invocations calls it `requestPayload`. A fifth shape
//! is the journal's own: a document of quarantine, so that what was not understood can be given again.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::event::EventError;

/// How often a payload may be wrapped in text: an event in a document in a queue's message.
const WRAPPINGS_MAX: usize = 3;

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(rename = "Records", borrow)]
    records: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(rename = "requestPayload", borrow)]
    request_payload: Option<&'a RawValue>,
    #[serde(rename = "DDBStreamBatchInfo")]
    batch: Option<BatchInfo>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    raw: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo {
    shard_id: Option<String>,
    start_sequence_number: Option<String>,
    end_sequence_number: Option<String>,
    stream_arn: Option<String>,
}

/// Calls `each` with the raw bytes of every record in `document`.
///
/// # Errors
/// When the document is not JSON, or one that says which records failed without holding them.
pub(super) fn for_each_record(document: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), EventError> {
    unwrap(document, WRAPPINGS_MAX, each)
}

fn unwrap(document: &[u8], wrappings: usize, each: &mut dyn FnMut(&[u8])) -> Result<(), EventError> {
    let malformed = |error: serde_json::Error| EventError { reason: error.to_string() };
    if document.trim_ascii_start().starts_with(b"[") {
        let records: Vec<&RawValue> = serde_json::from_slice(document).map_err(malformed)?;
        for raw in records {
            each(raw.get().as_bytes());
        }
        return Ok(());
    }
    let shape: Shape<'_> = serde_json::from_slice(document).map_err(malformed)?;
    if let Some(records) = shape.records {
        for raw in records {
            each(raw.get().as_bytes());
        }
        return Ok(());
    }
    if let Some(payload) = shape.payload.or(shape.request_payload) {
        let Some(wrappings) = wrappings.checked_sub(1) else {
            return Err(EventError { reason: "its payload is wrapped too often".to_owned() });
        };
        let raw = payload.get();
        if !raw.starts_with('"') {
            return unwrap(raw.as_bytes(), wrappings, each);
        }
        let text: Cow<'_, str> = serde_json::from_str(raw).map_err(malformed)?;
        return unwrap(text.as_bytes(), wrappings, each);
    }
    if let (Some(_), Some(raw)) = (shape.reason, shape.raw) {
        let raw = STANDARD.decode(raw.as_bytes());
        each(&raw.map_err(|error| EventError { reason: format!("its raw record is not base64: {error}") })?);
        return Ok(());
    }
    if let Some(batch) = shape.batch {
        return Err(without_records(&batch));
    }
    each(document);
    Ok(())
}

fn without_records(batch: &BatchInfo) -> EventError {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    EventError {
        reason: format!(
            "it names the records {} to {} of shard {} of {} without holding them: read them from the stream itself \
             within 24 hours of their making, with journal follow",
            or(&batch.start_sequence_number),
            or(&batch.end_sequence_number),
            or(&batch.shard_id),
            or(&batch.stream_arn)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(document: &str) -> Result<Vec<String>, String> {
        let mut records = Vec::new();
        for_each_record(document.as_bytes(), &mut |raw| records.push(String::from_utf8(raw.to_vec()).unwrap()))
            .map_err(|error| error.to_string())?;
        Ok(records)
    }

    #[test]
    fn the_records_of_every_shape_are_found_byte_for_byte() {
        let two = ["{ \"a\":1.0}".to_owned(), "{\"b\":\"\\u00e9\"}".to_owned()];
        let event = format!("{{\"Records\": [{} ,\n{}], \"NextShardIterator\": \"x\"}}", two[0], two[1]);
        let as_text = serde_json::to_string(&event).unwrap();
        for document in [
            event.clone(),
            format!("[{},{}]", two[0], two[1]),
            format!("{{\"requestContext\":{{}},\"payload\":{event}}}"),
            format!("{{\"DDBStreamBatchInfo\":{{}},\"payload\":{as_text}}}"),
            format!("{{\"requestPayload\":{event},\"responsePayload\":{{}}}}"),
        ] {
            assert_eq!(records(&document).unwrap(), two, "{document}");
        }
        assert_eq!(records(&two[0]).unwrap(), [two[0].clone()]);
    }

    #[test]
    fn a_failure_without_its_records_says_where_they_are() {
        let document = "{\"requestContext\":{\"condition\":\"RetryAttemptsExhausted\"},\"DDBStreamBatchInfo\":{\
                        \"shardId\":\"shardId-1\",\"startSequenceNumber\":\"5\",\"endSequenceNumber\":\"9\",\
                        \"streamArn\":\"arn:x\"}}";
        let error = records(document).unwrap_err();
        for part in ["5 to 9", "shardId-1", "arn:x", "24 hours", "journal follow"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_document_of_quarantine_gives_its_record_back_byte_for_byte() {
        let raw = "{ \"eventName\" :\"INSERT\"}";
        let document = format!("{{\n  \"reason\": \"x\",\n  \"raw\": \"{}\"\n}}\n", STANDARD.encode(raw));
        assert_eq!(records(&document).unwrap(), [raw]);
        assert!(records("{\"reason\":\"x\",\"raw\":\"?\"}").unwrap_err().contains("base64"));
    }

    #[test]
    fn a_payload_in_a_payload_ends_somewhere() {
        let mut document = "{\"Records\":[]}".to_owned();
        for _ in 0..3 {
            document = format!("{{\"payload\":{}}}", serde_json::to_string(&document).unwrap());
        }
        assert_eq!(records(&document).unwrap(), Vec::<String>::new());
        assert!(records(&format!("{{\"payload\":{document}}}")).unwrap_err().contains("too often"));
        for bad in ["{\"payload\":\"not json\"}", "{\"Records\":7}", "{", "[1,"] {
            assert!(records(bad).is_err(), "{bad}");
        }
    }
}
