//! What can go wrong with an event as a whole. In each case nothing of it is acknowledged.

use std::time::Duration;

use thiserror::Error;

use crate::error::{Classify, Kind};

/// What can go wrong with an event as a whole.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TriggerError {
    /// It is not an event of a stream.
    #[error("the event is none of a DynamoDB stream: {reason}")]
    NotAnEvent {
        /// What is wrong.
        reason: String,
    },
    /// The invocation's time ended before everything was durable.
    #[error("{records} records were not durable within the {} ms that the invocation had", .allowed.as_millis())]
    OutOfTime {
        /// Records of the event.
        records: usize,
        /// What was allowed.
        allowed: Duration,
    },
}

impl Classify for TriggerError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotAnEvent { .. } => Kind::Invalid,
            Self::OutOfTime { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotAnEvent { .. } => {
                "bind the function to a table's stream with an event source mapping; by hand, invoke it with \
                 {\"Records\":[…]} as a stream sends it"
                    .to_owned()
            }
            Self::OutOfTime { .. } => {
                "the event comes again; if this goes on, raise the function's timeout or memory, or lower the mapping's \
                 batch size, and look at the bucket's latency"
                    .to_owned()
            }
        })
    }
}
