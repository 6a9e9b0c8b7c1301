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
        SdkError::ServiceError(_) | SdkError::ResponseError(_) => match error.raw_response() {
            Some(response) => by_answer(response, error.code().unwrap_or_default(), said),
            None => Failure::Transient(said),
        },
        // Credentials that ran out and cannot be renewed come as a dispatch that failed, as does an endpoint that is no URL.
        SdkError::DispatchFailure(failure) if failure.is_user() || chain(error).contains("credential") => {
            Failure::Final(Refusal::Settings(said))
        }
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => Failure::Transient(said),
        // The request could not even be made: a setting, or a defect.
        _ => Failure::Final(Refusal::Settings(said)),
    }
}

/// Sorts an answer by its code, which is empty when it has none, then by its status.
fn by_answer(response: &HttpResponse, code: &str, said: String) -> Failure<Refusal> {
    let header = |name: &str| response.headers().get(name).map(str::to_owned);
    let refusal = match code {
        "RequestTimeout"
        | "SlowDown"
        | "InternalError"
        | "ServiceUnavailable"
        | "BadDigest"
        | "IncompleteBody"
        | "OperationAborted"
        | "ConditionalRequestConflict"
        | "Throttling"
        | "ThrottlingException" => return Failure::Transient(said),
        "NoSuchBucket" => Refusal::NoBucket,
        "NoSuchKey" | "NotFound" => Refusal::NoObject,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "TokenRefreshRequired"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed" => Refusal::Settings(said),
        "AuthorizationHeaderMalformed" | "PermanentRedirect" => Refusal::Region(header("x-amz-bucket-region")),
        "QuotaExceeded" | "XMinioStorageFull" => Refusal::Full,
        _ => match response.status().as_u16() {
            301 | 307 | 308 => Refusal::Region(header("x-amz-bucket-region")),
            401 | 403 => Refusal::Denied(said),
            404 => Refusal::NoObject,
            405 | 501 => Refusal::NotSupported(said),
            412 => Refusal::Exists,
            416 => Refusal::Range(header("content-range").as_deref().and_then(total_of)),
            507 => Refusal::Full,
            // An answer that says success but could not be read; a conflict; a service that is busy.
            ..=299 | 408 | 409 | 425 | 429 | 500.. => return Failure::Transient(said),
            _ => Refusal::Other(said),
        },
    };
    Failure::Final(refusal)
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

#[cfg(test)]
mod tests {
    use aws_sdk_s3::config::http::HttpResponse;
    use aws_sdk_s3::error::ErrorMetadata;
    use aws_sdk_s3::operation::put_object::PutObjectError;
    use aws_sdk_s3::primitives::SdkBody;

    use super::*;

    fn answered(status: u16, code: &str, header: Option<(&'static str, &'static str)>) -> Failure<Refusal> {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        let meta = if code.is_empty() { ErrorMetadata::builder() } else { ErrorMetadata::builder().code(code) };
        classify(&SdkError::service_error(PutObjectError::generic(meta.message("why").build()), response))
    }

    fn refused(status: u16, code: &str) -> Refusal {
        match answered(status, code, None) {
            Failure::Final(refusal) => refusal,
            Failure::Transient(reason) => panic!("{status} {code} is transient: {reason}"),
        }
    }

    #[test]
    fn what_may_work_the_next_time_is_told_from_what_will_not() {
        for (status, code) in [
            (500, "InternalError"),
            (503, "SlowDown"),
            (503, ""),
            (429, ""),
            (400, "RequestTimeout"),
            (400, "BadDigest"),
            (409, "ConditionalRequestConflict"),
            (409, ""),
            (502, ""),
            (200, ""),
        ] {
            assert!(matches!(answered(status, code, None), Failure::Transient(_)), "{status} {code}");
        }
        assert_eq!(refused(404, "NoSuchBucket"), Refusal::NoBucket);
        assert_eq!(refused(404, "NoSuchKey"), Refusal::NoObject);
        assert_eq!(refused(404, ""), Refusal::NoObject);
        assert_eq!(refused(412, "PreconditionFailed"), Refusal::Exists);
        assert_eq!(refused(403, "AccessDenied"), Refusal::Denied("403 AccessDenied: why".to_owned()));
        assert!(matches!(refused(403, "InvalidAccessKeyId"), Refusal::Settings(_)));
        assert!(matches!(refused(400, "ExpiredToken"), Refusal::Settings(_)));
        assert!(matches!(refused(501, "NotImplemented"), Refusal::NotSupported(_)));
        assert!(matches!(refused(400, "InvalidRequest"), Refusal::Other(_)));
        assert_eq!(refused(507, "XMinioStorageFull"), Refusal::Full);
    }

    #[test]
    fn headers_that_help_are_passed_on() {
        let moved = answered(301, "PermanentRedirect", Some(("x-amz-bucket-region", "eu-west-1")));
        assert!(matches!(moved, Failure::Final(Refusal::Region(Some(region))) if region == "eu-west-1"));
        let short = answered(416, "InvalidRange", Some(("content-range", "bytes */17")));
        assert!(matches!(short, Failure::Final(Refusal::Range(Some(17)))));
        assert_eq!(total_of("bytes 3-9/10"), Some(10));
        assert_eq!(total_of("bytes 3-9/*"), None);
    }
}
