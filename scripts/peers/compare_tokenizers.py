#!/usr/bin/env python3
"""Compares Corten's tokenizer with the `tokenizers` library: ids, tokens, offsets and decoded text
for real text and nasty strings with many kinds of tokenizer.json files, training, and speed.

usage: compare_tokenizers.py [--library libcorten.a] [--text FILE]... [--strings N] [--seed N]

Prints one line per comparison and exits with 1 if there is a difference. Needs `pip install
tokenizers` and, to build the C++ side, a compiler and libcorten.a (or --peer PROGRAM).
"""
import argparse
import glob
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|"
          r"\s*[\r\n]|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
            r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"


# ---- strings

PIECES = [
    " ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u2003", "\u3000", "\x85", "\u200b", "\u200d",
    "\u180e", "\ufeff", "\x00", "\x1c", "\x7f", "a", "I", "the", " the", "Hello", "don't", "'s",
    "'S", "'ll", "'LL", "'ſ", "'re", "I'M", "ﬀ", "ß", "ẞ", "İ", "ı", "K", "Å", "é", "e\u0301",
    "e\u0323\u0307", "\u0307\u0323", "\u0301", "\u1e9b\u0323", "ự", "u\u031b\u0323", "한국어",
    "\u1112\u1161\u11ab", "\u1112\u1161", "각", "日本語", "中文字符", "ひらがな", "カタカナ", "ｶﾞ",
    "ไทย", "हिन्दी", "العربية", "עברית", "ру́сский", "Ελληνικά", "👩\u200d👩\u200d👧", "🏳️\u200d🌈",
    "🇩🇪", "👍🏽", "😀", "𝔘𝔫𝔦", "𠀀", "\U0001f468", "\U0010ffff", "\ufffd", "\ufffe", "½", "²", "Ⅷ",
    "٣", "१२", "1", "12", "123", "1234567", "3.14", "1,000", "$", "€", "+", "=", "<", ">", "_", "__",
    "-", "--", "...", "!?", "(", "[x]", "{}", "/", "\\", "`", "~", "^", "|", "@", "#", "%", "&", "*",
    "„", "“", "—", "…", "。", "،", "<|endoftext|>", "<|endoftext|", "<s>", "</s>", "<mask>", "<|x",
    "|>", "tok", "TOK", "Ġ", "Ċ", "ĠĠ", "ab", "aa", "aaaa", "xyz", "def f(x):\n    return x\n",
    "http://a.b/c?d=e&f", "\u0130\u0307", "ŉ", "ǰ", "ﬁ", "ﬆ", "\u1e96", "\U0001d15e", "\U00011938",
    "\u0f73", "\u0344", "\u2126", "\u212b", "豈", "\U0002f800", "\u09cb", "\u0dde",
]


def nasty_strings(count, rng):
    yield from ["", " ", "\n", "  \n  ", "a", "'", "''", " '", "\u0301", "e\u0301", "\u0301e"]
    yield from PIECES
    yield " " * 100
    yield "\n" * 77 + "x"
    yield "a" * 1000
    yield "<|endoftext|>" * 3
    yield "é" * 65 + " " + "日" * 70
    letters = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for i in range(count):
        kind = i % 6
        if kind < 3:
            yield "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 30)))
        elif kind == 3:  # anywhere in Unicode
            yield "".join(chr(rng.choice(letters)) for _ in range(rng.randint(1, 40)))
        elif kind == 4:  # the parts with scripts
            block = rng.randrange(0, 0x3000, 0x80) if rng.random() < 0.7 else rng.randrange(
                0xA000, 0x20000, 0x80)
            chars = [c for c in range(block, block + 0x80) if not 0xD800 <= c < 0xE000] or [65]
            yield "".join(chr(rng.choice(chars)) if rng.random() < 0.8 else rng.choice(PIECES)
                          for _ in range(rng.randint(1, 40)))
        else:  # marks in any order
            marks = [0x300, 0x301, 0x323, 0x327, 0x345, 0x334, 0x5B0, 0x64B, 0x93C, 0x3099, 0x309A,
                     0x1161, 0x11A8, 0x20D0, 0x302A, 0x1D165]
            yield "".join(rng.choice("aeo uAかキ가\u1100豈 .")
                          + "".join(chr(rng.choice(marks)) for _ in range(rng.randint(0, 4)))
                          for _ in range(rng.randint(1, 12)))


