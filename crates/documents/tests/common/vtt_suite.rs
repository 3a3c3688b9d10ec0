//! The files of vtt.js with the parses that are expected of them (of 2019), and where today's specification differs.

use std::path::Path;

use attune_documents::captions::webvtt::{
    self, Alignment, Cue, Line, LineAlignment, Node, PositionAlignment, Tag, Vertical, WebVtt,
    computed_position_alignment,
};
use serde_json::{Value, json};

/// How the files compare.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) equal: usize,
    /// Those that differ and are in [`DIFFERENCES`], with the fields that differ.
    pub(crate) listed: Vec<(String, Vec<String>)>,
    pub(crate) unexplained: Vec<String>,
    /// Those in the list that do not differ.
    pub(crate) needless: Vec<&'static str>,
    /// Trees of cue texts that are equal, and those that are not.
    pub(crate) trees_equal: usize,
    pub(crate) trees_listed: usize,
    pub(crate) trees_unexplained: Vec<String>,
}

/// Section 4.1 and 6.1: a region is a block that begins with a line `REGION`; a line `Region: ...` in the header, as it was
/// in drafts, is passed over with the rest of the header. So the file defines none, and cues that name one have none.
const REGION: &str = "6.1, steps 9 to 11 and \"collect a WebVTT block\": no regions in the header";
/// A setting whose alignment is no keyword is passed over as a whole.
const LINE_ALIGNMENT: &str = "6.3, `line`, step 5: otherwise, if linealign is not null, jump to next setting";
/// The keywords are `line-left`, `center` and `line-right`.
const POSITION_ALIGNMENT: &str = "6.3, `position`, step 4: otherwise, if colalign is not null, jump to next setting";
/// What is not two digits, or more than 59, is hours, and minutes and seconds must follow.
const HOURS: &str = "6.4, \"collect a WebVTT timestamp\", steps 7 and 12";
/// An arrow ends the header, and its line is read again as that of a cue.
const HEADER: &str = "6.1, step 11 and \"collect a WebVTT block\": a line with `-->` ends the header block";
/// A line that is an arrow alone ends its block at the next arrow; that line is read again as the first of a block.
const ARROW: &str = "6.1, \"collect a WebVTT block\": a second line with `-->` ends the block and begins the next";

/// A file, and the clause of the specification that decides against the expected parse.
pub(crate) const DIFFERENCES: &[(&str, &str)] = &[
    ("cue-settings/line/bad-line-align.vtt", LINE_ALIGNMENT),
    ("cue-settings/position/bad-position-align.vtt", POSITION_ALIGNMENT),
    ("cue-settings/position/position-end-align.vtt", POSITION_ALIGNMENT),
    ("cue-settings/position/position-start-align.vtt", POSITION_ALIGNMENT),
    ("cue-times/min-top-digits.vtt", HOURS),
    ("cue-times/minimum-spots-over-sixty.vtt", HOURS),
    ("file-layout/header-no-new-line.vtt", HEADER),
    ("integration/id.vtt", ARROW),
    ("cue-settings/region/region-arrows.vtt", REGION),
    ("cue-settings/region/valid.vtt", REGION),
    ("integration/regions.vtt", REGION),
    ("regions/id/arrows.vtt", REGION),
    ("regions/id/correct.vtt", REGION),
    ("regions/lines/correct.vtt", REGION),
    ("regions/lines/decimal-value.vtt", REGION),
    ("regions/lines/incorrect-delimiter.vtt", REGION),
    ("regions/lines/letter-in-value.vtt", REGION),
    ("regions/lines/space-after-delimiter.vtt", REGION),
    ("regions/lines/space-before-delimiter.vtt", REGION),
    ("regions/no-line-break.vtt", REGION),
    ("regions/no-space-after-delimiter.vtt", REGION),
    ("regions/regionanchor/correct.vtt", REGION),
    ("regions/regionanchor/incorrect-delimiter.vtt", REGION),
    ("regions/regionanchor/letter-in-value.vtt", REGION),
    ("regions/regionanchor/negative-percent.vtt", REGION),
    ("regions/regionanchor/no-comma.vtt", REGION),
    ("regions/regionanchor/no-percent.vtt", REGION),
    ("regions/regionanchor/percent-at-front.vtt", REGION),
    ("regions/regionanchor/percent-over.vtt", REGION),
    ("regions/regionanchor/space-after-delimiter.vtt", REGION),
    ("regions/regionanchor/space-before-delimiter.vtt", REGION),
    ("regions/regionanchor/two-periods.vtt", REGION),
    ("regions/scroll/bogus-value.vtt", REGION),
    ("regions/scroll/correct.vtt", REGION),
    ("regions/scroll/incorrect-delimiter.vtt", REGION),
    ("regions/scroll/space-after-delimiter.vtt", REGION),
    ("regions/scroll/space-before-delimiter.vtt", REGION),
    ("regions/viewportanchor/correct.vtt", REGION),
    ("regions/viewportanchor/incorrect-delimiter.vtt", REGION),
    ("regions/viewportanchor/letter-in-value.vtt", REGION),
    ("regions/viewportanchor/negative-percent.vtt", REGION),
    ("regions/viewportanchor/no-comma.vtt", REGION),
    ("regions/viewportanchor/no-percent.vtt", REGION),
    ("regions/viewportanchor/percent-at-front.vtt", REGION),
    ("regions/viewportanchor/percent-over.vtt", REGION),
    ("regions/viewportanchor/space-after-delimiter.vtt", REGION),
    ("regions/viewportanchor/space-before-delimiter.vtt", REGION),
    ("regions/viewportanchor/two-periods.vtt", REGION),
    ("regions/width/correct.vtt", REGION),
    ("regions/width/incorrect-delimiter.vtt", REGION),
    ("regions/width/letter-in-value.vtt", REGION),
    ("regions/width/negative-percent.vtt", REGION),
    ("regions/width/no-percentage.vtt", REGION),
    ("regions/width/percent-over.vtt", REGION),
    ("regions/width/percentage-at-front.vtt", REGION),
    ("regions/width/space-after-delimiter.vtt", REGION),
    ("regions/width/space-before-delimiter.vtt", REGION),
    ("regions/width/two-periods.vtt", REGION),
];

