//! The Runtime API of Lambda, and a function that it drives: our own binary, started as Lambda starts one.
//!
//! Source: "Using the Lambda runtime API for custom runtimes" in the AWS Lambda Developer Guide. One event at a time is
//! handed out, and its answer waited for; small packets are sent at once, so that no test waits for the network stack.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::processes::{Finished, Program, Running};

/// How long a test waits for an answer before it fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a function answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It succeeded, with this answer.
    Success(Value),
    /// It failed: Lambda would give the event again.
    Failure {
        /// `errorType`.
        kind: String,
        /// `errorMessage`.
        message: String,
    },
}

impl Answer {
    /// Whether it succeeded.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success(_))
    }

    /// Kind and message of a failure.
    ///
    /// # Panics
    /// When it succeeded.
    #[must_use]
    pub fn failure(self) -> (String, String) {
        match self {
            Self::Failure { kind, message } => (kind, message),
            Self::Success(value) => panic!("the function succeeded with {value}"),
        }
    }
}

#[derive(Debug)]
struct Invocation {
    id: String,
    payload: Bytes,
    deadline_milliseconds: u128,
}

type Answers = Arc<Mutex<BTreeMap<String, oneshot::Sender<Answer>>>>;

/// What requests of one process are answered with.
#[derive(Debug)]
struct Shared {
    next: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    answers: Answers,
}

/// A stand-in for the Runtime API of one function.
#[derive(Debug, Default)]
pub struct RuntimeApi {
    endpoint: Option<Endpoint>,
    answers: Answers,
    count: u64,
}

/// Where one process asks for its events. Another process has another: the request of one that was killed waits until its
/// connection is seen to be closed, and would take the next event along.
#[derive(Debug)]
struct Endpoint {
    events: mpsc::UnboundedSender<Invocation>,
    server: tokio::task::JoinHandle<()>,
}

/// An event that was handed over; its answer comes here.
#[derive(Debug)]
pub struct Pending {
    id: String,
    answer: oneshot::Receiver<Answer>,
}

impl RuntimeApi {
    /// Starts `program` as a function of this API, in the place of the one before. `journal` is its `JOURNAL_URL`.
    ///
    /// # Panics
    /// When no port on loopback is free.
    #[must_use]
    pub fn function(&mut self, program: Program, journal: &str) -> Running {
        let (endpoint, port) = Endpoint::start(Arc::clone(&self.answers));
        self.endpoint = Some(endpoint);
        program
            .env("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{port}"))
            .env("AWS_LAMBDA_FUNCTION_NAME", "stream-trigger")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("JOURNAL_URL", journal)
            .start()
    }

    /// Hands an event over that must be answered within `timeout`.
    ///
    /// # Panics
    /// When no function was started.
    pub fn send(&mut self, payload: impl Into<Bytes>, timeout: Duration) -> Pending {
        self.count += 1;
        let id = format!("request-{}", self.count);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let deadline_milliseconds = (now + timeout).as_millis();
        let (sender, answer) = oneshot::channel();
        self.answers.lock().unwrap().insert(id.clone(), sender);
        let endpoint = self.endpoint.as_ref().expect("a function was started");
        endpoint.events.send(Invocation { id: id.clone(), payload: payload.into(), deadline_milliseconds }).unwrap();
        Pending { id, answer }
    }

    /// Hands an event over and waits for the answer.
    ///
    /// # Panics
    /// When none comes.
    pub async fn invoke(&mut self, payload: impl Into<Bytes>) -> Answer {
        let pending = self.send(payload, Duration::from_mins(1));
        self.answer(pending).await
    }

    /// Waits for an answer.
    ///
    /// # Panics
    /// When none comes.
    pub async fn answer(&self, pending: Pending) -> Answer {
        let Pending { id, answer } = pending;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            ended => panic!("the function gave no answer to {id}: {ended:?}"),
        }
    }

    /// Gives up on an event, as Lambda does with a function that it ended: an answer that still comes counts for nothing.
    pub fn give_up(&self, pending: &Pending) {
        self.answers.lock().unwrap().remove(&pending.id);
    }
}

impl Endpoint {
    fn start(answers: Answers) -> (Self, u16) {
        let (events, receiver) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::new(Shared { next: tokio::sync::Mutex::new(receiver), answers }));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (Self { events, server }, port)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let Some(invocation) = shared.next.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", invocation.id),
        ("lambda-runtime-deadline-ms", invocation.deadline_milliseconds.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:000000000000:function:stream-trigger".to_owned(),
        ),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0".to_owned()),
        ("content-type", "application/json".to_owned()),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    (headers, invocation.payload).into_response()
}

async fn response(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    shared.tell(&id, Answer::Success(value))
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    shared.tell(&id, Answer::Failure { kind: text("errorType"), message: text("errorMessage") })
}

impl Shared {
    fn tell(&self, id: &str, answer: Answer) -> StatusCode {
        if let Some(sender) = self.answers.lock().unwrap().remove(id) {
            // Whoever asked may have gone.
            let _ = sender.send(answer);
        }
        StatusCode::ACCEPTED
    }
}

/// The metric lines and the log lines of a function's output. Every line must be JSON.
///
/// # Panics
/// When one is not.
#[must_use]
pub fn output_of(finished: &Finished) -> (Vec<Value>, Vec<Value>) {
    let lines = finished.stdout.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("not a JSON line: {line:?}: {error}"))
    });
    lines.partition(|line| line.get("_aws").is_some())
}
