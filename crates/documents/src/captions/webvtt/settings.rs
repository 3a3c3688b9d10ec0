//! Settings of cues and regions.

/// Where and how a cue is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CueSettings {
    /// Its region, as a place in the list of regions.
    pub region: Option<usize>,
    /// Vertical writing.
    pub vertical: Option<Vertical>,
    /// The line; `None` is automatic.
    pub line: Option<Line>,
    /// How the cue lies to its line.
    pub line_alignment: LineAlignment,
    /// Percent of the width (of the height, if vertical); `None` is automatic.
    pub position: Option<f64>,
    /// How the cue lies to its position.
    pub position_alignment: PositionAlignment,
    /// Percent of the width.
    pub size: f64,
    /// How its lines are aligned.
    pub alignment: Alignment,
}

impl Default for CueSettings {
    fn default() -> Self {
        Self {
            region: None,
            vertical: None,
            line: None,
            line_alignment: LineAlignment::Start,
            position: None,
            position_alignment: PositionAlignment::Auto,
            size: 100.0,
            alignment: Alignment::Center,
        }
    }
}

/// The direction in which vertical lines follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vertical {
    /// `vertical:rl`
    GrowingLeft,
    /// `vertical:lr`
    GrowingRight,
}

/// Where the line of a cue is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Line {
    /// Lines from the top, from the bottom if negative.
    Number(f64),
    /// Percent of the height.
    Percent(f64),
}

/// How a cue lies to its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the format")]
pub enum LineAlignment {
    Start,
    Center,
    End,
}

/// How a cue lies to its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the format")]
pub enum PositionAlignment {
    Auto,
    LineLeft,
    Center,
    LineRight,
}

/// How the lines of a cue are aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the format")]
pub enum Alignment {
    Start,
    Center,
    End,
    Left,
    Right,
}

/// An area in which cues are shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Its name.
    pub id: String,
    /// Percent of the width.
    pub width: f64,
    /// Its height in lines.
    pub lines: u64,
    /// The point of the region that is fixed, in percent.
    pub region_anchor: (f64, f64),
    /// The point of the picture it is fixed to, in percent.
    pub viewport_anchor: (f64, f64),
    /// Whether lines move up when new ones come.
    pub scroll_up: bool,
}

/// The alignment of the position that `Auto` stands for, for text from left to right.
pub fn computed_position_alignment(settings: &CueSettings) -> PositionAlignment {
    match (settings.position_alignment, settings.alignment) {
        (PositionAlignment::Auto, Alignment::Left | Alignment::Start) => PositionAlignment::LineLeft,
        (PositionAlignment::Auto, Alignment::Right | Alignment::End) => PositionAlignment::LineRight,
        (PositionAlignment::Auto, Alignment::Center) => PositionAlignment::Center,
        (alignment, _) => alignment,
    }
}

/// The settings behind the times of a cue, and how many could not be read.
pub(super) fn cue_settings(text: &str, region: impl Fn(&str) -> Option<usize>) -> (CueSettings, usize) {
    let mut settings = CueSettings::default();
    let mut bad = 0;
    for setting in text.split_ascii_whitespace() {
        let read = match setting.split_once(':') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                cue_setting(&mut settings, name, value, &region)
            }
            _ => None,
        };
        bad += usize::from(read.is_none());
    }
    let own_place = settings.line.is_some() || settings.size != 100.0 || settings.vertical.is_some();
    if own_place {
        settings.region = None;
    }
    (settings, bad)
}

