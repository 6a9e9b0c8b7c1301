//! The physical limits, over exactly the bytes that the measured code touches.
//!
//! *R*: read into a reused buffer, CRC-32, zstd decompression; nothing is parsed. *`R_json`* and the like: R, and the same output
//! bytes through the same writer. *`R_append`*: the same payload parsed without a tree, the same rows compressed by zstd 1, CRC-32.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use journal::format::{ChunkRef, Columns, Layout, Tail, read_tail};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The chunks of one object that a reader touches.
#[derive(Debug)]
pub struct Touched {
    path: PathBuf,
    /// Neighbouring chunks, read at once.
    blocks: Vec<Vec<ChunkRef>>,
    /// Records in the object.
    pub records: u64,
    /// Distinct keys in it.
    pub keys: u64,
}

/// The tail of an object in a folder.
///
/// # Panics
/// When it is not a run.
#[must_use]
pub fn tail_of(path: &Path) -> Tail {
    let bytes = std::fs::read(path).expect("an object");
    match read_tail("bench", &bytes, crate::count(bytes.len())).expect("a run") {
        Layout::Complete(tail) => tail,
        Layout::More(_) => unreachable!("a whole object has its tail"),
    }
}

impl Touched {
    /// What a replay to the end of a run touches: of columns the chunks of the first area.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let tail = tail_of(path);
        let chunks = |entry: &journal::format::BlockEntry| {
            let [first, _] = entry.places(Columns::Latest);
            let touched = entry.chunks.iter().filter(|chunk| first.contains(&chunk.offset) && chunk.stored > 0);
            touched.copied().collect()
        };
        Self {
            path: path.to_owned(),
            blocks: tail.blocks.iter().map(chunks).collect(),
            records: tail.footer.statistics.records,
            keys: tail.footer.statistics.keys,
        }
    }

    /// The same blocks for two readers.
    #[must_use]
    pub fn halves(&self) -> [Self; 2] {
        let (first, second) = self.blocks.split_at(self.blocks.len() / 2);
        [first, second].map(|blocks| Self { path: self.path.clone(), blocks: blocks.to_vec(), ..*self })
    }

    /// Stored bytes of the chunks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().flatten().map(|chunk| crate::count(chunk.stored)).sum()
    }
}

/// Buffers and context that R keeps.
pub struct Reader {
    decompressor: zstd::bulk::Decompressor<'static>,
    stored: Vec<u8>,
    raw: Vec<u8>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Default for Reader {
    fn default() -> Self {
        let decompressor = zstd::bulk::Decompressor::new().expect("memory");
        Self { decompressor, stored: Vec::new(), raw: Vec::new() }
    }
}

impl Reader {
    /// R.
    ///
    /// # Panics
    /// When a file cannot be read or a checksum does not hold.
    pub fn read(&mut self, touched: &[Touched]) {
        for object in touched {
            let file = File::open(&object.path).expect("an object");
            for block in &object.blocks {
                let (Some(first), Some(last)) = (block.first(), block.last()) else { continue };
                let length = usize::try_from(last.offset - first.offset).expect("a length") + last.stored;
                self.stored.resize(length, 0);
                file.read_exact_at(&mut self.stored, first.offset).expect("its bytes");
                for chunk in block {
                    let at = usize::try_from(chunk.offset - first.offset).expect("an offset");
                    let stored = &self.stored[at..at + chunk.stored];
                    assert_eq!(crc32fast::hash(stored), chunk.crc32);
                    self.raw.clear();
                    self.raw.reserve_exact(chunk.raw);
                    self.decompressor.decompress_to_buffer(stored, &mut self.raw).expect("a frame");
                    black_box(self.raw.as_slice());
                }
            }
        }
    }
}

/// The raw chunks of an object's bytes, as its writer had them before compression.
///
/// # Panics
/// When they are not a run.
#[must_use]
pub fn raw_chunks(object: &[u8]) -> Vec<Vec<u8>> {
    let tail = match read_tail("bench", object, crate::count(object.len())).expect("a run") {
        Layout::Complete(tail) => tail,
        Layout::More(_) => unreachable!("a whole object has its tail"),
    };
    let chunks = tail.blocks.iter().flat_map(|block| block.chunks.clone()).filter(|chunk| chunk.stored > 0);
    chunks
        .map(|chunk| {
            let at = usize::try_from(chunk.offset).expect("an offset");
            zstd::bulk::decompress(&object[at..at + chunk.stored], chunk.raw).expect("a frame")
        })
        .collect()
}

/// Compresses rows as `R_append` does.
pub struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self { context: zstd::bulk::Compressor::new(1).expect("memory"), out: Vec::new() }
    }
}

impl Compressor {
    /// zstd 1 and CRC-32 of each chunk.
    ///
    /// # Panics
    /// When zstd refuses.
    pub fn compress(&mut self, chunks: &[Vec<u8>]) {
        for chunk in chunks {
            self.out.clear();
            self.out.reserve(zstd::zstd_safe::compress_bound(chunk.len()));
            self.context.compress_to_buffer(chunk, &mut self.out).expect("zstd");
            black_box(crc32fast::hash(&self.out));
        }
    }
}

/// Parses JSON without a tree: every name and every value is seen, none is kept.
///
/// # Panics
/// When it is not JSON.
pub fn parse(json: &[u8]) {
    let seen: Seen = sonic_rs::from_slice(json).expect("JSON");
    black_box(seen.0);
}

/// The bytes of all texts that were seen.
struct Seen(usize);

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct See;

        impl<'de> Visitor<'de> for See {
            type Value = Seen;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
                Ok(Seen(1))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
                Ok(Seen(1))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Seen, E> {
                Ok(Seen(1))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
                Ok(Seen(1))
            }

            fn visit_str<E>(self, text: &str) -> Result<Seen, E> {
                Ok(Seen(text.len()))
            }

            fn visit_unit<E>(self) -> Result<Seen, E> {
                Ok(Seen(1))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Seen, A::Error> {
                let mut seen = 0;
                while let Some(Seen(more)) = sequence.next_element()? {
                    seen += more;
                }
                Ok(Seen(seen))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
                let mut seen = 0;
                while let Some((Seen(name), Seen(value))) = map.next_entry()? {
                    seen += name + value;
                }
                Ok(Seen(seen))
            }
        }

        deserializer.deserialize_any(See)
    }
}
