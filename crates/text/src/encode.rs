//! Chats and completions as tokens, and which of them are trained.

use std::ops::Range;

use crate::conversation::Conversation;
use crate::error::TextError;
use crate::locate::{self, Place, TurnStarts};
use crate::marks::Marks;
use crate::model::{ChatRenderer, TextModel};
use crate::template::Rendered;
use crate::tokens::Tokenized;

/// The role whose turns are trained.
const ASSISTANT: &str = "assistant";

/// Which tokens are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TrainOn {
    /// All assistant turns.
    #[default]
    Assistant,
    /// The last assistant turn.
    Last,
    /// Every token that follows another.
    All,
}

/// A row as tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The ids.
    pub ids: Vec<u32>,
    /// `trained[i]`: token `i` is a target, predicted from the tokens before it. `trained[0]` is always false.
    pub trained: Vec<bool>,
    /// Whether at least one trained turn ends with a token at which generation stops. A model that is trained on
    /// rows without it never learns to stop.
    pub end_of_turn_trained: bool,
}

/// One assistant turn in the text of a chat.
struct Turn {
    message: usize,
    ranges: Vec<Range<usize>>,
    ends: bool,
}

impl TextModel {
    /// A chat as tokens.
    ///
    /// The chat is rendered and tokenised as one text; the trained bytes are mapped to tokens by offsets. A turn is
    /// trained from the first byte after the generation prompt (the assistant's header) up to and including the
    /// token that ends it; white space behind that token is not trained. When the template marks its own text with
    /// `{% generation %}`, these marks decide instead, extended by the end-of-turn token if that follows at once. A
    /// token that straddles the border of a turn counts where it starts: at the front it is not trained, since it
    /// is partly header, at the end it is.
    ///
    /// Messages with `train == Some(false)` are not trained. The flag has no meaning on messages of other roles,
    /// except for [`TrainOn::All`], where it takes their text out too.
    ///
    /// # Errors
    /// See [`TextError`]: the template refuses or drops a message, a text holds a special token, there is no
    /// assistant turn, nothing is trained, BOS is doubled.
    pub fn encode_chat(&self, conversation: &Conversation, train_on: TrainOn) -> Result<Encoded, TextError> {
        let renderer = self.renderer()?;
        let assistants: Vec<usize> =
            (0..conversation.messages.len()).filter(|&at| conversation.messages[at].role == ASSISTANT).collect();
        if assistants.is_empty() && train_on != TrainOn::All {
            return Err(TextError::NoAssistantTurn { messages: conversation.messages.len() });
        }
        self.refuse_markers(conversation)?;
        let marks = Marks::choose(conversation)?;
        let rendered = renderer.render_checked(conversation, false)?;
        let places = locate::places(&renderer, conversation, marks, &rendered.text)?;
        let tokens = self.encode_rendered(&rendered.text)?;
        let chat = Chat { model: self, renderer, conversation, marks, rendered: &rendered, places: &places };
        let turns = chat.turns(&assistants, &tokens)?;

        let excluded = |message: usize| conversation.messages[message].train == Some(false);
        let wanted = |turn: &Turn| match train_on {
            TrainOn::Last => assistants.last() == Some(&turn.message),
            TrainOn::Assistant | TrainOn::All => true,
        };
        let trained_turns: Vec<&Turn> = turns.iter().filter(|turn| !excluded(turn.message) && wanted(turn)).collect();
        let mut trained = match train_on {
            TrainOn::All => chat.all_but_excluded(&tokens, &turns),
            _ => {
                let ranges = trained_turns.iter().flat_map(|turn| turn.ranges.iter().cloned()).collect();
                inside(&tokens, &locate::joined(ranges))
            }
        };
        if let Some(first) = trained.first_mut() {
            *first = false;
        }
        if !trained.contains(&true) {
            let reason = match trained_turns.is_empty() {
                true => "every assistant turn is taken out by `train: false` or `weight: 0`",
                false => "the chat template leaves the answers empty",
            };
            return Err(TextError::NoTrainedToken { reason });
        }
        let stops = |(id, trained): (&u32, &bool)| *trained && self.stop_ids().contains(id);
        let end_of_turn_trained = match train_on {
            TrainOn::All => tokens.ids.iter().zip(&trained).any(stops),
            _ => trained_turns.iter().any(|turn| turn.ends),
        };
        Ok(Encoded { ids: tokens.ids, trained, end_of_turn_trained })
    }

