//! The description of a live table for `table.json`, and what it says about the start of its stream.
//!
//! What enters are a client and a table's name; what leaves is a [`TableDocument`] with all that is needed to make the
//! table again, and when which part could not be read, that. Knows nothing of records.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{KeyType, TableDescription};

use super::{TableError, wire};
use crate::documents::{self, DocumentError, KeySchemaElement, StartDocument, TableDocument};
use crate::layout;
use crate::lifecycle;
use crate::model::{KeyAttribute, KeyAttributes, Second, StreamArn, TableName};
use crate::source::VIEW_NEEDED;
use crate::store::WriteStore;

/// How far apart the births of a table and of its first stream may be told to lie.
const BIRTH_TOLERANCE_MILLISECONDS: u64 = 1000;
/// How long a stream keeps its records ("Change data capture for DynamoDB Streams", Amazon DynamoDB Developer Guide).
const STREAM_LIFE_SECONDS: u64 = 24 * 3600;
/// What the oldest records of a stream may have lost of their life until they are read.
const TRIM_MARGIN_SECONDS: u64 = 300;
/// How far this machine's clock may be behind the service's, as AWS itself allows for signed requests.
const CLOCKS_APART_SECONDS_MAX: u64 = 900;
/// Pages of tags that are asked for; a table has at most 50 tags, and a page has 10.
const TAG_PAGES_MAX: usize = 20;

/// Describes a table whose stream a journal can follow.
///
/// # Errors
/// When there is no such table, it has no stream or one with another view type, or the service does not answer. TTL, tags
/// and point-in-time recovery that cannot be read are listed in `not_read` instead.
pub async fn describe(client: &Client, table: &TableName, now: Second) -> Result<TableDocument, TableError> {
    let description = describe_table(client, table).await?;
    let mut document = document_of(table, &description, now)?;
    let mut not_read = Vec::new();

    match client.describe_time_to_live().table_name(table.as_str()).send().await {
        Ok(answer) => document.time_to_live = answer.time_to_live_description().map(wire::time_to_live),
        Err(error) => not_read.push(format!("TTL: {}", TableError::of("DescribeTimeToLive", table, &error))),
    }
    match client.describe_continuous_backups().table_name(table.as_str()).send().await {
        Ok(answer) => {
            document.point_in_time_recovery = answer
                .continuous_backups_description()
                .and_then(|backups| backups.point_in_time_recovery_description())
                .map(wire::point_in_time_recovery);
        }
        Err(error) => {
            let error = TableError::of("DescribeContinuousBackups", table, &error);
            not_read.push(format!("point-in-time recovery: {error}"));
        }
    }
    match description.table_arn() {
        Some(arn) => match tags(client, table, arn).await {
            Ok(tags) => document.tags = Some(tags),
            Err(error) => not_read.push(format!("tags: {error}")),
        },
        None => not_read.push("tags: the table's ARN is not known".to_owned()),
    }
    document.not_read = not_read;
    Ok(document)
}

/// `DescribeTable`, alone.
pub(super) async fn describe_table(client: &Client, table: &TableName) -> Result<TableDescription, TableError> {
    let answer = client.describe_table().table_name(table.as_str()).send().await;
    let answer = answer.map_err(|error| TableError::of("DescribeTable", table, &error))?;
    answer.table.ok_or_else(|| malformed(table, "it has no Table"))
}

async fn tags(client: &Client, table: &TableName, arn: &str) -> Result<BTreeMap<String, String>, TableError> {
    let mut tags = BTreeMap::new();
    let mut next: Option<String> = None;
    for _ in 0..TAG_PAGES_MAX {
        let request = client.list_tags_of_resource().resource_arn(arn).set_next_token(next.take());
        let page = request.send().await.map_err(|error| TableError::of("ListTagsOfResource", table, &error))?;
        tags.extend(page.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())));
        match page.next_token {
            Some(token) if !token.is_empty() => next = Some(token),
            _ => return Ok(tags),
        }
    }
    Err(TableError::Malformed {
        action: "ListTagsOfResource",
        table: table.clone(),
        reason: "it has no end".to_owned(),
    })
}

