//! What a function talks to, on loopback: the Runtime API, and an S3 that takes everything and keeps nothing.
//!
//! What enters are events; what leaves is when each request came and was answered. One request a connection, one thread a connection.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use journal::documents::JournalDocument;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Heard {
    /// `PUT`, `GET`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// When its first line had come.
    pub at: Instant,
    /// When its answer was written; none while it is not.
    pub answered: Option<Instant>,
}

impl Heard {
    /// How long it waited for its answer.
    #[must_use]
    pub fn answered_after(&self) -> Option<Duration> {
        self.answered.map(|answered| answered.duration_since(self.at))
    }
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<String>,
    heard: Vec<Heard>,
    handed: u64,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both services on one port.
#[derive(Debug)]
pub struct StandIn {
    port: u16,
    shared: Arc<Shared>,
}

impl StandIn {
    /// Starts them.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.lock().ended {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&serving)) else { continue };
                // A connection that breaks is the function's to notice.
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Ok(Self { port, shared })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The function's next event.
    pub fn hand_over(&self, event: String) {
        self.shared.lock().events.push_back(event);
        self.shared.changed.notify_all();
    }

    /// The requests up to the first that `matches`, or none when it does not come in time.
    #[must_use]
    pub fn wait_for(&self, patience: Duration, matches: impl Fn(&Heard) -> bool) -> Option<Vec<Heard>> {
        let lacks = |state: &mut State| !state.heard.iter().any(&matches);
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), patience, lacks);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let at = state.heard.iter().position(&matches)?;
        Some(state.heard.iter().take(at + 1).cloned().collect())
    }

    /// When the `count`th request that `matches` came, or none when it does not come in time.
    #[must_use]
    pub fn wait_for_nth(&self, patience: Duration, count: usize, matches: impl Fn(&Heard) -> bool) -> Option<Instant> {
        let lacks = |state: &mut State| state.heard.iter().filter(|heard| matches(heard)).count() < count;
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), patience, lacks);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.heard.iter().filter(|heard| matches(heard)).nth(count - 1).map(|heard| heard.at)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Serves one request; nothing when the connection or the test ends before.
fn serve(stream: &TcpStream, shared: &Shared) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    let at = Instant::now();
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let number = {
        let mut state = shared.lock();
        state.heard.push(Heard { method: method.clone(), path: path.clone(), at, answered: None });
        shared.changed.notify_all();
        state.heard.len() - 1
    };
    let head = rest_of_head(&mut reader)?;
    if head.iter().any(|(name, _)| name == "expect") {
        write_all(stream, b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    pass_over_body(&mut reader, &head)?;
    let answer = answer(&method, &path, shared)?;
    write_all(stream, answer.as_bytes())?;
    if let Some(heard) = shared.lock().heard.get_mut(number) {
        heard.answered = Some(Instant::now());
    }
    Some(())
}

fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).ok()
}

/// The headers, names in lower case.
fn rest_of_head(reader: &mut BufReader<&TcpStream>) -> Option<Vec<(String, String)>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => head.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => return Some(head),
        }
    }
}

fn pass_over_body(reader: &mut BufReader<&TcpStream>, head: &[(String, String)]) -> Option<()> {
    let of = |name: &str| head.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    if let Some(length) = of("content-length").and_then(|length| length.parse().ok()) {
        return std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok().map(|_| ());
    }
    let mut line = String::new();
    while of("transfer-encoding").is_some() && line != "0\r\n" {
        line.clear();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
    }
    Some(())
}

fn answer(method: &str, path: &str, shared: &Shared) -> Option<String> {
    let whole = |status: &str, headers: &str, body: &str| {
        Some(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
    };
    if path.ends_with("/invocation/next") {
        let (number, event) = next(shared)?;
        let headers = format!(
            "Lambda-Runtime-Aws-Request-Id: {number}\r\nLambda-Runtime-Deadline-Ms: 9999999999999\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:000000000000:function:stream-trigger\r\n\
             Content-Type: application/json\r\n"
        );
        return whole("200 OK", &headers, &event);
    }
    if path.contains("/runtime/") {
        return whole("202 Accepted", "", "");
    }
    match method {
        "PUT" => whole("200 OK", "ETag: \"0\"\r\n", ""),
        "GET" if path.contains("versioning") => {
            let body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
            whole("200 OK", "Content-Type: application/xml\r\n", body)
        }
        "GET" if path.contains("/journal.json") => {
            let body = serde_json::to_string(&JournalDocument::current()).ok()?;
            whole("200 OK", "Content-Type: application/json\r\n", &body)
        }
        "POST" => {
            let body =
                "{\"__type\":\"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException\",\"message\":\"none\"}";
            whole("400 Bad Request", "Content-Type: application/x-amz-json-1.0\r\n", body)
        }
        _ => whole("404 Not Found", "", "<Error><Code>NoSuchKey</Code><Message>nothing is kept</Message></Error>"),
    }
}

/// The next event, when there is one; none when the bench has ended.
fn next(shared: &Shared) -> Option<(u64, String)> {
    let idle = |state: &mut State| state.events.is_empty() && !state.ended;
    let mut state = shared.changed.wait_while(shared.lock(), idle).unwrap_or_else(PoisonError::into_inner);
    let event = state.events.pop_front()?;
    state.handed += 1;
    Some((state.handed, event))
}
