//! Our own programs, run as a user runs them: the built binaries, with their output captured.
//!
//! They are given none of the AWS settings of whoever runs the tests. A program that is still running when its handle is
//! dropped is killed by its process id.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::supervisor::without_settings;

/// For how many minutes a program may run, in a test at full scale; without it, five.
const PATIENCE: &str = "JOURNAL_TEST_PATIENCE_MINUTES";

/// How long a program may run, or a line may be waited for, before the test fails.
fn patience() -> Duration {
    let minutes = std::env::var(PATIENCE).map_or(5, |minutes| minutes.parse().expect("a number of minutes"));
    Duration::from_mins(minutes)
}

/// A program that is about to be run.
#[derive(Debug)]
pub struct Program {
    command: Command,
}

/// `journal`, as built in the same profile as the test.
#[must_use]
pub fn journal() -> Program {
    Program::new(&binary("journal"))
}

/// `replay`, as built in the same profile as the test.
#[must_use]
pub fn replay() -> Program {
    Program::new(&binary("replay"))
}

/// `stream-trigger`, as built in the same profile as the test.
#[must_use]
pub fn stream_trigger() -> Program {
    Program::new(&binary("stream-trigger"))
}

/// Any program.
#[must_use]
pub fn program(path: &std::path::Path) -> Program {
    Program::new(path)
}

/// The path of a built binary. This package builds its own from the same `main.rs`, for building a test builds the programs
/// of its own package alone: so they are never older than the test.
///
/// # Panics
/// When it is not built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().find(|folder| folder.file_name() == Some(OsStr::new("deps")));
    let path = folder.and_then(|folder| folder.parent()).unwrap().join(format!("{name}-under-test"));
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

/// What a program that has ended left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code; none when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Itself, when it ended with 0.
    ///
    /// # Panics
    /// When it did not, with what it printed.
    #[must_use]
    pub fn success(self) -> Self {
        let Self { status, stdout, stderr } = &self;
        assert!(status.success(), "the program ended with {status}\nstandard output:\n{stdout}\nerrors:\n{stderr}");
        self
    }

    /// Itself, when it ended with this exit code.
    ///
    /// # Panics
    /// When it did not, with what it printed.
    #[must_use]
    pub fn failure(self, code: i32) -> Self {
        let Self { status, stdout, stderr } = &self;
        assert!(
            status.code() == Some(code),
            "the program ended with {status} instead of {code}\nstandard output:\n{stdout}\nerrors:\n{stderr}"
        );
        self
    }
}

impl Program {
    fn new(path: &std::path::Path) -> Self {
        let mut command = Command::new(path);
        without_settings(&mut command).env("NO_COLOR", "1").stdin(Stdio::null());
        Self { command }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets variables, as [`crate::ministack::MiniStack::environment`] gives them.
    #[must_use]
    pub fn envs<V: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<std::path::Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Gives it a file as standard input.
    #[must_use]
    pub fn stdin(mut self, file: std::fs::File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Runs it inside another program, such as a shell script that ends in `exec "$@"`.
    #[must_use]
    pub fn inside(self, wrapper: &[&str]) -> Self {
        let (program, arguments) = wrapper.split_first().expect("a wrapper");
        let mut command = Command::new(program);
        without_settings(&mut command).args(arguments).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::null());
        Self { command }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end in time: five minutes, if nothing else is said.
    #[must_use]
    pub fn run(self) -> Finished {
        self.start().wait()
    }

    /// Starts it.
    #[must_use]
    pub fn start(mut self) -> Running {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let stdout = Captured::from(child.stdout.take().unwrap());
        let stderr = Captured::from(child.stderr.take().unwrap());
        Running { child, stdout, stderr }
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of standard output that holds `text` and gives it.
    ///
    /// # Panics
    /// When the output ends without one, or none comes in time, as [`Program::run`].
    #[must_use]
    pub fn wait_for_output(&self, text: &str) -> String {
        self.stdout.wait_for(text).unwrap_or_else(|| panic!("{text:?} was never printed: {}", self.so_far()))
    }

    /// Waits for a line of standard error that holds `text` and gives it.
    ///
    /// # Panics
    /// As [`Running::wait_for_output`].
    #[must_use]
    pub fn wait_for_error(&self, text: &str) -> String {
        self.stderr.wait_for(text).unwrap_or_else(|| panic!("{text:?} was never printed: {}", self.so_far()))
    }

    /// The most memory that it has had so far, in KiB, as Linux tells it.
    #[must_use]
    pub fn memory_peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Sends a signal, such as `INT`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.id().to_string()]).status().unwrap();
        assert!(status.success(), "signal {signal} could not be sent");
    }

