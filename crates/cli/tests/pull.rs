//! `ft pull` through the program, from a server of this test's own.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used, reason = "tests write where they like")]

mod common;
#[path = "../../hub/tests/server/mod.rs"]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Said, Scratch, ft_with, names, small_base};
use serde_json::json;
use server::{COMMIT, Fault, Hub, bytes};

const TOKEN: &str = "hf_s3cret";

struct Room {
    hub: Hub,
    dir: tempfile::TempDir,
}

impl Room {
    fn of(files: &[(&str, &[u8], bool)]) -> Self {
        Self { hub: Hub::new(files), dir: tempfile::tempdir().unwrap() }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("models/org/name")
    }

    fn variables(&self) -> [(&str, &str); 7] {
        // Neither a proxy nor a token of whoever runs the tests.
        let home = self.dir.path().to_str().unwrap();
        let none = "";
        let hub = self.hub.address.as_str();
        [
            ("HF_ENDPOINT", hub),
            ("HF_TOKEN", TOKEN),
            ("HF_HOME", home),
            ("NO_PROXY", "127.0.0.1"),
            ("http_proxy", none),
            ("HTTP_PROXY", none),
            ("ALL_PROXY", none),
        ]
    }

    /// What the program says; the token is not in it.
    fn pull(&self, args: &[&str]) -> Said {
        let args: Vec<&str> = ["pull", "org/name"].iter().chain(args).copied().collect();
        let said = ft_with(self.dir.path(), &args, &self.variables());
        assert!(!said.stdout.contains("s3cret") && !said.stderr.contains("s3cret"), "{} {}", said.stdout, said.stderr);
        said
    }
}

#[test]
fn a_pulled_model_trains() {
    let base = tempfile::tempdir().unwrap();
    let scratch = Scratch::with_base(&small_base());
    fs::rename(scratch.path("base"), base.path().join("base")).unwrap();
    let files: Vec<(String, Vec<u8>)> = names(&base.path().join("base"))
        .into_iter()
        .map(|name| (name.clone(), fs::read(base.path().join("base").join(name)).unwrap()))
        .collect();
    let mut listed: Vec<(&str, &[u8], bool)> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice(), name.ends_with(".safetensors")))
        .collect();
    listed.push(("pytorch_model.bin", b"a pickle", true));
    let room = Room { hub: Hub::new(&listed), dir: tempfile::tempdir().unwrap() };
    let list = room.pull(&["--dry-run"]).done();
    assert!(list.stdout.contains("model.safetensors") && list.stdout.contains(COMMIT), "{}", list.stdout);
    assert!(!list.stdout.contains(".bin") && !room.out().exists(), "{}", list.stdout);
    let said = room.pull(&[]).done();
    assert!(said.stdout.contains("model.path: models/org/name"), "{}", said.stdout);
    assert_eq!(names(&room.out()).len(), files.len() + 1, "all but the pickle, and the record");
    for (name, content) in &files {
        assert!(fs::read(room.out().join(name)).unwrap() == *content, "{name}");
    }
    let downloads = room.hub.downloads();
    let again = room.pull(&["--json"]).done().json();
    assert_eq!((&again["downloaded_bytes"], again["present"].as_array().unwrap().len()), (&json!(0), files.len()));
    assert_eq!(room.hub.downloads(), downloads);
    // It is not there yet: the way to get it is told. Then it is, and trains.
    scratch.configure(&json!({ "model": { "path": "models/org/name" } }));
    scratch.train().refused(2, &["there is no such folder", "`ft pull org/name`"]);
    fs::create_dir_all(scratch.path("models/org")).unwrap();
    fs::rename(room.out(), scratch.path("models/org/name")).unwrap();
    scratch.train().done();
}

/// How many bytes of the weights have arrived.
fn begun(out: &Path) -> u64 {
    let entries = fs::read_dir(out.join(".pull")).into_iter().flatten().flatten();
    let is_part = |path: &PathBuf| path.to_string_lossy().ends_with("model.safetensors.part");
    entries.map(|entry| entry.path()).find(is_part).map_or(0, |path| fs::metadata(path).map_or(0, |part| part.len()))
}

