//! The server's thread: its own runtime, so that the engine's blocking file writes do not hold up the caller's tasks, and
//! so that nothing outlives the stop, not even a client that sent half a request.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::database::Opened;
use super::error::EmbeddedError;
use super::front::{self, Gate};
use super::reader::Reader;
use super::watch::Endpoints;

/// How long a stop waits for requests under way.
const GRACE: Duration = Duration::from_secs(2);
const WORKERS: usize = 2;

fn failed(source: std::io::Error) -> EmbeddedError {
    EmbeddedError::Start { source }
}

/// The public port and the engine's own, both on 127.0.0.1.
#[derive(Debug)]
pub(super) struct Listeners {
    public: TcpListener,
    engine: TcpListener,
}

impl Listeners {
    /// Takes the ports; 0 stands for any free one.
    pub(super) fn bind(port: u16) -> Result<Self, EmbeddedError> {
        let public = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => EmbeddedError::PortTaken { port },
            _ => EmbeddedError::Listen { port, source },
        })?;
        let engine = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        for listener in [&public, &engine] {
            listener.set_nonblocking(true).map_err(failed)?;
        }
        Ok(Self { public, engine })
    }

    pub(super) fn port(&self) -> Result<u16, EmbeddedError> {
        Ok(self.public.local_addr().map_err(failed)?.port())
    }

    pub(super) fn endpoints(&self) -> Result<Endpoints, EmbeddedError> {
        Ok(Endpoints {
            public: format!("http://{}", self.public.local_addr().map_err(failed)?),
            engine: format!("http://{}", self.engine.local_addr().map_err(failed)?),
        })
    }
}

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    /// Sent to, or dropped: the server stops.
    shutdown: oneshot::Sender<()>,
    finished: oneshot::Receiver<Result<(), EmbeddedError>>,
}

impl Server {
    /// Serves on the listeners. The lock is held until the database is closed.
    pub(super) fn start(
        listeners: Listeners,
        opened: Opened,
        gate: Arc<Gate>,
        lock: File,
    ) -> Result<Self, EmbeddedError> {
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
                let result = run(&runtime, listeners, opened, gate, shut);
                runtime.shutdown_timeout(GRACE);
                drop(lock);
                let _ = finish.send(result);
            })
            .map_err(failed)?;
        Ok(Self { shutdown, finished })
    }

    pub(super) async fn stop(self) -> Result<(), EmbeddedError> {
        let _ = self.shutdown.send(());
        self.finished.await.unwrap_or_else(|_| Err(EmbeddedError::Server { reason: "its thread panicked".to_owned() }))
    }
}

fn run(
    runtime: &Runtime,
    listeners: Listeners,
    opened: Opened,
    gate: Arc<Gate>,
    shut: oneshot::Receiver<()>,
) -> Result<(), EmbeddedError> {
    runtime.block_on(async move {
        let engine = listeners.engine.local_addr().map_err(failed)?;
        let inner = tokio::net::TcpListener::from_std(listeners.engine).map_err(failed)?;
        let listener = tokio::net::TcpListener::from_std(listeners.public).map_err(failed)?.tap_io(|connection| {
            let _ = connection.set_nodelay(true);
        });
        let (stop_engine, engine_stopped) = oneshot::channel::<()>();
        let engine_server = tokio::spawn(dynoxide::server::serve_with_shutdown(inner, opened.engine, async move {
            let _ = engine_stopped.await;
        }));
        let (stopping, mut stop_seen) = oneshot::channel::<()>();
        let front = axum::serve(listener, front::router(Reader::new(opened.reader), engine, gate))
            .with_graceful_shutdown(async move {
                let _ = shut.await;
                let _ = stopping.send(());
            });
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
