//! The report of `ft quickstart` as one HTML page: no scripts, no network, the curve as SVG.

use std::fmt::Write as _;

use super::results::{Answer, Asked, CleanStep, Results};

/// Answers that are shown side by side.
const SHOWN: usize = 10;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2330;--dim:#5d6677;--line:#d9dee7;--train:#2f6fdb;--check:#c77700;--good:#1b8a4b;--paper:#fff;--soft:#f5f7fa}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#98a1b2;--line:#343b48;--train:#7aa2f0;--check:#e0a54a;--good:#63c58e;--paper:#14171d;--soft:#1b2029}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:68rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.25rem 1rem .25rem 0;text-align:left;vertical-align:top}\
td.n,th.n{text-align:right}th{color:var(--dim);font-weight:500}.dim{color:var(--dim)}.good{color:var(--good)}\
.cards{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));margin:1.2rem 0}\
.card{background:var(--soft);border-radius:.6rem;padding:.8rem 1rem}.card b{display:block;font-size:1.7rem;line-height:1.2}\
.talk{border-left:3px solid var(--line);padding:.1rem 0 .1rem .9rem;margin:1rem 0}.talk p{margin:.15rem 0}\
.talk b{display:inline-block;min-width:4.6rem;color:var(--dim);font-weight:500}\
svg{width:100%;height:auto}svg text{fill:var(--dim);font-size:11px}.grid{stroke:var(--line)}\
.train{fill:none;stroke:var(--train);stroke-width:1.6}.check{fill:var(--check)}code,pre{font-size:.86em}\
pre{background:var(--soft);border-radius:.5rem;padding:.7rem .9rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}";

