//! Where an export goes: a file that appears whole or not at all, or a stream.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use journal::error::{Classify, Kind};
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::digest::StateDigest;

const ZSTD_LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 256 << 10;

/// What can go wrong with a destination.
#[derive(Debug, Error)]
pub enum OutputError {
    /// The file is there.
    #[error("file {} exists", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot make file {}", .path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The format needs a plain file.
    #[error("a {format} file cannot go to {name}: {reason}")]
    NotPlain {
        /// The format.
        format: &'static str,
        /// The file, or standard output.
        name: String,
        /// What is in the way.
        reason: &'static str,
    },
    /// It cannot be read back.
    #[error("cannot read back {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What was read back is not what was written.
    #[error(
        "{name} was read back and differs: digest {found} of {found_items} items, expected {expected} of {expected_items} items"
    )]
    Differs {
        /// The file.
        name: String,
        /// The digest of what was read.
        found: StateDigest,
        /// Items read.
        found_items: u64,
        /// The digest of what was written.
        expected: StateDigest,
        /// Items written.
        expected_items: u64,
    },
    /// It cannot be written.
    #[error("cannot write {name}")]
    Write {
        /// The file, or standard output.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Classify for OutputError {
    fn kind(&self) -> Kind {
        match self {
            Self::Exists { .. } => Kind::Conflict,
            Self::Create { .. } | Self::NotPlain { .. } => Kind::Invalid,
            Self::Differs { .. } | Self::Unreadable { .. } => Kind::Corrupt,
            Self::Write { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("give another name, or --force to replace it".to_owned()),
            Self::Create { .. } => Some("check the folder and its permissions".to_owned()),
            Self::NotPlain { .. } => Some(
                "give a file with --output whose name does not end in .gz or .zst: it is compressed inside".to_owned(),
            ),
            Self::Differs { .. } | Self::Unreadable { .. } => {
                Some("the disk or its file system may be failing; write it elsewhere".to_owned())
            }
            Self::Write { .. } => {
                Some("check where the output goes, free space, then run the same command again".to_owned())
            }
        }
    }
}

/// How a file is compressed as a whole, by its name's ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Where an export goes.
pub struct Destination {
    name: String,
    file: Option<(PathBuf, bool)>,
    writer: Compressing,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("name", &self.name).finish_non_exhaustive()
    }
}

enum Compressing {
    Plain(BufWriter<Counted>),
    // An item is written in many small pieces, each of which would cost the encoder a call: it gets them gathered.
    Gzip(BufWriter<GzEncoder<BufWriter<Counted>>>),
    Zstd(BufWriter<zstd::Encoder<'static, BufWriter<Counted>>>),
}

enum Raw {
    File(NamedTempFile),
    Stream(Box<dyn Write + Send>),
}

struct Counted {
    raw: Raw,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.raw {
            Raw::File(file) => file.write(bytes),
            Raw::Stream(stream) => stream.write(bytes),
        }?;
        self.bytes += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.raw {
            Raw::File(file) => file.flush(),
            Raw::Stream(stream) => stream.flush(),
        }
    }
}

/// A file that is not whole yet, under a temporary name beside its own. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct PartialFile {
    name: String,
    path: PathBuf,
    force: bool,
    file: NamedTempFile,
}

impl PartialFile {
    /// Where it is for now.
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    pub(super) fn temporary(&self) -> &Path {
        self.file.path()
    }

    /// An error of writing to it.
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    pub(super) fn failed(&self, source: io::Error) -> OutputError {
        OutputError::Write { name: self.name.clone(), source }
    }

    /// The file with nothing in it.
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    pub(super) fn emptied(self) -> Result<Self, OutputError> {
        self.file.as_file().set_len(0).map_err(|error| self.failed(error))?;
        Ok(self)
    }

    /// Makes it durable, gives it its name, and says how many bytes it has.
    pub(super) fn finish(self) -> Result<u64, OutputError> {
        let Self { name, path, force, file } = self;
        let failed = |source| OutputError::Write { name: name.clone(), source };
        file.as_file().sync_all().map_err(failed)?;
        let bytes = file.as_file().metadata().map_err(failed)?.len();
        let named = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
        named.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => OutputError::Exists { path },
            _ => failed(error.error),
        })?;
        Ok(bytes)
    }
}

impl Destination {
    /// The file itself, for a format that must write at more places than the end, or that is compressed inside. Nothing
    /// may have been written.
    ///
    /// # Errors
    /// When it is no file, or one that is compressed as a whole.
    #[cfg(any(feature = "parquet", feature = "sqlite"))]
    pub(super) fn plain_file(self, format: &'static str) -> Result<PartialFile, OutputError> {
        let not_plain = |reason| OutputError::NotPlain { format, name: self.name.clone(), reason };
        let (Some((path, force)), Compressing::Plain(writer)) = (self.file, self.writer) else {
            return Err(not_plain("it is not an uncompressed file"));
        };
        match writer.into_parts().0.raw {
            Raw::File(file) => Ok(PartialFile { name: self.name, path, force, file }),
            Raw::Stream(_) => Err(not_plain("it is not a file")),
        }
    }

