//! The built command lines, run as processes of their own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The `journal` command, its environment free of settings for a journal or for AWS.
#[must_use]
pub fn journal() -> Command {
    command("journal")
}

/// The `replay` command, its environment free of settings for a journal or for AWS.
#[must_use]
pub fn replay() -> Command {
    command("replay")
}

fn command(name: &str) -> Command {
    let mut command = Command::new(binary(name));
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("AWS_") || text.starts_with("JOURNAL_") {
            command.env_remove(&variable);
        }
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null());
    command
}

/// Where a command of this build lies. They are built with this package, from the same `main.rs`, so that they are never
/// older than the tests.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_default();
    let folder = tests.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let path = folder.join(format!("{name}-under-test"));
    assert!(path.exists(), "{} was not built", path.display());
    path
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn output(command: &mut Command) -> Output {
    match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// Runs a command that must succeed; gives what it wrote to standard output.
///
/// # Panics
/// When it cannot be run or fails.
#[must_use]
pub fn succeed(command: &mut Command) -> Vec<u8> {
    let output = output(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    output.stdout
}

/// Adds arguments, for one-line calls.
pub fn with<S: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = S>) -> Command {
    command.args(arguments);
    command
}
