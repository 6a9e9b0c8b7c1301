//! `journal protect`: stream, mapping and baseline for live tables.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Global, aws, output};
use crate::control::{ControlPlane, MappingSettings};
use crate::coverage::CoveredTimeline;
use crate::error::{Error, Kind, Result};
use crate::guard::{GuardEdges, Read, Reading, read};
use crate::interrupt::{Interrupt, InterruptedError};
use crate::listing;
use crate::model::{Second, StreamArn, TableName};
use crate::protect::{
    Patience, Plan, ProtectError, Selection, SelectionError, Sight, Step, Wish, bind, observe, plan, tables,
};
use crate::source::follow::FollowError;
use crate::status::{IntervalStatus, status};
use crate::store::ReadStore;
use crate::table::{self, BaselineOptions, baseline};

/// Which tables.
#[derive(Debug, clap::Args)]
pub struct TableArgs {
    /// Tables by name, or by prefix with `*` at its end
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Every table of the account and region
    #[arg(long)]
    pub all: bool,
    /// Every table with this tag; may be given more than once
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub tags: Vec<String>,
}

impl TableArgs {
    /// Whether they choose nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.tags.is_empty() && !self.all
    }

    /// The selection that they make.
    pub(super) fn selection(&self) -> Result<Selection, SelectionError> {
        let mut selection = Selection { all: self.all, ..Selection::default() };
        for name in &self.tables {
            selection.add(name)?;
        }
        for tag in &self.tags {
            selection.add_tag(tag)?;
        }
        if selection.is_empty() { Err(SelectionError::Nothing) } else { Ok(selection) }
    }
}

/// The mapping's settings, as the template has them.
#[derive(Debug, clap::Args)]
pub struct MappingArgs {
    /// The journal's function: name or ARN
    #[arg(long, env = "JOURNAL_FUNCTION", value_name = "NAME")]
    pub function: String,
    /// Records a batch at most
    #[arg(long, env = "JOURNAL_BATCH_SIZE", value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_records: u32,
    /// Seconds that a batch may be gathered for
    #[arg(long, env = "JOURNAL_BATCH_WINDOW_SECONDS", value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=300))]
    pub batch_window: u32,
    /// Batches of one shard at a time
    #[arg(long, env = "JOURNAL_PARALLELIZATION", value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub parallelization: u32,
    /// Where records go that the function could not take before they expired: the ARN of a bucket, queue or topic
    #[arg(long, env = "JOURNAL_ON_FAILURE", value_name = "ARN")]
    pub on_failure: Option<String>,
}

impl MappingArgs {
    pub(super) fn settings(&self) -> MappingSettings {
        MappingSettings {
            batch_records: self.batch_records,
            window_seconds: self.batch_window,
            parallelization: self.parallelization,
            on_failure: self.on_failure.clone().filter(|arn| !arn.is_empty()),
        }
    }
}

/// Which tables, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  journal protect notes-table-prod --function journal-stream-trigger
  journal protect --tag stage=prod --dry-run
  journal protect 'notes-*' --replace-stream     # a stream with another view type gives way to a new one

A stream that was switched on here and is not in the app's template is switched off by the template's next deploy: put
it there too. `--dry-run` prints the plan, and nothing is changed.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// The tables.
    #[command(flatten)]
    pub tables: TableArgs,
    /// The function and how it is fed.
    #[command(flatten)]
    pub mapping: MappingArgs,
    /// Switch a stream with another view type off and a new one on: a new timeline, and a gap in between
    #[arg(long)]
    pub replace_stream: bool,
    /// Take no baseline: items that do not change from now on are then not in the journal
    #[arg(long)]
    pub no_baseline: bool,
    /// Read units a second of the baseline at most, so that the table's users keep theirs
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..))]
    pub read_units: Option<u32>,
    /// Print the plan alone
    #[arg(long)]
    pub dry_run: bool,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// What was done for one table, and what can be had now.
#[derive(Debug, Serialize)]
struct Protected {
    table: TableName,
    done: Vec<String>,
    coverage: Vec<IntervalStatus>,
    error: Option<String>,
}

pub(super) fn stopped(step: &str) -> Error {
    InterruptedError {
        step: step.to_owned(),
        resume: "run the same command again: it goes on from what is done".to_owned(),
    }
    .into()
}

