//! A whole download: list, choose, fetch by several threads, check, record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use attune_formats::files::{self, FileError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::client::{Client, Endpoint};
use crate::error::HubError;
use crate::fetch::{Fetch, Fetched, hashes_of_file, note_file_of, read_small, remove_part};
use crate::names::{check_file_name, check_repository, encode, fits};
use crate::select::{INDEX, RemoteFile, Wanted, is_pickle, read_listing, select, shards};

/// What to download.
#[derive(Debug)]
pub struct Pull<'a> {
    /// From where.
    pub endpoint: &'a Endpoint,
    /// `org/name`.
    pub repository: &'a str,
    /// A branch, a tag or a commit.
    pub revision: &'a str,
    /// Into which folder.
    pub out: &'a Path,
    /// Which files.
    pub wanted: &'a Wanted,
    /// Files at once.
    pub parallel: usize,
    /// The pause before the first repetition.
    pub first_pause: Duration,
}

/// Name of the record in the folder.
pub const RECORD: &str = "pull.json";
const SCRATCH: &str = ".pull";
const LOCK: &str = "lock";
const MOST_LISTING_BYTES: u64 = 64 << 20;

/// `pull.json`: what the folder holds and where it came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The hub.
    pub endpoint: String,
    /// The repository.
    pub repository: String,
    /// What was asked for.
    pub revision: String,
    /// What that was.
    pub commit: String,
    /// Every file, by name.
    pub files: BTreeMap<String, RecordedFile>,
}

/// A file of the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedFile {
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Whether the hub names a hash and it is this one's.
    pub checked: bool,
    /// The commit that it is of.
    pub commit: String,
}

/// What is to be done.
#[derive(Debug)]
pub struct Planned {
    /// The commit.
    pub commit: String,
    /// The files, in order of name.
    pub files: Vec<RemoteFile>,
    /// Files that fit a pattern and can run programs when they are read: they are left where they are.
    pub left_out: Vec<String>,
}

/// What was done.
#[derive(Debug)]
pub struct Pulled {
    /// The record as written.
    pub record: Record,
    /// Bytes that came over the line.
    pub downloaded_bytes: u64,
    /// Files that were there already.
    pub present: BTreeSet<String>,
    /// Files of the folder that an earlier pull brought from another commit, and this one did not ask for.
    pub older: BTreeSet<String>,
}

/// Sees how far it is. Called from several threads.
pub trait Watch: Sync {
    /// Bytes that are there, of how many.
    fn progress(&self, done_bytes: u64, total_bytes: u64);
    /// A request will be repeated.
    fn again(&self, name: &str, reason: &str, pause: Duration);
    /// Whether to stop.
    fn stopped(&self) -> bool;
}

