//! Stands between an HTTP client and a real service, and fails where a plan says so.
//!
//! One request a connection. What it saw is kept, so that a test can look at headers and count attempts.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What happens to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed before anything is passed on.
    Refuse,
    /// Answered here, with a status and an S3 error code, or a whole XML body, instead of being passed on.
    Answer(u16, &'static str),
    /// Passed on and done; the answer never arrives.
    LoseAnswer,
    /// Passed on; the answer's body ends this many bytes too early.
    CutBody(usize),
}

/// A request that came by.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `PUT`, `GET`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
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
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<(String, Fault)>,
    seen: Vec<Seen>,
    ended: bool,
}

impl FaultyProxy {
    /// A proxy in front of a port on loopback.
    #[must_use]
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().ended {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { continue };
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || {
                    let _ = serve(&stream, upstream, &shared);
                });
            }
        });
        Self { port, state }
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

    /// Whether every planned fault has happened.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state.lock().unwrap().faults.is_empty()
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
        self.state.lock().unwrap().ended = true;
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(client: &TcpStream, upstream: u16, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let head = read_head(&mut reader)?;
    let Some(seen) = parse(&head) else { return Ok(()) };
    if seen.header("expect").is_some() {
        (&*client).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    (&mut reader).take(length).read_to_end(&mut body)?;
    let fault = {
        let mut state = state.lock().unwrap();
        let planned = state.faults.iter().position(|(method, _)| *method == seen.method);
        state.seen.push(seen);
        planned.map(|at| state.faults.remove(at).1)
    };
    match fault {
        Some(Fault::Refuse) => return client.shutdown(Shutdown::Both),
        Some(Fault::Answer(status, code)) => {
            let body = if code.starts_with('<') {
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
    Some(Seen { method, target, headers })
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
