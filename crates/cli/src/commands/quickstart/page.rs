//! The report of the quickstart as one HTML page: no scripts, no network, the curve as SVG.

use std::fmt::Write as _;

use attune_curate::stats::escape;

use super::results::{Answered, Results};
use crate::live::format::bytes;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2330;--dim:#5d6677;--line:#d9dee7;--train:#3b6fd4;--validation:#c2690c;--good:#17795a;\
--soft:#f3f5f9;--paper:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#98a1b2;--line:#343b48;--train:#7aa2f0;--validation:#e9a35b;\
--good:#5fc9a3;--soft:#1c212b;--paper:#14171d}}\
body{font:15px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.7rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.4rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.25rem 1.4rem .25rem 0;text-align:left;vertical-align:top}\
td.n,th.n{text-align:right}th{color:var(--dim);font-weight:500}.good{color:var(--good);font-weight:600}\
.cards{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));margin:1.5rem 0}\
.card{background:var(--soft);border-radius:.6rem;padding:.9rem 1.1rem}.card b{display:block;font-size:1.6rem;line-height:1.3}\
.dim{color:var(--dim)}code,pre{font-size:.87em}pre{background:var(--soft);padding:.6rem .9rem;border-radius:.4rem;white-space:pre-wrap;\
overflow-wrap:anywhere;margin:.3rem 0 1rem}svg{width:100%;height:auto}svg text{fill:var(--dim);font-size:12px}\
.axis{stroke:var(--line)}.train{fill:none;stroke:var(--train);stroke-width:1.5}.validation{fill:none;stroke:var(--validation);stroke-width:2}\
.dot{fill:var(--validation)}.ask{margin:1.1rem 0 .2rem;font-weight:600}.answers td:first-child{color:var(--dim);white-space:nowrap}";

/// Questions that are shown with all answers.
const SHOWN: usize = 8;
/// The picture of the losses, in units of its own.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 24.0;
const RIGHT: f64 = 10.0;

/// The whole page. `commands` are titles of the steps with what was done.
pub(super) fn html(results: &Results, commands: &[(&str, String)]) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    let _ = writeln!(page, "<title>Quickstart: before and after</title><style>{STYLE}</style></head><body>");
    title(&mut page, results);
    cards(&mut page, results);
    before_and_after(&mut page, results);
    curve(&mut page, results);
    answers(&mut page, results, SHOWN);
    data(&mut page, results);
    artefacts(&mut page, results);
    page.push_str("<h2>The same by hand</h2>\n");
    for (title, command) in commands {
        let _ = writeln!(page, "{}<pre>{}</pre>", escape(title), escape(command));
    }
    page.push_str("</body></html>\n");
    page
}

/// The upper part of the page as a picture: a page within SVG, in light colours.
#[cfg(test)]
pub(super) fn picture(results: &Results) -> String {
    const SIZE: (u32, u32) = (1000, 1310);
    let mut page = String::new();
    title(&mut page, results);
    cards(&mut page, results);
    before_and_after(&mut page, results);
    curve(&mut page, results);
    answers(&mut page, results, 2);
    // XML does not know that pictures in pages are SVG.
    let page = page.replace("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ");
    // No media query: a picture has the colours of its page wherever it stands.
    let (before, dark) = STYLE.split_once("@media").unwrap_or((STYLE, ""));
    let style = dark.split_once("}}").map_or(before.to_owned(), |(_, rest)| format!("{before}{rest}"));
    let style = style.replace(":root", ".page").replace("body", ".page").replace("color-scheme:light dark;", "");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" role=\"img\" aria-label=\"the report of a \
         quickstart\">\n<rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"#fff\"/>\n<foreignObject width=\"{0}\" height=\"{1}\">\
         <div xmlns=\"http://www.w3.org/1999/xhtml\" class=\"page\"><style>{style}</style>\n{page}</div></foreignObject>\n</svg>\n",
        SIZE.0, SIZE.1
    )
}