    /// Waits until it handles SIGINT itself, sends one, and waits for its end: Ctrl-C at the earliest moment at which the
    /// program, not the system, decides what becomes of it.
    #[must_use]
    pub fn interrupt(mut self) -> Finished {
        let deadline = Instant::now() + patience();
        while self.runs() && !handles_interrupts(self.id()) {
            assert!(Instant::now() < deadline, "the program never listened to signals: {}", self.so_far());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.signal("INT");
        self.wait()
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    #[must_use]
    pub fn kill(mut self) -> Finished {
        self.child.kill().unwrap();
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// As [`Program::run`].
    #[must_use]
    pub fn wait(mut self) -> Finished {
        let deadline = Instant::now() + patience();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the program did not end: {}", self.so_far());
            std::thread::sleep(Duration::from_millis(5));
        };
        Finished { status, stdout: self.stdout.to_end(), stderr: self.stderr.to_end() }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn so_far(&self) -> String {
        format!("standard output:\n{}\nerrors:\n{}", self.stdout.text(), self.stderr.text())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process has a handler for SIGINT, as Linux tells it.
fn handles_interrupts(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    // SIGINT is number 2, the second bit.
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 2 != 0)
}

/// What has come out of a pipe so far.
#[derive(Debug, Clone)]
struct Captured {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    ended: bool,
}

impl Captured {
    fn from(pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<Lines>, Condvar)>::default();
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                writer.0.lock().unwrap().text.push_str(&String::from_utf8_lossy(&line));
                writer.1.notify_all();
                line.clear();
            }
            writer.0.lock().unwrap().ended = true;
            writer.1.notify_all();
        });
        Self { shared }
    }

    fn text(&self) -> String {
        self.shared.0.lock().unwrap().text.clone()
    }

    fn wait_for(&self, text: &str) -> Option<String> {
        let find = |lines: &Lines| lines.text.lines().find(|line| line.contains(text)).map(str::to_owned);
        let waits = |lines: &mut Lines| !lines.ended && find(lines).is_none();
        let (lines, _) = self.shared.1.wait_timeout_while(self.shared.0.lock().unwrap(), patience(), waits).unwrap();
        find(&lines)
    }

    fn to_end(&self) -> String {
        let waits = |lines: &mut Lines| !lines.ended;
        let (lines, _) = self.shared.1.wait_timeout_while(self.shared.0.lock().unwrap(), patience(), waits).unwrap();
        lines.text.clone()
    }
}

/// This test program itself, run again for one ignored test in an environment of its own: the way to test what a process
/// reads from its environment, or what it leaves behind when it is killed.
#[must_use]
pub fn this_test(name: &str) -> Program {
    Program::new(&std::env::current_exe().unwrap()).args([
        "--exact",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
        name,
    ])
}

/// A shell script that ends in `exec "$@"`, around this test program run again for one ignored test.
#[must_use]
pub fn this_test_inside(wrapper: &[&str], name: &str) -> Program {
    let (program, arguments) = wrapper.split_first().expect("a wrapper");
    Program::new(program.as_ref()).args(arguments).arg(std::env::current_exe().unwrap()).args([
        "--exact",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
        name,
    ])
}
