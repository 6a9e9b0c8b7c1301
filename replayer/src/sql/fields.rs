//! The columns of `changes` and of `state_at`.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};
use journal::model::{AttributeValue, KeyAttributes};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The name of a column's mark: its text is JSON.
pub(super) const JSON_MARK: &str = "json";

/// What a column has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    /// The table's name.
    Table,
    /// The stream's label.
    Timeline,
    /// The sequence number, as the service gave it.
    Sequence,
    /// The second.
    Second,
    /// `INSERT`, `MODIFY` or `REMOVE`.
    Kind,
    /// Who, where known.
    Actor,
    /// The whole key as JSON.
    Key,
    /// One attribute of the key as text.
    Part(String),
    /// The item before as JSON.
    Old,
    /// The item after as JSON.
    New,
    /// The item as JSON.
    Item,
}

/// Fields in the order of their columns.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    pub(super) list: Arc<Vec<Field>>,
    pub(super) schema: SchemaRef,
}

const CHANGES: [(&str, Field); 7] = [
    ("table", Field::Table),
    ("timeline", Field::Timeline),
    ("sequence", Field::Sequence),
    ("second", Field::Second),
    ("kind", Field::Kind),
    ("actor", Field::Actor),
    ("key", Field::Key),
];
const STATE: [(&str, Field); 5] = [
    ("table", Field::Table),
    ("timeline", Field::Timeline),
    ("sequence", Field::Sequence),
    ("second", Field::Second),
    ("key", Field::Key),
];

impl Fields {
    /// The columns of `changes` of tables with these keys.
    pub(super) fn of_changes<'a>(keys: impl IntoIterator<Item = &'a KeyAttributes>) -> Self {
        Self::new(&CHANGES, keys, &[("old", Field::Old), ("new", Field::New)])
    }

    /// The columns of a state of a table with this key.
    pub(super) fn of_state(key: Option<&KeyAttributes>) -> Self {
        Self::new(&STATE, key, &[("item", Field::Item)])
    }

    fn new<'a>(
        first: &[(&str, Field)],
        keys: impl IntoIterator<Item = &'a KeyAttributes>,
        last: &[(&str, Field)],
    ) -> Self {
        let mut parts: BTreeSet<&str> = BTreeSet::new();
        for key in keys {
            parts.extend(key.as_slice().iter().map(|attribute| attribute.name.as_str()));
        }
        let fixed = |name: &str| first.iter().chain(last).any(|(fixed, _)| *fixed == name);
        let mut columns: Vec<(String, Field)> = Vec::new();
        columns.extend(first.iter().map(|(name, field)| ((*name).to_owned(), field.clone())));
        for part in parts {
            let mut name = part.to_owned();
            while fixed(&name) || columns.iter().any(|(other, _)| *other == name) {
                name = format!("key_{name}");
            }
            columns.push((name, Field::Part(part.to_owned())));
        }
        columns.extend(last.iter().map(|(name, field)| ((*name).to_owned(), field.clone())));
        let schema = Schema::new(columns.iter().map(|(name, field)| field.arrow(name)).collect::<Vec<_>>());
        let fields = columns.into_iter().map(|(_, field)| field).collect();
        Self { list: Arc::new(fields), schema: Arc::new(schema) }
    }

    /// The field of a column.
    pub(super) fn by_name(&self, name: &str) -> Option<&Field> {
        self.schema.index_of(name).ok().and_then(|at| self.list.get(at))
    }

    /// Only these columns, in this order.
    pub(super) fn project(&self, projection: Option<&Vec<usize>>) -> datafusion::common::Result<Self> {
        let Some(projection) = projection else { return Ok(self.clone()) };
        let list = projection.iter().filter_map(|at| self.list.get(*at).cloned()).collect();
        Ok(Self { list: Arc::new(list), schema: Arc::new(self.schema.project(projection)?) })
    }

    pub(super) fn has(&self, field: &Field) -> bool {
        self.list.contains(field)
    }

    /// Whether a column shows the key or a part of it.
    pub(super) fn needs_key(&self) -> bool {
        self.list
            .iter()
            .any(|field| matches!(field, Field::Key | Field::Part(_) | Field::Old | Field::New | Field::Item))
    }
}

impl Field {
    fn arrow(&self, name: &str) -> ArrowField {
        let sure = matches!(self, Self::Table | Self::Timeline | Self::Kind | Self::Key | Self::Item);
        match self {
            Self::Second => ArrowField::new(name, DataType::Timestamp(TimeUnit::Second, Some("+00:00".into())), true),
            Self::Key | Self::Old | Self::New | Self::Item => {
                let mark = std::collections::HashMap::from([(JSON_MARK.to_owned(), "true".to_owned())]);
                ArrowField::new(name, DataType::Utf8, !sure).with_metadata(mark)
            }
            _ => ArrowField::new(name, DataType::Utf8, !sure),
        }
    }
}

/// A part of a key as a column has it: text as it is, numbers with all their digits, bytes as base64.
pub(super) fn part_text(value: &AttributeValue) -> Option<String> {
    match value {
        AttributeValue::S(text) => Some(text.clone()),
        AttributeValue::N(number) => Some(number.as_str().to_owned()),
        AttributeValue::B(bytes) => Some(STANDARD.encode(bytes)),
        _ => None,
    }
}
