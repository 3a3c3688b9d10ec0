#![expect(clippy::disallowed_methods, reason = "tests damage files on purpose")]

use std::path::PathBuf;
use std::process::Command;

use super::*;

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("config.yaml");
    write_atomic(&path, b"first").unwrap();
    write_atomic(&path, b"2nd").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"2nd");
    assert_eq!(names_in(scratch.path()), ["config.yaml"], "no temporary name is left");
}

#[test]
fn a_failing_writer_leaves_the_old_content() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("config.yaml");
    write_atomic(&path, b"old").unwrap();
    let error = write_atomic_with(&path, Some(9), |out| {
        out.write_all(b"half")?;
        Err(io::ErrorKind::StorageFull.into())
    })
    .unwrap_err();
    assert!(matches!(&error, FileError::DiskFull { path: full, needed: Some(9), .. } if *full == path), "{error}");
    assert!(error.to_string().contains("the disk is full (9 bytes were to be written)"), "{error}");
    assert!(error.hint().unwrap().contains("nothing was lost"));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names_in(scratch.path()), ["config.yaml"]);
}

#[test]
fn wrong_targets_are_told_apart() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    assert!(matches!(write_atomic(dir, b""), Err(FileError::IsDirectory { path }) if path == dir));
    let missing = dir.join("no/such");
    assert!(
        matches!(write_atomic(&missing.join("file"), b""), Err(FileError::NotFound { path }) if path == missing),
        "the missing folder is named, not the file"
    );
    assert!(matches!(write_atomic(Path::new("/"), b""), Err(FileError::IsDirectory { .. })));
    assert!(matches!(hash_file(dir), Err(FileError::IsDirectory { .. })));
    assert!(matches!(hash_file(&missing), Err(FileError::NotFound { .. })));
    assert!(matches!(read_limited(dir, 10), Err(FileError::IsDirectory { .. })));
    assert!(matches!(DirWriter::create(&missing), Err(FileError::NotFound { path }) if path == dir.join("no")));
    assert_eq!(names_in(dir), [""; 0]);
}

#[cfg(unix)]
#[test]
fn devices_are_neither_replaced_nor_read() {
    for device in ["/dev/null", "/dev/zero"] {
        assert!(matches!(write_atomic(Path::new(device), b""), Err(FileError::NotAFile { .. })));
        assert!(matches!(read_limited(Path::new(device), 10), Err(FileError::NotAFile { .. })));
        assert!(matches!(hash_file(Path::new(device)), Err(FileError::NotAFile { .. })));
    }
}

#[test]
fn kinds_of_errors_are_sorted() {
    let sorted = |kind: io::ErrorKind| FileError::from_io("write", Path::new("x"), kind.into());
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
        assert!(matches!(sorted(kind), FileError::DiskFull { .. }), "{kind:?}");
    }
    for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
        assert!(matches!(sorted(kind), FileError::Permission { .. }), "{kind:?}");
    }
    assert!(matches!(sorted(io::ErrorKind::NotFound), FileError::NotFound { .. }));
    assert!(matches!(sorted(io::ErrorKind::TimedOut), FileError::Other { .. }));
}

#[cfg(target_os = "linux")]
#[test]
fn the_numbers_of_linux_mean_a_full_disk() {
    for (number, name) in [(28, "ENOSPC"), (122, "EDQUOT"), (27, "EFBIG")] {
        let error = FileError::from_io("write", Path::new("x"), io::Error::from_raw_os_error(number));
        assert!(matches!(error, FileError::DiskFull { .. }), "{name}: {error}");
    }
}

#[test]
fn reading_is_limited() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("file");
    write_atomic(&path, b"12345").unwrap();
    assert_eq!(read_limited(&path, 5).unwrap(), b"12345");
    let error = read_limited(&path, 4).unwrap_err();
    assert!(matches!(error, FileError::TooLarge { bytes: 5, limit: 4, .. }), "{error}");
}

#[test]
fn hashes_are_blake3() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("file");
    write_atomic(&path, b"").unwrap();
    // The empty input of the reference test vectors.
    assert_eq!(hash_file(&path).unwrap(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    let long: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    write_atomic(&path, &long).unwrap();
    assert_eq!(hash_file(&path).unwrap(), blake3::hash(&long).to_hex().as_str());
}

#[test]
fn plain_names() {
    for name in ["model.safetensors", "model-00001-of-00002.safetensors", "ü b.json", "..a", ".hidden"] {
        assert!(is_plain_name(name), "{name}");
    }
    for name in ["", ".", "..", "a/b", "/a", "a\\b", "C:a", "a\0b", "a\nb", "../a", &"x".repeat(256)] {
        assert!(!is_plain_name(name), "{name:?}");
    }
}

#[test]
fn a_folder_appears_only_when_committed() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("step-000001");
    let writer = DirWriter::create(&target).unwrap();
    writer.write("a", b"1").unwrap();
    writer.write_with("b", None, |out| out.write_all(b"22")).unwrap();
    assert!(matches!(writer.write("a", b"x"), Err(FileError::AlreadyExists { path }) if path == target.join("a")));
    assert!(!target.exists());
    assert!(remove_stale_temporaries(scratch.path()).unwrap().is_empty(), "a live writer is spared");
    writer.commit().unwrap();
    assert_eq!(names_in(scratch.path()), ["step-000001"]);
    assert_eq!(names_in(&target), ["a", "b"]);

    let second = DirWriter::create(&target).unwrap();
    second.write("c", b"3").unwrap();
    assert!(matches!(second.commit(), Err(FileError::AlreadyExists { path }) if path == target));
    assert_eq!(names_in(&target), ["a", "b"], "the first one is untouched");
    drop(DirWriter::create(&scratch.path().join("given-up")).unwrap());
    assert_eq!(names_in(scratch.path()), ["step-000001"], "nothing temporary is left");
}

