//! Restores through `ImportTable`: the state as objects in a bucket, imported by the service into a new table.
//!
//! What enters are a plan, a place for the objects and a service that imports; what leaves is a table, proven like any other.
//! It uses no write capacity. Every step can be done again: the objects' names and bytes come from the state alone, the
//! import from the run's name. Promises stand in SEMANTICS.md, "Restores through `ImportTable`".
//!
//! Source: "DynamoDB data import from Amazon S3" in the Amazon DynamoDB Developer Guide, and `ImportTable` in the API reference.

mod service;
mod stage;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use journal::error::Result;
use journal::store::{Location, WriteStore};

use super::error::RestoreError;
use super::run_file::{Objects, RunFile, RunState};
use super::service::{ServiceError, TargetTable};
use super::target::{self, TargetPlan};
use super::{Restore, RestoreReport, Step, read_back, settings};
use crate::table_write::back_off;

pub use service::{Import, ImportService, ImportStatus};
pub use stage::ImportCompression;

/// Waits between two looks at an import, in retries' first waits.
const POLL_PAUSES: u32 = 40;
/// Attempts of one request that the service does not answer.
const ATTEMPTS: u32 = 8;

/// Where and how the objects are put.
#[derive(Debug, Clone)]
pub struct Staging {
    /// A store below the run's own folder of which the objects lie.
    pub store: Arc<dyn WriteStore>,
    /// The bucket's name.
    pub bucket: String,
    /// The prefix of the store in it: empty, or without `/` at the end.
    pub prefix: String,
    /// How the objects are compressed.
    pub compression: ImportCompression,
}

impl Staging {
    /// Opens a place given as `s3://bucket/prefix`.
    ///
    /// # Errors
    /// When it is not in S3, or cannot be opened for writing.
    pub async fn open(location: &str, compression: ImportCompression) -> Result<Self> {
        match Location::parse(location)? {
            Location::S3 { bucket, prefix } => {
                Ok(Self { store: journal::store::open_write(location).await?, bucket, prefix, compression })
            }
            Location::File { .. } => Err(RestoreError::ImportPlace { place: location.to_owned() }.into()),
        }
    }

    /// The folder of a run below the store, with `/` at the end: no other run's name begins so.
    fn folder(run: &str) -> String {
        format!("{}/", journal::layout::safe_part(run))
    }

    /// The folder's key prefix in the bucket.
    fn key_prefix(&self, run: &str) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.prefix, Self::folder(run))
    }
}

