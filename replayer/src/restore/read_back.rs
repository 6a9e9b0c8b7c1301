//! Reading the written table back: its digest, and which items differ when it is not the journal's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use journal::error::Result;
use journal::model::{Attributes, Image, ItemKey, TableName};
use journal::source::attribute::write_dynamodb_json;
use journal::source::sdk::item_from_sdk;
use tokio::task::JoinSet;

use super::error::RestoreError;
use super::groups::GroupedDigest;
use super::service::{SdkItem, ServiceError, TableService};
use super::{Progress, Restore, Step};
use crate::digest::{ItemHash, StateDigest, to_plain};
use crate::key_schema::{KeySchema, KeySchemaError};
use crate::state::{Flow, visit_items};
use crate::table_write::back_off;

/// Attempts of one page that the service does not answer.
const ATTEMPTS_MAX: u32 = 12;
/// Keys of differing groups that are held to find which items differ.
const HELD_MAX: usize = 200_000;
/// Differing items that an error lists.
const SHOWN_MAX: usize = 20;

/// How an item differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The journal has it, the table does not.
    Missing,
    /// The table has it, the journal does not.
    Unexpected,
    /// Its attributes differ.
    Different,
}

/// Which items of a table are not what the journal says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Differences {
    /// The journal's digest.
    pub expected: StateDigest,
    /// The table's digest.
    pub found: StateDigest,
    /// The first items, by key.
    pub items: Vec<(String, Difference)>,
    /// How many there are; at least so many when `more`.
    pub count: usize,
    /// Whether there were too many to look at all.
    pub more: bool,
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (expected, found) = (&self.expected, &self.found);
        write!(f, "digest {found} of {} items, expected {expected} of {} items", found.items(), expected.items())?;
        for (key, difference) in &self.items {
            let word = match difference {
                Difference::Missing => "missing from the table",
                Difference::Unexpected => "not in the journal",
                Difference::Different => "has other attributes",
            };
            write!(f, "\n  {key}: {word}")?;
        }
        let rest = self.count.saturating_sub(self.items.len());
        match (rest, self.more) {
            (0, false) => Ok(()),
            (0, true) => write!(f, "\n  and more"),
            (rest, false) => write!(f, "\n  and {rest} more"),
            (rest, true) => write!(f, "\n  and at least {rest} more"),
        }
    }
}

/// Key and hash of an item as the service gives it, numbers plain.
pub(super) fn fingerprint_of(schema: &KeySchema, item: &Attributes) -> Result<(Vec<u8>, ItemHash)> {
    let (key, rest): (Attributes, Attributes) =
        to_plain(item).into_iter().partition(|(name, _)| schema.attributes().contains(name));
    let key = ItemKey::encode(schema.attributes(), &key)?;
    let image = Image::encode(&rest)?;
    Ok((key.as_bytes().to_vec(), ItemHash::of_bytes(key.as_bytes(), image.as_bytes())))
}

/// The digest of all items of a table, read strongly consistent in parallel.
pub(super) async fn read_back(restore: &Restore<'_>, table: &TableName, items: Option<u64>) -> Result<GroupedDigest> {
    let progress = |step, done, _| (restore.progress)(step, done, items);
    let parts = scan(restore, table, &progress, GroupedDigest::default, |digest, key, hash| digest.add(&key, hash));
    let mut whole = GroupedDigest::default();
    for part in parts.await? {
        whole.merge(&part);
    }
    Ok(whole)
}

/// Scans a table in parallel segments, each with a state of its own.
async fn scan<S: Send + 'static>(
    restore: &Restore<'_>,
    table: &TableName,
    progress: Progress<'_>,
    begin: impl Fn() -> S,
    add: impl Fn(&mut S, Vec<u8>, ItemHash) + Clone + Send + 'static,
) -> Result<Vec<S>> {
    let add = move |state: &mut S, key, hash, _: &Attributes| {
        add(state, key, hash);
        Ok(())
    };
    scan_items(restore, table, progress, begin, add).await
}

