use super::*;
use crate::model::{AttributeValue, ChangeKind, ItemKey, Second, SequenceNumber};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(crate) const ARN: &str =
    "arn:aws:dynamodb:eu-west-1:000000000000:table/notes-table-dev/stream/2020-03-29T10:00:00.123";

pub(crate) fn insert() -> Value {
    json!({
        "eventID": "c4ca4238a0b923820dcc509a6f75849b",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_585_476_000,
            "Keys": {"noteId": {"S": "a"}},
            "NewImage": {"noteId": {"S": "a"}, "content": {"S": "hello"}, "stars": {"N": "1.50"}},
            "SequenceNumber": "100000000000000000000007",
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES"
        },
        "eventSourceARN": ARN
    })
}

fn modify() -> Value {
    let mut record = insert();
    record["eventName"] = json!("MODIFY");
    record["dynamodb"]["OldImage"] = json!({"noteId": {"S": "a"}, "content": {"S": "before"}});
    record
}

fn remove() -> Value {
    let mut record = modify();
    record["eventName"] = json!("REMOVE");
    without(&mut record, "NewImage");
    record
}

fn without(record: &mut Value, field: &str) {
    record["dynamodb"].as_object_mut().unwrap().remove(field);
}

fn decode(record: &Value) -> Result<StreamRecord, RecordError> {
    decode_record(record.to_string().as_bytes())
}

fn with(mut record: Value, field: &str, value: Value) -> Result<StreamRecord, RecordError> {
    record["dynamodb"][field] = value;
    decode(&record)
}

#[test]
fn an_insert_has_a_new_image_without_its_key() {
    let record = decode(&insert()).unwrap();
    assert_eq!(record.stream.as_str(), ARN);
    assert_eq!(record.key_attributes.to_string(), "noteId (S)");
    let change = record.record;
    assert_eq!(change.kind, ChangeKind::Insert);
    assert_eq!(change.sequence, SequenceNumber::parse("100000000000000000000007").unwrap());
    assert_eq!(change.second.unwrap().to_string(), "2020-03-29T10:00:00Z");
    assert_eq!(change.old, None);
    let image = change.new.unwrap().decode().unwrap();
    assert_eq!(image.keys().collect::<Vec<_>>(), ["content", "stars"]);
    let AttributeValue::N(stars) = &image["stars"] else { panic!("not a number") };
    assert_eq!(stars.as_str(), "1.50");
    let keys = Attributes::from([("noteId".to_owned(), AttributeValue::S("a".to_owned()))]);
    assert_eq!(change.key, ItemKey::encode(&record.key_attributes, &keys).unwrap());
    assert_eq!(change.user, None);
}

#[test]
fn a_modify_has_both_images_and_a_remove_the_old_one() {
    let change = decode(&modify()).unwrap().record;
    assert_eq!(change.kind, ChangeKind::Modify);
    assert!(change.old.is_some() && change.new.is_some() && change.old != change.new);
    let change = decode(&remove()).unwrap().record;
    assert_eq!((change.kind, change.new), (ChangeKind::Remove, None));
    assert!(change.old.is_some());
}

