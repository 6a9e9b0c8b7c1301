//! `replay diff --to live`: a state of the journal and the table as it is.

use std::process::ExitCode;
use std::sync::Arc;

use journal::cli::{Global, aws, output};
use journal::error::{Classify, Kind, Result};
use journal::interrupt::{Interrupt, InterruptedError};
use thiserror::Error;

use super::super::audit::{Painter, open, selection};
use super::super::cut::schema;
use super::{Args, conclude, counts, one};
use crate::cut::CutRequest;
use crate::live::{Live, Reach};
use crate::plan::{ReplayRequest, plan};
use crate::restore::{DynamoDb, RestoreOptions};
use crate::state::stopped;

/// Flags that do not fit each other.
#[derive(Debug, Error)]
pub(super) enum ArgumentError {
    #[error("--whole compares the live table, and --to names a cut")]
    Whole,
}

impl Classify for ArgumentError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Whole => Some("give --to live".to_owned()),
        }
    }
}

/// Compares the table with its state at `from`.
pub(super) async fn run(args: &Args, from: CutRequest, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let (store, timeline) = open(global, args.timeline.as_deref()).await?;
    let request = ReplayRequest { table: args.table.clone(), cut: from, timeline, allow_partial: false };
    let planned = plan(&*store, &request).await?;
    let keys = selection(schema(&planned)?, args.key.as_deref(), args.prefix.as_deref())?;
    let reach = match (args.whole, &args.key) {
        (_, Some(_)) => Reach::One,
        (true, None) => Reach::Whole,
        (false, None) => Reach::Changed,
    };
    let options = RestoreOptions { merge: args.merge.options(), ..RestoreOptions::default() };
    let service = Arc::new(DynamoDb::new(aws::tables().await?));
    let live = Live { store, plan: &planned, keys, service, options: &options, interrupt };
    let painter = Painter::new(&args.show);
    let mut visit = |difference| {
        if !args.stat {
            output::print(&one(&difference, args.json, &painter))?;
        }
        Ok(())
    };
    let report = tokio::select! {
        report = live.compare(reach, &mut visit) => report?,
        () = stopped(interrupt) => {
            let (step, resume) = ("comparing".to_owned(), "run the same command again".to_owned());
            return Err(InterruptedError { step, resume }.into());
        }
    };
    let told = match reach {
        Reach::Changed => format!(
            "{}; {} changed and changed back since {}\n",
            counts(&report.compared),
            report.compared.changed_back,
            planned.cut
        ),
        Reach::Whole | Reach::One => {
            format!("{}; {} are as {}\n", counts(&report.compared), report.compared.changed_back, planned.cut)
        }
    };
    let code = conclude(args, &report.compared, &told, global)?;
    if report.unexplained > 0 {
        output::note(&format!(
            "note: {} of these items are not as the journal's last change left them: it has not read all changes yet, or missed some",
            report.unexplained
        ));
    }
    if reach == Reach::Changed && !global.quiet {
        let through = report.through.map(|through| format!(" ({through})")).unwrap_or_default();
        output::note(&format!(
            "note: looked at the items that the journal says changed; what changed after its last record{through} or was never in it is \
             found with --whole"
        ));
    }
    Ok(code)
}
