use std::collections::BTreeSet;
use std::io::Read as _;

use journal::Classify as _;
use journal::model::{AttributeValue, KeyAttribute, KeyAttributes, KeyType, Number};

use super::*;
use crate::key_schema::KeySchema;
use crate::merge::{RunInput, RunKind};
use crate::state::{Flow, visit_items};

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(text: &str) -> AttributeValue {
    AttributeValue::N(Number::parse(text).unwrap())
}

/// Every type, with what the formats stumble over.
fn item() -> Attributes {
    Attributes::from([
        ("noteId".to_owned(), s("a,\"b\"\n")),
        ("exact".to_owned(), n("12345678901234567890123456789012345678")),
        ("tiny".to_owned(), n("1E-30")),
        ("plus".to_owned(), n("+.50")),
        ("binary".to_owned(), AttributeValue::B(vec![0, 255])),
        ("strings".to_owned(), AttributeValue::Ss(BTreeSet::from(["y".to_owned(), "x".to_owned()]))),
        ("numbers".to_owned(), AttributeValue::Ns(BTreeSet::from([Number::parse("1E2").unwrap()]))),
        ("binaries".to_owned(), AttributeValue::Bs(BTreeSet::from([vec![1]]))),
        ("map".to_owned(), AttributeValue::M(Attributes::from([("é".to_owned(), AttributeValue::L(vec![n("1")]))]))),
        ("none".to_owned(), AttributeValue::Null),
        ("yes".to_owned(), AttributeValue::Bool(true)),
        ("empty".to_owned(), s("")),
    ])
}

