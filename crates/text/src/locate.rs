//! Where each message stands in the rendered chat, and from where to where each assistant turn is trained.

use std::ops::Range;

use crate::conversation::{Conversation, Message};
use crate::error::TextError;
use crate::marks::{self, Mark, MarkKind, MarkStyle, Marks};
use crate::model::ChatRenderer;

/// Where a message's own text stands in the rendered chat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// First byte of its text; `None` when the template leaves out the beginning (thinking) or there is no text.
    pub(crate) head: Option<usize>,
    /// Byte after its text.
    pub(crate) tail: Option<usize>,
    /// Bytes after the names of its tool calls.
    pub(crate) calls: Vec<usize>,
    /// The template leaves out the beginning of the text, so `head` is where the text that is there begins, or a
    /// little before if what precedes it happens to look the same.
    pub(crate) guessed: bool,
}

impl Place {
    /// The first known byte of the message's own text.
    pub(crate) fn first(&self) -> Option<usize> {
        self.head.into_iter().chain(self.tail).chain(self.calls.iter().copied()).min()
    }

    /// The last known byte of the message's own text.
    pub(crate) fn last(&self) -> Option<usize> {
        self.head.into_iter().chain(self.tail).chain(self.calls.iter().copied()).max()
    }
}

/// Finds every message of a chat in its rendering.
///
/// # Errors
/// [`TextError::MessageDropped`] when the text or a tool call of a message is not there,
/// [`TextError::CannotLocate`] when it cannot be told.
pub(crate) fn places(
    renderer: &ChatRenderer<'_>,
    conversation: &Conversation,
    marks: Marks,
    text: &str,
) -> Result<Vec<Place>, TextError> {
    let messages = &conversation.messages;
    let mut places = None;
    for style in [MarkStyle::BOTH, MarkStyle::TAIL, MarkStyle::HEAD] {
        let marked = messages.iter().enumerate().map(|(index, message)| marks.mark(message, index, style));
        let Ok(rendered) = renderer.render(conversation, marked.collect(), false) else { continue };
        let (stripped, found) = marks.strip(&rendered.text);
        if stripped == text {
            places = Some(collect(&found, messages.len()));
            break;
        }
    }
    let mut places = match places {
        Some(places) => places,
        None => {
            let one = |index| place_alone(renderer, conversation, marks, text, index);
            (0..messages.len()).map(one).collect::<Result<Vec<_>, _>>()?
        }
    };
    for (index, message) in messages.iter().enumerate() {
        let (first, last) = marks::ends_of_text(message);
        if !first.is_empty() && places[index].head.is_none() && places[index].tail.is_none() {
            // The marks may have been cut off with white space or thinking while the rest stayed.
            let place = place_replaced(renderer, conversation, marks, text, index)?;
            (places[index].head, places[index].tail) = (place.head, place.tail);
        }
        // Some templates name the function again where its result stands, so only the first ones are the calls.
        let (calls, expected) = (&mut places[index].calls, marks::count_calls(message));
        if calls.len() < expected {
            return Err(dropped(index, message, "tool calls"));
        }
        calls.truncate(expected);
        complete(&mut places[index], text, first, last);
    }
    Ok(places)
}

fn dropped(index: usize, message: &Message, part: &'static str) -> TextError {
    TextError::MessageDropped { message: index + 1, role: message.role.clone(), part }
}

fn collect(found: &[Mark], messages: usize) -> Vec<Place> {
    let mut places = vec![Place::default(); messages];
    for mark in found {
        let Some(place) = places.get_mut(mark.message) else { continue };
        match mark.kind {
            MarkKind::Head => place.head = Some(place.head.map_or(mark.at, |at| at.min(mark.at))),
            MarkKind::Tail => place.tail = Some(place.tail.map_or(mark.at, |at| at.max(mark.at))),
            MarkKind::Call => place.calls.push(mark.at),
        }
    }
    places
}

/// Finds the other end of a text of which only one is known, by comparing the text itself.
fn complete(place: &mut Place, text: &str, first: &str, last: &str) {
    match (place.head, place.tail) {
        (None, Some(tail)) => {
            let shared = common_suffix(&text[..tail], last);
            place.head = (shared > 0).then_some(tail - shared);
            place.guessed = shared < last.len() || first != last;
        }
        (Some(head), None) if first == last && text[head..].starts_with(first) => {
            place.tail = Some(head + first.len());
        }
        _ => {}
    }
}

