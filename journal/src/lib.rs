//! The write side of a write-ahead event journal for DynamoDB tables, and the format both sides share.
//!
//! Data flows one way: a stream record is decoded strictly ([`source`]), becomes a change record ([`model`]), is encoded
//! into a sorted, checksummed segment ([`mod@format`]) and put into a store create-only ([`store`], [`append`]); only then is
//! it acknowledged. The bytes are specified in `FORMAT.md` beside this crate.

pub mod append;
#[cfg(feature = "cli")]
pub mod check_deploy;
#[cfg(feature = "cli")]
pub mod cli;
pub mod compact;
#[cfg(feature = "control")]
pub mod control;
pub mod coverage;
pub mod cut;
pub mod documents;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod error;
pub mod format;
#[cfg(feature = "control")]
pub mod guard;
pub mod interrupt;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod layout;
pub mod lifecycle;
pub mod listing;
#[cfg(feature = "maintenance")]
pub mod maintenance;
pub mod merge;
pub mod model;
#[cfg(feature = "control")]
pub mod protect;
#[cfg(feature = "streams")]
pub mod redrive;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod store;
pub mod table;
mod task;
#[cfg(feature = "trigger")]
pub mod trigger;
pub mod upkeep;

pub use error::{Classify, Error, Kind, Result};
