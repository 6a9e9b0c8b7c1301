//! Redrive: what an event source mapping gave up is appended to the journal after all.
//!
//! What enters is the mapping's on-failure destination, or messages that came out of it; what leaves are segments, and a
//! mark beside every object that is done. An S3 destination's object holds the whole batch (`payload`). A queue's or topic's
//! message only says which records of which shard failed, so those are read again from the stream, which keeps them for 24
//! hours. Nothing of the destination is changed or deleted; the marks alone are added, under `redriven/`. Running it twice
//! appends nothing twice: what is marked is passed over, and what is not meets its own segments.
//!
//! Source: "Retain discarded records for a DynamoDB event source in Lambda", AWS Lambda Developer Guide.

mod document;
mod error;
mod fetch;
mod run;

pub use document::{Given, ShardRange, read};
pub use error::RedriveError;
pub use run::{Left, RedriveReport, redrive_messages, redrive_place};
