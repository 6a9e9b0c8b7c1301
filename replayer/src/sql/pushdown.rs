//! What a query's conditions mean to the journal.
//!
//! What enters are the engine's expressions; what leaves is what names, filters, index and columns can answer exactly. A condition
//! that is not understood whole is left to the engine.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use journal::model::{AttributeValue, Attributes, ChangeKind, ItemKey, KeyAttribute, KeyType, Number, Second};

use super::fields::{Field, Fields, part_text};
use crate::key_schema::{KeySchema, KeySelection};
use crate::plan::successor;

/// Single keys that are looked up one by one; more are read as one range.
const LOOKUPS_MAX: usize = 64;
const NANOSECONDS: i128 = 1_000_000_000;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// The column has one of these texts.
    OneOf(Field, BTreeSet<String>),
    /// A part of the key begins so.
    Prefix(String, String),
    /// A part of the key is at least, and at most, so; whether the bound itself belongs to it.
    Between(String, Option<(String, bool)>, Option<(String, bool)>),
    /// The second lies between these, both included.
    Seconds(Option<Second>, Option<Second>),
    /// Nothing fits.
    Never,
}

/// All conditions that were understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    conditions: Vec<Condition>,
}

impl Asked {
    pub(super) fn of(filters: &[Expr], fields: &Fields) -> Self {
        Self { conditions: filters.iter().filter_map(|filter| condition(filter, fields)).flatten().collect() }
    }

    /// Whether the journal answers this one exactly.
    pub(super) fn answers(filter: &Expr, fields: &Fields) -> bool {
        condition(filter, fields).is_some()
    }

    fn texts(&self, wanted: &Field) -> Option<BTreeSet<&str>> {
        let sets = self.conditions.iter().filter_map(|condition| match condition {
            Condition::OneOf(field, texts) if field == wanted => Some(texts.iter().map(String::as_str).collect()),
            _ => None,
        });
        sets.reduce(|a: BTreeSet<&str>, b| a.intersection(&b).copied().collect())
    }

    /// Names of the tables that are asked for; none for all.
    pub(super) fn tables(&self) -> Option<BTreeSet<&str>> {
        self.texts(&Field::Table)
    }

    pub(super) fn accepts_timeline(&self, label: &str) -> bool {
        self.texts(&Field::Timeline).is_none_or(|labels| labels.contains(label))
    }

    pub(super) fn accepts_kind(&self, kind: ChangeKind) -> bool {
        self.texts(&Field::Kind).is_none_or(|kinds| kinds.contains(kind.as_str()))
    }

    /// Whether anything can fit.
    pub(super) fn is_possible(&self) -> bool {
        !self.conditions.contains(&Condition::Never) && self.seconds().is_none_or(|(since, until)| since <= until)
    }

    /// First and last second; none when any will do, those of records without a second too.
    pub(super) fn seconds(&self) -> Option<(Second, Second)> {
        let bounds = self.conditions.iter().filter_map(|condition| match condition {
            Condition::Seconds(since, until) => Some((since.unwrap_or(Second::MIN), until.unwrap_or(Second::MAX))),
            _ => None,
        });
        bounds.reduce(|a, b| (a.0.max(b.0), a.1.min(b.1)))
    }

