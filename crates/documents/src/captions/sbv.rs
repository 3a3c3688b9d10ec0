//! SBV, the captions YouTube exports: `0:00:01.000,0:00:02.000` on a line, then the text up to an empty line.

use super::RawCue;
use super::srt;
use crate::document::Notes;

/// The cues of a text.
pub(super) fn parse(text: &str, notes: &mut Notes) -> Vec<RawCue> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut cues: Vec<RawCue> = Vec::new();
    let mut after_empty = true;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let number = index + 1;
        if let Some((start, end)) = times(line) {
            if end <= start {
                notes.push(format!("line {number}: the cue does not end after its start"));
            }
            cues.push(RawCue { times: Some((start, end)), source: (number, number), lines: Vec::new() });
        } else if after_empty && looks_like_times(line) {
            notes.push(format!("line {number}: the times cannot be read, the text is kept without"));
            cues.push(RawCue { times: None, source: (number, number), lines: Vec::new() });
        } else if let Some(cue) = cues.last_mut() {
            let before = cue.lines.len();
            cue.push_lines(&srt::without_tags(line).replace("[br]", "\n"));
            if cue.lines.len() > before {
                cue.source.1 = number;
            }
        } else if !line.trim().is_empty() {
            notes.push(format!("line {number}: text in front of the first cue is left out"));
        }
        after_empty = line.is_empty();
    }
    cues
}

/// The times of a line.
pub(super) fn times(line: &str) -> Option<(f64, f64)> {
    let (start, end) = line.trim().split_once(',')?;
    let whole = |text: &str| srt::timestamp(text.trim()).filter(|(_, rest)| rest.is_empty()).map(|(secs, _)| secs);
    // Both need hours; `1:02,3:04` could be anything.
    if start.matches(':').count() != 2 || end.matches(':').count() != 2 {
        return None;
    }
    Some((whole(start)?, whole(end)?))
}

/// Times with something in them that does not belong there.
fn looks_like_times(line: &str) -> bool {
    let marks = line.bytes().filter(|b| matches!(b, b':' | b',' | b'.')).count();
    let digits = line.bytes().filter(u8::is_ascii_digit).count();
    line.len() <= 32 && line.matches(':').count() == 4 && digits + marks + 4 >= line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cues() {
        let mut notes = Notes::default();
        let cues = parse("0:00:00.378,0:00:11.378\nOne[br]two\nthree\n\n0:00:13.f89,0:00:15.489\nfour\n", &mut notes);
        assert_eq!(cues.len(), 2);
        assert_eq!(cues[0].times, Some((0.378, 11.378)));
        assert_eq!(cues[0].lines.len(), 3);
        assert_eq!((cues[1].times, cues[1].lines[0].text.as_str()), (None, "four"));
        assert_eq!(notes.finish().len(), 1);
    }
}