fn title(page: &mut String, results: &Results) {
    let _ = write!(
        page,
        "<h1>From eight transcripts to a tuned model</h1>\n<p class=\"dim\">A clerk answers callers, always in the same form. \
         The tiny base learnt it from {} calls; {} others were held out.</p>\n",
        results.parts.iter().map(|part| part.1).sum::<u64>(),
        results.questions
    );
}

fn cards(page: &mut String, results: &Results) {
    page.push_str("<div class=\"cards\">");
    for measure in &results.measures()[..3] {
        let _ = write!(
            page,
            "<div class=\"card\"><span class=\"dim\">{}</span><b>{} <span class=\"dim\">→</span> <span class=\"good\">{}</span></b></div>",
            escape(measure.name),
            escape(&measure.base),
            escape(&measure.tuned)
        );
    }
    page.push_str("</div>\n");
}

fn before_and_after(page: &mut String, results: &Results) {
    let _ = write!(
        page,
        "<h2>Before and after</h2>\n<table><tr><th>{} held-out calls</th><th class=\"n\">base</th><th class=\"n\">tuned</th></tr>",
        results.questions
    );
    for measure in results.measures() {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n good\">{}</td></tr>",
            escape(measure.name),
            escape(&measure.base),
            escape(&measure.tuned)
        );
    }
    page.push_str("</table>\n");
}

/// Loss by step, on a logarithmic scale: an adapter's loss falls by powers of ten.
fn curve(page: &mut String, results: &Results) {
    let points = || results.train.iter().chain(&results.validation).copied().filter(|point| point.1 > 0.0);
    let last_step = points().map(|point| point.0).fold(1.0, f64::max);
    let (lowest, highest) = points()
        .map(|point| point.1.log10())
        .fold((f64::MAX, f64::MIN), |(low, high), power| (low.min(power), high.max(power)));
    let span = (highest - lowest).max(1e-6);
    let x = |step: f64| LEFT + (WIDTH - LEFT - RIGHT) * step / last_step;
    let y = |loss: f64| 10.0 + (HEIGHT - BOTTOM - 10.0) * (highest - loss.log10()) / span;
    let line = |points: &[(f64, f64)]| -> String {
        let positive = points.iter().filter(|point| point.1 > 0.0);
        positive.map(|&(step, loss)| format!("{:.1},{:.1} ", x(step), y(loss))).collect()
    };
    let _ = write!(
        page,
        "<h2>Training</h2>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"loss by step\">"
    );
    for power in lowest.ceil() as i32..=highest.floor() as i32 {
        let loss = 10f64.powi(power);
        let _ = write!(
            page,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>\
             <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{loss}</text>",
            WIDTH - RIGHT,
            y(loss),
            LEFT - 6.0,
            y(loss) + 4.0
        );
    }
    let _ = write!(page, "<polyline class=\"train\" points=\"{}\"/>", line(&results.train));
    let _ = write!(page, "<polyline class=\"validation\" points=\"{}\"/>", line(&results.validation));
    for &(step, loss) in results.validation.iter().filter(|point| point.1 > 0.0) {
        let _ = write!(
            page,
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>step {step}: {loss:.4}</title></circle>",
            x(step),
            y(loss)
        );
    }
    let _ = write!(
        page,
        "<text x=\"{LEFT}\" y=\"{0}\">step 0</text><text x=\"{1}\" y=\"{0}\" text-anchor=\"end\">{last_step}</text></svg>\n\
         <p class=\"dim\">Loss over the clerk's words, on a logarithmic scale: each step (line), and on the calls to validate on \
         (dots).</p>\n",
        HEIGHT - 6.0,
        WIDTH - RIGHT
    );
}

