//! Who speaks, where a turn begins, and which words are notes of sounds.

use std::collections::HashMap;
use std::sync::Arc;

use super::{CaptionOptions, NamesHold, RawCue, RawLine, Sounds};
use crate::words;

/// What one speaker says in one cue.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Piece {
    pub(super) speaker: Option<Arc<str>>,
    /// Whether somebody else speaks than before, or may.
    pub(super) turn: bool,
    pub(super) times: Option<(f64, f64)>,
    pub(super) source: (usize, usize),
    pub(super) text: String,
}

/// The pieces of the cues, and how many notes of sounds were left out.
pub(super) fn pieces(cues: Vec<RawCue>, options: &CaptionOptions) -> (Vec<Piece>, usize) {
    let names = if options.labels { Names::of(&cues) } else { Names::default() };
    let voices = cues.iter().flat_map(|cue| &cue.lines).any(|line| line.voice.is_some());
    let names_hold = options.names_hold == NamesHold::Turn && !voices;
    let mut maker = Maker { names, options, names_hold, sounds: 0, pieces: Vec::new() };
    for cue in cues {
        maker.cue(cue);
    }
    maker.carry();
    (maker.pieces, maker.sounds)
}

struct Maker<'a> {
    names: Names,
    options: &'a CaptionOptions,
    /// Whether a name holds to the next one.
    names_hold: bool,
    sounds: usize,
    pieces: Vec<Piece>,
}

impl Maker<'_> {
    fn cue(&mut self, cue: RawCue) {
        let dialogue = cue.lines.iter().filter(|line| dash(&line.text).is_some()).count() >= 2;
        let from = self.pieces.len();
        for line in &cue.lines {
            let mut piece = self.line(line, dialogue);
            piece.times = cue.times;
            piece.source = cue.source;
            match self.pieces.get_mut(from..).and_then(|pieces| pieces.last_mut()) {
                Some(last)
                    if !piece.turn
                        && (last.speaker == piece.speaker || line.voice.is_none() && piece.speaker.is_none()) =>
                {
                    words::join(&mut last.text, &piece.text);
                }
                _ => self.pieces.push(piece),
            }
        }
        if self.options.sounds == Sounds::Drop {
            // Once more, for notes over two lines.
            for piece in &mut self.pieces[from..] {
                self.sounds += drop_sounds(&mut piece.text);
            }
        }
        let mut index = from;
        while index < self.pieces.len() {
            // A turn of which nothing is left is still a turn, for who speaks next.
            if self.pieces[index].text.is_empty() && !self.pieces[index].turn {
                self.pieces.remove(index);
            } else {
                index += 1;
            }
        }
    }

    fn line(&mut self, line: &RawLine, dialogue: bool) -> Piece {
        let mut piece = Piece { speaker: line.voice.clone(), text: line.text.clone(), ..Piece::default() };
        let mut marked = false;
        if self.options.labels {
            if let Some(rest) = arrows(&piece.text) {
                piece.text = rest.to_owned();
                piece.turn = true;
                marked = true;
            } else if let Some((rest, spaced)) = dash(&piece.text)
                && (dialogue || spaced)
            {
                piece.text = rest.to_owned();
                piece.turn = true;
            }
        }
        if self.options.sounds == Sounds::Drop {
            self.sounds += drop_sounds(&mut piece.text);
        }
        if self.options.labels && piece.speaker.is_none() {
            if let Some((name, rest)) = self.names.split(&piece.text, marked) {
                piece.speaker = Some(Arc::from(name));
                piece.turn = true;
                piece.text = rest.to_owned();
            }
            if self.options.sounds == Sounds::Drop {
                self.sounds += drop_sounds(&mut piece.text);
            }
        }
        piece
    }

    /// Who was named speaks on: to the next name or mark where a file marks every turn with `>>` or names hold, else to the
    /// end of the sentence.
    fn carry(&mut self) {
        let mut speaker: Option<Arc<str>> = None;
        let mut finished = true;
        for piece in &mut self.pieces {
            if piece.speaker.is_some() || piece.turn {
                speaker.clone_from(&piece.speaker);
            } else if self.names.marks_turns || self.names_hold || !finished {
                piece.speaker.clone_from(&speaker);
            } else {
                // Nobody knows who speaks now.
                piece.turn = speaker.take().is_some();
            }
            if !piece.text.is_empty() {
                finished = words::ends_sentence(&piece.text);
            }
        }
        self.pieces.retain(|piece| !piece.text.is_empty());
    }
}

