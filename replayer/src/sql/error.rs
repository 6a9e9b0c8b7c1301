//! Errors of SQL, with a caret under the place.

use std::fmt;

use datafusion::common::{DataFusionError, Span};
use datafusion::sql::sqlparser::parser::ParserError;
use journal::error::{Classify, Error, Kind};
use thiserror::Error;

use crate::audit::inert;

/// Characters of the statement's line that are shown before and after the place.
const AROUND_CHARS: usize = 60;

/// Why a statement has no answer.
#[derive(Debug, Error)]
pub enum SqlError {
    /// It is not SQL.
    #[error("the SQL cannot be read: {reason}{place}")]
    Syntax {
        /// What is wrong.
        reason: String,
        /// Where, as lines of text.
        place: Place,
    },
    /// It names what is not there, or does what cannot be done.
    #[error("the SQL cannot be answered: {reason}{place}")]
    Plan {
        /// What is wrong.
        reason: String,
        /// Where, as lines of text.
        place: Place,
    },
    /// It names a column that is not there.
    #[error("the SQL cannot be answered: {reason}{place}")]
    Column {
        /// What is wrong.
        reason: String,
        /// Where, as lines of text.
        place: Place,
        /// The keys of the tables, as text.
        keys: String,
    },
    /// It would write.
    #[error("the SQL would change something, and a journal is only read: {reason}")]
    ReadOnly {
        /// What was asked for.
        reason: String,
    },
    /// It needs more memory than it may have.
    #[error("the SQL needs more memory than it may have: {reason}")]
    Memory {
        /// What the engine said.
        reason: String,
    },
    /// The engine failed.
    #[error("the SQL failed: {reason}")]
    Engine {
        /// What the engine said.
        reason: String,
    },
}

impl Classify for SqlError {
    fn kind(&self) -> Kind {
        match self {
            Self::Engine { .. } => Kind::Internal,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax { .. } | Self::Plan { .. } => Some(
                "names are written as they are, so noteId needs no quotes; `DESCRIBE changes` lists the columns and `replay sql \
                 --help` has examples"
                    .to_owned(),
            ),
            Self::Column { keys, .. } => Some(format!(
                "names are written as they are, so noteId needs no quotes; `DESCRIBE changes` lists the columns; attributes that are no \
                 part of a key are in the images: json_get(new, 'author'); {keys}"
            )),
            Self::ReadOnly { .. } => Some("SELECT, EXPLAIN, SHOW and DESCRIBE are understood; --output writes a file".to_owned()),
            Self::Memory { .. } => Some("give more with --query-memory-mib, or ask for less".to_owned()),
            Self::Engine { .. } => None,
        }
    }
}

/// The line of the statement with a caret under the place; nothing where the place is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place(Option<(String, usize)>);

impl Place {
    /// The place at `line` and `column`, both counted from 1, of `sql`.
    pub(super) fn at(sql: &str, line: u64, column: u64) -> Self {
        let line = usize::try_from(line).unwrap_or(1).max(1);
        let column = usize::try_from(column).unwrap_or(1).max(1) - 1;
        let Some(text) = sql.lines().nth(line - 1).or_else(|| sql.lines().last()) else { return Self::default() };
        let characters: Vec<char> = text.chars().collect();
        let column = column.min(characters.len());
        let start = column.saturating_sub(AROUND_CHARS);
        let end = characters.len().min(column + AROUND_CHARS);
        let before: String = characters.get(start..column).unwrap_or_default().iter().collect();
        let after: String = characters.get(column..end).unwrap_or_default().iter().collect();
        let before = inert(&before);
        Self(Some((format!("{before}{}", inert(&after)), before.chars().count())))
    }

    /// The place of `text` where the statement has it once.
    pub(super) fn of(sql: &str, text: &str) -> Self {
        let mut places = sql.match_indices(text);
        let (Some((at, _)), None) = (places.next(), places.next()) else { return Self::default() };
        let before = sql.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self::at(sql, u64::try_from(line).unwrap_or(1), u64::try_from(column).unwrap_or(1))
    }

    fn span(sql: &str, span: Option<Span>) -> Self {
        span.map_or_else(Self::default, |span| Self::at(sql, span.start.line, span.start.column))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((line, column)) => write!(f, "\n  {line}\n  {:column$}^", ""),
            None => Ok(()),
        }
    }
}

/// One of our errors on its way through the engine.
#[derive(Debug)]
pub(super) struct Carried(pub(super) Error);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Carried {}

/// Hands one of our errors to the engine.
pub(super) fn carried(error: impl Into<Error>) -> DataFusionError {
    DataFusionError::External(Box::new(Carried(error.into())))
}

