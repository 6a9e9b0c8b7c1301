//! Futures that go on while nobody polls them.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Runs a future as a task of its own, which ends when the call is dropped.
///
/// Of several futures that are asked for together none is polled while whoever asked waits for something else. One that was given a place
/// meanwhile, in a queue or on a connection, would keep it from everybody, or find its time over when it is polled again.
///
/// # Errors
/// When the task panics, or the runtime shuts down: what happened.
pub(crate) async fn own_task<T: Send + 'static>(
    handle: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let mut task = JoinSet::new();
    task.spawn_on(future, handle);
    match task.join_next().await {
        Some(ended) => ended.map_err(|error| error.to_string()),
        None => Err("the task was lost".to_owned()),
    }
}
