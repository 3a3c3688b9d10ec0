//! Downloads from a server of this test's own, sound and with every fault.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write where they like and may panic")]

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use attune_hub::{Endpoint, HubError, Planned, Pull, Pulled, Record, Token, Wanted, Watch};
use server::{COMMIT, Fault, Hub, bytes, sha256};

const WEIGHTS: &str = "model.safetensors";
const MIB: usize = 1 << 20;

/// Remembers what it was told, and stops after so many bytes.
#[derive(Default)]
struct Watcher {
    done: AtomicU64,
    total: AtomicU64,
    again: Mutex<Vec<(String, Duration)>>,
    stop: AtomicBool,
    stop_at: Option<u64>,
}

impl Watch for Watcher {
    fn progress(&self, done_bytes: u64, total_bytes: u64) {
        self.done.store(done_bytes, Ordering::SeqCst);
        self.total.store(total_bytes, Ordering::SeqCst);
        if self.stop_at.is_some_and(|at| done_bytes >= at) {
            self.stop.store(true, Ordering::SeqCst);
        }
    }

    fn again(&self, _: &str, reason: &str, pause: Duration) {
        self.again.lock().unwrap().push((reason.to_owned(), pause));
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

struct Room {
    hub: Hub,
    dir: tempfile::TempDir,
    endpoint: Endpoint,
    wanted: Wanted,
    watcher: Watcher,
}

impl Room {
    fn of(hub: Hub) -> Self {
        let token = Token::new("hf_s3cret", "HF_TOKEN").unwrap();
        let endpoint = Endpoint::new(&hub.address).unwrap().with_token(Some(token));
        let dir = tempfile::tempdir().unwrap();
        Self { hub, dir, endpoint, wanted: Wanted::default(), watcher: Watcher::default() }
    }

    /// A model of a small and a large file.
    fn new() -> Self {
        Self::of(Hub::new(&[("config.json", b"{}", false), (WEIGHTS, &bytes(MIB, 1), true)]))
    }

    fn with(faults: impl IntoIterator<Item = Fault>) -> Self {
        let room = Self::new();
        room.hub.fault(WEIGHTS, faults);
        room
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.out().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn weights(&self) -> Vec<u8> {
        self.hub.state().files[WEIGHTS].content.clone()
    }

    fn planned(&self) -> Result<Planned, HubError> {
        self.with_pull(|pull| pull.plan(&self.watcher))
    }

    fn pull(&self) -> Result<Pulled, HubError> {
        self.with_pull(|pull| pull.run(&pull.plan(&self.watcher)?, &self.watcher))
    }

    fn with_pull<T>(&self, run: impl FnOnce(&Pull<'_>) -> T) -> T {
        run(&Pull {
            endpoint: &self.endpoint,
            repository: "org/name",
            revision: "main",
            out: &self.out(),
            wanted: &self.wanted,
            parallel: 3,
            first_pause: Duration::from_millis(2),
        })
    }

    /// Pulls, and finds everything as the hub has it.
    #[track_caller]
    fn pulls_all(&self) -> Pulled {
        let pulled = self.pull().unwrap_or_else(|error| panic!("{error}"));
        for (name, file) in &self.hub.state().files {
            assert!(self.read(name) == file.content, "{name} differs");
            assert_eq!(pulled.record.files[name].sha256, sha256(&file.content));
        }
        assert!(!self.out().join(".pull").exists(), "nothing temporary stays");
        assert_eq!(self.watcher.done.load(Ordering::SeqCst), self.size_of_all(), "the counter ends at the size of all");
        pulled
    }

    fn size_of_all(&self) -> u64 {
        self.hub.state().files.values().map(|file| file.content.len() as u64).sum()
    }

    /// Pulls in vain; the file does not appear, and nothing secret is said.
    #[track_caller]
    fn refused(&self) -> HubError {
        let Err(error) = self.pull() else { panic!("it was downloaded") };
        assert!(!self.out().join(WEIGHTS).exists(), "what is not right has no name");
        assert!(!self.out().join("pull.json").exists());
        let said = format!("{error} {error:?} {:?} {:?}", error.hint(), self.watcher.again.lock().unwrap());
        assert!(!said.contains("s3cret"), "{said}");
        error
    }

    fn offsets(&self) -> Vec<u64> {
        self.hub.asked(WEIGHTS).iter().map(|seen| seen.from_byte).collect()
    }
}

fn part_of(out: &Path) -> Option<Vec<u8>> {
    let entries = fs::read_dir(out.join(".pull")).ok()?;
    let path = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with("model.safetensors.part"))?;
    fs::read(path).ok()
}

#[test]
fn a_model_arrives_with_its_record_and_a_second_pull_downloads_nothing() {
    let room = Room::new();
    let pulled = room.pulls_all();
    assert_eq!(pulled.downloaded_bytes, room.size_of_all());
    assert!(pulled.present.is_empty());
    let record: Record = serde_json::from_slice(&room.read("pull.json")).unwrap();
    assert_eq!(
        (record.repository.as_str(), record.revision.as_str(), record.commit.as_str()),
        ("org/name", "main", COMMIT)
    );
    assert_eq!(record.endpoint, room.hub.address);
    assert!(record.files.values().all(|file| file.checked && file.commit == COMMIT), "{record:?}");
    let downloads = room.hub.downloads();
    let again = room.pulls_all();
    assert_eq!((again.downloaded_bytes, again.present.len()), (0, 2));
    assert_eq!(room.hub.downloads(), downloads, "not even asked for");
    assert!(room.hub.state().seen.iter().all(|seen| seen.token.as_deref() == Some("Bearer hf_s3cret")));
}

#[test]
fn a_damaged_copy_is_fetched_again_and_a_file_of_someone_else_is_not_replaced() {
    let room = Room::new();
    room.pulls_all();
    fs::write(room.out().join("config.json"), "mine").unwrap();
    let error = room.pull().unwrap_err();
    assert!(matches!(&error, HubError::Occupied { path } if path.ends_with("config.json")), "{error}");
    assert_eq!(room.read("config.json"), b"mine");
    fs::remove_file(room.out().join("config.json")).unwrap();
    assert_eq!(room.pulls_all().downloaded_bytes, 2);
}

#[test]
fn breaks_in_the_middle_are_continued() {
    let room = Room::with([Fault::BreakAfter(300_000), Fault::BreakAfter(1), Fault::BreakAfter(0)]);
    let pulled = room.pulls_all();
    assert_eq!(pulled.downloaded_bytes, room.size_of_all(), "no byte came twice");
    assert_eq!(room.offsets(), [0, 300_000, 300_001, 300_001]);
    assert_eq!(room.watcher.again.lock().unwrap().len(), 3);
}

#[test]
fn a_server_that_breaks_for_ever_is_given_up_and_the_part_is_kept() {
    let room = Room::with(std::iter::once(Fault::BreakAfter(70_000)).chain(vec![Fault::BreakAfter(0); 20]));
    let error = room.refused();
    assert!(matches!(error, HubError::Connection { attempts: 6, .. }), "{error}");
    assert_eq!(part_of(&room.out()).unwrap(), room.weights()[..70_000]);
    room.hub.state().faults.clear();
    assert_eq!(room.pulls_all().downloaded_bytes, MIB as u64 - 70_000, "a later pull goes on, config.json was there");
}

#[test]
fn a_server_that_begins_anew_each_time_is_given_up() {
    let first = [Fault::BreakAfter(200_000), Fault::IgnoresRange];
    assert_eq!(Room::with(first).pulls_all().downloaded_bytes, MIB as u64 + 200_002);
    // One that never gets farther, however much it sends.
    let room = Room::with(vec![Fault::BeginsAnew(150_000); 50]);
    let error = room.refused();
    assert!(matches!(error, HubError::Connection { attempts: 6, .. }), "{error}");
    assert_eq!(room.offsets().len(), 6);
}

#[test]
fn what_arrives_damaged_is_deleted() {
    let room = Room::with([Fault::Damaged]);
    let error = room.refused();
    let expected_hash = sha256(&room.weights());
    assert!(matches!(&error, HubError::Checksum { expected, .. } if *expected == expected_hash), "{error}");
    assert_eq!(part_of(&room.out()), None);
    room.pulls_all();
    // A small file has git's hash.
    let room = Room::new();
    room.hub.fault("config.json", [Fault::Damaged]);
    assert!(matches!(room.pull(), Err(HubError::Checksum { .. })));
    assert!(!room.out().join("config.json").exists());
}

#[test]
fn a_damaged_part_of_an_earlier_pull_is_thrown_away() {
    let room = Room::new();
    room.hub.fault(WEIGHTS, std::iter::once(Fault::BreakAfter(100_000)).chain(vec![Fault::BreakAfter(0); 20]));
    room.refused();
    room.hub.state().faults.clear();
    let entries = fs::read_dir(room.out().join(".pull")).unwrap().flatten().map(|entry| entry.path());
    let part = entries.into_iter().find(|path| path.to_string_lossy().ends_with("safetensors.part")).unwrap();
    let mut damaged = fs::read(&part).unwrap();
    damaged[5] ^= 1;
    fs::write(&part, damaged).unwrap();
    assert_eq!(room.pulls_all().downloaded_bytes, 2 * MIB as u64 - 100_000, "the rest, and then all of it");
}

#[test]
fn a_changed_file_is_not_glued_to_what_was_begun() {
    for (hashes, etags) in [(true, true), (false, true), (false, false)] {
        let room = Room::with(std::iter::once(Fault::BreakAfter(500_000)).chain(vec![Fault::BreakAfter(0); 20]));
        (room.hub.state().hashes, room.hub.state().etags) = (hashes, etags);
        assert!(room.pull().is_err());
        assert_eq!(part_of(&room.out()).unwrap().len(), 500_000);
        {
            let mut state = room.hub.state();
            state.faults.clear();
            state.seen.clear();
            state.commit = "89abcdef0123456789abcdef0123456789abcdef".into();
            state.files.get_mut(WEIGHTS).unwrap().content = bytes(MIB, 2);
        }
        let pulled = room.pull().unwrap_or_else(|error| panic!("{hashes} {etags}: {error}"));
        assert!(room.read(WEIGHTS) == bytes(MIB, 2), "{hashes} {etags}");
        assert_eq!(room.offsets(), [500_000, 0], "{hashes} {etags}");
        assert_eq!(pulled.record.files[WEIGHTS].checked, hashes);
    }
}

#[test]
fn retry_after_is_honoured() {
    let room = Room::with([Fault::Status(429, vec![("retry-after", "1".into())]), Fault::Status(503, vec![])]);
    let begin = Instant::now();
    room.pulls_all();
    assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    let again = room.watcher.again.lock().unwrap();
    assert!(again[0].0.contains("429") && again[0].1 >= Duration::from_secs(1), "{again:?}");
    assert!(again[1].0.contains("503") && again[1].1 < Duration::from_secs(1), "{again:?}");
}

#[test]
fn a_long_pause_is_refused_and_errors_that_stay_end_it() {
    let room = Room::with([Fault::Status(429, vec![("retry-after", "3600".into())])]);
    let error = room.refused();
    assert!(matches!(error, HubError::WaitTooLong { wait, .. } if wait.as_secs() == 3600), "{error}");
    let room = Room::with(vec![Fault::Status(500, vec![]); 20]);
    let error = room.refused();
    assert!(matches!(error, HubError::Status { status: 500, attempts: 6, .. }), "{error}");
    let room = Room::with([Fault::Status(418, vec![])]);
    assert!(matches!(room.refused(), HubError::Status { status: 418, attempts: 1, .. }), "not repeated");
    let room = Room::new();
    room.hub.fault("api", [Fault::Status(404, vec![("x-error-message", "Repository not found".into())])]);
    let error = room.refused();
    assert!(matches!(&error, HubError::NotFound { said, .. } if said == "Repository not found"), "{error}");
}

#[test]
fn another_host_gets_the_request_and_not_the_token() {
    for (hashes, begun) in [(true, false), (false, false), (true, true)] {
        let room = Room::new();
        let storage = Hub::new(&[(WEIGHTS, &room.weights(), true)]);
        (room.hub.state().storage, room.hub.state().hashes) = (Some(storage.address.clone()), hashes);
        if begun {
            storage.fault(WEIGHTS, [Fault::BreakAfter(123_456)]);
        }
        room.pulls_all();
        let there = storage.asked(WEIGHTS);
        let expected: &[u64] = if begun { &[0, 123_456] } else { &[0] };
        assert_eq!(there.iter().map(|seen| seen.from_byte).collect::<Vec<_>>(), expected);
        assert!(there.iter().all(|seen| seen.token.is_none()), "{there:?}");
        assert!(room.hub.asked(WEIGHTS).iter().all(|seen| seen.token.is_some()));
    }
}

#[test]
fn redirects_end() {
    let room = Room::new();
    room.hub.state().storage = Some(room.hub.address.clone());
    let error = room.refused();
    assert!(error.to_string().contains("more than 10 redirects"), "{error}");
    let room = Room::new();
    for away in ["http://hub.example", "file://x", "ftp://x", "http://"] {
        room.hub.state().storage = Some(away.into());
        let error = room.refused();
        assert!(matches!(error, HubError::Address { .. }), "{away}: {error}");
    }
}

#[test]
fn names_that_leave_the_folder_are_refused_before_anything_is_written() {
    for name in ["../evil.json", "a/../../evil.json", "/etc/evil.json", "C:\\evil.json", "nul.json", "x\u{1b}.json"] {
        let mut room = Room::of(Hub::new(&[("config.json", b"{}", false), (name, b"x", false)]));
        room.wanted.patterns.push("*.json".into());
        let error = room.pull().unwrap_err();
        assert!(matches!(error, HubError::UnsafeName { .. }), "{name}: {error}");
        assert_eq!(fs::read_dir(room.dir.path()).unwrap().count(), 0, "{name}");
    }
    // By way of the list of shards.
    let index = br#"{"weight_map": {"a": "../evil.safetensors"}}"#;
    let files: [(&str, &[u8], bool); 3] = [
        ("config.json", b"{}", false),
        ("model.safetensors.index.json", index, false),
        ("../evil.safetensors", b"x", true),
    ];
    let room = Room::of(Hub::new(&files));
    assert!(matches!(room.pull(), Err(HubError::UnsafeName { .. })));
    let room = Room::of(Hub::new(&files[..2]));
    assert!(matches!(room.pull(), Err(HubError::NothingFits { .. })));
    // Two names that are one on some systems, and the name of the record.
    for names in [["A.json", "a.json"], ["pull.json", "x.json"]] {
        let mut room = Room::of(Hub::new(&[(names[0], b"{}", false), (names[1], b"[]", false)]));
        room.wanted.patterns.push("*".into());
        assert!(matches!(room.pull(), Err(HubError::UnsafeName { .. })), "{names:?}");
    }
}

#[test]
fn more_than_the_file_has_is_not_stored() {
    let room = Room::with([Fault::Longer(3 * MIB)]);
    let error = room.refused();
    assert!(matches!(error, HubError::TooLong { expected_bytes, .. } if expected_bytes == MIB as u64), "{error}");
    assert_eq!(part_of(&room.out()), None);
    room.pulls_all();
}

#[test]
fn a_body_without_its_length() {
    let room = Room::with([Fault::NoLength]);
    room.pulls_all();
    // Nobody says how long it is: it is taken as it comes, and the etag is not a hash.
    let room = Room::with([Fault::NoLength]);
    room.hub.state().hashes = false;
    assert!(!room.pulls_all().record.files[WEIGHTS].checked);
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let room = Room::with([Fault::BreakAfter(100_000), Fault::WrongRange]);
    assert!(matches!(room.refused(), HubError::Protocol { .. }));
    let room = Room::with([Fault::OtherCommit]);
    let error = room.refused();
    assert!(matches!(&error, HubError::Protocol { reason, .. } if reason.contains(COMMIT)), "{error}");
    let room = Room::new();
    room.hub.state().commit = "main".into();
    assert!(matches!(room.refused(), HubError::Protocol { .. }));
}

#[test]
fn access_that_is_refused_names_the_page_and_never_the_token() {
    let mut room = Room::new();
    room.hub.state().wants_token = Some("hf_other".into());
    let error = room.refused();
    assert!(matches!(&error, HubError::Refused { status: 403, .. }), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains(&format!("{}/org/name", room.hub.address)) && hint.contains("HF_TOKEN"), "{hint}");
    room.endpoint = Endpoint::new(&room.hub.address).unwrap();
    let error = room.refused();
    assert!(matches!(&error, HubError::Refused { status: 401, token_from: None, .. }), "{error}");
    assert!(error.hint().unwrap().contains("set HF_TOKEN"), "{error}");
}

#[test]
fn shards_are_those_of_the_index_and_other_weights_stay_there() {
    let index =
        br#"{"weight_map": {"a": "m-1-of-2.safetensors", "b": "m-2-of-2.safetensors", "c": "m-1-of-2.safetensors"}}"#;
    let room = Room::of(Hub::new(&[
        ("config.json", b"{}", false),
        ("model.safetensors.index.json", index, false),
        ("m-1-of-2.safetensors", b"one", true),
        ("m-2-of-2.safetensors", b"two", true),
        ("old.safetensors", b"old", true),
        ("pytorch_model.bin", b"bin", true),
        ("onnx/model.onnx", b"onnx", true),
    ]));
    let pulled = room.pull().unwrap();
    let names: Vec<&String> = pulled.record.files.keys().collect();
    assert_eq!(names, ["config.json", "m-1-of-2.safetensors", "m-2-of-2.safetensors", "model.safetensors.index.json"]);
    assert_eq!(room.read("m-2-of-2.safetensors"), b"two");
}

#[test]
fn the_record_decides_what_a_folder_is() {
    let room = Room::new();
    room.pulls_all();
    let path = room.out().join("pull.json");
    let sound = room.read("pull.json");
    fs::write(&path, "{").unwrap();
    let error = room.pull().unwrap_err();
    assert!(matches!(error, HubError::BadRecord { .. }), "{error}");
    assert!(error.hint().unwrap().contains("remove"), "{error}");
    let other = String::from_utf8(sound.clone()).unwrap().replace("org/name", "org/other");
    fs::write(&path, other).unwrap();
    assert!(matches!(room.pull(), Err(HubError::OtherRepository { .. })));
    // Another commit: what it changed is replaced, what it no longer has is named.
    fs::write(&path, sound).unwrap();
    {
        let mut state = room.hub.state();
        state.commit = "89abcdef0123456789abcdef0123456789abcdef".into();
        state.files.get_mut(WEIGHTS).unwrap().content = bytes(1000, 3);
        state.files.remove("config.json");
    }
    let pulled = room.pull().unwrap();
    assert!(room.read(WEIGHTS) == bytes(1000, 3));
    assert_eq!(pulled.older.iter().collect::<Vec<_>>(), ["config.json"]);
}

#[test]
fn a_stop_keeps_what_has_arrived() {
    let mut room = Room::with([Fault::Slow(100_000, Duration::from_millis(20))]);
    room.watcher.stop_at = Some(300_000);
    assert!(matches!(room.refused(), HubError::Interrupted));
    let begun = part_of(&room.out()).unwrap().len() as u64;
    assert!((300_000 - 2..MIB as u64).contains(&begun), "{begun}");
    room.watcher = Watcher::default();
    let pulled = room.pulls_all();
    assert_eq!(*room.offsets().last().unwrap(), begun);
    assert!(pulled.downloaded_bytes <= MIB as u64 - begun + 2);
}

#[test]
fn a_part_of_another_file_outlives_a_pull() {
    let mut room = Room::with(std::iter::once(Fault::BreakAfter(200_000)).chain(vec![Fault::BreakAfter(0); 20]));
    room.refused();
    room.wanted.files = vec!["config.json".into()];
    room.pull().unwrap();
    assert_eq!(part_of(&room.out()).map(|part| part.len()), Some(200_000));
}

#[test]
fn one_pull_at_a_time_and_no_more_than_the_disk_holds() {
    let room = Room::new();
    fs::create_dir_all(room.out().join(".pull")).unwrap();
    let lock = fs::File::create(room.out().join(".pull/lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(room.refused(), HubError::Locked { .. }));
    drop(lock);
    let mut planned = room.planned().unwrap();
    planned.files[1].size_bytes = Some(u64::MAX / 2);
    let error = room.with_pull(|pull| pull.run(&planned, &room.watcher)).unwrap_err();
    assert!(matches!(error, HubError::NoSpace { .. }), "{error}");
    room.pulls_all();
}
