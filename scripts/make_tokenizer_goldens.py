#!/usr/bin/env python3
"""Writes tests/text/goldens/: what the `tokenizers` library does with a small tokenizer.

  tokenizer.json   trained by the library on train.txt (which is kept), vocab_size 700
  cases.json       nasty texts (in hexadecimal: some are no UTF-8); for each of several sets of parts
                   the parts, the ids, offsets and tokens of every text, and decoded ids

usage: make_tokenizer_goldens.py      (needs `pip install tokenizers`)
"""
import json
import os
import random
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts", "peers"))
import compare_tokenizers as peers  # noqa: E402

KEPT = ("gpt2", "gpt2 with prefix space, trimmed", "llama 3", "qwen 2", "cl100k", "o200k",
        "deepseek", "starcoder", "falcon", "prefix space inside", "roberta", "added tokens",
        "split merged_with_previous", "split merged_with_next", "split contiguous inverted",
        "split removed", "no alphabet", "unknown token, fuse True", "unknown token, fuse False")

TEXTS = [
    "", " ", "\n", " \n \t ", "a", "Hello, world! It's 2024: don't I'LL we've", "  two  spaces  ",
    "in the beginning God created the heaven and the earth.", " " * 40 + "x" + "\n" * 20,
    "def f(x):\n    return x[1:] + 1e-5  # note\r\n\r\n\tend", "a" * 70, "é" * 40,
    "<|endoftext|>", "a<|endoftext|>b <|endoftext|> c<|endoftext|><|endoftext|>", "<|endoftext",
    "<s> a </s><mask>  <mask> x", "tok TOK tok. atok TOKs  TOK  x ab  ab the\u3000the a b",
    "日本 日本語 中文字符、ひらがなカタカナ 한국어 \u1112\u1161\u11ab", "ไทย हिन्दी العربية עברית ру́сский",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 🇩🇪 👍🏽 𝔘𝔫𝔦 𠀀 \U0010ffff", "e\u0301 e\u0323\u0307 e\u0307\u0323 \u1e9b\u0323 u\u031b\u0323",
    "\u0301alone \u212b \u2126 \u0344 \u0f73 豈", "½ ² Ⅷ ٣ १२३ 1234567 3.14 1,000", "\x00\x01\x1b\x7f\x85\xa0\u2003\u200b\ufeff",
    "'s 'S 'ſ 'LL 'ré x's", "(a)[b]{c}<d> ... !? -- __ ~^`|@#$%&*+=/\\", "http://a.b/c?d=e&f=1_2-3", "Ġ Ċ ĠĠ",
    "\u0378\U000e0fff \U00011938 \u0897 \u1c89\u1c8a \ua7da \U00011de0 \U00016ff4 \u180ex",
]
NOT_UTF8 = [b"\xff", b"a\x80b", b"\xe2\x82", b"\xe2\x82\xac\xe2\x82", b"\xed\xa0\x80x", b"\xf0\x9f\x98",
            b"\xf0\x9f\x98\x80\xf0\x9f", b"\xc0\xaf\xf8\x88\x80\x80\x80", b"caf\xe9 <|endoftext|>\xfe"]


def main():
    folder = os.path.join(ROOT, "tests", "text", "goldens")
    text = open(os.path.join(folder, "train.txt"), encoding="utf-8", newline="").read()
    base = peers.train_library([text], 700, 2)
    base.save(os.path.join(folder, "tokenizer.json"))
    ascii_only = peers.train_library(["".join(c for c in text if c.isascii() and c not in "qQ#%")],
                                     350, 2, alphabet=False)
    rng = random.Random(1)
    texts = [text.encode() for text in TEXTS] + NOT_UTF8
    groups = []
    for name, tokenizer in peers.variants(base, ascii_only):
        if name not in KEPT:
            continue
        document = json.loads(tokenizer.to_str())
        model = document.pop("model")
        parts = {key: value for key, value in document.items() if key != "version"}
        if "alphabet" in name or "unknown" in name:
            parts["model"] = model
        else:
            parts["ignore_merges"] = model["ignore_merges"]
        cases = []
        for raw in texts:
            case = {}
            for key, special in (("with", True), ("without", False)):
                encoding = tokenizer.encode(raw.decode(errors="replace"), add_special_tokens=special)
                if not special:
                    if encoding.ids != case["with"]["ids"]:
                        case[key] = {"ids": encoding.ids}
                    continue
                case[key] = {"ids": encoding.ids,
                             "offsets": [x for pair in encoding.offsets for x in pair]}
                if name in ("gpt2", "roberta", "added tokens"):
                    case[key]["tokens"] = encoding.tokens
            cases.append(case)
        decodings = []
        for _ in range(20):
            ids = [rng.randrange(tokenizer.get_vocab_size() + 2) for _ in range(rng.randint(0, 12))]
            decodings.append({"ids": ids, "all": tokenizer.decode(ids, skip_special_tokens=False),
                              "skipped": tokenizer.decode(ids)})
        groups.append({"name": name, "parts": parts, "cases": cases, "decodings": decodings})
    with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as file:
        file.write('{"texts":' + json.dumps([raw.hex() for raw in texts]) + ',\n"groups":[\n'
                   + ",\n".join(json.dumps(group, ensure_ascii=False, separators=(",", ":"))
                                for group in groups) + "\n]}\n")


if __name__ == "__main__":
    main()
