//! Exports beside R with the same output.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use journal::interrupt::Interrupt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use replayer::output::{Destination, ExportReport, Format, ParquetWriter, export};
use replayer::state::Selection;

use crate::bars::{Bar, Row};
use crate::history;
use crate::limits::{Reader, Touched};
use crate::measure::Pair;
use crate::number;
use crate::workload::Profile;

use super::Context;
use super::once::touched;
use super::replay::{alone, latest};

/// Rows that our sink gives its writer together.
const BATCH_ROWS: usize = 2_048;

/// An export that nobody keeps, to be done as often as is wanted; gives its items. One that needs a file has one in a scratch folder.
///
/// # Panics
/// When the folder cannot be made.
pub fn exports(context: &Context, format: Format) -> impl FnMut() -> u64 {
    let scratch = tempfile::tempdir_in(&context.folder).expect("a folder");
    let history = context.compacted(Profile::w1(), context.changes);
    let (store, plan) = latest(context, &history);
    move || {
        let never = Interrupt::never();
        let destination = match format {
            Format::Parquet => Destination::file(&scratch.path().join("items"), true).expect("a file"),
            _ => Destination::stream("nowhere", Box::new(std::io::sink())),
        };
        let made =
            export(store.clone(), &plan, (format, destination), Selection::default(), alone(), &never, |_, _| {});
        context.runtime.block_on(made).expect("an export").items
    }
}

/// A writer whose bytes can be had afterwards.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sinks beside R with the same output.
#[must_use]
pub fn rows(context: &Context) -> Vec<Row> {
    let changes = context.changes.min(200_000);
    let history = context.compacted(Profile::w1(), changes);
    let (store, plan) = latest(context, &history);
    let never = Interrupt::never();
    let run_as = |format: Format, destination: Destination| {
        let target = (format, destination);
        let made = export(store.clone(), &plan, target, Selection::default(), alone(), &never, |_, _| {});
        context.runtime.block_on(made).expect("an export")
    };
    let run = |destination: Destination| run_as(Format::DynamodbJson, destination);
    let kept = Kept::default();
    let report = run(Destination::stream("memory", Box::new(kept.clone())));
    let output = std::mem::take(&mut *kept.0.lock().expect("one thread"));
    let each = output.len() / usize::try_from(report.items.max(1)).unwrap_or(1);
    let inputs = history::inputs(&context.runtime, store.as_ref());
    let touched = touched(&history.folder, &inputs);
    let mut reader = Reader::default();
    let scratch = tempfile::tempdir_in(&context.folder).expect("a folder");
    let mut rows = Vec::new();
    for (what, file, bar) in
        [("DynamoDB JSON: share of R_json", None, 75.0), ("gzip: share of R_gz", Some("state.json.gz"), 95.0)]
    {
        let to = |side: &str| match file {
            None => Destination::stream("nowhere", Box::new(std::io::sink())),
            Some(name) => {
                let path = scratch.path().join(format!("{side}-{name}"));
                Destination::file(Path::new(&path), true).expect("a file")
            }
        };
        let pair = Pair::measure(
            context.rounds.min(7),
            || {
                run(to("ours"));
            },
            || {
                reader.read(&touched);
                let mut destination = to("limit");
                for item in output.chunks(each.max(1)) {
                    destination.write_all(item).expect("it is written");
                }
                destination.finish().expect("it is finished");
            },
        );
        let note =
            format!("{:.2} µs of processor an item", pair.processor().median / number(report.items.max(1)) * 1e6);
        rows.push(Row::spread("sinks", format!("replay to {what}"), Bar::AtLeast(bar), "%", pair.share()).note(note));
    }
    rows.push(parquet(context, &run_as, &touched, scratch.path()));
    rows
}

/// Parquet beside R with the same columns through the same writer.
fn parquet(
    context: &Context,
    run: &impl Fn(Format, Destination) -> ExportReport,
    touched: &[Touched],
    scratch: &Path,
) -> Row {
    let (ours, limit) = (scratch.join("ours.parquet"), scratch.join("limit.parquet"));
    let export = || run(Format::Parquet, Destination::file(&ours, true).expect("a file"));
    let report = export();
    let file = ParquetRecordBatchReaderBuilder::try_new(File::open(&ours).expect("it is there")).expect("Parquet");
    let schema = file.schema().clone();
    let file = file.with_batch_size(BATCH_ROWS).build().expect("Parquet");
    let batches: Vec<_> = file.map(|batch| batch.expect("rows")).collect();
    let mut reader = Reader::default();
    let mut write = || {
        reader.read(touched);
        let file = File::create(&limit).expect("a file");
        let synced = file.try_clone().expect("a file");
        let mut writer = ParquetWriter::new(file, schema.clone()).expect("columns");
        for batch in &batches {
            writer.write(batch).expect("it is written");
        }
        writer.finish([]).expect("it is finished");
        synced.sync_all().expect("it is durable");
    };
    write();
    let [bytes, limit_bytes] = [&ours, &limit].map(|path| path.metadata().expect("it is there").len());
    assert!(bytes.abs_diff(limit_bytes) <= bytes / 50, "{bytes} and {limit_bytes} bytes are not the same output");
    let pair = Pair::measure(
        context.rounds.min(7),
        || {
            export();
        },
        write,
    );
    let note = format!(
        "{:.2} µs of processor an item; R_parquet is given whole columns in memory",
        pair.processor().median / number(report.items.max(1)) * 1e6
    );
    Row::spread("sinks", "replay to Parquet: share of R_parquet", Bar::AtLeast(90.0), "%", pair.share()).note(note)
}
