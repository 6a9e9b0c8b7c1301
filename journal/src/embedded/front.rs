//! The HTTP front: answers stream operations itself and forwards all others to the engine's own server.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::streams::{Fault, Streams};

const STREAMS_TARGET: &str = "DynamoDBStreams_20120810.";
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";
/// No stream request comes near it.
const STREAM_REQUEST_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone)]
struct Front {
    streams: Arc<Streams>,
    engine: SocketAddr,
    client: Client<HttpConnector, Body>,
}

/// The router that listens on the public port; `engine` is where the engine's own server listens.
pub(super) fn router(streams: Streams, engine: SocketAddr) -> Router {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    Router::new().fallback(handle).with_state(Front { streams: Arc::new(streams), engine, client })
}

async fn handle(State(front): State<Front>, request: Request) -> Response {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    match target.and_then(|target| target.strip_prefix(STREAMS_TARGET)).map(str::to_owned) {
        Some(operation) => stream_operation(front.streams, operation, request).await,
        None => forward(&front, request).await,
    }
}

async fn stream_operation(streams: Arc<Streams>, operation: String, request: Request) -> Response {
    let Ok(body) = to_bytes(request.into_body(), STREAM_REQUEST_BYTES_MAX).await else {
        return fault(&Fault::Validation("request body is too long or was cut off".to_owned()));
    };
    match tokio::task::spawn_blocking(move || streams.answer(&operation, &body)).await {
        Ok(Ok(answer)) => respond(StatusCode::OK, &answer),
        Ok(Err(error)) => fault(&error),
        Err(error) => fault(&Fault::Internal(error.to_string())),
    }
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
        Fault::UnknownOperation => (
            StatusCode::BAD_REQUEST,
            "com.amazon.coral.service#UnknownOperationException",
            "no such operation of DynamoDB Streams",
        ),
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
