//! One case in a process of its own: for its peak memory, and for valgrind.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::cut::{Cut, Position};
use journal::merge::{ItemRef, MergeOptions, MergeReport, RunInput, for_each_part};
use journal::model::Second;
use journal::store::ReadStore;
use replayer::output::Format;
use tokio::runtime::Runtime;

use crate::history;
use crate::limits::{Compressor, Reader, Touched};
use crate::measure;
use crate::workload::Profile;

use super::Context;
use super::append::Payloads;

/// The state at the end of history.
pub const LATEST: Cut = Cut { position: Position::Second(Second::MAX), inclusive: true };

/// What a process says of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Seconds by the clock.
    pub clock: f64,
    /// Seconds by the processor.
    pub processor: f64,
    /// Its peak memory in bytes.
    pub memory: f64,
    /// Bytes written to temporary runs.
    pub spilled: f64,
}

impl Cost {
    fn print(self) -> String {
        format!("{} {} {} {}", self.clock, self.processor, self.memory, self.spilled)
    }

    /// What [`run`] printed.
    ///
    /// # Panics
    /// When it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a number"));
        let mut next = || numbers.next().expect("four numbers");
        Self { clock: next(), processor: next(), memory: next(), spilled: next() }
    }
}

/// Ours: the whole state at the end of history, every item visited.
///
/// # Panics
/// When it fails.
pub fn replay(
    runtime: &Runtime,
    store: &Arc<dyn ReadStore>,
    inputs: &[RunInput],
    options: &MergeOptions,
) -> MergeReport {
    let visit = |bytes: &mut usize, item: ItemRef<'_>| {
        *bytes += item.image.len();
        std::hint::black_box(*bytes);
        Ok(())
    };
    let take = |bytes: usize| {
        std::hint::black_box(bytes);
        Ok(())
    };
    let parts = (|| 0, visit, take);
    runtime
        .block_on(for_each_part(store.clone(), inputs.to_vec(), LATEST, None, options.clone(), parts))
        .expect("a merge")
}

/// A copy of a folder whose files are links: what compaction deletes stays where it was.
///
/// # Panics
/// When it cannot be made.
pub fn link_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            link_folder(&path, &target);
        } else {
            std::fs::hard_link(&path, &target).expect("a link");
        }
    }
}

/// What R touches of a journal.
#[must_use]
pub fn touched(folder: &Path, inputs: &[RunInput]) -> Vec<Touched> {
    inputs.iter().map(|input| Touched::new(&folder.join(&input.key))).collect()
}

/// Runs a case `rounds` times.
///
/// # Errors
/// When there is no such case.
///
/// # Panics
/// When the case fails.
pub fn run(context: &Context, case: &str, rounds: usize) -> Result<String, String> {
    let runtime = &context.runtime;
    let mut spilled = 0;
    let mut repeat = |mut work: Box<dyn FnMut() -> u64 + '_>| {
        measure::time(&mut || {
            for _ in 0..rounds {
                spilled += work();
            }
        })
    };
    let folder: PathBuf;
    let cost = match case {
        "append" | "append-limit" => {
            let payloads = Payloads::new(Profile::w1(), context.changes, 1000);
            let mut compressor = Compressor::default();
            if case == "append" {
                repeat(Box::new(|| {
                    let _ = payloads.append(runtime);
                    0
                }))
            } else {
                repeat(Box::new(|| {
                    payloads.limit(&mut compressor);
                    0
                }))
            }
        }
        "replay" | "replay-threads" | "replay-limit" | "tail" | "replay-few-items" | "replay-many-items" => {
            let history = match case {
                "tail" => context.raw(Profile::w1(), context.changes),
                "replay-few-items" => context.compacted(super::memory::few_items(), context.changes),
                "replay-many-items" => context.compacted(super::memory::many_items(context.changes), context.changes),
                _ => context.compacted(Profile::w1(), context.changes),
            };
            folder = history.folder;
            let store: Arc<dyn ReadStore> = history::open(runtime, &folder);
            let inputs = history::inputs(runtime, store.as_ref());
            if case == "replay-limit" {
                let (touched, mut reader) = (touched(&folder, &inputs), Reader::default());
                repeat(Box::new(|| {
                    reader.read(&touched);
                    0
                }))
            } else {
                let mut options = MergeOptions::default();
                if case == "replay" {
                    // What valgrind counts is what one processor does.
                    options.threads = std::num::NonZeroUsize::MIN;
                }
                repeat(Box::new(|| replay(runtime, &store, &inputs, &options).bytes_spilled))
            }
        }
        "compact" => {
            let history = context.raw(Profile::w1(), context.changes);
            let copy = tempfile::tempdir_in(&context.folder).map_err(|error| error.to_string())?;
            folder = copy.path().join("journal");
            link_folder(&history.folder, &folder);
            repeat(Box::new(|| {
                let _ = history::compact_at(runtime, &folder, 4_000_000_000);
                0
            }))
        }
        "restore" => {
            let mut restore = super::restore::to_null_server(context)?;
            repeat(Box::new(move || {
                restore();
                0
            }))
        }
        "lookup" | "lookup-kept" => {
            let mut lookups = super::lookup::lookups(context, case == "lookup-kept");
            repeat(Box::new(move || {
                lookups();
                0
            }))
        }
        "export" | "export-parquet" => {
            let format = if case == "export" { Format::DynamodbJson } else { Format::Parquet };
            let mut export = super::sinks::exports(context, format);
            repeat(Box::new(move || {
                export();
                0
            }))
        }
        other => return Err(format!("there is no case {other}")),
    };
    let memory = crate::number(measure::peak_memory());
    Ok(Cost { clock: cost.clock, processor: cost.processor, memory, spilled: crate::number(spilled) }.print())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_prints_is_read_back() {
        let cost = Cost { clock: 1.5, processor: 0.25, memory: 4096.0, spilled: 0.0 };
        assert_eq!(Cost::parse(&cost.print()), cost);
    }
}
