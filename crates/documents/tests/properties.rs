//! No text makes a reader fail or take for ever.

use std::time::{Duration, Instant};

use attune_documents::captions::{self, CaptionOptions, Merge, NamesHold, Rolling, webvtt};
use attune_documents::plain::{self, TextOptions};
use attune_documents::web::{self, WebOptions};
use proptest::prelude::*;

/// Pieces that files are made of.
const PIECES: &[&str] = &[
    "WEBVTT",
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "00:00:01.000",
    " --> ",
    "00:00:02,500",
    "0:00:01.000,0:00:02.000",
    "1",
    "<v Ann>",
    "</v>",
    "<c>",
    "<00:00:01.100>",
    "<",
    ">",
    "&amp;",
    "&",
    "NOTE x",
    "STYLE",
    "REGION",
    "id:fred",
    "region:fred",
    "[Music]",
    "(",
    "[",
    "♪",
    ">> ",
    "- ",
    "ANN: ",
    "hello",
    "hello world.",
    "日本語。",
    "é",
    "\u{AD}",
    "-",
    "\u{C}",
    "# ",
    "> ",
    "* ",
    "```",
    "|",
    "| a |",
    "---",
    "<div>",
    "</div>",
    "<p>",
    "</p>",
    "<table>",
    "<tr>",
    "<td>",
    "</table>",
    "<a href=x>",
    "</a>",
    "<li>",
    "<ul>",
    "<pre>",
    "<br>",
    "<script>",
    "</script>",
    "<!--",
    "<h1>",
    "<article class=comment>",
    "{\\an8}",
    "\0",
    "\u{FEFF}",
    "\u{202E}",
    "- \n",
    "\t",
];

