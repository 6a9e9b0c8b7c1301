//! Few records out of many: one item's history, an absent key, the changes of an hour.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use journal::format::Tail;
use journal::merge::MergeOptions;
use journal::model::{AttributeValue, Attributes, ItemKey, Second};
use journal::store::ReadStore;
use replayer::audit::{self, Direction, HistoryRequest};
use replayer::key_schema::KeySelection;
use serde::Deserialize;

use crate::bars::{Bar, Row};
use crate::history;
use crate::limits;
use crate::measure::Spread;
use crate::number;
use crate::stores::{CountingStore, Request, round_trips};
use crate::workload::{self, Profile, Workload};

use super::{Context, rivals};

/// How many items are looked up.
const ITEMS: usize = 40;

fn request() -> HistoryRequest {
    HistoryRequest {
        table: history::table(),
        timeline: None,
        keys: KeySelection::default(),
        since: None,
        until: None,
        kinds: Vec::new(),
        by: None,
        limit: 1_000_000,
        direction: Direction::OldestFirst,
    }
}

fn key_of(id: &str) -> ItemKey {
    let key = Attributes::from([("noteId".to_owned(), AttributeValue::S(id.to_owned()))]);
    ItemKey::encode(&workload::key_attributes().expect("one"), &key).expect("a key")
}

/// What a lookup read of one object.
#[derive(Debug, Default, Clone, Copy)]
struct Read {
    data: u64,
    filter: u64,
    index: u64,
}

/// Splits what was read by the part of the object that it lies in.
fn split(requests: &[Request], tails: &BTreeMap<String, Tail>) -> BTreeMap<String, Read> {
    let mut objects: BTreeMap<String, Read> = BTreeMap::new();
    for request in requests {
        let (Some(range), Some(tail)) = (&request.range, tails.get(&request.key)) else { continue };
        let read = objects.entry(request.key.clone()).or_default();
        // A read of the end is for the index, whatever else it brings.
        if range.end > tail.pages_end() {
            read.index += range.end - range.start;
            continue;
        }
        let blocks_end = tail.blocks.last().map_or(0, |block| block.range().end);
        let part = |from: u64, to: u64| range.end.min(to).saturating_sub(range.start.max(from));
        read.data += part(0, blocks_end);
        read.filter += part(blocks_end, u64::MAX);
    }
    objects
}

/// One item's history and the changes of an hour.
#[must_use]
pub fn rows(context: &Context) -> Vec<Row> {
    let mut rows = one_item(context);
    rows.push(one_hour(context));
    rows
}

fn one_item(context: &Context) -> Vec<Row> {
    let profile = Profile::w1();
    let history = context.compacted(profile, context.changes);
    let plain: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
    let counting = Arc::new(CountingStore::new(plain.clone()));
    let inputs = history::inputs(&context.runtime, plain.as_ref());
    let tails: BTreeMap<String, Tail> =
        inputs.iter().map(|input| (input.key.clone(), limits::tail_of(&history.folder.join(&input.key)))).collect();
    let changes = usize::try_from(context.changes).unwrap_or(0);
    let ids: Vec<String> =
        Workload::new(profile).take(changes).step_by((changes / ITEMS).max(1)).map(|change| change.id_text()).collect();
    let look = |store: Arc<dyn ReadStore>, id: &str| {
        let key = key_of(id);
        let options = MergeOptions::default();
        let found = audit::history(store, request(), |_| Ok(KeySelection::only(&key)), &options);
        context.runtime.block_on(found).expect("a history").changes.len()
    };
    let (mut data, mut index, mut trips, mut found) = (0u64, 0u64, 0usize, 0usize);
    for id in &ids {
        let _ = counting.take();
        found += look(counting.clone(), id);
        let requests = counting.take();
        let objects = split(&requests, &tails);
        data = data.max(objects.values().map(|read| read.data).max().unwrap_or(0));
        index = index.max(objects.values().map(|read| read.index + read.filter).max().unwrap_or(0));
        let of_runs: Vec<Request> = requests.into_iter().filter(|request| tails.contains_key(&request.key)).collect();
        trips = trips.max(round_trips(&of_runs));
    }
    let mut absent = 0;
    for id in &ids {
        let _ = counting.take();
        let missing = format!("{}-none", &id[..8]);
        assert_eq!(look(counting.clone(), &missing), 0);
        let objects = split(&counting.take(), &tails);
        absent = absent.max(objects.values().map(|read| read.data + read.filter).max().unwrap_or(0));
    }
    let note = format!("most of {} items in {} runs; {found} changes found", ids.len(), inputs.len());
    let row =
        |what: &str, bar, unit, value| Row::new("lookup", format!("history of one item: {what}"), bar, unit, value);
    let mut rows = vec![
        row("data read in a run", Bar::AtMost(16.0), "KB", number(data) / 1024.0).note(note),
        row("index read in a run", Bar::AtMost(32.0), "KB", number(index) / 1024.0),
        row("dependent round trips after the listing", Bar::AtMost(2.0), "", number(crate::count(trips))),
        row("absent key, beyond the index, in a run", Bar::AtMost(1.0), "KB", number(absent) / 1024.0),
    ];
    rows.extend(beside_duck(context, profile, &ids, &|id| look(plain.clone(), id)));
    rows
}

