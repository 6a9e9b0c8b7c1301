//! `replay restore`: makes a table again as it was.

mod existing;
mod file;
mod only;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use journal::cli::progress::{Progress, Unit};
use journal::cli::{Global, aws, output};
use journal::documents;
use journal::error::{Classify, Kind, Result};
use journal::interrupt::Interrupt;
use journal::model::{Second, TableName};
use journal::store;
use thiserror::Error;

use super::cut::{CutArgs, MergeArgs, say_plan, schema};
use super::export::{FormatArg, chosen};
use crate::cut::CutRequest;
use crate::output::Destination;
use crate::plan::{ReplayPlan, ReplayRequest, plan};
use crate::restore::{
    DynamoDb, ImportCompression, Restore, RestoreOptions, RestoreReport, RunFile, Staging, Step, Survey, TargetPlan,
    check_import, default_folder, new_run_id, plan_target, survey,
};

/// Make a new table, or a file, with a table's state at a cut, and prove that it is the same
///
/// The new table gets the key, indexes, billing, stream, TTL, tags and protection that the journal knows of. It is read
/// back at the end, and its state digest must be that of the journal.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = "Examples:
  replay restore --table notes-table-dev --before 2020-03-29T10:00:00Z --as notes-table-dev-restored
  replay restore --table notes-table-dev --at '10 minutes ago' --as notes-restored --write-rate 500
  replay restore --table notes-table-dev --at latest --as notes-table-dev --plan
  replay restore --table notes-table-dev --at latest --as notes-of-ada --only \"author = 'ada'\"
  replay restore --table notes-table-dev --before 2020-03-29T10:00:00Z --into notes-table-dev --only 'user#42*' --apply
  replay restore --table notes-table-dev --at latest --output notes.sqlite
  replay restore --table notes-table-dev --at latest --as notes-restored --import s3://my-journal-imports/staging
  replay restore --resume 20200329t100000z-3f2a

AWS settings come the standard way (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB). A restore that was stopped or
killed says how to continue it, and knows the table it made by the service's own id. A table that exists is only
written to with --into and --apply.")]
pub struct Args {
    /// The table
    #[arg(long, value_name = "NAME", required_unless_present = "resume")]
    pub table: Option<TableName>,
    /// The new table's name
    #[arg(long = "as", visible_alias = "to", value_name = "NAME", required_unless_present_any = ["resume", "output", "into"])]
    pub target: Option<TableName>,
    /// A table that is there: only what differs is written or deleted, and nothing without --apply
    #[arg(long, value_name = "NAME", conflicts_with_all = ["target", "output", "resume", "run_file", "partition_key", "import"])]
    pub into: Option<TableName>,
    /// Carry out the differences that --into found
    #[arg(long, requires = "into")]
    pub apply: bool,
    /// A file instead of a table; its ending chooses the format, as in `replay export`
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["target", "resume", "run_file", "partition_key", "write_rate"])]
    pub output: Option<PathBuf>,
    /// The file's format
    #[arg(long, value_name = "FORMAT", requires = "output")]
    pub format: Option<FormatArg>,
    /// Replace the file if it exists
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Have the service import the items from objects below this place, instead of writing them: no write capacity is used
    #[arg(long, value_name = "s3://BUCKET/PREFIX", conflicts_with_all = ["output", "write_rate", "resume"])]
    pub import: Option<String>,
    /// How the objects of an import are compressed
    #[arg(long, value_name = "COMPRESSION", default_value = "zstd", requires = "import")]
    pub import_compression: CompressionArg,
    /// Only these items: a key (NAME=VALUE or DynamoDB JSON), a prefix of the partition key (TEXT*), or a condition
    #[arg(long, value_name = "KEY|PREFIX*|CONDITION")]
    pub only: Option<String>,
    /// When.
    #[command(flatten)]
    pub cut: CutArgs,
    /// Continue a restore that was stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "table", "target", "at", "before", "at_sequence", "before_sequence", "timeline", "allow_partial", "partition_key",
        "only",
    ])]
    pub resume: Option<String>,
    /// Where the run is kept until it is proven, instead of the user's folder for the state of programs
    #[arg(long, value_name = "FILE")]
    pub run_file: Option<PathBuf>,
    /// Which key attribute is the partition key, where the journal has no description of the table
    #[arg(long, value_name = "NAME")]
    pub partition_key: Option<String>,
    /// Requests at once
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Write capacity units a second at most
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..))]
    pub write_rate: Option<u32>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub plan: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// What reading may take.
    #[command(flatten)]
    pub merge: MergeArgs,
}

