//! What an answer of S3, or none, means for the caller.
//!
//! Statuses decide where they can, for stores that speak S3 differ in their codes, and an answer to HEAD has none.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::retry::Failure;

/// What the store said, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The bucket is not there.
    NoBucket,
    /// The object is not there.
    NoObject,
    /// Permission denied.
    Denied(String),
    /// 412: the object of a create-only put is there.
    Exists,
    /// 416: the object ends before the range begins. Its size, where the answer tells it.
    Range(Option<u64>),
    /// The store has no room.
    Full,
    /// The bucket is in another region, where the answer tells which.
    Region(Option<String>),
    /// Credentials or settings are missing or out of date.
    Settings(String),
    /// The store does not know the call.
    NotSupported(String),
    /// Anything else that a further attempt does not mend.
    Other(String),
}

/// Sorts a failed request.
pub(super) fn classify<E>(error: &SdkError<E, HttpResponse>) -> Failure<Refusal>
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let said = message(error);
    match error {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) => {}
        SdkError::TimeoutError(_) => return Failure::Transient(said),
        SdkError::DispatchFailure(failure) if failure.is_user() => return Failure::Final(Refusal::Settings(said)),
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => {
            return Failure::Transient(said);
        }
        // Credentials that run out and cannot be renewed come this way.
        SdkError::DispatchFailure(_) if mentions_credentials(error) => {
            return Failure::Final(Refusal::Settings(said));
        }
        SdkError::DispatchFailure(_) => return Failure::Transient(said),
        // The request could not even be made: a setting, or a defect.
        _ => return Failure::Final(Refusal::Settings(said)),
    }
    let response = error.raw_response();
    let status = response.map_or(0, |response| response.status().as_u16());
    let header = |name: &str| response.and_then(|response| response.headers().get(name)).map(str::to_owned);
    Failure::Final(match (status, error.code().unwrap_or_default()) {
        (
            _,
            "RequestTimeout" | "SlowDown" | "InternalError" | "ServiceUnavailable" | "BadDigest" | "OperationAborted",
        )
        | (_, "ConditionalRequestConflict" | "Throttling" | "ThrottlingException" | "IncompleteBody")
        | (0 | 200..=299 | 408 | 409 | 425 | 429 | 500 | 502..=504, _) => return Failure::Transient(said),
        (_, "NoSuchBucket") => Refusal::NoBucket,
        (_, "NoSuchKey" | "NotFound") => Refusal::NoObject,
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => Refusal::Settings(said),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed") => Refusal::Settings(said),
        (301 | 307 | 308, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect") => {
            Refusal::Region(header("x-amz-bucket-region"))
        }
        (401 | 403, _) => Refusal::Denied(said),
        (404, _) => Refusal::NoObject,
        (405 | 501, _) => Refusal::NotSupported(said),
        (412, _) => Refusal::Exists,
        (416, _) => Refusal::Range(header("content-range").as_deref().and_then(total_of)),
        (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull") => Refusal::Full,
        (505.., _) => return Failure::Transient(said),
        _ => Refusal::Other(said),
    })
}

/// The size in `bytes 0-9/SIZE` or `bytes */SIZE`.
pub(super) fn total_of(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.trim().parse().ok()
}

fn message<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    match (status, error.code(), error.message()) {
        (Some(status), Some(code), Some(message)) => format!("{status} {code}: {message}"),
        (Some(status), Some(code), None) => format!("{status} {code}"),
        (Some(status), None, _) if matches!(error, SdkError::ServiceError(_)) => format!("status {status}"),
        _ => chain(error),
    }
}

/// The texts of an error and its sources, each said once: the SDK's own display also prints the types.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

fn mentions_credentials(error: &(dyn StdError + 'static)) -> bool {
    chain(error).to_ascii_lowercase().contains("credential")
}
