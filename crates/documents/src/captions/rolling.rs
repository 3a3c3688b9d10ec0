//! Rolling captions: each cue shows the line of the cue before again, above its own.
//!
//! What is new in a cue is found from the cue before it alone: leading lines that equal the end of that cue are repeats, up
//! to a line with times in it, which is new by definition. Nothing further back is ever compared, so that what a speaker
//! says twice stays.

use super::{RawCue, Rolling};

/// A cue with nothing new holds the picture of the one before only if it follows at once; later, somebody says it again.
const HOLD_SECS: f64 = 0.5;
/// A cue with something new may come after a pause of the speaker, with the line from before the pause still shown.
const PAUSE_SECS: f64 = 30.0;
/// A file rolls if so many of its pairs of cues do: one in four. In human captions it is one in hundreds.
const ROLLING_PAIRS: usize = 4;

/// What a cue repeats from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Repeat {
    /// So many leading lines.
    lines: usize,
    /// So many bytes of the line behind them, which has grown.
    bytes: usize,
}

/// Takes the repeats out and counts the lines.
pub(super) fn undo(cues: &mut [RawCue], rolling: Rolling) -> usize {
    let wanted = match rolling {
        Rolling::Always => true,
        Rolling::Never => false,
        Rolling::Detect => rolls(cues),
    };
    if !wanted {
        return 0;
    }
    // Backwards, so that each cue is compared with the one before as it stands in the file.
    let mut count = 0;
    for index in (1..cues.len()).rev() {
        let (before, from) = cues.split_at_mut(index);
        let Some(repeat) = before.last().map(|before| repeat(before, &from[0])) else { continue };
        count += repeat.lines + usize::from(repeat.bytes > 0);
        from[0].lines.drain(..repeat.lines);
        if repeat.bytes > 0
            && let Some(line) = from[0].lines.first_mut()
        {
            line.text = line.text[repeat.bytes..].trim_start().to_owned();
        }
    }
    count
}

/// Whether the file as a whole rolls.
fn rolls(cues: &[RawCue]) -> bool {
    let rolled = cues.windows(2).filter(|pair| {
        let repeat = repeat(&pair[0], &pair[1]);
        // A cue with nothing new may be somebody who says the same again.
        let new = pair[1].lines.len() > repeat.lines;
        new && (repeat.lines > 0 || repeat.bytes > 0)
    });
    rolled.count() * ROLLING_PAIRS >= cues.len().max(1)
}

fn repeat(before: &RawCue, cue: &RawCue) -> Repeat {
    const NONE: Repeat = Repeat { lines: 0, bytes: 0 };
    let comparable = cue.lines.iter().position(|line| line.timed).unwrap_or(cue.lines.len());
    let most = comparable.min(before.lines.len()).min(LINES);
    let same = |a: &super::RawLine, b: &super::RawLine| a.text == b.text && a.voice == b.voice;
    let lines = (1..=most).rev().find(|&lines| {
        let tail = &before.lines[before.lines.len() - lines..];
        tail.iter().zip(&cue.lines).all(|(a, b)| same(a, b))
    });
    let repeat = match lines {
        Some(lines) => Repeat { lines, bytes: 0 },
        None => grown(before, cue, comparable).unwrap_or(NONE),
    };
    let longest = if repeat.lines == cue.lines.len() { HOLD_SECS } else { PAUSE_SECS };
    match (before.times, cue.times) {
        (Some((_, end)), Some((start, _))) if start - end > longest => NONE,
        _ => repeat,
    }
}

/// Cues have few lines; a hostile one has many, and comparing all with all would take for ever.
const LINES: usize = 8;

/// Captions that are written word by word: the last line of the cue before is the beginning of a line of this one.
fn grown(before: &RawCue, cue: &RawCue, comparable: usize) -> Option<Repeat> {
    let (last, above) = before.lines.split_last()?;
    for lines in (0..comparable.min(above.len() + 1).min(LINES)).rev() {
        let line = &cue.lines[lines];
        let tail = &above[above.len() - lines..];
        let same_above = tail.iter().zip(&cue.lines).all(|(a, b)| a.text == b.text);
        let begins = line.text.strip_prefix(last.text.as_str()).is_some_and(|rest| rest.starts_with(' '));
        if same_above && begins && last.voice == line.voice {
            return Some(Repeat { lines, bytes: last.text.len() });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::RawLine;
    use super::*;

    fn cues(texts: &[&str]) -> Vec<RawCue> {
        texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let mut cue = RawCue { times: Some((index as f64, index as f64 + 1.0)), ..RawCue::default() };
                cue.push_lines(text);
                cue
            })
            .collect()
    }

    fn rest(mut cues: Vec<RawCue>, rolling: Rolling) -> Vec<String> {
        undo(&mut cues, rolling);
        cues.iter().flat_map(|cue| &cue.lines).map(|line| line.text.clone()).collect()
    }

    #[test]
    fn lines_that_roll_are_said_once() {
        let rolling = cues(&["one", "one\ntwo", "two\nthree", "three\nfour"]);
        assert_eq!(rest(rolling, Rolling::Detect), ["one", "two", "three", "four"]);
    }

    #[test]
    fn what_is_said_twice_stays() {
        let human = cues(&["No.", "No.", "Why?", "No.", "Row, row,", "Row, row,\nrow your boat", "gently", "down"]);
        assert_eq!(rest(human.clone(), Rolling::Detect).len(), 9);
        // Not next to each other, even where everything rolls.
        let rolling = cues(&["yes", "yes\nno", "no\nyes", "yes\nno"]);
        assert_eq!(rest(rolling, Rolling::Detect), ["yes", "no", "yes", "no"]);
    }

    #[test]
    fn a_line_with_times_is_new() {
        let mut rolling = cues(&["yes", "yes\nyes", "yes\nno"]);
        rolling[1].lines[1].timed = true;
        assert_eq!(rest(rolling, Rolling::Detect), ["yes", "yes", "no"]);
    }

    #[test]
    fn a_pause_is_no_roll() {
        let mut apart = cues(&["one", "one\ntwo"]);
        apart[1].times = Some((60.0, 61.0));
        assert_eq!(rest(apart, Rolling::Always), ["one", "one", "two"]);
    }

    #[test]
    fn lines_that_grow() {
        let growing = cues(&["so", "so this", "so this is", "so this is it\nand", "so this is it\nand that"]);
        assert_eq!(rest(growing, Rolling::Detect), ["so", "this", "is", "it", "and", "that"]);
    }

    #[test]
    fn many_lines_take_no_time() {
        let line = RawLine { text: "a".into(), ..RawLine::default() };
        let cue = RawCue { times: None, source: (1, 1), lines: vec![line; 200_000] };
        let mut many = vec![cue.clone(), cue];
        undo(&mut many, Rolling::Always);
    }
}