    /// A file, compressed when its name ends in `.gz` or `.zst`. It is written under a temporary name beside it and gets
    /// its own when it is whole.
    ///
    /// # Errors
    /// When it exists and `force` is not set, or its folder cannot be written.
    pub fn file(path: &Path, force: bool) -> Result<Self, OutputError> {
        let create = |source| OutputError::Create { path: path.to_owned(), source };
        match path.metadata() {
            Ok(there) if there.is_dir() => {
                return Err(create(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")));
            }
            // A pipe or a device cannot be replaced, and holds nothing that could be lost.
            Ok(there) if !there.is_file() => {
                let opened = std::fs::OpenOptions::new().write(true).open(path).map_err(create)?;
                return Ok(Self::stream(&path.display().to_string(), Box::new(opened)));
            }
            _ if !force && path.symlink_metadata().is_ok() => {
                return Err(OutputError::Exists { path: path.to_owned() });
            }
            _ => {}
        }
        let name = path.file_name().ok_or_else(|| create(io::ErrorKind::InvalidInput.into()))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let prefix = format!(".{}.", name.to_string_lossy());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".partial");
        open_to_umask(&mut builder);
        let file = builder.tempfile_in(folder).map_err(create)?;
        let counted = BufWriter::with_capacity(BUFFER_BYTES, Counted { raw: Raw::File(file), bytes: 0 });
        let writer = match Compression::of(path) {
            Compression::Gzip => Compressing::Gzip(gathered(GzEncoder::new(counted, flate2::Compression::default()))),
            Compression::Zstd => Compressing::Zstd(gathered(zstd::Encoder::new(counted, ZSTD_LEVEL).map_err(create)?)),
            Compression::None => Compressing::Plain(counted),
        };
        Ok(Self { name: path.display().to_string(), file: Some((path.to_owned(), force)), writer })
    }

    /// A stream that is there already, such as standard output, by its name for messages.
    #[must_use]
    pub fn stream(name: &str, stream: Box<dyn Write + Send>) -> Self {
        let counted = Counted { raw: Raw::Stream(stream), bytes: 0 };
        let writer = Compressing::Plain(BufWriter::with_capacity(BUFFER_BYTES, counted));
        Self { name: name.to_owned(), file: None, writer }
    }

    /// An error of writing to it.
    #[must_use]
    pub fn failed(&self, source: io::Error) -> OutputError {
        OutputError::Write { name: self.name.clone(), source }
    }

    /// Writes all that is left, makes it durable, gives the file its name, and says how many bytes it has.
    ///
    /// # Errors
    /// When something cannot be written, or somebody has made the file meanwhile.
    pub fn finish(self) -> Result<u64, OutputError> {
        let name = self.name;
        let failed = |source| OutputError::Write { name: name.clone(), source };
        let buffered = match self.writer {
            Compressing::Plain(writer) => writer,
            Compressing::Gzip(writer) => last(writer).and_then(GzEncoder::finish).map_err(failed)?,
            Compressing::Zstd(writer) => last(writer).and_then(zstd::Encoder::finish).map_err(failed)?,
        };
        let mut counted = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
        counted.flush().map_err(failed)?;
        if let (Raw::File(file), Some((path, force))) = (counted.raw, self.file) {
            PartialFile { name, path, force, file }.finish()?;
        }
        Ok(counted.bytes)
    }
}

fn gathered<W: Write>(encoder: W) -> BufWriter<W> {
    BufWriter::with_capacity(BUFFER_BYTES, encoder)
}

/// Writes what was gathered, and gives the encoder.
fn last<W: Write>(writer: BufWriter<W>) -> io::Result<W> {
    writer.into_inner().map_err(io::IntoInnerError::into_error)
}

/// A temporary file is its owner's alone by default; an export has the permissions that any new file has.
#[cfg(unix)]
fn open_to_umask(builder: &mut tempfile::Builder<'_, '_>) {
    use std::os::unix::fs::PermissionsExt as _;
    builder.permissions(std::fs::Permissions::from_mode(0o666));
}

#[cfg(not(unix))]
fn open_to_umask(_builder: &mut tempfile::Builder<'_, '_>) {}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Compressing::Plain(writer) => writer.write(bytes),
            Compressing::Gzip(writer) => writer.write(bytes),
            Compressing::Zstd(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.writer {
            Compressing::Plain(writer) => writer.flush(),
            Compressing::Gzip(writer) => writer.flush(),
            Compressing::Zstd(writer) => writer.flush(),
        }
    }
}
