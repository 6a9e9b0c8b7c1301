//! DynamoDB's ten attribute types.

use std::collections::{BTreeMap, BTreeSet};

use super::Number;

/// Attributes by name, in the order of the names' UTF-8 bytes.
pub type Attributes = BTreeMap<String, AttributeValue>;

/// One attribute value. Sets are sorted, for DynamoDB gives them no order; lists keep theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// A string, possibly empty.
    S(String),
    /// A number, its text kept exactly.
    N(Number),
    /// Bytes, possibly none.
    B(Vec<u8>),
    /// A set of strings, not empty.
    Ss(BTreeSet<String>),
    /// A set of numbers, not empty, sorted by their text.
    Ns(BTreeSet<Number>),
    /// A set of byte strings, not empty.
    Bs(BTreeSet<Vec<u8>>),
    /// A map.
    M(Attributes),
    /// A list.
    L(Vec<AttributeValue>),
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
}

impl AttributeValue {
    /// DynamoDB's own name of the type: `S`, `N`, `B`, `SS`, `NS`, `BS`, `M`, `L`, `NULL` or `BOOL`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::S(_) => "S",
            Self::N(_) => "N",
            Self::B(_) => "B",
            Self::Ss(_) => "SS",
            Self::Ns(_) => "NS",
            Self::Bs(_) => "BS",
            Self::M(_) => "M",
            Self::L(_) => "L",
            Self::Null => "NULL",
            Self::Bool(_) => "BOOL",
        }
    }
}
