//! Objects in an S3 bucket, or in a store that speaks S3's protocol.
//!
//! Settings come the standard AWS way only: profiles, `AWS_*`, `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` (an endpoint
//! that is given is addressed by path). A create-only put sends `If-None-Match: *` and the body's CRC-32, unless
//! `AWS_REQUEST_CHECKSUM_CALCULATION=when_required` says that the store knows no checksums. An answer that was lost and a
//! put that came too late look alike, a 412, and are told apart by what is stored. Which answers are tried again is said
//! in `classify`, how often in `retry`.

mod classify;
mod listing;
mod retry;

use std::ops::Range;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, ProvideCredentials as _, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{AggregatedBytes, ByteStream};
use aws_sdk_s3::types::{BucketVersioningStatus, ChecksumMode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use self::classify::{Refusal, chain, classify, total_of};
use self::retry::{Failure, GaveUp, RetryPolicy};
use super::{ListPage, ObjectVersion, PutOutcome, ReadStore, StoreError, WriteStore, key};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// What the outer bound of a read allows for when the size is not known; the inner one knows it.
const UNKNOWN_BYTES: u64 = 256 << 20;

/// A journal in a bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    location: String,
    bucket: String,
    /// Before every key: empty, or the prefix with `/`.
    root: String,
    client: Client,
    sends_checksums: bool,
    policy: RetryPolicy,
}

impl S3Store {
    /// Opens a bucket for reading with the AWS settings of the environment; `location` is what the user gave, for
    /// messages.
    ///
    /// # Errors
    /// [`StoreError::NoLocation`] when there is no such bucket, [`StoreError::Denied`] when it cannot be listed,
    /// [`StoreError::Settings`] when AWS settings are missing.
    pub async fn open_read(location: &str, bucket: &str, prefix: &str) -> Result<Self, StoreError> {
        let settings = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let store = Self::connect(&settings, location, bucket, prefix).await?;
        store.check_readable().await?;
        Ok(store)
    }

    /// Opens a bucket for writing with the AWS settings of the environment.
    ///
    /// # Errors
    /// As [`S3Store::open_write_with`].
    pub async fn open_write(location: &str, bucket: &str, prefix: &str) -> Result<Self, StoreError> {
        let settings = aws_config::load_defaults(BehaviorVersion::latest()).await;
        Self::open_write_with(&settings, location, bucket, prefix).await
    }

    /// Opens a bucket for writing with AWS settings that are loaded already. A writer need not be allowed to list it.
    ///
    /// # Errors
    /// [`StoreError::NoLocation`] when there is no such bucket, [`StoreError::Unversioned`] when it keeps no versions,
    /// [`StoreError::Settings`] when AWS settings are missing.
    pub async fn open_write_with(
        settings: &SdkConfig,
        location: &str,
        bucket: &str,
        prefix: &str,
    ) -> Result<Self, StoreError> {
        let store = Self::connect(settings, location, bucket, prefix).await?;
        store.check_versioning().await?;
        Ok(store)
    }

    async fn connect(settings: &SdkConfig, location: &str, bucket: &str, prefix: &str) -> Result<Self, StoreError> {
        let missing = |reason: String| StoreError::Settings { location: location.to_owned(), reason };
        if settings.region().is_none() {
            return Err(missing("no AWS region is set".to_owned()));
        }
        // Asked now: later the SDK would tell it as one of many ways in which a request can fail.
        let provider =
            settings.credentials_provider().ok_or_else(|| missing("no AWS credentials are set".to_owned()))?;
        if let Err(error) = provider.provide_credentials().await {
            return Err(missing(format!("no AWS credentials were found: {}", chain(&error))));
        }
        let service_endpoint = std::env::var_os("AWS_ENDPOINT_URL_S3").is_some_and(|url| !url.is_empty());
        let config = aws_sdk_s3::config::Builder::from(settings)
            .force_path_style(settings.endpoint_url().is_some() || service_endpoint)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .build();
        let when_required = settings.request_checksum_calculation() == Some(RequestChecksumCalculation::WhenRequired);
        Ok(Self {
            location: location.to_owned(),
            bucket: bucket.to_owned(),
            root: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            client: Client::from_conf(config),
            sends_checksums: !when_required,
            policy: RetryPolicy::with_attempts(settings.retry_config().map(RetryConfig::max_attempts)),
        })
    }

