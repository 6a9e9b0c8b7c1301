//! A server that does nothing with what it is sent: what a client costs is left over.
//!
//! It runs as a process of its own, so that its processor time is not the client's. It reads a request as far as its
//! framing says, looks at nothing of it, and answers as `BatchWriteItem` does when all was written.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const ANSWER: &str = r#"{"UnprocessedItems":{}}"#;

/// A running null server. It ends when this is dropped, or with the process: it waits for its standard input to close.
#[derive(Debug)]
pub struct NullServer {
    child: Child,
    port: u16,
}

impl NullServer {
    /// Starts this program again as a null server.
    ///
    /// # Errors
    /// When it cannot be started or names no port.
    pub fn start() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .arg("null-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        let read = child.stdout.as_mut().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        if let (Some(Ok(_)), Ok(port)) = (read, line.trim().parse()) {
            return Ok(Self { child, port });
        }
        let _ = child.kill();
        let _ = child.wait();
        Err("the null server names no port".to_owned())
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves on a free port of loopback, prints the port, and ends when standard input does.
///
/// # Errors
/// When no port can be had.
pub fn serve() -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    println!("{}", listener.local_addr().map_err(|error| error.to_string())?.port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away ends its thread.
            std::thread::spawn(move || answer_all(stream));
        }
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

fn answer_all(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nx-amz-crc32: {}\r\nContent-Length: {}\r\n\r\n{ANSWER}",
        crc32fast::hash(ANSWER.as_bytes()),
        ANSWER.len()
    );
    let mut reader = BufReader::with_capacity(1 << 18, stream.try_clone()?);
    let mut line = String::new();
    loop {
        let mut length = 0u64;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim_end().is_empty() {
                    break;
                }
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        stream.write_all(answer.as_bytes())?;
    }
}