/// The place of one message, found with marks on that message only.
fn place_alone(
    renderer: &ChatRenderer<'_>,
    conversation: &Conversation,
    marks: Marks,
    text: &str,
    index: usize,
) -> Result<Place, TextError> {
    let message = &conversation.messages[index];
    let (first, _) = marks::ends_of_text(message);
    if first.is_empty() && marks::count_calls(message) == 0 {
        return Ok(Place::default());
    }
    for style in [MarkStyle::BOTH, MarkStyle::TAIL, MarkStyle::HEAD] {
        if let Some(place) = try_alone(renderer, conversation, marks, text, index, style) {
            return Ok(place);
        }
    }
    let mut place = match first.is_empty() {
        true => Place::default(),
        false => place_replaced(renderer, conversation, marks, text, index)?,
    };
    if marks::count_calls(message) > 0 {
        let calls = try_alone(renderer, conversation, marks, text, index, MarkStyle::CALLS);
        let Some(calls) = calls else {
            return Err(TextError::CannotLocate { message: index + 1, role: message.role.clone() });
        };
        place.calls = calls.calls;
    }
    Ok(place)
}

fn try_alone(
    renderer: &ChatRenderer<'_>,
    conversation: &Conversation,
    marks: Marks,
    text: &str,
    index: usize,
    style: MarkStyle,
) -> Option<Place> {
    let marked = renderer.render(conversation, mark_one(conversation, marks, index, style), false).ok()?;
    let (stripped, found) = marks.strip(&marked.text);
    (stripped == text).then(|| collect(&found, conversation.messages.len()).swap_remove(index))
}

fn mark_one(conversation: &Conversation, marks: Marks, index: usize, style: MarkStyle) -> Vec<minijinja::Value> {
    let messages = conversation.messages.iter().enumerate();
    messages
        .map(|(at, message)| if at == index { marks.mark(message, at, style) } else { marks::plain(message) })
        .collect()
}

/// The place of one message, found by rendering the chat without its text: what differs is the text.
fn place_replaced(
    renderer: &ChatRenderer<'_>,
    conversation: &Conversation,
    marks: Marks,
    text: &str,
    index: usize,
) -> Result<Place, TextError> {
    let message = &conversation.messages[index];
    let lost = || TextError::CannotLocate { message: index + 1, role: message.role.clone() };
    let changed = mark_one(conversation, marks, index, MarkStyle::REPLACE);
    let Ok(changed) = renderer.render(conversation, changed, false) else {
        return unique_place(text, message).ok_or_else(lost);
    };
    if changed.text == text {
        return Err(dropped(index, message, "content"));
    }
    let (without, _) = marks.strip(&changed.text);
    if without == text {
        return Err(dropped(index, message, "content"));
    }
    let start = common_prefix(text, &changed.text);
    let end = text.len() - common_suffix(&text[start..], &changed.text[start.min(changed.text.len())..]);
    // The difference may reach a little too far or not far enough (`aXa` for `aaa`), so the text itself decides.
    let (first, last) = marks::ends_of_text(message);
    let head = (start.saturating_sub(first.len())..=start)
        .rev()
        .find(|&at| text.is_char_boundary(at) && text[at..].starts_with(first));
    match head {
        Some(head) if first == last => {
            Ok(Place { head: Some(head), tail: Some(head + first.len()), ..Place::default() })
        }
        None if end <= start => Err(dropped(index, message, "content")),
        _ => Ok(Place { head: Some(start), tail: Some(end.max(start)), ..Place::default() }),
    }
}

/// The place of a text that occurs exactly once.
fn unique_place(text: &str, message: &Message) -> Option<Place> {
    let (first, last) = marks::ends_of_text(message);
    let mut found = text.match_indices(first);
    let (head, _) = found.next().filter(|_| first == last)?;
    found.next().is_none().then(|| Place { head: Some(head), tail: Some(head + first.len()), ..Place::default() })
}

fn common_prefix(a: &str, b: &str) -> usize {
    let same = |((at, a), b): ((usize, char), char)| (a != b).then_some(at);
    a.char_indices().zip(b.chars()).find_map(same).unwrap_or(a.len().min(b.len()))
}

