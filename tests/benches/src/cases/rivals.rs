//! The state at a time, beside `DuckDB` on Parquet; and the Parquet file that other groups compare with.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use journal::merge::MergeOptions;
use journal::store::ReadStore;
use serde::Deserialize;

use crate::bars::{Bar, Row};
use crate::history;
use crate::measure::{self, Spread};
use crate::workload::{Profile, Workload};

use super::Context;
use super::once::replay;

/// A Parquet file with a whole history, sorted by key.
#[derive(Debug, Clone)]
pub struct Parquet {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
}

/// Why there is no rival.
pub const NO_PYTHON: &str = "DuckDB is not installed: `tests/run bench` installs it";

/// Asks a rival's script.
///
/// # Errors
/// When it is not installed or fails.
pub fn ask(context: &Context, script: &str, arguments: &[&str]) -> Result<String, String> {
    let python = context.python.as_ref().ok_or(NO_PYTHON)?;
    measure::run(Command::new(python).arg(context.scripts.join(script)).args(arguments))
}

/// The first changes of a profile as Parquet, made by `DuckDB` on first use.
///
/// # Errors
/// When `DuckDB` is not installed or fails.
pub fn parquet(context: &Context, profile: Profile) -> Result<Parquet, String> {
    context.python.as_ref().ok_or(NO_PYTHON)?;
    let name = format!("{}-{}-{}.parquet", profile.name, context.changes, profile.pause_milliseconds);
    let path = context.folder.join(name);
    if !path.is_file() {
        let lines = tempfile::NamedTempFile::new_in(&context.folder).map_err(|error| error.to_string())?;
        let mut writer = BufWriter::new(lines.as_file());
        for change in Workload::new(profile).take(usize::try_from(context.changes).unwrap_or(0)) {
            writeln!(writer, "{}", change.plain_json()).map_err(|error| error.to_string())?;
        }
        writer.flush().map_err(|error| error.to_string())?;
        let (source, made) = (lines.path().display().to_string(), path.with_extension("partial"));
        ask(context, "duck.py", &["parquet", &source, &made.display().to_string()])?;
        std::fs::rename(&made, &path).map_err(|error| error.to_string())?;
    }
    let bytes = path.metadata().map_err(|error| error.to_string())?.len();
    Ok(Parquet { path, bytes })
}

/// The first changes of a profile as gzipped lines of JSON, made on first use.
///
/// # Errors
/// When the file cannot be written.
pub fn lines(context: &Context, profile: Profile) -> Result<PathBuf, String> {
    let name = format!("{}-{}-{}.ndjson.gz", profile.name, context.changes, profile.pause_milliseconds);
    let path = context.folder.join(name);
    if !path.is_file() {
        let made = path.with_extension("partial");
        let wrong = |error: std::io::Error| error.to_string();
        let file = BufWriter::new(std::fs::File::create(&made).map_err(wrong)?);
        let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        for change in Workload::new(profile).take(usize::try_from(context.changes).unwrap_or(0)) {
            writeln!(writer, "{}", change.plain_json()).map_err(wrong)?;
        }
        writer.finish().and_then(|mut file| file.flush()).map_err(wrong)?;
        std::fs::rename(&made, &path).map_err(wrong)?;
    }
    Ok(path)
}

#[derive(Deserialize)]
struct State {
    seconds: Vec<f64>,
    peak: f64,
    items: u64,
}

/// The state at a time in the middle of history.
#[must_use]
pub fn rows(context: &Context) -> Vec<Row> {
    let (faster, smaller) =
        ("state at a time: times faster than DuckDB on Parquet", "state at a time: peak memory beside DuckDB's");
    match state(context) {
        Ok(state) => {
            let note = format!(
                "ours {:.3} s, DuckDB {:.3} s (one process each, by the clock); {} items, DuckDB {}",
                state.ours.median, state.duck.median, state.items.0, state.items.1
            );
            let memory = format!("ours {:.0} MB, DuckDB {:.0} MB", state.memory.0 / 1e6, state.memory.1 / 1e6);
            vec![
                Row::new("rivals", faster, Bar::AtLeast(3.0), "×", state.duck.median / state.ours.median).note(note),
                Row::new("rivals", smaller, Bar::AtMost(0.1), "×", state.memory.0 / state.memory.1).note(memory),
            ]
        }
        Err(why) => vec![
            Row::unmeasured("rivals", faster, Bar::AtLeast(3.0), "×", why.clone()),
            Row::unmeasured("rivals", smaller, Bar::AtMost(0.1), "×", why),
        ],
    }
}

struct Compared {
    ours: Spread,
    duck: Spread,
    memory: (f64, f64),
    items: (u64, u64),
}

fn state(context: &Context) -> Result<Compared, String> {
    let profile = Profile::w1();
    let file = parquet(context, profile)?;
    let history = context.compacted(profile, context.changes);
    let store: Arc<dyn ReadStore> = history::open(&context.runtime, &history.folder);
    let inputs = history::inputs(&context.runtime, store.as_ref());
    let (second, options) = (history.seconds.1.get().to_string(), MergeOptions::default());
    let (mut ours, mut duck, mut items, mut peak) = (Vec::new(), Vec::new(), (0, 0), 0.0f64);
    replay(&context.runtime, &store, &inputs, &options);
    // In turns: both feel what else the machine does.
    for _ in 0..context.rounds.clamp(1, 5) {
        let said = ask(context, "duck.py", &["state", &file.path.display().to_string(), &second, "1"])?;
        let state: State = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        duck.extend(state.seconds);
        peak = peak.max(state.peak);
        items.1 = state.items;
        let cost = measure::time(&mut || items.0 = replay(&context.runtime, &store, &inputs, &options).items);
        ours.push(cost.clock);
    }
    if items.0 != items.1 {
        return Err(format!("the two states differ: {} items, DuckDB {}", items.0, items.1));
    }
    let memory = super::replay::peak(context, "replay-threads", context.changes)?.memory;
    Ok(Compared { ours: Spread::of(ours), duck: Spread::of(duck), memory: (memory, peak), items })
}
