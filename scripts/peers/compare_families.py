#!/usr/bin/env python3
"""Compares Corten's tokenizers of the main model families with the `tokenizers` library on random
strings: ids, tokens, offsets with and without special tokens, encode_ids() and streamed decoding
against encode() and decode(), and what is written back.

usage: compare_families.py [--strings N] [--seed N] [--only NAME] [--random N] [--charsmap FILE]

Small tokenizers of every family are trained with the library, then --random pipelines are put together
of random components. Prints one line per tokenizer and exits with 1 if there is a difference.
--charsmap: a real "precompiled_charsmap" (as bytes) for the T5 family; without it a small one is made.
Needs what compare_tokenizers.py needs.
"""
import argparse
import glob
import json
import os
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import charsmap  # noqa: E402
from compare_tokenizers import LLAMA3, PIECES, ROOT, Peer, nasty_strings  # noqa: E402
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,  # noqa: E402
                        pre_tokenizers, processors, trainers)

SAMPLES = [piece for piece in PIECES if piece.strip()] + [
    "naïve café", "Straße", "ﬁancé", "日本語の文章", "한국어 문장", "русский язык", "ΑΒΓ αβγ",
    "¿qué?", "“quotes” — and … dots", "½ ² ™ ℃", "ｆｕｌｌ ｗｉｄｔｈ"]

SMALL_CHARSMAP = {
    "\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u2003": " ", "\u200b": "",
    "ﬁ": "fi", "ﬀ": "ff", "½": "1/2", "…": "...", "é": "é", "e\u0301": "é",
    "a\u0301": "á", "Å": "Å", "\u212b": "Å", "ａ": "a", "㌔": "キロ", "ｶﾞ": "ガ", "ｶ": "カ",
    "\u0301": "", "가": "ga", "😀": ":)", "©": "(c)", "ß": "ss", "\u0007": "", "İ": "I",
}


def training_text():
    files = sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "*.py")))[:30]
    lines = [line.strip() for path in files for line in open(path, encoding="utf-8", errors="replace")]
    rng = random.Random(5)
    return [line for line in lines if line] + [
        " ".join(rng.choice(SAMPLES) for _ in range(8)) for _ in range(2000)]


def edited(tokenizer, **model):
    document = json.loads(tokenizer.to_str())
    document["model"].update(model)
    return Tokenizer.from_str(json.dumps(document))


def with_bytes(tokenizer, **model):
    """Adds <0x00> to <0xFF> to the vocabulary."""
    document = json.loads(tokenizer.to_str())
    vocab = document["model"]["vocab"]
    for b in range(256):
        if isinstance(vocab, dict):
            vocab.setdefault(f"<0x{b:02X}>", len(vocab))
        elif all(token != f"<0x{b:02X}>" for token, _ in vocab[-300:]):
            vocab.append([f"<0x{b:02X}>", 0.0])
    document["model"].update(byte_fallback=True, **model)
    return Tokenizer.from_str(json.dumps(document))


def copied(tokenizer, **parts):
    copy = Tokenizer.from_str(tokenizer.to_str())
    for name, part in parts.items():
        setattr(copy, name, part)
    return copy


def cls_sep(tokenizer, roberta=False):
    cls, sep = ("<s>", "</s>") if roberta else ("[CLS]", "[SEP]")
    ids = [(token, tokenizer.token_to_id(token)) for token in (cls, sep)]
    return ids, processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} $B:1 {sep}:1", special_tokens=ids)


def bert(text):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(text, trainers.WordPieceTrainer(
        vocab_size=3000, show_progress=False, limit_alphabet=300,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    ids, template = cls_sep(tokenizer)
    tokenizer.post_processor = template
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, normalized=False)])
    return tokenizer