def every_code_point():
    """All of Unicode but private use and most of what is unassigned, beside other classes."""
    points = [chr(c) for c in range(0x110000)
              if not 0xD800 <= c < 0xF900 and (c < 0x33480 or 0xE0000 <= c < 0xE0200 or c > 0x10FFF0)]
    for i in range(0, len(points), 1024):
        yield "".join("a" + c + "1" + c + " ." + c for c in points[i:i + 1024])


# ---- tokenizers

def byte_level(**kwargs):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **kwargs})


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def train_library(texts, vocab_size, min_frequency=0, alphabet=True):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else [],
        show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def variants(base, ascii_only):
    """(name, tokenizer) with the vocabulary of `base` and all kinds of other parts."""
    def make(pre=None, post=None, added=(), normalizer=None, model=None, source=base):
        document = json.loads(source.to_str())
        document["model"].update(model or {})
        tokenizer = Tokenizer.from_str(json.dumps(document))
        if pre is not None:
            tokenizer.pre_tokenizer = pre
        if post is not None:
            tokenizer.post_processor = post
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        tokenizer.add_tokens(list(added))
        return tokenizer

    sequence = pre_tokenizers.Sequence
    plain = byte_level(use_regex=False)
    size = base.get_vocab_size()
    yield "gpt2", base
    yield "gpt2 with prefix space, trimmed", make(
        byte_level(add_prefix_space=True),
        processors.ByteLevel(trim_offsets=True, add_prefix_space=True))
    yield "trimmed without prefix space", make(
        post=processors.ByteLevel(trim_offsets=True, add_prefix_space=False))
    yield "no splitting, prefix space", make(byte_level(add_prefix_space=True, use_regex=False))
    bos = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1",
                                        special_tokens=[("<s>", size)])
    yield "llama 3", make(
        sequence([split(LLAMA3), plain]),
        processors.Sequence([processors.ByteLevel(trim_offsets=False), bos]),
        [AddedToken("<s>", special=True, normalized=False)], model={"ignore_merges": True})
    yield "qwen 2", make(sequence([split(QWEN2), plain]), normalizer=normalizers.NFC(),
                         added=[AddedToken("e\u0301", normalized=True), "Å", "한",
                                AddedToken("\u0307\u0323", normalized=False)])
    yield "nfc, prefix space, trimmed", make(
        byte_level(add_prefix_space=True), processors.ByteLevel(trim_offsets=True),
        normalizer=normalizers.Sequence([normalizers.NFC()]))
    yield "cl100k", make(sequence([split(CL100K), plain]))
    yield "o200k", make(sequence([split(O200K), plain]))
    yield "deepseek", make(sequence([split(p) for p in DEEPSEEK] + [plain]))
    yield "bloom", make(sequence([split(BLOOM), plain]))
    yield "starcoder", make(sequence([pre_tokenizers.Digits(individual_digits=True),
                                      byte_level()]))
    yield "falcon", make(sequence([pre_tokenizers.Punctuation("contiguous"), byte_level(),
                                   pre_tokenizers.Digits(individual_digits=False),
                                   split("[0-9][0-9][0-9]")]))
    yield "split after byte level", make(sequence([byte_level(use_regex=False),
                                                   split("Ġ|[^a-z]+")]))
    yield "prefix space inside", make(sequence([split(r"[.,]\s*", "merged_with_previous"),
                                                byte_level(add_prefix_space=True)]),
                                      processors.ByteLevel(trim_offsets=True))
    yield "roberta", make(
        byte_level(add_prefix_space=True),
        processors.RobertaProcessing(("</s>", size + 1), ("<s>", size)),
        [AddedToken("<s>", special=True), AddedToken("</s>", special=True),
         AddedToken("<mask>", lstrip=True, special=True)])
    yield "bert", make(post=processors.BertProcessing(("</s>", 7), ("<s>", 9)))
    yield "added tokens", make(added=[
        AddedToken("tok", single_word=True, normalized=False),
        AddedToken("TOK", single_word=True, lstrip=True, rstrip=True),
        AddedToken("ab", rstrip=True, normalized=False), AddedToken("the", lstrip=True),
        AddedToken("  ", normalized=True), AddedToken("   ", normalized=False),
        AddedToken("日", special=True), AddedToken("日本", special=True), AddedToken("Ġ"),
        AddedToken("a b", special=True), AddedToken("I", rstrip=True, lstrip=True)])
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next",
                     "contiguous"):
        for invert in (False, True):
            yield f"split {behavior}{' inverted' if invert else ''}", make(
                sequence([split(r"\s+|[aeiou]", behavior, invert), plain]))
        yield f"punctuation {behavior}", make(
            sequence([pre_tokenizers.Punctuation(behavior), plain]))
        yield f"literal {behavior}", make(
            sequence([pre_tokenizers.Split("a", behavior), plain]))
    yield "spaces one by one", make(sequence([split(r"\s"), byte_level()]))
    yield "no alphabet", ascii_only
    for fuse in (False, True):
        yield f"unknown token, fuse {fuse}", make(
            source=ascii_only, model={"unk_token": "<|endoftext|>", "fuse_unk": fuse})


