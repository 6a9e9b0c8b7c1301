//! SQL over a journal, by Apache `DataFusion` in the process.
//!
//! What enters are a store that can only be read and statements; what leaves are batches of rows, written as a table, CSV, JSON or
//! Parquet. The table `changes` has a row a change, the table function `state_at(table, cut)` a row an item. What a query asks of
//! table, timeline, time, kind and key is answered by names, key filters, indexes and columns before any image is read; the rest
//! is `DataFusion`'s. Rows are streamed; memory is bounded by the merge's and the query's bound. Nothing can be written.

mod changes;
mod error;
mod fields;
mod functions;
mod output;
mod provider;
mod pushdown;
mod report;
mod rows;
mod scan;
mod session;
mod state_at;
#[cfg(test)]
mod tests;

pub use error::SqlError;
pub use output::{SqlFormat, SqlWriter};
pub use report::{ScanReport, SqlReport};
pub use session::{SqlOptions, SqlSession};
