//! What `log` and `blame` share: their arguments, and changes as text and as JSON.

use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use jiff::Zoned;
use journal::cli::{Global, output};
use journal::error::{Kind, Result};
use journal::model::{AttributeValue, Attributes, Second, TableName, TimelineLabel};
use journal::source::attribute::to_dynamodb_json;
use journal::store::ReadStore;
use serde_json::{Value, json};

use crate::audit::{Change, Difference, History, Operation, inert, shown};
use crate::cut::{CutRequest, CutText, Position};
use crate::key_schema::{KeySchema, KeySelection};

/// Whether text has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How changes are shown.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// Colours
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto")]
    pub color: Color,
    /// The attribute in which the app writes who made a change
    #[arg(long, value_name = "NAME")]
    pub actor_attribute: Option<String>,
    /// Say on standard error how much was read
    #[arg(long)]
    pub explain: bool,
    /// Characters of a value that are shown
    #[arg(long, value_name = "COUNT", default_value_t = crate::audit::VALUE_CHARS_MAX, value_parser = width)]
    pub width: usize,
}

pub(super) fn width(text: &str) -> std::result::Result<usize, String> {
    let wrong = || "it must be a number from 10 to 1000000".to_owned();
    text.parse().ok().filter(|count| (10..=1_000_000).contains(count)).ok_or_else(wrong)
}

/// Reads `--since` or `--until`.
///
/// # Errors
/// When it is not a time, or lies in the future.
pub fn second(text: &str) -> Result<Second> {
    let request = CutText { at: Some(text), ..CutText::default() }.parse(&Zoned::now())?;
    Ok(match request {
        CutRequest::Latest => Second::MAX,
        CutRequest::Cut(cut) => match cut.position {
            Position::Second(second) => second,
            Position::Sequence(_) => Second::MAX,
        },
    })
}

/// Opens the journal and reads a timeline's label.
///
/// # Errors
/// When the journal cannot be opened, or the text is no label.
pub async fn open(global: &Global, timeline: Option<&str>) -> Result<(Arc<dyn ReadStore>, Option<TimelineLabel>)> {
    let timeline = timeline.map(TimelineLabel::parse).transpose()?;
    Ok((global.open_read().await?, timeline))
}

/// Reads `--key` and `--prefix` by a table's key; without either, all items.
///
/// # Errors
/// When the text is no key of the table, or its key has no prefixes.
pub fn selection(schema: &KeySchema, key: Option<&str>, prefix: Option<&str>) -> Result<KeySelection> {
    Ok(match (key, prefix) {
        (Some(text), _) => KeySelection::only(&schema.parse_key(text)?),
        (None, Some(text)) => schema.parse_prefix(text)?,
        (None, None) => KeySelection::default(),
    })
}

/// Writes changes as lines of text.
#[derive(Debug)]
pub struct Painter<'a> {
    args: &'a ShowArgs,
    colors: bool,
}

