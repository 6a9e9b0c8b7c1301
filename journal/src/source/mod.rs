//! Where change records come from: streams, and files of stream records.
//!
//! What enters are bytes of services and files; what leaves are [`StreamRecord`](crate::model::StreamRecord)s and, for
//! what cannot be understood, [`QuarantinedRecord`](crate::append::QuarantinedRecord)s. Knows nothing of segments.

pub mod attribute;
mod canonical;
mod compressed;
pub mod event;
pub mod files;
pub mod follow;
mod ignored;
pub mod ingest;
mod record;
pub mod sdk;
mod shape;
mod splitter;
pub mod stream;
#[cfg(feature = "streams")]
pub mod stream_sdk;
mod time;

pub use record::{RecordError, VIEW_NEEDED};
