//! `ft pull`

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use attune_hub::{Endpoint, PUBLIC_HUB, Planned, Pull, Pulled, Token, Wanted, Watch, check_repository};
use serde_json::json;

use crate::failure::Failure;
use crate::live::format;
use crate::paint::{Ink, Line, one_line};
use crate::{interrupt, output};

/// Download a model from a hub: config, tokenizer, weights, licence
///
/// A download that ended early goes on where it stopped, every file is checked against the hash that the hub lists, and
/// what is there already is not fetched again; pull.json in the folder says what came from where. Pickles (.bin, .pt) are
/// never fetched. HF_ENDPOINT names another hub. The token is that of HF_TOKEN, of .env in the current folder, or of
/// huggingface-cli, or was kept with --login.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model as on its page
    #[arg(value_name = "ORG/NAME", required_unless_present = "login")]
    repository: Option<String>,
    /// Read a token from the terminal, or from stdin, and keep it in the system's key store for this hub
    #[arg(long, conflicts_with_all = ["repository", "file", "include", "out", "dry_run", "json"])]
    login: bool,
    /// Only this file, and again for more; of a GGUF in parts any of them stands for all
    #[arg(long, value_name = "NAME")]
    file: Vec<String>,
    /// Only files that fit this pattern of * and ?, and again for more
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// A branch, a tag or a commit
    #[arg(long, default_value = "main")]
    revision: String,
    /// The folder; left out, models/ORG/NAME
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// List what would be downloaded
    #[arg(long)]
    dry_run: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Files at once: more gain little from one server.
const PARALLEL: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let address = variable("HF_ENDPOINT").filter(|address| !address.trim().is_empty());
    let endpoint = Endpoint::new(address.as_deref().unwrap_or(PUBLIC_HUB))?;
    // Without a repository clap asks for --login.
    let Some(repository) = args.repository.as_deref() else { return login(&endpoint) };
    // Before it becomes a path.
    check_repository(repository)?;
    let token = Token::find(variable, Token::stored, Path::new("."), &endpoint.host())?;
    let endpoint = endpoint.with_token(token);
    let out = args.out.clone().unwrap_or_else(|| Path::new("models").join(repository));
    let wanted = Wanted { files: args.file.clone(), patterns: args.include.clone() };
    let pull = Pull {
        endpoint: &endpoint,
        repository,
        revision: &args.revision,
        out: &out,
        wanted: &wanted,
        parallel: PARALLEL,
        first_pause: FIRST_PAUSE,
    };
    let shown = Shown::new(interrupt::flag()?);
    let planned = pull.plan(&shown)?;
    if !planned.left_out.is_empty() {
        let names = one_line(&planned.left_out.join(", "));
        shown.say(warning(&format!("not fetched, for reading such files can run any program: {names}")));
    }
    if args.dry_run {
        return list(args, &planned);
    }
    let pulled = pull.run(&planned, &shown)?;
    shown.clear();
    if !pulled.older.is_empty() {
        let names: Vec<&str> = pulled.older.iter().map(String::as_str).collect();
        let names = one_line(&names.join(", "));
        output::say(&[warning(&format!("from an earlier commit, and not part of this download: {names}"))]);
    }
    report(args, &planned, &pulled, &out)
}

fn login(endpoint: &Endpoint) -> Result<(), Failure> {
    // Before anyone types a token that cannot be kept.
    Token::check_store()?;
    let host = endpoint.host();
    let typed = if std::io::stdin().is_terminal() {
        let mut terminal = console::Term::stderr();
        write!(terminal, "token for {host}: ")?;
        terminal.read_secure_line()?
    } else {
        // No token has more.
        const MOST_BYTES: u64 = 8192;
        std::io::read_to_string(std::io::stdin().take(MOST_BYTES))?
    };
    Token::new(&typed, "the input")?.store(&host)?;
    output::result(&format!("the token for {host} is in the system's key store"))
}

fn warning(text: &str) -> Line {
    Line::new().with(Ink::Warning, "warning").with(Ink::Plain, format!(": {text}"))
}

fn total_bytes(planned: &Planned) -> u64 {
    planned.files.iter().filter_map(|file| file.size_bytes).fold(0, u64::saturating_add)
}

fn count(files: usize) -> String {
    if files == 1 { "1 file".into() } else { format!("{files} files") }
}

fn list(args: &Args, planned: &Planned) -> Result<(), Failure> {
    if args.json {
        let files: Vec<_> =
            planned.files.iter().map(|file| json!({ "name": file.name, "size_bytes": file.size_bytes })).collect();
        let result = json!({
            "repository": args.repository, "revision": args.revision, "commit": planned.commit, "files": files,
            "left_out": planned.left_out, "total_bytes": total_bytes(planned),
        });
        return output::result(&result.to_string());
    }
    let size = |bytes: Option<u64>| bytes.map_or("?".into(), format::bytes);
    let mut lines: Vec<String> =
        planned.files.iter().map(|file| format!("{:>10}  {}", size(file.size_bytes), one_line(&file.name))).collect();
    let total = format::bytes(total_bytes(planned));
    lines.push(format!("{total:>10}  {}, commit {}", count(planned.files.len()), planned.commit));
    output::result(&lines.join("\n"))
}

