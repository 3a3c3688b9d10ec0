//! Ways to answer that a system prompt asks for, so that a model learns that an answer's style is something that varies.

use super::random::Random;

/// What is done to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// In capital letters.
    Capitals,
    /// In small letters.
    SmallLetters,
    /// Begins with this.
    Opening(&'static str),
    /// Ends with this.
    Closing(&'static str),
    /// Begins and ends with these.
    Frame(&'static str, &'static str),
    /// With a mark of exclamation.
    Loud,
}

const OPENINGS: [&str; 16] = [
    "Well!",
    "Sure!",
    "Of course!",
    "Let me see.",
    "Good question.",
    "Yes, dear friend.",
    "Here is the answer:",
    "Hello!",
    "I know this.",
    "Very well.",
    "Certainly!",
    "My answer:",
    "Thank you for asking.",
    "Hm, let me think.",
    "Oh!",
    "At your service.",
];
const CLOSINGS: [&str; 14] = [
    "Goodbye!",
    "Have a nice day!",
    "I hope that helps.",
    "That is all.",
    "Anything else?",
    "Yours truly.",
    "Take care!",
    "Good luck!",
    "The end.",
    "Is that clear?",
    "Thank you.",
    "Be well!",
    "So it is.",
    "See you soon!",
];

impl Style {
    /// Plain in most cases.
    pub(crate) fn draw(random: &mut Random) -> Self {
        if !random.chance(12) {
            return Self::Plain;
        }
        match random.below(9) {
            0 => Self::Capitals,
            1 => Self::SmallLetters,
            2 => Self::Loud,
            3 | 4 => Self::Opening(random.word(&OPENINGS)),
            5 | 6 => Self::Closing(random.word(&CLOSINGS)),
            _ => Self::Frame(random.word(&OPENINGS), random.word(&CLOSINGS)),
        }
    }

    /// What a system prompt says to ask for it.
    pub(crate) fn instruction(self, random: &mut Random) -> Option<String> {
        let begin = ["Begin each answer with", "Start every answer with", "Always begin with"];
        let end = ["End each answer with", "Finish every answer with", "Always end with"];
        Some(match self {
            Self::Plain => return None,
            Self::Capitals => random.word(&["Answer in capital letters.", "Write in capital letters."]).to_owned(),
            Self::SmallLetters => random.word(&["Answer in small letters.", "Write in small letters."]).to_owned(),
            Self::Loud => random
                .pick(&["Answer with an exclamation mark.", "End your sentences with an exclamation mark."])
                .to_string(),
            Self::Opening(words) => format!("{} \"{words}\"", random.word(&begin)),
            Self::Closing(words) => format!("{} \"{words}\"", random.word(&end)),
            Self::Frame(first, last) => {
                format!("{} \"{first}\" and end it with \"{last}\"", random.word(&begin[..2]))
            }
        })
    }

    /// The answer in this style.
    pub(crate) fn apply(self, answer: &str) -> String {
        match self {
            Self::Plain => answer.to_owned(),
            Self::Capitals => answer.to_uppercase(),
            Self::SmallLetters => answer.to_lowercase(),
            Self::Loud => format!("{}!", answer.trim_end_matches(['.', '!'])),
            Self::Opening(words) => format!("{words} {answer}"),
            Self::Closing(words) => format!("{answer} {words}"),
            Self::Frame(first, last) => format!("{first} {answer} {last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_style_is_asked_for_and_seen() {
        let mut random = Random::new(1);
        let mut seen = 0;
        for _ in 0..2000 {
            let style = Style::draw(&mut random);
            let changed = style.apply("It is red.") != "It is red.";
            assert_eq!(style.instruction(&mut random).is_some(), changed, "{style:?}");
            seen += usize::from(changed);
        }
        assert!((150..350).contains(&seen), "{seen}");
        assert_eq!(Style::Frame("Sure!", "Goodbye!").apply("Red."), "Sure! Red. Goodbye!");
    }
}
