//! A service asked over plain HTTP: nothing of our client lies between a test and what it looks at.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::Value;

/// Asks a DynamoDB on loopback. What it answers, or its refusal.
pub(crate) fn try_call(port: u16, operation: &str, body: &Value) -> Result<Value, String> {
    let body = body.to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-amz-json-1.0\r\n\
         X-Amz-Target: DynamoDB_20120810.{operation}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=test/20200101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{operation}: {answer:?}"));
    if head.split(' ').nth(1) == Some("200") {
        Ok(serde_json::from_str(body).unwrap_or_else(|error| panic!("{operation}: {error}: {answer}")))
    } else {
        Err(body.to_owned())
    }
}

/// As [`try_call`], of what is not refused.
#[track_caller]
pub(crate) fn call(port: u16, operation: &str, body: &Value) -> Value {
    try_call(port, operation, body).unwrap_or_else(|refusal| panic!("{operation}: {refusal}"))
}
