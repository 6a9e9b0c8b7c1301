//! Few records out of many: one item's history, an absent key, the changes of an hour.

#[path = "lookup/beside.rs"]
mod beside;

use std::collections::BTreeMap;
use std::sync::Arc;

use journal::format::Tail;
use journal::merge::{Columns, MergeOptions};
use journal::model::{AttributeValue, Attributes, ItemKey, Second};
use journal::store::{KeepingStore, ReadStore};
use replayer::audit::{self, Direction, HistoryRequest};
use replayer::key_schema::KeySelection;

use crate::bars::{Bar, Row};
use crate::history;
use crate::limits;
use crate::number;
use crate::stores::{CountingStore, Request, round_trips};
use crate::workload::{self, Profile, Workload};

use super::Context;

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
        columns: Columns::All,
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
        let blocks_end = tail.blocks_end();
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

/// The items that are looked up, all over the history.
fn ids(context: &Context, profile: Profile) -> Vec<String> {
    let changes = usize::try_from(context.changes).unwrap_or(0);
    Workload::new(profile).take(changes).step_by((changes / ITEMS).max(1)).map(|change| change.id_text()).collect()
}

/// How many changes an item has.
fn look(context: &Context, store: Arc<dyn ReadStore>, id: &str) -> usize {
    let key = key_of(id);
    let options = MergeOptions::default();
    let found = audit::history(store, request(), |_| Ok(KeySelection::only(&key)), &options, |_| Ok(()));
    context.runtime.block_on(found).expect("a history").changes
}

/// Looks the items up, with the tails of runs kept where `kept` says so.
pub fn lookups(context: &Context, kept: bool) -> impl FnMut() {
    let profile = Profile::w1();
    let history = context.compacted(profile, context.changes);
    let mut store: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
    if kept {
        store = Arc::new(KeepingStore::new(store, beside::KEPT_BYTES_MAX));
    }
    let ids = ids(context, profile);
    move || {
        for id in &ids {
            look(context, store.clone(), id);
        }
    }
}

fn one_item(context: &Context) -> Vec<Row> {
    let profile = Profile::w1();
    let history = context.compacted(profile, context.changes);
    let plain: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
    let counting = Arc::new(CountingStore::new(plain.clone()));
    let inputs = history::inputs(&context.runtime, plain.as_ref());
    let tails: BTreeMap<String, Tail> =
        inputs.iter().map(|input| (input.key.clone(), limits::tail_of(&history.folder.join(&input.key)))).collect();
    let ids = ids(context, profile);
    let look = |store: Arc<dyn ReadStore>, id: &str| look(context, store, id);
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
    let total: u64 = inputs.iter().map(|input| input.size).sum();
    rows.push(share_row(&counting, total, &ids, &|store, id| look(store, id)));
    rows.extend(beside::rows(context, profile, &beside::Ours { store: plain, inputs, ids: &ids, look: &look }));
    rows
}

/// What one item's history reads of all bytes of the runs, in the worst case of those looked up.
fn share_row(
    counting: &Arc<CountingStore>,
    total: u64,
    ids: &[String],
    look: &dyn Fn(Arc<dyn ReadStore>, &str) -> usize,
) -> Row {
    let mut most = 0;
    for id in ids {
        let _ = counting.take();
        look(counting.clone(), id);
        let read =
            counting.take().iter().filter_map(|one| one.range.as_ref()).map(|range| range.end - range.start).sum();
        most = std::cmp::max::<u64>(most, read);
    }
    let share = 100.0 * number(most) / number(total.max(1));
    // The promise is for five million changes: what is read for the index hardly grows.
    Row::new("lookup", "history of one item: share of the journal's bytes read", Bar::AtMost(0.5), "%", share)
        .note(format!("{:.0} KB of {:.1} MB; the bar is for 5 M changes", number(most) / 1024.0, number(total) / 1e6))
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
    let found = audit::history(counting.clone(), request, |_| Ok(KeySelection::default()), &options, |_| Ok(()));
    let found = context.runtime.block_on(found).expect("a history").changes;
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
