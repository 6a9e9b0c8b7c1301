//! The stream trigger: one event of an event source mapping becomes one segment a timeline, durable before it is answered.
//!
//! What enters is the event that Lambda gives; what leaves are segments, quarantined records, `table.json` of a timeline
//! that is seen for the first time, metrics of each table, and an answer. The promises
//! and their tests are on the page `TRIGGER.md` beside this crate. Knows nothing of shards, mappings and retries: those are
//! Lambda's.
//!
//! # Why a batch fails whole
//!
//! The trigger answers for a batch as a whole and reports no item failures (`ReportBatchItemFailures`). A batch is one
//! segment, so there is no first record that failed: either all of it is durable or none is. After a failure everything
//! comes again, and what was durable already meets its own object or is merged away as a copy. Reporting items would save
//! nothing, and it is a way to lose records: a mapping without that setting takes such an answer for success. The answer of
//! a success is an empty list of failures, which both kinds of mapping take for success.
//!
//! # Permissions
//!
//! Those of [`crate::lambda`], those that the mapping needs to read the stream (`dynamodb:DescribeStream`, `GetRecords`,
//! `GetShardIterator`, `ListStreams`), and for `table.json` `dynamodb:DescribeTable`, `DescribeTimeToLive`,
//! `DescribeContinuousBackups` and `ListTagsOfResource`. Without the last four records are journalled all the same.
//! Every put is create-only (`If-None-Match: *`); nothing is replaced and nothing is deleted.

mod error;
mod event;
mod first_sight;
mod handle;

pub use error::TriggerError;
pub use event::StreamEvent;
pub use handle::Trigger;
