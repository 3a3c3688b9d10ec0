//! Pages of several kinds, small enough to see what must come out.

use attune_documents::web::{WebError, WebOptions, extract};
use attune_documents::{Document, SegmentKind};

fn read(html: &str) -> Document {
    extract(html, &WebOptions::default()).unwrap_or_else(|error| panic!("{error}: {html}"))
}

fn parts(document: &Document) -> Vec<(SegmentKind, &str)> {
    document.segments.iter().map(|segment| (segment.kind, segment.text.as_str())).collect()
}

const FIRST: &str = "The old mill by the river was closed in the spring, after more than a hundred years of work.";
const SECOND: &str = "Nobody in the village had expected it, although the owner had said so for a long time.";

#[test]
fn an_article_stands_without_what_is_around_it() {
    let page = format!(
        "<!doctype html><html lang=en-GB><head><title>The mill is closed | Village News</title>\
         <style>p {{ color: red }}</style><script>var x = '<p>not this</p>';</script></head><body>\
         <nav><ul><li><a href=/>Home</a><li><a href=/news>News</a></ul></nav>\
         <div class='cookie-banner'><p>We use cookies to make this site better for you and for all of our partners.</p></div>\
         <article><h1>The mill is closed</h1><div class=share-buttons><a href=#>Share</a> <a href=#>Tweet</a></div>\
         <p>{FIRST}</p><h2>What comes next</h2><p>{SECOND} It cost &pound;5 &amp; more.</p>\
         <figure><img src=a.jpg><figcaption>The mill in 1910, seen from the bridge.</figcaption></figure>\
         <ul><li>First, the wheel is taken down.</li><li>Then the <a href=/roof>roof</a> is mended.</li></ul></article>\
         <aside><h3>Related</h3><p>Another article about something else that has nothing to do with it at all.</p></aside>\
         <section id=comments><p>I have always said that this would happen, and nobody ever listened to me.</p></section>\
         <footer><p>Copyright by the village, all rights reserved, no part may be copied without leave.</p></footer></body></html>"
    );
    let document = read(&page);
    assert_eq!(document.title.as_deref(), Some("The mill is closed"));
    assert_eq!(document.language.as_deref(), Some("en-GB"));
    let second = format!("{SECOND} It cost £5 & more.");
    assert_eq!(
        parts(&document),
        [
            (SegmentKind::Paragraph, FIRST),
            (SegmentKind::Heading(2), "What comes next"),
            (SegmentKind::Paragraph, second.as_str()),
            (SegmentKind::ListItem, "First, the wheel is taken down."),
            (SegmentKind::ListItem, "Then the roof is mended."),
        ]
    );
    assert_eq!(document.segments[4].section.as_deref(), Some("What comes next"));
    let mut options = WebOptions::default();
    options.figure_captions = true;
    let with_captions = extract(&page, &options).expect("a page").text();
    assert!(with_captions.contains("The mill in 1910"), "{with_captions}");
}

#[test]
fn documentation_keeps_code_and_tables() {
    let page = format!(
        "<html><body><div class=sidebar><a href=a>One</a><a href=b>Two</a></div><main><h1>Reading files</h1><p>{FIRST}</p>\
         <h2>How it is done <a class=headerlink href=#how>¶</a></h2><table><tr><td><pre>1\n2\n3\n</pre></td><td>\
         <pre><code class=rust><span class=kw>fn</span> main() {{\n    read(&quot;a &lt; b&quot;);\n}}\n</code></pre></td></tr></table><p>{SECOND}</p>\
         <table><thead><tr><th>Name<th>Meaning</thead><tr><td>path<td>where it <b>is</b><tr><td>mode<td>how</table>\
         <ol><li>Open the file.<ul><li>Check that it is there.</ul><li>Read it.</ol><p>{FIRST} Again.</p></main></body></html>"
    );
    let document = read(&page);
    let again = format!("{FIRST} Again.");
    assert_eq!(
        parts(&document),
        [
            (SegmentKind::Paragraph, FIRST),
            (SegmentKind::Heading(2), "How it is done"),
            (SegmentKind::Code, "fn main() {\n    read(\"a < b\");\n}"),
            (SegmentKind::Paragraph, SECOND),
            (SegmentKind::Table, "Name | Meaning\npath | where it is\nmode | how"),
            (SegmentKind::ListItem, "Open the file."),
            (SegmentKind::ListItem, "Check that it is there."),
            (SegmentKind::ListItem, "Read it."),
            (SegmentKind::Paragraph, again.as_str()),
        ]
    );
    let mut options = WebOptions::default();
    options.tables = false;
    assert!(!extract(&page, &options).expect("a page").text().contains("Meaning"));
}