impl Pull<'_> {
    /// Asks for the list of files and chooses.
    ///
    /// # Errors
    /// Whatever the hub refuses, and names that are not safe.
    pub fn plan(&self, watch: &dyn Watch) -> Result<Planned, HubError> {
        check_repository(self.repository)?;
        let client = Client::new();
        let base = self.endpoint.address();
        let address =
            format!("{base}/api/models/{}/revision/{}?blobs=true", self.repository, encode(self.revision, false));
        let listing = read_small(&self.fetcher(&client, watch), &address, MOST_LISTING_BYTES)?;
        let (commit, all) = read_listing(&listing, &crate::client::shown(&address))?;
        let mut chosen: Vec<RemoteFile> = select(self.repository, &all, self.wanted)?.into_iter().cloned().collect();
        let whole_model = self.wanted.files.is_empty() && self.wanted.patterns.is_empty();
        if whole_model && chosen.iter().any(|file| file.name == INDEX) {
            let index = read_small(&self.fetcher(&client, watch), &self.address(&commit, INDEX), MOST_LISTING_BYTES)?;
            chosen.extend(shards(self.repository, &index, &all)?.into_iter().cloned());
        }
        let mut folded = BTreeSet::new();
        for file in &chosen {
            check_file_name(&file.name)?;
            if !folded.insert(file.name.to_lowercase()) || file.name == RECORD {
                let reason = "another file would have its name on some systems";
                return Err(HubError::UnsafeName { name: file.name.clone(), reason });
            }
        }
        chosen.sort_by(|a, b| a.name.cmp(&b.name));
        let fits_a_pattern = |name: &str| self.wanted.patterns.iter().any(|pattern| fits(pattern, name));
        let left_out = all.iter().map(|file| &file.name).filter(|name| is_pickle(name) && fits_a_pattern(name));
        Ok(Planned { commit, files: chosen, left_out: left_out.cloned().collect() })
    }

    fn address(&self, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{}", self.endpoint.address(), self.repository, encode(name, true))
    }

    fn fetcher<'b>(&'b self, client: &'b Client, watch: &'b dyn Watch) -> Fetch<'b> {
        Fetch { client, endpoint: self.endpoint, repository: self.repository, first_pause: self.first_pause, watch }
    }

    /// Downloads what was planned. What is there and right is not fetched again.
    ///
    /// # Errors
    /// Whatever the hub or the disk refuses; files that have arrived are kept.
    pub fn run(&self, planned: &Planned, watch: &dyn Watch) -> Result<Pulled, HubError> {
        files::create_dir_all(&self.out.join(SCRATCH))?;
        let lock = self.lock()?;
        let old = self.old_record()?;
        let total: u64 = planned.files.iter().filter_map(|file| file.size_bytes).fold(0, u64::saturating_add);
        self.check_space(planned, total)?;
        let shared =
            Shared { done: Mutex::new(0), total, next: AtomicUsize::new(0), failed: AtomicBool::new(false), watch };
        let results: Mutex<Vec<(String, Fetched)>> = Mutex::new(Vec::new());
        let failure: Mutex<Option<HubError>> = Mutex::new(None);
        let client = Client::new();
        std::thread::scope(|scope| {
            for _ in 0..self.parallel.clamp(1, 8) {
                scope.spawn(|| {
                    while let Some(file) = planned.files.get(shared.next.fetch_add(1, Ordering::Relaxed)) {
                        match self.one(&client, planned, file, old.as_ref(), &shared) {
                            Ok(fetched) => lock_of(&results).push((file.name.clone(), fetched)),
                            Err(error) => {
                                // The first one is the cause; others are interrupted by it, and so come later.
                                lock_of(&failure).get_or_insert(error);
                                shared.failed.store(true, Ordering::SeqCst);
                            }
                        }
                        if shared.stopped() {
                            break;
                        }
                    }
                });
            }
        });
        if let Some(error) = lock_of(&failure).take() {
            return Err(error);
        }
        if watch.stopped() {
            return Err(HubError::Interrupted);
        }
        let results = std::mem::take(&mut *lock_of(&results));
        let pulled = self.record(planned, old, results);
        let path = self.out.join(RECORD);
        files::write_atomic(&path, &to_json(&pulled.record, &path)?)?;
        for file in &planned.files {
            remove_part(&self.part(&file.name))?;
        }
        self.tidy(lock);
        Ok(pulled)
    }

    fn record(&self, planned: &Planned, old: Option<Record>, results: Vec<(String, Fetched)>) -> Pulled {
        let mut recorded = old.map(|old| old.files).unwrap_or_default();
        recorded.retain(|name, _| check_file_name(name).is_ok() && self.out.join(name).exists());
        let (mut downloaded_bytes, mut present) = (0, BTreeSet::new());
        for (name, fetched) in results {
            downloaded_bytes += fetched.downloaded_bytes;
            if fetched.was_present {
                present.insert(name.clone());
            }
            recorded.insert(name, recorded_of(&fetched, &planned.commit));
        }
        let record = Record {
            endpoint: self.endpoint.address().into(),
            repository: self.repository.into(),
            revision: self.revision.into(),
            commit: planned.commit.clone(),
            files: recorded,
        };
        let of_before = |(name, file): (&String, &RecordedFile)| (file.commit != record.commit).then(|| name.clone());
        let older = record.files.iter().filter_map(of_before).collect();
        Pulled { record, downloaded_bytes, present, older }
    }

    fn lock(&self) -> Result<std::fs::File, HubError> {
        let path = self.out.join(SCRATCH).join(LOCK);
        let open = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(|source| FileError::from_io("open", &path, source))?;
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => Err(HubError::Locked { dir: self.out.into() }),
            // Some network file systems cannot lock.
            _ => Ok(file),
        }
    }

    fn old_record(&self) -> Result<Option<Record>, HubError> {
        let path = self.out.join(RECORD);
        let bytes = match files::read_limited(&path, MOST_LISTING_BYTES) {
            Err(FileError::NotFound { .. }) => return Ok(None),
            bytes => bytes?,
        };
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| HubError::BadRecord { path, reason: format!("no record of a download: {error}") })?;
        if record.repository != self.repository {
            let repository = self.repository.into();
            return Err(HubError::OtherRepository { dir: self.out.into(), holds: record.repository, repository });
        }
        Ok(Some(record))
    }

    /// Takes the scratch folder away, unless parts of files that this pull did not ask for are in it.
    fn tidy(&self, lock: std::fs::File) {
        drop(lock);
        let scratch = self.out.join(SCRATCH);
        let mut entries = std::fs::read_dir(&scratch).into_iter().flatten().flatten();
        if !entries.any(|entry| entry.file_name() != LOCK) {
            // What remains is empty and does no harm.
            let _ = std::fs::remove_file(scratch.join(LOCK)).and_then(|()| std::fs::remove_dir(&scratch));
        }
    }

    fn check_space(&self, planned: &Planned, total: u64) -> Result<(), HubError> {
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let here: u64 =
            planned.files.iter().map(|file| size(self.out.join(&file.name)) + size(self.part(&file.name))).sum();
        let needed_bytes = total.saturating_sub(here);
        match fs4::available_space(self.out) {
            Ok(free_bytes) if free_bytes < needed_bytes => {
                Err(HubError::NoSpace { dir: self.out.into(), needed_bytes, free_bytes })
            }
            _ => Ok(()),
        }
    }

    fn part(&self, name: &str) -> PathBuf {
        // The hash tells apart what different folders hold; a path of all folders could be too long for a name.
        let hash = Sha256::digest(name.as_bytes());
        let last = name.rsplit('/').next().unwrap_or_default();
        let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        self.out.join(SCRATCH).join(format!("{hash}-{last}.part"))
    }

    fn one(
        &self,
        client: &Client,
        planned: &Planned,
        file: &RemoteFile,
        old: Option<&Record>,
        shared: &Shared<'_>,
    ) -> Result<Fetched, HubError> {
        let (path, part) = (self.out.join(&file.name), self.part(&file.name));
        if path.exists() {
            let (sha256, git_sha1, size_bytes) = hashes_of_file(&path, file.sha256.is_none(), shared)?;
            let note = files::read_limited(&note_file_of(&part), 4096).ok();
            let note: Option<RecordedFile> = note.and_then(|note| serde_json::from_slice(&note).ok());
            let recorded = note.as_ref().or_else(|| old?.files.get(&file.name));
            let listed = match (&file.sha256, &file.git_sha1) {
                (Some(listed), _) => Some(*listed == sha256),
                (None, Some(listed)) => Some(*listed == git_sha1),
                (None, None) => None,
            };
            let is_ours = recorded.is_some_and(|recorded| recorded.sha256 == sha256);
            let is_this = is_ours && recorded.is_some_and(|recorded| recorded.commit == planned.commit);
            if listed.unwrap_or(is_this) {
                shared.add(size_bytes as i64);
                let checked = listed.is_some();
                return Ok(Fetched { size_bytes, sha256, checked, downloaded_bytes: 0, was_present: true });
            }
            if !is_ours {
                return Err(HubError::Occupied { path });
            }
        }
        let fetch = Fetch { watch: shared, ..self.fetcher(client, shared) };
        let address = self.address(&planned.commit, &file.name);
        let fetched = fetch.file(file, &address, &planned.commit, &part, &|bytes| shared.add(bytes))?;
        // Before the file has its name: a pull that ends early must know its own files again.
        let entry = recorded_of(&fetched, &planned.commit);
        files::write_atomic(&note_file_of(&part), &to_json(&entry, &part)?)?;
        files::create_dir_all(path.parent().unwrap_or(self.out))?;
        // The content was synced when it arrived.
        files::rename_file(&part, &path)?;
        Ok(fetched)
    }
}

