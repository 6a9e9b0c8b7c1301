//! Audit: who changed what, and when.
//!
//! What enters are a journal's segments and what is asked of them: keys, times, kinds, actors. What leaves are changes in
//! the order of time, the differences they made attribute by attribute, and for each attribute the change that last set
//! it. Reads only segments whose names allow them to matter and, for one item, only blocks that may hold it. Knows
//! nothing of cuts or sinks.

mod between;
mod blame;
mod compare;
mod difference;
mod history;
mod inert;
mod order;
mod shape;
#[cfg(test)]
mod tests;
mod why;

pub use crate::merge::Unreadable;
pub(crate) use between::{ChangedKey, Span, changed_keys};
pub use blame::{Origin, blame};
pub use compare::{CompareError, CompareReport, CompareRequest, ItemDifference, compare};
pub use difference::{Difference, Operation, differences};
#[cfg(any(feature = "cli", feature = "sql"))]
pub(crate) use history::key_schema_of;
pub use history::{Actor, AuditError, Change, Direction, History, HistoryRequest, history};
pub(crate) use inert::{InertJson, inert_lines, make_json_inert};
pub use inert::{VALUE_CHARS_MAX, inert, shown};
pub use shape::{AttributeShape, TableShape, shape};
#[cfg(feature = "sql")]
pub(crate) use why::outside;
pub use why::why_empty;
