//! Files as they lie: plain, gzip or zstd, told by their first bytes.
//!
//! What enters is a path or standard input; what leaves is a reader of the plain bytes and a counter of the bytes that
//! were read from the file. Knows nothing of what is in them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is read from a file at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// A file to read records from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Input {
    /// `-` is standard input, everything else a path.
    #[must_use]
    pub fn of(argument: &Path) -> Self {
        if argument.as_os_str() == "-" { Self::Stdin } else { Self::File(argument.to_owned()) }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Its bytes, where that is known beforehand.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(path) => std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|m| m.len()),
        }
    }

    /// Opens it.
    pub(super) fn open(&self) -> io::Result<Opened> {
        match self {
            Self::Stdin => opened(io::stdin()),
            Self::File(path) => {
                let file = File::open(path)?;
                if file.metadata()?.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                opened(file)
            }
        }
    }
}

/// An input that is open.
pub(super) struct Opened {
    /// The plain bytes.
    pub(super) reader: Box<dyn BufRead + Send>,
    /// Bytes read from the file itself.
    pub(super) read: Arc<AtomicU64>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("read", &self.read).finish_non_exhaustive()
    }
}

/// Opens bytes that come from anywhere.
pub(super) fn opened(source: impl Read + Send + 'static) -> io::Result<Opened> {
    let read = Arc::new(AtomicU64::new(0));
    let mut source = Counted { source, read: Arc::clone(&read) };
    let mut start = Vec::with_capacity(4);
    source.by_ref().take(4).read_to_end(&mut start)?;
    let plain_start = match start.as_slice() {
        [0xEF, 0xBB, 0xBF, rest @ ..] => Some(rest.to_vec()),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the text is UTF-16: convert it to UTF-8"));
        }
        _ => None,
    };
    let gzip = start.starts_with(&[0x1F, 0x8B]);
    let zstd = start == [0x28, 0xB5, 0x2F, 0xFD] || matches!(start.as_slice(), [0x50..=0x5F, 0x2A, 0x4D, 0x18]);
    let whole = Cursor::new(plain_start.unwrap_or(start)).chain(source);
    let whole = BufReader::with_capacity(BUFFER_BYTES, whole);
    let reader: Box<dyn BufRead + Send> = if gzip {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(whole)))
    } else if zstd {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::stream::read::Decoder::with_buffer(whole)?))
    } else {
        Box::new(whole)
    };
    Ok(Opened { reader, read })
}

struct Counted<R> {
    source: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(to)?;
        self.read.fetch_add(u64::try_from(length).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(length)
    }
}
