//! Rolling captions beside the words they were made from.

use std::path::{Path, PathBuf};

use attune_documents::captions::{CaptionOptions, Merge, Rolling, parse_srt, parse_webvtt};
use serde_json::Value;

/// A file of rolling captions, and what is left of the difference from the truth.
pub(crate) struct Talk {
    pub(crate) name: String,
    pub(crate) words: usize,
    /// Words that must be put in, taken out or replaced.
    pub(crate) wrong: usize,
    /// Words of the file as it stands, repeats and all.
    pub(crate) words_before: usize,
    /// The greatest distance of the start of a segment from the time of its first word.
    pub(crate) latest_secs: f64,
}

/// All files of that name below a folder, in order.
pub(crate) fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|file| file == name) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Undoes all rolling captions below a folder.
pub(crate) fn rolling(folder: &Path) -> Vec<Talk> {
    files(folder, "rolling.vtt").iter().map(|path| talk(path)).collect()
}

fn talk(path: &Path) -> Talk {
    let file = super::text(path);
    let timings: Vec<Value> =
        serde_json::from_str(&super::text(&path.with_file_name("word_timings.json"))).expect("JSON");
    let mut truth: Vec<&str> = Vec::new();
    let mut starts: Vec<f64> = Vec::new();
    for timing in &timings {
        for word in timing[0].as_str().expect("a word").split_whitespace() {
            truth.push(word);
            starts.push(timing[1].as_f64().expect("a time"));
        }
    }
    let document = parse_webvtt(&file, &CaptionOptions::default()).expect("captions");
    let words: Vec<&str> = document.segments.iter().flat_map(|segment| segment.text.split_whitespace()).collect();
    let mut never = options();
    never.rolling = Rolling::Never;
    let before = parse_webvtt(&file, &never).expect("captions");
    let mut latest_secs: f64 = 0.0;
    let mut at = 0;
    for segment in &document.segments {
        if let (Some(start), Some(&spoken)) = (segment.start_secs, starts.get(at)) {
            latest_secs = latest_secs.max((start - spoken).abs());
        }
        at += segment.text.split_whitespace().count();
    }
    Talk {
        name: path.iter().rev().nth(2).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        words: truth.len(),
        wrong: distance(&words, &truth),
        words_before: before.segments.iter().map(|segment| segment.text.split_whitespace().count()).sum(),
        latest_secs,
    }
}

fn options() -> CaptionOptions {
    CaptionOptions::default()
}

/// Human captions beside their transcripts: files, words, wrong words, and sentences that are lines of the transcript.
pub(crate) fn human(folder: &Path) -> (usize, usize, usize, usize, usize) {
    let mut sums = (0, 0, 0, 0, 0);
    for path in files(folder, "captions.srt") {
        let transcript = super::text(&path.with_file_name("transcript.txt"));
        let mut options = options();
        options.merge = Merge::Sentences;
        options.longest_bytes = 5000;
        options.pause_secs = 60.0;
        let document = parse_srt(&super::text(&path), &options).expect("captions");
        let truth: Vec<&str> = transcript.split_whitespace().collect();
        let words: Vec<&str> = document.segments.iter().flat_map(|segment| segment.text.split_whitespace()).collect();
        let lines: std::collections::HashSet<&str> = transcript.lines().map(str::trim).collect();
        sums.0 += 1;
        sums.1 += truth.len();
        sums.2 += distance(&words, &truth);
        sums.3 += document.segments.len();
        sums.4 += document.segments.iter().filter(|segment| lines.contains(segment.text.as_str())).count();
    }
    sums
}

/// The number of words to put in, take out or replace. The equal ends are passed over, so that long texts take no time.
fn distance(a: &[&str], b: &[&str]) -> usize {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    let same = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - same], &b[..b.len() - same]);
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, word) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(word != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}