# ---- the two sides

class Peer:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def run(self, *arguments):
        result = subprocess.run([self.program, *map(str, arguments)], capture_output=True)
        if result.returncode != 0:
            sys.exit(f"peer {arguments}: {result.stderr.decode(errors='replace')[:2000]}")
        return result.stdout

    def path(self, name):
        return os.path.join(self.folder, name)

    def encode(self, tokenizer_path, texts):
        """Per text two encodings (with and without special tokens): (ids, offsets, tokens)."""
        with open(self.path("texts"), "wb") as file:
            for text in texts:
                file.write(struct.pack("<I", len(text)) + text)
        self.run("encode", tokenizer_path, self.path("texts"), self.path("out"))
        data, at = open(self.path("out"), "rb").read(), 0
        result = []
        for _ in range(2 * len(texts)):
            count = struct.unpack_from("<I", data, at)[0]
            ids = list(struct.unpack_from(f"<{count}I", data, at + 4))
            numbers = struct.unpack_from(f"<{2 * count}I", data, at + 4 + 4 * count)
            at += 4 + 12 * count
            tokens = []
            for _ in range(count):
                size = struct.unpack_from("<I", data, at)[0]
                tokens.append(data[at + 4:at + 4 + size].decode())
                at += 4 + size
            result.append((ids, list(zip(numbers[::2], numbers[1::2])), tokens))
        return result

    def decode(self, tokenizer_path, lists):
        with open(self.path("ids"), "wb") as file:
            for ids in lists:
                file.write(struct.pack(f"<{len(ids) + 1}I", len(ids), *ids))
        self.run("decode", tokenizer_path, self.path("ids"), self.path("out"))
        data, at, result = open(self.path("out"), "rb").read(), 0, []
        for _ in range(2 * len(lists)):
            size = struct.unpack_from("<I", data, at)[0]
            result.append(data[at + 4:at + 4 + size].decode())
            at += 4 + size
        return result