def llama(text):
    """BPE of characters with byte fallback, as SentencePiece's are converted."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=2500, show_progress=False, limit_alphabet=150,
        special_tokens=["<unk>", "<s>", "</s>"]))
    document = json.loads(tokenizer.to_str())
    vocab, merges = document["model"]["vocab"], document["model"]["merges"]
    for n in (2, 4, 8):  # runs of spaces and newlines
        for mark in ("▁", "\n"):
            half = mark * (n // 2)
            vocab.setdefault(mark, len(vocab))
            if mark * n not in vocab:
                vocab[mark * n] = len(vocab)
                merges.append([half, half])
    document["pre_tokenizer"] = None
    tokenizer = with_bytes(Tokenizer.from_str(json.dumps(document)))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1",
        special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    return tokenizer


LLAMA_DECODER = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                   decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def unigram(text, precompiled):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Precompiled(precompiled)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(text, trainers.UnigramTrainer(
        vocab_size=1500, show_progress=False, unk_token="<unk>",
        special_tokens=["<pad>", "</s>", "<unk>"]))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>",
        special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    return tokenizer


def suffixed(text):
    """BPE with </w> at the end of words, as CLIP and GPT-1 have it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=2000, show_progress=False, limit_alphabet=200, end_of_word_suffix="</w>",
        special_tokens=["<unk>"]))
    return tokenizer


def families(text, precompiled):
    base = bert(text)
    ids, _ = cls_sep(base)
    yield "bert", base
    yield "bert cased", copied(base, normalizer=normalizers.BertNormalizer(lowercase=False))
    yield "bert, accents kept", copied(base, normalizer=normalizers.BertNormalizer(
        strip_accents=False, clean_text=False))
    yield "bert, no ideographs", copied(base, normalizer=normalizers.BertNormalizer(
        handle_chinese_chars=False, lowercase=False, strip_accents=True),
        post_processor=processors.BertProcessing(ids[1], ids[0]))
    yield "bert, short words", edited(copied(base, decoder=decoders.WordPiece(cleanup=False)),
                                      max_input_chars_per_word=5)

    base = llama(text)
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    yield "llama 2", copied(base, normalizer=prepend, decoder=LLAMA_DECODER)
    metaspace = pre_tokenizers.Metaspace
    yield "llama 2, metaspace first", copied(
        base, pre_tokenizer=metaspace("▁", prepend_scheme="first", split=False),
        decoder=LLAMA_DECODER)
    yield "mistral, metaspace always", copied(
        base, pre_tokenizer=metaspace("▁", prepend_scheme="always", split=True),
        decoder=decoders.Metaspace("▁", prepend_scheme="always"))
    gemma = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    yield "gemma", copied(base, normalizer=normalizers.Replace(" ", "▁"),
                          pre_tokenizer=pre_tokenizers.Split(" ", "merged_with_previous"),
                          decoder=gemma)
    no_fallback = edited(base, byte_fallback=False)
    yield "unknown tokens, fused", copied(no_fallback, normalizer=prepend, decoder=LLAMA_DECODER)
    yield "unknown tokens", copied(edited(base, byte_fallback=False, fuse_unk=False),
                                   normalizer=prepend, decoder=LLAMA_DECODER)
    yield "no unknown token", copied(edited(base, byte_fallback=False, unk_token=None),
                                     normalizer=prepend, decoder=LLAMA_DECODER)
    added = copied(base, pre_tokenizer=metaspace("▁", prepend_scheme="first", split=False),
                   normalizer=normalizers.Sequence([normalizers.Strip(right=False)]),
                   decoder=LLAMA_DECODER)
    added.add_tokens([AddedToken("<|user|>", rstrip=True), AddedToken("tok", single_word=True),
                      AddedToken("ab", normalized=False, lstrip=True), "日本"])
    yield "metaspace first after strip, added tokens", added
    added = copied(base, normalizer=prepend, decoder=LLAMA_DECODER)
    added.add_tokens(["the", AddedToken("<mask>", lstrip=True, normalized=False), "a b"])
    yield "llama 2 with added tokens", added

    base = unigram(text, precompiled)
    yield "t5", base
    yield "t5, white space first", copied(base, pre_tokenizer=pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), metaspace()]))
    yield "xlm-roberta", copied(
        base, normalizer=normalizers.Sequence(
            [normalizers.Precompiled(precompiled), normalizers.Strip(left=False),
             normalizers.Replace(Regex(" {2,}"), "▁")]))
    yield "albert", copied(
        base, normalizer=normalizers.Sequence(
            [normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
             normalizers.StripAccents(), normalizers.Lowercase(),
             normalizers.Precompiled(precompiled)]))
    yield "unigram with byte fallback", with_bytes(base)
    yield "unigram, no words", copied(base, pre_tokenizer=None, decoder=None)
    yield "unigram, nmt", copied(base, normalizer=normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC()]))

    base = suffixed(text)
    yield "gpt-1", base
    yield "clip", copied(
        edited(base, continuing_subword_prefix=""),
        normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                         normalizers.Lowercase()]),
        pre_tokenizer=pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"),
                                  "removed", invert=True),
             pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    prefixed = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    prefixed.pre_tokenizer = pre_tokenizers.Whitespace()
    prefixed.decoder = decoders.WordPiece()
    prefixed.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=2000, show_progress=False, limit_alphabet=200, continuing_subword_prefix="##",
        special_tokens=["<unk>"]))
    yield "bpe with a prefix", prefixed

    level = Tokenizer(models.WordLevel(unk_token="<unk>"))
    level.pre_tokenizer = pre_tokenizers.Whitespace()
    level.train_from_iterator(text, trainers.WordLevelTrainer(
        vocab_size=2000, show_progress=False, special_tokens=["<unk>"]))
    yield "word level", level


