//! Stands before a DynamoDB like a table with a small write capacity on a bad network: leaves items unprocessed, throttles, fails
//! with 500, resets connections before and after the write is done.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

/// What it has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Items written.
    pub(crate) taken: u64,
    pub(crate) unprocessed: u64,
    pub(crate) throttled: u64,
    pub(crate) failed: u64,
    pub(crate) reset: u64,
    pub(crate) lost: u64,
}

struct State {
    counts: Counts,
    requests: u64,
    budget: f64,
    refilled: Option<Instant>,
}

/// A running proxy.
pub(crate) struct Throttle {
    port: u16,
    state: Arc<Mutex<State>>,
    ended: Arc<std::sync::atomic::AtomicBool>,
}

impl Throttle {
    /// Before a port on loopback, for a table that takes so many items a second.
    pub(crate) fn start(upstream: u16, items_per_second: f64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { counts: Counts::default(), requests: 0, budget: items_per_second, refilled: None };
        let state = Arc::new(Mutex::new(state));
        let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&state), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { continue };
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || {
                    let _ = serve(&stream, upstream, items_per_second, &shared);
                });
            }
        });
        Self { port, state, ended }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().unwrap().counts.clone()
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.ended.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

enum Fate {
    Pass,
    /// Only so many of the items are taken.
    Part(usize),
    Throttle,
    Fail,
    Reset,
    LoseAnswer,
}

impl State {
    fn decide(&mut self, items: usize, items_per_second: f64) -> Fate {
        let now = Instant::now();
        let elapsed = self.refilled.map_or(0.0, |before| (now - before).as_secs_f64());
        self.refilled = Some(now);
        // Like DynamoDB's burst capacity, but a second of it.
        self.budget = (self.budget + elapsed * items_per_second).min(items_per_second.max(25.0));
        self.requests += 1;
        let taken =
            (0..=items).rev().find(|items| f64::from(u32::try_from(*items).unwrap()) <= self.budget).unwrap_or(0);
        let fate = match self.requests % 40 {
            11 => Fate::Reset,
            23 => Fate::Fail,
            37 => Fate::LoseAnswer,
            _ if taken == 0 => Fate::Throttle,
            _ if taken < items => Fate::Part(taken),
            _ => Fate::Pass,
        };
        let used = match fate {
            Fate::Pass | Fate::LoseAnswer => items,
            Fate::Part(taken) => taken,
            _ => 0,
        };
        self.budget -= f64::from(u32::try_from(used).unwrap());
        self.counts.taken += u64::try_from(used).unwrap();
        let counts = &mut self.counts;
        match fate {
            Fate::Part(_) => counts.unprocessed += 1,
            Fate::Throttle => counts.throttled += 1,
            Fate::Fail => counts.failed += 1,
            Fate::Reset => counts.reset += 1,
            Fate::LoseAnswer => counts.lost += 1,
            Fate::Pass => {}
        }
        fate
    }
}

fn serve(client: &TcpStream, upstream: u16, items_per_second: f64, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        let found =
            text.lines().filter_map(|line| line.split_once(':')).find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    (&mut reader).take(length).read_to_end(&mut body)?;
    let writes = header("x-amz-target").is_some_and(|target| target.ends_with("BatchWriteItem"));
    if !writes {
        return answer(client, &forward(upstream, &text, &body)?);
    }
    let mut request: Value = serde_json::from_slice(&body)?;
    let (table, items) = request["RequestItems"].as_object().and_then(|tables| tables.iter().next()).unwrap();
    let (table, items) = (table.clone(), items.as_array().unwrap().clone());
    let fate = state.lock().unwrap().decide(items.len(), items_per_second);
    match fate {
        Fate::Pass => answer(client, &forward(upstream, &text, &body)?),
        Fate::Part(taken) => {
            let (now, later) = items.split_at(taken);
            request["RequestItems"] = json!({ table.as_str(): now });
            forward(upstream, &text, request.to_string().as_bytes())?;
            answer(client, &whole(200, &json!({ "UnprocessedItems": { table.as_str(): later } })))
        }
        Fate::Throttle => {
            let code = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
            answer(client, &whole(400, &json!({"__type": code, "message": "slow down"})))
        }
        Fate::Fail => answer(client, &whole(500, &json!({"__type": "InternalServerError", "message": "no"}))),
        Fate::Reset => client.shutdown(Shutdown::Both),
        Fate::LoseAnswer => {
            forward(upstream, &text, &body)?;
            client.shutdown(Shutdown::Both)
        }
    }
}

fn answer(mut client: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes)?;
    client.shutdown(Shutdown::Both)
}

fn whole(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let kind = "Content-Type: application/x-amz-json-1.0";
    format!("HTTP/1.1 {status} X\r\n{kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn forward(upstream: u16, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream))?;
    let kept = head.lines().filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.is_empty() && !["connection:", "expect:", "content-length:"].iter().any(|name| line.starts_with(name))
    });
    let mut request: Vec<u8> = kept.flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
    request.extend_from_slice(format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()).as_bytes());
    server.write_all(&request)?;
    server.write_all(body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}
