//! A function on a journal of its own in a folder, with no DynamoDB to ask.

use std::sync::Arc;

use journal::model::{ChangeRecord, ItemKey, StreamArn, Timeline};
use journal::store::{self, ReadStore};
use journal_tests::processes::{Finished, Program, Running, stream_trigger};
use journal_tests::recorded;
use journal_tests::runtime_api::{Answer, RuntimeApi};

use super::events;

pub(crate) struct Function {
    pub(crate) api: RuntimeApi,
    running: Running,
    journal: String,
    _folder: tempfile::TempDir,
}

/// The binary with settings under which nothing on this machine or beyond answers for DynamoDB.
pub(crate) fn program() -> Program {
    stream_trigger()
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
}

impl Function {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = store::file_url(folder.path()).unwrap();
        let mut api = RuntimeApi::default();
        let running = api.function(program(), &journal);
        Self { api, running, journal, _folder: folder }
    }

    pub(crate) async fn store(&self) -> Arc<dyn ReadStore> {
        store::open_read(&self.journal).await.unwrap()
    }

    /// Gives an event that must succeed.
    pub(crate) async fn succeed(&mut self, payload: String) {
        let answer = self.api.invoke(payload).await;
        assert_eq!(answer, Answer::Success(serde_json::json!({"batchItemFailures": []})));
    }

    pub(crate) async fn records(&self, stream: &str) -> Vec<ChangeRecord> {
        recorded::records(&*self.store().await, &timeline(stream)).await.0
    }

    /// Keys of all objects that begin with `prefix`.
    pub(crate) async fn objects(&self, prefix: &str) -> Vec<String> {
        self.store().await.list_all(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
    }

    pub(crate) fn memory_peak_kib(&self) -> Option<u64> {
        self.running.memory_peak_kib()
    }

    pub(crate) fn stop(self) -> Finished {
        self.running.kill()
    }
}

pub(crate) fn timeline(stream: &str) -> Timeline {
    StreamArn::parse(stream).unwrap().timeline().clone()
}

/// The key of a note.
pub(crate) fn key(id: &str) -> ItemKey {
    let record = events::insert(id, "1", events::note(id, "x"));
    journal::source::event::decode_record(record.to_string().as_bytes()).unwrap().record.key
}
