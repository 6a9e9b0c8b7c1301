//! The state as objects for an import: DynamoDB JSON, compressed, of bounded size, in an order that spreads the writes.
//!
//! What enters are the items of a plan; what leaves are objects below the run's own folder, and the digest of all items.
//! Names and bytes come from the state alone, so a run that goes on meets its own objects. What AWS recommends ("Best practices
//! for importing from Amazon S3 into DynamoDB"): up to four million small items an object, at most 50,000 objects, no sorted
//! data, for neighbours would fall on one partition.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::GzEncoder;
use journal::error::{Kind, Result};
use journal::model::{Spelling, Splicer};
use tokio::sync::mpsc;

use super::super::error::RestoreError;
use super::super::groups::GroupedDigest;
use super::super::run_file::{Objects, RunFile};
use super::super::{Restore, Step};
use super::Staging;
use crate::digest::ItemHash;
use crate::key_schema::KeySchemaError;
use crate::state::{Flow, visit_encoded};

/// Most items of an object.
const OBJECT_ITEMS_MAX: u64 = 4_000_000;
/// Compressed bytes after which an object ends. Two are in memory at once; 50,000 of them are three times what an import may
/// read.
const OBJECT_BYTES: usize = 64 << 20;
/// Bytes of lines that are put in another order together.
const WINDOW_BYTES: usize = 8 << 20;
const ZSTD_LEVEL: i32 = 3;

/// How the objects are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportCompression {
    /// Zstandard: smaller and faster.
    Zstd,
    /// gzip.
    Gzip,
}

impl ImportCompression {
    fn ending(self) -> &'static str {
        match self {
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }
}

/// What was put.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) expected: GroupedDigest,
    pub(super) objects: Objects,
}

/// Deletes the objects of a run.
pub(super) async fn delete(objects: Objects, staging: &Staging, run: &RunFile) -> Result<()> {
    for number in 0..objects.count {
        staging.store.delete(&object_name(staging, run, number)).await?;
    }
    Ok(())
}

fn object_name(staging: &Staging, run: &RunFile, number: usize) -> String {
    format!("{}{number:05}.json.{}", Staging::folder(&run.part_name()), staging.compression.ending())
}

/// Puts the whole selected state.
pub(super) async fn stage(restore: &Restore<'_>, staging: &Staging, run: &RunFile) -> Result<Staged> {
    let table = run.target().clone();
    let schema = restore.plan.key.clone().ok_or_else(|| KeySchemaError::Unknown { table: table.to_string() })?;
    let (sender, mut receiver) = mpsc::channel::<(Bytes, u64)>(1);
    let builder = Builder::new(staging.compression, sender);
    let mut splicer = Splicer::new(schema.attributes(), Spelling::DynamoDb);
    let state = (builder, GroupedDigest::default());
    let visit = async {
        let visited = visit_encoded(
            Arc::clone(&restore.store),
            restore.plan,
            restore.selection.clone(),
            restore.options.merge.clone(),
            restore.interrupt,
            state,
            move |(builder, digest): &mut (Builder, GroupedDigest), item| {
                let hash = builder.add(|lines| {
                    lines.extend_from_slice(b"{\"Item\":");
                    let told = item.splice(&mut splicer, lines)?;
                    lines.extend_from_slice(b"}\n");
                    digest.add(&told.plain_key, told.hash);
                    Ok(told.hash)
                })?;
                // The putter is gone only when it failed; its error is the one to tell.
                Ok((if builder.flush_full()? { Flow::Continue } else { Flow::Enough }, hash))
            },
        );
        let ((builder, digest), _) = visited.await?;
        let finished = tokio::task::spawn_blocking(move || builder.finish()).await;
        finished.map_err(|_| RestoreError::Lost { doing: "staging", table: table.clone() })??;
        Ok::<GroupedDigest, journal::error::Error>(digest)
    };
    let put = async {
        let (mut objects, mut items) = (Objects { count: 0, bytes: 0 }, 0u64);
        while let Some((object, more)) = receiver.recv().await {
            objects.bytes += u64::try_from(object.len()).unwrap_or(u64::MAX);
            let put = staging.store.put_new(&object_name(staging, run, objects.count), object).await;
            if let Err(error) = put {
                // The builder must not wait for one who takes no more.
                receiver.close();
                return Err(error.into());
            }
            objects.count += 1;
            items += more;
            (restore.progress)(Step::Staging, items, None);
        }
        Ok::<Objects, journal::error::Error>(objects)
    };
    let (visited, put) = tokio::join!(visit, put);
    let objects = put?;
    let expected = visited.map_err(|error| match error.kind() {
        Kind::Interrupted => RestoreError::Interrupted { doing: "staging", table: run.target().clone() }.into(),
        _ => error,
    })?;
    Ok(Staged { expected, objects })
}

