//! What is measured, group by group.

pub mod append;
pub mod compaction;
pub mod function;
pub mod growth;
pub mod lookup;
pub mod memory;
pub mod once;
pub mod replay;
pub mod restore;
pub mod rivals;
pub mod sinks;

use std::path::PathBuf;

use tokio::runtime::Runtime;

use crate::history::{self, History};
use crate::workload::Profile;

/// Scale and places of a run.
#[derive(Debug)]
pub struct Context {
    /// Where histories are made and kept.
    pub folder: PathBuf,
    /// Where the rivals' Python is; none when it is not installed.
    pub python: Option<PathBuf>,
    /// Where `MiniStack`'s Python is; none when it is not installed.
    pub ministack: Option<PathBuf>,
    /// The trigger's package, a zip, or its program; none when it is not built.
    pub function: Option<PathBuf>,
    /// Where the rivals' scripts are.
    pub scripts: PathBuf,
    /// Changes of a profile.
    pub changes: u64,
    /// Changes of the longest history of the drawing of growth.
    pub growth_changes: u64,
    /// Rounds of a pair.
    pub rounds: usize,
    /// Changes under valgrind.
    pub counted_changes: u64,
    /// The runtime of everything.
    pub runtime: Runtime,
}

impl Context {
    /// The compacted history of a profile, made on first use.
    #[must_use]
    pub fn compacted(&self, profile: Profile, changes: u64) -> History {
        let folder = self.folder.join(format!("{}-{changes}-{}", profile.name, profile.pause_milliseconds));
        kept(&folder).unwrap_or_else(|| {
            // What its batches left is not made twice.
            let mut history = match kept(&self.raw_folder(profile, changes)) {
                Some(raw) => {
                    once::link_folder(&raw.folder, &folder);
                    History { folder, ..raw }
                }
                None => history::append_changes(&self.runtime, &folder, profile, changes),
            };
            history::compact(&self.runtime, &mut history);
            keep(&history);
            history
        })
    }

    /// The history of a profile as its batches left it, made on first use.
    #[must_use]
    pub fn raw(&self, profile: Profile, changes: u64) -> History {
        let folder = self.raw_folder(profile, changes);
        kept(&folder).unwrap_or_else(|| {
            let history = history::append_changes(&self.runtime, &folder, profile, changes);
            keep(&history);
            history
        })
    }

    fn raw_folder(&self, profile: Profile, changes: u64) -> PathBuf {
        self.folder.join(format!("{}-{changes}-{}-raw", profile.name, profile.pause_milliseconds))
    }

    /// The profile that is mostly updated, at this scale: a quarter as many items as changes.
    #[must_use]
    pub fn w2(&self) -> Profile {
        Profile::w2(usize::try_from(self.changes / 4).unwrap_or(0))
    }
}

fn kept(folder: &std::path::Path) -> Option<History> {
    let text = std::fs::read_to_string(folder.with_extension("made.json")).ok()?;
    let kept: Kept = serde_json::from_str(&text).ok()?;
    Some(History {
        folder: folder.to_owned(),
        changes: kept.changes,
        appended_bytes: kept.appended_bytes,
        compaction: kept.compacted.map(|[bytes_in, bytes_out, outputs, records]| journal::compact::CompactReport {
            bytes_in,
            bytes_out,
            outputs,
            records,
            ..Default::default()
        }),
        seconds: kept.seconds,
    })
}

fn keep(history: &History) {
    let kept = Kept {
        changes: history.changes,
        appended_bytes: history.appended_bytes,
        compacted: history.compaction.map(|report| [report.bytes_in, report.bytes_out, report.outputs, report.records]),
        seconds: history.seconds,
    };
    let text = serde_json::to_string(&kept).expect("JSON");
    std::fs::write(history.folder.with_extension("made.json"), text).expect("the folder can be written");
}

/// What is remembered of a history that is there.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    changes: u64,
    appended_bytes: u64,
    compacted: Option<[u64; 4]>,
    seconds: (journal::model::Second, journal::model::Second),
}
