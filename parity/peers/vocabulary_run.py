"""Tokenizes texts with the library that a vocabulary file belongs to.

    python parity/peers/vocabulary_run.py sentencepiece FILE.model TEXTS.json
    python parity/peers/vocabulary_run.py tiktoken FILE TEXTS.json --pattern REGEX

TEXTS.json is a list of strings. Prints {"texts": [{"ids": [...], "text": "..."}, ...], "size": n}; nothing special is added
or recognised.
"""

import argparse
import json
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["sentencepiece", "tiktoken"])
    parser.add_argument("file", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--pattern")
    args = parser.parse_args()

    if args.kind == "sentencepiece":
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_file=str(args.file))
        encode, decode, size = processor.encode, processor.decode, processor.vocab_size()
    else:
        import tiktoken
        from tiktoken.load import load_tiktoken_bpe

        ranks = load_tiktoken_bpe(str(args.file))
        encoding = tiktoken.Encoding("file", pat_str=args.pattern, mergeable_ranks=ranks, special_tokens={})
        encode, decode, size = encoding.encode_ordinary, encoding.decode, len(ranks)
    answers = []
    for text in json.loads(args.texts.read_text(encoding="utf-8")):
        ids = encode(text)
        answers.append({"ids": ids, "text": decode(ids)})
    json.dump({"texts": answers, "size": size}, sys.stdout)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
