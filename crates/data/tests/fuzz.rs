//! A fuzzer that every run of the tests brings along: seeds, changed at random but the same way each time, for
//! `ATTUNE_FUZZ_SECS` seconds per reader (5 if unset).

#![allow(clippy::print_stdout, reason = "how much was tried is worth knowing")]

mod common;

use std::time::{Duration, Instant};

use attune_data::fuzz::{self, Outcome};
use attune_fuzzer::{Random, budget, changed};

fn fuzz(seeds: &[Vec<u8>], reader: fn(&[u8]) -> Outcome) -> (usize, Outcome) {
    let (start, limit, mut random) = (Instant::now(), budget(5.0, 1), Random::default());
    let (mut runs, mut all, mut slowest) = (0, Outcome::default(), Duration::ZERO);
    let add = |all: &mut Outcome, outcome: Outcome| {
        all.records += outcome.records;
        all.faults += outcome.faults;
        all.given_up |= outcome.given_up;
    };
    for seed in seeds {
        add(&mut all, reader(seed));
    }
    while runs == 0 || start.elapsed() < limit {
        let bytes = changed(&seeds[random.below(seeds.len())], &mut random);
        let one = Instant::now();
        add(&mut all, reader(&bytes));
        slowest = slowest.max(one.elapsed());
        assert!(slowest < Duration::from_secs(60), "{} bytes took {slowest:?}", bytes.len());
        runs += 1;
    }
    println!("{runs} runs, the slowest took {slowest:?}: {all:?}");
    (runs, all)
}

const ROWS: &str = "{\"prompt\": \"a \\u00e4 \\\"b\\\"\", \"completion\": [1, -2.5e3, true, null, {\"c\": \"d\"}]}\n\
    {\"messages\": [{\"role\": \"user\", \"content\": \"ä€𝄞\"}]}\n\n{\"text\": \"x\"}\n";

#[test]
fn json_lines() {
    let utf16 = |text: &str| {
        [0xFF, 0xFE].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect::<Vec<u8>>()
    };
    let seeds = [ROWS.into(), format!("\u{feff}{ROWS}").into_bytes(), utf16(ROWS), Vec::new()];
    let (runs, all) = fuzz(&seeds, fuzz::fuzz_json_lines);
    assert!(all.records > 0 && all.faults > 0 && !all.given_up, "{runs} runs: {all:?}");
}

#[test]
fn json() {
    let list = format!("[{}]", ROWS.trim().replace("\n\n", "\n").replace('\n', ",\n"));
    let seeds = [
        list.clone().into_bytes(),
        format!("{{\"version\": 1, \"data\": {list}, \"end\": {{}}}}").into_bytes(),
        ROWS.into(),
        b"[[], {}]".to_vec(),
    ];
    let (runs, all) = fuzz(&seeds, fuzz::fuzz_json);
    assert!(all.records > 0 && all.faults > 0, "{runs} runs: {all:?}");
}

#[test]
fn csv() {
    let seeds = [
        b"prompt,completion\n\"a, \"\"b\"\"\",\"c\nd\"\ne,f\n".to_vec(),
        b"sep=;\r\na;b\r\n1;\"x\r\ny\"\r\n;\r\n".to_vec(),
        b"a\tb\n1\t2\n".to_vec(),
    ];
    let (runs, all) = fuzz(&seeds, fuzz::fuzz_csv);
    assert!(all.records > 0 && all.faults > 0, "{runs} runs: {all:?}");
}

#[test]
fn documents() {
    let seeds: [Vec<u8>; 4] = [
        b"# Title\n\nSome *text* with a [link](x).\n\n- one\n- two\n".to_vec(),
        b"<!doctype html><html lang=en><title>T</title><body><article><h1>H</h1><p>Some text of a page that is long \
          enough to be found by those who look for it.</p></article></body></html>"
            .to_vec(),
        b"WEBVTT\n\n00:01.000 --> 00:03.500\n<v Ada>Numbers &amp; music.</v>\n".to_vec(),
        b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n2\n00:00:02,000 --> 00:00:03,000\nyou\n".to_vec(),
    ];
    let (runs, all) = fuzz(&seeds, fuzz::fuzz_documents);
    assert!(all.records > 0 && all.faults > 0 && !all.given_up, "{runs} runs: {all:?}");
}

#[test]
fn transcripts() {
    let seeds: [Vec<u8>; 3] = [
        b"WEBVTT\n\n00:01.000 --> 00:03.500\n<v Bob>Why &amp; how?</v>\n\n00:04.000 --> 00:05.000\n<v Ada>So.\n\n\
          00:06.000 --> 00:07.000\n<v Eve>And I?\n\n00:08.000 --> 00:09.000\n<v Ada>You, too.\n"
            .to_vec(),
        b"1\n00:00:01,000 --> 00:00:02,000\nBob: Hello\n\n2\n00:00:02,000 --> 00:00:03,000\nAda: you\n\n\
          3\n00:00:03,000 --> 00:00:04,000\nBob: I?\n\n4\n00:00:04,000 --> 00:00:05,000\nAda: Yes\n"
            .to_vec(),
        b"0:00:01.000,0:00:02.000\n>> Bob: Hello\n\n0:00:02.000,0:00:03.000\n>> Ada: Oh\n".to_vec(),
    ];
    let (runs, all) = fuzz(&seeds, fuzz::fuzz_transcripts);
    assert!(all.records > 0 && all.faults > 0 && all.given_up, "{runs} runs: {all:?}");
}

#[test]
fn packed() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, ROWS.as_bytes()).expect("memory");
    let gzip = gzip.finish().expect("memory");
    let zstd = zstd::encode_all(ROWS.as_bytes(), 3).expect("memory");
    let seeds = [gzip.clone(), zstd.clone(), gzip.repeat(2), zstd.repeat(2)];
    let (runs, all) = fuzz(&seeds, fuzz::fuzz_packed);
    assert!(all.records > 0, "{runs} runs: {all:?}");
}

#[test]
fn parquet() {
    // Panics of the parquet crate are caught; a thousand of them are no reading.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|place| place.file().contains("parquet-")) {
            hook(info);
        }
    }));
    let names = [
        "alltypes_plain.parquet",
        "alltypes_plain.snappy.parquet",
        "nested_lists.snappy.parquet",
        "nested_maps.snappy.parquet",
        "nullable.impala.parquet",
        "repeated_no_annotation.parquet",
        "byte_array_decimal.parquet",
        "int96_from_spark.parquet",
        "datapage_v2.snappy.parquet",
        "delta_length_byte_array.parquet",
        "concatenated_gzip_members.parquet",
        "lz4_raw_compressed.parquet",
        "nonnullable.impala.parquet",
        "rle_boolean_encoding.parquet",
        "float16_nonzeros_and_nans.parquet",
        "old_list_structure.parquet",
        "map_no_value.parquet",
    ];
    let mut seeds = Vec::new();
    for name in names {
        let Some(path) = common::asset(&format!("suites/parquet-testing/data/{name}")) else { return };
        seeds.push(std::fs::read(path).expect("a file"));
    }
    let (runs, all) = fuzz(&seeds, fuzz::fuzz_parquet);
    assert!(all.records > 0, "{runs} runs: {all:?}");
}