fn malformed(table: &TableName, reason: &str) -> TableError {
    TableError::Malformed { action: "DescribeTable", table: table.clone(), reason: reason.to_owned() }
}

/// The table's stream, if it is one that a journal can follow.
pub(super) fn stream_of(table: &TableName, description: &TableDescription) -> Result<StreamArn, TableError> {
    let no_stream = || TableError::NoStream { table: table.clone() };
    let specification = description.stream_specification().filter(|stream| stream.stream_enabled());
    let view = specification.ok_or_else(no_stream)?.stream_view_type().map(|view| view.as_str().to_owned());
    let found = view.unwrap_or_else(|| "unknown".to_owned());
    if found != VIEW_NEEDED {
        return Err(TableError::View { table: table.clone(), found });
    }
    let arn = StreamArn::parse(description.latest_stream_arn().ok_or_else(no_stream)?)
        .map_err(|error| malformed(table, &format!("LatestStreamArn: {error}")))?;
    if arn.timeline().table != *table {
        return Err(malformed(table, &format!("LatestStreamArn {arn} is of another table")));
    }
    Ok(arn)
}

/// What `DescribeTable` alone says.
fn document_of(table: &TableName, description: &TableDescription, now: Second) -> Result<TableDocument, TableError> {
    let stream_arn = stream_of(table, description)?;
    let mut key_schema = Vec::with_capacity(2);
    for element in description.key_schema() {
        let name = element.attribute_name();
        let definition =
            description.attribute_definitions().iter().find(|attribute| attribute.attribute_name() == name);
        let definition = definition.ok_or_else(|| malformed(table, &format!("key attribute {name:?} has no type")))?;
        key_schema.push(KeySchemaElement {
            name: name.to_owned(),
            role: element.key_type().as_str().to_owned(),
            key_type: definition.attribute_type().as_str().to_owned(),
        });
    }
    key_schema.sort_by_key(|element| element.role != KeyType::Hash.as_str());
    let document = TableDocument {
        table: table.clone(),
        stream_arn,
        table_id: description.table_id().map(str::to_owned),
        key_schema,
        stream_view_type: VIEW_NEEDED.to_owned(),
        created_milliseconds: description
            .creation_date_time()
            .and_then(|time| time.to_millis().ok())
            .and_then(|milliseconds| u64::try_from(milliseconds).ok()),
        described_at: now,
        description: wire::table(description),
        time_to_live: None,
        tags: None,
        point_in_time_recovery: None,
        not_read: Vec::new(),
    };
    key_attributes(&document)?;
    Ok(document)
}

/// Names and types of the key's attributes.
///
/// # Errors
/// When the document's key schema is none.
pub fn key_attributes(document: &TableDocument) -> Result<KeyAttributes, TableError> {
    let attributes = document.key_schema.iter().map(|element| {
        let key_type = crate::model::KeyType::from_letter(&element.key_type).ok_or_else(|| {
            malformed(&document.table, &format!("key attribute {:?} has type {}", element.name, element.key_type))
        })?;
        Ok(KeyAttribute { name: element.name.clone(), key_type })
    });
    let attributes = attributes.collect::<Result<Vec<_>, TableError>>()?;
    KeyAttributes::new(attributes).map_err(|error| malformed(&document.table, &error.to_string()))
}