    /// A prompt and its completion as plain text, without chat template.
    ///
    /// The prompt's tokens are exactly those of [`TextModel::encode_raw`], because that is what the model will see
    /// when it is asked. The completion's tokens are those that it has behind the prompt: of both texts tokenised
    /// as one if their border falls between tokens, else of the completion alone, as it reads in the middle of a
    /// text. EOS is appended unless the completion ends with it. Completion and EOS are trained.
    ///
    /// Special tokens in the texts are meant: a raw row may bring its own markup.
    ///
    /// # Errors
    /// [`TextError::NoEos`], [`TextError::Encode`].
    pub fn encode_completion(&self, prompt: &str, completion: &str, train_on: TrainOn) -> Result<Encoded, TextError> {
        let eos = self.eos_id().ok_or(TextError::NoEos)?;
        let mut ids = self.encode_raw(prompt)?;
        let border = ids.len();
        let whole = self.encode_raw(&format!("{prompt}{completion}"))?;
        match whole.strip_prefix(ids.as_slice()) {
            Some(rest) => ids.extend_from_slice(rest),
            None => ids.extend(self.continuation(completion)?),
        }
        if ids.len() == border || ids.last() != Some(&eos) {
            ids.push(eos);
        }
        if ids.len() == 1 {
            return Err(TextError::NoTrainedToken { reason: "prompt and completion are empty" });
        }
        let trained = (0..ids.len()).map(|at| at > 0 && (at >= border || train_on == TrainOn::All)).collect();
        Ok(Encoded { ids, trained, end_of_turn_trained: true })
    }

    /// Tokens of a text as it reads in the middle of another, without the space that some tokenizers put in front
    /// of a text.
    fn continuation(&self, text: &str) -> Result<Vec<u32>, TextError> {
        // Behind a line break, a letter or a full stop: whichever does not merge with the text.
        for before in ["\n", "a", ".", "0"] {
            let head = self.tokens.encode(before)?.ids;
            let whole = self.tokens.encode(&format!("{before}{text}"))?.ids;
            if let Some(rest) = whole.strip_prefix(head.as_slice()) {
                return Ok(rest.to_vec());
            }
        }
        Ok(self.tokens.encode(text)?.ids)
    }
}

/// A rendered chat whose messages have been found.
struct Chat<'a> {
    model: &'a TextModel,
    renderer: ChatRenderer<'a>,
    conversation: &'a Conversation,
    marks: Marks,
    rendered: &'a Rendered,
    places: &'a [Place],
}

