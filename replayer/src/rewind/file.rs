//! Plans in files: written to be looked at, read to be carried out, and compared with a plan of today.
//!
//! A file has the head in its first line and an item in each further line, all JSON. What enters are plans; what leaves are
//! plans again, or what moved between two of them.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::Path;

use journal::error::Result;
use journal::model::{ItemKey, KeyAttributes};

use super::error::RewindError;
use super::item::PlanItem;
use super::plan::{Collected, PLAN_FORMAT, PLAN_VERSION, Plan, PlanHeader};
use super::spool::Lines;
use crate::merge::MergeOptions;

/// Keys that a message lists.
const SHOWN_MAX: usize = 5;

/// Writes a plan, whole or not at all, and never over a file.
///
/// # Errors
/// When the file is there, or cannot be written.
pub fn save_plan(plan: &mut Plan, path: &Path) -> Result<(), RewindError> {
    let failed = |reason: String| RewindError::PlanFile { action: "writing", path: path.to_owned(), reason };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(error.to_string()))?;
    let head = serde_json::to_string(&plan.header).map_err(|error| failed(error.to_string()))?;
    writeln!(file, "{head}").map_err(|error| failed(error.to_string()))?;
    let mut lines = plan.items.read()?;
    while let Some(line) = lines.text()? {
        writeln!(file, "{line}").map_err(|error| failed(error.to_string()))?;
    }
    file.as_file().sync_all().map_err(|error| failed(error.to_string()))?;
    file.persist_noclobber(path).map(drop).map_err(|error| failed(error.error.to_string()))
}

/// Reads a plan's head, and its items.
///
/// # Errors
/// When there is no such file, or it is not what was written.
pub fn load_plan(path: &Path, options: &MergeOptions) -> Result<(PlanHeader, super::Spool), RewindError> {
    let failed = |reason: String| RewindError::PlanFile { action: "reading", path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut lines = Lines::new(BufReader::new(file), path.display().to_string());
    let head = lines.text()?.ok_or_else(|| failed("it is empty".to_owned()))?;
    let header: PlanHeader = serde_json::from_str(&head).map_err(|error| failed(format!("it is no plan: {error}")))?;
    if header.format != PLAN_FORMAT || header.version != PLAN_VERSION {
        return Err(failed(format!("it is {:?} of version {}", header.format, header.version)));
    }
    let mut collected = Collected::new(options)?;
    for item in lines {
        collected.push(item?)?;
    }
    let (items, counted) = collected.items()?;
    let whole = items.digest() == header.digest && items.items() == header.items;
    // What is not written in an item's line.
    let told =
        super::plan::Counts { changed_back: header.counts.changed_back, broken: header.counts.broken, ..counted };
    if !whole || told != header.counts {
        return Err(failed("its items are not those that were planned: it was cut or edited".to_owned()));
    }
    Ok((header, items))
}

/// What a plan of today would do otherwise than a stored one, as text; none when they are the same.
///
/// # Errors
/// When an item cannot be read.
pub fn moved(stored: &mut super::Spool, today: &mut Plan) -> Result<Option<String>> {
    if stored.digest() == today.header.digest {
        return Ok(None);
    }
    let names = today.header.key_attributes.clone();
    let mut found = Moved::default();
    let (mut old, mut new) = (stored.read()?, today.items.read()?);
    let (mut one, mut other) = (old.next().transpose()?, new.next().transpose()?);
    loop {
        let order = match (&one, &other) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => key(one, &names)?.cmp(&key(other, &names)?),
        };
        match order {
            Ordering::Less => found.note(one.as_ref(), |found| &mut found.gone),
            Ordering::Greater => found.note(other.as_ref(), |found| &mut found.more),
            Ordering::Equal if one != other => found.note(other.as_ref(), |found| &mut found.changed),
            Ordering::Equal => {}
        }
        if order.is_le() {
            one = old.next().transpose()?;
        }
        if order.is_ge() {
            other = new.next().transpose()?;
        }
    }
    Ok(Some(found.text()))
}

fn key(item: &PlanItem, names: &KeyAttributes) -> Result<ItemKey> {
    Ok(ItemKey::encode(names, &item.key)?)
}

#[derive(Default)]
struct Moved {
    changed: u64,
    more: u64,
    gone: u64,
    keys: Vec<String>,
}

impl Moved {
    fn note(&mut self, item: Option<&PlanItem>, count: impl Fn(&mut Self) -> &mut u64) {
        *count(self) += 1;
        if self.keys.len() < SHOWN_MAX {
            self.keys.extend(item.map(PlanItem::key_text));
        }
    }

    fn text(&self) -> String {
        format!(
            "{} of its items have changed since, {} more would be written, {} need nothing any more; among them {}",
            self.changed,
            self.more,
            self.gone,
            self.keys.join(", ")
        )
    }
}
