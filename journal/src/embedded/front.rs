//! The HTTP front: answers stream operations itself and forwards all others to the engine's own server.
//!
//! Who embeds the endpoint may watch its tables: be told of a table made or changed before its client is, and be asked
//! before one is deleted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock};

use super::fault::Fault;
use super::reader::{Operation, Reader};
use super::watch::TableWatch;
use crate::model::TableName;

const STREAMS_TARGET: &str = "DynamoDBStreams_20120810.";
const TABLES_TARGET: &str = "DynamoDB_20120810.";
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";
/// Operations that only describe tables: a follower that drains a stream still needs them when the front is closed.
const DESCRIBING: [&str; 4] = ["DescribeTable", "ListTables", "DescribeTimeToLive", "ListTagsOfResource"];
/// No request that is answered here comes near it.
const SMALL_REQUEST_BYTES_MAX: usize = 64 * 1024;
/// No request to make, change or delete a table comes near it.
const TABLE_REQUEST_BYTES_MAX: usize = 1 << 20;
const CLOSE_GRACE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Front {
    reader: Arc<Reader>,
    engine: SocketAddr,
    client: Client<HttpConnector, Body>,
    gate: Arc<Gate>,
}

/// What the front asks before and tells after an operation on a table.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Whether only operations on streams and descriptions of tables are answered any more.
    closed: AtomicBool,
    /// Held for reading by every request that is forwarded.
    under_way: RwLock<()>,
    watch: Option<Arc<dyn TableWatch>>,
    /// Operations on tables go one at a time, so that what was asked before one still holds when it is done.
    turn: Mutex<()>,
}

impl Gate {
    pub(super) fn new(watch: Option<Arc<dyn TableWatch>>) -> Self {
        Self { watch, ..Self::default() }
    }

    /// From now on only operations on streams and descriptions of tables are answered. Returns when no other is under way any more, or after a
    /// grace time: a client may send its request for ever.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = tokio::time::timeout(CLOSE_GRACE, self.under_way.write()).await;
    }
}

/// The router that listens on the public port; `engine` is where the engine's own server listens.
pub(super) fn router(reader: Reader, engine: SocketAddr, gate: Arc<Gate>) -> Router {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    Router::new().fallback(handle).with_state(Front { reader: Arc::new(reader), engine, client, gate })
}

async fn handle(State(front): State<Front>, request: Request) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    if let Some(operation) = target.strip_prefix(STREAMS_TARGET) {
        let operation = Operation::Streams(operation.to_owned());
        return answer_here(front.reader, operation, request).await;
    }
    let target = target.strip_prefix(TABLES_TARGET).unwrap_or_default();
    if target == "DescribeContinuousBackups" {
        return answer_here(front.reader, Operation::ContinuousBackups, request).await;
    }
    if DESCRIBING.contains(&target) {
        return forward(&front, request).await;
    }
    let gate = Arc::clone(&front.gate);
    let _under_way = gate.under_way.read().await;
    if gate.closed.load(Ordering::SeqCst) {
        return fault(&Fault::Internal("embedded DynamoDB is stopping".to_owned()));
    }
    let operation = match target {
        "CreateTable" => TableOperation::Create,
        "UpdateTable" => TableOperation::Update,
        "DeleteTable" => TableOperation::Delete,
        _ => return forward(&front, request).await,
    };
    // A task of its own: a client that goes away must not leave the watch half asked.
    match tokio::spawn(table_operation(front, operation, request)).await {
        Ok(response) => response,
        Err(error) => fault(&Fault::Internal(error.to_string())),
    }
}

async fn answer_here(reader: Arc<Reader>, operation: Operation, request: Request) -> Response {
    let Ok(body) = to_bytes(request.into_body(), SMALL_REQUEST_BYTES_MAX).await else {
        return fault(&Fault::Validation("request body is too long or was cut off".to_owned()));
    };
    match tokio::task::spawn_blocking(move || reader.answer(&operation, &body)).await {
        Ok(Ok(answer)) => respond(StatusCode::OK, &answer),
        Ok(Err(error)) => fault(&error),
        Err(error) => fault(&Fault::Internal(error.to_string())),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TableOperation {
    Create,
    Update,
    Delete,
}

#[derive(serde::Deserialize)]
struct NamesTable {
    #[serde(rename = "TableName")]
    table: String,
}

async fn table_operation(front: Front, operation: TableOperation, request: Request) -> Response {
    let Some(watch) = front.gate.watch.clone() else {
        return forward(&front, request).await;
    };
    let (mut head, body) = request.into_parts();
    let Ok(mut body) = to_bytes(body, TABLE_REQUEST_BYTES_MAX).await else {
        return fault(&Fault::Validation("request body is too long or was cut off".to_owned()));
    };
    let table = serde_json::from_slice(&body).ok().and_then(|named: NamesTable| TableName::parse(&named.table).ok());
    let Some(table) = table else {
        return forward(&front, Request::from_parts(head, Body::from(body))).await;
    };
    let with_stream =
        (operation == TableOperation::Create && watch.adds_streams()).then(|| add_stream(&body)).flatten();
    let stream_added = with_stream.is_some();
    if let Some(with_stream) = with_stream {
        body = with_stream.into();
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let _turn = front.gate.turn.lock().await;
    if operation == TableOperation::Delete
        && let Err(reason) = watch.before_delete(&table).await
    {
        return fault(&Fault::Internal(format!("table {table} cannot be deleted now: {reason}")));
    }
    let response = forward(&front, Request::from_parts(head, Body::from(body))).await;
    if operation != TableOperation::Delete && response.status().is_success() {
        watch.after_change(&table, stream_added).await;
    }
    response
}

/// The body of a `CreateTable` with a stream in it; none when it asks for one itself.
fn add_stream(body: &[u8]) -> Option<Vec<u8>> {
    let mut request: Value = serde_json::from_slice(body).ok()?;
    let wanted = request.get("StreamSpecification").and_then(|stream| stream.get("StreamEnabled"));
    if wanted.is_some_and(|enabled| *enabled != Value::Bool(false)) {
        return None;
    }
    let stream = json!({"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"});
    request.as_object_mut()?.insert("StreamSpecification".to_owned(), stream);
    serde_json::to_vec(&request).ok()
}

async fn forward(front: &Front, mut request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = format!("http://{}{path}", front.engine).parse::<Uri>() else {
        return fault(&Fault::Validation("request path cannot be read".to_owned()));
    };
    *request.uri_mut() = uri;
    match front.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => fault(&Fault::Internal(format!("embedded DynamoDB does not answer: {error}"))),
    }
}

fn fault(fault: &Fault) -> Response {
    let (status, name, message) = match fault {
        Fault::Validation(message) => {
            (StatusCode::BAD_REQUEST, "com.amazon.coral.validate#ValidationException", message.as_str())
        }
        Fault::NotFound(message) => {
            (StatusCode::BAD_REQUEST, "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", message.as_str())
        }
        Fault::TableNotFound(message) => {
            (StatusCode::BAD_REQUEST, "com.amazonaws.dynamodb.v20120810#TableNotFoundException", message.as_str())
        }
        Fault::UnknownOperation => {
            (StatusCode::BAD_REQUEST, "com.amazon.coral.service#UnknownOperationException", "no such operation")
        }
        Fault::Internal(message) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "com.amazonaws.dynamodb.v20120810#InternalServerError",
            message.as_str(),
        ),
    };
    respond(status, &json!({"__type": name, "message": message}))
}

fn respond(status: StatusCode, answer: &Value) -> Response {
    let mut response = Response::new(Body::from(answer.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}
