//! The trigger as it is deployed, a process of its own fed by a Runtime API on loopback: its cold start, and the largest event that Lambda
//! gives, 6 MB with 10,000 records.
//!
//! S3 is a stand-in that takes everything and keeps nothing, so that the time is the function's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bars::{Bar, Row};
use crate::lambda_stand_in::{Heard, StandIn};
use crate::largest_event::{RECORDS, largest_event};
use crate::measure::{self, Spread};
use crate::workload::{Profile, Workload, lambda_document};

use super::Context;

const GROUP: &str = "trigger";
const COLD: &str = "cold start of the function: process start to the first byte of its PUT";
const LARGEST: &str = "an event of 10,000 records in 6 MB";
/// How long a function may take with one event.
const PATIENCE: Duration = Duration::from_mins(1);

/// The rows, where a package is named.
#[must_use]
pub fn rows(context: &Context) -> Vec<Row> {
    match measured(context) {
        Ok(rows) => rows,
        Err(why) => [(COLD, "ms"), (LARGEST, "ms")]
            .map(|(what, unit)| Row::unmeasured(GROUP, what, Bar::None, unit, why.clone()))
            .into(),
    }
}

fn measured(context: &Context) -> Result<Vec<Row>, String> {
    let function = context.function.as_deref().ok_or("no package is named: infra/package builds one")?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let is_package = function.extension().is_some_and(|extension| extension == "zip");
    let (bootstrap, what) = if is_package {
        (unpacked(function, folder.path())?, "the package")
    } else {
        (function.to_owned(), "the program of a release build, not the package")
    };
    let batch = lambda_document(&Workload::new(Profile::w1()).take(100).collect::<Vec<_>>());
    // Once unmeasured: the file is read from the disk then.
    let _ = start_cold(&bootstrap, &batch)?;
    let starts: Vec<Start> =
        (0..context.rounds.max(1)).map(|_| start_cold(&bootstrap, &batch)).collect::<Result<_, _>>()?;
    let of = |value: fn(&Start) -> f64| Spread::of(starts.iter().map(value).collect());
    let (whole, waited, listening) = (of(|start| start.put), of(|start| start.waited), of(|start| start.first_request));
    let own = 100.0 * (1.0 - waited.median / whole.median.max(1e-9));
    let cold = Row::spread(GROUP, COLD, Bar::None, "ms", whole).note(format!(
        "{what}; {own:.0} % of it the process' own, the rest waiting for answers on loopback; its first request leaves after {:.1} ms",
        listening.median
    ));

    let event = largest_event();
    let taken: Vec<Taken> =
        (0..context.rounds.clamp(1, 5)).map(|_| take(&bootstrap, &event)).collect::<Result<_, _>>()?;
    let of = |value: fn(&Taken) -> f64| Spread::of(taken.iter().map(value).collect());
    let bytes = event.len();
    let time = Row::spread(
        GROUP,
        format!("{LARGEST}: from its being handed over to its answer"),
        Bar::None,
        "ms",
        of(|taken| taken.milliseconds),
    )
    .note(format!("{RECORDS} records, {bytes} bytes of JSON, a warm process"));
    let memory =
        Row::spread(GROUP, format!("{LARGEST}: peak memory of the process"), Bar::None, "MB", of(|taken| taken.peak))
            .note(format!("{:.1} MB before it", of(|taken| taken.peak_before).median));
    Ok(vec![cold, time, memory])
}

/// The `bootstrap` of a package.
fn unpacked(zip: &Path, folder: &Path) -> Result<PathBuf, String> {
    measure::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(zip).arg(folder))?;
    let bootstrap = folder.join("bootstrap");
    // That module leaves permissions out.
    measure::run(Command::new("chmod").arg("755").arg(&bootstrap))?;
    Ok(bootstrap)
}

/// A running function, ended when this is dropped.
struct Function(Child);

impl Function {
    fn start(bootstrap: &Path, stand_in: &StandIn) -> Result<Self, String> {
        let endpoint = format!("http://127.0.0.1:{}", stand_in.port());
        let mut command = Command::new(bootstrap);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{}", stand_in.port()))
            .envs([("AWS_LAMBDA_FUNCTION_NAME", "stream-trigger"), ("AWS_LAMBDA_FUNCTION_VERSION", "1")])
            .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"), ("AWS_REGION", "eu-west-1")])
            .envs([("AWS_ACCESS_KEY_ID", "bench"), ("AWS_SECRET_ACCESS_KEY", "bench")])
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("JOURNAL_URL", "s3://bench/journal")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(Self).map_err(|error| format!("{}: {error}", bootstrap.display()))
    }

    /// The most memory that it has had so far, in MB; 0 where the system does not tell.
    fn peak(&self) -> f64 {
        measure::peak_memory_of(&self.0.id().to_string()) / 1e6
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Milliseconds since the process was started.
struct Start {
    first_request: f64,
    put: f64,
    /// Between requests and their answers, until the PUT.
    waited: f64,
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn start_cold(bootstrap: &Path, batch: &str) -> Result<Start, String> {
    let stand_in = StandIn::start()?;
    stand_in.hand_over(batch.to_owned());
    let begun = Instant::now();
    let _function = Function::start(bootstrap, &stand_in)?;
    let heard = stand_in.wait_for(PATIENCE, |heard| heard.method == "PUT").ok_or("the function put nothing")?;
    let put = heard.last().ok_or("no request came")?;
    let waited = heard.iter().filter(|heard| heard.at < put.at).filter_map(Heard::answered_after).sum();
    Ok(Start {
        first_request: heard.first().map_or(0.0, |first| milliseconds(first.at.duration_since(begun))),
        put: milliseconds(put.at.duration_since(begun)),
        waited: milliseconds(waited),
    })
}

/// What the largest event took.
struct Taken {
    milliseconds: f64,
    peak_before: f64,
    peak: f64,
}

fn take(bootstrap: &Path, event: &str) -> Result<Taken, String> {
    let stand_in = StandIn::start()?;
    let function = Function::start(bootstrap, &stand_in)?;
    let answered = |count: usize| {
        let is_answer = |heard: &Heard| heard.method == "POST" && heard.path.ends_with("/response");
        stand_in.wait_for_nth(PATIENCE, count, is_answer).ok_or("the function gave no answer of success")
    };
    stand_in.hand_over("{\"Records\":[]}".to_owned());
    let _ = answered(1)?;
    let peak_before = function.peak();
    let begun = Instant::now();
    stand_in.hand_over(event.to_owned());
    let answer = answered(2)?;
    Ok(Taken { milliseconds: milliseconds(answer.duration_since(begun)), peak_before, peak: function.peak() })
}
