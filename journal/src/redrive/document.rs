//! What one object or message of a destination says: a batch, or where it can be read again.
//!
//! What enters are bytes; what leaves are events as text and ranges of shards. Knows no store and no stream.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::RedriveError;
use crate::model::{SequenceNumber, StreamArn};
use crate::source::stream::ShardId;

/// How often a document may be wrapped in another: a message of a queue, of a topic, a record of a mapping.
const WRAPPINGS_MAX: usize = 5;

/// Records of one shard that a mapping gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRange {
    /// The stream.
    pub stream: StreamArn,
    /// The shard.
    pub shard: ShardId,
    /// The first record.
    pub first: SequenceNumber,
    /// The last record.
    pub last: SequenceNumber,
}

/// One batch as a destination has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// The event itself, as JSON.
    Event(Vec<u8>),
    /// Where its records are.
    Range(ShardRange),
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(rename = "DDBStreamBatchInfo")]
    batch: Option<BatchInfo>,
    #[serde(rename = "Messages", borrow)]
    messages: Option<Vec<&'a RawValue>>,
    #[serde(rename = "Body", alias = "body", borrow)]
    body: Option<Cow<'a, str>>,
    #[serde(rename = "Message", borrow)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchInfo {
    shard_id: Option<String>,
    start_sequence_number: Option<String>,
    end_sequence_number: Option<String>,
    stream_arn: Option<String>,
}

/// The batches of a document, in order: what an S3 destination holds, the body of a queue's message, a topic's
/// notification, or what `aws sqs receive-message` prints.
///
/// # Errors
/// [`RedriveError::Foreign`] when it is none of these.
pub fn read(document: &[u8]) -> Result<Vec<Given>, RedriveError> {
    let mut found = Vec::new();
    unwrap(document, WRAPPINGS_MAX, &mut found)?;
    Ok(found)
}

fn foreign(reason: impl Into<String>) -> RedriveError {
    RedriveError::Foreign { reason: reason.into() }
}

fn unwrap(document: &[u8], wrappings: usize, found: &mut Vec<Given>) -> Result<(), RedriveError> {
    let wrappings = wrappings.checked_sub(1).ok_or_else(|| foreign("it is wrapped too often"))?;
    let parsed: Document<'_> = serde_json::from_slice(document).map_err(|error| foreign(error.to_string()))?;
    if let Some(payload) = parsed.payload {
        found.push(Given::Event(event(payload.get())?));
        return Ok(());
    }
    if let Some(batch) = parsed.batch {
        found.push(Given::Range(range(batch)?));
        return Ok(());
    }
    if let Some(messages) = parsed.messages {
        for message in messages {
            unwrap(message.get().as_bytes(), wrappings, found)?;
        }
        return Ok(());
    }
    match parsed.body.or(parsed.message) {
        Some(inner) => unwrap(inner.as_bytes(), wrappings, found),
        None => Err(foreign("it has neither payload nor DDBStreamBatchInfo")),
    }
}

/// A payload is the event as text, or as it is.
fn event(payload: &str) -> Result<Vec<u8>, RedriveError> {
    if payload.starts_with('"') {
        let text: String = serde_json::from_str(payload).map_err(|error| foreign(format!("payload: {error}")))?;
        return Ok(text.into_bytes());
    }
    Ok(payload.as_bytes().to_vec())
}

fn range(batch: BatchInfo) -> Result<ShardRange, RedriveError> {
    fn field<T>(name: &str, text: Option<String>, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, RedriveError> {
        let text = text.ok_or_else(|| foreign(format!("its DDBStreamBatchInfo has no {name}")))?;
        parse(&text).ok_or_else(|| foreign(format!("its DDBStreamBatchInfo has {name} {text:.200?}")))
    }
    let sequence = |text: &str| SequenceNumber::parse(text).ok();
    Ok(ShardRange {
        stream: field("streamArn", batch.stream_arn, |text| StreamArn::parse(text).ok())?,
        shard: field("shardId", batch.shard_id, ShardId::parse)?,
        first: field("startSequenceNumber", batch.start_sequence_number, sequence)?,
        last: field("endSequenceNumber", batch.end_sequence_number, sequence)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::event::tests::ARN;
    use serde_json::{Value, json};

    fn info() -> Value {
        json!({
            "shardId": "shardId-00000001573689847184-864758bb",
            "startSequenceNumber": "800000000003126276362",
            "endSequenceNumber": "800000000003126276369",
            "approximateArrivalOfFirstRecord": "2026-11-14T00:13:19Z",
            "batchSize": 8,
            "streamArn": ARN,
        })
    }

    fn invocation(payload: Option<Value>) -> Value {
        let mut document = json!({
            "requestContext": {"requestId": "1", "functionArn": "f", "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 3},
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": "2026-11-14T00:13:49.717Z",
            "DDBStreamBatchInfo": info(),
        });
        if let Some(payload) = payload {
            document["payload"] = payload;
        }
        document
    }

    fn found(document: &Value) -> Result<Vec<Given>, RedriveError> {
        read(document.to_string().as_bytes())
    }

    #[test]
    fn an_s3_destination_gives_the_event_and_a_queue_the_range() {
        let event = json!({"Records": []});
        for payload in [json!(event.to_string()), event.clone()] {
            assert_eq!(found(&invocation(Some(payload))), Ok(vec![Given::Event(event.to_string().into_bytes())]));
        }
        let plain = found(&invocation(None)).unwrap();
        let [Given::Range(range)] = &plain[..] else { panic!("{plain:?}") };
        assert_eq!(range.shard.as_str(), "shardId-00000001573689847184-864758bb");
        assert_eq!(range.first.to_string(), "800000000003126276362");
        let text = invocation(None).to_string();
        let notification = json!({"Type": "Notification", "Message": text}).to_string();
        for wrapped in [
            json!({"Messages": [{"Body": text, "ReceiptHandle": "x"}]}),
            json!({"Body": notification}),
            json!({"Type": "Notification", "Message": text}),
        ] {
            assert_eq!(found(&wrapped).unwrap(), plain, "{wrapped}");
        }
        assert_eq!(found(&json!({"Messages": []})), Ok(Vec::new()));
    }

    #[test]
    fn what_a_mapping_never_leaves_is_refused_with_the_reason() {
        let mut no_shard = invocation(None);
        no_shard["DDBStreamBatchInfo"].as_object_mut().unwrap().remove("shardId");
        let mut other = invocation(None);
        other["DDBStreamBatchInfo"]["streamArn"] = json!("arn:aws:kinesis:x");
        let deep = (0..9).fold(invocation(None), |inner, _| json!({"Body": inner.to_string()}));
        for (document, reason) in [
            (no_shard, "no shardId"),
            (other, "streamArn"),
            (deep, "too often"),
            (json!({"a": 1}), "neither"),
            (json!([1]), "invalid"),
            (json!({"Records": []}), "neither"),
        ] {
            let error = found(&document).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert!(read(b"\xff").is_err() && read(b"").is_err());
    }
}