fn recorded_of(fetched: &Fetched, commit: &str) -> RecordedFile {
    let Fetched { size_bytes, checked, .. } = *fetched;
    RecordedFile { size_bytes, sha256: fetched.sha256.clone(), checked, commit: commit.into() }
}

fn to_json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>, HubError> {
    let json = serde_json::to_vec_pretty(value);
    let mut json = json.map_err(|error| HubError::BadRecord { path: path.into(), reason: error.to_string() })?;
    json.push(b'\n');
    Ok(json)
}

/// What the threads share.
struct Shared<'a> {
    done: Mutex<u64>,
    total: u64,
    next: AtomicUsize,
    failed: AtomicBool,
    watch: &'a dyn Watch,
}

impl Shared<'_> {
    fn add(&self, bytes: i64) {
        let mut done = lock_of(&self.done);
        *done = done.saturating_add_signed(bytes);
        self.watch.progress(*done, self.total);
    }
}

impl Watch for Shared<'_> {
    fn progress(&self, _: u64, _: u64) {}

    fn again(&self, name: &str, reason: &str, pause: Duration) {
        self.watch.again(name, reason, pause);
    }

    fn stopped(&self) -> bool {
        self.failed.load(Ordering::SeqCst) || self.watch.stopped()
    }
}

fn lock_of<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Sleeps, and wakes up when it is to stop.
pub(crate) fn sleep(pause: Duration, watch: &dyn Watch) {
    let begin = Instant::now();
    while begin.elapsed() < pause && !watch.stopped() {
        std::thread::sleep(Duration::from_millis(50).min(pause));
    }
}
