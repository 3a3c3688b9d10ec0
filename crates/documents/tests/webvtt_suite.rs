//! The parser beside the suite of vtt.js.

mod common;

use common::vtt_suite;

#[test]
fn files_parse_as_expected_or_as_the_specification_says() {
    let Some(assets) = common::assets("suites/vtt.js") else { return };
    let counts = vtt_suite::compare(&assets.join("suites/vtt.js"));
    assert!(counts.unexplained.is_empty(), "{:#?}", counts.unexplained);
    assert!(counts.needless.is_empty(), "listed, but equal: {:?}", counts.needless);
    assert!(counts.trees_unexplained.is_empty(), "{} equal, {:#?}", counts.trees_equal, counts.trees_unexplained);
    assert!(counts.equal >= 200, "{} equal", counts.equal);
}