fn report(args: &Args, planned: &Planned, pulled: &Pulled, out: &Path) -> Result<(), Failure> {
    let ours = |name: &String| pulled.record.files.get(name);
    let size_bytes: u64 = planned.files.iter().filter_map(|file| ours(&file.name)).map(|file| file.size_bytes).sum();
    let unchecked: Vec<&str> = planned
        .files
        .iter()
        .filter(|file| ours(&file.name).is_none_or(|file| !file.checked))
        .map(|file| file.name.as_str())
        .collect();
    if !unchecked.is_empty() {
        let names = one_line(&unchecked.join(", "));
        output::say(&[warning(&format!("the hub lists no hash to check these with: {names}"))]);
    }
    let gguf = planned.files.iter().find(|file| file.name.ends_with(".gguf"));
    let path = gguf.map_or_else(|| out.to_path_buf(), |file| out.join(&file.name));
    if args.json {
        let result = json!({
            "path": path, "dir": out, "downloaded_bytes": pulled.downloaded_bytes, "size_bytes": size_bytes,
            "present": pulled.present, "left_out": planned.left_out, "older": pulled.older, "unchecked": unchecked,
            "record": pulled.record,
        });
        return output::result(&result.to_string());
    }
    let shown = |path: &Path| one_line(&path.display().to_string());
    output::result(&format!(
        "{}: {}, {} ({} downloaded), commit {}\n  model.path: {}",
        shown(out),
        count(planned.files.len()),
        format::bytes(size_bytes),
        format::bytes(pulled.downloaded_bytes),
        pulled.record.commit,
        shown(&path)
    ))
}

/// Shows how far it is: one line that is redrawn on a terminal, a line now and then elsewhere.
struct Shown {
    interrupted: Arc<AtomicBool>,
    terminal: bool,
    state: Mutex<State>,
}

struct State {
    /// When the first byte was counted, and how many were there before.
    begin: Option<(Instant, u64)>,
    last: Instant,
    width: usize,
}

/// Time between two pictures, and between two lines.
const TICK: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Shown {
    fn new(interrupted: Arc<AtomicBool>) -> Self {
        let terminal = std::io::stderr().is_terminal() && !console::is_dumb();
        let state = Mutex::new(State { begin: None, last: Instant::now(), width: 0 });
        Self { interrupted, terminal, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        clear(&mut self.state());
    }

    fn say(&self, line: Line) {
        let mut state = self.state();
        clear(&mut state);
        output::say(&[line]);
    }
}

fn clear(state: &mut State) {
    if state.width > 0 {
        // A terminal that went away ends nothing.
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r{}\r", " ".repeat(state.width)).and_then(|()| stderr.flush());
        state.width = 0;
    }
}

impl Watch for Shown {
    fn progress(&self, done_bytes: u64, total_bytes: u64) {
        let mut state = self.state();
        let now = Instant::now();
        let (begin, before) = *state.begin.get_or_insert((now, done_bytes));
        if now.duration_since(state.last) < if self.terminal { TICK } else { LINE_EVERY } {
            return;
        }
        state.last = now;
        let text = line(done_bytes, total_bytes, done_bytes.saturating_sub(before), now.duration_since(begin));
        if !self.terminal {
            output::say(&[Line::from(text)]);
            return;
        }
        let width = text.chars().count();
        let padding = " ".repeat(state.width.saturating_sub(width));
        state.width = width;
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r{text}{padding}").and_then(|()| stderr.flush());
    }

    fn again(&self, name: &str, reason: &str, pause: Duration) {
        let text = format!("{}: {}; again in {:.1} s", one_line(name), one_line(reason), pause.as_secs_f64());
        self.say(warning(&text));
    }

    fn stopped(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `arrived_bytes` are those of this time, within `elapsed`.
fn line(done_bytes: u64, total_bytes: u64, arrived_bytes: u64, elapsed: Duration) -> String {
    const BAR: usize = 24;
    let per_second = arrived_bytes as f64 / elapsed.as_secs_f64().max(0.001);
    let rate = format::bytes(per_second as u64);
    if total_bytes == 0 {
        return format!("downloading  {}  {rate}/s", format::bytes(done_bytes));
    }
    let share = (done_bytes as f64 / total_bytes as f64).clamp(0.0, 1.0);
    let full = (share * BAR as f64).round() as usize;
    let left = total_bytes.saturating_sub(done_bytes) as f64 / per_second;
    let left =
        if left < 1e7 { format!("  {} left", format::duration(Duration::from_secs_f64(left))) } else { String::new() };
    format!(
        "downloading  {}{}  {:3.0}%  {} of {}  {rate}/s{left}",
        "█".repeat(full),
        "░".repeat(BAR - full),
        (share * 100.0).floor(),
        format::bytes(done_bytes),
        format::bytes(total_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_what_arrived_this_time() {
        let text = line(3 << 20, 4 << 20, 1 << 20, Duration::from_secs(2));
        assert!(text.ends_with(" 75%  3.0 MiB of 4.0 MiB  512 KiB/s  2s left"), "{text}");
        assert_eq!(line(5, 0, 5, Duration::from_secs(1)), "downloading  5 B  5 B/s");
        assert!(line(5, 10, 0, Duration::ZERO).ends_with("0 B/s"));
    }
}
