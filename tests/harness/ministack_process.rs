//! MiniStack as a process on loopback: what the tests' harness and the benches start it with.
//!
//! Its own command binds all interfaces, so its ASGI application is run under its own server.

use std::path::Path;

use crate::supervisor::{Supervised, answers, free_port, without_settings};

/// A running MiniStack. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub(crate) struct MiniStackProcess {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    _process: Supervised,
    _folder: tempfile::TempDir,
}

impl MiniStackProcess {
    /// Starts one with nothing in it. `python` is one in which it is installed.
    pub(crate) fn start(python: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let port = free_port();
            let bind = format!("127.0.0.1:{port}");
            let arguments = ["-m", "hypercorn", "ministack.app:app", "--bind", &bind];
            let mut process = Supervised::start(python, arguments, |command| {
                without_settings(command)
                    .current_dir(folder.path())
                    .env("GATEWAY_PORT", port.to_string())
                    .env("TMPDIR", folder.path())
                    .env("S3_PERSIST", "0")
                    .env("AWS_ACCESS_KEY_ID", "test")
                    .env("AWS_SECRET_ACCESS_KEY", "test");
            });
            if process.wait_until(|| answers(port, "/_ministack/health")) {
                return Self { port, _process: process, _folder: folder };
            }
            assert!(
                process.log().contains("address already in use"),
                "MiniStack ended while it started; its log:\n{}",
                process.log()
            );
        }
        panic!("no port stayed free for MiniStack");
    }
}
