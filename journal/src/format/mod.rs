//! Segments and snapshot parts as bytes; specified in FORMAT.md, which this code follows section by section.
//!
//! Owns every byte of a run. What enters are sorted records; what leaves are the bytes of one object, and the other way
//! round. Pure: knows no store, no clock, no randomness.

mod block;
mod codec;
mod columns;
mod cursor;
mod error;
mod filter;
mod footer;
mod index;
mod reader;
mod rows;
mod time;
mod top;
mod verify;
mod wire;
mod writer;

pub use block::{OldImage, Record, RecordKind};
pub use codec::Decompressor;
pub use cursor::{BlockCursor, Columns};
pub use error::{FormatError, Problem};
pub use filter::key_hash;
pub use footer::{Footer, RunKind, Statistics};
pub use index::{BlockEntry, ChunkRef};
pub use reader::{Header, Layout, TAIL_BYTES, Tail, read_tail};
pub use time::TimeIndex;
pub use top::{PageRef, Top, TopLayout, read_top};
pub use verify::{VerifiedRun, verify_object};
pub(crate) use wire::shared_prefix;
pub use writer::{EncodedRun, RunWriter, WriterOptions};

/// Major version of the container.
pub const MAJOR: u16 = 4;
/// Minor version of the container.
pub const MINOR: u16 = 0;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 32;
/// Most raw bytes of one chunk: two images at their largest fit with room.
pub const CHUNK_RAW_MAX: usize = 16 << 20;
/// Most blocks of one run.
pub const BLOCKS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_columns;
#[cfg(test)]
mod tests_index;
#[cfg(test)]
mod tests_time;

const MAGIC: [u8; 8] = [0x89, b'D', b'E', b'J', 0x0D, 0x0A, 0x1A, 0x0A];
const END_MAGIC: [u8; 4] = *b"DEJ1";