fn common_suffix(a: &str, b: &str) -> usize {
    a.chars().rev().zip(b.chars().rev()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// What a template does around the simplest chat; found out once, when the model is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The assistant's header: what `add_generation_prompt` adds, or what stands before an answer when the template
    /// does not know it.
    pub(crate) header: String,
    /// The chat with one question and one answer.
    pub(crate) text: String,
    /// Byte after the answer.
    pub(crate) answer_end: usize,
}

/// Renders a question and an answer and looks at what stands around the answer.
///
/// `None` when the template refuses so simple a chat.
pub(crate) fn probe(renderer: &ChatRenderer<'_>) -> Option<Probe> {
    let messages = vec![Message::new("user", "Hello"), Message::new("assistant", "Hi")];
    let conversation = Conversation { messages, tools: None };
    let marks = Marks::choose(&conversation).ok()?;
    let text = renderer.render_plain(&conversation, false).ok()?.text;
    let places = places(renderer, &conversation, marks, &text).ok()?;
    let (question_end, answer, answer_end) = (places[0].tail?, places[1].head?, places[1].tail?);
    let with_prompt = text_behind(renderer, &conversation, marks, 1, true).unwrap_or_default();
    let header = if renderer.template.knows_generation_prompt() {
        let without = text_behind(renderer, &conversation, marks, 1, false).unwrap_or_default();
        with_prompt[snapped(&with_prompt, common_prefix(&with_prompt, &without))..].to_owned()
    } else {
        let start = question_end + if text[question_end..].starts_with(&with_prompt) { with_prompt.len() } else { 0 };
        text.get(start..answer).unwrap_or_default().trim_end_matches([' ', '\t']).to_owned()
    };
    Some(Probe { header, text, answer_end })
}

/// Moves the end of a common prefix back to where a marker or a line ends: `<|end|>` and `<|assistant|>` share `<|`,
/// but that is no border.
fn snapped(text: &str, end: usize) -> usize {
    let is_border = |c: char| c.is_whitespace() || matches!(c, '>' | ']' | ':' | '}' | ')');
    if end == text.len() {
        return end;
    }
    text[..end].char_indices().rev().find(|(_, c)| is_border(*c)).map_or(0, |(at, c)| at + c.len_utf8())
}

/// What a template writes behind the own text of message `turn - 1` when that is the last one; with `prompt`, when the
/// assistant is to speak next.
fn text_behind(
    renderer: &ChatRenderer<'_>,
    conversation: &Conversation,
    marks: Marks,
    turn: usize,
    prompt: bool,
) -> Option<String> {
    let before = &conversation.messages[..turn];
    let last = turn.checked_sub(1)?;
    let marked = before.iter().enumerate().map(|(index, message)| match index == last {
        true => marks.mark(message, index, MarkStyle::TAIL),
        false => marks::plain(message),
    });
    let rendered = renderer.render(conversation, marked.collect(), prompt).ok()?;
    let (text, found) = marks.strip(&rendered.text);
    let calls = marks::count_calls(&before[last]);
    let of_last = |kind: MarkKind| found.iter().filter(move |mark| mark.message == last && mark.kind == kind);
    let call = of_last(MarkKind::Call).take(calls).map(|mark| mark.at).max();
    let end = of_last(MarkKind::Tail).map(|mark| mark.at).max().max(call)?;
    Some(text[end..].to_owned())
}

/// Finds where assistant turns begin, with as few renderings as it can.
pub(crate) struct TurnStarts<'a> {
    pub(crate) renderer: &'a ChatRenderer<'a>,
    pub(crate) conversation: &'a Conversation,
    pub(crate) marks: Marks,
    pub(crate) text: &'a str,
    pub(crate) places: &'a [Place],
    pub(crate) probe: &'a Probe,
    /// What the template writes behind a message when the assistant is to speak, by the message's role.
    pub(crate) prompts: Vec<(String, String)>,
}

