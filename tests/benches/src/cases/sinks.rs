//! Exports beside R with the same output.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use journal::interrupt::Interrupt;
use replayer::output::{Destination, Format, export};
use replayer::state::Selection;

use crate::bars::{Bar, Row};
use crate::history;
use crate::limits::Reader;
use crate::measure::Pair;
use crate::number;
use crate::workload::Profile;

use super::Context;
use super::once::touched;
use super::replay::{alone, latest};

/// An export of DynamoDB JSON that nobody keeps, to be done as often as is wanted; gives its items.
pub fn json(context: &Context) -> impl FnMut() -> u64 {
    let history = context.compacted(Profile::w1(), context.changes);
    let (store, plan) = latest(context, &history);
    move || {
        let never = Interrupt::never();
        let nowhere = Destination::stream("nowhere", Box::new(std::io::sink()));
        let target = (Format::DynamodbJson, nowhere);
        let made = export(store.clone(), &plan, target, Selection::default(), alone(), &never, |_, _| {});
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
    let run = |destination: Destination| {
        let target = (Format::DynamodbJson, destination);
        let made = export(store.clone(), &plan, target, Selection::default(), alone(), &never, |_, _| {});
        context.runtime.block_on(made).expect("an export")
    };
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
    let why = "the bench is built without SQL, and so without the Parquet sink";
    rows.push(Row::unmeasured("sinks", "replay to Parquet: share of R_parquet", Bar::AtLeast(90.0), "%", why));
    rows
}
