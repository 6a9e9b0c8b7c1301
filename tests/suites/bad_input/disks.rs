//! Disks that are full, and folders that may not be read or written.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use journal::Kind;
use journal_tests::processes::{Program, binary, journal, replay};
use journal_tests::skip;

use super::{TABLE, assert_refused, content, filled_journal, history, new_journal};

/// A journal on a disk that is too small for the history, then larger.
const FULL_DISK: &str = r#"
mount -t tmpfs -o size=200k tmpfs "$DISK"
"$JOURNAL" init --journal "file://$DISK/journal"
code=0; "$JOURNAL" ingest --batch-records 100 --journal "file://$DISK/journal" "$HISTORY" 2>"$OUT/errors" || code=$?
echo "$code" >"$OUT/code"
find "$DISK" -name '*.seg' | wc -l >"$OUT/segments"
find "$DISK/journal/~tmp" -type f | wc -l >"$OUT/left"
"$REPLAY" verify --journal "file://$DISK/journal" >"$OUT/verify"
mount -o remount,size=64m "$DISK"
"$JOURNAL" ingest --batch-records 100 --journal "file://$DISK/journal" "$HISTORY"
"$REPLAY" export --journal "file://$DISK/journal" --table ripgrep --at latest >"$OUT/export"
"#;

