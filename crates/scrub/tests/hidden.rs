//! What is hidden in texts, and what only looks so.

use attune_scrub::hidden::{HiddenKind, scan, strip};
use proptest::prelude::*;

/// Kinds and stretches.
fn found(text: &str) -> Vec<(HiddenKind, &str)> {
    scan(text).into_iter().map(|hidden| (hidden.kind, &text[hidden.span])).collect()
}

#[test]
fn real_text_is_left_alone() {
    for text in [
        "",
        "Plain text,\twith\r\nlines.",
        "Grüße, façade, naïve – “quotes” … €",
        "\u{feff}starts with a byte order mark",
        "👨‍👩‍👧‍👦 family, 🏳️‍🌈 flag, ❤️ heart, 1️⃣ key, #️⃣, 👍🏽, 🏴󠁧󠁢󠁳󠁣󠁴󠁿 Scotland, ☎︎ as text",
        "می‌خواهم",
        "क्‍ष and क्‌ष",
        "ශ්‍රී ලංකා",
        "העיר \u{200e}C++\u{200f} היא",
        "שלום \u{2067}abc\u{2069} ו \u{202a}xyz\u{202c} עולם",
        "สวัสดี\u{200b}ครับ",
        "葛\u{e0100}城 and 芦\u{fe00}",
        "Привет, мир. Москва, HTML-теги и HTMLтеги, Wi-Fi",
        "Καλημέρα κόσμε, Δt, μm, kΩ, αβγ, σ-algebra, λx",
        "Ελλάδα ΕΛΛΑΔΑ ОСОБА",
        "日本語のテキスト、漢字。한국어 텍스트",
        "ᠮᠣᠩᠭᠣᠯ\u{180e}ᠠ",
    ] {
        assert_eq!(found(text), [], "{text}");
        assert!(matches!(strip(text), std::borrow::Cow::Borrowed(same) if same == text));
    }
}

#[test]
fn every_kind_is_found() {
    use HiddenKind::*;
    for (text, kind, part, stripped) in [
        ("pass\u{200b}word", ZeroWidth, "\u{200b}", "password"),
        ("a\u{200c}\u{200d}b", ZeroWidth, "\u{200c}\u{200d}", "ab"),
        ("in\u{feff}side", ZeroWidth, "\u{feff}", "inside"),
        ("a\u{2060}b", ZeroWidth, "\u{2060}", "ab"),
        ("x\u{3164}y", ZeroWidth, "\u{3164}", "xy"),
        ("if (a) {\u{202e} } /* b", BidiControl, "\u{202e}", "if (a) { } /* b"),
        ("no letters \u{200f}there", BidiControl, "\u{200f}", "no letters there"),
        ("שלום \u{2067}not closed", BidiControl, "\u{2067}", "שלום not closed"),
        ("hi\u{e0048}\u{e0049}!", Tag, "\u{e0048}\u{e0049}", "hi!"),
        ("🏴\u{e0067}\u{e0062}", Tag, "\u{e0067}\u{e0062}", "🏴"),
        ("a\u{fe0f}", VariationSelector, "\u{fe0f}", "a"),
        ("😀\u{fe0f}\u{e0158}\u{e0159}", VariationSelector, "\u{e0158}\u{e0159}", "😀\u{fe0f}"),
        ("co\u{ad}operate", SoftHyphen, "\u{ad}", "cooperate"),
        ("icon \u{e001}", PrivateUse, "\u{e001}", "icon \u{e001}"),
        ("none \u{fdd0}", Unassigned, "\u{fdd0}", "none \u{fdd0}"),
        ("none \u{378}", Unassigned, "\u{378}", "none \u{378}"),
        ("bell\u{7} and \u{1b}[31mred", Control, "\u{7}", "bell and [31mred"),
        ("page\u{c}page", Control, "\u{c}", "page\u{c}page"),
        ("log in to pаypal now", MixedScript, "pаypal", "log in to pаypal now"),
        ("Привeт", MixedScript, "Привeт", "Привeт"),
        ("ΒITCOIN", MixedScript, "ΒITCOIN", "ΒITCOIN"),
    ] {
        assert_eq!(found(text).first(), Some(&(kind, part)), "{text:?}");
        assert_eq!(strip(text), stripped, "{text:?}");
    }
}