def compare(name, tokenizer, peer, texts, rng, report):
    """Number of texts on which the two differ."""
    path = peer.path("tokenizer.json")
    tokenizer.save(path)
    ours = peer.encode(path, texts)
    differences, lists = 0, []
    for i, raw in enumerate(texts):
        text = raw.decode(errors="replace")
        bad = False
        for k, special in enumerate((True, False)):
            encoding = tokenizer.encode(text, add_special_tokens=special)
            theirs = (encoding.ids, encoding.offsets, encoding.tokens)
            for what, a, b in zip(("ids", "offsets", "tokens"), ours[2 * i + k], theirs):
                if a == b:
                    continue
                bad = True
                if report[0] > 0:
                    report[0] -= 1
                    n = next((j for j, (x, y) in enumerate(zip(a, b)) if x != y),
                             min(len(a), len(b)))
                    print(f"  {name}: {what} differ from {n} on for {text[:200]!r}\n"
                          f"    corten     {a[max(0, n - 2):n + 6]}\n"
                          f"    tokenizers {b[max(0, n - 2):n + 6]}")
        differences += bad
        if i % 4 == 0:
            lists.append(encoding.ids[:2000])
    size = tokenizer.get_vocab_size()
    lists += [[rng.randrange(size + 5) for _ in range(rng.randint(0, 30))] for _ in range(300)]
    for i, text in enumerate(peer.decode(path, lists)):
        expected = tokenizer.decode(lists[i // 2], skip_special_tokens=i % 2 == 0)
        if text != expected:
            differences += 1
            if report[0] > 0:
                report[0] -= 1
                print(f"  {name}: decoding {lists[i // 2]}: {text!r}, expected {expected!r}")
    # What Corten writes is read by the library as the same tokenizer.
    peer.run("save", path, peer.path("saved.json"))
    saved = Tokenizer.from_file(peer.path("saved.json"))
    if json.loads(saved.to_str()) != json.loads(tokenizer.to_str()):
        differences += 1
        print(f"  {name}: saving changed the tokenizer")
    return differences


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer")
    parser.add_argument("--library", default=os.path.join(ROOT, "build/release/libcorten.a"))
    parser.add_argument("--text", action="append", help="default: Python's sources and documents")
    parser.add_argument("--strings", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="tokenizers whose name contains this")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    folder = tempfile.mkdtemp(prefix="corten-tokenizers-")
    program = arguments.peer
    if program is None:
        program = os.path.join(folder, "peer")
        subprocess.run(["g++", "-std=c++20", "-O2", f"-I{ROOT}/include",
                        f"{ROOT}/scripts/peers/tokenizer_peer.cpp", arguments.library, "-lfmt",
                        "-lxxhash", "-lpthread", "-o", program], check=True)
    peer = Peer(program, folder)
    paths = arguments.text or sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "*.py")))
    files = [open(path, "rb").read() for path in paths]
    texts = [data.decode(errors="replace") for data in files]
    total, report = 0, [30]

    def result(line, differences):
        nonlocal total
        total += differences
        print(f"{'ok  ' if differences == 0 else 'FAIL'} {line}", flush=True)

    # Training: the same file, byte for byte.
    base = None
    for vocab_size, min_frequency, threads in ((257, 2, 1), (1000, 2, 2), (8192, 2, 1),
                                               (8192, 50, 3), (20000, 0, 2)):
        start = time.process_time()
        library = train_library(texts, vocab_size, min_frequency)
        library_time = time.process_time() - start
        line = peer.run("train", peer.path("trained.json"), vocab_size, min_frequency, threads,
                        *paths)
        library.save(peer.path("library.json"))
        same = open(peer.path("library.json")).read() == open(peer.path("trained.json")).read()
        result(f"training: vocab_size {vocab_size}, min_frequency {min_frequency}, {threads} "
               f"threads: {library.get_vocab_size()} tokens, corten "
               f"{json.loads(line)['train_cpu_s']:.2f} s, tokenizers {library_time:.2f} s CPU",
               not same)
        base = library

    # Speed and real text.
    speed_text = "\n".join(texts)
    with open(peer.path("speed.txt"), "w") as file:
        file.write(speed_text)
    base.save(peer.path("base.json"))
    figures = json.loads(peer.run("bench", peer.path("base.json"), peer.path("speed.txt")))
    start = time.process_time()
    for text in texts:
        base.encode(text)
    library_time = time.process_time() - start
    print(f"speed, one thread, CPU time: corten ids {figures['encode_ids_mb_s']} MB/s, with offsets "
          f"{figures['encode_mb_s']} MB/s, tokenizers {len(speed_text.encode()) / 1e6 / library_time:.1f}"
          f" MB/s; corten loads {os.path.getsize(peer.path('base.json'))} bytes in "
          f"{figures['load_ms']} ms")

    ascii_text = "".join(c for c in texts[0] if c.isascii() and c not in "qQ#%")
    ascii_only = train_library([ascii_text], 600, 2, alphabet=False)
    strings = [text.encode() for text in nasty_strings(arguments.strings, rng)]
    for _ in range(arguments.strings // 10):  # no UTF-8
        raw = bytearray(rng.choice(strings)) or bytearray(b"x")
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        strings.append(bytes(raw))
    lines = [line for data in files for line in data.splitlines(keepends=True)]
    sample = [b"".join(lines[i:i + 40]) for i in
              (rng.randrange(len(lines)) for _ in range(100))]
    for name, tokenizer in variants(base, ascii_only):
        if arguments.only and arguments.only not in name:
            continue
        result(f"{name}: {len(strings) + len(sample)} texts",
               compare(name, tokenizer, peer, strings + sample, rng, report))
        if name in ("gpt2", "llama 3", "qwen 2", "o200k", "starcoder", "falcon", "deepseek"):
            everything = [text.encode() for text in every_code_point()]
            result(f"{name}: all code points",
                   compare(name, tokenizer, peer, everything, rng, report))
    if not arguments.only or arguments.only in "gpt2":
        result(f"gpt2: {sum(map(len, files))} bytes of text",
               compare("gpt2", base, peer, files, rng, report))
    print(f"{total} differences")
    sys.exit(total > 0)


if __name__ == "__main__":
    main()
