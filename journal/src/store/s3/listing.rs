//! Listings of a bucket: pages of objects, folders, versions.
//!
//! Every page is a request with attempts of its own. Keys that the journal cannot have, such as the empty objects by
//! which consoles show folders, are nobody's objects and left out.

use std::cmp::Reverse;

use aws_sdk_s3::primitives::DateTime;

use super::{ListPage, ObjectVersion, S3Store, StoreError, classify, key};
use crate::store::ObjectMeta;

impl S3Store {
    /// One page of objects. A store may give a page without any object that is not the last: it is passed over, so that
    /// only the last page has no next one.
    pub(super) async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, StoreError> {
        let mut continuation: Option<String> = None;
        loop {
            let answer = self
                .run("list", prefix, 0, || async {
                    let request = self
                        .client
                        .list_objects_v2()
                        .bucket(&self.bucket)
                        .prefix(self.object(prefix))
                        .set_start_after(after.map(|after| self.object(after)))
                        .set_continuation_token(continuation.clone());
                    request.send().await.map_err(|error| classify(&error))
                })
                .await?;
            let truncated = answer.is_truncated() == Some(true);
            let last = answer.contents().last().and_then(|object| object.key());
            let next = match last {
                None if truncated => {
                    continuation = Some(self.further(prefix, continuation.as_ref(), answer.next_continuation_token)?);
                    continue;
                }
                Some(last) if truncated => {
                    Some(self.relative(last).ok_or_else(|| self.odd_listing(prefix))?.to_owned())
                }
                _ => None,
            };
            let objects = answer.contents().iter().filter_map(|object| {
                let key = self.usable(object.key())?;
                Some(ObjectMeta { key, size: unsigned(object.size()), modified: seconds(object.last_modified()) })
            });
            return Ok(ListPage { objects: objects.collect(), next });
        }
    }

    /// The folders directly below one.
    pub(super) async fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let root = self.object(folder);
        let mut names = Vec::new();
        let mut continuation: Option<String> = None;
        loop {
            let answer = self
                .run("list", folder, 0, || async {
                    let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&root).delimiter("/");
                    let request = request.set_continuation_token(continuation.clone());
                    request.send().await.map_err(|error| classify(&error))
                })
                .await?;
            names.extend(answer.common_prefixes().iter().filter_map(|common| {
                let name = common.prefix()?.strip_prefix(&root)?.strip_suffix('/')?;
                key::check(&format!("{folder}{name}")).ok().map(|()| name.to_owned())
            }));
            if answer.is_truncated != Some(true) {
                break;
            }
            continuation = Some(self.further(folder, continuation.as_ref(), answer.next_continuation_token)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Every version, by key, newest first. S3 gives versions and delete markers in two lists and times in whole seconds:
    /// within one second a version and a marker may stand in the wrong order, except that the latest is first.
    pub(super) async fn versions(&self, prefix: &str) -> Result<Vec<ObjectVersion>, StoreError> {
        let mut versions = Vec::new();
        let mut next: (Option<String>, Option<String>) = (None, None);
        loop {
            let answer = self
                .run("list the versions of", prefix, 0, || async {
                    let request = self
                        .client
                        .list_object_versions()
                        .bucket(&self.bucket)
                        .prefix(self.object(prefix))
                        .set_key_marker(next.0.clone())
                        .set_version_id_marker(next.1.clone());
                    request.send().await.map_err(|error| classify(&error))
                })
                .await?;
            versions.extend(answer.versions().iter().filter_map(|version| {
                Some(ObjectVersion {
                    key: self.usable(version.key())?,
                    version: version.version_id().unwrap_or("null").to_owned(),
                    size: unsigned(version.size()),
                    modified: seconds(version.last_modified()),
                    latest: version.is_latest() == Some(true),
                    delete_marker: false,
                })
            }));
            versions.extend(answer.delete_markers().iter().filter_map(|marker| {
                Some(ObjectVersion {
                    key: self.usable(marker.key())?,
                    version: marker.version_id().unwrap_or("null").to_owned(),
                    size: 0,
                    modified: seconds(marker.last_modified()),
                    latest: marker.is_latest() == Some(true),
                    delete_marker: true,
                })
            }));
            if answer.is_truncated != Some(true) {
                break;
            }
            let markers = (answer.next_key_marker, answer.next_version_id_marker);
            next = self.further(prefix, Some(&next), markers.0.is_some().then_some(markers))?;
        }
        // Stable: within a key and a second, each of the two lists keeps its order.
        versions.sort_by(|a, b| {
            let order = |v: &ObjectVersion| (Reverse(v.latest), Reverse(v.modified));
            a.key.cmp(&b.key).then_with(|| order(a).cmp(&order(b)))
        });
        Ok(versions)
    }

    /// Where the next page begins. A listing that says that there is more must go on, or objects would be passed over.
    fn further<T: PartialEq>(&self, prefix: &str, before: Option<&T>, next: Option<T>) -> Result<T, StoreError> {
        next.filter(|next| before != Some(next)).ok_or_else(|| self.odd_listing(prefix))
    }

    fn odd_listing(&self, prefix: &str) -> StoreError {
        StoreError::Refused {
            action: "list",
            location: self.location.clone(),
            key: prefix.to_owned(),
            reason: "the listing says that there is more, but not where it goes on".to_owned(),
        }
    }

    fn relative<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.root)
    }

    fn usable(&self, key: Option<&str>) -> Option<String> {
        let key = self.relative(key?)?;
        key::check(key).ok().map(|()| key.to_owned())
    }
}

fn unsigned(size: Option<i64>) -> u64 {
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0)
}

fn seconds(time: Option<&DateTime>) -> u64 {
    time.and_then(|time| u64::try_from(time.secs()).ok()).unwrap_or(0)
}