def random_pipelines(bases, precompiled, count, rng):
    """Tokenizers of random parts."""
    def normalizer():
        return rng.choice([
            normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD,
            normalizers.Lowercase, normalizers.StripAccents, normalizers.Nmt,
            lambda: normalizers.Strip(left=rng.random() < .5, right=rng.random() < .5),
            lambda: normalizers.Replace(rng.choice(["a", " ", "the", "é"]),
                                        rng.choice(["", "▁", "xy", "é"])),
            lambda: normalizers.Replace(Regex(rng.choice([r"\s+", "[aeiou]", r"\p{M}+", r"\d"])),
                                        rng.choice(["", " ", "0", "▁▁"])),
            lambda: normalizers.Prepend(rng.choice(["▁", "x", "é "])),
            lambda: normalizers.BertNormalizer(rng.random() < .5, rng.random() < .5,
                                               rng.choice([None, True, False]), rng.random() < .5),
            lambda: normalizers.Precompiled(precompiled), normalizers.ByteLevel])()

    def pre_tokenizer():
        behavior = rng.choice(["removed", "isolated", "merged_with_previous", "merged_with_next",
                               "contiguous"])
        return rng.choice([
            lambda: pre_tokenizers.ByteLevel(rng.random() < .5, use_regex=rng.random() < .5),
            lambda: pre_tokenizers.Metaspace("▁", rng.choice(["first", "never", "always"]),
                                             rng.random() < .5),
            pre_tokenizers.BertPreTokenizer, pre_tokenizers.Whitespace,
            pre_tokenizers.WhitespaceSplit, lambda: pre_tokenizers.Punctuation(behavior),
            lambda: pre_tokenizers.Digits(rng.random() < .5),
            lambda: pre_tokenizers.CharDelimiterSplit(rng.choice(["a", " ", "-"])),
            lambda: pre_tokenizers.Split(rng.choice(["a", " ", "the"]), behavior, rng.random() < .5),
            lambda: pre_tokenizers.Split(Regex(rng.choice([r"\s+", r"\p{L}+", LLAMA3, r"\d{1,3}"])),
                                         behavior, rng.random() < .5)])()

    def decoder():
        return rng.choice([
            decoders.ByteLevel, decoders.Fuse, decoders.ByteFallback,
            lambda: decoders.Metaspace("▁", rng.choice(["first", "never", "always"])),
            lambda: decoders.WordPiece(cleanup=rng.random() < .5), decoders.BPEDecoder,
            lambda: decoders.Replace(rng.choice(["▁", "a", "the"]), rng.choice([" ", "", "xy"])),
            lambda: decoders.Strip(rng.choice([" ", "a"]), rng.randint(0, 2), 0)])()

    def sequence(kind, part, most):
        parts = [part() for _ in range(rng.randint(0, most))]
        return None if not parts else parts[0] if len(parts) == 1 else kind(parts)

    for i in range(count):
        name, base = rng.choice(bases)
        tokenizer = copied(base)
        if rng.random() < .8:
            tokenizer.normalizer = sequence(normalizers.Sequence, normalizer, 3)
        if rng.random() < .8:
            tokenizer.pre_tokenizer = sequence(pre_tokenizers.Sequence, pre_tokenizer, 3)
        if rng.random() < .8:
            tokenizer.decoder = sequence(decoders.Sequence, decoder, 3)
        if rng.random() < .5:
            tokenizer.add_tokens([AddedToken(
                rng.choice(PIECES + ["the", "a b"]), lstrip=rng.random() < .3,
                rstrip=rng.random() < .3, single_word=rng.random() < .2,
                normalized=rng.random() < .5) for _ in range(rng.randint(1, 4))])
        yield f"random {i} ({name})", tokenizer