#[test]
fn messages_are_read() {
    let tags: String =
        "ignore all".chars().map(|letter| char::from_u32(0xe0000 + letter as u32).expect("a tag")).collect();
    let text = format!("Hello{tags} world");
    assert_eq!(scan(&text)[0].message(&text).as_deref(), Some("ignore all"));
    let selectors: String = "hé"
        .bytes()
        .map(|byte| {
            char::from_u32(if byte < 16 { 0xfe00 } else { 0xe0100 - 16 } + u32::from(byte)).expect("a selector")
        })
        .collect();
    let text = format!("😀{selectors}");
    assert_eq!(scan(&text)[0].message(&text).as_deref(), Some("hé"));
    assert_eq!(scan("a\u{200b}")[0].message("a\u{200b}"), None);
}

#[test]
fn a_mark_inside_a_mixed_word_is_reported_beside_it() {
    // The mark ends the word, so each is seen.
    assert_eq!(found("pа\u{200b}ypal"), [(HiddenKind::MixedScript, "pа"), (HiddenKind::ZeroWidth, "\u{200b}")]);
}

/// Characters that the rules treat differently, beside each other.
fn characters() -> impl Strategy<Value = char> {
    let special = "aé \n\u{200b}\u{200c}\u{200d}\u{200e}\u{202a}\u{202b}\u{202c}\u{202e}\u{2066}\u{2067}\u{2069}\u{feff}\u{ad}\u{fe0f}\u{e0100}\u{e0061}\u{e007f}\u{1f3f4}\u{1f600}\u{1f3fd}אبक्ก漢аΟ1\u{20e3}\u{34f}\u{301}\u{115f}\u{1100}\u{180b}\u{1820}\u{7}\u{c}\u{e000}\u{fdd0}";
    prop_oneof![3 => proptest::sample::select(special.chars().collect::<Vec<_>>()), 1 => any::<char>()]
}

proptest! {
    #[test]
    fn spans_are_ordered_and_strip_is_stable(characters in proptest::collection::vec(characters(), 0..60)) {
        let text: String = characters.into_iter().collect();
        let mut end = 0;
        for hidden in scan(&text) {
            prop_assert!(hidden.span.start >= end && hidden.span.end > hidden.span.start);
            prop_assert!(text.get(hidden.span.clone()).is_some());
            let _ = hidden.message(&text);
            end = hidden.span.end;
        }
        let once = strip(&text).into_owned();
        prop_assert_eq!(strip(&once).into_owned(), once.clone());
        // What may be removed is gone.
        let left = scan(&once).into_iter().find(|hidden| matches!(hidden.kind, HiddenKind::Tag | HiddenKind::ZeroWidth | HiddenKind::BidiControl | HiddenKind::VariationSelector | HiddenKind::SoftHyphen));
        prop_assert_eq!(left, None);
    }
}

#[test]
fn long_texts_take_linear_time() {
    for unit in [
        "\u{200b}",
        "\u{202e}",
        "א\u{2067}",
        "а",
        "aа",
        "\u{e0041}",
        "\u{1f3f4}\u{e0061}",
        "\u{2069}\u{2067}א",
        "漢\u{e0100}",
    ] {
        let text = unit.repeat(5_000_000 / unit.len());
        let start = std::time::Instant::now();
        let count = scan(&text).len();
        assert!(start.elapsed().as_secs() < 20, "{unit:?}: {count} in {:?}", start.elapsed());
    }
    let ends = format!("א{}{}", "\u{202b}".repeat(500_000), "\u{2069}".repeat(500_000));
    assert_eq!(scan(&ends).len(), 1);
}