/// How objects are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CompressionArg {
    /// Zstandard
    Zstd,
    /// gzip
    Gzip,
}

/// What is wrong with the arguments.
#[derive(Debug, Error)]
enum ArgumentError {
    /// A needed one is missing; the parser lets no such call through.
    #[error("--table and --as, --into or --output are needed")]
    Missing,
    /// The run file is there.
    #[error("a restore is kept in {} already", .path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
    },
}

impl Classify for ArgumentError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing => Kind::Invalid,
            Self::RunFile { .. } => Kind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing => None,
            Self::RunFile { path } => {
                Some(format!("continue it with --resume RUN --run-file {}, or keep this one elsewhere", path.display()))
            }
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When the arguments are wrong, the cut is not covered, the target exists, the service refuses, an object cannot be read,
/// or the table that was written is not what the journal says.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    if let Some(into) = &args.into {
        return existing::run(into, &args, global, interrupt).await;
    }
    if let Some(path) = &args.output {
        return to_file(path, &args, global, interrupt).await;
    }
    let (mut run, store, plan) = match &args.resume {
        Some(name) => resumed(name, &args, global).await?,
        None => begun(&args, global).await?,
    };
    let target = plan_target(&plan, run.target(), run.partition_key())?;
    let selection = only::selection(run.only(), schema(&plan)?)?;
    say_target(&plan, &target, global);
    if run.import_place().is_some() {
        check_import(&target)?;
    }
    if args.plan {
        let (selection, merge) = (selection.clone(), args.merge.options());
        let survey = survey(store, &plan, selection, merge, interrupt, run.confirmed()).await?;
        say_survey(&survey, args.write_rate, global);
        if args.json {
            output::json(&survey)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let service = Arc::new(DynamoDb::new(aws::tables().await?));
    let options = RestoreOptions {
        concurrency: usize::from(args.concurrency),
        write_rate: args.write_rate,
        merge: args.merge.options(),
        ..RestoreOptions::default()
    };
    let shown = Shown::new(global.quiet);
    let progress = |step, items, total| shown.show(step, items, total);
    let restore = Restore {
        store,
        plan: &plan,
        selection,
        service: service.clone(),
        options: &options,
        interrupt,
        progress: &progress,
    };
    let restored = match run.import_place().map(|(place, gzip)| (place.to_owned(), gzip)) {
        Some((place, gzip)) => {
            check_import(&target)?;
            let compression = if gzip { ImportCompression::Gzip } else { ImportCompression::Zstd };
            let staging = Staging::open(&place, compression).await?;
            restore.import(&*service, &staging, &target, &mut run).await
        }
        None => restore.run(&target, &mut run).await,
    };
    drop(shown);
    match restored {
        Ok(report) => {
            say(&report, global);
            if args.json {
                output::json(&report)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // A run that has begun to make its table can be continued, whatever stopped it; a conflict would come again.
            if error.kind() != Kind::Conflict && run.path().exists() {
                let elsewhere =
                    args.run_file.as_ref().map(|path| format!(" --run-file {}", path.display())).unwrap_or_default();
                output::note(&format!("to continue: replay restore --resume {}{elsewhere}", run.run()));
            }
            Err(error)
        }
    }
}

async fn to_file(path: &std::path::Path, args: &Args, global: &Global, interrupt: &Interrupt) -> Result<ExitCode> {
    let Some(table) = &args.table else { return Err(ArgumentError::Missing.into()) };
    let format = chosen(args.format, Some(path));
    let (store, plan) = args.cut.plan(table, global).await?;
    let selection = only::selection(args.only.as_deref(), schema(&plan)?)?;
    let destination = Destination::file(path, args.force)?;
    if args.plan {
        return Ok(ExitCode::SUCCESS);
    }
    let how = (args.merge.options(), interrupt, global);
    let report = file::restore(store, &plan, (format, path, destination), selection, how).await?;
    if args.json {
        output::json(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}

type Begun = (RunFile, Arc<dyn store::ReadStore>, ReplayPlan);

async fn begun(args: &Args, global: &Global) -> Result<Begun> {
    let (Some(table), Some(target)) = (&args.table, &args.target) else { return Err(ArgumentError::Missing.into()) };
    let (store, plan) = args.cut.plan(table, global).await?;
    let now = u64::try_from(Timestamp::now().as_second()).ok().and_then(|now| Second::new(now).ok());
    let name = new_run_id(now.unwrap_or(Second::MIN));
    let path = args.run_file.clone().unwrap_or_else(|| default_folder().join(format!("{name}.json")));
    if path.exists() {
        return Err(ArgumentError::RunFile { path }.into());
    }
    let source = (table.clone(), plan.timeline.label.clone());
    let location = global.location()?.to_owned();
    let run = RunFile::new(path, name, location, source, plan.cut, target.clone()).with_choices(
        args.cut.allow_partial,
        args.partition_key.clone(),
        args.only.clone(),
    );
    let run = run.with_import(args.import.clone(), args.import_compression == CompressionArg::Gzip);
    Ok((run, store, plan))
}

async fn resumed(name: &str, args: &Args, global: &Global) -> Result<Begun> {
    let file = journal::layout::safe_part(name);
    let path = args.run_file.clone().unwrap_or_else(|| default_folder().join(format!("{file}.json")));
    let run = RunFile::load(&path)?;
    if global.journal.as_deref().is_some_and(|given| given != run.journal()) && !global.quiet {
        // JOURNAL_URL may be set for other work; the run knows where its items come from.
        output::note(&format!("note: run {} restores from {}", run.run(), run.journal()));
    }
    let store = store::open_read(run.journal()).await?;
    documents::check_journal(&*store).await?;
    let request = ReplayRequest {
        table: run.table().clone(),
        cut: CutRequest::Cut(run.cut()),
        timeline: Some(run.timeline().clone()),
        allow_partial: run.allow_partial(),
    };
    let plan = plan(&*store, &request).await?;
    say_plan(&plan, global);
    Ok((run, store, plan))
}

fn say_survey(survey: &Survey, write_rate: Option<u32>, global: &Global) {
    if global.quiet {
        return;
    }
    let time = match write_rate {
        Some(rate) => format!("{} s at {rate} units a second", survey.write_units.div_ceil(u64::from(rate))),
        None => "as long as the table takes at the rate that is found while writing".to_owned(),
    };
    output::note(&format!(
        "items   {} ({} written by this run before)\nbytes   {}\nunits   {} (indexes take more), {time}, {}.{:02} USD on demand \
         in us-east-1",
        survey.items,
        survey.confirmed,
        survey.bytes,
        survey.write_units,
        survey.cents() / 100,
        survey.cents() % 100
    ));
}

fn say_target(plan: &ReplayPlan, target: &TargetPlan, global: &Global) {
    if global.quiet {
        return;
    }
    let described = if plan.table.is_some() { "as table.json describes it" } else { "with its key alone" };
    output::note(&format!("makes table {} {described}, and reads it back", target.name));
    let settings = &target.settings;
    let mut after = Vec::new();
    if let Some(attribute) = &settings.time_to_live {
        after.push(format!("TTL on {attribute}"));
    }
    if !settings.tags.is_empty() {
        after.push(format!("{} tags", settings.tags.len()));
    }
    if settings.point_in_time_recovery.is_some() {
        after.push("point-in-time recovery".to_owned());
    }
    if settings.deletion_protection {
        after.push("deletion protection".to_owned());
    }
    if !after.is_empty() {
        output::note(&format!("then sets {}", after.join(", ")));
    }
    for note in target.notes.iter().chain(&settings.notes) {
        output::note(&format!("note: {note}"));
    }
}

fn say(report: &RestoreReport, global: &Global) {
    for unset in &report.unset {
        output::note(&format!("warning: {unset}"));
    }
    if !global.quiet {
        output::note(&format!(
            "table   {}\nitems   {} ({} written by this run)\nunits   {} written, {} turned away and tried again\ndigest  {}\nproven: the table was read back, and its digest is \
             that of the journal",
            report.table, report.items, report.written, report.write_units, report.refused_units, report.digest
        ));
    }
}

/// The progress of the step that is under way.
struct Shown {
    quiet: bool,
    bar: Mutex<Option<(Step, Progress)>>,
}

impl Shown {
    fn new(quiet: bool) -> Self {
        Self { quiet, bar: Mutex::new(None) }
    }

    fn show(&self, step: Step, items: u64, total: Option<u64>) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if bar.as_ref().is_none_or(|(shown, _)| *shown != step) {
            let what = match step {
                Step::Counting => "counting items",
                Step::Creating => "making the table",
                Step::Writing => "writing",
                Step::Reading => "reading back",
                Step::Comparing => "comparing",
                Step::Staging => "putting objects",
                Step::Importing => "importing",
                Step::Setting => "setting TTL, tags, protection",
            };
            // The bar before is taken away first.
            drop(bar.take());
            *bar = Some((step, Progress::new(what, Unit::Count("items"), None, self.quiet)));
        }
        if let Some((_, progress)) = bar.as_ref() {
            progress.set_of(items, total);
        }
    }
}
