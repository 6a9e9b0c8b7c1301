//! One follower a table, begun before the table's first client hears of it.
//!
//! The embedded endpoint asks here before it answers `CreateTable` and before it lets `DeleteTable` through: a table's
//! timeline has then begun in the journal, so its follower knows the stream and drains it even when the table is gone
//! at once. Tables that were there before are found by listing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType, TableDescription};
use tokio::task::JoinHandle;

use super::stack::{Listener, Notice};
use crate::documents::{self, StartDocument};
use crate::embedded::{Endpoints, TableWatch, dynamodb_client, streams_client};
use crate::error::Result;
use crate::layout;
use crate::model::{StreamArn, TableName, Timeline, TimelineLabel};
use crate::source::follow::{FollowOptions, Stop, follow};
use crate::source::stream::StreamService;
use crate::store::WriteStore;

/// How often tables are listed.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// How often a waiting client's timeline is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a client waits for its table's timeline to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// How often an idle stream is read.
const POLL: Duration = Duration::from_millis(200);

/// The followers of all tables of one endpoint.
pub(super) struct Followers {
    /// Past the front: its hooks call back here.
    tables: aws_sdk_dynamodb::Client,
    service: Arc<dyn StreamService>,
    store: Arc<dyn WriteStore>,
    stop: Stop,
    leave_streams_alone: bool,
    listener: Listener,
    running: tokio::sync::Mutex<BTreeMap<TableName, JoinHandle<()>>>,
    /// What was said, or tried, once and need not be again: a table's id or stream, and the matter.
    told: Mutex<BTreeSet<String>>,
}
