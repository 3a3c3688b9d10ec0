"""Trains small sentencepiece models and records how sentencepiece encodes texts with them.

    python make_sentencepiece.py CORPUS OUT [all]

Made with sentencepiece 0.2.3. Without `all` the small ones, which are part of the repository; with `all` those with
tables of characters (some 250 KB each), too.
"""

import io
import json
import pathlib
import sys

import sentencepiece

TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\t\n", "Hello", " Hello", "  Hello", "Hello world", " Hello World!",
    "Hello  world   and    more", "trailing ", "trailing  ", " (", "\n =", "' era", "!!!!!!", "3", "33", "333", "3333333",
    "the licence, the License and the LICENSE", "w048 7tuijk dsdfhu", "нещо на Български", "កាន់តែពិសេសអាច",
    "🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅", "\u2581", "a\u2581b", "\u2581\u2581",
    "caf\u00e9 cafe\u0301", "ﬁne ﬂow №5 ½ ㍿ Ｆｕｌｌ　ｗｉｄｔｈ", "non\u00a0breaking thin\u2009space zero\u200bwidth",
    "soft\u00adhyphen", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a b c d e f g h", "x" * 200, " " * 40,
    "def f(x):\n    return x ** 2  # square\n", "１２３ Ⅷ", "Ünïcödé ÄÖÜß ŒÆ", "\u0001 control \u007f", "<unk> is no token here",
]

SMALL = {
    "bpe": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True),
    "unigram": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity",
                    remove_extra_whitespaces=False),
    "plain": dict(model_type="bpe", normalization_rule_name="identity", add_dummy_prefix=False,
                  unk_id=3, bos_id=0, eos_id=1, pad_id=2),
}
LARGE = {
    "bpe_nmt_nfkc": dict(model_type="bpe"),
    "unigram_nmt_nfkc": dict(model_type="unigram", byte_fallback=True),
    "bpe_nfkc_cf": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="nfkc_cf"),
}


def main() -> None:
    corpus, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    lines = [line for line in corpus.read_text(encoding="utf-8").splitlines() if line.strip()]
    chosen = SMALL | LARGE if sys.argv[3:] == ["all"] else SMALL
    cases = {}
    for name, settings in chosen.items():
        model = io.BytesIO()
        size = 600 if settings.get("byte_fallback") else 400
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, vocab_size=size, hard_vocab_limit=False, minloglevel=2,
            **settings)
        (out / f"{name}.model").write_bytes(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        cases[name] = [
            {"text": text, "ids": processor.encode(text), "decoded": processor.decode(processor.encode(text))}
            for text in TEXTS
        ]
    (out / "sentencepiece.json").write_text(json.dumps(cases, ensure_ascii=True, indent=0) + "\n")


main()