#[test]
fn lines_and_tables_of_old_pages_are_paragraphs() {
    let page = format!(
        "<HTML><BODY><TABLE WIDTH=100%><TR><TD><A HREF=x>Home</A><BR><A HREF=y>Mail</A></TD><TD><FONT SIZE=2>{FIRST}\
         <BR><BR>{SECOND}<BR>&nbsp;<BR>{FIRST} Again.</FONT></TD></TR></TABLE></BODY></HTML>"
    );
    let again = format!("{FIRST} Again.");
    let expected = [FIRST, SECOND, again.as_str()].map(|text| (SegmentKind::Paragraph, text));
    assert_eq!(parts(&read(&page)), expected);
}

#[test]
fn scripts_without_spaces() {
    let one = "川のそばの古い水車は、百年以上も働いたあと、この春についに閉じられました。村の人はみな驚きました。";
    let two = "持ち主は長いあいだそう言っていたのですが、だれも本当にそうなるとは思っていませんでした。";
    let page = format!(
        "<html lang=ja><body><ul class=menu><li><a href=/>ホーム</a></ul><div><p>{one}</p><p>{two}</p></div>\
         <div class=footer>著作権</div></body></html>"
    );
    let document = read(&page);
    assert_eq!(document.language.as_deref(), Some("ja"));
    assert_eq!(parts(&document), [one, two].map(|text| (SegmentKind::Paragraph, text)));
}

#[test]
fn names_of_elements_do_not_take_the_whole_page() {
    // The names say comments and sidebar, but there is nothing else.
    let page = format!("<body class=has-sidebar><div class=comment><p>{FIRST}</p><p>{SECOND}</p></div></body>");
    assert_eq!(parts(&read(&page)), [FIRST, SECOND].map(|text| (SegmentKind::Paragraph, text)));
}

#[test]
fn what_is_hidden_is_not_read() {
    let page = format!(
        "<p>{FIRST}</p><p style='display: none'>{SECOND} Hidden by style.</p><p hidden>{SECOND} Hidden.</p>\
         <div aria-hidden=true>{SECOND} Hidden too.</div><template><p>{SECOND} Template.</p></template><p>{SECOND}</p>"
    );
    assert_eq!(parts(&read(&page)), [FIRST, SECOND].map(|text| (SegmentKind::Paragraph, text)));
}

#[test]
fn what_is_no_page_is_an_error_with_a_hint() {
    let error = extract("no tags & no text", &WebOptions::default()).expect_err("plain text");
    assert_eq!(error, WebError::NoTags);
    let error =
        extract("<html><body><script>draw()</script></body></html>", &WebOptions::default()).expect_err("empty");
    assert_eq!(error, WebError::NoText { characters: 0 });
    assert!(error.hint().contains("browser"));
}

#[test]
fn short_last_sentences_stay() {
    let page = format!("<main><p>{FIRST}</p><p>{SECOND}</p><p>And so it was.</p><p><a href=x>Next</a></p></main>");
    let expected = [FIRST, SECOND, "And so it was."].map(|text| (SegmentKind::Paragraph, text));
    assert_eq!(parts(&read(&page)), expected);
}