#[test]
fn a_delete_by_ttl_is_told_in_both_spellings() {
    for user in [
        json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"}),
        json!({"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}),
    ] {
        let mut record = remove();
        record["userIdentity"] = user;
        assert!(decode(&record).unwrap().record.user.unwrap().is_ttl());
    }
    let mut record = remove();
    record["userIdentity"] = json!(null);
    assert_eq!(decode(&record).unwrap().record.user, None);
    record["userIdentity"] = json!({});
    assert_eq!(decode(&record).unwrap().record.user, None);
    record["userIdentity"] = json!({"type": "Service"});
    assert!(!decode(&record).unwrap().record.user.unwrap().is_ttl());
}

#[test]
fn a_time_may_be_a_number_in_seconds_or_milliseconds_or_text_or_absent() {
    for (time, second) in [
        (json!(1_585_476_000), Some(1_585_476_000)),
        (json!(1_585_476_000.987), Some(1_585_476_000)),
        (json!(1.585_476e9), Some(1_585_476_000)),
        (json!(1_585_476_000_987_u64), Some(1_585_476_000)),
        (json!("1585476000"), Some(1_585_476_000)),
        (json!("1585476000987"), Some(1_585_476_000)),
        (json!("1.585476E9"), Some(1_585_476_000)),
        (json!("2020-03-29T10:00:00Z"), Some(1_585_476_000)),
        (json!("2020-03-29T12:00:00.987+02:00"), Some(1_585_476_000)),
        (json!(null), None),
        (json!(0), None),
        (json!("1970-01-01T00:00:00Z"), None),
    ] {
        let found = with(insert(), "ApproximateCreationDateTime", time.clone()).unwrap().record.second;
        assert_eq!(found.map(Second::get), second, "{time}");
    }
    let mut record = insert();
    without(&mut record, "ApproximateCreationDateTime");
    assert_eq!(decode(&record).unwrap().record.second, None);
    for bad in [json!(-1), json!("soon"), json!("NaN"), json!("inf"), json!(1e300), json!("1969-12-31T23:59:59Z")] {
        assert!(
            matches!(with(insert(), "ApproximateCreationDateTime", bad.clone()), Err(RecordError::Time { .. })),
            "{bad}"
        );
    }
    for bad in [json!(true), json!([]), json!({})] {
        assert!(with(insert(), "ApproximateCreationDateTime", bad).is_err());
    }
    let huge = insert().to_string().replace("1585476000", &"9".repeat(400));
    assert!(decode_record(huge.as_bytes()).is_err());
}

#[test]
fn what_is_optional_may_be_absent_and_what_is_unknown_is_ignored() {
    let mut record = insert();
    for field in ["SizeBytes", "StreamViewType", "ApproximateCreationDateTime"] {
        without(&mut record, field);
    }
    for field in ["eventID", "eventVersion", "eventSource", "awsRegion"] {
        record.as_object_mut().unwrap().remove(field);
    }
    record["new"] = json!({"of": ["next", {"year": 1.5}], "x": null});
    record["dynamodb"]["Newer"] = json!([[[]]]);
    record["dynamodb"]["SizeBytes"] = json!(0);
    assert!(decode(&record).is_ok());
}

#[test]
fn what_no_record_can_be_without_is_named() {
    for field in ["Keys", "SequenceNumber"] {
        let mut record = insert();
        without(&mut record, field);
        assert_eq!(decode(&record), Err(RecordError::Missing { field }));
        assert_eq!(with(insert(), field, json!(null)), Err(RecordError::Missing { field }));
    }
    for field in ["eventName", "dynamodb", "eventSourceARN"] {
        let mut record = insert();
        record.as_object_mut().unwrap().remove(field);
        assert_eq!(decode(&record), Err(RecordError::Missing { field }));
    }
}

#[test]
fn a_record_that_names_no_stream_is_of_the_one_that_is_given() {
    let mut record = insert();
    let other = StreamArn::parse(&ARN.replace("notes-table-dev", "other")).unwrap();
    let of = |record: &Value| decode_record_of(record.to_string().as_bytes(), Some(&other)).unwrap().stream;
    assert_eq!(of(&record).as_str(), ARN);
    record.as_object_mut().unwrap().remove("eventSourceARN");
    assert_eq!(of(&record), other);
}

#[test]
fn another_view_type_is_refused_with_the_way_out() {
    for view in ["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "SOMETHING"] {
        let error = with(insert(), "StreamViewType", json!(view)).unwrap_err();
        assert_eq!(error, RecordError::View { found: view.to_owned() });
        let reason = error.reason();
        assert!(reason.contains("NEW_AND_OLD_IMAGES") && reason.contains("new ARN"), "{reason}");
    }
}

#[test]
fn a_record_that_contradicts_itself_is_not_stored_as_truth() {
    let image = json!({"noteId": {"S": "a"}});
    let missing = |mut record: Value, field: &str| {
        without(&mut record, field);
        decode(&record)
    };
    let mut unclear = modify();
    without(&mut unclear, "OldImage");
    without(&mut unclear, "StreamViewType");
    for result in [
        missing(insert(), "NewImage"),
        with(insert(), "OldImage", image.clone()),
        missing(modify(), "NewImage"),
        decode(&unclear),
        with(remove(), "NewImage", image),
        missing(remove(), "OldImage"),
    ] {
        assert!(matches!(result, Err(RecordError::Contradiction { .. })), "{result:?}");
    }
}

#[test]
fn a_modify_without_an_old_image_is_an_insert_where_the_stream_carries_old_images() {
    let mut record = modify();
    without(&mut record, "OldImage");
    let change = decode(&record).unwrap().record;
    assert_eq!((change.kind, change.old), (ChangeKind::Modify, None));
}

#[test]
fn an_image_without_attributes_is_no_image() {
    let change = with(insert(), "OldImage", json!({})).unwrap().record;
    assert_eq!(change.old, None);
    assert!(matches!(with(remove(), "OldImage", json!({})), Err(RecordError::Contradiction { .. })));
}

#[test]
fn an_item_that_is_only_its_key_has_an_empty_image() {
    let change = with(insert(), "NewImage", json!({"noteId": {"S": "a"}})).unwrap().record;
    assert!(change.new.unwrap().decode().unwrap().is_empty());
}

#[test]
fn an_image_of_another_item_is_refused() {
    for image in [json!({"noteId": {"S": "b"}}), json!({"noteId": {"B": "YQ=="}}), json!({"content": {"S": "no key"}})]
    {
        assert!(matches!(
            with(insert(), "NewImage", image.clone()),
            Err(RecordError::OtherKey { image: "NewImage", .. })
        ));
        assert!(matches!(with(modify(), "OldImage", image), Err(RecordError::OtherKey { image: "OldImage", .. })));
    }
}

#[test]
fn keys_are_one_or_two_scalars() {
    for keys in [
        json!({}),
        json!({"a": {"S": "1"}, "b": {"S": "1"}, "c": {"S": "1"}}),
        json!({"a": {"BOOL": true}}),
        json!({"a": {"S": "x".repeat(9000)}}),
    ] {
        assert!(matches!(with(insert(), "Keys", keys), Err(RecordError::Key { .. })));
    }
}

#[test]
fn a_wrong_field_is_named_with_its_place() {
    for (field, value, named) in [
        ("NewImage", json!({"noteId": {"S": "a"}, "x": {"N": "x"}}), "NewImage"),
        ("OldImage", json!({"x": {"Q": 1}}), "OldImage"),
        ("Keys", json!([]), "Keys"),
        ("SequenceNumber", json!(7), "string"),
    ] {
        let error = with(modify(), field, value).unwrap_err().to_string();
        assert!(error.contains(named) && error.starts_with("not a stream record"), "{error}");
    }
    assert!(matches!(with(insert(), "SequenceNumber", json!("x")), Err(RecordError::Sequence { .. })));
    let mut record = insert();
    record["eventSourceARN"] = json!("arn:aws:sqs:eu-west-1:000000000000:queue");
    assert!(matches!(decode(&record), Err(RecordError::Stream { .. })));
    record = insert();
    record["eventName"] = json!("UPSERT");
    assert!(matches!(decode(&record), Err(RecordError::EventName { .. })));
}

#[test]
fn a_field_that_comes_twice_is_refused() {
    let text = insert().to_string();
    for (field, again) in [
        ("\"eventName\":", "\"eventName\":\"REMOVE\",\"eventName\":"),
        ("\"SequenceNumber\":", "\"SequenceNumber\":\"1\",\"SequenceNumber\":"),
        ("\"NewImage\":", "\"NewImage\":{\"noteId\":{\"S\":\"a\"}},\"NewImage\":"),
    ] {
        let twice = text.replace(field, again);
        assert_ne!(twice, text);
        let error = decode_record(twice.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("duplicate field"), "{error}");
    }
}

#[test]
fn two_images_of_four_hundred_kilobytes_are_decoded() {
    let big = |byte: &str| json!({"noteId": {"S": "a"}, "content": {"S": byte.repeat(400_000)}});
    let mut record = modify();
    record["dynamodb"]["OldImage"] = big("x");
    record["dynamodb"]["NewImage"] = big("y");
    let change = decode(&record).unwrap().record;
    assert!(change.old.unwrap().as_bytes().len() > 400_000);
}

#[test]
fn an_event_keeps_what_is_not_understood_byte_for_byte() {
    let good = insert().to_string();
    let bad = "{ \"eventName\" : \"INSERT\" ,\n\t\"eventSourceARN\":\"arn:aws:dynamodb:eu-west-1:000000000000:table/notes/stream/x\", \"unknown\":1.50 }";
    let event = format!("{{\"Records\":[{good}, {bad} , 17, {good}],\"more\":{{}}}}");
    let batch = decode_event(event.as_bytes()).unwrap();
    assert_eq!(batch.records.len(), 2);
    assert_eq!(batch.quarantined[0].raw, bad);
    assert_eq!(batch.quarantined[0].timeline.as_ref().unwrap().to_string(), "notes/x");
    assert!(batch.quarantined[0].reason.contains("no dynamodb"), "{}", batch.quarantined[0].reason);
    assert_eq!(batch.quarantined[1].raw, "17");
    assert_eq!(batch.quarantined[1].timeline, None);
}

#[test]
fn what_is_no_event_is_an_error_with_a_way_out() {
    for bad in ["", "{}", "[]", "{\"Records\":{}}", "{\"Records\":[", "null"] {
        let error = decode_event(bad.as_bytes()).unwrap_err();
        assert!(error.hint().unwrap().contains("Records"));
    }
    assert_eq!(decode_event(b"{\"Records\":[]}").unwrap().records, []);
}

#[test]
fn a_megabyte_of_nesting_is_an_error_wherever_it_stands() {
    let bomb = |open: &str| open.repeat((1 << 20) / open.len());
    for text in [
        bomb("["),
        bomb("{\"a\":"),
        format!("{{\"dynamodb\":{}", bomb("{\"NewImage\":")),
        format!("{{\"dynamodb\":{{\"NewImage\":{{\"a\":{}", bomb("{\"L\":[")),
        format!("{{\"dynamodb\":{{\"NewImage\":{{\"a\":{}", bomb("{\"M\":{\"b\":")),
        format!("{{\"dynamodb\":{{\"ApproximateCreationDateTime\":{}", bomb("[")),
        format!("{{\"unknown\":{}", bomb("[")),
        format!("{{\"unknown\":{}", bomb("{\"a\":")),
        format!("{{\"userIdentity\":{{\"x\":{}", bomb("[")),
    ] {
        assert!(decode_record(text.as_bytes()).is_err());
        assert!(decode_event(format!("{{\"Records\":[{text}").as_bytes()).is_err());
    }
    for open in ["[", "{\"a\":"] {
        let document = format!("{{\"unknown\":{}", bomb(open));
        assert!(decode_event(document.as_bytes()).is_err());
    }
}

#[test]
fn nesting_is_counted_outside_of_strings_alone() {
    for (json, levels) in
        [("[]", 1), ("[[],[[]]]", 3), (r#"{"a":"[[[{","b":["\"[[",{}]}"#, 3), (r#"["\\\\",[]]"#, 2), ("1", 0)]
    {
        assert!(!nested_deeper_than(json.as_bytes(), levels), "{json}");
        assert!(levels == 0 || nested_deeper_than(json.as_bytes(), levels - 1), "{json}");
    }
}

proptest! {
    /// A text of any length and with escapes anywhere ends where it was written to end.
    #[test]
    fn a_text_ends_at_its_closing_quote(text in r#"[ab\"\\\u{e9}]{0,40}"#, behind in r#"[ab\"\\\[]{0,20}"#) {
        let json = format!("{}{behind}", serde_json::to_string(&text).unwrap());
        let (_, inside) = json.as_bytes().split_first().unwrap();
        prop_assert_eq!(behind_text(inside), behind.as_bytes());
        // Nothing is behind a text that does not end.
        let endless = "a".repeat(behind.len());
        prop_assert_eq!(behind_text(endless.as_bytes()), b"");
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_record(&bytes);
        let _ = decode_event(&bytes);
    }

    #[test]
    fn a_mutated_record_is_decoded_or_refused(
        kind in 0usize..3,
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0u8..3), 1..6)
    ) {
        let record = [insert(), modify(), remove()][kind].to_string();
        let mut bytes = record.into_bytes();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                _ => bytes.insert(at, byte),
            }
        }
        let _ = decode_record(&bytes);
        let mut event = b"{\"Records\":[".to_vec();
        event.extend(bytes);
        event.extend(b"]}");
        let _ = decode_event(&event);
    }

    #[test]
    fn every_item_comes_through_as_it_was(
        old in crate::model::test_strategies::any_attributes(),
        new in crate::model::test_strategies::any_attributes(),
    ) {
        let keyed = |item: &Attributes| {
            let mut item = item.clone();
            item.insert("noteId".to_owned(), AttributeValue::S("a".to_owned()));
            serde_json::to_value(super::super::attribute::ItemJson(&item)).unwrap()
        };
        let mut record = modify();
        record["dynamodb"]["OldImage"] = keyed(&old);
        record["dynamodb"]["NewImage"] = keyed(&new);
        let change = decode(&record).unwrap().record;
        prop_assert_eq!(change.old.unwrap().decode().unwrap(), old);
        prop_assert_eq!(change.new.unwrap().decode().unwrap(), new);
    }
}