def compare(name, tokenizer, peer, texts, rng, report):
    """Number of texts on which the two differ; texts on which the library panics do not count."""
    path = peer.path("tokenizer.json")
    tokenizer.save(path)
    # What the library reads: it rounds scores of Unigram models in its own way.
    tokenizer = Tokenizer.from_file(path)
    ours = peer.encode(path, [text.encode() for text in texts])
    differences, lists, panics = 0, [], 0

    def show(line):
        if report[0] > 0:
            report[0] -= 1
            print(line)

    for i, text in enumerate(texts):
        bad = False
        for k, special in enumerate((True, False)):
            try:
                encoding = tokenizer.encode(text, add_special_tokens=special)
            except BaseException:
                panics += 1
                continue
            theirs = (encoding.ids, encoding.offsets, encoding.tokens)
            for what, a, b in zip(("ids", "offsets", "tokens"), ours[2 * i + k], theirs):
                if a == b:
                    continue
                bad = True
                n = next((j for j, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
                show(f"  {name}: {what} differ from {n} on for {text[:200]!r}\n"
                     f"    corten     {a[max(0, n - 2):n + 6]}\n"
                     f"    tokenizers {b[max(0, n - 2):n + 6]}")
        differences += bad
        if i % 4 == 0 and not bad:
            lists.append(encoding.ids[:500])
    size = tokenizer.get_vocab_size()
    lists += [[rng.randrange(size + 5) for _ in range(rng.randint(1, 30))] for _ in range(500)]
    for i, text in enumerate(peer.decode(path, lists)):
        try:
            expected = tokenizer.decode(lists[i // 2], skip_special_tokens=i % 2 == 0)
        except BaseException:
            panics += 1
            continue
        if text != expected:
            differences += 1
            show(f"  {name}: decoding {lists[i // 2]}: {text!r}, expected {expected!r}")
    peer.run("save", path, peer.path("saved.json"))
    Tokenizer.from_file(peer.path("saved.json"))
    with open(peer.path("saved.json"), encoding="utf-8") as file:
        saved = json.load(file)
    if saved != json.loads(tokenizer.to_str()):
        differences += 1
        show(f"  {name}: saving changed the tokenizer")
    return differences, panics


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", default=os.path.join(ROOT, "build/release/libcorten.a"))
    parser.add_argument("--strings", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=50)
    parser.add_argument("--only")
    parser.add_argument("--charsmap")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    folder = tempfile.mkdtemp(prefix="corten-families-")
    program = os.path.join(folder, "peer")
    subprocess.run(["g++", "-std=c++20", "-O2", f"-I{ROOT}/include",
                    f"{ROOT}/scripts/peers/tokenizer_peer.cpp", arguments.library, "-lfmt",
                    "-lxxhash", "-lpthread", "-o", program], check=True)
    peer = Peer(program, folder)
    precompiled = (open(arguments.charsmap, "rb").read() if arguments.charsmap
                   else charsmap.build(SMALL_CHARSMAP))
    total, report = 0, [40]
    every = list(families(training_text(), precompiled))
    bases = [every[i] for i in range(0, len(every), 2)]
    strings = list(nasty_strings(arguments.strings, rng))
    few = list(nasty_strings(min(arguments.strings, 600), rng))
    for name, tokenizer in every + list(random_pipelines(bases, precompiled, arguments.random, rng)):
        if arguments.only and arguments.only not in name:
            continue
        texts = few if name.startswith("random") else strings
        differences, panics = compare(name, tokenizer, peer, texts, rng, report)
        if panics > len(texts):  # an added token that normalizes to nothing breaks the library
            print(f"skip {name}: the library fails on {panics} of {2 * len(texts)} encodings")
            continue
        total += differences
        print(f"{'ok  ' if differences == 0 else 'FAIL'} {name}: {len(texts)} texts, "
              f"{differences} differences" + (f", the library failed on {panics}" if panics else ""),
              flush=True)
    print(f"{total} differences")
    sys.exit(total > 0)


if __name__ == "__main__":
    main()
