//! A hub of a test's own: it speaks the protocol on a port of this machine, and can be told to misbehave.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What an answer to the next request for a file does wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// All is announced, and the connection closes after so many bytes of the body.
    BreakAfter(usize),
    /// This status with these headers, and nothing else.
    Status(u16, Vec<(&'static str, String)>),
    /// One bit of the body is another.
    Damaged,
    /// So many bytes more than the file has, and no length announced.
    Longer(usize),
    /// The whole, no length announced.
    NoLength,
    /// The whole, whatever was asked for.
    IgnoresRange,
    /// The same, and breaks after so many bytes.
    BeginsAnew(usize),
    /// Another range than the one asked for.
    WrongRange,
    /// Says that it is of another commit.
    OtherCommit,
    /// The body comes in pieces of so many bytes, with a pause after each.
    Slow(usize, Duration),
}

#[derive(Debug, Clone)]
pub struct File {
    pub content: Vec<u8>,
    /// Whether it is in large file storage.
    pub large: bool,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub from_byte: u64,
    pub token: Option<String>,
}

#[derive(Debug, Default)]
pub struct State {
    pub files: BTreeMap<String, File>,
    pub faults: BTreeMap<String, VecDeque<Fault>>,
    pub seen: Vec<Seen>,
    pub commit: String,
    /// Whether sizes and hashes are listed and etags are hashes.
    pub hashes: bool,
    /// Whether answers have etags and lengths of the hub at all.
    pub etags: bool,
    /// Where the bytes of large files are, if not here.
    pub storage: Option<String>,
    /// What must be sent to be let in.
    pub wants_token: Option<String>,
}

pub struct Hub {
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    /// A hub with these small (`false`) and large files.
    pub fn new(files: &[(&str, &[u8], bool)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let file =
            |&(name, content, large): &(&str, &[u8], bool)| (name.into(), File { content: content.into(), large });
        let files = files.iter().map(file).collect();
        let state = State { files, commit: COMMIT.into(), hashes: true, etags: true, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that goes away is what some tests are about.
                std::thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Self { address, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn fault(&self, name: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.entry(name.into()).or_default().extend(faults);
    }

    /// The requests for a file's content.
    pub fn asked(&self, name: &str) -> Vec<Seen> {
        let end = format!("/{name}");
        self.state().seen.iter().filter(|seen| seen.path.ends_with(&end)).cloned().collect()
    }

    /// Requests for contents, all together.
    pub fn downloads(&self) -> usize {
        self.state().seen.iter().filter(|seen| !seen.path.starts_with("/api/")).count()
    }
}

/// Bytes that no run of equal ones shows twice.
pub fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(next).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn git_sha1(content: &[u8]) -> String {
    let mut sha1 = Sha1::new();
    sha1.update(format!("blob {}\0", content.len()));
    sha1.update(content);
    hex(&sha1.finalize())
}

fn etag(file: &File, hashes: bool) -> String {
    match (hashes, file.large) {
        (true, true) => sha256(&file.content),
        (true, false) => git_sha1(&file.content),
        (false, _) => format!("tag-{}", &sha256(&file.content)[..8]),
    }
}

fn listing(state: &State) -> String {
    let siblings: Vec<serde_json::Value> = state
        .files
        .iter()
        .map(|(name, file)| match (state.hashes, file.large) {
            (false, _) => json!({ "rfilename": name }),
            (true, false) => {
                json!({ "rfilename": name, "size": file.content.len(), "blobId": git_sha1(&file.content) })
            }
            (true, true) => json!({
                "rfilename": name, "size": file.content.len(), "blobId": git_sha1(b"a pointer"),
                "lfs": { "sha256": sha256(&file.content), "size": file.content.len(), "pointerSize": 134 },
            }),
        })
        .collect();
    json!({ "id": "org/name", "sha": state.commit, "siblings": siblings }).to_string()
}

fn serve(stream: &TcpStream, shared: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let mut seen = Seen { path: path.clone(), from_byte: 0, token: None };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.token = Some(value.to_owned()),
            "range" => {
                let start = value.trim_start_matches("bytes=").trim_end_matches('-');
                seen.from_byte = start.parse().unwrap();
            }
            _ => {}
        }
    }
    let mut state = shared.lock().unwrap();
    state.seen.push(seen.clone());
    let wanted = state.wants_token.as_ref().map(|token| format!("Bearer {token}"));
    if wanted.is_some() && wanted != seen.token {
        let status = if seen.token.is_some() { 403 } else { 401 };
        let message = format!("x-error-message: Access is restricted; you sent {:?}", seen.token);
        return answer(stream, status, &[message], b"");
    }
    if path.starts_with("/api/models/") {
        let fault = state.faults.get_mut("api").and_then(VecDeque::pop_front);
        let body = listing(&state);
        drop(state);
        if let Some(Fault::Status(status, headers)) = fault {
            let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            return answer(stream, status, &headers, b"");
        }
        return answer(stream, 200, &[], body.as_bytes());
    }
    let name = path.split('/').skip(5).collect::<Vec<_>>().join("/");
    let Some(file) = state.files.get(&name).cloned() else { return answer(stream, 404, &[], b"") };
    let mut headers = vec![format!("x-repo-commit: {}", state.commit)];
    if let Some(storage) = state.storage.clone().filter(|_| file.large) {
        headers.push(format!("x-linked-etag: \"{}\"", etag(&file, state.hashes)));
        headers.push(format!("x-linked-size: {}", file.content.len()));
        headers.push(format!("location: {storage}{path}?signature=s3cret"));
        return answer(stream, 302, &headers, b"moved");
    }
    if state.etags {
        headers.push(format!("etag: W/\"{}\"", etag(&file, state.hashes)));
    }
    let fault = state.faults.get_mut(&name).and_then(VecDeque::pop_front);
    drop(state);
    content(stream, &file.content, usize::try_from(seen.from_byte).unwrap(), headers, fault)
}

/// Sends a file from byte `from` on, with a fault.
fn content(
    mut stream: &TcpStream,
    whole: &[u8],
    from: usize,
    mut headers: Vec<String>,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    if let Some(Fault::Status(status, more)) = &fault {
        headers.extend(more.iter().map(|(name, value)| format!("{name}: {value}")));
        return answer(stream, *status, &headers, b"");
    }
    let from = if matches!(fault, Some(Fault::IgnoresRange | Fault::BeginsAnew(_))) { 0 } else { from };
    if from > 0 && from >= whole.len() {
        return answer(stream, 416, &headers, b"");
    }
    let mut body = whole[from..].to_vec();
    if from > 0 {
        let from = if matches!(fault, Some(Fault::WrongRange)) { from + 1 } else { from };
        headers.push(format!("content-range: bytes {from}-{}/{}", whole.len() - 1, whole.len()));
    }
    let status = if from > 0 { 206 } else { 200 };
    match fault {
        Some(Fault::Damaged) => body[0] ^= 1,
        Some(Fault::OtherCommit) => headers[0] = format!("x-repo-commit: {}", "f".repeat(40)),
        Some(Fault::Longer(more)) => {
            body.extend(bytes(more, 99));
            head(stream, status, &headers, None)?;
            return stream.write_all(&body);
        }
        Some(Fault::NoLength) => {
            head(stream, status, &headers, None)?;
            return stream.write_all(&body);
        }
        Some(Fault::BreakAfter(count) | Fault::BeginsAnew(count)) => {
            head(stream, status, &headers, Some(body.len()))?;
            return stream.write_all(&body[..count.min(body.len())]);
        }
        Some(Fault::Slow(piece, pause)) => {
            head(stream, status, &headers, Some(body.len()))?;
            for piece in body.chunks(piece) {
                stream.write_all(piece)?;
                std::thread::sleep(pause);
            }
            return Ok(());
        }
        _ => {}
    }
    answer(stream, status, &headers, &body)
}

fn head(mut stream: &TcpStream, status: u16, headers: &[String], length: Option<usize>) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    if let Some(length) = length {
        text += &format!("content-length: {length}\r\n");
    }
    stream.write_all((text + "\r\n").as_bytes())
}

fn answer(mut stream: &TcpStream, status: u16, headers: &[String], body: &[u8]) -> std::io::Result<()> {
    head(stream, status, headers, Some(body.len()))?;
    stream.write_all(body)
}