impl Chat<'_> {
    fn turns(&self, assistants: &[usize], tokens: &Tokenized) -> Result<Vec<Turn>, TextError> {
        if self.renderer.template.has_generation() {
            return Ok(self.turns_by_tags(assistants, tokens));
        }
        let mut starts = TurnStarts {
            renderer: &self.renderer,
            conversation: self.conversation,
            marks: self.marks,
            text: &self.rendered.text,
            places: self.places,
            probe: &self.model.probe,
            prompts: Vec::new(),
        };
        let one = |&message: &usize| {
            let start = starts.start(message)?;
            let end = self.places[message].last().unwrap_or(start).max(start);
            let (end, ends) = match self.end_of_turn(message, end, tokens) {
                Some(stop) => (stop, true),
                None => self.end_of_calls(message, end, tokens).unwrap_or((end, false)),
            };
            Ok(Turn { message, ranges: std::iter::once(start..end).collect(), ends })
        };
        assistants.iter().map(one).collect()
    }

    /// The tokens behind byte `end` of a message, up to the next message's own text.
    fn tokens_behind(&self, message: usize, end: usize, tokens: &Tokenized) -> Range<usize> {
        let limit = self.places[message + 1..].iter().find_map(Place::first).unwrap_or(self.rendered.text.len());
        let at = |byte: usize| tokens.offsets.partition_point(|offset| offset.0 < byte);
        at(end)..at(limit.max(end))
    }

    /// The byte after the token that ends a turn whose text ends at `end`.
    fn end_of_turn(&self, message: usize, end: usize, tokens: &Tokenized) -> Option<usize> {
        let behind = self.tokens_behind(message, end, tokens);
        let special = || behind.clone().filter(|&at| self.model.tokens.is_special(tokens.ids[at]));
        // Some templates end only the last turn with the token that stops generation and the earlier ones with
        // another special token; before the next message's own text a further one opens its header.
        let other = || {
            let candidate = special().next().filter(|_| self.places[message].calls.last() != Some(&end))?;
            let follows_at_once = self.rendered.text[end..tokens.offsets[candidate].0].trim().is_empty();
            let closes = self.model.end_of_turn_id().is_some() && special().nth(1).is_some();
            (follows_at_once && closes).then_some(candidate)
        };
        let stop = behind.clone().find(|&at| self.model.stop_ids().contains(&tokens.ids[at]));
        stop.or_else(other).map(|at| tokens.offsets[at].1)
    }

    /// The byte behind a turn of tool calls that no stop token ends, and whether another special token does. Behind
    /// the name of the last call its arguments follow, which may hold special tokens too.
    fn end_of_calls(&self, message: usize, end: usize, tokens: &Tokenized) -> Option<(usize, bool)> {
        self.places[message].calls.last().filter(|last| **last == end)?;
        let text = &self.rendered.text;
        let over = locate::end_of_message(&self.renderer, self.conversation, self.marks, text, self.places, message)?;
        let last = tokens.offsets.partition_point(|offset| offset.0 < over).checked_sub(1)?;
        Some((over, self.model.tokens.is_special(tokens.ids[last])))
    }

    /// The turns as the template's `{% generation %}` marks say.
    fn turns_by_tags(&self, assistants: &[usize], tokens: &Tokenized) -> Vec<Turn> {
        let mut turns: Vec<Turn> =
            assistants.iter().map(|&message| Turn { message, ranges: Vec::new(), ends: false }).collect();
        let spans = &self.rendered.generation;
        for (at, span) in spans.iter().enumerate() {
            // A span belongs to the message whose text it holds; without any text, to the one of the same rank.
            let holds = |turn: &Turn| {
                let last = self.places[turn.message].last();
                last.is_some_and(|last| span.start <= last && last <= span.end)
            };
            let by_rank = if spans.len() == assistants.len() { Some(at) } else { None };
            let index = turns.iter().position(holds).or(by_rank);
            let Some(turn) = index.and_then(|index| turns.get_mut(index)) else { continue };
            let (end, ends) = self.close_span(span, tokens);
            turn.ends |= ends;
            turn.ranges.push(span.start..end);
        }
        turns
    }

    /// The end of a span, moved behind the end-of-turn token if that follows at once, or back to it if only white
    /// space follows; and whether there is one.
    fn close_span(&self, span: &Range<usize>, tokens: &Tokenized) -> (usize, bool) {
        let stops = |at: usize| self.model.stop_ids().contains(&tokens.ids[at]);
        let from = tokens.offsets.partition_point(|offset| offset.0 < span.start);
        let behind = tokens.offsets.partition_point(|offset| offset.0 < span.end);
        if behind < tokens.ids.len() && stops(behind) && tokens.offsets[behind].0 == span.end {
            return (tokens.offsets[behind].1, true);
        }
        match (from..behind).rev().find(|&at| stops(at)).map(|at| tokens.offsets[at].1) {
            Some(end) if end <= span.end && self.rendered.text[end..span.end].trim().is_empty() => (end, true),
            Some(_) => (span.end, true),
            None => (span.end, false),
        }
    }

    /// Every token, without the turns and texts of messages that are taken out.
    fn all_but_excluded(&self, tokens: &Tokenized, turns: &[Turn]) -> Vec<bool> {
        let excluded = |message: &usize| self.conversation.messages[*message].train == Some(false);
        let own_texts = (0..self.places.len()).filter(excluded).filter_map(|message| {
            let place = &self.places[message];
            Some(place.first()?..place.last()?)
        });
        let own_turns = turns.iter().filter(|turn| excluded(&turn.message)).flat_map(|turn| turn.ranges.clone());
        inside(tokens, &locate::joined(own_texts.chain(own_turns).collect())).into_iter().map(|out| !out).collect()
    }
}

/// For each token, whether it starts inside one of the ranges, which are sorted and apart.
fn inside(tokens: &Tokenized, ranges: &[Range<usize>]) -> Vec<bool> {
    let starts_inside = |offset: &(usize, usize)| {
        // Tokens that stand for no text (added BOS) have an empty offset.
        let next = ranges.partition_point(|range| range.end <= offset.0);
        offset.0 < offset.1 && ranges.get(next).is_some_and(|range| range.start <= offset.0)
    };
    tokens.offsets.iter().map(starts_inside).collect()
}