/// `>> text` and `>>> text`.
fn arrows(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(">>")?;
    Some(rest.strip_prefix('>').unwrap_or(rest).trim_start())
}

/// `- text`, and whether there is a space behind the dash.
fn dash(text: &str) -> Option<(&str, bool)> {
    let rest = text.strip_prefix(['-', '–', '—', '‐'])?;
    // `--and then` goes on with what was broken off; `-5` alone is a number, but two such lines are a dialogue.
    if rest.starts_with(['-', '–', '—']) || rest.is_empty() {
        return None;
    }
    Some((rest.trim_start(), rest.starts_with(' ')))
}

/// Which words in front of a colon are names.
#[derive(Default)]
struct Names {
    /// Labels in mixed case that come more than once.
    mixed: HashMap<String, usize>,
    /// Whether the file marks turns with `>>`.
    marks_turns: bool,
}

/// Words in front of a colon that name no speaker.
const NO_NAMES: [&str; 24] = [
    "note",
    "warning",
    "example",
    "tip",
    "caution",
    "important",
    "hint",
    "step",
    "part",
    "chapter",
    "section",
    "translation",
    "translator",
    "subtitles",
    "subtitle",
    "captions",
    "http",
    "https",
    "www",
    "time",
    "date",
    "to",
    "from",
    "re",
];

/// How often a label in mixed case has to come to be a name.
const OFTEN: usize = 2;

impl Names {
    fn of(cues: &[RawCue]) -> Self {
        let mut mixed: HashMap<String, usize> = HashMap::new();
        let mut marks = 0;
        for line in cues.iter().flat_map(|cue| &cue.lines).filter(|line| line.voice.is_none()) {
            marks += usize::from(line.text.starts_with(">>"));
            let text = arrows(&line.text).or(dash(&line.text).map(|(rest, _)| rest)).unwrap_or(&line.text);
            if let Some((name, _)) = label(text)
                && kind(name) == LabelKind::Mixed
            {
                *mixed.entry(name.to_owned()).or_default() += 1;
            }
        }
        mixed.retain(|_, count| *count >= OFTEN);
        // One such word alone may be a habit of the text (`Remember: ...`); two that come again are a conversation.
        if mixed.len() < 2 {
            mixed.clear();
        }
        Self { mixed, marks_turns: marks >= 2 }
    }

    /// The name in front of a text, and the text. Behind a mark of a turn, what may be a name is one.
    fn split<'t>(&self, text: &'t str, marked: bool) -> Option<(&'t str, &'t str)> {
        let (name, rest) = label(text)?;
        let known = match kind(name) {
            LabelKind::Certain => true,
            LabelKind::Mixed => marked || self.mixed.contains_key(name),
            LabelKind::None => false,
        };
        known.then_some((name, rest))
    }
}

#[derive(PartialEq, Eq)]
enum LabelKind {
    /// Capitals, or `Speaker 1`.
    Certain,
    /// One to three words, each with a capital.
    Mixed,
    None,
}

/// What may be a name: short, in front of a colon and a space. Brackets around it are left out.
fn label(text: &str) -> Option<(&str, &str)> {
    const LONGEST: usize = 40;
    let at = text.bytes().take(LONGEST + 1).position(|b| b == b':')?;
    let (name, rest) = (&text[..at], &text[at + 1..]);
    if !(rest.is_empty() || rest.starts_with(' ')) {
        return None;
    }
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let bare = bare.or_else(|| name.strip_prefix('(').and_then(|name| name.strip_suffix(')')));
    // `JOHN (V.O.): ...` is John.
    let name = bare.unwrap_or_else(|| name.find(" (").filter(|_| name.ends_with(')')).map_or(name, |at| &name[..at]));
    let fits = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '.' | '\'' | '’' | '-' | '_' | '#' | '&' | '/');
    (!name.is_empty() && name.chars().all(fits)).then_some((name.trim(), rest.trim_start()))
}

fn kind(name: &str) -> LabelKind {
    let lower = name.to_lowercase();
    if NO_NAMES.contains(&lower.as_str()) {
        return LabelKind::None;
    }
    let numbered = lower.strip_prefix("speaker").is_some_and(|rest| {
        let rest = rest.trim_start_matches([' ', '_', '#']);
        !rest.is_empty() && rest.len() <= 3 && rest.chars().all(char::is_alphanumeric)
    });
    if numbered {
        return LabelKind::Certain;
    }
    let words: Vec<&str> = name.split(' ').collect();
    let letters = || name.chars().filter(|c| c.is_alphabetic());
    if !name.starts_with(char::is_alphabetic) || words.len() > 4 {
        return LabelKind::None;
    }
    if letters().count() >= 2 && letters().all(char::is_uppercase) {
        return LabelKind::Certain;
    }
    let capitals = words.iter().all(|word| word.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit()));
    if words.len() <= 3 && capitals { LabelKind::Mixed } else { LabelKind::None }
}