fn written(format: Format, columns: Option<&CsvColumns>, item: &Attributes) -> String {
    let mut bytes = Vec::new();
    write_item(format, columns, item, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn dynamodb_json_is_what_awss_export_writes() {
    let small = Attributes::from([("b".to_owned(), n("1")), ("a".to_owned(), AttributeValue::Null)]);
    assert_eq!(written(Format::DynamodbJson, None, &small), "{\"Item\":{\"a\":{\"NULL\":true},\"b\":{\"N\":\"1\"}}}\n");
    let line = written(Format::DynamodbJson, None, &item());
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let back = journal::source::attribute::parse_item(value["Item"].to_string().as_bytes()).unwrap();
    assert_eq!(back, item());
}

#[test]
fn plain_json_keeps_every_digit() {
    let line = written(Format::Json, None, &item());
    assert_eq!(
        line,
        "{\"binaries\":[\"AQ==\"],\"binary\":\"AP8=\",\"empty\":\"\",\"exact\":12345678901234567890123456789012345678,\
         \"map\":{\"é\":[1]},\"none\":null,\"noteId\":\"a,\\\"b\\\"\\n\",\"numbers\":[100],\"plus\":0.5,\
         \"strings\":[\"x\",\"y\"],\"tiny\":0.000000000000000000000000000001,\"yes\":true}\n"
    );
    assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
}

#[test]
fn csv_has_the_key_first_and_tells_missing_from_empty_and_null() {
    let names = KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap();
    let mut columns = CsvColumns::of_key(Some(&KeySchema::unordered(names)));
    columns.see(&item()).unwrap();
    let other = Attributes::from([("noteId".to_owned(), s("z")), ("late".to_owned(), s("x y"))]);
    columns.see(&other).unwrap();
    let mut text = Vec::new();
    columns.write_header(&mut text).unwrap();
    columns.write_row(&item(), &mut text).unwrap();
    columns.write_row(&other, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("noteId,binaries,binary,empty,exact,late,map,none,numbers,plus,strings,tiny,yes\r\n"));
    assert!(text.contains(",AP8=,\"\",12345678901234567890123456789012345678,,"), "{text}");
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(&rows[0][0], "a,\"b\"\n");
    assert_eq!((&rows[0][6], &rows[0][7], &rows[0][12]), ("{\"é\":[1]}", "null", "true"));
    assert_eq!((&rows[1][0], &rows[1][1], &rows[1][5]), ("z", "", "x y"));
}

#[test]
fn too_many_columns_are_refused() {
    let mut columns = CsvColumns::default();
    let many: Attributes = (0..COLUMNS_MAX).map(|at| (at.to_string(), s(""))).collect();
    columns.see(&many).unwrap();
    let error = columns.see(&Attributes::from([("more".to_owned(), s(""))])).unwrap_err();
    assert!(error.hint().unwrap().contains("--format json"));
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let names = || std::fs::read_dir(folder.path()).unwrap().count();
    let path = folder.path().join("notes.json");
    let mut dropped = Destination::file(&path, false).unwrap();
    dropped.write_all(b"half").unwrap();
    assert!(!path.exists());
    drop(dropped);
    assert_eq!(names(), 0, "nothing is left behind");

    let mut whole = Destination::file(&path, false).unwrap();
    whole.write_all(b"whole").unwrap();
    assert_eq!(whole.finish().unwrap(), 5);
    assert!(matches!(Destination::file(&path, false), Err(OutputError::Exists { .. })));
    let mut forced = Destination::file(&path, true).unwrap();
    forced.write_all(b"new").unwrap();
    forced.finish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(names(), 1);
}

#[test]
fn a_file_that_somebody_made_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.json");
    let mut late = Destination::file(&path, false).unwrap();
    late.write_all(b"late").unwrap();
    std::fs::write(&path, b"early").unwrap();
    assert!(matches!(late.finish(), Err(OutputError::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"early");
}

#[test]
fn names_choose_the_compression() {
    let folder = tempfile::tempdir().unwrap();
    let text = b"note ".repeat(1000);
    for name in ["a.json.gz", "a.json.zst"] {
        let path = folder.path().join(name);
        let mut destination = Destination::file(&path, false).unwrap();
        destination.write_all(&text).unwrap();
        let bytes = destination.finish().unwrap();
        let stored = std::fs::read(&path).unwrap();
        assert_eq!(bytes, u64::try_from(stored.len()).unwrap());
        let mut back = Vec::new();
        if path.extension().is_some_and(|extension| extension == "gz") {
            flate2::read::GzDecoder::new(stored.as_slice()).read_to_end(&mut back).unwrap();
        } else {
            zstd::Decoder::new(stored.as_slice()).unwrap().read_to_end(&mut back).unwrap();
        }
        assert_eq!(back, text);
    }
}

#[cfg(unix)]
#[test]
fn a_device_is_written_to_and_not_replaced() {
    let mut nothing = Destination::file(std::path::Path::new("/dev/null"), false).unwrap();
    nothing.write_all(b"note").unwrap();
    assert_eq!(nothing.finish().unwrap(), 4);
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    assert!(matches!(Destination::file(std::path::Path::new("/dev"), true), Err(OutputError::Create { .. })));
}

/// Standard output into a pipe that nobody reads.
struct FullPipe(std::sync::mpsc::Receiver<()>);

impl Write for FullPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn one_who_asks_to_stop_need_not_wait_for_a_pipe_that_nobody_reads() {
    let (reader, pipe) = std::sync::mpsc::channel();
    let mut destination = Destination::stream("a pipe", Box::new(FullPipe(pipe)));
    destination.write_all(b"{}\n").unwrap();
    let interrupt = Interrupt::manual();
    interrupt.trigger();
    let refused = finish(move || destination.finish(), &interrupt).await.unwrap_err();
    assert_eq!(refused.kind(), journal::error::Kind::Interrupted);
    drop(reader);
}

/// A journal of these items, the key being `noteId`, and the plan of its state.
async fn kept(items: &[Attributes]) -> (Arc<journal::store::memory::MemoryStore>, ReplayPlan) {
    use journal::format::{RunWriter, WriterOptions};
    use journal::model::{ChangeKind, ChangeRecord, Image, ItemKey, Second, SequenceNumber, StreamArn};
    use journal::store::WriteStore as _;

    let names = KeyAttributes::new(vec![KeyAttribute { name: "noteId".to_owned(), key_type: KeyType::S }]).unwrap();
    let stream = StreamArn::parse("arn:aws:dynamodb:x:0:table/notes/stream/1").unwrap();
    let record = |(number, item): (usize, &Attributes)| {
        let (key, rest) = item.clone().into_iter().partition(|(name, _)| name == "noteId");
        ChangeRecord {
            key: ItemKey::encode(&names, &key).unwrap(),
            sequence: SequenceNumber::parse(&(number + 1).to_string()).unwrap(),
            second: Some(Second::new(1000).unwrap()),
            kind: ChangeKind::Insert,
            old: None,
            new: Some(Image::encode(&rest).unwrap()),
            user: None,
        }
    };
    let mut records: Vec<ChangeRecord> = items.iter().enumerate().map(record).collect();
    records.sort_by(|a, b| a.key.cmp(&b.key));
    let run = RunWriter::encode(WriterOptions::rows(), stream.clone(), names.clone(), &records).unwrap();
    let store = journal::store::memory::MemoryStore::new();
    store.put_new("run", run.bytes.into()).await.unwrap();
    let plan = ReplayPlan {
        timeline: stream.timeline().clone(),
        cut: journal::cut::Cut::at(Second::MAX),
        inputs: vec![RunInput {
            key: "run".to_owned(),
            size: run.size,
            kind: RunKind::Segment,
            from: None,
            until: None,
        }],
        key: Some(KeySchema::unordered(names)),
        table: None,
        interval: None,
        base: None,
        explanation: crate::plan::Explanation::default(),
        left_out: 0,
        partial: false,
        notes: Vec::new(),
    };
    (Arc::new(store), plan)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_the_number_of_items_that_are_given_out() {
    let item = |id: &str| Attributes::from([("noteId".to_owned(), s(id))]);
    let (store, plan) = kept(&[item("a"), item("b"), item("c")]).await;
    for (limit, given, cut_short) in
        [(0, "", true), (1, "a", true), (2, "ab", true), (3, "abc", true), (4, "abc", false)]
    {
        let selection = Selection { limit: Some(limit), ..Selection::default() };
        let (never, options) = (Interrupt::never(), MergeOptions::default());
        let keep = |ids: &mut String, item: crate::state::Item<'_>| {
            let AttributeValue::S(id) = &item.attributes["noteId"] else { panic!("{item:?}") };
            ids.push_str(id);
            Ok(Flow::Continue)
        };
        let visited = visit_items(store.clone(), &plan, selection, options, &never, String::new(), keep);
        let (ids, visited) = visited.await.unwrap();
        assert_eq!((ids.as_str(), visited.cut_short), (given, cut_short), "limit {limit}");
        assert_eq!(visited.digest.items(), u64::try_from(given.len()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_the_lines_and_the_digest_of_its_decoded_items() {
    let simple = Attributes::from([("noteId".to_owned(), s("z")), ("count".to_owned(), n("100"))]);
    let (store, plan) = kept(&[item(), simple]).await;
    for (format, filter) in
        [(Format::DynamodbJson, None), (Format::Json, None), (Format::DynamodbJson, Some("count = 100"))]
    {
        let filter = filter.map(|text| crate::filter::Filter::parse(text).unwrap());
        let selection = Selection { filter, ..Selection::default() };
        let (never, options) = (Interrupt::never(), MergeOptions::default());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.json");
        let to = (format, Destination::file(&path, false).unwrap());
        let exported = export(store.clone(), &plan, to, selection.clone(), options.clone(), &never, |_, _| ());
        let report = exported.await.unwrap();
        let keep = move |lines: &mut String, item: crate::state::Item<'_>| {
            lines.push_str(&written(format, None, &item.attributes));
            Ok(Flow::Continue)
        };
        let visited = visit_items(store.clone(), &plan, selection, options, &never, String::new(), keep);
        let (lines, visited) = visited.await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines);
        assert!(!lines.is_empty());
        assert_eq!((report.items, report.digest), (visited.digest.items(), visited.digest));
        if format == Format::DynamodbJson {
            assert!(prove(&path, format, plan.key.as_ref().unwrap(), report.digest).unwrap());
        }
    }
}

/// Items of which the last third need other columns than the first.
fn changing() -> Vec<Attributes> {
    let item = |number: u32| {
        let count = if number == 45 { s("many") } else { n(&number.to_string()) };
        let mut item =
            Attributes::from([("noteId".to_owned(), s(&format!("{number:04}"))), ("count".to_owned(), count)]);
        if number > 50 {
            item.insert("late, \u{202e}".to_owned(), s(&format!("\u{202e}{number}\n\"")));
            item.insert("none".to_owned(), AttributeValue::Null);
        }
        item
    };
    (0..60).map(item).collect()
}

/// Writes a file of the state, so many bytes of items being kept before the first is written.
async fn written_keeping(
    bytes: usize,
    (store, plan): (Arc<dyn ReadStore>, &ReplayPlan),
    format: Format,
    path: &std::path::Path,
) -> ExportReport {
    let target = (format, Destination::file(path, true).unwrap());
    let (never, read) = (Interrupt::never(), (Selection::default(), MergeOptions::default()));
    columned::export_keeping(bytes, store, plan, target, read, &never, |_, _| ()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_is_the_same_whether_its_items_are_kept_or_read_again() {
    let mut items = vec![item()];
    items.extend(changing());
    let (store, plan) = kept(&items).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.csv");
    // The items as the run has them: sorted, and with their key's numbers as they were.
    items.sort_by_key(|item| match &item["noteId"] {
        AttributeValue::S(id) => id.clone(),
        other => panic!("{other:?}"),
    });
    let mut columns = CsvColumns::of_key(plan.key.as_ref());
    for item in &items {
        columns.see(item).unwrap();
    }
    let mut expected = Vec::new();
    columns.write_header(&mut expected).unwrap();
    for item in &items {
        columns.write_row(item, &mut expected).unwrap();
    }
    let expected = String::from_utf8(expected).unwrap();
    for bytes in [0, 500, usize::MAX] {
        let report = written_keeping(bytes, (store.clone(), &plan), Format::Csv, &path).await;
        assert_eq!((report.items, report.cut_short), (61, false));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected, "{bytes} bytes kept");
    }
}

#[cfg(all(feature = "parquet", feature = "sqlite"))]
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_a_late_item_needs_are_in_the_file_whatever_was_written_before_it() {
    let (store, plan) = kept(&changing()).await;
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Parquet, Format::Sqlite] {
        let path = folder.path().join(format!("notes.{}", format.ending()));
        let mut files = Vec::new();
        for bytes in [0, 1, 500, 1000, usize::MAX] {
            let report = written_keeping(bytes, (store.clone(), &plan), format, &path).await;
            assert!(
                prove(&path, format, plan.key.as_ref().unwrap(), report.digest).unwrap(),
                "{format:?}, {bytes} bytes"
            );
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing lies beside it");
            files.push((report.items, report.digest, told_columns(format, &path)));
            std::fs::remove_file(&path).unwrap();
        }
        assert!(files.iter().all(|file| *file == files[0]), "{files:?}");
        assert!(files[0].2.contains("late") && files[0].2.contains("DynamoDB JSON"), "{files:?}");
    }
}

/// What a file says of its columns.
#[cfg(all(feature = "parquet", feature = "sqlite"))]
fn told_columns(format: Format, path: &std::path::Path) -> String {
    if format == Format::Sqlite {
        let database = rusqlite::Connection::open(path).unwrap();
        let mut statement =
            database.prepare("SELECT attribute || \"column\" || type FROM _columns ORDER BY 1").unwrap();
        return statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap).collect();
    }
    let file = std::fs::File::open(path).unwrap();
    let metadata = ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let said = metadata.metadata().file_metadata().key_value_metadata().unwrap();
    said.iter().find(|said| said.key == "journal.columns").unwrap().value.clone().unwrap()
}

#[cfg(all(feature = "parquet", feature = "sqlite"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_state_whose_items_resemble_each_other_is_read_once() {
    use journal::store::memory::{FaultPlan, FaultyStore};

    let (store, plan) = kept(&changing()).await;
    let (alike, alike_plan) = kept(&changing()[..40]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes");
    for format in [Format::Parquet, Format::Sqlite] {
        let reads = async |store: &Arc<journal::store::memory::MemoryStore>, plan: &ReplayPlan, bytes: usize| {
            let store =
                Arc::new(FaultyStore::new(Arc::<journal::store::memory::MemoryStore>::clone(store), FaultPlan::none()));
            written_keeping(bytes, (store.clone(), plan), format, &path).await;
            store.operations().len()
        };
        let once = reads(&alike, &alike_plan, usize::MAX).await;
        assert_eq!(reads(&alike, &alike_plan, 1).await, once);
        assert!(reads(&store, &plan, 1).await > reads(&store, &plan, usize::MAX).await);
    }
}
