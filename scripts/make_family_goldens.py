#!/usr/bin/env python3
"""Writes tests/text/goldens/families.json: what the `tokenizers` library does with small tokenizers of the
main model families: the models, and per family the other parts, the ids, offsets and tokens of nasty
texts, also with special tokens as text, decoded ids, and pairs of texts that are truncated and padded.

usage: make_family_goldens.py      (needs `pip install tokenizers`)
"""
import json
import os
import random
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts", "peers"))
import compare_families as peers  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

KEPT = ("bert", "bert cased", "bert, no ideographs", "llama 2", "llama 2, metaspace first",
        "mistral, metaspace always", "gemma", "unknown tokens", "no unknown token",
        "metaspace first after strip, added tokens", "t5", "xlm-roberta", "albert",
        "unigram with byte fallback", "unigram, nmt", "gpt-1", "clip", "bpe with a prefix",
        "word level")

TEXTS = [
    "", " ", "  two  spaces\n\n", "In the beginning God created the heaven and the earth.",
    "Hello, world! It's 2024: don't", "unbelievably antidisestablishmentarianism", "a" * 30,
    "naïve café Ångström e\u0301e\u0323\u0307 ﬁne ½", "日本語の文章 中文字符 한국어 ｶﾞ ＡＢ",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 👍🏽 ©\u200d© 가\u0301", "ру́сский עברית हिन्दी क्क\u0301 ไทย",
    "\x00\x01\t\x0c\x7f\x85\xa0\u2003\u200b\ufeff\ufffd\u2028 x", "İstanbul ǅ ẞ Σίσυφος",
    "<s> [MASK] </s> <unk>[CLS]  <mask> <0x41> <|user|>  x tok ab the▁▁▁ _", "▁ ▁▁a  ▁b",
]
PAIR = ("Let there be light: and", "naïve the light")
OPTIONS = [
    ({"max_length": 12}, {}),
    ({"max_length": 13, "stride": 2, "strategy": "longest_first"}, {"length": 16}),
    ({"max_length": 22, "stride": 1, "strategy": "only_second", "direction": "left"},
     {"direction": "left", "pad_to_multiple_of": 8, "pad_id": 3, "pad_type_id": 1, "pad_token": "<p>"}),
    ({"max_length": 20, "strategy": "only_first", "direction": "left"}, {}),
]


class Smaller:
    """The trainers of compare_families with small vocabularies."""
    def __getattr__(self, name):
        def make(**kwargs):
            if "limit_alphabet" in kwargs:
                kwargs["limit_alphabet"] = 60
            return getattr(TRAINERS, name)(**{**kwargs, "vocab_size": 200})
        return make


TRAINERS = peers.trainers


def flat(encoding):
    return [x for pair in encoding.offsets for x in pair]


def full(encoding):
    return {"ids": encoding.ids, "type_ids": encoding.type_ids, "offsets": flat(encoding),
            "attention": encoding.attention_mask, "special": encoding.special_tokens_mask,
            "words": [-1 if word is None else word for word in encoding.word_ids],
            "overflowing": [full(part) for part in encoding.overflowing]}


def main():
    folder = os.path.join(ROOT, "tests", "text", "goldens")
    lines = open(os.path.join(folder, "train.txt"), encoding="utf-8").read().splitlines()
    peers.trainers = Smaller()
    rng = random.Random(1)
    model_list, groups = [], []
    for name, tokenizer in peers.families(lines + TEXTS, peers.charsmap.build(peers.SMALL_CHARSMAP)):
        if name not in KEPT:
            continue
        document = json.loads(tokenizer.to_str())
        model = document.pop("model")
        if model["type"] == "Unigram":  # short enough to be read exactly
            model["vocab"] = [[token, round(score, 4)] for token, score in model["vocab"]]
        if model not in model_list:
            model_list.append(model)
        tokenizer = Tokenizer.from_str(json.dumps({**document, "model": model}))
        cases = []
        for text in TEXTS:
            encoding = tokenizer.encode(text)
            case = {"ids": encoding.ids, "offsets": flat(encoding)}
            if tokenizer.encode(text, add_special_tokens=False).ids != encoding.ids:
                case["plain"] = tokenizer.encode(text, add_special_tokens=False).ids
            tokenizer.encode_special_tokens = True
            if tokenizer.encode(text).ids != encoding.ids:
                case["split"] = tokenizer.encode(text).ids
            tokenizer.encode_special_tokens = False
            if name in ("bert", "gemma", "t5", "clip"):
                case["tokens"] = encoding.tokens
            cases.append(case)
        decodings = []
        for i in range(12):
            ids = (tokenizer.encode(TEXTS[3 + i % 11]).ids if i < 6 else
                   [rng.randrange(tokenizer.get_vocab_size() + 2) for _ in range(rng.randint(1, 12))])
            decodings.append({"ids": ids, "all": tokenizer.decode(ids, skip_special_tokens=False),
                              "skipped": tokenizer.decode(ids)})
        pairs = []
        for truncation, padding in OPTIONS if name in ("bert", "bert, no ideographs",
                                                       "llama 2") else []:
            tokenizer.enable_truncation(**truncation)
            tokenizer.enable_padding(**padding)
            settings = json.loads(tokenizer.to_str())
            try:
                result = full(tokenizer.encode(*PAIR))
            except Exception:  # too short for this
                continue
            pairs.append({"truncation": settings["truncation"], "padding": settings["padding"],
                          "result": result})
        groups.append({"name": name, "model": model_list.index(model), "parts": document,
                       "cases": cases, "decodings": decodings, "pairs": pairs})
    with open(os.path.join(folder, "families.json"), "w", encoding="utf-8") as file:
        def line(value):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        file.write('{"texts":' + json.dumps(TEXTS) + ',"pair":' + json.dumps(PAIR) + ',\n"models":[\n'
                   + ",\n".join(map(line, model_list)) + '],\n"groups":[\n'
                   + ",\n".join(map(line, groups)) + "\n]}\n")


if __name__ == "__main__":
    main()