fn failed(error: &std::io::Error) -> RestoreError {
    RestoreError::Encoding { reason: error.to_string() }
}

enum Encoder {
    Zstd(zstd::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(compression: ImportCompression) -> Result<Self, RestoreError> {
        Ok(match compression {
            ImportCompression::Zstd => {
                Self::Zstd(zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(|error| failed(&error))?)
            }
            ImportCompression::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
        })
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.write_all(line),
            Self::Gzip(encoder) => encoder.write_all(line),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Zstd(encoder) => encoder.get_ref().len(),
            Self::Gzip(encoder) => encoder.get_ref().len(),
        }
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

/// Makes objects of lines, and sends them on.
struct Builder {
    compression: ImportCompression,
    sender: mpsc::Sender<(Bytes, u64)>,
    /// Lines, and where each of them is.
    lines: Vec<u8>,
    window: Vec<(ItemHash, Range<usize>)>,
    object: Option<(Encoder, u64)>,
}

impl Builder {
    fn new(compression: ImportCompression, sender: mpsc::Sender<(Bytes, u64)>) -> Self {
        Self { compression, sender, lines: Vec::new(), window: Vec::new(), object: None }
    }

    /// Adds a line, which `write` appends.
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<ItemHash>) -> Result<ItemHash> {
        let start = self.lines.len();
        let hash = write(&mut self.lines)?;
        self.window.push((hash, start..self.lines.len()));
        Ok(hash)
    }

    /// Writes the window when it is full; false when nobody takes objects any more.
    fn flush_full(&mut self) -> Result<bool, RestoreError> {
        if self.lines.len() < WINDOW_BYTES { Ok(true) } else { self.flush() }
    }

    /// Writes the window in the order of the hashes, which have nothing to do with the keys.
    fn flush(&mut self) -> Result<bool, RestoreError> {
        let (mut window, mut lines) = (std::mem::take(&mut self.window), std::mem::take(&mut self.lines));
        window.sort_unstable_by_key(|(hash, _)| *hash);
        for (_, line) in window.drain(..) {
            let line = lines.get(line).unwrap_or_default();
            let (mut encoder, items) = match self.object.take() {
                Some(object) => object,
                None => (Encoder::new(self.compression)?, 0),
            };
            encoder.write(line).map_err(|error| failed(&error))?;
            self.object = Some((encoder, items + 1));
            let full =
                |(encoder, items): &(Encoder, u64)| encoder.bytes() >= OBJECT_BYTES || *items >= OBJECT_ITEMS_MAX;
            if self.object.as_ref().is_some_and(full) && !self.end_object()? {
                return Ok(false);
            }
        }
        // The next window is as large.
        lines.clear();
        (self.window, self.lines) = (window, lines);
        Ok(true)
    }

    fn end_object(&mut self) -> Result<bool, RestoreError> {
        let Some((encoder, items)) = self.object.take() else { return Ok(true) };
        let bytes = encoder.finish().map_err(|error| failed(&error))?;
        Ok(self.sender.blocking_send((Bytes::from(bytes), items)).is_ok())
    }

    /// Ends the last object. A state without items is one empty object, for an import needs one.
    fn finish(mut self) -> Result<(), RestoreError> {
        if self.flush()? {
            if self.object.is_none() {
                self.object = Some((Encoder::new(self.compression)?, 0));
            }
            self.end_object()?;
        }
        Ok(())
    }
}