/// Files whose cues are equal and whose trees are not.
pub(crate) const TREE_DIFFERENCES: &[(&str, &str)] = &[(
    "cuetext/escape-characters/incorrect.vtt",
    "6.4, \"HTML character reference in data state\": references are those of HTML, so `&nbsp` needs no semicolon",
)];

/// Compares all files.
pub(crate) fn compare(folder: &Path) -> Counts {
    let mapping: Vec<Value> = serde_json::from_str(&super::text(&folder.join("mapping.json"))).expect("JSON");
    let mut counts = Counts::default();
    for entry in &mapping {
        let name = entry["vtt"].as_str().expect("a name");
        let expected: Value =
            serde_json::from_str(&super::text(&folder.join(entry["json"].as_str().expect("a name")))).expect("JSON");
        let found = webvtt::parse(&super::text(&folder.join(name)));
        let differences = differences(&found, &expected);
        match (differences.is_empty(), DIFFERENCES.iter().find(|(file, _)| *file == name)) {
            (true, None) => counts.equal += 1,
            (true, Some((file, _))) => counts.needless.push(file),
            (false, Some(_)) => counts.listed.push((name.to_owned(), differences)),
            (false, None) => counts.unexplained.push(format!("{name}: {}", differences.join(", "))),
        }
        let processed = folder.join(name.replace(".vtt", "-proc.json"));
        // The trees of these are compared with those of a file that is read otherwise as a whole.
        if processed.exists() && !DIFFERENCES.iter().any(|(file, _)| *file == name) {
            let expected: Value = serde_json::from_str(&super::text(&processed)).expect("JSON");
            compare_trees(name, &found, &expected, &mut counts);
        }
    }
    counts
}

/// What differs between a parse and the expected one.
fn differences(found: &WebVtt, expected: &Value) -> Vec<String> {
    let cues = expected["cues"].as_array().expect("a list");
    let mut differences = Vec::new();
    if found.cues.len() != cues.len() {
        differences.push(format!("{} cues for {}", found.cues.len(), cues.len()));
    }
    let regions = expected["regions"].as_array().expect("a list");
    if found.regions.len() != regions.len() {
        differences.push(format!("{} regions for {}", found.regions.len(), regions.len()));
    }
    for (index, (found_cue, expected)) in found.cues.iter().zip(cues).enumerate() {
        for (key, value) in cue_json(found, found_cue).as_object().expect("an object") {
            if !equal(value, &expected[key]) {
                differences.push(format!("cue {index} {key} {value} for {}", expected[key]));
            }
        }
    }
    differences
}

