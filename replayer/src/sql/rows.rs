//! Records and items as rows of columns.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder, TimestampSecondBuilder};
use datafusion::common::Result;
use journal::model::{AttributeValue, Attributes, Second, SequenceNumber, Timeline};

use super::fields::{Field, Fields, part_text};
use crate::audit::inert;
use crate::output::write_plain_json;

/// Rows of a batch at most.
const ROWS_MAX: usize = 8192;
/// Bytes of text of a batch, beyond which it is given on.
const BYTES_MAX: usize = 1 << 20;

/// One row's values, as far as they are asked for.
#[derive(Debug, Default)]
pub(super) struct Row<'a> {
    pub(super) sequence: Option<SequenceNumber>,
    pub(super) second: Option<Second>,
    pub(super) kind: &'static str,
    pub(super) actor: Option<String>,
    pub(super) key: Option<&'a Attributes>,
    /// The item before, without its key.
    pub(super) old: Option<Attributes>,
    /// The item after, without its key; the whole item of a state.
    pub(super) new: Option<Attributes>,
}

enum Builder {
    Text(StringBuilder),
    Time(TimestampSecondBuilder),
}

/// Rows that are being gathered.
pub(super) struct Rows {
    fields: Fields,
    timeline: Timeline,
    builders: Vec<Builder>,
    count: usize,
    bytes: usize,
}

impl Rows {
    pub(super) fn new(fields: Fields, timeline: Timeline) -> Self {
        let mut rows = Self { fields, timeline, builders: Vec::new(), count: 0, bytes: 0 };
        rows.clear();
        rows
    }

    fn clear(&mut self) {
        let builder = |field: &Field| match field {
            Field::Second => Builder::Time(TimestampSecondBuilder::new().with_timezone("+00:00")),
            _ => Builder::Text(StringBuilder::new()),
        };
        self.builders = self.fields.list.iter().map(builder).collect();
        (self.count, self.bytes) = (0, 0);
    }

    pub(super) fn push(&mut self, row: &Row<'_>) {
        let list = Arc::clone(&self.fields.list);
        for (field, builder) in list.iter().zip(&mut self.builders) {
            match builder {
                Builder::Time(builder) => {
                    builder.append_option(row.second.and_then(|second| i64::try_from(second.get()).ok()));
                    self.bytes += 8;
                }
                Builder::Text(builder) => {
                    let text = match field {
                        Field::Table => Some(self.timeline.table.as_str().to_owned()),
                        Field::Timeline => Some(self.timeline.label.as_str().to_owned()),
                        Field::Sequence => row.sequence.map(|sequence| sequence.to_string()),
                        Field::Kind => Some(row.kind.to_owned()),
                        Field::Actor => row.actor.clone(),
                        Field::Key => row.key.map(json),
                        Field::Part(part) => row.key.and_then(|key| key.get(part)).and_then(part_text),
                        Field::Old => row.old.as_ref().map(|old| whole(row.key, old)),
                        Field::New | Field::Item => row.new.as_ref().map(|new| whole(row.key, new)),
                        Field::Second => None,
                    };
                    self.bytes += text.as_ref().map_or(1, String::len);
                    builder.append_option(text);
                }
            }
        }
        self.count += 1;
    }

    /// Whether it is time to give the batch on.
    pub(super) fn is_full(&self) -> bool {
        self.count >= ROWS_MAX || self.bytes >= BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The rows so far; then there are none.
    pub(super) fn take(&mut self) -> Result<RecordBatch> {
        let arrays = self.builders.iter_mut().map(|builder| -> ArrayRef {
            match builder {
                Builder::Text(builder) => Arc::new(builder.finish()),
                Builder::Time(builder) => Arc::new(builder.finish()),
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(self.count));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.fields.schema), arrays.collect(), &options)?;
        self.clear();
        Ok(batch)
    }
}

/// JSON that no terminal obeys: what one might act on is escaped, which JSON reads as the same text.
fn json(item: &Attributes) -> String {
    let mut text = Vec::new();
    // Writing to memory does not fail.
    drop(write_plain_json(item, &mut text));
    inert(&String::from_utf8_lossy(&text))
}

fn whole(key: Option<&Attributes>, image: &Attributes) -> String {
    match key {
        Some(key) if !key.keys().all(|name| image.contains_key(name)) => {
            let mut item = image.clone();
            item.extend(key.clone());
            json(&item)
        }
        _ => json(image),
    }
}

/// Who the app's own attribute names.
pub(super) fn named_actor(attribute: &str, new: Option<&Attributes>) -> Option<String> {
    let value = new?.get(attribute)?;
    Some(match value {
        AttributeValue::S(text) => text.clone(),
        AttributeValue::N(number) => number.as_str().to_owned(),
        value => {
            let mut text = Vec::new();
            // Writing to memory does not fail.
            drop(crate::output::json::value(value, &mut text));
            String::from_utf8_lossy(&text).into_owned()
        }
    })
}