/// Runs the command.
///
/// # Errors
/// When a table could not be protected; the others were.
pub async fn run(args: Args, global: &Global, interrupt: &Interrupt) -> Result<()> {
    let selection = args.tables.selection()?;
    let store = global.open().await?;
    let settings = aws::settings().await?;
    let edges = GuardEdges::of_aws(&settings, store);
    let client = aws_sdk_dynamodb::Client::new(&settings);
    let tables = tables(edges.control.as_ref(), &selection).await?;
    if args.dry_run {
        return tokio::select! {
            done = print_plans(&args, &edges, &tables) => done,
            () = interrupt.wait() => Err(stopped("planning")),
        };
    }
    let mut protected = Vec::new();
    let mut failures: Vec<(TableName, Error)> = Vec::new();
    for table in &tables {
        let mut done = Vec::new();
        let outcome = protect(&args, &edges, &client, table, interrupt, &mut done).await;
        let error = outcome.as_ref().err().map(ToString::to_string);
        let interrupted = outcome.as_ref().is_err_and(|error| error.kind() == Kind::Interrupted);
        let one = Protected { table: table.clone(), done, coverage: outcome.as_deref().unwrap_or(&[]).to_vec(), error };
        if !args.json && !global.quiet {
            output::print(&text(&one))?;
        }
        protected.push(one);
        if let Err(error) = outcome {
            if interrupted {
                return Err(error);
            }
            failures.push((table.clone(), error));
        }
    }
    if args.json {
        output::json(&protected)?;
    } else if tables.is_empty() && !global.quiet {
        output::line("no table is chosen")?;
    }
    outcome(tables.len(), failures)
}

/// The error of the one table that failed, or of all that did.
pub(super) fn outcome(of: usize, mut failures: Vec<(TableName, Error)>) -> Result<()> {
    if of == 1
        && let Some((_, error)) = failures.pop()
    {
        return Err(error);
    }
    let Some((_, first)) = failures.first() else { return Ok(()) };
    let names: Vec<&str> = failures.iter().map(|(table, _)| table.as_str()).collect();
    Err(FollowError::Tables { failed: failures.len(), of, names: names.join(", "), kind: first.kind() }.into())
}

fn wish(args: &Args, baseline: bool) -> Wish {
    Wish {
        settings: args.mapping.settings(),
        switch_on: true,
        replace_stream: args.replace_stream,
        baseline,
        read: true,
    }
}

/// What the journal has of the table's stream: the timeline with its coverage.
async fn covered(edges: &GuardEdges, stream: Option<&StreamArn>) -> Result<Option<CoveredTimeline>> {
    let Some(stream) = stream else { return Ok(None) };
    let objects = listing::timeline(edges.store.as_ref(), stream.timeline().clone()).await?;
    Ok(Some(CoveredTimeline::new(objects)))
}

/// Whether a baseline of the stream counts, or will once the stream was read that far.
fn has_baseline(covered: Option<&CoveredTimeline>) -> bool {
    let last = covered.and_then(|covered| covered.intervals.last());
    let has = last.is_some_and(|interval| !interval.baselines.is_empty() || interval.awaited_baseline.is_some());
    // Before the stream was ever read there is no interval, and every baseline of the timeline will be in the first.
    has || covered.is_some_and(|covered| covered.intervals.is_empty() && !covered.objects.snapshots.is_empty())
}

async fn print_plans(args: &Args, edges: &GuardEdges, tables: &BTreeSet<TableName>) -> Result<()> {
    let mut plans = Vec::new();
    let mut failures = Vec::new();
    for table in tables {
        match plan_one(args, edges, table).await {
            Ok((plan, notes)) => {
                if !args.json {
                    output::print(&plan_text(&plan, &notes))?;
                }
                plans.push(plan);
            }
            Err(error) => {
                if !args.json {
                    output::print(&format!("{table}\n  cannot be protected: {error}\n"))?;
                }
                failures.push((table.clone(), error));
            }
        }
    }
    if args.json {
        output::json(&plans)?;
    }
    outcome(tables.len(), failures)
}

async fn plan_one(args: &Args, edges: &GuardEdges, table: &TableName) -> Result<(Plan, Vec<String>)> {
    let sight = observe(edges.service.as_ref(), edges.control.as_ref(), &args.mapping.function, table).await?;
    let covered = covered(edges, sight.stream()).await?;
    let plan = plan(&sight, &wish(args, !args.no_baseline && !has_baseline(covered.as_ref())))?;
    let notes = notes(edges.control.as_ref(), &plan, &sight).await?;
    Ok((plan, notes))
}

/// What a plan does to others.
async fn notes(control: &dyn ControlPlane, plan: &Plan, sight: &Sight) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let replaces = plan.steps.iter().any(|step| matches!(step, Step::SwitchOff { .. }));
    if let (true, Some(stream)) = (replaces, sight.stream()) {
        notes
            .push("changes between the two streams are in neither: a gap, whose outcome the baseline holds".to_owned());
        for mapping in control.mappings_of_stream(stream).await? {
            notes.push(format!(
                "mapping {} of {} reads the old stream and must be pointed to the new one",
                mapping.id, mapping.function
            ));
        }
    }
    for mapping in sight.dead_mappings().filter(|_| !replaces) {
        notes.push(format!(
            "mapping {} is bound to {}, which is not the table's stream any more",
            mapping.id, mapping.source
        ));
    }
    Ok(notes)
}

