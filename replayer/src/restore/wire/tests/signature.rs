//! Signature Version 4 computed from a request as it arrived, by the steps of AWS's documentation ("Create a signed AWS API
//! request") and by nothing that signs here.

use sha2::{Digest as _, Sha256};

use super::stand_in::Request;
use crate::state::to_hex;

fn hash(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

/// RFC 2104 over SHA-256, for keys of at most a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ byte).collect() };
    let inner = Sha256::digest([pad(0x36), message.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

fn parts(request: &Request) -> Vec<(&str, &str)> {
    let text = request.header("authorization").unwrap().strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
    text.split(',').map(|part| part.trim().split_once('=').unwrap()).collect()
}

fn part<'a>(request: &'a Request, name: &str) -> &'a str {
    parts(request).into_iter().find(|(found, _)| *found == name).unwrap().1
}

/// The signature that the request has.
pub(super) fn claimed(request: &Request) -> String {
    part(request, "Signature").to_owned()
}

/// The signature that it must have.
pub(super) fn of(request: &Request, secret: &str) -> String {
    let signed = part(request, "SignedHeaders");
    for name in ["host", "x-amz-date", "x-amz-target", "x-amz-security-token"] {
        assert!(signed.split(';').any(|found| found == name), "{name} is not signed");
    }
    let headers: String = signed.split(';').flat_map(|name| [name, ":", request.header(name).unwrap(), "\n"]).collect();
    let canonical = format!("POST\n/\n\n{headers}\n{signed}\n{}", hash(&request.body));
    let scope = part(request, "Credential").split_once('/').unwrap().1;
    let date = request.header("x-amz-date").unwrap();
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash(canonical.as_bytes()));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    to_hex(&hmac(&key, text.as_bytes()))
}
