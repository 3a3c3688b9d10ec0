//! Which element holds the main text.

use super::dom::{Dom, Id, ROOT};
use super::marks::Marks;

/// The element with the main text.
pub(super) fn find(dom: &Dom, marks: &Marks) -> Id {
    let whole = marks.prose[ROOT];
    if whole == 0 {
        return ROOT;
    }
    let start = named(dom, marks, whole).unwrap_or(ROOT);
    descend(dom, marks, start)
}

/// Of the elements that say they hold an article, the one with most of the prose.
fn named(dom: &Dom, marks: &Marks, whole: usize) -> Option<Id> {
    let mut best: Option<(Id, usize, u8)> = None;
    for id in 1..dom.nodes.len() {
        if marks.out[id] {
            continue;
        }
        let Some(element) = dom.element(id) else { continue };
        let body = element.attribute("itemprop").is_some_and(|value| value.eq_ignore_ascii_case("articleBody"));
        let rank = if body {
            3
        } else if BODIES.iter().any(|pair| element.names.contains(pair)) {
            2
        } else if element.name == "article" || element.attribute("role") == Some("article") {
            1
        } else {
            continue;
        };
        let prose = marks.prose[id];
        // Most of what the page has; an article among teasers of others has less than half.
        if prose * 10 < whole * 4 {
            continue;
        }
        // The inner one of two where it holds nearly as much.
        let better = best.is_none_or(
            |(_, most, best_rank)| {
                if rank >= best_rank { prose * 10 >= most * 8 } else { prose * 8 > most * 10 }
            },
        );
        if better {
            best = Some((id, prose, rank));
        }
    }
    best.map(|(id, ..)| id)
}

/// Names of elements that hold the text of an article.
const BODIES: &[&str] = &[
    " article body ",
    " article content ",
    " article text ",
    " article copy ",
    " story body ",
    " story content ",
    " story text ",
    " entry content ",
    " post content ",
    " post body ",
    " post text ",
    " page content ",
    " body copy ",
    " body content ",
    " content body ",
    " article main ",
    " main content ",
    " news content ",
    " news text ",
    " blog content ",
    " td post content ",
    " rich text ",
];

/// Goes down as long as one child holds nearly all of the prose.
fn descend(dom: &Dom, marks: &Marks, mut id: Id) -> Id {
    loop {
        let most = dom.children(id).filter(|&child| !marks.out[child]).max_by_key(|&child| marks.prose[child]);
        match most {
            Some(child) if marks.prose[child] * 100 >= marks.prose[id] * 85 && marks.prose[child] > 0 => {
                // A paragraph is not the whole text; what is beside it belongs to it.
                if matches!(dom.name(child), "p" | "li" | "blockquote" | "pre" | "td" | "tr" | "ul" | "ol" | "") {
                    return id;
                }
                id = child;
            }
            _ => return id,
        }
    }
}