impl TurnStarts<'_> {
    /// The first byte that the assistant writes in message `turn`: the byte after the generation prompt.
    pub(crate) fn start(&mut self, turn: usize) -> Result<usize, TextError> {
        let message = &self.conversation.messages[turn];
        let (first, last) = (self.places[turn].first(), self.places[turn].last());
        let after_prompt = match turn.checked_sub(1).and_then(|last| Some((last, self.places[last].last()?))) {
            Some((last, end)) => self.behind(last, end),
            None => {
                let prompt = self.renderer.render_plain(&self.before(turn), true).ok();
                let known = self.places[..turn].iter().filter_map(Place::last).max().unwrap_or(0);
                prompt.and_then(|prompt| self.behind_prompt(turn, 0, &prompt.text)).filter(|start| *start >= known)
            }
        };
        if let Some(start) = after_prompt.filter(|start| last.is_none_or(|last| *start <= last)) {
            return Ok(start + self.header_ahead(start, first.unwrap_or(start)));
        }
        match first {
            // The blanks before a word belong to its token in many vocabularies.
            Some(first) => Ok(self.text[..first].trim_end_matches([' ', '\t']).len()),
            None => Err(TextError::CannotLocate { message: turn + 1, role: message.role.clone() }),
        }
    }

    /// Length of what still belongs to the assistant's header between `start` and `first`: all of it when the template
    /// does not know generation prompts.
    fn header_ahead(&self, start: usize, first: usize) -> usize {
        let header = self.probe.header.as_str();
        let ahead = self.text.get(start..first).unwrap_or_default();
        if header.trim().is_empty() {
            return 0;
        }
        match self.renderer.template.knows_generation_prompt() {
            true if self.text[start..].starts_with(header) => header.len(),
            true => 0,
            false => ahead.rfind(header).map_or(0, |at| at + header.len()),
        }
    }

    fn before(&self, turn: usize) -> Conversation {
        Conversation { messages: self.conversation.messages[..turn].to_vec(), tools: self.conversation.tools.clone() }
    }

    /// The byte after the generation prompt that follows message `last`, whose own text ends at `end`.
    fn behind(&mut self, last: usize, end: usize) -> Option<usize> {
        let message = &self.conversation.messages[last];
        // Behind a tool call its arguments follow, so that only text can be compared from row to row.
        let is_plain = self.places[last].calls.is_empty();
        let known = self.prompts.iter().find(|(role, _)| is_plain && *role == message.role);
        if let Some((_, prompt)) = known
            && self.text[end..].starts_with(prompt.as_str())
        {
            return Some(end + prompt.len());
        }
        let prompt = text_behind(self.renderer, self.conversation, self.marks, last + 1, true)?;
        let start = self.behind_prompt(last + 1, end, &prompt);
        if is_plain && self.text[end..].starts_with(&prompt) {
            self.prompts.push((message.role.clone(), prompt));
        }
        start
    }

    /// The byte after `prompt`, which begins at byte `from`, or after as much of it as the chat has there.
    fn behind_prompt(&self, turn: usize, from: usize, prompt: &str) -> Option<usize> {
        let rest = &self.text[from..];
        if rest.starts_with(prompt) {
            return Some(from + prompt.len());
        }
        // The prompt may open the answer for the model (`<think>`), while the chat goes on in another way there. What
        // both share is the header.
        let shared = snapped(rest, common_prefix(rest, prompt));
        let start = from + shared;
        let place = &self.places[turn];
        let first = place.first().filter(|_| !place.guessed).unwrap_or(start);
        let ahead = prompt[shared..].trim_start();
        let opens_answer = ahead.is_empty() || ahead.starts_with(['<', '[', '◁']);
        let is_whole = start >= first || self.text[start..first].trim().is_empty() || opens_answer;
        (shared > 0 && is_whole).then_some(start.min(first))
    }
}

/// The byte behind which message `turn` is over, found by rendering the chat up to there.
pub(crate) fn end_of_message(
    renderer: &ChatRenderer<'_>,
    conversation: &Conversation,
    marks: Marks,
    text: &str,
    places: &[Place],
    turn: usize,
) -> Option<usize> {
    let end = places[turn].last()?;
    let behind = text_behind(renderer, conversation, marks, turn + 1, false)?;
    let behind = behind.trim_end();
    text[end..].starts_with(behind).then_some(end + behind.len())
}

/// Ranges of one turn's text, joined where they touch.
pub(crate) fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut out: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}
