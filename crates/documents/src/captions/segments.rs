//! Pieces of cues become segments: as they are, by sentences, or by paragraphs.

use super::speech::Piece;
use super::{CaptionOptions, Merge};
use crate::document::{Segment, SegmentKind};
use crate::words;

pub(super) fn merge(pieces: Vec<Piece>, options: &CaptionOptions) -> Vec<Segment> {
    if options.merge == Merge::Cues {
        return pieces.iter().map(|piece| segment(std::slice::from_ref(piece), piece.text.clone())).collect();
    }
    let mut segments = Vec::new();
    let mut from = 0;
    for index in 1..=pieces.len() {
        let ends = index == pieces.len() || !continues(&pieces[index - 1], &pieces[index], options.pause_secs);
        if ends {
            run(&pieces[from..index], options, &mut segments);
            from = index;
        }
    }
    segments
}

/// Whether the same speaker speaks on.
fn continues(before: &Piece, next: &Piece, pause_secs: f64) -> bool {
    let pause = match (before.times, next.times) {
        (Some((_, end)), Some((start, _))) => start - end > pause_secs,
        (None, None) => false,
        _ => true,
    };
    let unknown_turn = next.turn && next.speaker.is_none();
    !pause && !unknown_turn && before.speaker == next.speaker
}

/// A sentence, and the pieces it is in.
struct Sentence {
    text: String,
    first: usize,
    last: usize,
}

/// What one speaker says without a pause.
fn run(pieces: &[Piece], options: &CaptionOptions, segments: &mut Vec<Segment>) {
    let mut sentences: Vec<Sentence> = Vec::new();
    let mut open: Option<Sentence> = None;
    for (index, piece) in pieces.iter().enumerate() {
        for (part, ended) in parts(&piece.text) {
            let fits = |sentence: &Sentence| {
                sentence.last == index || sentence.text.len() + part.len() < options.longest_bytes.max(1)
            };
            let mut sentence = match open.take() {
                Some(sentence) if fits(&sentence) => sentence,
                other => {
                    sentences.extend(other);
                    Sentence { text: String::new(), first: index, last: index }
                }
            };
            words::join(&mut sentence.text, part);
            sentence.last = index;
            if ended { sentences.push(sentence) } else { open = Some(sentence) }
        }
    }
    sentences.extend(open);
    if options.merge == Merge::Paragraphs {
        sentences = paragraphs(sentences, options.longest_bytes);
    }
    segments.extend(sentences.into_iter().map(|s| segment(&pieces[s.first..=s.last], s.text)));
}

fn paragraphs(sentences: Vec<Sentence>, longest_bytes: usize) -> Vec<Sentence> {
    let mut paragraphs: Vec<Sentence> = Vec::new();
    for sentence in sentences {
        match paragraphs.last_mut() {
            Some(last) if last.text.len() + sentence.text.len() < longest_bytes => {
                words::join(&mut last.text, &sentence.text);
                last.last = sentence.last;
            }
            _ => paragraphs.push(sentence),
        }
    }
    paragraphs
}

/// So many marks may stand in front of the first letter of a sentence.
const MARKS: usize = 16;

/// The sentences of a piece, and whether each has ended; the last may go on in the next piece.
fn parts(text: &str) -> Vec<(&str, bool)> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut marks = text.char_indices().peekable();
    while let Some((at, c)) = marks.next() {
        let end = at + c.len_utf8();
        let east_asian = matches!(c, '。' | '！' | '？');
        let boundary = if east_asian {
            !matches!(marks.peek(), Some((_, '。' | '！' | '？' | '」' | '』' | '”' | '）')))
        } else if c == ' ' {
            let opens = |c: &char| matches!(c, '"' | '“' | '‘' | '\'' | '(' | '[' | '«' | '¿' | '¡' | '-' | ' ');
            // Of a row of such marks a few are looked at, or a text of nothing else would take for ever.
            let next = text[end..].chars().take(MARKS).find(|c| !opens(c));
            // A small letter goes on with a sentence, whatever stands before it.
            next.is_some_and(|next| !next.is_lowercase()) && words::ends_sentence(&text[start..at])
        } else {
            false
        };
        if boundary {
            let part = text[start..end].trim();
            if !part.is_empty() {
                parts.push((part, true));
            }
            start = end;
        }
    }
    let rest = text[start..].trim();
    if !rest.is_empty() {
        parts.push((rest, words::ends_sentence(rest)));
    }
    parts
}

fn segment(pieces: &[Piece], text: String) -> Segment {
    let (first, last) = (&pieces[0], &pieces[pieces.len() - 1]);
    Segment {
        kind: SegmentKind::Speech,
        speaker: first.speaker.as_ref().map(|name| name.to_string()),
        start_secs: first.times.map(|(start, _)| start),
        end_secs: last.times.map(|(_, end)| end),
        lines: Some((first.source.0, last.source.1)),
        section: None,
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: f64, text: &str) -> Piece {
        Piece { times: Some((start, start + 1.0)), source: (1, 2), text: text.to_owned(), ..Piece::default() }
    }

    fn merged(pieces: Vec<Piece>, how: Merge, longest_bytes: usize) -> Vec<(f64, f64, String)> {
        let options = CaptionOptions { merge: how, longest_bytes, ..CaptionOptions::default() };
        let segments = merge(pieces, &options);
        segments.into_iter().map(|s| (s.start_secs.unwrap(), s.end_secs.unwrap(), s.text)).collect()
    }

    #[test]
    fn sentences_have_the_times_of_their_cues() {
        let pieces = vec![piece(0.0, "It is late. We"), piece(1.0, "have to"), piece(2.0, "go. Now")];
        let expected = [
            (0.0, 1.0, "It is late.".to_owned()),
            (0.0, 3.0, "We have to go.".to_owned()),
            (2.0, 3.0, "Now".to_owned()),
        ];
        assert_eq!(merged(pieces.clone(), Merge::Sentences, 600), expected);
        assert_eq!(merged(pieces, Merge::Paragraphs, 600), [(0.0, 3.0, "It is late. We have to go. Now".to_owned())]);
    }

    #[test]
    fn pauses_turns_and_length_end_a_segment() {
        let pieces = vec![piece(0.0, "one"), piece(10.0, "two"), piece(11.0, "three")];
        assert_eq!(merged(pieces.clone(), Merge::Sentences, 600).len(), 2);
        assert_eq!(merged(pieces.clone(), Merge::Sentences, 5).len(), 3);
        let mut turns = pieces;
        turns[2].turn = true;
        assert_eq!(merged(turns, Merge::Paragraphs, 600).len(), 3);
    }

    #[test]
    fn sentences_of_east_asia() {
        assert_eq!(parts("これは一。これは二！終").len(), 3);
        assert_eq!(
            parts("Mr. Smith paid 3.50 p. m. e.g. here. Then"),
            [("Mr. Smith paid 3.50 p. m. e.g. here.", true), ("Then", false)]
        );
    }
}
