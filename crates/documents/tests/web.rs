//! Web pages.
#![allow(clippy::print_stdout, reason = "measured numbers")]

mod common;

use common::articles;

#[test]
fn main_texts_of_pages() {
    let Some(assets) = common::assets("suites/article-extraction-benchmark") else { return };
    let pages = articles::measure(&assets.join("suites/article-extraction-benchmark"));
    let (first, second) = pages.split_at(pages.len() / 2);
    let show = std::env::var("ATTUNE_SHOW_PAGES").is_ok();
    for (index, page) in pages.iter().enumerate() {
        if show {
            println!(
                "{index} {} {:.3?} {:.3?} {}",
                &page.name[..6],
                page.precision.unwrap_or(0.0),
                page.recall.unwrap_or(0.0),
                page.found.len()
            );
        }
    }
    for (name, pages) in [("all", &pages[..]), ("first", first), ("second", second)] {
        let score = articles::score(pages.iter());
        println!("{name}: precision {:.4} recall {:.4} F1 {:.4}", score.precision, score.recall, score.f1);
        assert!(score.f1 >= 0.9, "{name}: {}", score.f1);
    }
}

/// What was left out of a page (-) and what does not belong (+), for whoever works on the rules.
#[test]
fn show_a_page() {
    let Some(wanted) = std::env::var_os("ATTUNE_SHOW_PAGE") else { return };
    let Some(assets) = common::assets("suites/article-extraction-benchmark") else { return };
    for page in articles::measure(&assets.join("suites/article-extraction-benchmark")) {
        if !wanted.to_string_lossy().split(',').any(|name| page.name.starts_with(name)) {
            continue;
        }
        println!("== {}", page.name);
        for (mark, ours, theirs) in [("-", &page.truth, &page.found), ("+", &page.found, &page.truth)] {
            let theirs = theirs.split_whitespace().collect::<Vec<_>>().join(" ");
            for line in ours.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")) {
                if !theirs.contains(&line) {
                    println!("{mark} {}", line.chars().take(160).collect::<String>());
                }
            }
        }
    }
}
