//! The DynamoDB Streams API on the database file, with the life that streams have on AWS.
//!
//! A stream is open while its table has it switched on and closed ever after: a closed stream is DISABLED, its shard has
//! an end, and its records stay readable, so a follower drains a deleted table's stream at leisure. A write that
//! changed nothing shows no record. What enters is one operation's JSON body, what leaves its JSON answer or a fault in
//! DynamoDB's words. Every answer is read in one transaction, so a table deleted meanwhile is seen before or after, never
//! half. Knows nothing of HTTP. Sources: Amazon DynamoDB Streams API reference; Developer Guide, "Change data capture
//! for DynamoDB Streams".

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{OptionalExtension, Transaction, params};
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::{self, Fault};

/// Records of one answer, and the default where a request names no limit.
const RECORDS_MAX: u32 = 1000;
/// Image and key bytes of one answer; one record more may be over it, as an answer holds at least one.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Streams of one listing.
const STREAMS_MAX: usize = 100;
/// The engine counts in microseconds since 1970; shown are 21 digits, as DynamoDB's smallest are.
const SEQUENCE_OFFSET: u128 = 100_000_000_000_000_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListStreams {
    table_name: Option<String>,
    exclusive_start_stream_arn: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeStream {
    stream_arn: String,
    exclusive_start_shard_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetShardIterator {
    stream_arn: String,
    shard_id: String,
    shard_iterator_type: String,
    sequence_number: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecords {
    shard_iterator: String,
    limit: Option<u32>,
}

/// One stream, open or closed.
struct Stream {
    table: String,
    label: String,
    view_type: String,
    key_schema: String,
    open: bool,
}

impl Stream {
    fn name(&self) -> String {
        format!("{}/stream/{}", self.table, self.label)
    }

    fn arn(&self) -> String {
        dynoxide::streams::stream_arn(&self.table, &self.label)
    }

    /// The table name that its records lie under.
    fn records_under(&self) -> String {
        if self.open { self.table.clone() } else { self.name() }
    }

    /// Microseconds since 1970, from the label.
    fn birth_microseconds(&self) -> i64 {
        let time: Option<jiff::Timestamp> = format!("{}Z", self.label).parse().ok();
        time.map_or(0, jiff::Timestamp::as_microsecond)
    }

    fn shard(&self) -> String {
        let checksum = crc32fast::hash(self.name().as_bytes());
        format!("shardId-{:020}-{checksum:08x}", self.birth_microseconds() / 1000)
    }
}

/// Runs one operation.
///
/// # Errors
/// As the service: an unknown operation or stream, an unsound request; or the database fails.
pub(super) fn answer(transaction: &Transaction<'_>, operation: &str, body: &[u8]) -> Result<Value, Fault> {
    match operation {
        "ListStreams" => list(transaction, &fault::parse(body)?),
        "DescribeStream" => describe(transaction, &fault::parse(body)?),
        "GetShardIterator" => iterator(transaction, &fault::parse(body)?),
        "GetRecords" => records(transaction, &fault::parse(body)?),
        _ => Err(Fault::UnknownOperation),
    }
}

fn not_found(what: &str) -> Fault {
    Fault::NotFound(format!("Requested resource not found: Stream: {what} not found"))
}

/// The stream of an ARN or of a name `TABLE/stream/LABEL`.
fn find(transaction: &Transaction<'_>, arn_or_name: &str) -> Result<Stream, Fault> {
    let name = arn_or_name.split_once(":table/").map_or(arn_or_name, |(_, name)| name);
    let (table, label) = name.split_once("/stream/").ok_or_else(|| not_found(arn_or_name))?;
    let stream = |open| {
        move |row: &rusqlite::Row<'_>| {
            Ok(Stream {
                table: table.to_owned(),
                label: label.to_owned(),
                view_type: row.get(0)?,
                key_schema: row.get(1)?,
                open,
            })
        }
    };
    let live = transaction
        .query_row(
            "SELECT COALESCE(stream_view_type, 'NEW_AND_OLD_IMAGES'), key_schema FROM _tables
             WHERE table_name = ?1 AND stream_label = ?2 AND stream_enabled = 1",
            params![table, label],
            stream(true),
        )
        .optional()?;
    if let Some(stream) = live {
        return Ok(stream);
    }
    transaction
        .query_row(
            "SELECT view_type, key_schema FROM journal_closed_streams WHERE records_under = ?1",
            params![format!("{table}/stream/{label}")],
            stream(false),
        )
        .optional()?
        .ok_or_else(|| not_found(arn_or_name))
}

fn list(transaction: &Transaction<'_>, request: &ListStreams) -> Result<Value, Fault> {
    let mut statement = transaction.prepare(
        "SELECT table_name, stream_label FROM _tables WHERE stream_enabled = 1
         UNION SELECT table_name, label FROM journal_closed_streams ORDER BY 1, 2",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut streams = Vec::new();
    for row in rows {
        let (table, label) = row?;
        if request.table_name.as_ref().is_none_or(|wanted| *wanted == table) {
            streams.push((dynoxide::streams::stream_arn(&table, &label), table, label));
        }
    }
    if let Some(start) = &request.exclusive_start_stream_arn {
        let at = streams.iter().position(|(arn, ..)| arn == start).ok_or_else(|| not_found(start))?;
        streams.drain(..=at);
    }
    let limit = request.limit.unwrap_or(STREAMS_MAX).clamp(1, STREAMS_MAX);
    let more = streams.len() > limit;
    streams.truncate(limit);
    let last = streams.last().filter(|_| more).map(|(arn, ..)| arn.clone());
    let summaries: Vec<Value> = streams
        .into_iter()
        .map(|(arn, table, label)| json!({"StreamArn": arn, "TableName": table, "StreamLabel": label}))
        .collect();
    let mut answer = json!({"Streams": summaries});
    set(&mut answer, "LastEvaluatedStreamArn", last);
    Ok(answer)
}

fn describe(transaction: &Transaction<'_>, request: &DescribeStream) -> Result<Value, Fault> {
    let stream = find(transaction, &request.stream_arn)?;
    let mut range = json!({"StartingSequenceNumber": public(first_position(transaction, &stream)?)});
    if !stream.open {
        set(&mut range, "EndingSequenceNumber", Some(public(last_position(transaction, &stream)?)));
    }
    let shard = stream.shard();
    let shards = if request.exclusive_start_shard_id.as_ref() == Some(&shard) {
        Vec::new()
    } else {
        vec![json!({"ShardId": shard, "SequenceNumberRange": range})]
    };
    let key_schema: Value = serde_json::from_str(&stream.key_schema)
        .map_err(|error| Fault::Internal(format!("the key schema of {} cannot be read: {error}", stream.table)))?;
    let birth = stream.birth_microseconds();
    Ok(json!({"StreamDescription": {
        "StreamArn": stream.arn(),
        "StreamLabel": stream.label,
        "StreamStatus": if stream.open { "ENABLED" } else { "DISABLED" },
        "StreamViewType": stream.view_type,
        "TableName": stream.table,
        "KeySchema": key_schema,
        "CreationRequestDateTime": birth / 1_000_000,
        "Shards": shards,
    }}))
}

fn iterator(transaction: &Transaction<'_>, request: &GetShardIterator) -> Result<Value, Fault> {
    let stream = find(transaction, &request.stream_arn)?;
    if stream.shard() != request.shard_id {
        return Err(Fault::NotFound(format!(
            "Requested resource not found: Shard {} in Stream {} not found",
            request.shard_id, request.stream_arn
        )));
    }
    let named = || {
        let text = request.sequence_number.as_deref().unwrap_or_default();
        let number: u128 = text.parse().map_err(|_| Fault::Validation(format!("Invalid SequenceNumber: {text:?}")))?;
        i64::try_from(number.saturating_sub(SEQUENCE_OFFSET))
            .map_err(|_| Fault::Validation(format!("Invalid SequenceNumber: {text:?}")))
    };
    let position = match request.shard_iterator_type.as_str() {
        "TRIM_HORIZON" => 0,
        "LATEST" => last_position(transaction, &stream)?,
        "AT_SEQUENCE_NUMBER" => named()?.saturating_sub(1),
        "AFTER_SEQUENCE_NUMBER" => named()?,
        other => return Err(Fault::Validation(format!("Invalid ShardIteratorType: {other}"))),
    };
    Ok(json!({"ShardIterator": encode_iterator(&stream, position)}))
}

fn records(transaction: &Transaction<'_>, request: &GetRecords) -> Result<Value, Fault> {
    let (name, position) = decode_iterator(&request.shard_iterator)
        .ok_or_else(|| Fault::Validation("Invalid ShardIterator".to_owned()))?;
    let stream = find(transaction, &name)?;
    let limit = request.limit.unwrap_or(RECORDS_MAX).clamp(1, RECORDS_MAX);
    let mut statement = transaction.prepare_cached(
        "SELECT CAST(sequence_number AS INTEGER), event_id, event_name, keys_json, new_image, old_image, created_at,
                user_identity
         FROM _stream_records WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) > ?2
         ORDER BY CAST(sequence_number AS INTEGER) LIMIT ?3",
    )?;
    let mut rows = statement.query(params![stream.records_under(), position, limit])?;
    let (mut shown, mut bytes, mut read, mut last) = (Vec::new(), 0usize, 0u32, position);
    let mut exhausted = false;
    while bytes < ANSWER_BYTES_MAX {
        let Some(row) = rows.next()? else {
            exhausted = read < limit;
            break;
        };
        read += 1;
        last = row.get(0)?;
        let text = |at: usize| row.get::<_, Option<String>>(at);
        let (keys, new, old) = (text(3)?.unwrap_or_default(), text(4)?, text(5)?);
        let size = keys.len() + new.as_ref().map_or(0, String::len) + old.as_ref().map_or(0, String::len);
        bytes += size;
        let (new, old) = (image(new.as_deref())?, image(old.as_deref())?);
        let event: String = row.get(2)?;
        if event == "MODIFY" && new.is_some() && new.as_ref().map(canonical) == old.as_ref().map(canonical) {
            continue;
        }
        let mut change = json!({
            "Keys": image(Some(&keys))?,
            "SequenceNumber": public(last),
            "SizeBytes": size,
            "StreamViewType": stream.view_type,
            "ApproximateCreationDateTime": row.get::<_, i64>(6)?,
        });
        set(&mut change, "NewImage", new);
        set(&mut change, "OldImage", old);
        let mut record = json!({
            "eventID": text(1)?.unwrap_or_else(|| public(last)),
            "eventName": event,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": dynoxide::streams::LOCAL_REGION,
            "dynamodb": change,
        });
        if let Some(user) = image(text(7)?.as_deref())? {
            set(
                &mut record,
                "userIdentity",
                Some(json!({"Type": user.get("type"), "PrincipalId": user.get("principalId")})),
            );
        }
        shown.push(record);
    }
    let mut answer = json!({"Records": shown});
    let ended = exhausted && !stream.open;
    set(&mut answer, "NextShardIterator", (!ended).then(|| encode_iterator(&stream, last)));
    Ok(answer)
}

fn image(text: Option<&str>) -> Result<Option<Value>, Fault> {
    text.map(|text| {
        serde_json::from_str(text).map_err(|error| Fault::Internal(format!("a stream record cannot be read: {error}")))
    })
    .transpose()
}

/// An image with its sets sorted, so that equal items are equal values.
fn canonical(image: &Value) -> Value {
    fn value(typed: &Value) -> Value {
        let Some((kind, content)) = typed.as_object().filter(|o| o.len() == 1).and_then(|o| o.iter().next()) else {
            return typed.clone();
        };
        let content = match (kind.as_str(), content) {
            ("SS" | "NS" | "BS", Value::Array(members)) => {
                let mut members = members.clone();
                members.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                Value::Array(members)
            }
            ("L", Value::Array(members)) => Value::Array(members.iter().map(value).collect()),
            ("M", map @ Value::Object(_)) => canonical(map),
            (_, other) => other.clone(),
        };
        json!({ kind: content })
    }
    match image {
        Value::Object(attributes) => Value::Object(attributes.iter().map(|(n, v)| (n.clone(), value(v))).collect()),
        other => other.clone(),
    }
}

/// Where the shard's numbers begin: the stream's birth, or its first record should the clock have stepped back.
fn first_position(transaction: &Transaction<'_>, stream: &Stream) -> Result<i64, Fault> {
    let first: Option<i64> = transaction.query_row(
        "SELECT MIN(CAST(sequence_number AS INTEGER)) FROM _stream_records WHERE table_name = ?1",
        params![stream.records_under()],
        |row| row.get(0),
    )?;
    let birth = stream.birth_microseconds();
    Ok(first.map_or(birth, |first| first.min(birth)))
}

/// The last record's position; the stream's birth when it has none.
fn last_position(transaction: &Transaction<'_>, stream: &Stream) -> Result<i64, Fault> {
    let last: Option<i64> = transaction.query_row(
        "SELECT MAX(CAST(sequence_number AS INTEGER)) FROM _stream_records WHERE table_name = ?1",
        params![stream.records_under()],
        |row| row.get(0),
    )?;
    Ok(last.unwrap_or_else(|| stream.birth_microseconds()))
}

fn public(position: i64) -> String {
    (SEQUENCE_OFFSET + u128::try_from(position).unwrap_or(0)).to_string()
}

fn encode_iterator(stream: &Stream, position: i64) -> String {
    URL_SAFE_NO_PAD.encode(format!("{position} {}", stream.name()))
}

fn decode_iterator(text: &str) -> Option<(String, i64)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (position, name) = text.split_once(' ')?;
    Some((name.to_owned(), position.parse().ok()?))
}

fn set(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_items_are_equal_whatever_the_order_of_their_sets() {
        let one = json!({"k": {"SS": ["a", "b"]}, "m": {"M": {"SS": {"L": [{"NS": ["2", "1"]}]}}}});
        let two = json!({"m": {"M": {"SS": {"L": [{"NS": ["1", "2"]}]}}}, "k": {"SS": ["b", "a"]}});
        assert_eq!(canonical(&one), canonical(&two));
        let list = json!({"k": {"L": [{"S": "a"}, {"S": "b"}]}});
        let turned = json!({"k": {"L": [{"S": "b"}, {"S": "a"}]}});
        assert_ne!(canonical(&list), canonical(&turned));
    }

    #[test]
    fn a_foreign_iterator_is_refused() {
        for text in ["", "!!", "aGFsbG8", &URL_SAFE_NO_PAD.encode("x notes/stream/1")] {
            assert_eq!(decode_iterator(text), None, "{text}");
        }
    }
}