    pub(super) fn has_key(&self) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::OneOf(field, _) => matches!(field, Field::Part(_)),
            Condition::Prefix(..) | Condition::Between(..) => true,
            _ => false,
        })
    }

    /// Whether a decoded key fits.
    pub(super) fn accepts_key(&self, key: &Attributes) -> bool {
        self.conditions.iter().all(|condition| {
            let text = |part: &String| key.get(part).and_then(part_text);
            match condition {
                Condition::OneOf(Field::Part(part), texts) => text(part).is_some_and(|text| texts.contains(&text)),
                Condition::Prefix(part, prefix) => text(part).is_some_and(|text| text.starts_with(prefix.as_str())),
                Condition::Between(part, low, high) => text(part).is_some_and(|text| {
                    low.as_ref().is_none_or(|(low, is_in)| text > *low || (*is_in && text == *low))
                        && high.as_ref().is_none_or(|(high, is_in)| text < *high || (*is_in && text == *high))
                }),
                _ => true,
            }
        })
    }

    /// What is asked of parts of the key that no value of theirs can be, in words.
    pub(super) fn misfits(&self, schema: &KeySchema) -> Vec<String> {
        let mut misfits = Vec::new();
        for condition in &self.conditions {
            let Condition::OneOf(Field::Part(name), texts) = condition else { continue };
            let Some(part) = schema.attributes().as_slice().iter().find(|part| part.name == *name) else { continue };
            let wanted = match part.key_type {
                KeyType::S => continue,
                KeyType::N => "a number",
                KeyType::B => "base64",
            };
            let wrong = texts.iter().filter(|text| value(part, text).is_none());
            misfits.extend(wrong.map(|text| format!("{text:?} is not {wanted}, so no {name} is it")));
        }
        misfits
    }

    /// Whether a table with this key can have what is asked for: a part that it does not have is NULL.
    pub(super) fn accepts_schema(&self, schema: &KeySchema) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::OneOf(Field::Part(part), _) | Condition::Prefix(part, _) | Condition::Between(part, ..) => {
                schema.attributes().contains(part)
            }
            _ => true,
        })
    }

    /// The ranges of encoded keys to read, none for all keys; empty when no key can fit.
    pub(super) fn ranges(&self, schema: &KeySchema) -> Vec<Option<Range<Bytes>>> {
        let parts = schema.attributes().as_slice();
        let Some(first) = parts.first() else { return vec![None] };
        let one_of = |part: &KeyAttribute| {
            let texts = self.texts(&Field::Part(part.name.clone()))?;
            Some(texts.into_iter().filter_map(|text| value(part, text)).collect::<Vec<AttributeValue>>())
        };
        let Some(firsts) = one_of(first) else { return vec![self.span(first, schema)] };
        let seconds = parts.get(1).map(|second| (second, one_of(second)));
        let mut ranges = Vec::new();
        for one in &firsts {
            let mut values = Attributes::from([(first.name.clone(), one.clone())]);
            match &seconds {
                // The first part alone: all keys that begin with it.
                Some((second, None)) => ranges.extend(beginning(schema, &values, second)),
                Some((second, Some(others))) => {
                    for other in others {
                        values.insert(second.name.clone(), other.clone());
                        ranges.extend(single(schema, &values));
                    }
                }
                None => ranges.extend(single(schema, &values)),
            }
        }
        ranges.sort_by(|a, b| a.start.cmp(&b.start));
        if ranges.len() > LOOKUPS_MAX {
            let start = ranges.first().map(|range| range.start.clone());
            let end = ranges.iter().map(|range| range.end.clone()).max();
            return vec![start.zip(end).map(|(start, end)| start..end)];
        }
        ranges.into_iter().map(Some).collect()
    }

    /// One range for a prefix or bounds of the first part, where its bytes sort as its text does.
    fn span(&self, first: &KeyAttribute, schema: &KeySchema) -> Option<Range<Bytes>> {
        if first.key_type != KeyType::S {
            return None;
        }
        let encode = |text: &str| ItemKey::encode_prefix(schema.attributes(), &AttributeValue::S(text.to_owned())).ok();
        let (mut start, mut end) = (encode("")?, successor(&encode("")?)?);
        for condition in &self.conditions {
            let (low, high) = match condition {
                Condition::Prefix(part, prefix) if *part == first.name => (Some(prefix), Some(prefix)),
                Condition::Between(part, low, high) if *part == first.name => {
                    (low.as_ref().map(|(low, _)| low), high.as_ref().map(|(high, _)| high))
                }
                _ => continue,
            };
            if let Some(low) = low.and_then(|low| encode(low)) {
                start = start.max(low);
            }
            if let Some(high) = high.and_then(|high| encode(high)).and_then(|high| successor(&high)) {
                end = end.min(high);
            }
        }
        let end = if end < start { start.clone() } else { end };
        Some(start..end)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        for condition in &self.conditions {
            match condition {
                Condition::OneOf(field, texts) => {
                    let name = match field {
                        Field::Table => "table",
                        Field::Timeline => "timeline",
                        Field::Kind => "kind",
                        Field::Part(part) => part,
                        _ => "column",
                    };
                    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
                    said.push(format!("{name} in ({})", texts.join(", ")));
                }
                Condition::Prefix(part, prefix) => said.push(format!("{part} begins with {prefix:?}")),
                Condition::Between(part, low, high) => {
                    let bound = |bound: &Option<(String, bool)>, sign: &str| {
                        bound
                            .as_ref()
                            .map(|(text, is_in)| format!("{part} {sign}{} {text:?}", if *is_in { "=" } else { "" }))
                    };
                    said.extend(bound(low, ">").into_iter().chain(bound(high, "<")));
                }
                Condition::Seconds(since, until) => {
                    said.extend(since.map(|since| format!("second >= {since}")));
                    said.extend(until.map(|until| format!("second <= {until}")));
                }
                Condition::Never => said.push("nothing fits".to_owned()),
            }
        }
        f.write_str(&crate::audit::inert(&said.join(" and ")))
    }
}