/// The first questions with all answers.
fn answers(page: &mut String, results: &Results, count: usize) {
    let _ = write!(
        page,
        "<h2>What they answer</h2>\n<p class=\"dim\">The first {} of the held-out calls.</p>\n",
        count.min(results.answers.len())
    );
    for Answered { question, base, tuned, expected, exact } in results.answers.iter().take(count) {
        let _ = write!(page, "<p class=\"ask\">{}</p><table class=\"answers\">", escape(question));
        let class = if *exact { " class=\"good\"" } else { "" };
        let _ = writeln!(
            page,
            "<tr><td>base</td><td>{}</td></tr><tr><td>tuned</td><td{class}>{}</td></tr><tr><td>expected</td><td>{}</td></tr></table>",
            escape(base),
            escape(tuned),
            escape(expected)
        );
    }
}

fn data(page: &mut String, results: &Results) {
    let (rows_in, rows_out) = results.rows;
    let _ = write!(page, "<h2>Data</h2>\n<p>{rows_in} calls in the transcripts, {rows_out} after cleaning");
    for (file, rows) in &results.parts {
        let _ = write!(page, ", {rows} in <code>{}</code>", escape(file));
    }
    page.push_str(
        ".</p>\n<table><tr><th>step</th><th class=\"n\">changed</th><th class=\"n\">removed</th><th>where</th></tr>",
    );
    for step in &results.cleaned {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"dim\">{}</td></tr>",
            escape(&step.step),
            step.changed,
            step.removed,
            step.examples.iter().map(|example| escape(example)).collect::<Vec<_>>().join("<br/>")
        );
    }
    page.push_str("</table>\n");
}

fn artefacts(page: &mut String, results: &Results) {
    page.push_str(
        "<h2>For other programs</h2>\n<p class=\"dim\">Each was read back and compared with base and adapter before it got its \
         name.</p>\n<table><tr><th></th><th>format</th><th class=\"n\">size</th><th class=\"n\">divergence from the tuned model</th>\
         <th class=\"n\">what the adapter changes</th></tr>",
    );
    for artefact in &results.artefacts {
        let _ = write!(
            page,
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.5} nats a token</td><td class=\"n\">{:.2} nats a token</td></tr>",
            escape(&artefact.name),
            escape(&artefact.format),
            bytes(artefact.bytes),
            artefact.divergence,
            artefact.effect
        );
    }
    page.push_str("</table>\n");
}

#[cfg(test)]
mod tests {
    use super::super::results::Scores;
    use super::*;

    fn results() -> Results {
        let scores = |loss, share| Scores { loss, exact: share, word_f1: share, form: share };
        Results {
            train: vec![(1.0, 3.0), (2.0, 2.0)],
            validation: vec![(0.0, 3.1), (2.0, 1.9)],
            questions: 1,
            base: scores(3.0, 0.0),
            tuned: scores(0.1, 0.75),
            answers: vec![Answered {
                question: "Is 1 < 2 & \"so\" on?\u{1b}".into(),
                base: "<script>".into(),
                tuned: "Yes".into(),
                expected: "Yes".into(),
                exact: true,
            }],
            cleaned: Vec::new(),
            rows: (10, 9),
            parts: vec![("train.jsonl".into(), 9)],
            artefacts: Vec::new(),
        }
    }

    #[test]
    fn texts_cannot_change_the_page() {
        let page = html(&results(), &[("Train", "ft train '<x>'".into())]);
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;") && page.contains("&lt;x&gt;"), "{page}");
        assert!(!page.contains('\u{1b}') && !page.contains("http"), "{page}");
        assert!(page.contains("75 %") && page.contains(">0 %"), "{page}");
    }

    #[test]
    fn the_curve_goes_down_on_the_page() {
        let page = html(&results(), &[]);
        let points = page.split("class=\"train\" points=\"").nth(1).unwrap().split('"').next().unwrap();
        let y: Vec<f64> =
            points.split_whitespace().map(|point| point.split(',').nth(1).unwrap().parse().unwrap()).collect();
        assert!(y.len() == 2 && y[0] < y[1], "{points}");
    }
}
