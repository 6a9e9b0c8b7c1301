//! `replay restore --output FOLDER` for several tables: a file for each, all at one cut, in one run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use journal::cli::{Global, output};
use journal::error::{Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::TableName;
use journal::store::ReadStore;
use serde_json::{Value, json};

use super::super::cut::schema;
use super::super::export::chosen;
use super::arguments::{Args, ArgumentError};
use super::{choose, file, new_run, only, planned_again, say_resume};
use crate::merge::MergeOptions;
use crate::output::{Destination, OutputError, prove};
use crate::plan::ReplayPlan;
use crate::restore::{FilesRun, TableFile};
use crate::state::{EncodedItem, Selection, visit_parts};

/// Plans a new run and carries it out.
pub(super) async fn begin(
    folder: &Path,
    tables: Option<Vec<TableName>>,
    args: &Args,
    global: &Global,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    if folder.exists() && !folder.is_dir() {
        return Err(ArgumentError::NotFolder { path: folder.to_owned() }.into());
    }
    let format = chosen(args.format, None);
    let store = global.open_read().await?;
    let plans = choose::plans(&*store, args, tables, global).await?;
    let mut files = Vec::new();
    for plan in &plans {
        let name = format!("{}.{}", plan.timeline.table, format.ending());
        let path = folder.join(&name);
        if !args.force && path.symlink_metadata().is_ok() {
            return Err(OutputError::Exists { path }.into());
        }
        only::selection(args.only.as_deref(), schema(plan)?)?;
        let (table, timeline) = (plan.timeline.table.clone(), plan.timeline.label.clone());
        files.push(TableFile { table, timeline, name, begun: false, report: None });
    }
    let Some(first) = plans.first() else { return Ok(ExitCode::SUCCESS) };
    let (path, source) = new_run(first.cut, args, global)?;
    // A run may be continued from anywhere.
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let run = FilesRun::new(path, source, (folder, format, args.force), files);
    if args.plan {
        return say_plan(&run, args, global);
    }
    carry_out(store, &plans, run, args, (global, interrupt)).await
}

/// Goes on with a run: files that are whole stay.
pub(super) async fn resume(run: FilesRun, args: &Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let left = run.files().iter().filter(|file| file.report.is_none());
    let left: Vec<_> = left.map(|file| (file.table.clone(), file.timeline.clone())).collect();
    let (store, plans) = planned_again(run.source(), left, global).await?;
    if args.plan {
        return say_plan(&run, args, global);
    }
    carry_out(store, &plans, run, args, (global, interrupt)).await
}

fn say_plan(run: &FilesRun, args: &Args, global: &Global) -> Result<ExitCode> {
    let left: Vec<&TableFile> = run.files().iter().filter(|file| file.report.is_none()).collect();
    if !global.quiet {
        for file in &left {
            output::note(&format!("writes {}", run.folder().join(&file.name).display()));
        }
    }
    if args.json {
        let entry = |file: &&TableFile| json!({ "table": file.table, "file": run.folder().join(&file.name) });
        output::json(&document(run, &left.iter().map(entry).collect::<Vec<_>>()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn document(run: &FilesRun, tables: &[Value]) -> Value {
    json!({ "run": run.source().run(), "cut": run.source().cut().to_string(), "folder": run.folder(), "tables": tables })
}

async fn carry_out(
    store: Arc<dyn ReadStore>,
    plans: &[ReplayPlan],
    mut run: FilesRun,
    args: &Args,
    (global, interrupt): (&Global, &Interrupt),
) -> Result<ExitCode> {
    let create = |source| OutputError::Create { path: run.folder().to_owned(), source };
    std::fs::create_dir_all(run.folder()).map_err(create)?;
    run.save()?;
    let files: Vec<TableFile> = run.files().iter().filter(|file| file.report.is_none()).cloned().collect();
    for (plan, file) in plans.iter().zip(files) {
        let how = (args.merge.options(), interrupt, global);
        let done = one(Arc::clone(&store), plan, &file, &mut run, how).await;
        let report = done.inspect_err(|error| {
            if error.kind() != Kind::Conflict {
                say_resume(run.source(), args);
            }
        })?;
        run.finish(&file.table, report)?;
    }
    run.end()?;
    let reports: Vec<Value> = run.files().iter().filter_map(|file| file.report.clone()).collect();
    if !global.quiet {
        output::note(&format!("all {} files {} are in {}", reports.len(), run.source().cut(), run.folder().display()));
    }
    if args.json {
        output::json(&document(&run, &reports))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn one(
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    file: &TableFile,
    run: &mut FilesRun,
    how: (MergeOptions, &Interrupt, &Global),
) -> Result<Value> {
    let path = run.folder().join(&file.name);
    let selection = only::selection(run.source().only(), schema(plan)?)?;
    if file.begun && !run.force() && path.exists() {
        // It got its name, but the run ended before it could say so; or it is somebody else's.
        return already_whole(store, plan, (path, run), selection, (how.0, how.1)).await;
    }
    run.begin(&file.table)?;
    let destination = Destination::file(&path, run.force())?;
    let report = file::restore(store, plan, (run.format(), &path, destination), selection, how).await?;
    Ok(serde_json::to_value(report).unwrap_or_default())
}

/// The report of a file that is there and has what the journal says.
async fn already_whole(
    store: Arc<dyn ReadStore>,
    plan: &ReplayPlan,
    (path, run): (PathBuf, &FilesRun),
    selection: Selection,
    (options, interrupt): (MergeOptions, &Interrupt),
) -> Result<Value> {
    let digest_alone =
        (|| (), |(): &mut (), item: EncodedItem<'_>| Ok(item.into_item()?.hash), |(): &mut (), ()| Ok(()));
    let visited = visit_parts(store, plan, selection, options, interrupt, (), digest_alone).await?.1;
    let (format, key, digest, file) = (run.format(), schema(plan)?.clone(), visited.digest, path.clone());
    let proven = tokio::task::spawn_blocking(move || prove(&file, format, &key, digest)).await;
    if !matches!(proven, Ok(Ok(true))) {
        return Err(OutputError::Exists { path }.into());
    }
    let bytes = path.metadata().map(|there| there.len()).unwrap_or_default();
    let table = plan.timeline.table.clone();
    let report = file::FileReport { table, file: path, format, items: digest.items(), bytes, digest, proven: true };
    Ok(serde_json::to_value(report).unwrap_or_default())
}
