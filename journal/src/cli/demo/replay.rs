//! Runs the program `replay` that lies beside this one: the write side does not depend on the read side.

use std::path::PathBuf;
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

impl Replay {
    /// Looks for the program.
    ///
    /// # Errors
    /// When it is not beside this one.
    pub(super) fn find() -> Result<PathBuf, DemoError> {
        let name = format!("replay{}", std::env::consts::EXE_SUFFIX);
        let own = std::env::current_exe();
        let own = own.map_err(|source| DemoError::Run { path: PathBuf::from("journal"), source })?;
        let path = own.with_file_name(name);
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
