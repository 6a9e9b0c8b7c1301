//! Runs a service so that it ends with the test process, also when that is killed and no destructor runs.
//!
//! The service and a small shell share a process group. The shell waits on a pipe that only the test process holds: when
//! the pipe closes, for whatever reason, the shell ends the group; when the service ends, the group ends too, so that a
//! waiting test can see it.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `kill 0` reaches the shell itself too, which is why nothing comes after it.
const SCRIPT: &str = r#"{ "$@" </dev/null; kill -KILL 0; } & cat >/dev/null; kill -KILL 0"#;

/// A running service.
#[derive(Debug)]
pub(crate) struct Supervised {
    shell: Child,
    log: tempfile::NamedTempFile,
}

impl Supervised {
    /// Starts `program`. `prepare` sets its environment and folder.
    pub(crate) fn start<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).arg(program).args(arguments);
        command.stdin(Stdio::piped()).stdout(log.reopen().unwrap()).stderr(log.reopen().unwrap());
        command.process_group(0);
        prepare(&mut command);
        let shell = command.spawn().expect("sh starts");
        Self { shell, log }
    }

    /// What the service printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Whether the service still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.shell.try_wait(), Ok(None))
    }

    /// Waits until `ready` says so. False when the service ended first; a service that does neither within a minute is a
    /// failure, told with its log.
    pub(crate) fn wait_until(&mut self, ready: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if !self.runs() {
                return false;
            }
            if ready() {
                // Somebody else may have answered on the port that this one then could not take.
                return self.runs();
            }
            assert!(Instant::now() < deadline, "the service was not ready within a minute; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            let mut error = std::io::stderr();
            let _ = writeln!(error, "the last lines of the service's log:");
            for line in tail.iter().rev() {
                let _ = writeln!(error, "    {line}");
            }
        }
    }
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Whether a GET of `path` is answered with 200.
pub(crate) fn answers(port: u16, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let mut start = [0; 12];
    stream.write_all(request.as_bytes()).is_ok() && stream.read_exact(&mut start).is_ok() && &start[9..] == b"200"
}

/// Takes away every setting by which AWS, or a journal of the person who runs the tests, would be reached.
pub(crate) fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("AWS_") || text.starts_with("JOURNAL_") || text.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(&name);
        }
    }
    command
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
}
