//! The server's thread: its own runtime, so that the engine's blocking file writes do not hold up the caller's tasks, and
//! so that nothing outlives the stop, not even a client that sent half a request.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::database::Opened;
use super::error::EmbeddedError;
use super::front;
use super::streams::Streams;

/// How long a stop waits for requests under way.
const GRACE: Duration = Duration::from_secs(2);
const WORKERS: usize = 2;

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    /// Sent to, or dropped: the server stops.
    shutdown: oneshot::Sender<()>,
    finished: oneshot::Receiver<Result<(), EmbeddedError>>,
}

impl Server {
    /// Serves on `listener`. The lock is held until the database is closed.
    pub(super) fn start(listener: TcpListener, opened: Opened, lock: File) -> Result<Self, EmbeddedError> {
        let failed = |error: std::io::Error| EmbeddedError::Server { reason: error.to_string() };
        let port = listener.local_addr().map_err(failed)?.port();
        listener.set_nonblocking(true).map_err(failed)?;
        let inner = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        inner.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("embedded-dynamodb")
            .enable_all()
            .build()
            .map_err(failed)?;
        let (shutdown, shut) = oneshot::channel();
        let (finish, finished) = oneshot::channel();
        std::thread::Builder::new()
            .name("embedded-dynamodb".to_owned())
            .spawn(move || {
                let result = run(&runtime, listener, inner, opened, shut);
                runtime.shutdown_timeout(GRACE);
                drop(lock);
                let _ = finish.send(result);
            })
            .map_err(failed)?;
        Ok(Self { port, shutdown, finished })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) async fn stop(self) -> Result<(), EmbeddedError> {
        let _ = self.shutdown.send(());
        self.finished.await.unwrap_or_else(|_| Err(EmbeddedError::Server { reason: "its thread panicked".to_owned() }))
    }
}

fn run(
    runtime: &Runtime,
    listener: TcpListener,
    inner: TcpListener,
    opened: Opened,
    shut: oneshot::Receiver<()>,
) -> Result<(), EmbeddedError> {
    runtime.block_on(async move {
        let failed = |error: std::io::Error| EmbeddedError::Server { reason: error.to_string() };
        let engine = inner.local_addr().map_err(failed)?;
        let inner = tokio::net::TcpListener::from_std(inner).map_err(failed)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?.tap_io(|connection| {
            let _ = connection.set_nodelay(true);
        });
        let (stop_engine, engine_stopped) = oneshot::channel::<()>();
        let engine_server = tokio::spawn(dynoxide::server::serve_with_shutdown(inner, opened.engine, async move {
            let _ = engine_stopped.await;
        }));
        let (stopping, mut stop_seen) = oneshot::channel::<()>();
        let front = axum::serve(listener, front::router(Streams::new(opened.reader), engine)).with_graceful_shutdown(
            async move {
                let _ = shut.await;
                let _ = stopping.send(());
            },
        );
        let mut front = std::pin::pin!(front.into_future());
        let served = tokio::select! {
            served = &mut front => served,
            _ = &mut stop_seen => tokio::time::timeout(GRACE, &mut front).await.unwrap_or(Ok(())),
        };
        drop(stop_engine);
        let _ = tokio::time::timeout(GRACE, engine_server).await;
        served.map_err(failed)
    })
}
