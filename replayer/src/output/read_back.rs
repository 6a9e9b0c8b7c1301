//! Files read back: the state digest of what lies under a file's name now.
//!
//! What enters is a path that an export has given its file; what leaves is the digest of the items in it. Formats that
//! leave types out cannot be read back; their files are read for their bytes alone.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use journal::error::Result;
use journal::model::{Attributes, Image, ItemKey};
use journal::source::attribute::parse_item;

use super::Format;
use super::destination::{Compression, OutputError};
use crate::digest::{ItemHash, StateDigest, to_plain};
use crate::key_schema::KeySchema;

/// The digest of the items in a file; none where the format does not keep types, and for standard output.
///
/// # Errors
/// When the file cannot be read, or is not of that format.
pub fn read_back(path: &Path, format: Format, schema: &KeySchema) -> Result<Option<StateDigest>> {
    let mut digest = StateDigest::default();
    let mut add = |item: Attributes| -> Result<()> {
        digest.add(hash(schema, item)?);
        Ok(())
    };
    match format {
        Format::DynamodbJson => lines(path, &mut add)?,
        #[cfg(feature = "parquet")]
        Format::Parquet => super::parquet::read(path, &mut add)?,
        #[cfg(feature = "sqlite")]
        Format::Sqlite => super::sqlite::read(path, &mut add)?,
        Format::Json | Format::Csv => return Ok(None),
    }
    Ok(Some(digest))
}

/// Reads back what an export wrote and compares; gives whether it could be compared.
///
/// # Errors
/// When the file is not what was written.
pub fn prove(path: &Path, format: Format, schema: &KeySchema, expected: StateDigest) -> Result<bool> {
    match read_back(path, format, schema)? {
        None => Ok(false),
        Some(found) if found == expected => Ok(true),
        Some(found) => Err(OutputError::Differs {
            name: path.display().to_string(),
            found,
            found_items: found.items(),
            expected,
            expected_items: expected.items(),
        }
        .into()),
    }
}

fn hash(schema: &KeySchema, item: Attributes) -> Result<ItemHash> {
    let (key, rest): (Attributes, Attributes) =
        item.into_iter().partition(|(name, _)| schema.attributes().contains(name));
    let key = ItemKey::encode(schema.attributes(), &to_plain(&key))?;
    let image = Image::encode(&to_plain(&rest))?;
    Ok(ItemHash::of_bytes(key.as_bytes(), image.as_bytes()))
}

fn lines(path: &Path, add: &mut impl FnMut(Attributes) -> Result<()>) -> Result<()> {
    let unreadable = |reason: String| OutputError::Unreadable { path: path.to_owned(), reason };
    let io = |error: io::Error| unreadable(error.to_string());
    let file = File::open(path).map_err(io)?;
    let reader: Box<dyn Read> = match Compression::of(path) {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::Decoder::new(file).map_err(io)?),
    };
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(io)? > 0 {
        let item = line.strip_suffix(b"\n").and_then(|line| line.strip_prefix(b"{\"Item\":")?.strip_suffix(b"}"));
        let item = item.ok_or_else(|| unreadable("a line is not {\"Item\":…}".to_owned()))?;
        add(parse_item(item)?)?;
        line.clear();
    }
    Ok(())
}