#[test]
fn a_full_disk_loses_nothing_and_the_same_command_goes_on() {
    let test = "disks::a_full_disk_loses_nothing_and_the_same_command_goes_on";
    let (disk, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = |script: &str| {
        Command::new("unshare")
            .args(["-rm", "sh", "-euc", script])
            .env("DISK", disk.path())
            .env("OUT", out.path())
            .env("HISTORY", history())
            .env("JOURNAL", binary("journal"))
            .env("REPLAY", binary("replay"))
            .output()
    };
    match run("mount -t tmpfs -o size=200k tmpfs \"$DISK\"") {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            return skip(test, &format!("no disk can be mounted: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Err(error) => return skip(test, &format!("unshare cannot be run: {error}")),
    }
    let output = run(FULL_DISK).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap().trim().to_owned();
    let errors = read("errors");
    assert_eq!(read("code"), Kind::Unavailable.exit_code().to_string(), "{errors}");
    for text in ["error: ", "no space left", "hint: ", "free space", "again"] {
        assert!(errors.contains(text), "{text:?} is not said: {errors}");
    }
    let segments: u32 = read("segments").parse().unwrap();
    assert!(segments > 3, "only {segments} segments fitted");
    assert_eq!(read("left"), "0", "what was half written is cleared away");
    assert_eq!(read("export").lines().count(), 237);
}

/// A file for each format on a disk that is too small for it.
const FULL_OUTPUT: &str = r#"
mount -t tmpfs -o size=8k tmpfs "$DISK"
for file in notes.json notes.json.gz notes.csv notes.sqlite notes.parquet; do
    for command in restore export; do
        code=0; "$REPLAY" "$command" --table ripgrep --at latest --output "$DISK/$file" 2>>"$OUT/errors" || code=$?
        echo "$command-$file $code $(find "$DISK" -type f | wc -l)" >>"$OUT/codes"
    done
done
# A pipe to a disk that is full: what is there is the shell's, and the program says that it failed.
code=0; "$REPLAY" export --table ripgrep --at latest >"$DISK/piped" 2>>"$OUT/errors" || code=$?
rm "$DISK/piped"
echo "piped $code $(find "$DISK" -type f | wc -l)" >>"$OUT/codes"
"#;

#[test]
fn a_disk_that_fills_while_a_file_is_written_leaves_no_half_file() {
    let test = "disks::a_disk_that_fills_while_a_file_is_written_leaves_no_half_file";
    let (disk, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_folder, url) = filled_journal();
    let run = |script: &str| {
        Command::new("unshare")
            .args(["-rm", "sh", "-euc", script])
            .env("DISK", disk.path())
            .env("OUT", out.path())
            .env("JOURNAL_URL", &url)
            .env("REPLAY", binary("replay"))
            .output()
    };
    match run("mount -t tmpfs -o size=8k tmpfs \"$DISK\"") {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            return skip(test, &format!("no disk can be mounted: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Err(error) => return skip(test, &format!("unshare cannot be run: {error}")),
    }
    let output = run(FULL_OUTPUT).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let (codes, errors) = (read("codes"), read("errors"));
    for line in codes.lines() {
        let mut words = line.split(' ');
        let (file, code, left) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let full = code == Kind::Unavailable.exit_code().to_string() && left == "0";
        assert!(full, "{file}: exit code {code}, {left} files left: {errors}");
    }
    assert_eq!(codes.lines().count(), 11);
    assert_eq!(errors.matches("free space").count(), 11, "{errors}");
}

/// Whether this process may do what permissions forbid.
fn is_root() -> bool {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    std::fs::write(folder.path().join("x"), "x").is_ok()
}

/// The program without root's right to pass over permissions; none where that cannot be had.
fn bound_by_permissions(test: &str, program: Program) -> Option<Program> {
    if !is_root() {
        return Some(program);
    }
    let setpriv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"];
    if Command::new(setpriv[0]).args(&setpriv[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return Some(program.inside(&setpriv));
    }
    skip(test, "this is root, and setpriv, which could take its rights away, cannot be run");
    None
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_may_not_be_written() {
    let test = "disks::a_folder_that_may_not_be_written";
    let (folder, url) = filled_journal();
    let before = content(folder.path());
    let all: Vec<_> = folders(&folder.path().join("journal"));
    for path in &all {
        chmod(path, 0o500);
    }
    let mut lines = super::sources::unpacked_history();
    lines.truncate(10);
    let file = folder.path().join("some.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let ingest = journal().args(["ingest", "--journal", &url]).arg(&file);
    let Some(ingest) = bound_by_permissions(test, ingest) else { return };
    assert_refused(ingest.run(), Kind::Invalid, &[&url, "permission denied", "permissions"]);
    // Reading goes on.
    let export = replay().args(["export", "--journal", &url, "--table", TABLE, "--at", "latest"]);
    let export = bound_by_permissions(test, export).unwrap().run().success();
    assert_eq!(export.stdout.lines().count(), 237);
    for path in &all {
        chmod(path, 0o700);
    }
    std::fs::remove_file(&file).unwrap();
    assert!(content(folder.path()) == before, "nothing was changed");
}

#[test]
fn a_folder_that_may_not_be_read() {
    let test = "disks::a_folder_that_may_not_be_read";
    let (folder, url) = filled_journal();
    let path = folder.path().join("journal").join(TABLE);
    for mode in [0o000, 0o300] {
        chmod(&path, mode);
        let export = replay().args(["export", "--journal", &url, "--table", TABLE, "--at", "latest"]);
        let Some(export) = bound_by_permissions(test, export) else { return };
        assert_refused(export.run(), Kind::Invalid, &[&url, "permission denied", "permissions"]);
        chmod(&path, 0o700);
    }
}

#[test]
fn an_object_that_may_not_be_read() {
    let test = "disks::an_object_that_may_not_be_read";
    let (folder, url) = filled_journal();
    let segment = content(folder.path()).into_keys().find(|path| path.extension().is_some_and(|e| e == "seg")).unwrap();
    chmod(&segment, 0o000);
    let name = segment.file_name().unwrap().to_str().unwrap();
    for arguments in [vec!["export", "--table", TABLE, "--at", "latest"], vec!["verify"]] {
        let program = replay().args(arguments).args(["--journal", &url]);
        let Some(program) = bound_by_permissions(test, program) else { return };
        let finished = program.run();
        assert_eq!(finished.code(), Some(2), "{}{}", finished.stdout, finished.stderr);
        assert!(finished.stderr.contains(name), "{}", finished.stderr);
        assert!(finished.stderr.contains("permission denied"), "{}", finished.stderr);
    }
}

#[test]
fn a_journal_that_may_not_be_made() {
    let test = "disks::a_journal_that_may_not_be_made";
    let folder = tempfile::tempdir().unwrap();
    chmod(folder.path(), 0o500);
    let url = super::url(&folder.path().join("journal"));
    let Some(init) = bound_by_permissions(test, journal().args(["init", "--journal", &url])) else { return };
    assert_refused(init.run(), Kind::Invalid, &["permission denied", "permissions"]);
    let _ = new_journal();
}

fn folders(root: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut at = 0;
    while let Some(folder) = found.get(at).cloned() {
        at += 1;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.push(path);
            }
        }
    }
    found
}
