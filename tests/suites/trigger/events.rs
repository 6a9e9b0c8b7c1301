//! Events as Lambda gives them, one builder for every shape that has been seen.

use serde_json::{Value, json};

/// The stream that records are of unless a test says otherwise.
pub(crate) const STREAM: &str = "arn:aws:dynamodb:eu-west-1:000000000000:table/notes/stream/2026-03-29T10:00:00.123";
/// A second in the life of that stream.
pub(crate) const SECOND: u64 = 1_774_778_400;

pub(crate) fn event(records: &[Value]) -> String {
    json!({"Records": records}).to_string()
}

fn base(name: &str, key: &str, sequence: &str) -> Value {
    json!({
        "eventID": format!("{:0>32}", sequence),
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": SECOND,
            "Keys": {"noteId": {"S": key}},
            "SequenceNumber": sequence,
            "SizeBytes": 59,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": STREAM,
    })
}

pub(crate) fn note(key: &str, content: &str) -> Value {
    json!({"noteId": {"S": key}, "content": {"S": content}, "stars": {"N": "1.50"}, "tags": {"SS": ["b", "a"]}})
}

pub(crate) fn insert(key: &str, sequence: &str, new: Value) -> Value {
    let mut record = base("INSERT", key, sequence);
    record["dynamodb"]["NewImage"] = new;
    record
}

pub(crate) fn modify(key: &str, sequence: &str, old: Value, new: Value) -> Value {
    let mut record = base("MODIFY", key, sequence);
    record["dynamodb"]["OldImage"] = old;
    record["dynamodb"]["NewImage"] = new;
    record
}

pub(crate) fn remove(key: &str, sequence: &str, old: Value) -> Value {
    let mut record = base("REMOVE", key, sequence);
    record["dynamodb"]["OldImage"] = old;
    record
}

/// A delete by DynamoDB's own TTL.
pub(crate) fn ttl_delete(key: &str, sequence: &str, old: Value) -> Value {
    let mut record = remove(key, sequence, old);
    record["userIdentity"] = json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
    record
}

/// Nothing but what cannot be done without.
pub(crate) fn bare(mut record: Value) -> Value {
    for field in ["eventID", "eventVersion", "eventSource", "awsRegion"] {
        record.as_object_mut().unwrap().remove(field);
    }
    for field in ["ApproximateCreationDateTime", "SizeBytes"] {
        record["dynamodb"].as_object_mut().unwrap().remove(field);
    }
    record
}

/// A record as a global table of the old version (2017.11.29) sends it: the service's own attributes are in the image.
pub(crate) fn replicated(key: &str, sequence: &str) -> Value {
    let mut new = note(key, "from afar");
    new["aws:rep:deleting"] = json!({"BOOL": false});
    new["aws:rep:updateregion"] = json!({"S": "us-east-1"});
    new["aws:rep:updatetime"] = json!({"N": "1774778399.123001"});
    insert(key, sequence, new)
}

pub(crate) fn of_table(mut record: Value, table: &str) -> Value {
    record["eventSourceARN"] =
        json!(format!("arn:aws:dynamodb:eu-west-1:000000000000:table/{table}/stream/2026-03-29T10:00:00.123"));
    record
}
