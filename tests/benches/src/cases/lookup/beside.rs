//! One item's history beside a full scan, and beside `DuckDB` on the same records: as Parquet sorted by key, and as gzipped lines.

use std::sync::Arc;
use std::time::Instant;

use journal::merge::{MergeOptions, RecordScan, RunInput, scan_records};
use journal::store::{KeepingStore, ReadStore};
use serde::Deserialize;

use super::super::{Context, rivals};
use super::key_of;
use crate::bars::{Bar, Row};
use crate::measure::Spread;
use crate::workload::Profile;

/// Items that what reads everything is asked for.
const SCANS: usize = 3;
/// Bytes that the store which keeps tails may keep.
pub(super) const KEPT_BYTES_MAX: u64 = 64 << 20;

const ANEW: &str = "history of one item: times faster than DuckDB, every file opened anew";
const CACHED: &str = "history of one item: times faster than DuckDB, tails cached";
const SCAN: &str = "history of one item: times faster than a full scan of ours";
const LINES: &str = "history of one item: times faster than DuckDB on NDJSON.gz";

/// Ours.
pub(super) struct Ours<'a> {
    /// The journal.
    pub(super) store: Arc<dyn ReadStore>,
    /// Its runs.
    pub(super) inputs: Vec<RunInput>,
    /// The items that are looked up.
    pub(super) ids: &'a [String],
    /// Looks one up and counts its changes.
    pub(super) look: &'a dyn Fn(Arc<dyn ReadStore>, &str) -> usize,
}

#[derive(Deserialize)]
struct Found {
    seconds: Vec<f64>,
    found: usize,
}

/// The rows of all comparisons, from one run.
pub(super) fn rows(context: &Context, profile: Profile, ours: &Ours<'_>) -> Vec<Row> {
    let anew = ours.times(|id| (ours.look)(ours.store.clone(), id));
    let keeping: Arc<dyn ReadStore> = Arc::new(KeepingStore::new(ours.store.clone(), KEPT_BYTES_MAX));
    let cached = ours.times(|id| (ours.look)(keeping.clone(), id));
    let (scan, scanned) = ours.full_scans(context);
    let milliseconds = |one: &Spread, other: &str, than: &Spread| {
        format!("ours {:.2} ms, {other} {:.2} ms", one.median * 1e3, than.median * 1e3)
    };
    let few: usize = ours.ids.iter().take(SCANS).map(|id| (ours.look)(ours.store.clone(), id)).sum();
    assert_eq!(scanned, few, "a full scan finds other changes");
    let mut rows = vec![Row::new("lookup", SCAN, Bar::None, "×", scan.median / anew.0.median).note(milliseconds(
        &anew.0,
        "a scan of all records",
        &scan,
    ))];
    let duck = |source: &str, ids: &[String], found: usize| -> Result<Spread, String> {
        let keys = context.folder.join("keys.txt");
        std::fs::write(&keys, ids.join("\n")).map_err(|error| error.to_string())?;
        let said = rivals::ask(context, "duck.py", &["lookup", source, &keys.display().to_string()])?;
        let duck: Found = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        if found != duck.found {
            return Err(format!("the two histories differ: {found} changes, DuckDB {}", duck.found));
        }
        Ok(Spread::of(duck.seconds))
    };
    let parquet =
        rivals::parquet(context, profile).and_then(|file| duck(&file.path.display().to_string(), ours.ids, anew.1));
    for (what, bar, (spread, found)) in [(ANEW, Bar::AtLeast(20.0), &anew), (CACHED, Bar::AtLeast(100.0), &cached)] {
        rows.push(match &parquet {
            Ok(_) if *found != anew.1 => {
                Row::unmeasured("lookup", what, bar, "×", format!("{found} changes were found, and {} anew", anew.1))
            }
            Ok(duck) => Row::new("lookup", what, bar, "×", duck.median / spread.median).note(milliseconds(
                spread,
                "DuckDB on Parquet",
                duck,
            )),
            Err(why) => Row::unmeasured("lookup", what, bar, "×", why.clone()),
        });
    }
    let lines = rivals::lines(context, profile)
        .and_then(|file| duck(&file.display().to_string(), ours.ids.get(..SCANS).unwrap_or(ours.ids), few));
    rows.push(match lines {
        Ok(duck) => Row::new("lookup", LINES, Bar::None, "×", duck.median / anew.0.median).note(milliseconds(
            &anew.0,
            "DuckDB on NDJSON.gz",
            &duck,
        )),
        Err(why) => Row::unmeasured("lookup", LINES, Bar::None, "×", why),
    });
    rows
}

impl Ours<'_> {
    /// Seconds of each lookup, and the changes found. The first one warms up.
    fn times(&self, look: impl Fn(&str) -> usize) -> (Spread, usize) {
        let _ = self.ids.first().map(|id| look(id));
        let (mut seconds, mut found) = (Vec::new(), 0);
        for id in self.ids {
            let begin = Instant::now();
            found += look(id);
            seconds.push(begin.elapsed().as_secs_f64());
        }
        (Spread::of(seconds), found)
    }

    /// Reads every record, images too, to find those of an item.
    fn full_scans(&self, context: &Context) -> (Spread, usize) {
        let (mut seconds, mut found) = (Vec::new(), 0);
        for id in self.ids.iter().take(SCANS) {
            let key = key_of(id);
            let counted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let count = Arc::clone(&counted);
            let visit = move |record: journal::merge::RecordRef<'_>| {
                if record.key == key.as_bytes() && (record.old.is_some() || record.new.is_some()) {
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                Ok(true)
            };
            let (store, inputs) = (self.store.clone(), self.inputs.clone());
            let begin = Instant::now();
            let scanning = scan_records(store, inputs, RecordScan::default(), MergeOptions::default(), visit);
            context.runtime.block_on(scanning).expect("a scan");
            seconds.push(begin.elapsed().as_secs_f64());
            found += counted.load(std::sync::atomic::Ordering::Relaxed);
        }
        (Spread::of(seconds), found)
    }
}
