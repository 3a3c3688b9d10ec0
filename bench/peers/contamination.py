"""Looks for evaluation rows in documents with datatrove's n-gram filter: how many it finds, and how long it takes.

    python bench/peers/contamination.py REFERENCE.jsonl[.gz] DOCUMENTS.jsonl [--ngram 12]

REFERENCE has `question` and `answer` in each row. DOCUMENTS has `text` and `kind`, as written by

    cargo run --release -p attune-overlap --example measure_contamination -- ASSETS_DIR --documents=DOCUMENTS.jsonl

The runs of words of question, answer and across both are entered (the filter's own words, normalisation and hash), so
that a row planted without its answer can be found too. One JSON object goes to stdout: documents that were found and
looked at, by kind; bytes; seconds of looking, without building the index. One process, as the filter works in one.
"""

import argparse
import gzip
import json
import sys
import time

from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.text import ngrams, simplify_text


def rows(path):
    opened = gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")
    with opened as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("reference")
    parser.add_argument("documents")
    parser.add_argument("--ngram", type=int, default=12)
    arguments = parser.parse_args()

    config = NGramsDecontConfig(n_grams=arguments.ngram, find_query_ngrams=True)
    peer = NGramsDecontFilter(index_folder=".", config=config)

    def words(text):
        return peer.tokenizer.word_tokenize(simplify_text(text, config.norm_config))

    # The indexer of the package asks for another package that fetches its sets itself; these are its rules.
    hashes = {}
    for row in rows(arguments.reference):
        both = words(row["question"]) + words(row.get("answer") or "")
        hashes.update((peer.hash_func(" ".join(run)), "set") for run in ngrams(both, config.n_grams))
    peer._index_hashes = hashes

    documents = list(rows(arguments.documents))
    found = {}
    begin = time.perf_counter()
    for number, document in enumerate(documents):
        count = found.setdefault(document["kind"], [0, 0])
        count[0] += peer.filter(Document(text=document["text"], id=str(number))) is not True
        count[1] += 1
    seconds = time.perf_counter() - begin
    size = sum(len(document["text"].encode()) for document in documents)
    report = {
        "ngram": config.n_grams,
        "found_of": found,
        "bytes": size,
        "seconds": round(seconds, 3),
        "mb_per_second": round(size / 1e6 / seconds, 3),
    }
    json.dump(report, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
