//! What every command takes: where the journal lies and how much is said.

use std::sync::Arc;

use clap::{ArgAction, Args};
use thiserror::Error;

use crate::documents;
use crate::error::{Classify, Kind, Result};
use crate::store::{self, ReadStore, WriteStore};

/// What every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the journal lies.
    #[arg(
        long,
        env = "JOURNAL_URL",
        global = true,
        value_name = "URL",
        help = "Where the journal lies: file:///path or s3://bucket/prefix"
    )]
    pub journal: Option<String>,
    /// Say more; twice for everything
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say nothing but errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// No journal was named.
#[derive(Debug, Error)]
#[error("no journal location is given")]
pub struct NoLocationError;

impl Classify for NoLocationError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("give --journal file:///path or s3://bucket/prefix, or set JOURNAL_URL".to_owned())
    }
}

impl Global {
    /// The location that was given.
    ///
    /// # Errors
    /// When none was.
    pub fn location(&self) -> Result<&str, NoLocationError> {
        self.journal.as_deref().filter(|location| !location.is_empty()).ok_or(NoLocationError)
    }

    /// Opens the journal for writing, after a look whether it is one.
    ///
    /// # Errors
    /// When no location was given, it cannot be opened, or it holds no journal of this version.
    pub async fn open(&self) -> Result<Arc<dyn WriteStore>> {
        let store = store::open_write(self.location()?).await?;
        documents::check_journal(&*store).await?;
        Ok(store)
    }

    /// Opens the journal for reading, after a look whether it is one.
    ///
    /// # Errors
    /// As [`Global::open`].
    pub async fn open_read(&self) -> Result<Arc<dyn ReadStore>> {
        let store = store::open_read(self.location()?).await?;
        documents::check_journal(&*store).await?;
        Ok(store)
    }
}
