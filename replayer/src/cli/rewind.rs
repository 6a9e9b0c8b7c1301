//! `replay rewind`: a table taken back in place, and a rewind taken back.

mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use jiff::{Timestamp, Zoned};
use journal::cli::progress::{Progress, Unit};
use journal::cli::{Global, aws, output};
use journal::documents;
use journal::error::{Classify, Error, Kind, Result};
use journal::interrupt::{Interrupt, InterruptedError};
use journal::model::{Second, TableName, TimelineLabel};
use journal::store::{self, FileStore, Location};
use thiserror::Error;

use super::cut::MergeArgs;
use crate::audit::Actor;
use crate::cut::{CutRequest, CutText};
use crate::restore::new_run_id;
use crate::rewind::{
    ApplyOptions, Asked, DynamoDbTable, OnClash, Plan, PlanHeader, Rewind, RewindError, RewindReport, RewindRequest,
    RunDocument, Runs, can_continue, load_plan, moved, plan_rewind, plan_undo, save_plan,
};
use crate::state::stopped;

/// Take a table back in place: undo what changed after a cut, or in a window, and nothing else
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  replay rewind --table notes-table-dev --before 2026-11-22T10:00:00Z
  replay rewind --table notes-table-dev --before 2026-11-22T10:00:00Z --save-plan bad-deploy.plan
  replay rewind --plan bad-deploy.plan --apply
  replay rewind --table notes-table-dev --between 2026-11-22T09:55:00Z 2026-11-22T10:05:00Z --apply
  replay rewind --table notes-table-dev --at yesterday --by ttl --only \"attribute_exists(replies)\" --except 'draft-*'
  replay rewind --undo 20261122t101500z-5b1a --apply

Without --apply nothing is written: the plan is shown. The changes since the cut are read from the journal, and only items that changed are
written, each only if it still is what the journal says it is. What is not comes out as a conflict and is left alone; the exit code is 6
then. Every run can be taken back with --undo RUN, from any machine that reaches the journal, and continued with --resume RUN.")]
#[command(group(clap::ArgGroup::new("what").required(true).args(["table", "plan", "undo", "resume"])))]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME")]
    pub table: Option<TableName>,
    /// Undo every change after this second: 2020-03-29T10:00:00Z, epoch, '10 minutes ago', 'yesterday 14:00'
    #[arg(long, value_name = "TIME", requires = "table")]
    pub at: Option<String>,
    /// Undo every change in or after this second
    #[arg(long, value_name = "TIME", requires = "table")]
    pub before: Option<String>,
    /// Undo every change after the record with this sequence number
    #[arg(long, value_name = "NUMBER", requires = "table")]
    pub at_sequence: Option<String>,
    /// Undo the record with this sequence number and every change after it
    #[arg(long, value_name = "NUMBER", requires = "table")]
    pub before_sequence: Option<String>,
    /// Undo the changes after the first moment and up to the second, and keep later ones: times, or sequence:NUMBER
    #[arg(
        long, value_names = ["FROM", "TO"], num_args = 2, requires = "table",
        conflicts_with_all = ["at", "before", "at_sequence", "before_sequence"]
    )]
    pub between: Option<Vec<String>>,
    /// The stream's label, where the cut could mean several timelines of the table
    #[arg(long, value_name = "LABEL", requires = "table")]
    pub timeline: Option<String>,
    /// Only items with this key, with a partition key that begins so (TEXT*), or for which this condition holds; may be given
    /// again for more
    #[arg(long, value_name = "KEY|PREFIX*|CONDITION", requires = "table")]
    pub only: Vec<String>,
    /// Not items with this key, with a partition key that begins so (TEXT*), or for which this condition holds
    #[arg(long, value_name = "KEY|PREFIX*|CONDITION", requires = "table")]
    pub except: Vec<String>,
    /// Undo only deletes by time to live, or only what was not that
    #[arg(long, value_name = "ACTOR", requires = "table")]
    pub by: Option<By>,
    /// Where a change that is kept changed what is undone: leave the item as it is, keep the later value, or put the earlier back
    #[arg(long, value_name = "CHOICE", default_value = "leave", requires = "table")]
    pub clashes: Clashes,
    /// Write the plan to a new file
    #[arg(long, value_name = "FILE")]
    pub save_plan: Option<PathBuf>,
    /// Use the plan in this file; with --apply it is refused when the journal has moved past it
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Take this run back
    #[arg(long, value_name = "RUN")]
    pub undo: Option<String>,
    /// Continue this run
    #[arg(long, value_name = "RUN", conflicts_with_all = ["apply", "save_plan", "on_conflict"])]
    pub resume: Option<String>,
    /// Carry the plan out
    #[arg(long)]
    pub apply: bool,
    /// Where an item is not what the journal says: leave it alone, or write it all the same
    #[arg(long, value_name = "CHOICE", default_value = "leave", requires = "apply")]
    pub on_conflict: OnConflict,
    /// Where runs are kept, instead of the journal: another location as --journal takes it
    #[arg(long, value_name = "LOCATION")]
    pub runs: Option<String>,
    /// Items of each effect to show as differences
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub samples: u8,
    /// Requests at once
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Write capacity units a second at most
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..))]
    pub write_rate: Option<u32>,
    /// Print plan and report as JSON
    #[arg(long)]
    pub json: bool,
    /// What reading may take.
    #[command(flatten)]
    pub merge: MergeArgs,
}

