//! The read side of a write-ahead event journal for DynamoDB tables: cut, listing, merge, state, sinks, proof.
//!
//! Promises and limits are stated in `SEMANTICS.md` beside this crate. It is given a store it can only read.

pub mod audit;
#[cfg(feature = "cli")]
pub mod cli;
pub mod coverage;
pub mod cut;
pub mod digest;
pub mod filter;
pub mod key_schema;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod live;
pub mod output;
pub mod plan;
pub mod restore;
pub mod rewind;
#[cfg(feature = "sql")]
pub mod sql;
pub mod state;
pub mod table_write;
pub mod verify;

pub use journal::{listing, merge};

#[cfg(test)]
mod semantics;
