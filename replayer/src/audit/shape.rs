//! Which attributes the items of a table have had, of which types, since when and how often.
//!
//! What enters are a table's segments and the state at its latest covered moment; what leaves is a line an attribute. Read once, new
//! images alone; what is held grows with the number of names, which is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use journal::error::{Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::{AttributeValue, Attributes, Image, Second, TableName};
use journal::store::ReadStore;

use super::difference::member;
use super::history::key_schema_of;
use crate::cut::CutRequest;
use crate::merge::{self, Columns, MergeOptions, RecordScan, RunInput, RunKind, Unreadable, UnreadableList};
use crate::plan::{ReplayRequest, covered, plan};
use crate::state::{Flow, Selection, visit_items};

/// Paths that are told apart; of items with more, the others are counted together.
const NAMES_MAX: usize = 10_000;

/// One attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeShape {
    /// `DynamoDB`'s names of the types it has had, and how many images had each.
    pub types: BTreeMap<&'static str, u64>,
    /// Images that have it.
    pub images: u64,
    /// The first and the last second of a change whose image has it; none when only a baseline has it.
    pub seconds: Option<(Second, Second)>,
    /// Items at the latest moment that have it.
    pub items: u64,
}

/// What the items of a table look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// The key, as text.
    pub key: Option<String>,
    /// Attributes, without the key's, and what lies in them, by path: `replies[].author`. Elements of a list are one path, and an image
    /// that has a path in several of them counts once.
    pub attributes: BTreeMap<String, AttributeShape>,
    /// Images that changes left.
    pub images: u64,
    /// Items at the latest covered moment; none when there is no such state, and why.
    pub items: std::result::Result<u64, String>,
    /// Paths that were not told apart.
    pub more_names: u64,
    /// Segments that could not be read, or not all of them.
    pub unreadable: Vec<Unreadable>,
}

impl Default for TableShape {
    fn default() -> Self {
        Self { key: None, attributes: BTreeMap::new(), images: 0, items: Ok(0), more_names: 0, unreadable: Vec::new() }
    }
}

/// The types that each path of an image has. Elements of a list are one path.
type Paths = BTreeMap<String, BTreeSet<&'static str>>;

/// Adds a value and, down to so many levels below it, what it holds.
fn walk(path: String, value: &AttributeValue, levels: usize, paths: &mut Paths) {
    if let Some(levels) = levels.checked_sub(1) {
        match value {
            AttributeValue::M(map) => {
                for (name, value) in map {
                    walk(member(&path, name), value, levels, paths);
                }
            }
            AttributeValue::L(list) => {
                for value in list {
                    walk(format!("{path}[]"), value, levels, paths);
                }
            }
            _ => {}
        }
    }
    paths.entry(path).or_default().insert(value.type_name());
}