fn cue_setting(
    settings: &mut CueSettings,
    name: &str,
    value: &str,
    region: impl Fn(&str) -> Option<usize>,
) -> Option<()> {
    match name {
        "region" => settings.region = Some(region(value)?),
        "vertical" => {
            settings.vertical = Some(match value {
                "rl" => Vertical::GrowingLeft,
                "lr" => Vertical::GrowingRight,
                _ => return None,
            });
        }
        "line" => {
            let (place, alignment) = value.split_once(',').map_or((value, None), |(place, word)| (place, Some(word)));
            let line = line(place)?;
            if let Some(word) = alignment {
                settings.line_alignment = match word {
                    "start" => LineAlignment::Start,
                    "center" => LineAlignment::Center,
                    "end" => LineAlignment::End,
                    _ => return None,
                };
            }
            settings.line = Some(line);
        }
        "position" => {
            let (place, alignment) = value.split_once(',').map_or((value, None), |(place, word)| (place, Some(word)));
            let position = percentage(place)?;
            settings.position_alignment = match alignment {
                None => PositionAlignment::Auto,
                Some("line-left") => PositionAlignment::LineLeft,
                Some("center") => PositionAlignment::Center,
                Some("line-right") => PositionAlignment::LineRight,
                Some(_) => return None,
            };
            settings.position = Some(position);
        }
        "size" => settings.size = percentage(value)?,
        "align" => {
            settings.alignment = match value {
                "start" => Alignment::Start,
                "center" => Alignment::Center,
                "end" => Alignment::End,
                "left" => Alignment::Left,
                "right" => Alignment::Right,
                _ => return None,
            };
        }
        _ => return None,
    }
    Some(())
}

fn line(text: &str) -> Option<Line> {
    if text.ends_with('%') {
        return percentage(text).map(Line::Percent);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let well_formed = match digits.split_once('.') {
        Some((whole, part)) => all_digits(whole) && all_digits(part),
        None => all_digits(digits),
    };
    if !well_formed {
        return None;
    }
    text.parse().ok().map(Line::Number)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// "Parse a percentage string": 0 to 100.
fn percentage(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?;
    let well_formed = match number.split_once('.') {
        Some((whole, part)) => all_digits(whole) && all_digits(part),
        None => all_digits(number),
    };
    let value: f64 = if well_formed { number.parse().ok()? } else { return None };
    (0.0..=100.0).contains(&value).then_some(value)
}

/// The region that a block of settings describes.
pub(super) fn region(text: &str) -> Region {
    let mut region = Region {
        id: String::new(),
        width: 100.0,
        lines: 3,
        region_anchor: (0.0, 100.0),
        viewport_anchor: (0.0, 100.0),
        scroll_up: false,
    };
    for setting in text.split_ascii_whitespace() {
        let Some((name, value)) = setting.split_once(':') else { continue };
        if name.is_empty() || value.is_empty() {
            continue;
        }
        match name {
            "id" => value.clone_into(&mut region.id),
            "width" => region.width = percentage(value).unwrap_or(region.width),
            "lines" if all_digits(value) => region.lines = value.parse().unwrap_or(u64::MAX),
            "regionanchor" => region.region_anchor = anchor(value).unwrap_or(region.region_anchor),
            "viewportanchor" => region.viewport_anchor = anchor(value).unwrap_or(region.viewport_anchor),
            "scroll" if value == "up" => region.scroll_up = true,
            _ => {}
        }
    }
    region
}

fn anchor(text: &str) -> Option<(f64, f64)> {
    let (x, y) = text.split_once(',')?;
    Some((percentage(x)?, percentage(y)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (CueSettings, usize) {
        cue_settings(text, |name| (name == "fred").then_some(0))
    }

    #[test]
    fn reads_settings() {
        let (settings, bad) = read("vertical:rl line:-1,end position:20%,line-left size:35.5% align:start");
        assert_eq!(bad, 0);
        assert_eq!(settings.vertical, Some(Vertical::GrowingLeft));
        assert_eq!((settings.line, settings.line_alignment), (Some(Line::Number(-1.0)), LineAlignment::End));
        assert_eq!((settings.position, settings.position_alignment), (Some(20.0), PositionAlignment::LineLeft));
        assert_eq!((settings.size, settings.alignment), (35.5, Alignment::Start));
    }

    #[test]
    fn passes_over_what_is_wrong() {
        for bad in [
            "align:middle",
            "size:101%",
            "size:50",
            "line:1.",
            "line:-",
            "line:5%%",
            "position:.5%",
            "x:y",
            "align:",
            "a",
        ] {
            assert_eq!(read(bad), (CueSettings::default(), 1), "{bad}");
        }
    }

    #[test]
    fn a_cue_with_its_own_place_is_in_no_region() {
        assert_eq!(read("region:fred").0.region, Some(0));
        assert_eq!(read("region:fred line:1").0.region, None);
        assert_eq!(read("region:fred size:100%").0.region, Some(0));
        assert_eq!(read("region:fred vertical:lr").0.region, None);
    }
}