fn file() -> impl Strategy<Value = String> {
    let piece = prop_oneof![9 => proptest::sample::select(PIECES).prop_map(str::to_owned), 1 => "\\PC{0,12}"];
    proptest::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

fn caption_options() -> Vec<CaptionOptions> {
    let mut all = Vec::new();
    for merge in [Merge::Cues, Merge::Sentences, Merge::Paragraphs] {
        for rolling in [Rolling::Detect, Rolling::Always] {
            let mut options = CaptionOptions::default();
            options.merge = merge;
            options.rolling = rolling;
            options.names_hold = if merge == Merge::Cues { NamesHold::Turn } else { NamesHold::Sentence };
            options.longest_bytes = 20;
            all.push(options);
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn captions_of_any_text(text in file()) {
        for options in caption_options() {
            for text in [text.clone(), format!("WEBVTT\n\n{text}")] {
                let read = [
                    captions::parse_webvtt(&text, &options),
                    captions::parse_srt(&text, &options),
                    captions::parse_sbv(&text, &options),
                    captions::parse(&text, &options),
                ];
                for document in read.into_iter().flatten() {
                    for segment in &document.segments {
                        prop_assert!(!segment.text.trim().is_empty());
                        prop_assert!(segment.speaker.as_ref().is_none_or(|name| !name.is_empty()));
                        let (first, last) = segment.lines.expect("lines");
                        prop_assert!(first >= 1 && first <= last);
                        prop_assert!(segment.start_secs.is_none_or(f64::is_finite));
                    }
                }
            }
        }
    }

    #[test]
    fn merging_loses_no_word(text in file()) {
        let text = format!("WEBVTT\n\n{text}");
        let words = |merge: Merge| {
            let mut options = CaptionOptions::default();
            options.merge = merge;
            let document = captions::parse_webvtt(&text, &options).expect("captions");
            let all: String = document.segments.iter().map(|segment| segment.text.as_str()).collect();
            all.split_whitespace().collect::<String>()
        };
        let cues = words(Merge::Cues);
        prop_assert_eq!(&cues, &words(Merge::Sentences));
        prop_assert_eq!(&cues, &words(Merge::Paragraphs));
    }

    #[test]
    fn line_ends_make_no_difference(text in file()) {
        let text = text.replace('\r', "");
        let unix = webvtt::parse(&format!("WEBVTT\n\n{text}"));
        let dos = webvtt::parse(&format!("WEBVTT\n\n{text}").replace('\n', "\r\n"));
        prop_assert_eq!(unix, dos);
    }

    #[test]
    fn pages_and_documents_of_any_text(text in file()) {
        let _ = web::extract(&text, &WebOptions::default());
        let document = plain::parse_markdown(&text, &TextOptions::default());
        prop_assert!(document.segments.iter().all(|segment| !segment.text.trim().is_empty()));
        let document = plain::parse_text(&text, &TextOptions::default());
        let lines = text.split('\n').count();
        for segment in &document.segments {
            let (first, last) = segment.lines.expect("lines");
            prop_assert!(1 <= first && first <= last && last <= lines);
        }
    }

    #[test]
    fn plain_text_keeps_its_words(text in file()) {
        // Marks of lists and hyphens at line ends may go, letters may not.
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
        let found: String = plain::parse_text(&text, &TextOptions::default()).segments.iter().map(|s| s.text.as_str()).collect();
        prop_assert_eq!(letters(&text), letters(&found));
    }
}

/// Texts that are nothing but one piece, or a few, again and again.
#[test]
fn hostile_texts_take_no_time() {
    const BYTES: usize = 300_000;
    let mut slow = Vec::new();
    let repeated: Vec<&str> = PIECES
        .iter()
        .copied()
        .chain([
            "a",
            "a ",
            "ab\n",
            "<b><p>",
            "<a><b><i>",
            "<table><td>",
            "</p>",
            "![",
            "[a](",
            "**a",
            "`",
            "_a_*",
            "1. ",
            "&#x",
            "<p>x",
            "a-\nb",
            "-->\n",
            "\n\n00:00.000 --> 00:01.000\nx\n",
            "\nREGION\nid:a\n\n",
            "<i",
            "{\\",
            "[x",
            "A: ",
            "x.\n",
            "<li><ul>",
            "<td><table>",
            "<dd><dl>",
            "\u{C}a\n",
            "<br>a",
            "<a href=x>a</a> ",
            "1\n00:00:01,000 --> 00:00:02,000\na\n\n",
        ])
        .collect();
    for piece in repeated {
        let text = piece.repeat(BYTES / piece.len());
        let options = caption_options();
        let start = Instant::now();
        for (name, read) in [
            ("captions", Box::new(|| drop(captions::parse(&text, &options[3]))) as Box<dyn Fn()>),
            (
                "webvtt",
                Box::new(|| {
                    drop(captions::parse_webvtt(&format!("WEBVTT\n\n00:00.000 --> 00:01.000\n{text}"), &options[5]))
                }),
            ),
            (
                "srt",
                Box::new(|| drop(captions::parse_srt(&format!("00:00:00,000 --> 00:00:01,000\n{text}"), &options[5]))),
            ),
            ("web", Box::new(|| drop(web::extract(&format!("<p>{text}"), &WebOptions::default())))),
            ("text", Box::new(|| drop(plain::parse_text(&text, &TextOptions::default())))),
            ("markdown", Box::new(|| drop(plain::parse_markdown(&text, &TextOptions::default())))),
        ] {
            let before = start.elapsed();
            read();
            let took = start.elapsed() - before;
            if took > Duration::from_secs(5) {
                slow.push(format!("{name} of {piece:?}: {took:?}"));
            }
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}

/// One line of ten megabytes, with and without spaces and tags, and files of many sentences and lines.
#[test]
fn long_lines_take_no_time() {
    let options = caption_options()[5];
    for (piece, bytes) in [
        ("a", 10_000_000),
        ("word ", 10_000_000),
        ("<b>x</b> ", 10_000_000),
        ("A sentence. ", 1_000_000),
        ("a line\n", 1_000_000),
    ] {
        let text = piece.repeat(bytes / piece.len());
        let start = Instant::now();
        let cue =
            captions::parse_webvtt(&format!("WEBVTT\n\n00:00.000 --> 00:01.000\n{text}"), &options).expect("captions");
        assert!(!cue.segments.is_empty());
        let cue = captions::parse_srt(&format!("00:00:00,000 --> 00:00:01,000\n{text}"), &options).expect("captions");
        assert!(!cue.segments.is_empty());
        let page = web::extract(&format!("<p>{text}"), &WebOptions::default()).expect("a page");
        // A page of more elements than the limit ends there, and says so.
        let whole = page.text().len() * 10 > bytes * 9;
        assert!(whole != piece.contains('<'), "{piece:?}: {} bytes of the page", page.text().len());
        assert_eq!(page.notes.is_empty(), whole, "{piece:?}: {:?}", page.notes);
        assert!(!plain::parse_text(&text, &TextOptions::default()).segments.is_empty());
        assert!(!plain::parse_markdown(&text, &TextOptions::default()).segments.is_empty());
        let took = start.elapsed();
        assert!(took < Duration::from_secs(60), "{piece:?}: {took:?}");
    }
}