/// Words that are notes of sounds wherever they stand in brackets.
const SOUND_WORDS: [&str; 26] = [
    "music",
    "applause",
    "laughter",
    "laughs",
    "laughing",
    "cheering",
    "cheers",
    "inaudible",
    "crosstalk",
    "silence",
    "sighs",
    "coughs",
    "coughing",
    "gasps",
    "crying",
    "screaming",
    "unintelligible",
    "foreign",
    "noise",
    "clapping",
    "chuckles",
    "chuckling",
    "audience",
    "singing",
    "sniffs",
    "groans",
];

/// Takes notes of sounds out of a text and counts them.
fn drop_sounds(text: &mut String) -> usize {
    if !text.contains(['[', '(', '♪', '♫', '♬', '【', '（']) {
        return 0;
    }
    const LONGEST: usize = 80;
    let mut out = String::with_capacity(text.len());
    let mut count = 0;
    let mut rest = text.as_str();
    while let Some(start) = rest.find(['[', '(', '♪', '♫', '♬', '【', '（']) {
        out.push_str(&rest[..start]);
        let tail = &rest[start..];
        let open = tail.chars().next().unwrap_or_default();
        let close = match open {
            '[' => ']',
            '(' => ')',
            '【' => '】',
            '（' => '）',
            _ => {
                count += 1;
                rest = &tail[open.len_utf8()..];
                continue;
            }
        };
        let end = tail.char_indices().take(LONGEST).find(|&(_, c)| c == close).map(|(at, _)| at);
        let note = end.filter(|&end| {
            let behind = &tail[end + close.len_utf8()..];
            let whole = out.trim().is_empty() && behind.chars().all(|c| c.is_whitespace() || matches!(c, '.' | '♪'));
            is_sound(&tail[open.len_utf8()..end], open, whole, out.trim().is_empty()) && !behind.starts_with(':')
        });
        match note {
            Some(end) => {
                count += 1;
                rest = &tail[end + close.len_utf8()..];
                // A note that was the whole line leaves no full stop behind.
                if out.trim().is_empty() && rest.trim() == "." {
                    rest = "";
                }
            }
            None => {
                out.push(open);
                rest = &tail[open.len_utf8()..];
            }
        }
    }
    out.push_str(rest);
    if count > 0 {
        *text = words::collapse(&out);
    }
    count
}