impl TableShape {
    fn see(
        &mut self,
        image: &Attributes,
        depth: usize,
        mut count: impl FnMut(&mut AttributeShape, BTreeSet<&'static str>),
    ) {
        let mut paths = Paths::new();
        for (name, value) in image {
            walk(member("", name), value, depth, &mut paths);
        }
        for (path, types) in paths {
            if !self.attributes.contains_key(&path) && self.attributes.len() >= NAMES_MAX {
                self.more_names += 1;
                continue;
            }
            count(self.attributes.entry(path).or_default(), types);
        }
    }
}

/// Reads what the items of a table look like, down to `depth` levels into maps and lists: 0 for the attributes alone.
///
/// # Errors
/// When the journal has no such table, the store cannot be read, or `interrupt` asks to stop. Corrupt segments are no error but
/// are named; the state at the latest moment is then left out.
pub async fn shape(
    store: Arc<dyn ReadStore>,
    table: &TableName,
    depth: usize,
    options: &MergeOptions,
    interrupt: &Interrupt,
) -> Result<TableShape> {
    let unreadable = UnreadableList::default();
    let shared = Arc::new(Mutex::new(TableShape::default()));
    for timeline in covered(&*store, table).await? {
        let objects = timeline.objects;
        let superseded = objects.superseded();
        if let Some(schema) = key_schema_of(&*store, &objects, Some(&unreadable)).await? {
            shared.lock().unwrap_or_else(PoisonError::into_inner).key = Some(schema.to_string());
        }
        let inputs = objects
            .segments
            .iter()
            .filter(|segment| !superseded.contains(&segment.key))
            .map(|s| RunInput { key: s.key.clone(), size: s.size, kind: RunKind::Segment, from: None, until: None })
            .collect();
        let scan = RecordScan { columns: Columns::New, unreadable: Some(unreadable.clone()), ..RecordScan::default() };
        let (into, corrupt) = (Arc::clone(&shared), unreadable.clone());
        let stop = interrupt.clone();
        merge::scan_records(Arc::clone(&store), inputs, scan, options.clone(), move |record| {
            let Some(bytes) = record.new else { return Ok(!stop.requested()) };
            let image = match Image::decode_slice(bytes) {
                Ok(image) => image,
                Err(error) => {
                    corrupt.add(&format!("record {}", record.sequence), &error.into());
                    return Ok(true);
                }
            };
            let mut shape = into.lock().unwrap_or_else(PoisonError::into_inner);
            shape.images += 1;
            let second = record.second;
            shape.see(&image, depth, |attribute, types| {
                attribute.images += 1;
                for kind in types {
                    *attribute.types.entry(kind).or_default() += 1;
                }
                if let Some(second) = second {
                    let (first, last) = attribute.seconds.unwrap_or((second, second));
                    attribute.seconds = Some((first.min(second), last.max(second)));
                }
            });
            Ok(!stop.requested())
        })
        .await?;
        if interrupt.requested() {
            return Err(crate::state::StateError::Interrupted.into());
        }
    }
    let mut shape = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
    shape.unreadable = unreadable.to_vec();
    latest(store, table, (depth, options), interrupt, shape).await
}

/// Adds the items of the latest covered moment.
async fn latest(
    store: Arc<dyn ReadStore>,
    table: &TableName,
    (depth, options): (usize, &MergeOptions),
    interrupt: &Interrupt,
    mut shape: TableShape,
) -> Result<TableShape> {
    let request = ReplayRequest { table: table.clone(), cut: CutRequest::Latest, timeline: None, allow_partial: false };
    let planned = match plan(&*store, &request).await {
        Ok(planned) => planned,
        Err(error) if matches!(error.kind(), Kind::Gap | Kind::Corrupt) => {
            shape.items = Err(error.to_string());
            return Ok(shape);
        }
        Err(error) => return Err(error),
    };
    let names: Vec<String> = planned
        .key
        .iter()
        .flat_map(|key| key.attributes().as_slice())
        .map(|attribute| attribute.name.clone())
        .collect();
    let kept = shape.clone();
    let visit = move |shape: &mut TableShape, mut item: crate::state::Item<'_>| {
        for name in &names {
            item.attributes.remove(name);
        }
        shape.see(&item.attributes, depth, |attribute, types| {
            attribute.items += 1;
            for kind in types {
                attribute.types.entry(kind).or_default();
            }
        });
        Ok(Flow::Continue)
    };
    match visit_items(store, &planned, Selection::default(), options.clone(), interrupt, shape, visit).await {
        Ok((mut shape, visited)) => {
            shape.items = Ok(visited.digest.items());
            Ok(shape)
        }
        // A state with a hole would be wrong, not short.
        Err(error) if error.kind() == Kind::Corrupt => Ok(TableShape { items: Err(error.to_string()), ..kept }),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_a_list_are_one_path_and_count_once_an_image() {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let reply = |author| AttributeValue::M(Attributes::from([("author".to_owned(), author)]));
        let image = Attributes::from([
            ("a name".to_owned(), AttributeValue::Null),
            ("replies".to_owned(), AttributeValue::L(vec![reply(text("ada")), reply(AttributeValue::Null), text("x")])),
        ]);
        let seen = |depth| {
            let mut shape = TableShape::default();
            for _ in 0..2 {
                shape.see(&image, depth, |attribute, types| {
                    attribute.images += 1;
                    for kind in types {
                        *attribute.types.entry(kind).or_default() += 1;
                    }
                });
            }
            shape.attributes
        };
        assert_eq!(seen(0).keys().collect::<Vec<_>>(), [r#"["a name"]"#, "replies"]);
        assert_eq!(seen(1).keys().collect::<Vec<_>>(), [r#"["a name"]"#, "replies", "replies[]"]);
        let whole = seen(2);
        assert_eq!(whole.len(), 4);
        assert_eq!(whole["replies[]"].types, BTreeMap::from([("M", 2), ("S", 2)]));
        assert_eq!(whole["replies[].author"].images, 2, "not once an element");
        assert_eq!(whole["replies[].author"].types, BTreeMap::from([("NULL", 2), ("S", 2)]));
    }
}
