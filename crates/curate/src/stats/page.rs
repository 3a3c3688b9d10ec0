//! The statistics as one HTML page: no scripts, no network, pictures as SVG.

use std::fmt::Write as _;

use super::{Distribution, Stats};
use crate::texts::grouped;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2330;--dim:#5d6677;--line:#d9dee7;--fill:#3b6fd4;--paper:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#98a1b2;--line:#343b48;--fill:#7aa2f0;--paper:#14171d}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:70rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.15rem .9rem .15rem 0;text-align:left}\
td.n,th.n{text-align:right}th{color:var(--dim);font-weight:500}.grid{display:grid;gap:1.5rem;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr))}\
figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto}rect{fill:var(--fill)}text{fill:var(--dim);font-size:11px}\
.dim{color:var(--dim)}code{font-size:.85em;overflow-wrap:anywhere}.bar{display:inline-block;height:.7em;background:var(--fill);border-radius:2px}";

/// The whole page.
pub fn html(stats: &Stats, title: &str) -> String {
    let mut page = String::new();
    let title = escape(title);
    page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    let _ = write!(page, "<title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n");
    let _ = writeln!(
        page,
        "<p>{} rows, {} that could not be read. Content hash of the set: <code>{}</code></p>",
        grouped(stats.rows),
        grouped(stats.unreadable),
        stats.merkle_root
    );
    inputs(&mut page, stats);
    page.push_str("<h2>Lengths</h2>\n<div class=\"grid\">\n");
    for (name, distribution) in &stats.distributions {
        histogram(&mut page, name, distribution);
    }
    page.push_str("</div>\n<h2>Repetition</h2>\n<table>");
    for (what, count) in [
        ("rows whose content an earlier row has", stats.repeated_rows),
        ("rows whose question an earlier row has", stats.repeated_questions),
        ("rows whose answer an earlier row has", stats.repeated_answers),
    ] {
        let _ = write!(page, "<tr><td>{what}</td><td class=\"n\">{}</td></tr>", grouped(count));
    }
    page.push_str("</table>\n");
    for (name, counts) in [
        ("Sources", &stats.sources),
        ("Roles", &stats.roles),
        ("Tags", &stats.tags),
        ("Languages", &stats.languages),
        ("First words of questions", &stats.question_starts),
    ] {
        counted(&mut page, name, counts);
    }
    page.push_str(
        "<h2>Keys</h2>\n<table><tr><th>key</th><th class=\"n\">rows with a value</th><th class=\"n\">without</th></tr>",
    );
    for (key, coverage) in stats.keys.iter().take(200) {
        let (rows, without) = (grouped(coverage.rows), grouped(coverage.without));
        let _ = write!(
            page,
            "<tr><td><code>{}</code></td><td class=\"n\">{rows}</td><td class=\"n\">{without}</td></tr>",
            escape(key)
        );
    }
    page.push_str("</table>\n</body></html>\n");
    page
}

fn inputs(page: &mut String, stats: &Stats) {
    page.push_str("<table><tr><th>file</th><th>form</th><th class=\"n\">rows</th><th class=\"n\">unreadable</th><th>BLAKE3</th></tr>");
    for input in &stats.inputs {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td><code>{}</code></td></tr>",
            escape(&input.path.display().to_string()),
            input.form,
            grouped(input.rows),
            grouped(input.faults),
            &input.blake3.get(..16).unwrap_or(&input.blake3)
        );
    }
    page.push_str("</table>\n");
}

fn histogram(page: &mut String, name: &str, distribution: &Distribution) {
    const WIDTH: f64 = 400.0;
    const HEIGHT: f64 = 120.0;
    let most = distribution.bars.iter().map(|bar| bar.1).max().unwrap_or(0).max(1) as f64;
    let step = WIDTH / distribution.bars.len().max(1) as f64;
    let label = format!("{name}: median {}", distribution.percentiles.get(&50).copied().unwrap_or(0));
    let _ = write!(
        page,
        "<figure><figcaption>{name}</figcaption><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{label}\">",
        HEIGHT + 18.0
    );
    let mut from = 0;
    for (index, (to, count)) in distribution.bars.iter().enumerate() {
        let height = HEIGHT * *count as f64 / most;
        let _ = write!(
            page,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{from} to {}: {count}</title></rect>",
            index as f64 * step,
            HEIGHT - height,
            (step - 1.0).max(0.5),
            height,
            to - 1
        );
        from = *to;
    }
    let last = distribution.bars.last().map_or(0, |bar| bar.0 - 1);
    let _ = write!(
        page,
        "<text x=\"0\" y=\"{0}\">0</text><text x=\"{WIDTH}\" y=\"{0}\" text-anchor=\"end\">{last}</text></svg>",
        HEIGHT + 14.0
    );
    let shown: Vec<String> =
        distribution.percentiles.iter().map(|(percent, value)| format!("p{percent} {value}")).collect();
    let _ = writeln!(
        page,
        "<span class=\"dim\">mean {:.1}, min {}, {}, max {}, sum {}</span></figure>",
        distribution.mean(),
        distribution.min,
        shown.join(", "),
        distribution.max,
        grouped(distribution.sum as usize)
    );
}

fn counted(page: &mut String, name: &str, counts: &[(String, usize)]) {
    if counts.is_empty() {
        return;
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1) as f64;
    let _ = write!(page, "<h2>{name}</h2>\n<table>");
    for (value, count) in counts {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td><span class=\"bar\" style=\"width:{:.1}rem\"></span></td></tr>",
            escape(value),
            grouped(*count),
            20.0 * *count as f64 / most
        );
    }
    page.push_str("</table>\n");
}

/// Text in HTML. Control characters are shown as dots, so that a file's names cannot change the page.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character if character.is_control() => escaped.push('·'),
            character => escaped.push(character),
        }
    }
    escaped
}
