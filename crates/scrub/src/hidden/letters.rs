//! What has to be known about letters: which scripts join them, which look alike.

use std::ops::Range;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Ranges that are full, shown, and common: nothing in them is hidden.
pub(super) fn is_common(character: char) -> bool {
    matches!(character,
        ' '..='~' | '\u{a0}'..='\u{ac}' | '\u{ae}'..='\u{2ff}' | '\u{400}'..='\u{52f}' | '\u{620}'..='\u{64a}'
        | '\u{904}'..='\u{94d}' | '\u{e01}'..='\u{e3a}' | '\u{1e00}'..='\u{1eff}' | '\u{2010}'..='\u{2027}'
        | '\u{2030}'..='\u{205e}' | '\u{20a0}'..='\u{20bf}' | '\u{2190}'..='\u{23ff}' | '\u{2500}'..='\u{27bf}'
        | '\u{3000}'..='\u{303f}' | '\u{3041}'..='\u{3096}' | '\u{30a0}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}' | '\u{ff01}'..='\u{ff9f}' | '\u{1f300}'..='\u{1f64f}')
}

/// Letters of scripts that join letters, or stack them, and need joiners to say how.
pub(super) fn is_joined(character: char) -> bool {
    matches!(character,
        '\u{620}'..='\u{6d3}' | '\u{6d5}'..='\u{6dc}' | '\u{6fa}'..='\u{6ff}' | '\u{710}'..='\u{74f}' | '\u{750}'..='\u{77f}'
        | '\u{7ca}'..='\u{7f3}' | '\u{840}'..='\u{85b}' | '\u{860}'..='\u{86a}' | '\u{8a0}'..='\u{8e1}' | '\u{8e3}'..='\u{8ff}'
        | '\u{900}'..='\u{963}' | '\u{971}'..='\u{9e3}' | '\u{9f0}'..='\u{a63}' | '\u{a70}'..='\u{dff}'
        | '\u{f40}'..='\u{fbc}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17d3}' | '\u{1820}'..='\u{18aa}'
        | '\u{1b00}'..='\u{1b7f}' | '\u{a840}'..='\u{a877}' | '\u{a8e0}'..='\u{a9df}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
        | '\u{10ac0}'..='\u{10ae6}' | '\u{11000}'..='\u{11fff}' | '\u{1e900}'..='\u{1e94b}')
}

/// Letters of scripts that put no spaces between words and may have them without width.
pub(super) fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{e00}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{1950}'..='\u{1aaf}' | '\u{a980}'..='\u{a9ff}' | '\u{aa60}'..='\u{aadf}')
}

pub(super) fn is_mongolian(character: char) -> bool {
    matches!(character, '\u{1800}'..='\u{180a}' | '\u{1810}'..='\u{18af}')
}

pub(super) fn is_mark(character: char) -> bool {
    character != '\u{34f}'
        && character.general_category_group() == GeneralCategoryGroup::Mark
        && !matches!(character, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180f}')
}

/// Pictures, and what else may be joined to pictures.
pub(super) fn is_emoji(character: char) -> bool {
    matches!(character,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}'
        | '\u{24c2}' | '\u{25a0}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}'
        | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Whether a character has variants that a selector chooses from. `next` tells the keys `#️⃣` from a plain digit.
pub(super) fn has_variants(base: char, selector: char, next: Option<char>) -> bool {
    let ideograph = matches!(base, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}');
    match selector {
        '\u{fe0e}' | '\u{fe0f}' => is_emoji(base) || matches!(base, '0'..='9' | '#' | '*') && next == Some('\u{20e3}'),
        // Mathematics, Burmese and its neighbours, punctuation between ideographs, symbols.
        '\u{fe00}'..='\u{fe02}' => {
            ideograph
                || matches!(base, '\u{2190}'..='\u{2bff}' | '\u{1000}'..='\u{109f}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}'
                    | '\u{a840}'..='\u{a877}' | '\u{3000}'..='\u{30ff}' | '\u{ff01}'..='\u{ff60}' | '\u{10ac0}'..='\u{10aff}' | '\u{13000}'..='\u{143ff}' | '0')
        }
        '\u{e0100}'..='\u{e01ef}' => ideograph,
        '\u{180b}'..='\u{180d}' | '\u{180f}' => is_mongolian(base),
        _ => false,
    }
}

/// Letters of Greek and Cyrillic, among which lookalikes are.
pub(super) fn is_foreign(character: char) -> bool {
    matches!(character, '\u{370}'..='\u{52f}' | '\u{1c80}'..='\u{1c8f}' | '\u{1f00}'..='\u{1fff}')
        && character.is_alphabetic()
}

fn is_latin(character: char) -> bool {
    character.is_ascii_alphabetic()
        || matches!(character, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}') && character.is_alphabetic()
}

/// The Latin, Greek and Cyrillic letters around a place.
pub(super) fn word(text: &str, at: usize) -> Range<usize> {
    let letter = |character: &char| is_latin(*character) || is_foreign(*character);
    let before: usize = text[..at].chars().rev().take_while(letter).map(char::len_utf8).sum();
    let behind: usize = text[at..].chars().take_while(letter).map(char::len_utf8).sum();
    at - before..at + behind
}

/// Whether a word mixes Latin letters with those of Greek or Cyrillic, and all letters of one side look like letters of
/// the other: `pаypal` with a Cyrillic а. `HTMLтеги`, where nobody is deceived, is none.
pub(super) fn is_mixed(word: &str) -> bool {
    let mut count = 0;
    // Of Latin and foreign letters: whether there are any, and whether all are lookalikes.
    let (mut latin, mut latin_alike) = (false, true);
    let (mut foreign, mut foreign_alike, mut cyrillic) = (false, true, false);
    for character in word.chars() {
        count += 1;
        if is_latin(character) {
            latin = true;
            latin_alike &= "aceopxyijsABCEHIJKMOPSTXY".contains(character);
        } else if is_foreign(character) {
            foreign = true;
            cyrillic |= character >= '\u{400}';
            foreign_alike &= "асеорхуіјѕԁһԛԝӏүАВСЕНІЈКМОРЅТХУҮԚԜΑΒΕΖΗΙΚΜΝΟΡΤΥΧοϲϳ".contains(character);
        }
    }
    // Greek letters stand beside Latin ones in formulas; there the word has to be longer.
    let long = count >= if cyrillic { 2 } else { 4 };
    latin && foreign && long && (foreign_alike || latin_alike && cyrillic)
}
