//! `replay restore --as`: new tables, one or several, by writes or imports.

use std::process::ExitCode;
use std::sync::Arc;

use journal::cli::{Global, output};
use journal::error::{Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::TableName;
use journal::store::ReadStore;
use serde_json::{Value, json};

use super::super::cut::schema;
use super::arguments::{Args, CompressionArg};
use super::show::Shown;
use super::{choose, new_run, only, planned_again, say_resume, service, show};
use crate::plan::ReplayPlan;
use crate::restore::{
    ImportCompression, ImportService, Prepared, Restores, RunFile, Staging, Survey, check_import, plan_target, survey,
};

/// Plans a new run and carries it out.
pub(super) async fn begin(
    tables: Option<Vec<TableName>>,
    args: &Args,
    global: &Global,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    if let Some(tables) = &tables {
        choose::targets(args, tables)?;
    }
    let several = tables.as_ref().is_none_or(|tables| tables.len() > 1);
    let store = global.open_read().await?;
    let plans = choose::plans(&*store, args, tables, global).await?;
    let found: Vec<TableName> = plans.iter().map(|plan| plan.timeline.table.clone()).collect();
    let names: Vec<TableName> = choose::targets(args, &found)?.into_iter().map(|(_, name)| name).collect();
    let prepared = prepared(plans, &names, args.partition_key.as_deref(), args.only.as_deref(), global)?;
    let mut runs = Vec::new();
    for one in &prepared {
        let (path, source) = match runs.first() {
            None => new_run(one.plan.cut, args, global)?,
            Some(first) => (RunFile::path(first).to_owned(), RunFile::source(first).clone()),
        };
        let from = (one.plan.timeline.table.clone(), one.plan.timeline.label.clone());
        let run = RunFile::new(path, source, from, one.target.name.clone());
        let run = run.with_partition_key(args.partition_key.clone());
        runs.push(run.with_import(args.import.clone(), args.import_compression == CompressionArg::Gzip));
    }
    let mut runs = runs.into_iter();
    let Some(run) = runs.next() else { return Ok(ExitCode::SUCCESS) };
    let run = if several { run.with_more(runs.collect()) } else { run };
    carry_out(store, &prepared, run, args, (global, interrupt)).await
}

/// Goes on with a run.
pub(super) async fn resume(run: RunFile, args: &Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let remaining = run.remaining();
    let names: Vec<TableName> = remaining.iter().map(|(_, _, target)| target.clone()).collect();
    let tables = remaining.into_iter().map(|(table, timeline, _)| (table, timeline));
    let (store, plans) = planned_again(run.source(), tables, global).await?;
    let prepared = prepared(plans, &names, run.partition_key(), run.source().only(), global)?;
    carry_out(store, &prepared, run, args, (global, interrupt)).await
}

fn prepared(
    plans: Vec<ReplayPlan>,
    names: &[TableName],
    partition: Option<&str>,
    only: Option<&str>,
    global: &Global,
) -> Result<Vec<Prepared>> {
    let mut prepared = Vec::with_capacity(plans.len());
    for (plan, name) in plans.into_iter().zip(names) {
        let target = plan_target(&plan, name, partition)?;
        let selection = only::selection(only, schema(&plan)?)?;
        show::target(&plan, &target, global);
        prepared.push(Prepared { plan, target, selection });
    }
    Ok(prepared)
}

async fn carry_out(
    store: Arc<dyn ReadStore>,
    tables: &[Prepared],
    mut run: RunFile,
    args: &Args,
    (global, interrupt): (&Global, &Interrupt),
) -> Result<ExitCode> {
    if run.import_place().is_some() {
        tables.iter().try_for_each(|table| check_import(&table.target))?;
    }
    if args.plan {
        return count(store, tables, &run, args, (global, interrupt)).await;
    }
    let (service, options) = service(args).await?;
    let staging = match run.import_place() {
        None => None,
        Some((place, true)) => Some(Staging::open(place, ImportCompression::Gzip).await?),
        Some((place, false)) => Some(Staging::open(place, ImportCompression::Zstd).await?),
    };
    let several = run.is_of_several();
    let imports: &dyn ImportService = &*service;
    let shown = Shown::new(global.quiet);
    let progress = |table: &TableName, step, items, total| {
        shown.show(several.then(|| table.as_str()), step, items, total);
    };
    let work = Restores {
        store,
        service: service.clone(),
        import: staging.as_ref().map(|staging| (imports, staging)),
        options: &options,
        interrupt,
        progress: &progress,
    };
    let restored = work.run(tables, &mut run).await;
    drop(shown);
    match restored {
        Ok(reports) => {
            for report in &reports {
                show::report(report, global);
            }
            if several && !global.quiet {
                output::note(&format!("proven: all {} tables {}", run.reports().len(), run.source().cut()));
            }
            if args.json && several {
                output::json(&document(&run, &run.reports()))?;
            } else if let (true, [report]) = (args.json, reports.as_slice()) {
                output::json(report)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // A run that has begun to make its table can be continued, whatever stopped it; a conflict would come again.
            if error.kind() != Kind::Conflict && run.path().exists() {
                say_resume(run.source(), args);
            }
            Err(error)
        }
    }
}

fn document(run: &RunFile, tables: &[Value]) -> Value {
    json!({ "run": run.run(), "cut": run.source().cut().to_string(), "tables": tables })
}

/// Counts what would be written, table by table.
async fn count(
    store: Arc<dyn ReadStore>,
    tables: &[Prepared],
    run: &RunFile,
    args: &Args,
    (global, interrupt): (&Global, &Interrupt),
) -> Result<ExitCode> {
    let mut counts = Vec::new();
    let mut confirmed = run.confirmed();
    for Prepared { plan, selection, .. } in tables {
        let merge = args.merge.options();
        // Only the table that the run stands at was begun.
        let behind = confirmed.take();
        counts.push(survey(Arc::clone(&store), plan, selection.clone(), merge, interrupt, behind).await?);
    }
    if !run.is_of_several() {
        for counted in &counts {
            show::survey(counted, args.write_rate, global);
            if args.json {
                output::json(counted)?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let total = counts.iter().fold(Survey::default(), Survey::plus);
    if !global.quiet {
        for (table, counted) in tables.iter().zip(&counts) {
            output::note(&format!("{}: {} items, {} units", table.target.name, counted.items, counted.write_units));
        }
        output::note("all tables:");
    }
    show::survey(&total, args.write_rate, global);
    if args.json {
        let entry = |(table, counted): (&Prepared, &Survey)| json!({ "table": table.plan.timeline.table, "target": table.target.name, "survey": counted });
        let tables: Vec<Value> = tables.iter().zip(&counts).map(entry).collect();
        let source = run.source();
        let cut = source.cut().to_string();
        output::json(&json!({ "run": source.run(), "cut": cut, "tables": tables, "total": total }))?;
    }
    Ok(ExitCode::SUCCESS)
}
