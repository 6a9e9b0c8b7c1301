//! What happened to a table or its stream itself: made, deleted, switched, described anew.
//!
//! Specified in FORMAT.md, "Documents": an event's name comes from its cause, so whoever sees the same thing twice writes one object. What enters are a
//! look at a table and what the journal knows of it; what leaves are events, and their documents. No replay needs one.

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::documents::{self, DocumentError, EventDocument, TableDocument};
use crate::layout;
use crate::model::{Second, Timeline, TimelineLabel};
use crate::source::stream::TableSight;
use crate::store::{PutOutcome, StoreError, WriteStore};

/// `EventDocument::kind` of a table's first sight.
pub const TABLE_CREATED: &str = "table-created";
/// Of a table that is gone.
pub const TABLE_DELETED: &str = "table-deleted";
/// Of a new stream of the same table.
pub const STREAM_SWITCHED: &str = "stream-switched";
/// Of a stream that is switched off.
pub const STREAM_OFF: &str = "stream-off";
/// Of a description that changed.
pub const DESCRIPTION_CHANGED: &str = "description-changed";
/// Of a mapping that was made.
pub const MAPPING_MADE: &str = "mapping-made";
/// Of a mapping that was enabled or mended.
pub const MAPPING_MENDED: &str = "mapping-mended";
/// Of a call that an audit trail shows.
pub const API_CALL: &str = "api-call";

