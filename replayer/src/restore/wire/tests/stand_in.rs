//! A server on loopback that answers every request as a test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) line: String,
    /// Names in lower case, in the order in which they came.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The client's port: which connection it was.
    pub(super) connection: u16,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What a request gets.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// A whole answer.
    Whole { status: u16, headers: Vec<(String, String)>, body: String },
    /// The connection ends without a word.
    Reset,
    /// The answer begins, and ends too early.
    Cut,
    /// Nothing, until the client goes away.
    Silent,
}

impl Reply {
    pub(super) fn ok(body: &str) -> Self {
        Self::Whole { status: 200, headers: Vec::new(), body: body.to_owned() }
    }

    pub(super) fn error(status: u16, body: &str) -> Self {
        Self::Whole { status, headers: Vec::new(), body: body.to_owned() }
    }

    /// With a header more.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Whole { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

/// Says what the request gets that is the so many-th, counted from one.
type Answer = dyn FnMut(&Request, usize) -> Reply + Send;

struct Shared {
    answer: Mutex<Box<Answer>>,
    seen: Mutex<Vec<Request>>,
    more: Notify,
    ended: Mutex<bool>,
}

/// A running server. It ends when this is dropped.
pub(super) struct StandIn {
    port: u16,
    shared: Arc<Shared>,
}

impl StandIn {
    pub(super) fn start(answer: impl FnMut(&Request, usize) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            answer: Mutex::new(Box::new(answer)),
            seen: Mutex::default(),
            more: Notify::new(),
            ended: Mutex::new(false),
        });
        let inner = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *inner.ended.lock().unwrap() {
                    return;
                }
                let inner = Arc::clone(&inner);
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || serve(stream, &inner));
            }
        });
        Self { port, shared }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub(super) async fn has_seen(&self, requests: usize) {
        loop {
            let more = self.shared.more.notified();
            if self.shared.seen.lock().unwrap().len() >= requests {
                return;
            }
            more.await;
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        *self.shared.ended.lock().unwrap() = true;
        // Wakes the thread that accepts.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let connection = stream.peer_addr()?.port();
    stream.set_nodelay(true)?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    while let Some(request) = read(&mut from, connection)? {
        let number = {
            let mut seen = shared.seen.lock().unwrap();
            seen.push(request.clone());
            seen.len()
        };
        let reply = (shared.answer.lock().unwrap())(&request, number);
        shared.more.notify_waiters();
        shared.more.notify_one();
        match reply {
            Reply::Whole { status, headers, body } => {
                let headers: String =
                    headers.iter().flat_map(|(name, value)| [name.as_str(), ": ", value.as_str(), "\r\n"]).collect();
                let length = body.len();
                write!(to, "HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n{body}")?;
            }
            Reply::Reset => return to.shutdown(Shutdown::Both),
            Reply::Cut => {
                write!(to, "HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{{\"Unproc")?;
                return to.shutdown(Shutdown::Both);
            }
            Reply::Silent => {
                // Until the client closes it.
                let _ = from.read_to_end(&mut Vec::new());
                return Ok(());
            }
        }
    }
    Ok(())
}

fn read(from: &mut BufReader<TcpStream>, connection: u16) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let line = line.trim_end().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        from.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(Request { line, headers, body, connection }))
}