/// The whole page. `commands` are the steps, each with the command that did it.
pub(super) fn html(results: &Results, commands: &[(String, String)]) -> String {
    let mut page = String::new();
    page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    let _ = writeln!(page, "<title>Attune: quickstart</title><style>{STYLE}</style></head><body>");
    page.push_str("<h1>From eight transcripts to a tuned model</h1>\n");
    page.push_str(
        "<p class=\"dim\">A tiny base model learnt to answer as the clerk of an invented radio show does.</p>\n",
    );
    cards(&mut page, &results.asked);
    page.push_str("<h2>Held-out questions, before and after</h2>\n");
    scores(&mut page, &results.asked);
    let [before, after] = &results.asked;
    for (before, after) in before.answers.iter().zip(&after.answers).take(SHOWN) {
        talk(&mut page, before, after);
    }
    page.push_str("<h2>Training</h2>\n");
    curve(&mut page, results);
    page.push_str("<h2>Cleaning</h2>\n");
    cleaning(&mut page, results);
    page.push_str("<h2>Export</h2>\n");
    export(&mut page, results);
    page.push_str("<h2>The same by hand</h2>\n<pre>");
    for (what, command) in commands {
        let _ = writeln!(page, "# {}\n{}\n", escape(what), escape(command));
    }
    page.push_str("</pre>\n</body></html>\n");
    page
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn cards(page: &mut String, [before, after]: &[Asked; 2]) {
    page.push_str("<div class=\"cards\">");
    for (what, from, to) in [
        ("answers in the clerk's form", percent(before.fitting), percent(after.fitting)),
        ("answers right to the letter", percent(before.exact), percent(after.exact)),
        ("loss of the expected answers", format!("{:.2}", before.loss), format!("{:.2}", after.loss)),
    ] {
        let _ = write!(page, "<div class=\"card\"><span class=\"dim\">{what}</span><b>{from} &rarr; {to}</b></div>");
    }
    page.push_str("</div>\n");
}

fn scores(page: &mut String, asked: &[Asked; 2]) {
    let [before, after] = asked;
    let _ = write!(
        page,
        "<table><tr><th>{} questions</th><th class=\"n\">base</th><th class=\"n\">tuned</th></tr>",
        before.answers.len()
    );
    for (what, from, to) in [
        ("in the clerk's form", percent(before.fitting), percent(after.fitting)),
        ("equal to the expected answer", percent(before.exact), percent(after.exact)),
        ("F1 of the words", format!("{:.3}", before.word_f1), format!("{:.3}", after.word_f1)),
        ("loss of the expected answer, nats a token", format!("{:.3}", before.loss), format!("{:.3}", after.loss)),
    ] {
        let _ = write!(page, "<tr><td>{what}</td><td class=\"n\">{from}</td><td class=\"n\">{to}</td></tr>");
    }
    page.push_str("</table>\n");
}

fn talk(page: &mut String, before: &Answer, after: &Answer) {
    let mark = if after.exact { " <span class=\"good\">&check;</span>" } else { "" };
    let _ = write!(page, "<div class=\"talk\"><p><b>caller</b> {}</p>", escape(&before.question));
    let _ = write!(page, "<p class=\"dim\"><b>base</b> {}</p>", escape(&before.answer));
    let _ = write!(page, "<p><b>tuned</b> {}{mark}</p>", escape(&after.answer));
    if !after.exact {
        let _ = write!(page, "<p class=\"dim\"><b>expected</b> {}</p>", escape(&after.expected));
    }
    page.push_str("</div>\n");
}

/// Training loss as a line, validation loss as points.
fn curve(page: &mut String, results: &Results) {
    const WIDTH: f64 = 900.0;
    const HEIGHT: f64 = 260.0;
    const LEFT: f64 = 36.0;
    const BOTTOM: f64 = 22.0;
    let trained: Vec<(f64, f64)> =
        results.metrics.iter().filter_map(|line| Some((line.step as f64, line.loss?))).collect();
    let checked: Vec<(f64, f64)> =
        results.metrics.iter().filter_map(|line| Some((line.step as f64, line.validation_loss?))).collect();
    let last = trained.last().map_or(1.0, |(step, _)| *step);
    let highest = trained.iter().chain(&checked).map(|(_, loss)| *loss).fold(0.0, f64::max).max(1e-9);
    let x = |step: f64| LEFT + (WIDTH - LEFT) * step / last;
    let y = |loss: f64| (HEIGHT - BOTTOM) * (1.0 - loss / highest) + 4.0;
    let _ = write!(page, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"loss by step\">");
    for part in 0..=4 {
        let loss = highest * f64::from(part) / 4.0;
        let _ = write!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/><text x=\"0\" y=\"{1:.1}\">{loss:.2}</text>",
            y(loss),
            y(loss) + 4.0
        );
    }
    let points: Vec<String> = trained.iter().map(|&(step, loss)| format!("{:.1},{:.1}", x(step), y(loss))).collect();
    let _ = write!(page, "<polyline class=\"train\" points=\"{}\"/>", points.join(" "));
    for &(step, loss) in &checked {
        let _ = write!(
            page,
            "<circle class=\"check\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>step {step}: {loss:.4}</title></circle>",
            x(step),
            y(loss)
        );
    }
    let _ = writeln!(
        page,
        "<text x=\"{LEFT}\" y=\"{HEIGHT}\">step 1</text><text x=\"{WIDTH}\" y=\"{HEIGHT}\" text-anchor=\"end\">step {last}</text></svg>"
    );
    page.push_str("<p class=\"dim\">Line: loss of each step. Points: loss of the validation rows.</p>\n");
}

fn cleaning(page: &mut String, results: &Results) {
    let clean = &results.clean;
    let _ = write!(page, "<p>{} rows in, {} out.</p>", clean.rows_in, clean.rows_out);
    page.push_str("<table><tr><th>step</th><th class=\"n\">found</th><th class=\"n\">removed</th><th class=\"n\">changed</th><th>what</th></tr>");
    for CleanStep { step, removed, changed, found, kinds } in clean.steps.iter().filter(|step| step.found > 0) {
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{found}</td><td class=\"n\">{removed}</td><td class=\"n\">{changed}</td><td class=\"dim\">{}</td></tr>",
            escape(step),
            escape(&kinds.join(", "))
        );
    }
    page.push_str("</table>\n");
}

fn export(page: &mut String, results: &Results) {
    let export = &results.export;
    let verdict = if export.gate.accepted { "accepted" } else { "refused" };
    let _ = writeln!(
        page,
        "<p>{}, {:.1} MB; the gate {verdict} it: over {} positions its answers are {:.5} nats a token from the tuned model's, \
         and the best token is the same at {:.1} % of the sure ones.</p>",
        escape(&export.format),
        export.bytes as f64 / 1e6,
        export.gate.tokens,
        export.gate.mean_kl,
        100.0 * export.gate.sure_agreement
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