impl<'a> Painter<'a> {
    /// A painter for standard output.
    #[must_use]
    pub fn new(args: &'a ShowArgs) -> Self {
        let colors = match args.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
            }
        };
        Self { args, colors }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colors { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// One line of one change: when, what, which item, by whom.
    #[must_use]
    pub fn line(&self, change: &Change) -> String {
        let second = change.second.map_or_else(|| "no time".to_owned(), Second::to_rfc3339);
        let code = match change.kind.as_str() {
            "INSERT" => "32",
            "REMOVE" => "31",
            _ => "33",
        };
        let actor = self.actor(change).map(|actor| format!("  by {actor}")).unwrap_or_default();
        format!(
            "{second}  {}  {}{actor}",
            self.paint(code, &format!("{:<6}", change.kind.as_str())),
            self.paint("1", &self.key(&change.key)),
        )
    }

    /// The key as `name=value`, inert.
    #[must_use]
    pub fn key(&self, key: &Attributes) -> String {
        let part = |(name, value): (&String, &AttributeValue)| {
            let value = match value {
                AttributeValue::S(text) if text.chars().count() <= self.args.width => inert(text),
                value => shown(value, self.args.width),
            };
            format!("{}={value}", inert(name))
        };
        key.iter().map(part).collect::<Vec<_>>().join(",")
    }

    /// Who made the change: the service's time to live, another identity of the stream, or the app's own attribute.
    #[must_use]
    pub fn actor(&self, change: &Change) -> Option<String> {
        if let Some(user) = &change.user {
            let name = if user.is_ttl() { "time to live".to_owned() } else { inert(&user.principal_id) };
            return Some(name);
        }
        let name = self.args.actor_attribute.as_ref()?;
        let value = change.new.as_ref().and_then(|new| new.get(name));
        // A removed item says who wrote it last, which is not who removed it.
        match (value, change.old.as_ref().and_then(|old| old.get(name))) {
            (Some(AttributeValue::S(text)), _) => Some(inert(&text.chars().take(self.args.width).collect::<String>())),
            (Some(value), _) => Some(shown(value, self.args.width)),
            (None, Some(_)) => Some("somebody (the item was removed)".to_owned()),
            (None, None) => None,
        }
    }

    /// One line of one difference, with its sign.
    #[must_use]
    pub fn difference(&self, difference: &Difference) -> String {
        let show = |value: &Option<AttributeValue>| {
            value.as_ref().map(|value| shown(value, self.args.width)).unwrap_or_default()
        };
        let path = inert(&difference.path);
        match difference.operation {
            Operation::Added => self.paint("32", &format!("+ {path}: {}", show(&difference.after))),
            Operation::Removed => self.paint("31", &format!("- {path}: {}", show(&difference.before))),
            Operation::MemberAdded => self.paint("32", &format!("+ {path} has {}", show(&difference.after))),
            Operation::MemberRemoved => self.paint("31", &format!("- {path} has no more {}", show(&difference.before))),
            Operation::Changed => {
                let arrow = format!("{} → {}", show(&difference.before), show(&difference.after));
                let types = match (&difference.before, &difference.after) {
                    (Some(before), Some(after)) if before.type_name() != after.type_name() => {
                        format!(" (was {}, is {})", before.type_name(), after.type_name())
                    }
                    _ => String::new(),
                };
                self.paint("33", &format!("~ {path}: {arrow}{types}"))
            }
        }
    }
}

/// A value as DynamoDB JSON, which is exact.
#[must_use]
pub fn exact(value: &AttributeValue) -> Value {
    to_dynamodb_json(value).unwrap_or(Value::Null)
}

/// A change's head for JSON output.
#[must_use]
pub fn head(change: &Change, painter: &Painter<'_>) -> Value {
    json!({
        "timeline": change.timeline.label.to_string(),
        "sequence": change.sequence.to_string(),
        "second": change.second.map(Second::to_rfc3339),
        "kind": change.kind.as_str(),
        "key": change.key.iter().map(|(name, value)| (name.clone(), exact(value))).collect::<serde_json::Map<_, _>>(),
        "by": painter.actor(change),
    })
}

/// Says what was read, and what could not be; gives the exit code's kind when something could not.
#[must_use]
pub fn conclude(history: &History, args: &ShowArgs, table: &TableName) -> Option<Kind> {
    if args.explain {
        output::note(&format!(
            "read {} of {} segments of table {table}, {} of {} bytes",
            history.opened, history.segments, history.bytes_read, history.segment_bytes
        ));
    }
    for unreadable in &history.unreadable {
        output::note(&format!(
            "warning: {} cannot be read, its changes are missing: {}",
            unreadable.object, unreadable.reason
        ));
    }
    if history.unreadable.is_empty() {
        return None;
    }
    output::note(
        "hint: an earlier version of an unsound object may be whole: list the versions of its key in the bucket",
    );
    Some(Kind::Corrupt)
}