#[test]
fn an_empty_folder_is_not_replaced_by_commit() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("adapter");
    fs::create_dir(&target).unwrap();
    assert!(matches!(DirWriter::create(&target).unwrap().commit(), Err(FileError::AlreadyExists { .. })));
}

#[test]
fn replace_takes_the_place_of_the_old_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("adapter");
    for content in ["one", "two", "three"] {
        let writer = DirWriter::create(&target).unwrap();
        writer.write(content, content.as_bytes()).unwrap();
        writer.replace().unwrap();
        assert_eq!(names_in(&target), [content]);
        assert_eq!(names_in(scratch.path()), ["adapter"]);
    }
}

#[test]
#[should_panic(expected = "is not a plain file name")]
fn a_folder_takes_plain_names_only() {
    let scratch = tempfile::tempdir().unwrap();
    let _ = DirWriter::create(&scratch.path().join("x")).unwrap().write("../escaped", b"");
}

/// The id of a process that has ended.
fn dead_pid() -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--list")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn leftovers_of_killed_processes_are_cleared_away() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (dead, own) = (dead_pid(), std::process::id());
    let stale_dir = dir.join(format!("step-000002.tmp-{dead}-0"));
    fs::create_dir(&stale_dir).unwrap();
    fs::write(stale_dir.join("state.json"), "half").unwrap();
    // Of an earlier process with the id of this one.
    let stale_file = dir.join(format!("run.json.tmp-{own}-999999"));
    fs::write(&stale_file, "half").unwrap();
    for kept in ["step-000001", "notes.tmp-", "a.tmp-x-0", "a.tmp-1", "tmp-1-2", ".tmp-1-2"] {
        fs::write(dir.join(kept), "").unwrap();
    }
    let mut expected = vec![stale_dir, stale_file];
    expected.sort();
    assert_eq!(remove_stale_temporaries(dir).unwrap(), expected);
    assert_eq!(names_in(dir), [".tmp-1-2", "a.tmp-1", "a.tmp-x-0", "notes.tmp-", "step-000001", "tmp-1-2"]);
    assert!(remove_stale_temporaries(dir).unwrap().is_empty());
    assert!(matches!(remove_stale_temporaries(&dir.join("nowhere")), Err(FileError::NotFound { .. })));
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_living_process_writes_is_spared() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let theirs = scratch.path().join(format!("adapter.tmp-{}-0", child.id()));
    fs::create_dir(&theirs).unwrap();
    let removed = remove_stale_temporaries(scratch.path());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(removed.unwrap().is_empty());
    assert_eq!(remove_stale_temporaries(scratch.path()).unwrap(), [theirs]);
}

#[test]
fn an_interrupted_replacement_is_undone() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let dead = dead_pid();
    let old = dir.join(format!("adapter.old-{dead}-7"));
    fs::create_dir(&old).unwrap();
    fs::write(old.join("weights"), "old").unwrap();
    fs::create_dir(dir.join(format!("adapter.tmp-{dead}-6"))).unwrap();
    assert_eq!(remove_stale_temporaries(dir).unwrap().len(), 2);
    assert_eq!(names_in(dir), ["adapter"]);
    assert_eq!(fs::read(dir.join("adapter/weights")).unwrap(), b"old");

    // The new one got its name, only the removal of the old one was interrupted.
    fs::create_dir(&old).unwrap();
    remove_stale_temporaries(dir).unwrap();
    assert_eq!(names_in(dir), ["adapter"]);
    assert_eq!(fs::read(dir.join("adapter/weights")).unwrap(), b"old");
}

#[test]
fn a_temporary_name_that_is_taken_is_passed_over() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("x");
    let probe = DirWriter::create(&target).unwrap();
    let number: u64 = probe.path().to_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
    // Other tests draw numbers at the same time, so a range is taken.
    for taken in number + 1..number + 200 {
        fs::create_dir(scratch.path().join(format!("x.tmp-{}-{taken}", std::process::id()))).unwrap();
    }
    let writer = DirWriter::create(&target).unwrap();
    writer.write("a", b"").unwrap();
    writer.commit().unwrap();
    assert_eq!(names_in(&target), ["a"]);
}

