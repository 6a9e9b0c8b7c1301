//! `replay restore --into`: a table that is there, by difference.

use std::process::ExitCode;

use journal::cli::{Global, output};
use journal::error::{Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::TableName;

use super::super::cut::schema;
use super::arguments::Args;
use super::show::Shown;
use super::{only, service};
use crate::restore::{Differing, IntoReport, Restore};

/// Compares, and with `--apply` writes what differs. The exit code is that of a conflict when items were left alone.
pub(super) async fn run(
    (table, into): (&TableName, &TableName),
    args: &Args,
    global: &Global,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    let (store, plan) = args.cut.plan(table, global).await?;
    let selection = only::selection(args.only.as_deref(), schema(&plan)?)?;
    let (service, options) = service(args).await?;
    let shown = Shown::new(global.quiet);
    let progress = |step, items, total| shown.show(None, step, items, total);
    let restore = Restore {
        store,
        plan: &plan,
        selection,
        service: service.clone(),
        options: &options,
        interrupt,
        progress: &progress,
    };
    let done = restore.into_table(&*service, into, args.apply && !args.plan).await;
    drop(shown);
    let report = done.inspect_err(|error| {
        if error.kind() == Kind::Interrupted {
            output::note("to continue: run the same command again; only what still differs is written");
        }
    })?;
    say(&report, global);
    if args.json {
        output::json(&report)?;
    }
    Ok(if report.conflict_count == 0 { ExitCode::SUCCESS } else { ExitCode::from(Kind::Conflict.exit_code()) })
}

fn say(report: &IntoReport, global: &Global) {
    if global.quiet {
        return;
    }
    let table = &report.table;
    for sample in &report.samples {
        let word = match sample.difference {
            Differing::Missing => "put back",
            Differing::Different => "change back",
            Differing::Unexpected => "delete",
        };
        output::note(&format!("  {word} {}", sample.key));
    }
    output::note(&format!(
        "table   {table}\nitems   {} are the same, {} to put back, {} to change back, {} to delete\nunits   {} (indexes take more)\ndigest  {}",
        report.same, report.missing, report.different, report.unexpected, report.write_units, report.digest
    ));
    for key in &report.conflicts {
        output::note(&format!("conflict: {key} was changed meanwhile and left alone"));
    }
    let end = match (report.applied, report.proven, report.conflict_count) {
        (false, true, _) => "nothing to do: the table is what the journal says".to_owned(),
        (false, false, _) => "nothing was written: --apply carries it out".to_owned(),
        (true, true, _) => {
            format!("proven: {} items were written or deleted, and the table was compared again", report.written)
        }
        (true, false, conflicts) => {
            format!(
                "{} items were written or deleted, {conflicts} were changed meanwhile and left alone",
                report.written
            )
        }
    };
    output::note(&end);
}
