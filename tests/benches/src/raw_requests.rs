//! `R_restore`: prepared `BatchWriteItem` requests over raw connections, as fast as the server answers.
//!
//! What enters are items as DynamoDB JSON; what leaves is how long the server took for them. Nothing is signed, paced,
//! encoded or tried again: a server that leaves items unprocessed cannot be measured this way, and that is an error.

use std::io::{BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Items in a request.
const BATCH: usize = 25;

/// Requests, whole: head and body.
#[derive(Debug)]
pub struct Prepared(Vec<Vec<u8>>);

impl Prepared {
    /// Puts of `items`, each as DynamoDB JSON, into `table`.
    #[must_use]
    pub fn new(port: u16, table: &str, items: &[String]) -> Self {
        let request = |batch: &[String]| {
            let puts: Vec<String> = batch.iter().map(|item| format!(r#"{{"PutRequest":{{"Item":{item}}}}}"#)).collect();
            let body = format!(r#"{{"RequestItems":{{"{table}":[{}]}}}}"#, puts.join(","));
            let head = format!(
                "POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Target: \
                 DynamoDB_20120810.BatchWriteItem\r\nX-Amz-Date: 20261122T100000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
                 Credential=test/20261122/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            [head.into_bytes(), body.into_bytes()].concat()
        };
        Self(items.chunks(BATCH).map(request).collect())
    }

    /// Sends all of them over so many connections at once.
    ///
    /// # Errors
    /// When a connection breaks, or an answer is not that all was written.
    pub fn send(&self, port: u16, connections: usize) -> Result<(), String> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections).map(|_| scope.spawn(|| self.connection(port, &next))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread was lost".to_owned())?)
        })
    }

    fn connection(&self, port: u16, next: &AtomicUsize) -> Result<(), String> {
        let broken = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let mut reader = BufReader::new(stream.try_clone().map_err(broken)?);
        while let Some(request) = self.0.get(next.fetch_add(1, Ordering::Relaxed)) {
            stream.write_all(request).map_err(broken)?;
            let (status, body) = answer(&mut reader).map_err(broken)?;
            let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let left = said.get("UnprocessedItems").and_then(serde_json::Value::as_object);
            if status != "200" || left.is_none_or(|left| !left.is_empty()) {
                return Err(format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)])));
            }
        }
        Ok(())
    }
}

fn answer(reader: &mut impl std::io::BufRead) -> std::io::Result<(String, Vec<u8>)> {
    let (mut status, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end();
        match text.split_once(':') {
            _ if text.is_empty() => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
            }
            _ if status.is_empty() => text.split(' ').nth(1).unwrap_or_default().clone_into(&mut status),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((status, body))
}
