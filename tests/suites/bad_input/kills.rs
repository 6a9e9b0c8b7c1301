//! Files that are written when the program is killed, or the disk fails: at every call that changes a file or its name.

use std::path::Path;
use std::process::Command;

use journal::Kind;
use journal_tests::processes::{Finished, Program, replay};
use journal_tests::skip;

use super::{TABLE, filled_journal};

/// A file of each format.
const FILES: [&str; 6] =
    ["notes.json", "notes.json.gz", "notes.json.zst", "notes.csv", "notes.sqlite", "notes.parquet"];
/// The calls that write, make durable, and give and take names, as Linux has them.
const CALLS: [&str; 6] =
    ["write", "pwrite64", "fsync,fdatasync", "link,linkat", "rename,renameat,renameat2", "unlink,unlinkat"];
/// More calls of a kind than any of the files takes.
const CALLS_MAX: u32 = 400;

/// Whether the system lets a program be watched so.
fn can_inject() -> bool {
    let inject = ["-qq", "-e", "trace=write", "-e", "inject=write:error=EIO:when=400", "true"];
    Command::new("strace").args(inject).output().is_ok_and(|output| output.status.success())
}

fn restore(url: &str, file: &Path) -> Program {
    replay().args(["restore", "--journal", url, "--table", TABLE, "--at", "latest", "--output"]).arg(file)
}

/// The program, one of whose calls is met with `what`: the `when`-th of a thread.
fn met(program: Program, call: &str, what: &str, when: u32) -> Finished {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{what}:when={when}"));
    program.inside(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject, "--"]).run()
}

/// What is in the folder but the journal.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "journal").collect()
}

/// A file of one format as it ought to be, beside the journal it was made of.
struct Made<'a> {
    folder: &'a Path,
    url: &'a str,
    name: &'a str,
    file: std::path::PathBuf,
    whole: Vec<u8>,
}

/// Tries `check` on a file of each format, which is there when it begins.
fn for_each_file(test: &str, check: impl Fn(&Made<'_>)) {
    if !can_inject() {
        return skip(test, "strace cannot watch a program here");
    }
    let (folder, url) = filled_journal();
    for name in FILES {
        let file = folder.path().join(name);
        let _ = restore(&url, &file).run().success();
        let whole = std::fs::read(&file).unwrap();
        check(&Made { folder: folder.path(), url: &url, name, file, whole });
    }
}

#[test]
fn a_file_is_whole_or_not_there_wherever_its_making_is_killed() {
    for_each_file("kills::a_file_is_whole_or_not_there_wherever_its_making_is_killed", |made| {
        let Made { folder, url, name, file, whole } = made;
        std::fs::remove_file(file).unwrap();
        let mut killed = 0;
        for call in CALLS {
            for when in 1..=CALLS_MAX {
                let finished = met(restore(url, file), call, "signal=KILL", when);
                if finished.status.success() {
                    std::fs::remove_file(file).unwrap();
                    break;
                }
                assert_eq!(finished.code(), None, "{name}, {call} {when}: {}", finished.stderr);
                killed += 1;
                let named = file.exists();
                assert!(
                    !named || std::fs::read(file).unwrap() == *whole,
                    "{name}, {call} {when}: a half file has the name"
                );
                // The same command again: it makes the file, or says that it is there.
                let again = restore(url, file).run();
                if named {
                    assert_eq!(again.code(), Some(Kind::Conflict.exit_code().into()), "{}", again.stderr);
                    assert!(again.stderr.contains("--force"), "{}", again.stderr);
                } else {
                    let _ = again.success();
                }
                assert!(std::fs::read(file).unwrap() == *whole, "{name}, {call} {when}");
                for left in names(folder) {
                    assert!(left == *name || left.ends_with(".partial"), "{name}, {call} {when}: {left} is left");
                    std::fs::remove_file(folder.join(left)).unwrap();
                }
                assert!(when < CALLS_MAX, "{name} takes more than {CALLS_MAX} calls of {call}");
            }
        }
        assert!(killed > 3, "{name}: only {killed} calls were met");
        println!("{name}: killed {killed} times");
    });
}

#[test]
fn a_file_is_whole_or_not_there_whichever_call_its_disk_fails() {
    for_each_file("kills::a_file_is_whole_or_not_there_whichever_call_its_disk_fails", |made| {
        let Made { folder, url, name, file, whole } = made;
        // What a restore replaces stays until the new file is whole.
        for (call, error) in [
            ("pwrite64", "EIO"),
            ("fsync,fdatasync", "EIO"),
            ("rename,renameat,renameat2", "EROFS"),
            ("fsync,fdatasync", "ENOSPC"),
        ] {
            for when in 1..=CALLS_MAX {
                let finished = met(restore(url, file).arg("--force"), call, &format!("error={error}"), when);
                let succeeded = finished.status.success();
                assert!(std::fs::read(file).unwrap() == *whole, "{name}, {call} {when}");
                assert_eq!(names(folder), [*name], "{name}, {call} {when}: nothing half-written is left");
                if succeeded {
                    break;
                }
                assert_eq!(finished.code(), Some(Kind::Unavailable.exit_code().into()), "{call}: {}", finished.stderr);
                for said in ["error: cannot write", *name, "hint: ", "again"] {
                    assert!(
                        finished.stderr.contains(said),
                        "{name}, {call}: {said:?} is not said: {}",
                        finished.stderr
                    );
                }
            }
        }
        std::fs::remove_file(file).unwrap();
    });
}
