//! Who speaks after whom.

use crate::document::{Document, Segment};
use crate::words;

/// What one speaker says until another one speaks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Turn {
    /// Who speaks; `None` where the source names nobody.
    pub speaker: Option<String>,
    /// Seconds from the start of the recording at which it begins; `None` for text without times.
    pub start_secs: Option<f64>,
    /// Seconds at which it ends.
    pub end_secs: Option<f64>,
    /// The first and the last line of the source that it comes from, counting from 1.
    pub lines: Option<(usize, usize)>,
    /// The texts of its segments, with a space between them where the script wants one.
    pub text: String,
}

impl Document {
    /// The turns of its speakers: neighbouring segments of one speaker are one turn. Segments without a text are passed
    /// over.
    pub fn turns(&self) -> Vec<Turn> {
        let mut turns: Vec<Turn> = Vec::new();
        for segment in self.segments.iter().filter(|segment| !segment.text.trim().is_empty()) {
            match turns.last_mut() {
                Some(turn) if turn.speaker == segment.speaker => turn.take(segment),
                _ => turns.push(Turn::of(segment)),
            }
        }
        turns
    }
}

impl Turn {
    fn of(segment: &Segment) -> Self {
        Self {
            speaker: segment.speaker.clone(),
            start_secs: segment.start_secs,
            end_secs: segment.end_secs,
            lines: segment.lines,
            text: segment.text.clone(),
        }
    }

    fn take(&mut self, segment: &Segment) {
        words::join(&mut self.text, &segment.text);
        self.end_secs = segment.end_secs.or(self.end_secs);
        self.lines = match (self.lines, segment.lines) {
            (Some((first, _)), Some((_, last))) => Some((first, last)),
            (lines, other) => lines.or(other),
        };
    }
}

#[cfg(test)]
mod tests {
    use crate::captions::{CaptionOptions, parse_webvtt};

    #[test]
    fn neighbouring_segments_of_one_speaker_are_a_turn() {
        let file = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ada>What is\n\n00:02.000 --> 00:03.500\n<v Ada>six times seven?\n\n\
                    00:03.500 --> 00:04.000\n<v Clerk>42.\n\n00:05.000 --> 00:06.000\n<v Ada>Oh.\n";
        let turns = parse_webvtt(file, &CaptionOptions::default()).expect("captions").turns();
        let said: Vec<_> = turns.iter().map(|turn| (turn.speaker.as_deref(), turn.text.as_str())).collect();
        let names = [Some("Ada"), Some("Clerk"), Some("Ada")];
        assert_eq!(said, [(names[0], "What is six times seven?"), (names[1], "42."), (names[2], "Oh.")]);
        assert_eq!((turns[0].start_secs, turns[0].end_secs, turns[0].lines), (Some(1.0), Some(3.5), Some((3, 7))));
    }
}