/// As [`scan`], with the items.
pub(super) async fn scan_items<S: Send + 'static>(
    restore: &Restore<'_>,
    table: &TableName,
    progress: Progress<'_>,
    begin: impl Fn() -> S,
    add: impl Fn(&mut S, Vec<u8>, ItemHash, &Attributes) -> Result<()> + Clone + Send + 'static,
) -> Result<Vec<S>> {
    let schema = schema(restore, table)?;
    let segments = i32::try_from(restore.options.concurrency.clamp(1, 64)).unwrap_or(1);
    let (counts, mut counted) = tokio::sync::mpsc::unbounded_channel::<u64>();
    let mut tasks: JoinSet<Result<S>> = JoinSet::new();
    for segment in 0..segments {
        let (service, table, schema) = (Arc::clone(&restore.service), table.clone(), schema.clone());
        let (interrupt, counts, add) = (restore.interrupt.clone(), counts.clone(), add.clone());
        let pause = restore.options.pause;
        let mut state = begin();
        tasks.spawn(async move {
            let mut start = None;
            loop {
                if interrupt.requested() {
                    return Err(RestoreError::Interrupted { doing: "reading back", table }.into());
                }
                let page = page(&*service, &table, pause, (segment, segments), start).await?;
                for item in &page.items {
                    let item =
                        item_from_sdk(item).map_err(|error| ServiceError::Answer { reason: error.to_string() })?;
                    let (key, hash) = fingerprint_of(&schema, &item)?;
                    add(&mut state, key, hash, &item)?;
                }
                // Nobody listens any more only when another segment has failed.
                let _ = counts.send(u64::try_from(page.items.len()).unwrap_or(u64::MAX));
                match page.next {
                    Some(next) => start = Some(next),
                    None => return Ok(state),
                }
            }
        });
    }
    drop(counts);
    let mut done = 0u64;
    while let Some(more) = counted.recv().await {
        done += more;
        progress(Step::Reading, done, None);
    }
    let mut parts = Vec::new();
    while let Some(part) = tasks.join_next().await {
        parts.push(part.map_err(|_| RestoreError::Lost { doing: "reading back", table: table.clone() })??);
    }
    Ok(parts)
}

fn schema(restore: &Restore<'_>, table: &TableName) -> Result<KeySchema, KeySchemaError> {
    restore.plan.key.clone().ok_or_else(|| KeySchemaError::Unknown { table: table.to_string() })
}

async fn page(
    service: &dyn TableService,
    table: &TableName,
    pause: Duration,
    (segment, total): (i32, i32),
    start: Option<SdkItem>,
) -> Result<super::service::ScanPage, RestoreError> {
    let mut attempt = 1;
    loop {
        match service.scan(table, segment, total, start.clone()).await {
            Ok(page) => return Ok(page),
            Err(error) if error.is_transient() && attempt < ATTEMPTS_MAX => back_off(pause, attempt).await,
            Err(source) => {
                return Err(RestoreError::Service { action: "reading back", table: table.clone(), source });
            }
        }
        attempt += 1;
    }
}

/// Keys and hashes of the items in differing groups, as far as they are held.
#[derive(Default)]
struct Held {
    items: BTreeMap<Vec<u8>, ItemHash>,
    full: bool,
}

impl Held {
    fn add(&mut self, groups: &[bool], key: Vec<u8>, hash: ItemHash) {
        if !groups.get(usize::from(ItemHash::group(&key))).copied().unwrap_or(false) {
            return;
        }
        if self.items.len() < HELD_MAX {
            self.items.insert(key, hash);
        } else {
            self.full = true;
        }
    }
}

/// Which items differ: both sides are read once more, and only the groups of keys whose digests differ are held.
pub(super) async fn differences(
    restore: &Restore<'_>,
    table: &TableName,
    expected: &GroupedDigest,
    found: &GroupedDigest,
) -> Result<Differences> {
    let schema = schema(restore, table)?;
    let groups: Arc<[bool]> = expected.differing(found).into();
    let (of_journal, of_table, names) = (Arc::clone(&groups), groups, schema.clone());
    let visit = visit_items(
        Arc::clone(&restore.store),
        restore.plan,
        restore.selection.clone(),
        restore.options.merge.clone(),
        restore.interrupt,
        Held::default(),
        move |held, item| {
            held.add(&of_journal, names.plain_key(&item.attributes)?, item.hash);
            Ok(Flow::Continue)
        },
    );
    let (journal, _) = visit.await?;
    let parts =
        scan(restore, table, &|_, _, _| {}, Held::default, move |held, key, hash| held.add(&of_table, key, hash));
    let mut scanned = Held::default();
    for part in parts.await? {
        scanned.full |= part.full;
        scanned.items.extend(part.items);
    }
    let mut differences = compare(&schema, &journal, &scanned);
    (differences.expected, differences.found) = (expected.total(), found.total());
    Ok(differences)
}

fn compare(schema: &KeySchema, journal: &Held, scanned: &Held) -> Differences {
    let mut differences = Differences { more: journal.full || scanned.full, ..Differences::default() };
    let mut add = |key: &[u8], difference| {
        differences.count += 1;
        if differences.items.len() < SHOWN_MAX {
            differences.items.push((show(schema, key), difference));
        }
    };
    for (key, hash) in &journal.items {
        match scanned.items.get(key) {
            Some(other) if other == hash => {}
            Some(_) => add(key, Difference::Different),
            // What was not held may be there.
            None if scanned.full => {}
            None => add(key, Difference::Missing),
        }
    }
    if !journal.full {
        scanned.items.keys().filter(|key| !journal.items.contains_key(*key)).for_each(|key| {
            add(key, Difference::Unexpected);
        });
    }
    differences
}

pub(super) fn show(schema: &KeySchema, key: &[u8]) -> String {
    let json = schema.decode(key).ok().and_then(|values| {
        let mut text = Vec::new();
        write_dynamodb_json(&values, &mut text).ok()?;
        String::from_utf8(text).ok()
    });
    json.unwrap_or_else(|| crate::state::to_hex(key)).chars().take(300).collect()
}
