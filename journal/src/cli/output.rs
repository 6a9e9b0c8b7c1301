//! Standard output and standard error, the one place that writes to them.
//!
//! What enters is finished text; what leaves are bytes. A reader that went away, as `head` does, ends the process
//! quietly; any other failure is an error, for a result that was not printed was not given.

use std::io::{self, Write as _};

use serde::Serialize;
use thiserror::Error;

use crate::error::{Classify, Kind};

/// What a shell shows for a process that wrote to a closed pipe: 128 and SIGPIPE.
const CLOSED_PIPE_EXIT_CODE: i32 = 141;

/// Standard output could not be written.
#[derive(Debug, Error)]
#[error("writing to standard output")]
pub struct OutputError {
    source: io::Error,
}

impl Classify for OutputError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hint(&self) -> Option<String> {
        Some("check where the output goes, then run the same command again".to_owned())
    }
}

fn checked(result: io::Result<()>) -> Result<(), OutputError> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(CLOSED_PIPE_EXIT_CODE),
        Err(source) => Err(OutputError { source }),
    }
}

/// Prints text to standard output as it is, and flushes.
///
/// # Errors
/// When it cannot be written. A closed pipe ends the process.
pub fn print(text: &str) -> Result<(), OutputError> {
    print_bytes(text.as_bytes())
}

/// Prints a line to standard output.
///
/// # Errors
/// As [`print()`].
pub fn line(text: &str) -> Result<(), OutputError> {
    print(&format!("{text}\n"))
}

/// Prints a document as pretty JSON with a line end.
///
/// # Errors
/// As [`print()`].
pub fn json<T: Serialize>(document: &T) -> Result<(), OutputError> {
    let text = serde_json::to_string_pretty(document).map_err(|error| OutputError { source: error.into() })?;
    line(&text)
}

/// Prints bytes to standard output, and flushes.
///
/// # Errors
/// As [`print()`].
pub fn print_bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    checked(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// A writer to standard output that ends the process when the pipe is closed: for what streams.
#[derive(Debug, Default)]
pub struct Stdout(());

impl io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write(bytes);
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(CLOSED_PIPE_EXIT_CODE),
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match io::stdout().lock().flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(CLOSED_PIPE_EXIT_CODE),
            other => other,
        }
    }
}

/// Prints a line to standard error, above a progress bar if there is one. Nobody can be told when that fails.
pub fn note(text: &str) {
    super::progress::suspended(|| {
        let _ = writeln!(io::stderr().lock(), "{text}");
    });
}
