"""Measures the pattern recognisers of Presidio: megabytes per second, and F1 on labelled sentences.

    python presidio_patterns.py SUITE.json [--text FILE.jsonl]

SUITE.json is `synth_dataset_v2.json` of presidio-research. The seven types are those that `measure_pii` (an example of
the crate `scrub`) reports, counted in the same way: a labelled span is found when a finding of its type has the same
ends (strict) or shares a character with it (overlap). Recognisers get no artefacts of a language model, so words around
a finding do not change its score; Presidio's own engine leaves them to spaCy. Where findings overlap the higher score
stays, among equals the longer one. F1 is given for several thresholds, since without context no single one is fair.

Prints one JSON object. Versions: requirements-pii.txt. Needs no model and no network when it runs.
"""

import argparse
import json
import logging
import platform
import time
from importlib.metadata import version

from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    UrlRecognizer,
    UsSsnRecognizer,
)

RECOGNISERS = {
    "EMAIL_ADDRESS": (EmailRecognizer, "EMAIL_ADDRESS"),
    "IBAN_CODE": (IbanRecognizer, "IBAN_CODE"),
    "CREDIT_CARD": (CreditCardRecognizer, "CREDIT_CARD"),
    "IP_ADDRESS": (IpRecognizer, "IP_ADDRESS"),
    "US_SSN": (UsSsnRecognizer, "US_SSN"),
    "PHONE_NUMBER": (PhoneRecognizer, "PHONE_NUMBER"),
    "DOMAIN_NAME": (UrlRecognizer, "URL"),
}
THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.85)


def load(all_types):
    recognisers = []
    for label, (make, entity) in all_types.items():
        recogniser = make(supported_language="en")
        recogniser.load()
        recognisers.append((label, recogniser, entity))
    return recognisers


def analyse(recognisers, text):
    """(start, end, label, score) of everything that is found."""
    found = []
    for label, recogniser, entity in recognisers:
        for result in recogniser.analyze(text, [entity], nlp_artifacts=None) or []:
            found.append((result.start, result.end, label, result.score))
    return found


def choose(found):
    """The surest of those that overlap, among equals the longest."""
    chosen = []
    for start, end, label, score in sorted(found, key=lambda one: (-one[3], one[0] - one[1], one[0])):
        if all(end <= other[0] or other[1] <= start for other in chosen):
            chosen.append((start, end, label))
    return chosen


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings(part)


def overlaps(one, others):
    return any(one[0] < other[1] and other[0] < one[1] and one[2] == other[2] for other in others)


def add(counts, labelled, found):
    for name in (*RECOGNISERS, "micro"):
        mine = [span for span in labelled if name in ("micro", span[2])]
        theirs = [span for span in found if name in ("micro", span[2])]
        row = counts.setdefault(name, [0, 0, 0, 0, 0])
        row[0] += len(mine)
        row[1] += len(theirs)
        row[2] += sum(span in theirs for span in mine)
        row[3] += sum(overlaps(span, theirs) for span in mine)
        row[4] += sum(overlaps(span, mine) for span in theirs)


def f1(precision, recall):
    return round(2 * precision * recall / (precision + recall), 4) if precision + recall else 0.0


def scores(row):
    def share(part, whole):
        return part / whole if whole else 1.0

    labelled, found, strict, labelled_hit, found_hit = row
    return {
        "labelled": labelled,
        "found": found,
        "strict_f1": f1(share(strict, found), share(strict, labelled)),
        "overlap_f1": f1(share(found_hit, found), share(labelled_hit, labelled)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite")
    parser.add_argument("--text", help="JSON lines whose strings are scanned for speed; the sentences if absent")
    parser.add_argument("--seconds", type=float, default=20.0, help="the least time that is measured")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)

    recognisers = load(RECOGNISERS)
    with open(arguments.suite, encoding="utf-8") as file:
        rows = json.load(file)

    counts = {threshold: {} for threshold in THRESHOLDS}
    for row in rows:
        labelled = [
            (span["start_position"], span["end_position"], span["entity_type"])
            for span in row["spans"]
            if span["entity_type"] in RECOGNISERS
        ]
        everything = analyse(recognisers, row["full_text"])
        for threshold in THRESHOLDS:
            found = choose([one for one in everything if one[3] >= threshold])
            add(counts[threshold], labelled, found)

    if arguments.text:
        with open(arguments.text, encoding="utf-8") as file:
            texts = [text for line in file if line.strip() for text in strings(json.loads(line))]
    else:
        texts = [row["full_text"] for row in rows]
    scanned = 0
    findings = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < arguments.seconds:
        for text in texts:
            findings += len(analyse(recognisers, text))
            scanned += len(text.encode())
            if time.perf_counter() - begin >= arguments.seconds:
                break
    seconds = time.perf_counter() - begin

    report = {
        "presidio_analyzer": version("presidio-analyzer"),
        "python": platform.python_version(),
        "f1": {
            str(threshold): {name: scores(row) for name, row in of_threshold.items()}
            for threshold, of_threshold in counts.items()
        },
        "speed": {
            "bytes": scanned,
            "seconds": round(seconds, 2),
            "findings": findings,
            "megabytes_per_second": round(scanned / seconds / 1e6, 5),
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
