//! What every Lambda function of this project stands on: settings, JSON logs, metrics, one journal and one set of clients a
//! process, and the loop that takes invocations.
//!
//! What enters are the environment and invocations; what leaves are log lines and metric lines on standard output, and an
//! answer or an error for each invocation. Decides nothing about records or tables.
//!
//! # Environment
//!
//! | variable | meaning | without it |
//! |---|---|---|
//! | `JOURNAL_URL` | where the journal lies: `s3://bucket/prefix` | every invocation fails and says so |
//! | `JOURNAL_LOG` | what is logged: `error`, `warn`, `info`, `debug`, `trace`, or `TARGET=LEVEL,…` such as `journal=debug,aws=warn` | `info` |
//! | `AWS_REGION`, credentials, `AWS_LAMBDA_*` | set by Lambda itself | |
//! | `AWS_MAX_ATTEMPTS` | attempts at one request to the journal's bucket | 8 |
//! | `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`, … | other endpoints than AWS's own, for tests | AWS's own |
//!
//! Nothing else is read. A function that makes a journal's first object makes `journal.json` too, so no one needs to run
//! `journal init` for a bucket that is empty under the prefix.
//!
//! # Permissions
//!
//! Of the journal, under its prefix: `s3:GetObject` and `s3:PutObject` on objects, `s3:ListBucket` on the bucket, so that a
//! journal is not begun among other things (without it, or with it for a prefix only, S3 calls a missing object forbidden;
//! whether it is there is then found out by a create-only put), and `s3:GetBucketVersioning`. What one function needs besides is said where it is written: the trigger's in [`crate::trigger`].
//!
//! # Logs
//!
//! One JSON object a line: `timestamp`, `level`, `target`, `message`, the event's fields beside it. Secrets and item
//! contents are in none of them: a record is named by its stream and its sequence number, an object by its key.
//!
//! # Metrics
//!
//! CloudWatch's embedded metric format on standard output, namespace [`NAMESPACE`]; see [`Measurements`].

mod clock;
mod logs;
mod metrics;
mod process;
mod serve;
mod settings;

pub use clock::{Deadline, now, now_milliseconds};
pub use logs::{LogError, set_up_logs};
pub use metrics::{Dimension, Measurements, Metric, NAMESPACE};
pub use process::Process;
pub use serve::{main, refusal};
pub use settings::{FunctionSettings, SettingsError};

/// What the runtime hands to a handler: the payload and the invocation's context.
pub use lambda_runtime::LambdaEvent;
