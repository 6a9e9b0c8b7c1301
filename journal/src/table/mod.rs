//! The live table: its description for `table.json`, what is needed to make it again, and the baseline scan.

pub mod baseline;
mod capacity;
pub mod description;
mod error;
#[cfg(test)]
mod fake;
pub mod recreate;
mod wire;

pub use baseline::{BaselineOptions, BaselineProgress, BaselineReport, baseline};
pub use description::{describe, start_of, store_description};
pub use error::TableError;