    async fn check_readable(&self) -> Result<(), StoreError> {
        self.run("list", &self.root, 0, || async {
            let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&self.root).max_keys(1);
            request.send().await.map(drop).map_err(|error| classify(&error))
        })
        .await
    }

    async fn check_versioning(&self) -> Result<(), StoreError> {
        let asked = self
            .policy
            .run(0, || async {
                let request = self.client.get_bucket_versioning().bucket(&self.bucket);
                request.send().await.map_err(|error| classify(&error))
            })
            .await;
        match asked {
            Ok(answer) if answer.status() == Some(&BucketVersioningStatus::Enabled) => Ok(()),
            Ok(_) => Err(StoreError::Unversioned { bucket: self.bucket.clone() }),
            Err(GaveUp::Final(Refusal::Denied(reason) | Refusal::NotSupported(reason) | Refusal::Other(reason))) => {
                let bucket = &self.bucket;
                tracing::warn!(
                    bucket,
                    reason,
                    "whether the bucket keeps versions could not be asked; going on without"
                );
                Ok(())
            }
            Err(gave_up) => Err(self.error("ask the versioning of", &self.bucket, gave_up)),
        }
    }

    /// Runs one operation that moves `bytes`, with all its attempts.
    async fn run<T, F>(
        &self,
        action: &'static str,
        key: &str,
        bytes: u64,
        operation: impl Fn() -> F + Send,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure<Refusal>>> + Send,
    {
        self.policy.run(bytes, operation).await.map_err(|gave_up| self.error(action, key, gave_up))
    }

    /// What the end of an operation means to the caller.
    fn error(&self, action: &'static str, key: &str, gave_up: GaveUp<Refusal>) -> StoreError {
        let (location, key) = (self.location.clone(), key.to_owned());
        let refusal = match gave_up {
            GaveUp::Final(refusal) => refusal,
            GaveUp::Transient { attempts, reason } => {
                return StoreError::Unavailable { action, location, key, attempts, reason };
            }
        };
        match refusal {
            Refusal::NoBucket => StoreError::NoLocation { location: format!("s3://{}", self.bucket) },
            Refusal::NoObject => StoreError::NotFound { location, key },
            Refusal::Denied(reason) => StoreError::Denied { action, location, key, reason },
            Refusal::Full => StoreError::Full { action, location, key },
            Refusal::Settings(reason) => StoreError::Settings { location, reason },
            Refusal::Region(Some(region)) => {
                let reason = format!("the bucket is in region {region}: set AWS_REGION={region}");
                StoreError::Settings { location, reason }
            }
            Refusal::Region(None) => {
                let reason = "the bucket is in another region than AWS_REGION says".to_owned();
                StoreError::Settings { location, reason }
            }
            Refusal::Exists => StoreError::Refused { action, location, key, reason: "412: it exists".to_owned() },
            Refusal::Range(_) => StoreError::Refused { action, location, key, reason: "416: no such range".to_owned() },
            Refusal::NotSupported(reason) | Refusal::Other(reason) => {
                StoreError::Refused { action, location, key, reason }
            }
        }
    }

    fn object(&self, key: &str) -> String {
        format!("{}{key}", self.root)
    }

    /// A put of `body`, with its checksum where the store knows them.
    fn put(&self, key: &str, body: &Bytes) -> PutObjectFluentBuilder {
        let checksum = self.sends_checksums.then(|| STANDARD.encode(crc32fast::hash(body).to_be_bytes()));
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(self.object(key))
            .set_checksum_crc32(checksum)
            .body(ByteStream::from(body.clone()))
    }

    /// One attempt to read an object, whole or in part.
    async fn read(&self, key: &str, range: Option<String>) -> Result<Answer, Failure<Refusal>> {
        let request = self.client.get_object().bucket(&self.bucket).key(self.object(key));
        let asked = async {
            match range {
                None => request.send().await,
                // Some stores send the whole object's checksum with a part. The parts that are read have their own inside.
                Some(range) => {
                    let when_required = ResponseChecksumValidation::WhenRequired;
                    let unchecked = Config::builder().response_checksum_validation(when_required);
                    request.range(range).customize().config_override(unchecked).send().await
                }
            }
        };
        let limit = self.policy.attempt_timeout(0);
        let answer = tokio::time::timeout(limit, asked)
            .await
            .map_err(|_| Failure::Transient(format!("no answer within {} seconds", limit.as_secs())))?
            .map_err(|error| classify(&error))?;
        let length = answer.content_length.and_then(|length| u64::try_from(length).ok());
        let total = answer.content_range().and_then(total_of).or(length);
        let limit = self.policy.attempt_timeout(length.unwrap_or(UNKNOWN_BYTES));
        let bytes = tokio::time::timeout(limit, collect(answer))
            .await
            .map_err(|_| Failure::Transient(format!("the body did not end within {} seconds", limit.as_secs())))??;
        let got = size(&bytes);
        if length.is_some_and(|length| length != got) {
            return Err(Failure::Transient(format!("the body ended after {got} bytes")));
        }
        Ok(Answer { bytes, total: total.unwrap_or(got) })
    }

    fn wrong_range(&self, key: &str, range: &Range<u64>, size: u64) -> StoreError {
        let (start, end) = (range.start, range.end);
        StoreError::Range { location: self.location.clone(), key: key.to_owned(), start, end, size }
    }

    /// An object's size and, where the store keeps it, the CRC-32 of the whole.
    async fn head(&self, key: &str) -> Result<(u64, Option<u32>), StoreError> {
        let answer = self
            .run("read", key, 0, || async {
                let request = self.client.head_object().bucket(&self.bucket).key(self.object(key));
                request.checksum_mode(ChecksumMode::Enabled).send().await.map_err(|error| classify(&error))
            })
            .await?;
        let size = answer.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
        // The checksum of an object that was put in parts ends in the number of parts: it is not that of its bytes.
        let whole = answer.checksum_crc32().filter(|text| !text.contains('-'));
        let bytes = whole.and_then(|text| STANDARD.decode(text).ok());
        Ok((size, bytes.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)))
    }

    /// Whether the stored object is `body`.
    async fn compare(&self, key: &str, body: &Bytes) -> Result<PutOutcome, StoreError> {
        let expected = crc32fast::hash(body);
        let found = match self.head(key).await? {
            (stored, Some(found)) if found == expected && stored == size(body) => return Ok(PutOutcome::AlreadyThere),
            (stored, Some(found)) if stored != size(body) || found != expected => found,
            _ => {
                let stored = self.get(key).await?;
                if stored == *body {
                    return Ok(PutOutcome::AlreadyThere);
                }
                crc32fast::hash(&stored)
            }
        };
        Err(StoreError::Differs { location: self.location.clone(), key: key.to_owned(), found, expected })
    }
}

