//! What one process of a function holds for all its invocations: settings, one set of AWS clients, the journal.

use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use tokio::sync::OnceCell;

use super::settings::FunctionSettings;
use crate::documents::{self, DocumentError, JournalDocument};
use crate::error::Result;
use crate::layout;
use crate::store::{self, Location, S3Store, StoreError, WriteStore};

/// A function's process. Made once; clients that are made of its settings share one pool of connections and one source of
/// credentials.
#[derive(Debug)]
pub struct Process {
    settings: FunctionSettings,
    aws: SdkConfig,
    store: OnceCell<Arc<dyn WriteStore>>,
    /// Set once it is known that a journal lies in the store.
    is_journal: OnceCell<()>,
}

impl Process {
    /// Reads the AWS settings. No request is made.
    pub async fn start(settings: FunctionSettings) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(Duration::from_secs(10))
            .build();
        let aws = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load().await;
        Self { settings, aws, store: OnceCell::new(), is_journal: OnceCell::new() }
    }

    /// The function's settings.
    #[must_use]
    pub fn settings(&self) -> &FunctionSettings {
        &self.settings
    }

    /// The AWS settings that every client of this process is made of.
    #[must_use]
    pub fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// The journal, opened at the first call that works and kept. Where nothing lies there yet, a journal is made.
    ///
    /// # Errors
    /// When none is named, it cannot be opened, or something else lies there. The next call tries again.
    pub async fn journal(&self) -> Result<&Arc<dyn WriteStore>> {
        let store = self.store().await?;
        self.is_journal.get_or_try_init(|| make_or_check(&**store)).await?;
        Ok(store)
    }

    /// The journal as [`Process::journal`] gives it, and none where nothing at all lies there yet: for those that have nothing to
    /// do then, and whose role may not make one.
    ///
    /// # Errors
    /// When none is named, it cannot be opened, or something else lies there. The next call tries again.
    pub async fn existing_journal(&self) -> Result<Option<&Arc<dyn WriteStore>>> {
        let store = self.store().await?;
        if !self.is_journal.initialized() {
            match documents::check_journal(&**store).await {
                Ok(()) => {
                    // Another call may have been first.
                    let _ = self.is_journal.set(());
                }
                Err(absent @ DocumentError::NotAJournal { .. }) => {
                    let page = store.list("", None).await.map_err(DocumentError::from)?;
                    return if page.objects.is_empty() { Ok(None) } else { Err(absent.into()) };
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(store))
    }

    async fn store(&self) -> Result<&Arc<dyn WriteStore>> {
        self.store.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Arc<dyn WriteStore>> {
        let location = self.settings.journal()?;
        Ok(match Location::parse(location)? {
            Location::S3 { bucket, prefix } => {
                Arc::new(S3Store::open_write_with(&self.aws, location, &bucket, &prefix).await?)
            }
            // A file system that is mounted into the function.
            Location::File { .. } => store::open_write(location).await?,
        })
    }
}

/// Looks whether a journal lies there, and makes one where nothing does. Where S3 does not let the function list (also
/// where a policy lets it list below a prefix only) a missing object is called forbidden: whether `journal.json` is there is
/// then found out by the create-only put.
async fn make_or_check(store: &dyn WriteStore) -> Result<(), DocumentError> {
    match documents::check_journal(store).await {
        Err(DocumentError::NotAJournal { .. }) => store::init_in(store).await,
        Err(DocumentError::Store(denied @ StoreError::Denied { .. })) => {
            let document = documents::to_bytes(&JournalDocument::current())?;
            match store.put_new(layout::JOURNAL_DOCUMENT, document).await {
                Ok(_) => Ok(()),
                Err(_) => Err(denied.into()),
            }
        }
        checked => checked,
    }
}
