//! `replay restore`: makes tables again as they were.

mod arguments;
mod choose;
mod existing;
mod file;
mod files;
mod only;
mod show;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use journal::cli::{Global, aws, output};
use journal::documents;
use journal::error::Result;
use journal::interrupt::Interrupt;
use journal::model::{Second, TableName, TimelineLabel};
use journal::store::{self, ReadStore};

use super::cut::say_plan;
use crate::cut::{Cut, CutRequest};
use crate::plan::{ReplayPlan, ReplayRequest, plan};
use crate::restore::{DynamoDb, FilesRun, RestoreOptions, RunFile, Source, default_folder, new_run_id};

use arguments::ArgumentError;
pub use arguments::{Args, CompressionArg, Target};

/// Runs the command.
///
/// # Errors
/// When the arguments are wrong, the cut is not covered, the target exists, the service refuses, an object cannot be read,
/// or the table that was written is not what the journal says.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    if let Some(name) = &args.resume {
        let path = run_path(&journal::layout::safe_part(name), &args);
        if FilesRun::is_at(&path)? {
            return files::resume(FilesRun::load(&path)?, &args, global, interrupt).await;
        }
        return tables::resume(RunFile::load(&path)?, &args, global, interrupt).await;
    }
    let named = choose::named(&args)?;
    let table = named.as_deref().and_then(|tables| if let [table] = tables { Some(table.clone()) } else { None });
    match (&args.into, &args.output, table) {
        (Some(into), _, Some(table)) => existing::run((&table, into), &args, global, interrupt).await,
        (_, Some(path), Some(table)) => file::run((&table, path), &args, global, interrupt).await,
        (_, Some(folder), None) => files::begin(folder, named, &args, global, interrupt).await,
        _ => tables::begin(named, &args, global, interrupt).await,
    }
}

/// The service, and how fast.
async fn service(args: &Args) -> Result<(Arc<DynamoDb>, RestoreOptions)> {
    let options = RestoreOptions {
        concurrency: usize::from(args.concurrency),
        write_rate: args.write_rate,
        merge: args.merge.options(),
        ..RestoreOptions::default()
    };
    Ok((Arc::new(DynamoDb::new(aws::tables().await?)), options))
}

/// Where a run is kept.
fn run_path(name: &str, args: &Args) -> PathBuf {
    args.run_file.clone().unwrap_or_else(|| default_folder().join(format!("{name}.json")))
}

/// A new run's place and what it restores from.
fn new_run(cut: Cut, args: &Args, global: &Global) -> Result<(PathBuf, Source)> {
    let now = u64::try_from(Timestamp::now().as_second()).ok().and_then(|now| Second::new(now).ok());
    let name = new_run_id(now.unwrap_or(Second::MIN));
    let path = run_path(&name, args);
    if path.exists() {
        return Err(ArgumentError::RunFile { path }.into());
    }
    let location = global.location()?.to_owned();
    Ok((path, Source::new(name, location, cut, args.cut.allow_partial, args.only.clone())))
}

/// The journal of a run that is continued, and the plans of its tables at the run's cut.
async fn planned_again(
    source: &Source,
    tables: impl IntoIterator<Item = (TableName, TimelineLabel)>,
    global: &Global,
) -> Result<(Arc<dyn ReadStore>, Vec<ReplayPlan>)> {
    if global.journal.as_deref().is_some_and(|given| given != source.journal()) && !global.quiet {
        // JOURNAL_URL may be set for other work; the run knows where its items come from.
        output::note(&format!("note: run {} restores from {}", source.run(), source.journal()));
    }
    let store = store::open_read(source.journal()).await?;
    documents::check_journal(&*store).await?;
    let mut plans = Vec::new();
    for (table, timeline) in tables {
        let cut = CutRequest::Cut(source.cut());
        let request = ReplayRequest { table, cut, timeline: Some(timeline), allow_partial: source.allow_partial() };
        let plan = plan(&*store, &request).await?;
        say_plan(&plan, global);
        plans.push(plan);
    }
    Ok((store, plans))
}

/// Says how a run is continued.
fn say_resume(source: &Source, args: &Args) {
    let elsewhere = args.run_file.as_ref().map(|path| format!(" --run-file {}", path.display())).unwrap_or_default();
    output::note(&format!("to continue: replay restore --resume {}{elsewhere}", source.run()));
}
