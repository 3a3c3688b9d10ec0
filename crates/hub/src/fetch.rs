//! One file: asked for, continued after breaks, checked.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use attune_formats::files::{self, FileError};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::client::{Answer, Client, Endpoint, NoAnswer, shown};
use crate::error::HubError;
use crate::pull::{Watch, sleep};
use crate::retry::{ATTEMPTS, LONGEST_ASKED, is_passing, pause, retry_after};
use crate::select::{RemoteFile, is_hex};

/// The most of a body whose length nobody says.
const MOST_UNKNOWN_BYTES: u64 = 64 << 20;
/// What must arrive for a break not to count as one more failed attempt.
const PROGRESS_BYTES: u64 = 64 << 10;

pub(crate) struct Fetch<'a> {
    pub(crate) client: &'a Client,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) repository: &'a str,
    pub(crate) first_pause: Duration,
    pub(crate) watch: &'a dyn Watch,
}

/// A file that is there.
pub(crate) struct Fetched {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: String,
    pub(crate) checked: bool,
    pub(crate) downloaded_bytes: u64,
    pub(crate) was_present: bool,
}

/// How one attempt ended.
enum Attempt {
    Whole,
    Broken(String),
}

impl Fetch<'_> {
    /// Asks until there is an answer of success, or no use in asking.
    fn ask(&self, address: &str, offset: u64, keep: &dyn Fn(Option<&str>) -> bool) -> Result<Answer, HubError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            if self.watch.stopped() {
                return Err(HubError::Interrupted);
            }
            let (reason, asked) = match self.client.get(self.endpoint, address, offset, keep) {
                Ok(answer) if matches!(answer.status, 200 | 206 | 416) => return Ok(answer),
                Ok(answer) => {
                    let status = answer.status;
                    let after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok());
                    let after = after.and_then(|value| retry_after(value, SystemTime::now()));
                    let error = self.refusal(answer, address, attempts);
                    if !is_passing(status) || attempts >= ATTEMPTS {
                        return Err(error);
                    }
                    (error.to_string(), after)
                }
                Err(NoAnswer::Fatal(error)) => return Err(error),
                Err(NoAnswer::Broken(reason)) if attempts >= ATTEMPTS => {
                    return Err(HubError::Connection { address: shown(address), reason, attempts });
                }
                Err(NoAnswer::Broken(reason)) => (reason, None),
            };
            if let Some(wait) = asked.filter(|wait| *wait > LONGEST_ASKED) {
                return Err(HubError::WaitTooLong { address: shown(address), wait });
            }
            let wait = pause(self.first_pause, attempts).max(asked.unwrap_or_default());
            self.watch.again(&shown(address), &reason, wait);
            sleep(wait, self.watch);
        }
    }

    fn refusal(&self, answer: Answer, address: &str, attempts: u32) -> HubError {
        let said = self.said(&answer);
        let address = shown(address);
        match answer.status {
            status @ (401 | 403) => HubError::Refused {
                address,
                status,
                said,
                page: format!("{}/{}", self.endpoint.address(), self.repository),
                token_from: self.endpoint.token().map(|token| token.from().to_owned()),
            },
            404 | 410 => HubError::NotFound { address, said },
            status => HubError::Status { address, status, said, attempts },
        }
    }

    /// What the server says, on one line, short, without the token should it repeat it.
    fn said(&self, answer: &Answer) -> String {
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let said = header("x-error-message").or_else(|| header("x-error-code")).unwrap_or_default();
        let said = match self.endpoint.token() {
            Some(token) => said.replace(token.secret(), "***"),
            None => said.to_owned(),
        };
        said.chars().filter(|c| !c.is_control()).take(300).collect()
    }

    /// Fetches one file into `part` and checks it. `add` hears of bytes that are there, or no longer.
    pub(crate) fn file(
        &self,
        file: &RemoteFile,
        address: &str,
        commit: &str,
        part: &Path,
        add: &dyn Fn(i64),
    ) -> Result<Fetched, HubError> {
        let mut downloaded_bytes = 0;
        let was_begun = part.exists();
        let counted = Cell::new(0);
        let add = &|bytes: i64| {
            counted.set(counted.get() + bytes);
            add(bytes);
        };
        let etag = self.transfer(file, address, commit, part, &mut downloaded_bytes, add)?;
        match check(file, etag.as_deref(), part, self.watch) {
            // What an earlier process left may be what is wrong: once more, from the start.
            Err(HubError::Checksum { .. }) if was_begun => {
                add(-counted.get());
                let etag = self.transfer(file, address, commit, part, &mut downloaded_bytes, add)?;
                check(file, etag.as_deref(), part, self.watch)
            }
            checked => checked,
        }
        .map(|(size_bytes, sha256, checked)| Fetched {
            size_bytes,
            sha256,
            checked,
            downloaded_bytes,
            was_present: false,
        })
    }

    fn transfer(
        &self,
        file: &RemoteFile,
        address: &str,
        commit: &str,
        part: &Path,
        downloaded_bytes: &mut u64,
        add: &dyn Fn(i64),
    ) -> Result<Option<String>, HubError> {
        let tag_file = tag_file_of(part);
        // In words, so that it is not taken for git's hash of the content.
        let of_commit = format!("commit {commit}");
        let recorded = files::read_limited(&tag_file, 1024).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let mut known = recorded.filter(|_| part.exists());
        let mut counted = 0i64;
        let (mut failed, mut furthest) = (0, 0);
        loop {
            let mut here = std::fs::metadata(part).map_or(0, |metadata| metadata.len());
            if known.is_none() || file.size_bytes.is_some_and(|size| here > size) {
                here = 0;
            }
            if here > 0 && Some(here) == file.size_bytes {
                add(here as i64 - counted);
                return Ok(known);
            }
            // Where the hub gives no etag, the commit says whether it is the same file.
            let same = |tag: Option<&str>| Some(tag.unwrap_or(&of_commit)) == known.as_deref();
            let answer = self.ask(address, here, &same)?;
            if let Some(other) = answer.commit.as_deref().filter(|other| *other != commit) {
                let reason = format!("commit {commit} was asked for, the hub sends {}", shown(other));
                return Err(HubError::Protocol { address: shown(address), reason });
            }
            // Another file than the one begun, or a range that the server cannot serve: from the start.
            if here > 0 && (answer.status == 416 || answer.status == 206 && !same(answer.etag.as_deref())) {
                remove_part(part)?;
                known = None;
                continue;
            }
            let offset = if answer.status == 206 { here } else { 0 };
            if answer.status == 206 && range_start(&answer) != Some(offset) || answer.status == 416 {
                let reason = "the range that is sent is not the one asked for".into();
                return Err(HubError::Protocol { address: shown(address), reason });
            }
            let tag = answer.etag.clone().unwrap_or_else(|| of_commit.clone());
            files::write_atomic(&tag_file, tag.as_bytes())?;
            known = Some(tag);
            add(offset as i64 - counted);
            counted = offset as i64;
            let mut count = |bytes: u64| {
                counted += bytes as i64;
                *downloaded_bytes += bytes;
                add(bytes as i64);
            };
            let ended = self.receive(file, answer, part, offset, &mut count)?;
            let Attempt::Broken(reason) = ended else { return Ok(known) };
            // Beyond what ever arrived: a server that begins anew each time must not be asked for ever.
            failed = if counted as u64 >= furthest + PROGRESS_BYTES { 1 } else { failed + 1 };
            furthest = furthest.max(counted as u64);
            if failed >= ATTEMPTS {
                return Err(HubError::Connection { address: shown(address), reason, attempts: failed });
            }
            let wait = pause(self.first_pause, failed);
            self.watch.again(&file.name, &reason, wait);
            sleep(wait, self.watch);
        }
    }

    /// Appends a body to `part`, which is cut to `offset` before.
    fn receive(
        &self,
        file: &RemoteFile,
        mut answer: Answer,
        part: &Path,
        offset: u64,
        count: &mut dyn FnMut(u64),
    ) -> Result<Attempt, HubError> {
        let wrong = |source| FileError::from_io("write", part, source);
        let open = || {
            let mut out = OpenOptions::new().create(true).truncate(false).write(true).open(part)?;
            out.set_len(offset)?;
            std::io::Seek::seek(&mut out, std::io::SeekFrom::Start(offset))?;
            Ok(out)
        };
        let mut out: File = open().map_err(wrong)?;
        let said = answer.body.content_length().map(|length| length.saturating_add(offset));
        let size = file.size_bytes.or(answer.linked_bytes).or(said);
        let most = size.unwrap_or(MOST_UNKNOWN_BYTES);
        let mut body = answer.body.as_reader();
        let mut block = vec![0; 256 << 10];
        let mut here = offset;
        let broken = loop {
            if self.watch.stopped() {
                return Err(HubError::Interrupted);
            }
            let read = match body.read(&mut block) {
                Ok(0) => break None,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => break Some(error.to_string()),
            };
            here += read as u64;
            if here > most {
                drop(out);
                remove_part(part)?;
                return Err(HubError::TooLong { name: file.name.clone(), expected_bytes: most });
            }
            out.write_all(&block[..read]).map_err(wrong)?;
            count(read as u64);
        };
        out.sync_data().map_err(wrong)?;
        Ok(match broken {
            Some(reason) => Attempt::Broken(reason),
            None if size.is_some_and(|size| here < size) => {
                Attempt::Broken(format!("the connection ended after {here} of {} bytes", size.unwrap_or(0)))
            }
            None => Attempt::Whole,
        })
    }
}