fn equal(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(a), Some(b)) => a == b || (a - b).abs() < 1e-9 * b.abs(),
        _ => found == expected,
    }
}

/// A cue in the words of 2019: `middle` is what is `center` now, `start` and `end` of a position are `line-left` and
/// `line-right`, and the automatic alignment of a position is written as what it is computed to.
fn cue_json(file: &WebVtt, cue: &Cue) -> Value {
    let settings = &cue.settings;
    let line = match settings.line {
        None => json!("auto"),
        Some(Line::Number(number) | Line::Percent(number)) => json!(number),
    };
    let region = settings.region.map_or(json!(""), |index| {
        let region = &file.regions[index];
        json!({
            "lines": region.lines,
            "regionAnchorX": region.region_anchor.0,
            "regionAnchorY": region.region_anchor.1,
            "scroll": if region.scroll_up { "up" } else { "" },
            "viewportAnchorX": region.viewport_anchor.0,
            "viewportAnchorY": region.viewport_anchor.1,
            "width": region.width,
        })
    });
    json!({
        "id": cue.id,
        "startTime": cue.start_secs,
        "endTime": cue.end_secs,
        "text": cue.text,
        "line": line,
        "snapToLines": !matches!(settings.line, Some(Line::Percent(_))),
        "lineAlign": match settings.line_alignment {
            LineAlignment::Start => "start",
            LineAlignment::Center => "middle",
            LineAlignment::End => "end",
        },
        "position": settings.position.map_or(json!("auto"), |position| json!(position)),
        "positionAlign": match computed_position_alignment(settings) {
            PositionAlignment::LineLeft => "start",
            PositionAlignment::Center | PositionAlignment::Auto => "middle",
            PositionAlignment::LineRight => "end",
        },
        "size": settings.size,
        "align": match settings.alignment {
            Alignment::Start => "start",
            Alignment::Center => "middle",
            Alignment::End => "end",
            Alignment::Left => "left",
            Alignment::Right => "right",
        },
        "vertical": match settings.vertical {
            None => "",
            Some(Vertical::GrowingLeft) => "rl",
            Some(Vertical::GrowingRight) => "lr",
        },
        "region": region,
        "pauseOnExit": false,
    })
}

/// Compares the trees of the cues with what a player makes of them: two boxes around the nodes of each cue.
fn compare_trees(name: &str, found: &WebVtt, expected: &Value, counts: &mut Counts) {
    // `null` where the suite expects nothing (its player shows no times inside cues).
    let Some(cues) = expected.as_array() else { return };
    let expected: Vec<String> =
        cues.iter().map(|cue| dom_text(cue["childNodes"][0]["childNodes"].as_array())).collect();
    let found: Vec<String> = found.cues.iter().map(|cue| tree_text(&cue.nodes())).collect();
    if found == expected {
        counts.trees_equal += 1;
    } else if TREE_DIFFERENCES.iter().any(|(file, _)| *file == name) {
        counts.trees_listed += 1;
    } else {
        counts.trees_unexplained.push(format!("{name}: {found:?} for {expected:?}"));
    }
}

fn dom_text(nodes: Option<&Vec<Value>>) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = String::new();
    for node in nodes.into_iter().flatten() {
        match node["tagName"].as_str() {
            None => out += &text(&node["data"]),
            Some(tag) => {
                let attributes = [text(&node["className"]), text(&node["lang"]), text(&node["title"])].join("|");
                out += &format!("<{tag}|{attributes}>{}</{tag}>", dom_text(node["childNodes"].as_array()));
            }
        }
    }
    out
}

fn tree_text(nodes: &[Node]) -> String {
    let mut out = String::new();
    for node in nodes {
        match node {
            Node::Text(text) => out += text,
            Node::Span { tag, classes, annotation, children } => {
                let name = match tag {
                    Tag::Bold => "B",
                    Tag::Italic => "I",
                    Tag::Underline => "U",
                    Tag::Ruby => "RUBY",
                    Tag::RubyText => "RT",
                    Tag::Class | Tag::Voice | Tag::Language => "SPAN",
                };
                let language = if *tag == Tag::Language { annotation.as_str() } else { "" };
                let voice = if *tag == Tag::Voice { annotation.as_str() } else { "" };
                out += &format!("<{name}|{}|{language}|{voice}>{}</{name}>", classes.join(" "), tree_text(children));
            }
            _ => {}
        }
    }
    out
}
