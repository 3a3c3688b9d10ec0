//! Marks of direction: needed where text of both directions meets, and closed in the line in which they are opened.

use std::ops::Range;

/// The marks that the lines of a text need. Lines are read once, when the first mark in them is asked for.
pub(super) struct Lines<'a> {
    text: &'a str,
    line: Range<usize>,
    /// Places of needed marks of the line, in order.
    needed: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, line: 0..0, needed: Vec::new() }
    }

    /// Whether the mark at a place is one that the text needs. Places have to be asked for in their order.
    pub(super) fn needs(&mut self, at: usize) -> bool {
        if at >= self.line.end {
            let start =
                self.text[self.line.end..at].rfind('\n').map_or(self.line.end, |place| self.line.end + place + 1);
            let end = self.text[at..].find('\n').map_or(self.text.len(), |place| at + place + 1);
            self.line = start..end;
            self.needed = needed(&self.text[start..end], start);
        }
        self.needed.binary_search(&at).is_ok()
    }
}

/// Places of the marks of a line that it needs: none without letters from right to left; single marks; embeddings and
/// isolates that are closed. Overrides never: they show a text that is not there.
fn needed(line: &str, start: usize) -> Vec<usize> {
    if !line.chars().any(is_right_to_left) {
        return Vec::new();
    }
    let mut places = Vec::new();
    // What is open: its place, whether it is an isolate, whether it overrides.
    let mut open: Vec<(usize, bool, bool)> = Vec::new();
    // How many isolates are open, so that an end without a beginning does not search everything.
    let mut isolates = 0_usize;
    for (offset, character) in line.char_indices() {
        let at = start + offset;
        match character {
            '\u{200e}' | '\u{200f}' | '\u{61c}' => places.push(at),
            '\u{202a}' | '\u{202b}' => open.push((at, false, false)),
            '\u{202d}' | '\u{202e}' => open.push((at, false, true)),
            '\u{2066}'..='\u{2068}' => {
                isolates += 1;
                open.push((at, true, false));
            }
            '\u{202c}' => {
                if let Some(&(opened, false, overrides)) = open.last() {
                    open.pop();
                    if !overrides {
                        places.extend([opened, at]);
                    }
                }
            }
            '\u{2069}' if isolates > 0 => {
                // The end of an isolate closes what was opened in it.
                if let Some(place) = open.iter().rposition(|(_, isolate, _)| *isolate) {
                    places.extend([open[place].0, at]);
                    isolates -= 1;
                    open.truncate(place);
                }
            }
            _ => {}
        }
    }
    places.sort_unstable();
    places
}

fn is_right_to_left(character: char) -> bool {
    matches!(character, '\u{590}'..='\u{61b}' | '\u{61d}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}