/// Writes `table.json` where it says something that the stored one does not; whether it was written. What is known from
/// before and could not be read this time is kept, for a refused request must not make a restore poorer. What the stored one said is kept as an
/// event before it is replaced.
///
/// # Errors
/// When the store fails, or the stored document is not one.
pub async fn store_description(store: &dyn WriteStore, document: &TableDocument) -> Result<bool, DocumentError> {
    let key = layout::table_document(document.stream_arn.timeline());
    let stored: Option<TableDocument> = documents::read(store, &key).await?;
    let mut document = document.clone();
    if let Some(stored) = stored {
        document.time_to_live = document.time_to_live.or_else(|| stored.time_to_live.clone());
        document.tags = document.tags.or_else(|| stored.tags.clone());
        document.point_in_time_recovery =
            document.point_in_time_recovery.or_else(|| stored.point_in_time_recovery.clone());
        if (TableDocument { described_at: document.described_at, ..stored.clone() }) == document {
            return Ok(false);
        }
        if let Some((name, event)) = lifecycle::description_changed(&stored, &document)? {
            lifecycle::record(store, document.stream_arn.timeline(), &name, &event).await?;
        }
    }
    store.replace(&key, documents::to_bytes(&document)?).await?;
    Ok(true)
}

/// What is known about the start of the described table's stream, when it is first seen at `first_seen`.
///
/// The stream is whole, so that its records alone make the table, when it was born with the table and no record can have
/// been trimmed yet. Its birth is read from its label. The two births may be told a second apart; where either has whole
/// seconds only, as on emulators, whole seconds are compared. Where one is not known, or the label lies before the table
/// by more than that, which is no time of a birth, nothing is known and the stream is not taken as whole: to take a
/// baseline without need costs a scan, to trust a stream without reason costs items.
#[must_use]
pub fn start_of(document: &TableDocument, first_seen: Second) -> StartDocument {
    let first_readable =
        Second::new(first_seen.get().saturating_sub(STREAM_LIFE_SECONDS - TRIM_MARGIN_SECONDS)).unwrap_or(Second::MIN);
    let born = document.stream_arn.timeline().label.birth_milliseconds();
    let birth = born.and_then(|milliseconds| Second::new(milliseconds / 1000).ok());
    let birth = birth.filter(|birth| birth.get() <= first_seen.get().saturating_add(CLOCKS_APART_SECONDS_MAX));
    let (Some(born), Some(birth)) = (born, birth) else {
        return StartDocument {
            covered_from: first_seen,
            whole: false,
            reason: "the stream's label does not say when it began, so older records may be missing".to_owned(),
        };
    };
    let covered_from = birth.max(first_readable);
    let not_whole = |reason: String| StartDocument { covered_from, whole: false, reason };
    if birth < first_readable {
        return not_whole(format!(
            "the stream began at {birth} and was first read at {first_seen}: its records older than a day were gone by then"
        ));
    }
    let Some(created) = document.created_milliseconds else {
        return not_whole("when the table was made is not known, so it may be older than its stream".to_owned());
    };
    let coarse = born % 1000 == 0 || created % 1000 == 0;
    let unit = if coarse { 1000 } else { 1 };
    let tolerance = BIRTH_TOLERANCE_MILLISECONDS / unit;
    let (born, created) = (born / unit, created / unit);
    let made = Second::new(created * unit / 1000).unwrap_or(Second::MAX);
    if born > created + tolerance {
        return not_whole(format!(
            "the table was made at {made} and its stream began at {birth}: what was written before is not in it"
        ));
    }
    if created > born + tolerance {
        return not_whole(format!(
            "the stream's label says {birth}, before the table was made at {made}: its records may not be all of the table"
        ));
    }
    StartDocument { covered_from, whole: true, reason: format!("the stream began with the table at {birth}") }
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;
    use crate::error::{Classify as _, Kind};
    use crate::store::memory::MemoryStore;
    use serde_json::{Value, json};

    const CREATED: u64 = 1_585_476_000_000;

    fn second(seconds: u64) -> Second {
        Second::new(seconds).unwrap()
    }

    pub(crate) async fn described(table: Value) -> Result<TableDocument, TableError> {
        let fake = fake::start(move |operation, _| fake::describe(operation, &table)).await;
        describe(&fake.client, &fake::table_name(), second(1_585_476_010)).await
    }

    fn with(changes: &[(&str, Value)]) -> Value {
        let mut table = fake::table();
        for (field, value) in changes {
            table[*field] = value.clone();
        }
        table
    }

    #[tokio::test]
    async fn a_description_says_all_that_makes_the_table_again() {
        let document = described(fake::table()).await.unwrap();
        assert_eq!(document.stream_arn.as_str(), fake::STREAM);
        assert_eq!(document.created_milliseconds, Some(CREATED));
        assert_eq!(document.table_id.as_deref(), Some("11111111-2222-3333-4444-555555555555"));
        let roles: Vec<_> = document.key_schema.iter().map(|k| (&*k.name, &*k.role, &*k.key_type)).collect();
        assert_eq!(roles, [("noteId", "HASH", "S"), ("createdAt", "RANGE", "N")]);
        assert_eq!(key_attributes(&document).unwrap().to_string(), "createdAt (N), noteId (S)");
        for (field, value) in fake::table().as_object().unwrap() {
            match field.as_str() {
                "TableStatus" | "TableSizeBytes" | "ItemCount" => assert!(document.description.get(field).is_none()),
                "ProvisionedThroughput" => assert!(document.description[field].get("NumberOfDecreasesToday").is_none()),
                "GlobalSecondaryIndexes" => {
                    let index = &document.description[field][0];
                    assert_eq!(index["Projection"]["NonKeyAttributes"], json!(["a", "b"]));
                    assert!(index.get("IndexStatus").is_none() && index.get("ItemCount").is_none());
                }
                "CreationDateTime" => assert_eq!(document.description[field], json!(1_585_476_000)),
                _ => assert_eq!(document.description[field], *value, "{field}"),
            }
        }
        assert_eq!(document.time_to_live.unwrap()["AttributeName"], "expires");
        assert_eq!(document.tags.unwrap()["team"], "notes");
        let recovery = document.point_in_time_recovery.unwrap();
        assert_eq!(recovery, json!({"PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": 7}));
        assert_eq!(document.not_read, Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_is_denied_or_not_supported_is_listed_and_the_rest_is_described() {
        let fake = fake::start(|operation, _| match operation {
            "DescribeTable" => fake::describe(operation, &fake::table()),
            "DescribeTimeToLive" => fake::error("AccessDeniedException"),
            "DescribeContinuousBackups" => fake::error("UnknownOperationException"),
            _ => fake::error("InternalServerError"),
        })
        .await;
        let document = describe(&fake.client, &fake::table_name(), second(1)).await.unwrap();
        assert_eq!(document.not_read.len(), 3, "{:?}", document.not_read);
        assert!(document.not_read[0].starts_with("TTL: DescribeTimeToLive of table notes: permission denied"));
        assert!(document.not_read[1].starts_with("point-in-time recovery: "));
        assert!(document.not_read[2].starts_with("tags: "));
        assert_eq!((document.time_to_live, document.tags, document.point_in_time_recovery), (None, None, None));
    }

    #[tokio::test]
    async fn tags_of_many_pages_are_all_read_and_an_endless_list_ends() {
        let fake = fake::start(|operation, body| match operation {
            "ListTagsOfResource" => match body.get("NextToken").and_then(Value::as_str) {
                None => (200, json!({"Tags": [{"Key": "a", "Value": "1"}], "NextToken": "more"})),
                Some(_) => (200, json!({"Tags": [{"Key": "b", "Value": "2"}]})),
            },
            _ => fake::describe(operation, &fake::table()),
        })
        .await;
        let document = describe(&fake.client, &fake::table_name(), second(1)).await.unwrap();
        assert_eq!(document.tags.unwrap().len(), 2);

        let fake = fake::start(|operation, _| match operation {
            "ListTagsOfResource" => (200, json!({"Tags": [], "NextToken": "more"})),
            _ => fake::describe(operation, &fake::table()),
        })
        .await;
        let document = describe(&fake.client, &fake::table_name(), second(1)).await.unwrap();
        assert!(document.not_read[0].contains("no end"));
    }

    #[tokio::test]
    async fn a_table_that_cannot_be_journalled_is_refused_with_the_way_out() {
        let off = described(with(&[("StreamSpecification", json!({"StreamEnabled": false}))])).await.unwrap_err();
        assert!(matches!(off, TableError::NoStream { .. }));
        assert!(off.hint().unwrap().contains(
            "aws dynamodb update-table --table-name notes --stream-specification \
             StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
        ));
        let none = described(with(&[("StreamSpecification", Value::Null), ("LatestStreamArn", Value::Null)])).await;
        assert!(matches!(none, Err(TableError::NoStream { .. })));
        for view in ["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE"] {
            let specification = json!({"StreamEnabled": true, "StreamViewType": view});
            let error = described(with(&[("StreamSpecification", specification)])).await.unwrap_err();
            assert_eq!(error, TableError::View { table: fake::table_name(), found: view.to_owned() });
            let hint = error.hint().unwrap();
            assert!(hint.contains("StreamEnabled=false") && hint.contains("new ARN"), "{hint}");
        }
    }

    #[tokio::test]
    async fn errors_of_the_service_say_what_can_be_done() {
        for (code, kind) in [
            ("ResourceNotFoundException", Kind::Invalid),
            ("AccessDeniedException", Kind::Invalid),
            ("UnrecognizedClientException", Kind::Invalid),
            ("ThrottlingException", Kind::Unavailable),
            ("InternalServerError", Kind::Unavailable),
            ("ValidationException", Kind::Invalid),
        ] {
            let fake = fake::start(move |_, _| fake::error(code)).await;
            let error = describe(&fake.client, &fake::table_name(), second(1)).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{code}: {error}");
            assert!(error.to_string().contains("notes"), "{error}");
        }
        let fake = fake::start(|_, _| panic!("never asked")).await;
        let client = fake.client.clone();
        drop(fake);
        let error = describe(&client, &fake::table_name(), second(1)).await.unwrap_err();
        assert!(matches!(error, TableError::Unavailable { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_make_sense_is_no_description() {
        for changes in [
            [("LatestStreamArn", json!("arn:aws:dynamodb:eu-west-1:0:table/other/stream/x"))],
            [("LatestStreamArn", json!("nonsense"))],
            [("AttributeDefinitions", json!([]))],
            [("KeySchema", json!([]))],
            [(
                "AttributeDefinitions",
                json!([
                    {"AttributeName": "noteId", "AttributeType": "BOOL"},
                    {"AttributeName": "createdAt", "AttributeType": "N"}
                ]),
            )],
        ] {
            let error = described(with(&changes)).await.unwrap_err();
            assert!(matches!(error, TableError::Malformed { .. }), "{changes:?}: {error}");
        }
    }

    #[tokio::test]
    async fn table_json_is_written_only_when_it_says_something_new() {
        let store = MemoryStore::new();
        let document = described(fake::table()).await.unwrap();
        assert!(store_description(&store, &document).await.unwrap());
        let later = TableDocument { described_at: second(1_600_000_000), ..document.clone() };
        assert!(!store_description(&store, &later).await.unwrap());
        let mut changed = later;
        changed.description["DeletionProtectionEnabled"] = json!(false);
        assert!(store_description(&store, &changed).await.unwrap());
        let key = layout::table_document(document.stream_arn.timeline());
        assert_eq!(documents::read::<TableDocument>(&store, &key).await.unwrap().unwrap(), changed);
    }

    #[tokio::test]
    async fn what_was_known_is_kept_when_it_cannot_be_read_any_more() {
        let store = MemoryStore::new();
        let document = described(fake::table()).await.unwrap();
        store_description(&store, &document).await.unwrap();
        let poorer = TableDocument {
            time_to_live: None,
            tags: None,
            point_in_time_recovery: None,
            not_read: vec!["TTL: denied".to_owned()],
            ..document.clone()
        };
        assert!(store_description(&store, &poorer).await.unwrap());
        let key = layout::table_document(document.stream_arn.timeline());
        let stored = documents::read::<TableDocument>(&store, &key).await.unwrap().unwrap();
        assert_eq!((&stored.tags, &stored.time_to_live), (&document.tags, &document.time_to_live));
        assert_eq!(stored.not_read, poorer.not_read);
        assert!(!store_description(&store, &poorer).await.unwrap());
    }

    async fn start(label: &str, created: Option<u64>, first_seen: u64) -> StartDocument {
        let arn = format!("arn:aws:dynamodb:eu-west-1:000000000000:table/notes/stream/{label}");
        let mut document = described(with(&[("LatestStreamArn", json!(arn))])).await.unwrap();
        document.created_milliseconds = created;
        start_of(&document, second(first_seen))
    }

    #[tokio::test]
    async fn a_stream_that_was_born_with_its_table_is_whole() {
        let born = CREATED / 1000;
        for (label, created) in [
            ("2020-03-29T10:00:00.123", CREATED),
            ("2020-03-29T10:00:01.000", CREATED + 10),
            ("2020-03-29T10:00:00.900", CREATED + 1800),
            ("1585476001", CREATED),
            ("1585476000", CREATED + 1999),
            ("1585476000500", CREATED + 700),
        ] {
            let start = start(label, Some(created), born + 10).await;
            assert!(start.whole, "{label} {created}: {}", start.reason);
            assert!(start.covered_from.get() <= born + 1);
        }
    }

    #[tokio::test]
    async fn a_stream_that_is_younger_than_its_table_is_not_whole_but_covered_from_its_birth() {
        let born = CREATED / 1000;
        for label in ["2020-03-29T10:00:02.000", "2020-03-29T10:00:01.200", "2020-03-29T10:05:00.123", "1585476002"] {
            let start = start(label, Some(CREATED + 123), born + 600).await;
            assert!(!start.whole, "{label}");
            assert!(start.reason.contains("what was written before"), "{}", start.reason);
            assert!(start.covered_from.get() > born && start.covered_from.get() <= born + 300);
        }
    }

    #[tokio::test]
    async fn a_stream_that_is_first_seen_after_a_day_has_lost_its_first_records() {
        let born = CREATED / 1000;
        let day = 24 * 3600;
        let in_time = start("2020-03-29T10:00:00.123", Some(CREATED), born + day - 400).await;
        assert!(in_time.whole && in_time.covered_from.get() == born);
        let late = start("2020-03-29T10:00:00.123", Some(CREATED), born + 2 * day).await;
        assert!(!late.whole && late.reason.contains("older than a day"), "{}", late.reason);
        assert_eq!(late.covered_from.get(), born + day + 300);
    }

    #[tokio::test]
    async fn what_is_not_known_is_not_taken_as_whole() {
        let born = CREATED / 1000;
        let unknown = start("ddblocal-7", Some(CREATED), born + 10).await;
        assert!(!unknown.whole && unknown.covered_from.get() == born + 10);
        let no_creation = start("2020-03-29T10:00:00.123", None, born + 10).await;
        assert!(!no_creation.whole && no_creation.covered_from.get() == born);
        let before_the_table = start("2020-03-29T09:00:00.123", Some(CREATED), born + 10).await;
        assert!(!before_the_table.whole, "{}", before_the_table.reason);
        let in_the_future = start("2020-03-29T12:00:00.123", Some(CREATED), born + 10).await;
        assert!(!in_the_future.whole && in_the_future.covered_from.get() == born + 10);
        // This machine's clock may be a little behind.
        assert!(start("2020-03-29T10:00:00.123", Some(CREATED), born - 60).await.whole);
    }
}