fn single(schema: &KeySchema, values: &Attributes) -> Option<Range<Bytes>> {
    ItemKey::encode(schema.attributes(), values).ok().and_then(|key| KeySelection::only(&key).range)
}

/// All keys whose first part has this value. A key of the first part alone is encoded with the shortest second part, whose own
/// bytes are then cut off.
fn beginning(schema: &KeySchema, first: &Attributes, second: &KeyAttribute) -> Option<Range<Bytes>> {
    let least = match second.key_type {
        KeyType::S => AttributeValue::S(String::new()),
        KeyType::B => AttributeValue::B(Vec::new()),
        KeyType::N => AttributeValue::N(Number::parse("0").ok()?),
    };
    let mut values = first.clone();
    values.insert(second.name.clone(), least.clone());
    let key = ItemKey::encode(schema.attributes(), &values).ok()?;
    let alone = journal::model::KeyAttributes::new(vec![second.clone()]).ok()?;
    let rest = ItemKey::encode(&alone, &Attributes::from([(second.name.clone(), least)])).ok()?;
    let start = key.as_bytes().get(..key.as_bytes().len().checked_sub(rest.as_bytes().len())?)?;
    let end = successor(start)?;
    Some(Bytes::copy_from_slice(start)..end)
}

fn value(part: &KeyAttribute, text: &str) -> Option<AttributeValue> {
    match part.key_type {
        KeyType::S => Some(AttributeValue::S(text.to_owned())),
        KeyType::N => Number::parse(text).ok().map(AttributeValue::N),
        KeyType::B => STANDARD.decode(text).ok().map(AttributeValue::B),
    }
}

/// What an expression means; none when it is not understood whole.
fn condition(expr: &Expr, fields: &Fields) -> Option<Vec<Condition>> {
    match expr {
        Expr::Alias(alias) => condition(&alias.expr, fields),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Some([condition(left, fields)?, condition(right, fields)?].concat())
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => either(left, right, fields),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (literal(left), literal(right)) {
            (None, Some(value)) => compare(column(left, fields)?, *op, value),
            (Some(value), None) => compare(column(right, fields)?, op.swap()?, value),
            _ => None,
        },
        Expr::Between(between) if !between.negated => {
            let field = column(&between.expr, fields)?;
            let low = compare(field, Operator::GtEq, literal(&between.low)?)?;
            Some([low, compare(field, Operator::LtEq, literal(&between.high)?)?].concat())
        }
        Expr::InList(list) if !list.negated => {
            let field = column(&list.expr, fields).filter(|field| is_text(field))?;
            let texts = list.list.iter().map(|one| text_of(literal(one)?)).collect::<Option<BTreeSet<String>>>()?;
            Some(vec![Condition::OneOf(field.clone(), texts)])
        }
        Expr::Like(like) if !like.negated && !like.case_insensitive && like.escape_char.is_none() => {
            let Some(Field::Part(part)) = column(&like.expr, fields) else { return None };
            let pattern = text_of(literal(&like.pattern)?)?;
            let prefix = pattern.strip_suffix('%').filter(|prefix| !prefix.contains(['%', '_', '\\']))?;
            Some(vec![Condition::Prefix(part.clone(), prefix.to_owned())])
        }
        Expr::ScalarFunction(call) if call.name() == "starts_with" => match call.args.as_slice() {
            [one, prefix] => {
                let Some(Field::Part(part)) = column(one, fields) else { return None };
                Some(vec![Condition::Prefix(part.clone(), text_of(literal(prefix)?)?)])
            }
            _ => None,
        },
        Expr::Literal(ScalarValue::Boolean(Some(false)), _) => Some(vec![Condition::Never]),
        _ => None,
    }
}