/// Whose changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Time to live.
    Ttl,
    /// Anybody else.
    User,
}

/// What happens at clashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Clashes {
    /// The item is left alone.
    Leave,
    /// The later value stays.
    Later,
    /// The earlier value comes back.
    Earlier,
}

/// What happens at conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnConflict {
    /// The item is left alone.
    Leave,
    /// It is written all the same; what it was is kept with the run.
    Overwrite,
}

/// What is wrong with the arguments.
#[derive(Debug, Error)]
enum ArgumentError {
    /// No cut.
    #[error("what is to be undone is not said")]
    NoCut,
    /// The file is there.
    #[error("{} exists", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

impl Classify for ArgumentError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoCut => "give one of --at, --before, --at-sequence, --before-sequence and --between".to_owned(),
            Self::Exists { .. } => "choose another name for --save-plan, or carry that plan out with --plan".to_owned(),
        })
    }
}

/// Runs the command.
///
/// # Errors
/// When the arguments are wrong, the table cannot be rewound so far, a stored plan is older than the journal's head in a way
/// that matters, or the service or store fails.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    work(&args, global, interrupt).await
}

async fn work(args: &Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    if let Some(run) = &args.resume {
        let runs = runs(args, global, true).await?;
        let document = runs.load(run).await?;
        return carry_out(args, global, interrupt, &runs, &document, true).await;
    }
    if let Some(path) = args.save_plan.as_ref().filter(|path| path.exists()) {
        return Err(ArgumentError::Exists { path: path.clone() }.into());
    }
    let (mut plan, runs) = tokio::select! {
        planned = planned(args, global, interrupt) => planned?,
        () = stopped(interrupt) => {
            let (step, resume) = ("planning".to_owned(), "nothing was written; run the same command again".to_owned());
            return Err(InterruptedError { step, resume }.into());
        }
    };
    if args.json {
        if !args.apply {
            output::json(&show::plan_json(&plan))?;
        }
    } else if !(args.apply && global.quiet) {
        output::print(&show::plan_text(&plan, usize::from(args.samples), args.write_rate))?;
    }
    if let Some(path) = &args.save_plan {
        save_plan(&mut plan, path)?;
        output::note(&format!("the plan is in {0}; to carry it out: replay rewind --plan {0} --apply", path.display()));
    }
    if !args.apply {
        if !global.quiet && !args.json {
            output::note("nothing was written; --apply carries it out");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if plan.is_empty() {
        if args.json {
            output::json(&serde_json::json!({ "plan": show::plan_json(&plan), "run": null }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let runs = match runs {
        Some(runs) => runs,
        None => self::runs(args, global, true).await?,
    };
    let now = u64::try_from(Timestamp::now().as_second()).ok().and_then(|now| Second::new(now).ok());
    let name = new_run_id(now.unwrap_or(Second::MIN));
    let options = options(args);
    let table = table(&plan.header.table).await?;
    let quiet = |_, _| {};
    let rewind = Rewind { runs: &runs, table, options: &options, interrupt, progress: &quiet };
    let document = rewind.begin(&name, &mut plan).await?;
    carry_out(args, global, interrupt, &runs, &document, false).await
}

/// The plan, and where runs are kept if that is open already.
async fn planned(args: &Args, global: &Global, interrupt: &Interrupt) -> Result<(Plan, Option<Runs>)> {
    if let Some(path) = &args.plan {
        let (header, mut items) = load_plan(path, &args.merge.options())?;
        let (mut today, runs) = again(&header, args, global, interrupt).await?;
        if let Some(moved) = moved(&mut items, &mut today)? {
            return Err(RewindError::Moved { table: header.table, moved }.into());
        }
        return Ok((today, runs));
    }
    if let Some(run) = &args.undo {
        return undo(run, args, global, interrupt).await.map(|(plan, runs)| (plan, Some(runs)));
    }
    let Some(name) = &args.table else { return Err(ArgumentError::NoCut.into()) };
    let (from, to) = cuts(args)?;
    let request = RewindRequest {
        table: name.clone(),
        from,
        to,
        timeline: args.timeline.as_deref().map(TimelineLabel::parse).transpose()?,
        only: args.only.clone(),
        except: args.except.clone(),
        by: args.by.map(|by| if by == By::Ttl { Actor::Ttl } else { Actor::User }),
        on_clash: match args.clashes {
            Clashes::Leave => OnClash::Leave,
            Clashes::Later => OnClash::Later,
            Clashes::Earlier => OnClash::Earlier,
        },
    };
    let store = global.open_read().await?;
    let table = table(name).await?;
    let plan = plan_rewind(store, &*table, &request, &args.merge.options(), interrupt).await?;
    Ok((plan, None))
}

/// The same plan as a stored one, made today.
async fn again(
    header: &PlanHeader,
    args: &Args,
    global: &Global,
    interrupt: &Interrupt,
) -> Result<(Plan, Option<Runs>)> {
    match &header.asked {
        Asked::Undo { run } => {
            let (plan, runs) = undo(run, args, global, interrupt).await?;
            Ok((plan, Some(runs)))
        }
        Asked::Rewind { from, to, timeline, only, except, by, on_clash } => {
            let request = RewindRequest {
                table: header.table.clone(),
                from: CutRequest::Cut((*from).into()),
                to: to.map(|to| CutRequest::Cut(to.into())),
                timeline: Some(timeline.clone()),
                only: only.clone(),
                except: except.clone(),
                by: by.as_deref().map(|by| if by == "ttl" { Actor::Ttl } else { Actor::User }),
                on_clash: *on_clash,
            };
            let store = store::open_read(&header.journal).await?;
            documents::check_journal(&*store).await?;
            let table = table(&header.table).await?;
            Ok((plan_rewind(store, &*table, &request, &args.merge.options(), interrupt).await?, None))
        }
    }
}

async fn undo(run: &str, args: &Args, global: &Global, interrupt: &Interrupt) -> Result<(Plan, Runs)> {
    let runs = runs(args, global, args.apply).await?;
    let document = runs.load(run).await?;
    let table = table(&document.plan.table).await?;
    let plan = plan_undo(&runs, &*table, run, &args.merge.options(), interrupt).await?;
    Ok((plan, runs))
}

fn cuts(args: &Args) -> Result<(CutRequest, Option<CutRequest>)> {
    if let Some(between) = &args.between {
        let (Some(from), Some(to)) = (between.first(), between.get(1)) else { return Err(ArgumentError::NoCut.into()) };
        let now = Zoned::now();
        return Ok((CutRequest::parse(from, &now)?, Some(CutRequest::parse(to, &now)?)));
    }
    let text = CutText {
        at: args.at.as_deref(),
        before: args.before.as_deref(),
        at_sequence: args.at_sequence.as_deref(),
        before_sequence: args.before_sequence.as_deref(),
    };
    if [text.at, text.before, text.at_sequence, text.before_sequence].iter().all(Option::is_none) {
        return Err(ArgumentError::NoCut.into());
    }
    Ok((text.parse(&Zoned::now())?, None))
}

async fn table(name: &TableName) -> Result<Arc<DynamoDbTable>> {
    Ok(Arc::new(DynamoDbTable::new(&aws::settings().await?, name.clone())))
}

/// Where runs are kept: the journal, unless another location is named.
async fn runs(args: &Args, global: &Global, writing: bool) -> Result<Runs> {
    let location = match &args.runs {
        Some(location) => location.as_str(),
        None => global.location()?,
    };
    if args.runs.is_none() {
        documents::check_journal(&*store::open_read(location).await?).await?;
    }
    if !writing {
        return Ok(Runs::reading(store::open_read(location).await?));
    }
    if let (Some(_), Location::File { path }) = (&args.runs, Location::parse(location)?) {
        FileStore::make(location, &path).await?;
    }
    Ok(Runs::writing(store::open_write(location).await?))
}

fn options(args: &Args) -> ApplyOptions {
    ApplyOptions {
        concurrency: usize::from(args.concurrency),
        write_rate: args.write_rate,
        overwrite: args.on_conflict == OnConflict::Overwrite,
        ..ApplyOptions::default()
    }
}

async fn carry_out(
    args: &Args,
    global: &Global,
    interrupt: &Interrupt,
    runs: &Runs,
    document: &RunDocument,
    again: bool,
) -> Result<ExitCode> {
    let run = &document.run;
    if !global.quiet {
        output::note(&format!("run {run}, kept in {}", runs.location()));
    }
    let options = options(args);
    let table = table(&document.plan.table).await?;
    let bar = Progress::new("rewinding", Unit::Count("items"), Some(document.plan.items), global.quiet);
    let progress = |done, _| bar.set(done);
    let rewind = Rewind { runs, table, options: &options, interrupt, progress: &progress };
    // Between two items a run ends by itself; what hangs is ended here.
    let result = tokio::select! {
        result = rewind.carry_out(document, again) => result,
        () = stopped(interrupt) => {
            Err(RewindError::Interrupted { doing: "rewinding", table: document.plan.table.clone() }.into())
        }
    };
    drop(bar);
    match result {
        Ok(report) => conclude(args, document, &report),
        Err(error) => {
            say_how_to_go_on(args, run, &error);
            Err(error)
        }
    }
}

fn say_how_to_go_on(args: &Args, run: &str, error: &Error) {
    let elsewhere = args.runs.as_ref().map(|runs| format!(" --runs {runs}")).unwrap_or_default();
    if can_continue(error) {
        output::note(&format!("to continue: replay rewind --resume {run}{elsewhere}"));
    }
    output::note(&format!("to take back what was written: replay rewind --undo {run}{elsewhere} --apply"));
}

fn conclude(args: &Args, document: &RunDocument, report: &RewindReport) -> Result<ExitCode> {
    if args.json {
        output::json(&serde_json::json!({ "plan": document.plan, "run": report }))?;
    } else {
        let elsewhere = args.runs.as_ref().map(|runs| format!(" --runs {runs}")).unwrap_or_default();
        output::print(&show::report_text(report, &elsewhere))?;
    }
    Ok(if report.left() > 0 { ExitCode::from(Kind::Conflict.exit_code()) } else { ExitCode::SUCCESS })
}