/// What a read gave.
struct Answer {
    bytes: Bytes,
    /// The whole object's size.
    total: u64,
}

async fn collect(answer: GetObjectOutput) -> Result<Bytes, Failure<Refusal>> {
    let collected = answer.body.collect().await;
    collected.map(AggregatedBytes::into_bytes).map_err(|error| Failure::Transient(chain(&error)))
}

fn size(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[async_trait]
impl ReadStore for S3Store {
    fn location(&self) -> &str {
        &self.location
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        key::check(key)?;
        let answer = self.run("read", key, UNKNOWN_BYTES, || self.read(key, None)).await?;
        Ok(answer.bytes)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        key::check(key)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let length = range.end - range.start;
        let asked = format!("bytes={}-{}", range.start, range.end - 1);
        let read = self
            .policy
            .run(length, || async {
                let answer = self.read(key, Some(asked.clone())).await?;
                if answer.total >= range.end && size(&answer.bytes) != length {
                    let got = answer.bytes.len();
                    return Err(Failure::Transient(format!("{got} bytes came for a range of {length}")));
                }
                Ok(answer)
            })
            .await;
        match read {
            Ok(answer) if answer.total >= range.end => Ok(answer.bytes),
            Ok(answer) => Err(self.wrong_range(key, &range, answer.total)),
            Err(GaveUp::Final(Refusal::Range(Some(total)))) => Err(self.wrong_range(key, &range, total)),
            Err(GaveUp::Final(Refusal::Range(None))) => {
                let (total, _) = self.head(key).await?;
                Err(self.wrong_range(key, &range, total))
            }
            Err(gave_up) => Err(self.error("read", key, gave_up)),
        }
    }

    async fn get_tail(&self, key: &str, length: u64) -> Result<(Bytes, u64), StoreError> {
        key::check(key)?;
        // No bytes at all cannot be asked for.
        let asked = format!("bytes=-{}", length.max(1));
        let read = self
            .policy
            .run(length, || async {
                let answer = self.read(key, Some(asked.clone())).await?;
                if size(&answer.bytes) != length.max(1).min(answer.total) {
                    let got = answer.bytes.len();
                    return Err(Failure::Transient(format!("{got} bytes came for the last {length}")));
                }
                Ok(answer)
            })
            .await;
        match read {
            Ok(answer) if length == 0 => Ok((Bytes::new(), answer.total)),
            Ok(answer) => Ok((answer.bytes, answer.total)),
            // Only an object without any byte has no last one.
            Err(GaveUp::Final(Refusal::Range(_))) => Ok((Bytes::new(), 0)),
            Err(gave_up) => Err(self.error("read", key, gave_up)),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        key::check_prefix(prefix)?;
        self.list_page(prefix, after).await
    }

    async fn list_folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        key::check_folder(folder)?;
        self.folders(folder).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        key::check_prefix(prefix)?;
        self.versions(prefix).await
    }
}

#[async_trait]
impl WriteStore for S3Store {
    async fn put_new(&self, key: &str, body: Bytes) -> Result<PutOutcome, StoreError> {
        key::check(key)?;
        // An object that is deleted between the 412 and the comparison sends the put round again.
        for _ in 0..self.policy.attempts_max {
            let put = self
                .policy
                .run(size(&body), || async {
                    let request = self.put(key, &body).if_none_match("*");
                    request.send().await.map(drop).map_err(|error| classify(&error))
                })
                .await;
            match put {
                Ok(()) => return Ok(PutOutcome::Created),
                Err(GaveUp::Final(Refusal::Exists)) => {}
                // A put knows no object that is missing: 404 is the bucket's.
                Err(GaveUp::Final(Refusal::NoObject)) => {
                    return Err(self.error("write", key, GaveUp::Final(Refusal::NoBucket)));
                }
                Err(gave_up) => return Err(self.error("write", key, gave_up)),
            }
            match self.compare(key, &body).await {
                Err(StoreError::NotFound { .. }) => {}
                outcome => return outcome,
            }
        }
        Err(StoreError::Unavailable {
            action: "write",
            location: self.location.clone(),
            key: key.to_owned(),
            attempts: self.policy.attempts_max,
            reason: "the object is made and deleted by others all the time".to_owned(),
        })
    }

    async fn replace(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        key::check(key)?;
        self.run("write", key, size(&body), || async {
            self.put(key, &body).send().await.map(drop).map_err(|error| classify(&error))
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        key::check(key)?;
        let deleted = self.run("delete", key, 0, || async {
            let request = self.client.delete_object().bucket(&self.bucket).key(self.object(key));
            request.send().await.map(drop).map_err(|error| classify(&error))
        });
        match deleted.await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            result => result,
        }
    }
}
