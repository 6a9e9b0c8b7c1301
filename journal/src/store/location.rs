//! Where a journal lies, read from the text a user gives: `file:///path` or `s3://bucket/prefix`.
//!
//! Only the text is looked at here; whether anything is there is found out by opening it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{StoreError, key};

/// The longest prefix in a bucket: it leaves room for the longest name of a segment below the longest name of a table.
const PREFIX_BYTES_MAX: usize = 400;

/// A parsed location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder on this machine.
    File {
        /// Absolute.
        path: PathBuf,
    },
    /// A bucket, and where in it.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// Empty, or key parts without `/` at the end.
        prefix: String,
    },
}

impl Location {
    /// Reads a location. `file://localhost/path` is `file:///path`; `%` and two hex digits stand for a byte of a path.
    ///
    /// # Errors
    /// [`StoreError::Location`] with the form that was probably meant.
    pub fn parse(location: &str) -> Result<Self, StoreError> {
        let refuse = |reason: String| StoreError::Location { location: location.to_owned(), reason };
        match location.split_once("://") {
            Some(("file", rest)) => parse_file(rest).map_err(refuse),
            Some(("s3", rest)) => parse_s3(rest).map_err(refuse),
            Some((scheme, _)) => Err(refuse(format!("{scheme}:// is not known, only file:// and s3:// are"))),
            None if location.trim().is_empty() => Err(refuse("it is empty".to_owned())),
            None if location.starts_with("s3:") || location.starts_with("file:") => {
                Err(refuse("two slashes must follow the colon: file:///path, s3://bucket/prefix".to_owned()))
            }
            None => Err(refuse(path_as_given(location))),
        }
    }
}

/// The location of a folder, as [`Location::parse`] reads it.
///
/// # Errors
/// When the path cannot be made absolute or is not Unicode.
pub fn file_url(path: &Path) -> Result<String, StoreError> {
    let refuse = |reason: &str| StoreError::Location {
        location: path.to_string_lossy().into_owned(),
        reason: reason.to_owned(),
    };
    let absolute = std::path::absolute(path).map_err(|error| refuse(&error.to_string()))?;
    let text = absolute.to_str().ok_or_else(|| refuse("the path is not Unicode"))?;
    Ok(text.chars().fold("file://".to_owned(), |mut url, character| {
        if character.is_ascii_control() || matches!(character, ' ' | '%' | '#' | '?' | '"') {
            let _ = write!(url, "%{:02X}", u32::from(character));
        } else {
            url.push(character);
        }
        url
    }))
}

/// What to say of a path that came without `file://`.
fn path_as_given(path: &str) -> String {
    match file_url(Path::new(path)) {
        Ok(url) => format!("a folder is given as a URL: {url}"),
        Err(_) => "a folder is given as a URL: file:///path".to_owned(),
    }
}

fn parse_file(rest: &str) -> Result<Location, String> {
    let rest = match rest.strip_prefix("localhost/") {
        Some(_) => rest.trim_start_matches("localhost"),
        None => rest,
    };
    if rest.is_empty() {
        return Err("the path is missing: file:///path".to_owned());
    }
    if !rest.starts_with('/') {
        return Err(format!("the path must be absolute, with three slashes; {}", path_as_given(rest)));
    }
    let path = decode_percent(rest)?;
    if path.contains('\0') {
        return Err("the path has a zero byte".to_owned());
    }
    Ok(Location::File { path: PathBuf::from(path) })
}

fn decode_percent(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let value = match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        bytes.push(value.ok_or("a % is not followed by two hex digits; a % itself is written %25")?);
    }
    String::from_utf8(bytes).map_err(|_| "the decoded path is not UTF-8".to_owned())
}

fn parse_s3(rest: &str) -> Result<Location, String> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err("the bucket is missing: s3://bucket/prefix".to_owned());
    }
    // The rules of buckets made since 2018 (Amazon S3 user guide, "Bucket naming rules"). Older names with capitals or
    // underscores cannot be part of a host name, so no request to them would ever succeed.
    let usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(usual) {
        return Err(format!("{bucket:?} is not a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens"));
    }
    if prefix.is_empty() {
        return Ok(Location::S3 { bucket: bucket.to_owned(), prefix: String::new() });
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    key::check(prefix).map_err(|error| error.to_string())?;
    if prefix.len() > PREFIX_BYTES_MAX {
        return Err(format!("the prefix is longer than {PREFIX_BYTES_MAX} bytes"));
    }
    Ok(Location::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Location {
        Location::File { path: PathBuf::from(path) }
    }

    fn s3(bucket: &str, prefix: &str) -> Location {
        Location::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }

    fn reason(location: &str) -> String {
        match Location::parse(location) {
            Err(StoreError::Location { reason, .. }) => reason,
            other => panic!("{location}: {other:?}"),
        }
    }

    #[test]
    fn locations_read_as_they_are_meant() {
        assert_eq!(Location::parse("file:///var/journal").unwrap(), file("/var/journal"));
        assert_eq!(Location::parse("file://localhost/var/j").unwrap(), file("/var/j"));
        assert_eq!(Location::parse("file:///my%20notes/100%25/%C3%A9").unwrap(), file("/my notes/100%/é"));
        assert_eq!(Location::parse("file:///plain é#1?").unwrap(), file("/plain é#1?"));
        assert_eq!(Location::parse("s3://bucket").unwrap(), s3("bucket", ""));
        assert_eq!(Location::parse("s3://bucket/").unwrap(), s3("bucket", ""));
        assert_eq!(Location::parse("s3://my.bucket-1/a/b/").unwrap(), s3("my.bucket-1", "a/b"));
    }

    #[test]
    fn a_path_without_a_scheme_is_answered_with_the_right_form() {
        assert_eq!(reason("/var/my journal"), "a folder is given as a URL: file:///var/my%20journal");
        let here = std::env::current_dir().unwrap();
        assert!(reason("journal").contains(&file_url(&here.join("journal")).unwrap()));
        assert!(reason("file://journal").contains("must be absolute"));
        assert!(reason("file://journal").contains("file:///"));
        assert!(reason("file:/var/j").contains("two slashes"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in ["", "  ", "http://x/y", "file://", "file:///a%2", "file:///a%zz", "file:///a%ff", "file:///a%00"] {
            reason(bad);
        }
        for bad in ["s3://", "s3:///prefix", "s3://a b/c", "s3://bkt/a//b", "s3://bkt/../c", "s3://bkt//"] {
            reason(bad);
        }
        for bad in ["my_bucket", "MyBucket", "ab", &"a".repeat(64)] {
            assert!(reason(&format!("s3://{bad}/prefix")).contains("3 to 63 lower-case letters"));
        }
    }

    #[test]
    fn a_path_made_into_a_url_reads_back() {
        for path in ["/a b/%41/#?\"", "/plain/é", "/line\nend"] {
            let url = file_url(Path::new(path)).unwrap();
            assert_eq!(Location::parse(&url).unwrap(), file(path));
        }
    }
}
