//! Captions of real files: webvtt-py's, and talks with known words.
#![allow(clippy::print_stdout, reason = "measured numbers")]

mod common;

use attune_documents::Document;
use attune_documents::captions::{self, CaptionError, CaptionOptions, Merge};

#[test]
fn rolling_captions_are_said_once() {
    let Some(assets) = common::assets("datasets/3b1b") else { return };
    let talks = common::talks::rolling(&assets.join("datasets/3b1b"));
    assert_eq!(talks.len(), 6);
    for talk in talks {
        println!(
            "{}: {} words, {} before, {} wrong, {:.2} s",
            talk.name, talk.words, talk.words_before, talk.wrong, talk.latest_secs
        );
        assert!(talk.words_before > talk.words * 3 / 2, "{} does not roll", talk.name);
        assert_eq!(talk.wrong, 0, "{}", talk.name);
    }
}

#[test]
fn human_captions_lose_nothing() {
    let Some(assets) = common::assets("datasets/3b1b") else { return };
    let (files, words, wrong, sentences, equal) = common::talks::human(&assets.join("datasets/3b1b"));
    println!("{files} files, {words} words, {wrong} wrong, {sentences} sentences, {equal} lines of the transcript");
    assert_eq!(files, 40);
    assert!(wrong * 1000 <= words, "{wrong} of {words}");
    assert!(equal * 10 >= sentences * 9, "{equal} of {sentences}");
}

/// The file of that name, read as the format of its name says.
fn read(name: &str) -> Option<Result<Document, CaptionError>> {
    let assets = common::assets("datasets/webvtt-py")?;
    let text = common::text(&assets.join("datasets/webvtt-py").join(name));
    let options = CaptionOptions::default();
    Some(match name.rsplit('.').next() {
        Some("vtt") => captions::parse_webvtt(&text, &options),
        Some("srt") => captions::parse_srt(&text, &options),
        _ => captions::parse_sbv(&text, &options),
    })
}

#[test]
fn files_of_all_formats() {
    // Name, segments, notes.
    let expected = [
        ("captions_with_bom.vtt", 4, 0),
        ("comments.vtt", 5, 0),
        ("cue_tags.vtt", 3, 0),
        ("invalid_timeframe.vtt", 6, 1),
        ("metadata_headers.vtt", 2, 0),
        ("metadata_headers_multiline.vtt", 2, 0),
        ("no_captions.vtt", 0, 0),
        ("one_caption.srt", 1, 0),
        ("one_caption.vtt", 1, 0),
        ("sample.sbv", 5, 1),
        ("sample.srt", 5, 0),
        ("sample.vtt", 16, 0),
        ("styles.vtt", 1, 0),
        ("two_captions.sbv", 2, 0),
        ("using_identifiers.vtt", 6, 0),
        ("invalid_timeframe.srt", 5, 0),
        ("missing_timeframe.srt", 5, 1),
        ("missing_caption_text.srt", 4, 0),
        ("invalid_timeframe.sbv", 5, 2),
        ("missing_caption_text.sbv", 4, 1),
    ];
    for (name, segments, notes) in expected {
        let Some(read) = read(name) else { return };
        let document = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((document.segments.len(), document.notes.len()), (segments, notes), "{name}: {document:#?}");
    }
}

#[test]
fn what_is_no_captions_is_an_error_with_a_hint() {
    for name in [
        "empty.vtt",
        "invalid.vtt",
        "invalid_format1.srt",
        "invalid_format2.srt",
        "invalid_format3.srt",
        "invalid_format.sbv",
    ] {
        let Some(read) = read(name) else { return };
        let error = read.expect_err(name);
        assert!(error.hint().is_some(), "{name}: {error}");
    }
    let error = captions::parse("no captions", &CaptionOptions::default()).expect_err("plain text");
    assert_eq!(error, CaptionError::NoCaptions);
}

#[test]
fn captions_of_youtube() {
    let Some(read) = read("youtube_dl.vtt") else { return };
    let document = read.expect("captions");
    assert_eq!(document.language.as_deref(), Some("en"));
    let mut texts: Vec<&str> = document.segments.iter().map(|segment| segment.text.as_str()).collect();
    texts.truncate(3);
    assert_eq!(texts, ["yeah", "what", "this will happen is I'm telling"]);
}

#[test]
fn voices_and_times_stay_with_the_words() {
    let file = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>We go</v>\n<v Bob>No.</v>\n\n\
                00:02.000 --> 00:03.000\n<v Bob>Not</v>\n\n00:03.000 --> 00:04.000\n<v Bob>now. Later.</v>\n";
    let mut options = CaptionOptions::default();
    options.merge = Merge::Sentences;
    let document = captions::parse(file, &options).expect("captions");
    let said: Vec<_> = document
        .segments
        .iter()
        .map(|s| (s.speaker.as_deref().unwrap(), s.start_secs.unwrap(), s.end_secs.unwrap(), s.text.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("Ann", 1.0, 2.0, "We go"),
            ("Bob", 1.0, 2.0, "No."),
            ("Bob", 2.0, 4.0, "Not now."),
            ("Bob", 3.0, 4.0, "Later.")
        ]
    );
    assert_eq!(document.segments[2].lines, Some((7, 11)));
}
