#![allow(clippy::all, missing_docs)]
use std::io::Read;
fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    let mut o = attune_scrub::pii::PiiOptions::default();
    if let Some(m) = std::env::args().nth(1) { o.min_confidence = m.parse().unwrap(); }
    for f in attune_scrub::pii::Scanner::new(o).scan(&text) {
        let a = text.floor_char_boundary(f.span.start.saturating_sub(40));
        let b = text.ceil_char_boundary((f.span.end + 20).min(text.len()));
        println!("{} {:.2} {:?} | {:?}", f.rule, f.confidence, &text[f.span.clone()], &text[a..b]);
    }
    let mut c = std::collections::BTreeMap::new();
    for h in attune_scrub::hidden::scan(&text) { *c.entry((h.kind.name(), text[h.span.clone()].chars().take(4).map(|c| format!("{:x}", c as u32)).collect::<Vec<_>>().join(" "))).or_insert(0) += 1; }
    println!("hidden {c:?}");
}