/// Makes an event durable; whether it was not there yet.
///
/// # Errors
/// When the store fails.
pub async fn record(
    store: &dyn WriteStore,
    timeline: &Timeline,
    name: &str,
    event: &EventDocument,
) -> Result<bool, DocumentError> {
    let key = layout::event_document(timeline, name);
    match store.put_new(&key, documents::to_bytes(event)?).await {
        Ok(outcome) => Ok(outcome == PutOutcome::Created),
        // It was seen before, at another second: that statement stands.
        Err(StoreError::Differs { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What the journal knows of one timeline, as far as its documents go.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The timeline.
    pub timeline: Timeline,
    /// `table.json`.
    pub document: Option<TableDocument>,
    /// Whether it has ended.
    pub ended: bool,
}

impl Known {
    /// Whether it is a stream of the table that is looked at; one that was never described is, unless it is older than the table.
    fn is_of(&self, sight: &TableSight) -> bool {
        if let Some(document) = &self.document {
            return sight.is_same_table(document);
        }
        let birth = self.timeline.label.birth_milliseconds();
        // Births may be told a second apart.
        birth.zip(sight.created_milliseconds).is_none_or(|(birth, created)| birth + 1000 >= created)
    }
}

/// Timelines in the order of their births; those that do not tell it come first.
#[must_use]
pub fn by_birth(mut known: Vec<Known>) -> Vec<Known> {
    known.sort_by(|a, b| {
        let birth = |known: &Known| known.timeline.label.birth_milliseconds();
        birth(a).cmp(&birth(b)).then_with(|| a.timeline.label.cmp(&b.timeline.label))
    });
    known
}

fn event(at: Second, kind: &str, text: String, details: Value) -> EventDocument {
    EventDocument { at, seen: true, kind: kind.to_owned(), text, by: None, details }
}

/// What a look at a table says of its timelines: where each event belongs, its name and the event. `known` is in the order of birth.
#[must_use]
pub fn compare(
    known: &[Known],
    sight: Option<&TableSight>,
    now: Second,
) -> Vec<(Timeline, &'static str, EventDocument)> {
    let mut events = Vec::new();
    // The latest stream of each table that had this name and is gone.
    let gone: Vec<&Known> = known.iter().filter(|known| sight.is_none_or(|sight| !known.is_of(sight))).collect();
    for (at, line) in gone.iter().enumerate() {
        let id = |known: &Known| known.document.as_ref().and_then(|document| document.table_id.clone());
        let same_later = gone.iter().skip(at + 1).any(|later| id(line).is_some() && id(later) == id(line));
        // What has ended says so itself.
        if same_later || line.ended {
            continue;
        }
        let id = id(line).map(|id| format!(" (id {id})")).unwrap_or_default();
        let text = match sight {
            Some(_) => format!("the table{id} was deleted, and another one of its name is there"),
            None => format!("the table{id} was deleted"),
        };
        events.push((line.timeline.clone(), TABLE_DELETED, event(now, TABLE_DELETED, text, json!({}))));
    }
    let Some(sight) = sight else { return events };
    let Some(stream) = &sight.stream else { return events };
    let timeline = stream.arn.timeline();
    let own: Vec<&Known> = known.iter().filter(|known| known.is_of(sight)).collect();
    let here = own.iter().any(|known| known.timeline == *timeline);
    if !stream.enabled {
        if here {
            let text = "the stream was switched off".to_owned();
            events.push((timeline.clone(), STREAM_OFF, event(now, STREAM_OFF, text, json!({}))));
        }
        return events;
    }
    let mut earlier = own.iter().filter(|known| known.timeline != *timeline).filter(|known| {
        let birth = |label: &TimelineLabel| label.birth_milliseconds();
        birth(&known.timeline.label) <= birth(&timeline.label)
    });
    if let Some(earlier) = earlier.next_back() {
        let from = &earlier.timeline.label;
        let text = format!("the stream was switched off and on: it was {from} before");
        let details = json!({"from": from.as_str()});
        events.push((timeline.clone(), STREAM_SWITCHED, event(now, STREAM_SWITCHED, text, details)));
    } else {
        let created = sight.created_milliseconds.and_then(|milliseconds| Second::new(milliseconds / 1000).ok());
        let id = sight.table_id.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default();
        let document = EventDocument {
            at: created.unwrap_or(now),
            seen: created.is_none(),
            kind: TABLE_CREATED.to_owned(),
            text: format!("the table{id} was made"),
            by: None,
            details: json!({"table_id": sight.table_id, "created_milliseconds": sight.created_milliseconds}),
        };
        events.push((timeline.clone(), TABLE_CREATED, document));
    }
    events
}

/// The event between two descriptions of one stream; none where nothing but the reading of it changed.
///
/// # Errors
/// Never for descriptions; the encoder's error is passed on.
pub fn description_changed(
    stored: &TableDocument,
    new: &TableDocument,
) -> Result<Option<(String, EventDocument)>, DocumentError> {
    let (before, after) = (fields(stored), fields(new));
    let mut changed: Vec<&String> = before.keys().chain(after.keys()).collect();
    changed.sort_unstable();
    changed.dedup();
    changed.retain(|field| before.get(*field) != after.get(*field));
    if changed.is_empty() {
        return Ok(None);
    }
    let mut hash = Sha256::new();
    hash.update(documents::to_bytes(stored)?);
    hash.update(documents::to_bytes(&TableDocument { described_at: stored.described_at, ..new.clone() })?);
    let digits = hash.finalize().iter().take(8).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let was: Map<String, Value> =
        changed.iter().map(|field| ((*field).clone(), before.get(*field).cloned().unwrap_or(Value::Null))).collect();
    let names = changed.iter().map(|field| field.as_str()).collect::<Vec<_>>().join(", ");
    let text = format!("the table's description changed: {names}");
    let details = json!({"changed": changed, "before": was});
    Ok(Some((format!("description-{digits}"), event(new.described_at, DESCRIPTION_CHANGED, text, details))))
}

/// What a description says, field by field.
fn fields(document: &TableDocument) -> Map<String, Value> {
    fn value(of: &impl Serialize) -> Value {
        serde_json::to_value(of).unwrap_or(Value::Null)
    }
    let mut fields = document.description.as_object().cloned().unwrap_or_default();
    for (name, value) in [
        ("TimeToLive", value(&document.time_to_live)),
        ("Tags", value(&document.tags)),
        ("PointInTimeRecovery", value(&document.point_in_time_recovery)),
        ("TableId", value(&document.table_id)),
        ("StreamViewType", value(&document.stream_view_type)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{StreamArn, TableName};
    use crate::source::stream::StreamSight;
    use crate::store::ReadStore as _;
    use crate::store::memory::MemoryStore;

    fn arn(label: &str) -> StreamArn {
        StreamArn::parse(&format!("arn:aws:dynamodb:x:0:table/notes/stream/{label}")).unwrap()
    }

    fn document(label: &str, id: &str) -> TableDocument {
        TableDocument {
            table: TableName::parse("notes").unwrap(),
            stream_arn: arn(label),
            table_id: Some(id.to_owned()),
            key_schema: Vec::new(),
            stream_view_type: "NEW_AND_OLD_IMAGES".to_owned(),
            created_milliseconds: None,
            described_at: Second::new(10).unwrap(),
            description: json!({"BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"}}),
            time_to_live: None,
            tags: None,
            point_in_time_recovery: None,
            not_read: Vec::new(),
        }
    }

    fn known(label: &str, id: &str) -> Known {
        Known { timeline: arn(label).timeline().clone(), document: Some(document(label, id)), ended: false }
    }

    fn sight(label: &str, id: &str, enabled: bool) -> TableSight {
        TableSight {
            status: "ACTIVE".to_owned(),
            table_id: Some(id.to_owned()),
            created_milliseconds: Some(5_000),
            stream: Some(StreamSight { arn: arn(label), enabled, view_type: None }),
        }
    }

    fn kinds(known: &[Known], sight: Option<&TableSight>) -> Vec<String> {
        compare(known, sight, Second::new(99).unwrap())
            .into_iter()
            .map(|(timeline, name, event)| {
                assert_eq!(name, event.kind);
                format!("{name} {}", timeline.label)
            })
            .collect()
    }

    #[test]
    fn each_change_of_a_table_is_the_event_of_its_own_timeline() {
        assert_eq!(kinds(&[], Some(&sight("1", "a", true))), ["table-created 1"]);
        assert_eq!(kinds(&[known("1", "a")], Some(&sight("2", "a", true))), ["stream-switched 2"]);
        assert_eq!(kinds(&[known("1", "a")], Some(&sight("1", "a", false))), ["stream-off 1"]);
        assert_eq!(
            kinds(&[known("1", "a"), known("2", "a")], Some(&sight("3", "b", true))),
            ["table-deleted 2", "table-created 3"]
        );
        assert_eq!(kinds(&[known("1", "a")], None), ["table-deleted 1"]);
        assert_eq!(kinds(&[], None), Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_event_that_is_seen_again_stays_one_object() {
        let store = MemoryStore::default();
        let known = [known("1", "a")];
        for now in [50, 60] {
            for (timeline, name, event) in compare(&known, None, Second::new(now).unwrap()) {
                assert_eq!(record(&store, &timeline, name, &event).await.unwrap(), now == 50);
            }
        }
        let stored: EventDocument =
            documents::read(&store, "notes/1/events/table-deleted.json").await.unwrap().unwrap();
        assert_eq!(stored.at.get(), 50);
    }

    #[tokio::test]
    async fn a_changed_description_is_kept_as_it_was_before_it_is_replaced() {
        let store = MemoryStore::default();
        let first = document("1", "a");
        assert!(crate::table::store_description(&store, &first).await.unwrap());
        let mut second = TableDocument { described_at: Second::new(20).unwrap(), ..first.clone() };
        assert!(!crate::table::store_description(&store, &second).await.unwrap());
        second.description = json!({"BillingModeSummary": {"BillingMode": "PROVISIONED"}});
        second.not_read = vec!["tags: denied".to_owned()];
        assert!(crate::table::store_description(&store, &second).await.unwrap());
        let events = store.list_all("notes/1/events/").await.unwrap();
        assert_eq!(events.len(), 1);
        let event: EventDocument = documents::read(&store, &events[0].key).await.unwrap().unwrap();
        assert_eq!((event.kind.as_str(), event.at.get()), (DESCRIPTION_CHANGED, 20));
        assert_eq!(event.details["before"]["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST");
        assert_eq!(event.details["changed"], json!(["BillingModeSummary"]));
    }
}
