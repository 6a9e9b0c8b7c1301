//! Typed columns: how items become rows of a Parquet file or of a table of `SQLite`, and rows items again, with nothing lost.
//!
//! A first look at all items gives each attribute a column with one type; a second writes them. What a column cannot say
//! exactly stands, as DynamoDB JSON, in the column [`EXACT`] of the same row. The rules are in SEMANTICS.md, "Export
//! formats". Knows nothing of Parquet or `SQLite`.

mod cell;
mod layout;
#[cfg(test)]
mod reference;
mod rows;
mod seen;
#[cfg(test)]
mod tests;

pub use cell::{Cell, CellError};
pub use layout::{Column, ColumnKind, Layout};
pub(crate) use rows::Rows;
pub use seen::Seen;

/// The column that holds what the others cannot say: an object of attributes in DynamoDB JSON, or nothing.
pub const EXACT: &str = "_dynamodb";

/// Most columns of a typed file: fewer than the 2,000 of `SQLite`. What more attributes there are stands in [`EXACT`].
pub const TYPED_COLUMNS_MAX: usize = 1_000;

/// Longest name of a column, in bytes; attributes with longer names stand in [`EXACT`].
const NAME_BYTES_MAX: usize = 255;