/// What the engine said of `sql`, as an error of ours; `keys` says which keys the tables have.
pub(super) fn understood(sql: &str, error: DataFusionError, keys: &str) -> Error {
    let place = match error.diagnostic() {
        Some(diagnostic) => Place::span(sql, diagnostic.span),
        None => Place::default(),
    };
    match unwrapped(error) {
        DataFusionError::External(inner) => match inner.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(other) => SqlError::Engine { reason: inert(&other.to_string()) }.into(),
        },
        DataFusionError::SQL(error, _) => {
            let text = match *error {
                ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
                ParserError::RecursionLimitExceeded => "it is nested too deep".to_owned(),
            };
            let (reason, at) = located(&text);
            let place = at.map_or(place, |(line, column)| Place::at(sql, line, column));
            SqlError::Syntax { reason: inert(&reason), place }.into()
        }
        DataFusionError::ResourcesExhausted(reason) => SqlError::Memory { reason: first_lines(&reason) }.into(),
        DataFusionError::Plan(reason) if reason.contains("not supported: ") => {
            SqlError::ReadOnly { reason: first_lines(&reason) }.into()
        }
        DataFusionError::Plan(reason)
        | DataFusionError::NotImplemented(reason)
        | DataFusionError::Execution(reason) => {
            let place = if place == Place::default() { quoted(sql, &reason) } else { place };
            let is_column =
                reason.contains("No field named") || (reason.contains("column") && reason.contains("not found"));
            let reason = first_lines(&reason);
            if is_column {
                return SqlError::Column { reason, place, keys: keys.to_owned() }.into();
            }
            SqlError::Plan { reason, place }.into()
        }
        DataFusionError::SchemaError(error, _) => {
            SqlError::Column { reason: first_lines(&error.to_string()), place, keys: keys.to_owned() }.into()
        }
        DataFusionError::ArrowError(error, _) => {
            SqlError::Plan { reason: first_lines(&error.to_string()), place }.into()
        }
        other => SqlError::Engine { reason: first_lines(&other.to_string()) }.into(),
    }
}

/// The error inside its wrappings.
fn unwrapped(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => unwrapped(*inner),
        DataFusionError::Collection(mut errors) if !errors.is_empty() => unwrapped(errors.swap_remove(0)),
        DataFusionError::Shared(shared) => match std::sync::Arc::try_unwrap(shared) {
            Ok(inner) => unwrapped(inner),
            Err(shared) => carried_in(&shared).unwrap_or_else(|| DataFusionError::Execution(shared.to_string())),
        },
        DataFusionError::External(inner) => match inner.downcast::<DataFusionError>() {
            Ok(inner) => unwrapped(*inner),
            Err(inner) => DataFusionError::External(inner),
        },
        DataFusionError::ArrowError(inner, backtrace) => match *inner {
            datafusion::arrow::error::ArrowError::ExternalError(inner) => unwrapped(DataFusionError::External(inner)),
            inner => DataFusionError::ArrowError(Box::new(inner), backtrace),
        },
        other => other,
    }
}

/// A shared error cannot be taken apart; what it says of ours can be said again.
fn carried_in(shared: &DataFusionError) -> Option<DataFusionError> {
    match shared.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref::<Carried>().map(|carried| {
            let again = Again { text: carried.0.to_string(), kind: carried.0.kind(), hint: carried.0.hint() };
            DataFusionError::External(Box::new(Carried(again.into())))
        }),
        _ => None,
    }
}

#[derive(Debug, Error)]
#[error("{text}")]
struct Again {
    text: String,
    kind: Kind,
    hint: Option<String>,
}

impl Classify for Again {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// Takes ` at Line: 1, Column: 15` from the end of a parser's message.
fn located(text: &str) -> (String, Option<(u64, u64)>) {
    let Some((reason, at)) = text.rsplit_once(" at Line: ") else { return (text.to_owned(), None) };
    let place = at.split_once(", Column: ").and_then(|(line, column)| {
        let column: String = column.chars().take_while(char::is_ascii_digit).collect();
        Some((line.parse().ok()?, column.parse().ok()?))
    });
    (reason.to_owned(), place)
}

/// The place of the first name that the message has in quotes, where the statement has it once.
fn quoted(sql: &str, reason: &str) -> Place {
    let names = reason.split('\'').skip(1).step_by(2);
    let mut places = names.map(|name| Place::of(sql, name.rsplit('.').next().unwrap_or(name)));
    places.find(|place| *place != Place::default()).unwrap_or_default()
}

fn first_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().take(3).collect();
    lines.iter().map(|line| inert(line)).collect::<Vec<_>>().join(" ")
}
