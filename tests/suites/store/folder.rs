//! What only a folder can show: full and read-only disks, and writers that are killed.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use journal::store::{PutOutcome, StoreError, WriteStore, file_url, open_write};
use journal_tests::processes::{this_test, this_test_inside};
use journal_tests::skip;

pub(crate) async fn open(path: &Path) -> Arc<dyn WriteStore> {
    open_write(&file_url(path).unwrap()).await.unwrap()
}

/// In what the test program is told which folder it works in.
const FOLDER: &str = "STORE_TEST_FOLDER";

fn folder() -> std::path::PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

/// A body that only its number can have.
fn body(number: u32) -> Bytes {
    Bytes::from(number.to_be_bytes().repeat(5000))
}

#[tokio::test]
#[ignore = "run by every_acknowledged_object_outlives_its_writer in a process of its own"]
async fn writes_until_it_is_killed() {
    let store = open(&folder()).await;
    for number in 0.. {
        store.put_new(&format!("t/{}/{number}", number / 20), body(number)).await.unwrap();
        println!("acknowledged {number}.");
    }
}

#[tokio::test]
async fn every_acknowledged_object_outlives_its_writer() {
    let journal = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let writer = this_test("folder::writes_until_it_is_killed").env(FOLDER, journal.path()).start();
        let _ = writer.wait_for_output(&format!("acknowledged {}.", 10 + 17 * round));
        let printed = writer.kill().stdout;
        let acknowledged = printed.lines().rev().find_map(|line| line.split_once("acknowledged ")).unwrap().1;
        let acknowledged: u32 = acknowledged.trim_end_matches('.').parse().unwrap();
        let store = open(journal.path()).await;
        let objects = store.list_all("").await.unwrap();
        let count = u32::try_from(objects.len()).unwrap();
        assert!(count > acknowledged, "{count} objects, but number {acknowledged} was acknowledged");
        for number in 0..count {
            let key = format!("t/{}/{number}", number / 20);
            assert!(store.get(&key).await.unwrap() == body(number), "{key} is whole");
        }
        let left = journal.path().join("~tmp");
        assert_eq!(std::fs::read_dir(left).unwrap().count(), 0, "opening clears what the killed writer left");
    }
}

/// Runs one ignored test on a disk of its own: a memory disk in a mount namespace, which the kernel may not allow.
fn on_a_small_disk(test: &str, ignored: &str, script: &str) {
    let mount = tempfile::tempdir().unwrap();
    let disk = mount.path().to_str().unwrap();
    let mounted = ["unshare", "-rm", "sh", "-ec", "mount -t tmpfs -o size=1m tmpfs \"$0\"", disk];
    match std::process::Command::new(mounted[0]).args(&mounted[1..]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            return skip(test, &format!("no disk can be mounted: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Err(error) => return skip(test, &format!("unshare cannot be run: {error}")),
    }
    let script = format!("mount -t tmpfs -o size=1m tmpfs \"$0\"; {script}exec \"$@\"");
    let wrapper = ["unshare", "-rm", "sh", "-ec", &script, disk];
    let _ = this_test_inside(&wrapper, ignored).env(FOLDER, disk).run().success();
}

#[test]
fn a_full_disk_is_told_and_leaves_no_half_object() {
    on_a_small_disk("a_full_disk_is_told_and_leaves_no_half_object", "folder::fills_the_disk", "");
}

#[tokio::test]
#[ignore = "run by a_full_disk_is_told_and_leaves_no_half_object on a disk of its own"]
async fn fills_the_disk() {
    let store = open(&folder()).await;
    let mut made = 0_u32;
    let error = loop {
        match store.put_new(&format!("t/{made}"), body(made)).await {
            Ok(outcome) => assert_eq!(outcome, PutOutcome::Created),
            Err(error) => break error,
        }
        made += 1;
        assert!(made < 1000, "the disk is never full");
    };
    assert!(matches!(&error, StoreError::Full { .. }), "{error}");
    assert!(made > 10, "only {made} objects");
    assert!(error.to_string().contains("no space left"), "{error}");
    assert!(matches!(store.replace("t/0", Bytes::from(vec![1; 200_000])).await, Err(StoreError::Full { .. })));
    let objects = store.list_all("").await.unwrap();
    assert_eq!(objects.len(), usize::try_from(made).unwrap());
    assert!(objects.iter().all(|object| object.size == 20_000));
    assert_eq!(std::fs::read_dir(folder().join("~tmp")).unwrap().count(), 0);
    assert!(store.get("t/0").await.unwrap() == body(0), "a failed replacement leaves the document");
    // Room again: the same command works.
    store.delete("t/1").await.unwrap();
    assert_eq!(store.put_new(&format!("t/{made}"), body(made)).await.unwrap(), PutOutcome::Created);
}

#[test]
fn a_read_only_disk_is_told_and_can_still_be_read() {
    on_a_small_disk(
        "a_read_only_disk_is_told_and_can_still_be_read",
        "folder::meets_a_read_only_disk",
        "mkdir \"$0/t\"; echo body >\"$0/t/a\"; mount -o remount,ro \"$0\"; ",
    );
}

#[tokio::test]
#[ignore = "run by a_read_only_disk_is_told_and_can_still_be_read on a disk of its own"]
async fn meets_a_read_only_disk() {
    let store = open(&folder()).await;
    assert_eq!(store.get("t/a").await.unwrap(), Bytes::from_static(b"body\n"));
    assert_eq!(store.put_new("t/a", Bytes::from_static(b"body\n")).await.unwrap(), PutOutcome::AlreadyThere);
    let denied = |error: &StoreError| matches!(error, StoreError::Denied { .. });
    let error = store.put_new("t/b", body(1)).await.unwrap_err();
    assert!(denied(&error), "{error}");
    assert!(error.to_string().starts_with("write t/b in file://"), "{error}");
    assert!(denied(&store.replace("t/a", body(1)).await.unwrap_err()));
    assert!(denied(&store.delete("t/a").await.unwrap_err()));
    assert_eq!(store.list_all("").await.unwrap().len(), 1);
}
