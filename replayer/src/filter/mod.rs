//! `--where`: DynamoDB's condition expressions, with the values written in place.
//!
//! What enters is a user's text and an item's attributes, the key's among them; what leaves is yes or no. The grammar and
//! the meaning of every comparison follow "Condition and filter expressions, operators, and functions" in the Amazon
//! DynamoDB Developer Guide; SEMANTICS.md, "Filters", says where values may be written. Knows nothing of keys or runs.

mod evaluate;
mod grammar;

use journal::error::{Classify, Kind};
use journal::model::{AttributeValue, Attributes};
use thiserror::Error;

/// Longest expression, in bytes. DynamoDB allows 4 KB, with the values beside it.
pub const EXPRESSION_BYTES_MAX: usize = 16 << 10;
/// Deepest nesting of parentheses and NOT.
pub const NESTING_MAX: usize = 64;

/// Why a text is not a filter.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// Not an expression.
    #[error("cannot read the condition: {message}\n  {line}\n  {caret}")]
    Syntax {
        /// What is wrong.
        message: String,
        /// The line of the expression that holds the place.
        line: String,
        /// A caret under the place.
        caret: String,
    },
    /// Longer than [`EXPRESSION_BYTES_MAX`].
    #[error("cannot read the condition: it has {found} bytes, at most {EXPRESSION_BYTES_MAX} are allowed")]
    Length {
        /// Bytes found.
        found: usize,
    },
}

impl Classify for FilterError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(
            "write it as in: author = 'ada' AND attribute_exists(replies[0].content) AND NOT begins_with(country, 'D')"
                .to_owned(),
        )
    }
}

/// One step of a document path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

/// A document path: at least one name.
type Path = Vec<Step>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    Path(Path),
    Value(AttributeValue),
    Size(Path),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Compare(Operand, Comparator, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    NotExists(Path),
    Type(Path, String),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
}

/// A filter that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Condition);

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is not one; the message shows the place.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        grammar::parse(text).map(Self)
    }

    /// Whether an item, its key's attributes included, meets the condition.
    #[must_use]
    pub fn accepts(&self, item: &Attributes) -> bool {
        evaluate::holds(&self.0, item)
    }
}

#[cfg(test)]
mod tests;