/// Refuses what an import cannot make, before any work.
///
/// # Errors
/// When the table has local secondary indexes.
pub fn check(target: &TargetPlan) -> Result<(), RestoreError> {
    let indexes = target.input.get_local_secondary_indexes().iter().flatten();
    let names: Vec<String> = indexes.map(|index| index.index_name().to_owned()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(RestoreError::ImportLocalIndexes { table: target.name.clone(), indexes: names.join(", ") })
}

impl Restore<'_> {
    /// Puts the state as objects, has them imported as the target of `run`, proves it, and deletes the objects.
    ///
    /// # Errors
    /// As [`Restore::run`], and when the import fails.
    pub async fn import(
        &self,
        service: &dyn ImportService,
        staging: &Staging,
        target: &TargetPlan,
        run: &mut RunFile,
    ) -> Result<RestoreReport> {
        check(target)?;
        let (mut report, objects) = match run.state().clone() {
            RunState::Proven { table, report, objects } => {
                target::check_made(run, &table, self.described(service, run).await?)?;
                (*report, objects)
            }
            _ => self.fill_by_import(service, staging, target, run).await?,
        };
        (self.progress)(Step::Setting, 0, None);
        let (name, pause) = (run.target().clone(), self.options.pause);
        let mut setter = settings::Setter::new(&name, pause, self.interrupt);
        service::after_import(service, run, &target.input, &mut setter, (pause, self.interrupt)).await?;
        settings::apply(service, report.arn.as_deref(), &target.settings, &mut setter).await?;
        report.set(target, setter);
        if let Some(objects) = objects {
            stage::delete(objects, staging, run).await?;
            report.notes.push(format!(
                "it was imported from {} objects of {} bytes below s3://{}/{}, which are deleted",
                objects.count,
                objects.bytes,
                staging.bucket,
                staging.key_prefix(&run.part_name())
            ));
        }
        run.finish(&report)?;
        Ok(report)
    }

    /// Has the state imported into a new table, and proves it.
    async fn fill_by_import(
        &self,
        service: &dyn ImportService,
        staging: &Staging,
        target: &TargetPlan,
        run: &mut RunFile,
    ) -> Result<(RestoreReport, Option<Objects>)> {
        let mut state = match run.state().clone() {
            RunState::Planned => {
                if self.described(service, run).await?.is_some() {
                    return Err(RestoreError::Exists { table: run.target().clone() }.into());
                }
                ImportState::default()
            }
            RunState::Importing { import } => ImportState { import },
            RunState::Creating | RunState::Writing { .. } | RunState::Proven { .. } => {
                let (run, table) = (run.run().to_owned(), run.target().clone());
                return Err(RestoreError::OtherSink { run, table }.into());
            }
        };
        run.importing(state.import.clone())?;
        // Done again by a run that goes on: what is there is compared, and the digest is needed.
        let staged = stage::stage(self, staging, run).await?;
        if state.import.is_none() {
            state.import = Some(self.begin(service, staging, target, run).await?);
            run.importing(state.import.clone())?;
        }
        self.wait(service, run, &state).await?;
        let table = target::wait_until_active(service, run, self.options.pause, self.interrupt).await?;
        let expected = staged.expected.total();
        (self.progress)(Step::Reading, 0, Some(expected.items()));
        let found = read_back::read_back(self, run.target(), Some(expected.items())).await?;
        if found.total() != expected {
            let differences = read_back::differences(self, run.target(), &staged.expected, &found).await?;
            let table = run.target().clone();
            return Err(RestoreError::Differs { table, differences: Box::new(differences) }.into());
        }
        let (report, objects) = (RestoreReport::proven(target, &table, expected), Some(staged.objects));
        run.proven(table, report.clone(), objects)?;
        Ok((report, objects))
    }

    async fn described(&self, service: &dyn ImportService, run: &RunFile) -> Result<Option<TargetTable>, RestoreError> {
        let table = run.target();
        target::describe(service, table, self.options.pause).await.map_err(|source| RestoreError::Service {
            action: "looking at",
            table: table.clone(),
            source,
        })
    }

    /// Begins the import, or finds the one that an attempt before began without hearing of it.
    async fn begin(
        &self,
        service: &dyn ImportService,
        staging: &Staging,
        target: &TargetPlan,
        run: &RunFile,
    ) -> Result<String, RestoreError> {
        (self.progress)(Step::Importing, 0, None);
        let table = run.target().clone();
        let failed = |source| RestoreError::Service { action: "importing", table: table.clone(), source };
        let import = Import {
            bucket: staging.bucket.clone(),
            prefix: staging.key_prefix(&run.part_name()),
            compression: staging.compression,
            token: run.part_name(),
            input: target.input.clone(),
        };
        let mut attempt = 1;
        loop {
            match service.import(&import).await {
                Ok(arn) => return Ok(arn),
                Err(ServiceError::InUse) => {
                    // The prefix is this run's alone, so an import from it is this run's.
                    let described = self.described(service, run).await?;
                    let arn = described.and_then(|found| found.arn);
                    return match service.find_import(arn.as_deref(), &import.prefix).await.map_err(failed)? {
                        Some(import) => Ok(import),
                        None => Err(RestoreError::Exists { table }),
                    };
                }
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                    back_off(self.options.pause, attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Waits until the import is over.
    async fn wait(&self, service: &dyn ImportService, run: &RunFile, state: &ImportState) -> Result<(), RestoreError> {
        let table = run.target().clone();
        let arn = state.import.clone().unwrap_or_default();
        let mut failures = 0;
        loop {
            match service.import_status(&arn).await {
                Ok(ImportStatus::Completed) => return Ok(()),
                Ok(ImportStatus::Failed { code, reason }) => {
                    return Err(RestoreError::ImportFailed { table, code, reason });
                }
                Ok(ImportStatus::InProgress { items }) => {
                    failures = 0;
                    (self.progress)(Step::Importing, items, None);
                }
                Err(error) if error.is_transient() && failures < ATTEMPTS => failures += 1,
                Err(source) => return Err(RestoreError::Service { action: "importing", table, source }),
            }
            tokio::select! {
                () = tokio::time::sleep(self.options.pause.saturating_mul(POLL_PAUSES)) => {}
                () = self.interrupt.wait() => return Err(RestoreError::Interrupted { doing: "importing", table }),
            }
        }
    }
}

/// What a run knows of its import.
#[derive(Debug, Clone, Default)]
struct ImportState {
    import: Option<String>,
}
