//! The local stack of `journal dev` and `journal demo`: embedded DynamoDB, a journal, and followers between them.
//!
//! Its data lie in one folder: the database, and the journal in `journal/`. What enters is that folder and a port; what
//! leaves is an endpoint on which no write is lost to the journal, and at the stop a journal that holds every one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::followers::Followers;
use crate::documents;
use crate::embedded::EmbeddedDynamoDb;
use crate::error::Result;
use crate::model::TableName;
use crate::store::{self, WriteStore};

/// The journal's folder in the stack's folder.
const JOURNAL_FOLDER: &str = "journal";

/// What the stack tells whoever runs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Notice {
    /// A table's changes go to the journal from now on.
    Following(TableName),
    /// A table had no stream, and it was switched on.
    StreamSwitchedOn(TableName),
    /// A table is not journalled.
    NotFollowed {
        /// The table.
        table: TableName,
        /// Why, and what to do.
        reason: String,
    },
    /// A table was older than its stream, so it was read into a baseline.
    Baseline {
        /// The table.
        table: TableName,
        /// Items read.
        items: u64,
    },
    /// A follower failed and is started again.
    Failed {
        /// What failed.
        what: String,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Following(table) => write!(f, "table {table}: every change goes to the journal"),
            Self::StreamSwitchedOn(table) => {
                write!(f, "table {table}: had no stream; switched it on with NEW_AND_OLD_IMAGES")
            }
            Self::NotFollowed { table, reason } => write!(f, "table {table} is not journalled: {reason}"),
            Self::Baseline { table, items } => {
                write!(f, "table {table}: is older than its stream; read {items} items into a baseline")
            }
            Self::Failed { what, reason } => write!(f, "{what} failed, trying again: {reason}"),
        }
    }
}

/// Takes the stack's notices.
pub(crate) type Listener = Arc<dyn Fn(Notice) + Send + Sync>;

/// How a stack is to run.
#[derive(Clone)]
pub(crate) struct StackOptions {
    /// Where the data lie; made where it is missing.
    pub(crate) folder: PathBuf,
    /// A free one when none.
    pub(crate) port: Option<u16>,
    /// Whether tables without a stream are left so.
    pub(crate) leave_streams_alone: bool,
    /// Takes notices.
    pub(crate) listener: Listener,
}

/// A running stack.
#[derive(Debug)]
pub(crate) struct Stack {
    embedded: EmbeddedDynamoDb,
    followers: Arc<Followers>,
    poller: JoinHandle<()>,
    store: Arc<dyn WriteStore>,
    location: String,
}

impl Stack {
    /// Starts. When this returns, the endpoint answers, and the followers of all tables that are there have begun.
    pub(crate) async fn start(options: StackOptions) -> Result<Self> {
        let location = journal_location(&options.folder)?;
        store::init(&location).await?;
        let store = store::open_write(&location).await?;
        documents::check_journal(&*store).await?;
        let (send, made) = std::sync::mpsc::channel();
        let embedded = EmbeddedDynamoDb::start_watched(&options.folder, options.port, {
            let store = Arc::clone(&store);
            let (leave_alone, listener) = (options.leave_streams_alone, Arc::clone(&options.listener));
            move |endpoints| {
                let followers = Arc::new(Followers::new(endpoints, store, leave_alone, listener));
                // The receiver waits below.
                let _ = send.send(Arc::clone(&followers));
                Arc::new(followers)
            }
        })
        .await?;
        let followers = made.try_recv().map_err(|_| crate::embedded::EmbeddedError::Server {
            reason: "it started without asking for its watch".to_owned(),
        })?;
        followers.take_up_all().await?;
        let poller = tokio::spawn(Arc::clone(&followers).poll());
        Ok(Self { embedded, followers, poller, store, location })
    }

    /// The endpoint's URL.
    pub(crate) fn endpoint(&self) -> &str {
        self.embedded.endpoint()
    }

    /// The journal's location.
    pub(crate) fn location(&self) -> &str {
        &self.location
    }

    /// The journal.
    pub(crate) fn store(&self) -> &dyn WriteStore {
        &*self.store
    }

    /// Refuses further requests, brings the journal to the end of every stream, and stops.
    pub(crate) async fn stop(self) -> Result<()> {
        self.embedded.close_to_clients().await;
        self.followers.interrupt();
        // It ends by the stop; had it panicked, there would be nothing to poll any more.
        let _ = self.poller.await;
        let drained = self.followers.drain().await;
        let stopped = self.embedded.stop().await;
        drained?;
        Ok(stopped?)
    }
}

/// Where the journal of a stack's folder lies.
pub(crate) fn journal_location(folder: &Path) -> Result<String> {
    Ok(store::file_url(&folder.join(JOURNAL_FOLDER))?)
}
