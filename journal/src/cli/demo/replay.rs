//! Runs the program `replay` that lies beside this one: the write side does not depend on the read side.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::error::DemoError;
use crate::embedded;

/// Settings that would lead `replay` away from the embedded endpoint.
const MISLEADING: [&str; 4] =
    ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_ENDPOINT_URL"];

/// The program and its surroundings.
#[derive(Debug)]
pub(super) struct Replay {
    program: PathBuf,
    location: String,
    endpoint: String,
}

/// Where `replay` lies beside a program: what the name has behind `journal`, such as an ending or a version, it has too, so that both are of
/// one build.
fn beside(own: &Path) -> PathBuf {
    let rest = own.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("journal"));
    own.with_file_name(format!("replay{}", rest.unwrap_or(std::env::consts::EXE_SUFFIX)))
}

impl Replay {
    /// Looks for the program.
    ///
    /// # Errors
    /// When it is not beside this one.
    pub(super) fn find() -> Result<PathBuf, DemoError> {
        let own = std::env::current_exe();
        let own = own.map_err(|source| DemoError::Run { path: PathBuf::from("journal"), source })?;
        let path = beside(&own);
        if path.is_file() { Ok(path) } else { Err(DemoError::NoReplay { path }) }
    }

    pub(super) fn new(program: PathBuf, location: &str, endpoint: &str) -> Self {
        Self { program, location: location.to_owned(), endpoint: endpoint.to_owned() }
    }

    /// Runs it with its arguments, split at spaces, and gives what it printed on both streams.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String, DemoError> {
        let mut command = Command::new(&self.program);
        for name in MISLEADING {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env("JOURNAL_URL", &self.location)
            .envs(embedded::environment(&self.endpoint))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await;
        let output = output.map_err(|source| DemoError::Run { path: self.program.clone(), source })?;
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        if output.status.success() {
            return Ok(printed);
        }
        let command = format!("replay {}", arguments.join(" "));
        Err(DemoError::Replay { command, status: output.status, printed: printed.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replay_is_looked_for_under_the_name_that_goes_with_ones_own() {
        for (own, expected) in [
            ("bin/journal", "bin/replay"),
            ("bin/journal.exe", "bin/replay.exe"),
            ("bin/journal-1.2", "bin/replay-1.2"),
            ("target/debug/journal-under-test", "target/debug/replay-under-test"),
        ] {
            assert_eq!(beside(Path::new(own)), Path::new(expected));
        }
        assert_eq!(beside(Path::new("bin/j")), Path::new("bin/replay").with_extension(std::env::consts::EXE_EXTENSION));
    }
}
