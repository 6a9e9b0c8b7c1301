//! `bench`: measures, prints the table, and writes JSON, drawings and the page. Started by `tests/run bench`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use journal_benches::cases::{self, Context};
use journal_benches::page::{self, Results, markdown};
use journal_benches::{bars, cost, history, measure, plot};

/// Measures the journal beside the physical limit and beside its rivals
#[derive(Debug, Parser)]
#[command(name = "bench")]
enum Command {
    /// Measure, all groups or some
    Run(Run),
    /// One case in a process of its own, for its memory and for valgrind
    Once(Once),
    /// A server that takes every write and keeps none: the bench starts it
    #[command(hide = true)]
    NullServer,
}

/// Scale and places.
#[derive(Debug, clap::Args)]
struct Run {
    /// The real scale: two million changes a profile, ten million in the drawing of growth
    #[arg(long)]
    full: bool,
    /// Changes of a profile, instead of what the scale says
    #[arg(long, value_name = "NUMBER")]
    changes: Option<u64>,
    /// Rounds of a case beside its limit
    #[arg(long, value_name = "NUMBER", default_value_t = 9)]
    rounds: usize,
    /// Only these groups: append, compaction, replay, memory, sinks, lookup, rivals, restore, trigger, cost, growth
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,
    /// Where histories are made, and kept for the next run
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// A Python with the rivals
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// A Python with `MiniStack`
    #[arg(long, value_name = "FILE")]
    ministack: Option<PathBuf>,
    /// The package of stream-trigger, as infra/package builds it, or the program itself
    #[arg(long, value_name = "FILE")]
    function: Option<PathBuf>,
    /// The folder of the rivals' scripts
    #[arg(long, value_name = "FOLDER", default_value = "tests/benches/rivals")]
    scripts: PathBuf,
    /// Where JSON and drawings go
    #[arg(long, value_name = "FOLDER")]
    results: PathBuf,
    /// A page whose measured part is replaced
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// A page whose table of costs is replaced
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

/// One case.
#[derive(Debug, clap::Args)]
struct Once {
    /// append, append-limit, replay, replay-threads, replay-limit, tail, compact, lookup, lookup-kept, restore, export
    /// or export-parquet
    case: String,
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    #[arg(long)]
    changes: u64,
    #[arg(long)]
    folder: PathBuf,
    /// Print what it took
    #[arg(long)]
    report: bool,
}

/// Measures one group.
type Group = fn(&Context) -> Vec<bars::Row>;

fn context(folder: &Path, changes: u64) -> Context {
    Context {
        folder: folder.to_owned(),
        python: None,
        ministack: None,
        function: None,
        scripts: PathBuf::new(),
        changes,
        growth_changes: 300_000,
        rounds: 1,
        counted_changes: 20_000,
        runtime: history::runtime(),
    }
}

/// A Python that is there, by its whole path: programs are run in folders of their own.
fn installed(python: Option<PathBuf>) -> Option<PathBuf> {
    std::path::absolute(python?).ok().filter(|python| python.is_file())
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Once(once) => {
            let context = context(&once.folder, once.changes);
            cases::once::run(&context, &once.case, once.rounds).map(|said| {
                if once.report {
                    println!("{said}");
                }
            })
        }
        Command::NullServer => journal_benches::null_server::serve(),
        Command::Run(run) => self::run(run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(run: Run) -> Result<(), String> {
    let changes = run.changes.unwrap_or(if run.full { 2_000_000 } else { 200_000 });
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&run.folder).map_err(|error| failed(&run.folder, error))?;
    std::fs::create_dir_all(&run.results).map_err(|error| failed(&run.results, error))?;
    let context = Context {
        python: installed(run.python),
        ministack: installed(run.ministack),
        function: installed(run.function),
        scripts: run.scripts,
        growth_changes: if run.full { 10_000_000 } else { 300_000 },
        rounds: run.rounds,
        ..context(&run.folder, changes)
    };
    let wanted = |group: &str| run.groups.is_empty() || run.groups.iter().any(|name| name == group);
    let mut rows = Vec::new();
    let groups: [(&str, Group); 9] = [
        ("append", cases::append::rows),
        ("compaction", cases::compaction::rows),
        ("replay", cases::replay::rows),
        ("memory", cases::memory::rows),
        ("sinks", cases::sinks::rows),
        ("lookup", cases::lookup::rows),
        ("rivals", cases::rivals::rows),
        ("restore", cases::restore::rows),
        ("trigger", cases::function::rows),
    ];
    for (name, measured) in groups.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("bench: {name}");
        let new = measured(&context);
        print!("{}", bars::table(&new));
        rows.extend(new);
    }
    let value = |start: &str| rows.iter().find(|row| row.what.starts_with(start)).and_then(|row| row.value);
    let sizes = (
        value("segment bytes a change, W1, batches of 1000").unwrap_or(205.0),
        value("compacted bytes a change, all history kept, W1").unwrap_or(100.0),
    );
    let mut arithmetic = String::new();
    if wanted("cost") {
        let new = cost::rows(sizes.0, sizes.1);
        print!("{}", bars::table(&new));
        rows.extend(new);
        arithmetic = cost::page(sizes.0, sizes.1);
    }
    let charts = if wanted("growth") {
        eprintln!("bench: growth");
        cases::growth::charts(&context)
    } else {
        Vec::new()
    };
    for chart in &charts {
        plot::draw(chart, &run.results.join(format!("{}.svg", chart.name)))?;
    }
    println!("{}", bars::summary(&rows));
    let command = format!(
        "tests/run bench{} ({changes} changes a profile, {} rounds)",
        if run.full { " --full" } else { "" },
        run.rounds
    );
    let results = Results { machine: measure::machine(), command, rows, charts };
    let json = run.results.join("results.json");
    let text = serde_json::to_string_pretty(&results).map_err(|error| error.to_string())?;
    std::fs::write(&json, text + "\n").map_err(|error| failed(&json, error))?;
    // A part of the groups would leave a page with a part of the rows.
    let pages = [
        (&run.page, page::RESULTS, markdown(&results, &arithmetic)),
        (&run.readme, page::COST, cost::comparison(sizes.0, sizes.1)),
    ];
    for (page, marks, measured) in pages.into_iter().filter(|_| run.groups.is_empty()) {
        let Some(page) = page else { continue };
        let old = std::fs::read_to_string(page).map_err(|error| failed(page, error))?;
        std::fs::write(page, page::replace(&old, marks, &measured)?).map_err(|error| failed(page, error))?;
    }
    Ok(())
}