/// `a = 1 OR a = 2`, as short lists are written by the engine.
fn either(left: &Expr, right: &Expr, fields: &Fields) -> Option<Vec<Condition>> {
    match (condition(left, fields)?.as_slice(), condition(right, fields)?.as_slice()) {
        ([Condition::OneOf(one, a)], [Condition::OneOf(other, b)]) if one == other => {
            Some(vec![Condition::OneOf(one.clone(), a.union(b).cloned().collect())])
        }
        _ => None,
    }
}

fn is_text(field: &Field) -> bool {
    matches!(field, Field::Table | Field::Timeline | Field::Kind | Field::Part(_))
}

/// The column that an expression is, a change of the time's unit aside.
fn column<'a>(expr: &Expr, fields: &'a Fields) -> Option<&'a Field> {
    match expr {
        Expr::Column(column) => fields.by_name(&column.name),
        Expr::Cast(cast) => {
            let field = column(&cast.expr, fields)?;
            let kind = cast.field.data_type();
            let same = match field {
                Field::Second => matches!(kind, datafusion::arrow::datatypes::DataType::Timestamp(..)),
                field => is_text(field) && kind.is_string(),
            };
            same.then_some(field)
        }
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn text_of(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}

fn compare(field: &Field, op: Operator, value: &ScalarValue) -> Option<Vec<Condition>> {
    if *field == Field::Second {
        return Some(vec![time(op, nanoseconds(value)?)?]);
    }
    let text = text_of(value).filter(|_| is_text(field))?;
    if op == Operator::Eq {
        return Some(vec![Condition::OneOf(field.clone(), BTreeSet::from([text]))]);
    }
    let Field::Part(part) = field else { return None };
    let part = part.clone();
    Some(vec![match op {
        Operator::Gt => Condition::Between(part, Some((text, false)), None),
        Operator::GtEq => Condition::Between(part, Some((text, true)), None),
        Operator::Lt => Condition::Between(part, None, Some((text, false))),
        Operator::LtEq => Condition::Between(part, None, Some((text, true))),
        _ => return None,
    }])
}

/// A moment in nanoseconds since 1970.
fn nanoseconds(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::TimestampSecond(Some(value), _) => i128::from(*value) * NANOSECONDS,
        ScalarValue::TimestampMillisecond(Some(value), _) => i128::from(*value) * 1_000_000,
        ScalarValue::TimestampMicrosecond(Some(value), _) => i128::from(*value) * 1_000,
        ScalarValue::TimestampNanosecond(Some(value), _) => i128::from(*value),
        _ => return None,
    })
}

fn time(op: Operator, at: i128) -> Option<Condition> {
    let floor = at.div_euclid(NANOSECONDS);
    let is_whole = at.rem_euclid(NANOSECONDS) == 0;
    let ceiling = if is_whole { floor } else { floor + 1 };
    let (since, until) = match op {
        Operator::GtEq => (Some(ceiling), None),
        Operator::Gt => (Some(floor + 1), None),
        Operator::LtEq => (None, Some(floor)),
        Operator::Lt => (None, Some(ceiling - 1)),
        Operator::Eq if is_whole => (Some(floor), Some(floor)),
        Operator::Eq => return Some(Condition::Never),
        _ => return None,
    };
    let last = i128::from(Second::MAX.get());
    if since.is_some_and(|since| since > last) || until.is_some_and(|until| until < 0) {
        return Some(Condition::Never);
    }
    let second = |value: i128| u64::try_from(value.clamp(0, last)).ok().and_then(|value| Second::new(value).ok());
    Some(Condition::Seconds(since.and_then(second), until.and_then(second)))
}