#[test]
fn a_killed_download_goes_on_where_it_was() {
    let weights = bytes(8 << 20, 5);
    let room = Room::of(&[("config.json", b"{}", false), ("model.safetensors", &weights, true)]);
    room.hub.fault("model.safetensors", vec![Fault::Slow(64 << 10, Duration::from_millis(10)); 3]);
    let mut arrived = 0;
    for _ in 0..3 {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_ft"))
            .current_dir(room.dir.path())
            .args(["pull", "org/name"])
            .envs(room.variables())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while begun(&room.out()) < arrived + 500_000 {
            assert!(begin.elapsed() < Duration::from_secs(60), "nothing arrives");
            assert!(child.try_wait().unwrap().is_none(), "it is slow enough to be killed");
            std::thread::sleep(Duration::from_millis(5));
        }
        // SIGKILL: it cannot tidy up.
        child.kill().unwrap();
        child.wait().unwrap();
        arrived = begun(&room.out());
        assert!(!room.out().join("model.safetensors").exists() && !room.out().join("pull.json").exists());
    }
    let last = room.pull(&["--json"]).done().json();
    assert_eq!(last["downloaded_bytes"], json!((weights.len() as u64) - arrived), "only what was missing");
    assert!(fs::read(room.out().join("model.safetensors")).unwrap() == weights);
    let offsets: Vec<u64> = room.hub.asked("model.safetensors").iter().map(|seen| seen.from_byte).collect();
    assert_eq!(offsets.len(), 4);
    assert!(offsets[0] == 0 && offsets.is_sorted_by(|a, b| a < b) && offsets[3] == arrived, "{offsets:?}");
    assert_eq!(names(&room.out()), ["config.json", "model.safetensors", "pull.json"]);
}

#[test]
fn refusals_say_what_to_do() {
    let pickles = Room::of(&[("config.json", b"{}", false), ("pytorch_model.bin", b"x", true)]);
    pickles.pull(&[]).refused(3, &["pytorch_model.bin", "safetensors or GGUF version"]);
    let room = Room::of(&[("q4.gguf", b"GGUF4", true), ("q8.gguf", b"GGUF8", true), ("x.bin", b"x", true)]);
    room.pull(&[]).refused(2, &["several GGUF files", "--file q4.gguf", "--file q8.gguf"]);
    room.pull(&["--file", "q5.gguf"]).refused(2, &["there is no file \"q5.gguf\""]);
    room.pull(&["--file", "x.bin"]).refused(3, &["x.bin"]);
    let said = room.pull(&["--file", "q8.gguf"]).done();
    assert!(said.stdout.contains("model.path: models/org/name/q8.gguf"), "{}", said.stdout);
    let said = room.pull(&["--include", "*", "--dry-run", "--json"]).done();
    assert!(said.stderr.contains("not fetched") && said.stderr.contains("x.bin"), "{}", said.stderr);
    assert_eq!((said.json()["files"].as_array().unwrap().len(), &said.json()["left_out"]), (2, &json!(["x.bin"])));
    let hostile = Room::of(&[("../evil.gguf", b"GGUF", true)]);
    hostile.pull(&[]).refused(3, &["../evil.gguf"]);
    hostile.pull(&["--out", "/proc/nowhere", "--include", "*.json"]).refused(2, &["no file fits"]);
    room.hub.fault("api", [Fault::Status(404, vec![])]);
    room.pull(&["--revision", "v2"]).refused(1, &["not found", "--revision"]);
    room.hub.state().wants_token = Some("hf_other".into());
    room.pull(&[]).refused(1, &["refuses access", "accept the model's licence", "org/name"]);
    let out = tempfile::tempdir().unwrap();
    let said = ft_with(out.path(), &["pull", "../org/name"], &room.variables());
    said.refused(2, &["is no repository", "ft pull org/name"]);
    let variables = [("HF_ENDPOINT", "ftp://hub.example")];
    ft_with(out.path(), &["pull", "org/name"], &variables).refused(2, &["ftp://hub.example", "https"]);
    let variables = [("HF_ENDPOINT", room.hub.address.as_str()), ("HF_TOKEN", "hf_a\u{e9}s3cret")];
    let said = ft_with(out.path(), &["pull", "org/name"], &variables);
    assert!(!said.stderr.contains("s3cret"));
    said.refused(2, &["HF_TOKEN"]);
}

#[test]
fn a_build_without_key_store_says_so_before_it_reads_a_token() {
    if cfg!(feature = "key-store") {
        println!("SKIPPED: this build has access to the key store");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    ft_with(dir.path(), &["pull", "--login"], &[]).refused(2, &["key store", "HF_TOKEN", "--features key-store"]);
    ft_with(dir.path(), &["pull", "--login", "org/name"], &[]).refused(2, &["cannot be used with"]);
    ft_with(dir.path(), &["pull"], &[]).refused(2, &["ORG/NAME"]);
}

#[test]
fn a_damaged_download_fails_and_the_next_one_repairs_it() {
    let room = Room::of(&[("config.json", b"{}", false), ("model.safetensors", &bytes(100_000, 6), true)]);
    room.hub.fault("model.safetensors", [Fault::BreakAfter(1000), Fault::Damaged]);
    // The damaged byte is the first after the break.
    let said = room.pull(&[]);
    assert!(said.stderr.contains("again in"), "{}", said.stderr);
    said.refused(1, &["wrong checksum", "run the command again"]);
    room.pull(&[]).done();
}
