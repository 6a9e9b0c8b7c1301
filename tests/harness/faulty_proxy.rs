//! Stands between an HTTP client and a real service, and fails where a plan says so.
//!
//! One request a connection. What it saw is kept, so that a test can look at headers and count attempts.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What happens to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed before anything is passed on.
    Refuse,
    /// Answered here, with a status and an S3 error code, or a whole body of XML or JSON, instead of being passed on.
    Answer(u16, &'static str),
    /// Passed on and done; the answer never arrives.
    LoseAnswer,
    /// Passed on; the answer's body ends this many bytes too early.
    CutBody(usize),
    /// Never answered: held until the client goes away. Where it says so the request is passed on and done before.
    Stall {
        /// Whether it is done.
        done: bool,
    },
}

/// Decides by the request what happens to it.
type Decide = Box<dyn FnMut(&Seen) -> Option<Fault> + Send>;

/// A request that came by.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `PUT`, `GET`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// When its head had come.
    pub at: Instant,
    /// The body, where it is JSON; of others nothing is kept.
    pub body: Vec<u8>,
}

impl Seen {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct FaultyProxy {
    port: u16,
    state: Arc<Mutex<State>>,
    /// Told of every request and of every stall.
    stalled: Arc<Condvar>,
}

#[derive(Default)]
struct State {
    faults: Vec<(String, Fault)>,
    decide: Option<Decide>,
    seen: Vec<Seen>,
    stalls: u64,
    ended: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("faults", &self.faults).field("stalls", &self.stalls).finish_non_exhaustive()
    }
}

impl FaultyProxy {
    /// A proxy in front of a port on loopback.
    #[must_use]
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let stalled = Arc::<Condvar>::default();
        let stalling = Arc::clone(&stalled);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().ended {
                    return;
                }
                let (Ok(stream), shared, stalling) = (stream, Arc::clone(&shared), Arc::clone(&stalling)) else {
                    continue;
                };
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || {
                    let _ = serve(&stream, upstream, &shared, &stalling);
                });
            }
        });
        Self { port, state, stalled }
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next requests of `method` meet these faults, in this order; those after them meet none.
    pub fn plan(&self, method: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults.into_iter().map(|fault| (method.to_owned(), fault)));
    }

    /// Requests that no plan is about meet what `decide` says.
    pub fn decide(&self, decide: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) {
        self.state.lock().unwrap().decide = Some(Box::new(decide));
    }

    /// Requests that have stalled so far.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.state.lock().unwrap().stalls
    }

    /// Plans no more faults than have happened.
    pub fn forget_plans(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    /// Waits until `count` requests in all have stalled.
    ///
    /// # Panics
    /// When they do not within a minute.
    pub fn wait_for_stalls(&self, count: u64) {
        let waits = |state: &mut State| state.stalls < count;
        let guard = self.state.lock().unwrap();
        let (_state, late) = self.stalled.wait_timeout_while(guard, Duration::from_mins(1), waits).unwrap();
        assert!(!late.timed_out(), "no request stalled");
    }

    /// Waits for a request of `method` that `matches`, and says when its head had come.
    ///
    /// # Panics
    /// When none comes within a minute.
    pub fn wait_for(&self, method: &str, matches: impl Fn(&Seen) -> bool) -> Instant {
        let find = |state: &State| state.seen.iter().find(|seen| seen.method == method && matches(seen)).map(|s| s.at);
        let waits = |state: &mut State| find(state).is_none();
        let guard = self.state.lock().unwrap();
        let (state, _) = self.stalled.wait_timeout_while(guard, Duration::from_mins(1), waits).unwrap();
        find(&state).expect("the request never came")
    }

    /// Whether every planned fault has happened.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state.lock().unwrap().faults.is_empty()
    }

    /// The requests of every method since the last call, which forgets them.
    #[must_use]
    pub fn take_all(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    /// The requests of `method` since the last call, which forgets those of every method.
    #[must_use]
    pub fn take_seen(&self, method: &str) -> Vec<Seen> {
        let mut state = self.state.lock().unwrap();
        std::mem::take(&mut state.seen).into_iter().filter(|seen| seen.method == method).collect()
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(client: &TcpStream, upstream: u16, state: &Mutex<State>, stalled: &Condvar) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let head = read_head(&mut reader)?;
    let Some(mut seen) = parse(&head) else { return Ok(()) };
    if seen.header("expect").is_some() {
        (&*client).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    (&mut reader).take(length).read_to_end(&mut body)?;
    if seen.header("content-type").is_some_and(|kind| kind.contains("json")) {
        seen.body.clone_from(&body);
    }
    let fault = {
        let mut state = state.lock().unwrap();
        let planned = state.faults.iter().position(|(method, _)| *method == seen.method);
        let fault = match planned {
            Some(at) => Some(state.faults.remove(at).1),
            None => state.decide.as_mut().and_then(|decide| decide(&seen)),
        };
        state.seen.push(seen);
        stalled.notify_all();
        fault
    };
    let stall = |reader: &mut BufReader<&TcpStream>| {
        state.lock().unwrap().stalls += 1;
        stalled.notify_all();
        // Ends when the client goes away.
        reader.read(&mut [0]).map(drop)
    };
    match fault {
        Some(Fault::Stall { done: false }) => return stall(&mut reader),
        Some(Fault::Refuse) => return client.shutdown(Shutdown::Both),
        Some(Fault::Answer(status, code)) => {
            let body = if code.starts_with(['<', '{']) {
                code.to_owned()
            } else {
                format!("<Error><Code>{code}</Code><Message>planned</Message></Error>")
            };
            let head = format!("HTTP/1.1 {status} Planned\r\nContent-Length: {}\r\n", body.len());
            return (&*client).write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
        }
        _ => {}
    }
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream))?;
    server.write_all(&single(&head))?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    match fault {
        Some(Fault::LoseAnswer) => {}
        Some(Fault::Stall { .. }) => return stall(&mut reader),
        Some(Fault::CutBody(bytes)) => (&*client).write_all(&answer[..answer.len().saturating_sub(bytes)])?,
        _ => (&*client).write_all(&answer)?,
    }
    client.shutdown(Shutdown::Both)
}

fn read_head(reader: &mut BufReader<&TcpStream>) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

fn parse(head: &[u8]) -> Option<Seen> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let mut request = lines.next()?.split(' ');
    let (method, target) = (request.next()?.to_owned(), request.next()?.to_owned());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Some(Seen { method, target, headers, at: Instant::now(), body: Vec::new() })
}

/// The head with its connection closed after the answer, and nothing to wait for before the body.
fn single(head: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let kept = text.lines().filter(|line| {
        let line = line.to_ascii_lowercase();
        !line.is_empty() && !line.starts_with("connection:") && !line.starts_with("expect:")
    });
    let mut head: Vec<u8> = kept.flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    head
}