#[derive(Deserialize)]
struct Found {
    seconds: Vec<f64>,
    found: usize,
}

fn beside_duck(context: &Context, profile: Profile, ids: &[String], look: &dyn Fn(&str) -> usize) -> Vec<Row> {
    let anew = "history of one item: times faster than DuckDB, every file opened anew";
    let cached = "history of one item: times faster than DuckDB, tails cached";
    let measured = || -> Result<(Spread, Spread), String> {
        let file = rivals::parquet(context, profile)?;
        let keys = context.folder.join("keys.txt");
        std::fs::write(&keys, ids.join("\n")).map_err(|error| error.to_string())?;
        let (file, keys) = (file.path.display().to_string(), keys.display().to_string());
        let said = rivals::ask(context, "duck.py", &["lookup", &file, &keys])?;
        let duck: Found = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let (mut seconds, mut found) = (Vec::new(), 0);
        for id in ids.iter().take(1).chain(ids) {
            let begin = Instant::now();
            found += look(id);
            seconds.push(begin.elapsed().as_secs_f64());
        }
        // The first one warmed up.
        found -= look(&ids[0]);
        if found != duck.found {
            return Err(format!("the two histories differ: {found} changes, DuckDB {}", duck.found));
        }
        Ok((Spread::of(seconds.split_off(1)), Spread::of(duck.seconds)))
    };
    let later = "no reader keeps tails between questions yet";
    match measured() {
        Ok((ours, duck)) => {
            let note = format!("ours {:.2} ms, DuckDB {:.2} ms", ours.median * 1e3, duck.median * 1e3);
            vec![
                Row::new("lookup", anew, Bar::AtLeast(20.0), "×", duck.median / ours.median).note(note),
                Row::unmeasured("lookup", cached, Bar::AtLeast(100.0), "×", later),
            ]
        }
        Err(why) => vec![
            Row::unmeasured("lookup", anew, Bar::AtLeast(20.0), "×", why.clone()),
            Row::unmeasured("lookup", cached, Bar::AtLeast(100.0), "×", why),
        ],
    }
}

/// A year of traffic, and an hour in the middle of it.
fn one_hour(context: &Context) -> Row {
    let profile = Profile::w1().over_days(context.changes, 365);
    let history = context.compacted(profile, context.changes);
    let plain: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
    let counting = Arc::new(CountingStore::new(plain.clone()));
    let inputs = history::inputs(&context.runtime, plain.as_ref());
    let total: u64 = inputs.iter().map(|input| input.size).sum();
    let middle = u64::midpoint(history.seconds.0.get(), history.seconds.1.get()) / 3600 * 3600;
    let (since, until) = (Second::new(middle).expect("a second"), Second::new(middle + 3599).expect("a second"));
    let request = HistoryRequest { since: Some(since), until: Some(until), ..request() };
    let options = MergeOptions::default();
    let found = audit::history(counting.clone(), request, |_| Ok(KeySelection::default()), &options);
    let found = context.runtime.block_on(found).expect("a history").changes.len();
    let read: u64 = counting.take().iter().filter_map(|r| r.range.as_ref()).map(|range| range.end - range.start).sum();
    let share = 100.0 * number(read) / number(total.max(1));
    Row::new("lookup", "changes of one hour of a year: share of the journal read", Bar::AtMost(0.05), "%", share).note(
        format!(
            "{found} changes of {}, {:.0} KB of {:.1} MB in {} runs",
            history.changes,
            number(read) / 1024.0,
            number(total) / 1e6,
            inputs.len()
        ),
    )
}