#[test]
fn a_log_keeps_whole_lines() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("metrics.jsonl");
    let mut log = LineLog::open(&path).unwrap();
    log.append("{\"step\": 1}").unwrap();
    log.append("").unwrap();
    log.append("{\"step\": 2}").unwrap();
    log.sync().unwrap();
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\": 1}\n\n{\"step\": 2}\n");

    // Torn by a kill, once within the last block and once longer than a block.
    for torn in [10, 8192, 20_000] {
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(vec![b'x'; torn]);
        fs::write(&path, bytes).unwrap();
        LineLog::open(&path).unwrap().append("{\"step\": 3}").unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("{\"step\": 2}\n{\"step\": 3}\n"), "torn {torn}");
        keep_lines_while(&path, |line| line != "{\"step\": 3}").unwrap();
    }
    fs::write(&path, vec![b'x'; 9000]).unwrap();
    LineLog::open(&path).unwrap().append("only").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"only\n");
}

#[test]
#[should_panic(expected = "has a line break")]
fn a_log_takes_single_lines_only() {
    let scratch = tempfile::tempdir().unwrap();
    let _ = LineLog::open(&scratch.path().join("log")).unwrap().append("a\nb");
}

#[test]
fn a_log_is_cut_to_the_lines_that_a_checkpoint_knows() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("metrics.jsonl");
    assert_eq!(keep_lines_while(&path, |_| true).unwrap(), 0, "a missing file has no lines");
    assert!(!path.exists());

    let up_to = |limit: u32| move |line: &str| line.parse::<u32>().is_ok_and(|step| step <= limit);
    for (content, kept, left) in [
        (&b"1\n2\n3\n4\n"[..], 2, &b"1\n2\n"[..]),
        (b"1\n2\n", 2, b"1\n2\n"),
        (b"5\n1\n", 0, b""),
        (b"1\n2", 1, b"1\n"),
        (b"1\n\xff\n2\n", 1, b"1\n"),
        (b"1\n5\n2\n", 1, b"1\n"),
        (b"", 0, b""),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(keep_lines_while(&path, up_to(2)).unwrap(), kept, "{content:?}");
        assert_eq!(fs::read(&path).unwrap(), left, "{content:?}");
    }
    assert!(matches!(
        keep_lines_while(scratch.path(), |_| true),
        Err(FileError::IsDirectory { .. } | FileError::Permission { .. })
    ));
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_on_a_full_device_says_so() {
    if !Path::new("/dev/full").exists() {
        println!("SKIPPED: no /dev/full");
        return;
    }
    let mut log = LineLog::open(Path::new("/dev/full")).unwrap();
    let error = log.append("line").unwrap_err();
    assert!(matches!(error, FileError::DiskFull { needed: Some(5), .. }), "{error}");
}

/// Where `on_a_really_full_disk` finds the small disk.
const SMALL_DISK: &str = "ATTUNE_TEST_SMALL_DISK";

/// Runs [`on_a_really_full_disk`] again in a name space of its own, where it may mount 200 KB of memory as a disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=200k none "$1" || { echo "SKIPPED: mount"; exit 0; }
        exec "$2" --exact files::tests::on_a_really_full_disk --nocapture"#;
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(scratch.path())
        .arg(std::env::current_exe().unwrap())
        .env(SMALL_DISK, scratch.path())
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: no unshare");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare:") || text.contains("SKIPPED: mount") {
        println!("SKIPPED: no small disk can be mounted here: {text}");
        return;
    }
    assert!(output.status.success() && text.contains("the small disk was filled"), "{text}");
}

/// Does nothing unless [`a_full_disk_loses_nothing`] calls it.
#[test]
fn on_a_really_full_disk() {
    let Some(disk) = std::env::var_os(SMALL_DISK).map(PathBuf::from) else { return };
    let (file, dir, log_path) = (disk.join("run.json"), disk.join("adapter"), disk.join("metrics.jsonl"));
    write_atomic(&file, b"old").unwrap();
    let writer = DirWriter::create(&dir).unwrap();
    writer.write("weights", b"old").unwrap();
    writer.replace().unwrap();
    let mut log = LineLog::open(&log_path).unwrap();
    log.append("first").unwrap();

    let big = vec![7u8; 1 << 20];
    let error = write_atomic(&file, &big).unwrap_err();
    assert!(matches!(&error, FileError::DiskFull { path, needed: Some(1_048_576), .. } if *path == file), "{error}");
    let writer = DirWriter::create(&dir).unwrap();
    let error = writer.write("weights", &big).unwrap_err();
    assert!(matches!(&error, FileError::DiskFull { path, .. } if *path == dir.join("weights")), "{error}");
    drop(writer);
    let error = log.append(&"x".repeat(1 << 20)).unwrap_err();
    assert!(matches!(&error, FileError::DiskFull { .. }), "{error}");

    assert_eq!(fs::read(&file).unwrap(), b"old");
    assert_eq!(fs::read(dir.join("weights")).unwrap(), b"old");
    log.append("second").unwrap();
    assert_eq!(fs::read(&log_path).unwrap(), b"first\nsecond\n");
    assert_eq!(names_in(&disk), ["adapter", "metrics.jsonl", "run.json"], "the space is free again");
    println!("the small disk was filled");
}
