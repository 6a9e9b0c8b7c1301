use super::*;
use crate::source::event::tests::insert;
use crate::store::memory::MemoryStore;

fn batch(records: &[Value]) -> Batch {
    let payload = json!({"Records": records}).to_string();
    serde_json::from_str::<StreamEvent>(&payload).unwrap().into_batch().unwrap()
}

fn of_table(mut record: Value, table: &str, key: &str, sequence: &str) -> Value {
    record["eventSourceARN"] = json!(format!("arn:aws:dynamodb:eu-west-1:000000000000:table/{table}/stream/1"));
    record["dynamodb"]["Keys"]["noteId"] = json!({"S": key});
    record["dynamodb"]["NewImage"]["noteId"] = json!({"S": key});
    record["dynamodb"]["SequenceNumber"] = json!(sequence);
    record
}

#[tokio::test]
async fn an_event_of_several_tables_makes_one_segment_for_each() {
    let store = MemoryStore::new();
    let records = [
        of_table(insert(), "notes", "a", "1"),
        of_table(insert(), "users", "a", "1"),
        of_table(insert(), "notes", "b", "2"),
        json!({"eventName": "INSERT"}),
    ];
    append_all(&store, batch(&records), "function").await.unwrap();
    let keys: Vec<String> =
        crate::store::ReadStore::list_all(&store, "").await.unwrap().into_iter().map(|o| o.key).collect();
    let count = |prefix: &str| keys.iter().filter(|key| key.starts_with(prefix)).count();
    assert_eq!((count("notes/1/segments/"), count("users/1/segments/"), count("~quarantine/")), (1, 1, 1), "{keys:?}");
    assert_eq!(keys.len(), 3);
}

#[tokio::test]
async fn what_came_before_is_measured_as_duplicates() {
    let store = MemoryStore::new();
    let (first, second) = (of_table(insert(), "notes", "a", "1"), of_table(insert(), "notes", "b", "2"));
    let mut contradiction = second.clone();
    contradiction["dynamodb"]["NewImage"]["content"] = json!({"S": "something else"});
    let measured = async |records: &[Value]| {
        let part = batch(records);
        let given = Given::of(&part);
        let report = append::append(&store, part).await.unwrap();
        (given.duplicates(&report), report.records, report.quarantined)
    };
    assert_eq!(measured(&[first.clone(), second.clone()]).await, (0, 2, 0));
    assert_eq!(measured(&[first.clone(), second.clone()]).await, (2, 2, 0));
    assert_eq!(measured(&[first.clone(), first.clone(), first.clone()]).await, (2, 1, 0));
    assert_eq!(measured(&[first, second.clone(), contradiction.clone()]).await, (2, 2, 1));
    let third = of_table(insert(), "notes", "c", "3");
    assert_eq!(measured(&[third, second, contradiction]).await, (0, 2, 1));
}

#[test]
fn the_lag_is_the_age_of_the_oldest_record_and_is_left_out_where_no_record_has_a_time() {
    let mut undated = of_table(insert(), "notes", "b", "2");
    undated["dynamodb"].as_object_mut().unwrap().remove("ApproximateCreationDateTime");
    let function = || Dimension::Function("f".to_owned());
    let line = |records: &[Value]| {
        let given = Given::of(&batch(records));
        let now = Second::new(1_585_476_007).unwrap();
        let line = given.measure(function(), &AppendReport::default(), 5, now).line(0);
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let dated = of_table(insert(), "notes", "a", "1");
    assert_eq!(line(&[dated, undated.clone()])["OldestRecordAgeSeconds"], 7);
    assert!(line(&[undated]).get("OldestRecordAgeSeconds").is_none());
}