fn plan_text(plan: &Plan, notes: &[String]) -> String {
    let mut text = format!("{}\n", plan.table);
    for (number, step) in (1..).zip(&plan.steps) {
        let _ = writeln!(text, "  {number}. {step}");
    }
    for note in notes {
        let _ = writeln!(text, "  note: {note}");
    }
    text
}

/// Protects one table.
async fn protect(
    args: &Args,
    edges: &GuardEdges,
    client: &aws_sdk_dynamodb::Client,
    table: &TableName,
    interrupt: &Interrupt,
    done: &mut Vec<String>,
) -> Result<Vec<IntervalStatus>> {
    let (service, control) = (edges.service.as_ref(), edges.control.as_ref());
    let wish = wish(args, false);
    let binding =
        bind(service, control, &args.mapping.function, table, &wish, edges.clock.as_ref(), Patience::default());
    let bound = tokio::select! {
        bound = binding => bound?,
        () = interrupt.wait() => return Err(stopped(&format!("binding the stream of table {table}"))),
    };
    done.extend(bound.done.iter().map(ToString::to_string));
    let stream = bound.sight.stream().cloned();
    let now = edges.clock.now();
    if let Some(document) = service.describe_table(table, now).await? {
        table::store_description(edges.store.as_ref(), &document).await?;
    }
    // The stream is read first: then `start.json` says that it was seen before the baseline, and the baseline lies inside coverage.
    read_now(edges, table, interrupt).await?;
    let covered = covered(edges, stream.as_ref()).await?;
    if !args.no_baseline && !has_baseline(covered.as_ref()) {
        let options = BaselineOptions { read_units: args.read_units.map(f64::from), ..BaselineOptions::default() };
        let report = baseline(client, Arc::clone(&edges.store), table, &options, interrupt, |_| {}).await?;
        done.push(format!("{}: {} items in {}", Step::ReadBaseline, report.snapshot.items, report.name));
        read_now(edges, table, interrupt).await?;
    }
    let store: Arc<dyn ReadStore> = edges.store.clone();
    let report = status(store, Some(table), edges.clock.now()).await?;
    let timelines = report.tables.into_iter().flat_map(|table| table.timelines);
    Ok(timelines.flat_map(|timeline| timeline.coverage).collect())
}

/// Reads the stream until it is known to be read as far as now.
async fn read_now(edges: &GuardEdges, table: &TableName, interrupt: &Interrupt) -> Result<()> {
    /// A table's stream is read in so long, or the guard goes on.
    const BUDGET: Duration = Duration::from_mins(15);
    let wanted = edges.clock.now();
    loop {
        let mut reads = tokio::select! {
            reads = read(edges, vec![table.clone()], u64::MAX, BUDGET) => reads,
            () = interrupt.wait() => return Err(stopped(&format!("reading the stream of table {table}"))),
        };
        match reads.remove(table) {
            Some(Read { reading: Reading::Failed(reason), .. }) => {
                return Err(FollowError::Ended { what: format!("the stream of table {table}"), reason }.into());
            }
            Some(Read { reading: Reading::Cut(_), .. }) => {
                let step = Step::ReadStream.to_string();
                return Err(ProtectError::Slow { table: table.clone(), step, waited: BUDGET }.into());
            }
            _ if edges.clock.now() > wanted => return Ok(()),
            // Its last read may have begun in the second that is wanted.
            _ => edges.clock.sleep(Duration::from_millis(200)).await,
        }
    }
}

fn text(protected: &Protected) -> String {
    let mut text = format!("{}\n", protected.table);
    for step in &protected.done {
        let _ = writeln!(text, "  done      {step}");
    }
    if protected.done.is_empty() && protected.error.is_none() {
        text.push_str("  nothing was to be done: stream, mapping and baseline are there\n");
    }
    for interval in &protected.coverage {
        let second = |second: Option<Second>| second.map_or_else(|| "no time".to_owned(), Second::to_rfc3339);
        let whole = match interval.whole {
            Some(true) => "whole",
            Some(false) => "NOT WHOLE",
            None => "not known to be whole",
        };
        let (from, through) = (second(interval.from), second(interval.through));
        let _ = writeln!(text, "  covered   {from} to {through}, {whole}: {}", interval.because);
    }
    if let Some(error) = &protected.error {
        let _ = writeln!(text, "  FAILED    {error}");
    }
    text
}
