//! Main texts of pages, measured as the article extraction benchmark measures them: runs of four words, counted; precision
//! and recall of each page, averaged over pages, and F1 of the averages.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use attune_documents::web::{self, WebOptions};
use serde_json::Value;

/// A page, its precision and recall.
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) precision: Option<f64>,
    pub(crate) recall: Option<f64>,
    pub(crate) html_bytes: usize,
    pub(crate) found: String,
    pub(crate) truth: String,
}

/// Averages of pages.
pub(crate) struct Score {
    pub(crate) precision: f64,
    pub(crate) recall: f64,
    pub(crate) f1: f64,
}

/// All pages with their names in order.
pub(crate) fn html(folder: &Path) -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for entry in std::fs::read_dir(folder.join("html")).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".html.gz") else { continue };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(entry.path()).expect("a page");
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
        pages.insert(name.to_owned(), String::from_utf8_lossy(&bytes).into_owned());
    }
    pages
}

pub(crate) fn measure(folder: &Path) -> Vec<Page> {
    let truth: Value = serde_json::from_str(&super::text(&folder.join("ground-truth.json"))).expect("JSON");
    let pages = html(folder).into_iter().map(|(name, html)| {
        let truth = truth[&name]["articleBody"].as_str().expect("a text").to_owned();
        let found =
            web::extract(&html, &WebOptions::default()).map_or_else(|_| String::new(), |document| document.text());
        let (precision, recall) = compare(&truth, &found);
        Page { name, precision, recall, html_bytes: html.len(), found, truth }
    });
    pages.collect()
}

pub(crate) fn score<'a>(pages: impl Iterator<Item = &'a Page> + Clone) -> Score {
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let precision = mean(pages.clone().filter_map(|page| page.precision).collect());
    let recall = mean(pages.filter_map(|page| page.recall).collect());
    Score { precision, recall, f1: 2.0 * precision * recall / (precision + recall) }
}

fn compare(truth: &str, found: &str) -> (Option<f64>, Option<f64>) {
    let (truth, found) = (shingles(truth), shingles(found));
    let mut hits = 0;
    for (shingle, count) in &found {
        hits += count.min(truth.get(shingle).unwrap_or(&0));
    }
    let share = |all: usize| (all > 0).then(|| hits as f64 / all as f64);
    (share(found.values().sum()), share(truth.values().sum()))
}

fn shingles(text: &str) -> HashMap<Vec<&str>, usize> {
    let tokens: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|token| !token.is_empty()).collect();
    let mut counts = HashMap::new();
    if tokens.is_empty() {
        return counts;
    }
    for window in tokens.windows(4.min(tokens.len())) {
        *counts.entry(window.to_vec()).or_default() += 1;
    }
    counts
}