/// A short answer as a whole.
pub(crate) fn read_small(fetch: &Fetch<'_>, address: &str, most: u64) -> Result<Vec<u8>, HubError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut answer = fetch.ask(address, 0, &|_| true)?;
        let mut bytes = Vec::new();
        let read = answer.body.as_reader().take(most + 1).read_to_end(&mut bytes);
        match read {
            Ok(_) if bytes.len() as u64 > most => {
                return Err(HubError::TooLong { name: shown(address), expected_bytes: most });
            }
            Ok(_) => return Ok(bytes),
            Err(error) if attempts >= ATTEMPTS => {
                return Err(HubError::Connection { address: shown(address), reason: error.to_string(), attempts });
            }
            Err(_) => sleep(pause(fetch.first_pause, attempts), fetch.watch),
        }
    }
}

/// The first byte of `Content-Range: bytes 5-9/10`.
fn range_start(answer: &Answer) -> Option<u64> {
    let range = answer.headers.get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// Checks size and hash; what is wrong is deleted. Gives size, SHA-256, and whether the hub names a hash.
fn check(
    file: &RemoteFile,
    etag: Option<&str>,
    part: &Path,
    watch: &dyn Watch,
) -> Result<(u64, String, bool), HubError> {
    // A mirror may list no hashes; the hub's etag is then the hash.
    let from_etag = |digits| etag.filter(|tag| is_hex(tag, digits) && file.sha256.is_none() && file.git_sha1.is_none());
    let sha256_listed = file.sha256.as_deref().or(from_etag(64));
    let sha1_listed = file.git_sha1.as_deref().or(from_etag(40));
    let (sha256, git_sha1, size) = hashes_of_file(part, sha256_listed.is_none(), watch)?;
    let pairs = [(sha256_listed, &sha256), (sha1_listed.filter(|_| sha256_listed.is_none()), &git_sha1)];
    for (listed, got) in pairs {
        if let Some(expected) = listed.filter(|listed| listed != got) {
            remove_part(part)?;
            return Err(HubError::Checksum { name: file.name.clone(), expected: expected.into(), got: got.clone() });
        }
    }
    Ok((size, sha256, sha256_listed.or(sha1_listed).is_some()))
}

/// SHA-256, git's SHA-1 of a blob (`"blob N\0"` and the content; of nothing unless `with_git`), and the size.
pub(crate) fn hashes_of_file(
    path: &Path,
    with_git: bool,
    watch: &dyn Watch,
) -> Result<(String, String, u64), HubError> {
    let wrong = |source| FileError::from_io("read", path, source);
    let mut file = File::open(path).map_err(wrong)?;
    let size = file.metadata().map_err(wrong)?.len();
    let (mut sha256, mut sha1) = (Sha256::new(), Sha1::new());
    sha1.update(format!("blob {size}\0"));
    let mut block = vec![0; 1 << 20];
    loop {
        if watch.stopped() {
            return Err(HubError::Interrupted);
        }
        let read = file.read(&mut block).map_err(wrong)?;
        if read == 0 {
            break;
        }
        sha256.update(&block[..read]);
        if with_git {
            sha1.update(&block[..read]);
        }
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok((hex(&sha256.finalize()), hex(&sha1.finalize()), size))
}

fn tag_file_of(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push("-etag");
    name.into()
}

/// What says, until the record is written, that a file is from here.
pub(crate) fn note_file_of(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push("-done");
    name.into()
}

/// Removes a part and what is known of it.
pub(crate) fn remove_part(part: &Path) -> Result<(), HubError> {
    files::remove_file(part)?;
    files::remove_file(&note_file_of(part))?;
    Ok(files::remove_file(&tag_file_of(part))?)
}