fn is_sound(inside: &str, open: char, whole: bool, at_start: bool) -> bool {
    let letters = || inside.chars().filter(|c| c.is_alphabetic());
    if whole {
        return letters().next().is_some() || inside.contains(['♪', '♫', '_']) || inside.trim().is_empty();
    }
    // `[1]`, `(2019)`: a reference, a year.
    if letters().next().is_none() {
        return inside.contains(['♪', '♫', '♬']) || inside.trim() == "__";
    }
    let known =
        inside.split(|c: char| !c.is_alphabetic()).any(|word| SOUND_WORDS.contains(&word.to_lowercase().as_str()));
    if known && inside.split_whitespace().count() <= 5 {
        return true;
    }
    let capitals = letters().all(char::is_uppercase) && letters().count() >= 3;
    // An abbreviation in round brackets stands behind what it abbreviates: `the Bureau (FBI)`.
    capitals && (matches!(open, '[' | '【') || at_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(index: usize, text: &str) -> RawCue {
        let mut cue = RawCue { times: Some((index as f64, index as f64 + 1.0)), ..RawCue::default() };
        cue.push_lines(text);
        cue
    }

    fn said(texts: &[&str]) -> Vec<(Option<String>, String)> {
        let cues = texts.iter().enumerate().map(|(index, text)| cue(index, text)).collect();
        let (pieces, _) = pieces(cues, &CaptionOptions::default());
        pieces.into_iter().map(|piece| (piece.speaker.map(|name| name.to_string()), piece.text)).collect()
    }

    fn by(name: &str, text: &str) -> (Option<String>, String) {
        (Some(name.to_owned()), text.to_owned())
    }

    fn unknown(text: &str) -> (Option<String>, String) {
        (None, text.to_owned())
    }

    #[test]
    fn capitals_are_names() {
        assert_eq!(
            said(&["JOHN: Hello\nthere.\nDR. SMITH: Hi.", "NOTE: no name", "He said: no", "[SPEAKER_01]: Yes"]),
            [
                by("JOHN", "Hello there."),
                by("DR. SMITH", "Hi."),
                unknown("NOTE: no name"),
                unknown("He said: no"),
                by("SPEAKER_01", "Yes")
            ]
        );
    }

    #[test]
    fn names_in_mixed_case_must_come_again() {
        let talk = ["Host: Welcome.", "Guest: Thanks.", "Host: So?", "Guest: Well."];
        assert_eq!(said(&talk)[1], by("Guest", "Thanks."));
        assert_eq!(said(&["Remember: it is late.", "Remember: go."])[0], unknown("Remember: it is late."));
        assert_eq!(said(&["Time: 10:30", "A: b"])[0], unknown("Time: 10:30"));
    }

    #[test]
    fn arrows_mark_turns_and_names_last() {
        assert_eq!(
            said(&[">> ANNA: One.", "Two.", ">> Three.", ">>> Four."]),
            [by("ANNA", "One."), by("ANNA", "Two."), unknown("Three."), unknown("Four.")]
        );
    }

    #[test]
    fn a_name_behind_arrows_need_not_come_again() {
        assert_eq!(said(&[">> Bob: Yes.", "Remember: no."]), [by("Bob", "Yes."), unknown("Remember: no.")]);
        assert_eq!(said(&[">> Note: yes."]), [unknown("Note: yes.")]);
    }

    #[test]
    fn a_name_lasts_to_the_end_of_its_sentence() {
        assert_eq!(
            said(&["BOB: I think that", "we should go.", "Really?"]),
            [by("BOB", "I think that"), by("BOB", "we should go."), unknown("Really?")]
        );
    }

    #[test]
    fn a_name_may_hold_to_the_next_one() {
        let talk = ["BOB: I think.", "Really.", "- Who?", "I see.", "ANN: Oh.", "Yes."];
        let options = CaptionOptions { names_hold: NamesHold::Turn, ..CaptionOptions::default() };
        let names = |cues: Vec<RawCue>| -> Vec<Option<String>> {
            pieces(cues, &options).0.into_iter().map(|piece| piece.speaker.map(|name| name.to_string())).collect()
        };
        let mut cues: Vec<RawCue> = talk.iter().enumerate().map(|(index, text)| cue(index, text)).collect();
        let [bob, ann] = ["BOB", "ANN"].map(|name| Some(name.to_owned()));
        assert_eq!(names(cues.clone()), [bob.clone(), bob.clone(), None, None, ann.clone(), ann]);
        // Where cues have voices, one without a voice is nobody's.
        cues[4].lines[0] = RawLine { voice: Some(Arc::from("Ann")), text: "Oh.".into(), timed: false };
        assert_eq!(names(cues), [bob, None, None, None, Some("Ann".to_owned()), None]);
    }

    #[test]
    fn dashes_are_turns() {
        assert_eq!(said(&["-Who?\n-Me."]), [unknown("Who?"), unknown("Me.")]);
        assert_eq!(
            said(&["- Hello.", "-5 degrees", "--and on"]),
            [unknown("Hello."), unknown("-5 degrees"), unknown("--and on")]
        );
    }

    #[test]
    fn sounds_are_dropped_and_brackets_of_the_text_are_not() {
        let dropped = ["[Music]", "(laughs)", "♪", "[crowd\ncheering]", "【拍手】", "[ __ ]"];
        for text in dropped {
            assert_eq!(said(&[text]), [], "{text}");
        }
        assert_eq!(said(&["(LAUGHS) Come on."]), [unknown("Come on.")]);
        assert_eq!(said(&["So [laughter] yes"]), [unknown("So yes")]);
        assert_eq!(said(&["♪ la la ♪"]), [unknown("la la")]);
        for kept in ["He saw [the] sea", "see [1]", "the Bureau (FBI) said", "it (the sea) is f(x)", "a ( b"] {
            assert_eq!(said(&[kept]), [unknown(kept)]);
        }
    }

    #[test]
    fn open_brackets_take_no_time() {
        let mut text = "[".repeat(1_000_000);
        assert_eq!(drop_sounds(&mut text), 0);
    }
}
