#!/usr/bin/env python3
"""Speed of Corten's tokenizers on one thread beside the `tokenizers` library, per family.

usage: bench_tokenizers.py TEXT [--mixed FILE] [--library libcorten.a]

TEXT: some megabytes of English, on which tokenizers of real sizes are trained with the library first.
--mixed: text in several scripts to be measured, too. Prints MB/s of ids alone and of the whole
encoding, and the ratio to the library's encode() (of the middle megabyte, as one text per line).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare_families as peers  # noqa: E402
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers  # noqa: E402


def trained(lines, charsmap):
    sizes = {"vocab_size": 30000}
    make = peers.trainers

    class Larger:
        """The trainers of compare_families with larger vocabularies."""
        def __getattr__(self, name):
            return lambda **kwargs: getattr(make, name)(**{**kwargs, **sizes})
    peers.trainers = Larger()
    gpt2 = peers.Tokenizer(peers.models.BPE())
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    gpt2.decoder = decoders.ByteLevel()
    gpt2.train_from_iterator(lines, make.BpeTrainer(
        vocab_size=50000, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    yield "gpt2", gpt2
    yield "llama3", peers.copied(gpt2, pre_tokenizer=pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(peers.LLAMA3), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))
    yield "bert", peers.bert(lines)
    llama = peers.llama(lines)
    yield "llama2", peers.copied(
        llama, decoder=peers.LLAMA_DECODER,
        normalizer=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))
    yield "mistral", peers.copied(llama, decoder=peers.LLAMA_DECODER,
                                  pre_tokenizer=pre_tokenizers.Metaspace(
                                      "▁", prepend_scheme="first", split=False))
    sizes["vocab_size"] = 12000
    yield "t5", peers.unigram(lines, charsmap)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("--mixed")
    parser.add_argument("--charsmap")
    parser.add_argument("--library", default=os.path.join(peers.ROOT, "build/release/libcorten.a"))
    arguments = parser.parse_args()
    charsmap = (open(arguments.charsmap, "rb").read() if arguments.charsmap
                else peers.charsmap.build(peers.SMALL_CHARSMAP))
    text = open(arguments.text, encoding="utf-8").read()
    folder = tempfile.mkdtemp(prefix="corten-bench-")
    program = os.path.join(folder, "peer")
    subprocess.run(["g++", "-std=c++20", "-O2", f"-I{peers.ROOT}/include",
                    f"{peers.ROOT}/scripts/peers/tokenizer_peer.cpp", arguments.library, "-lfmt",
                    "-lxxhash", "-lpthread", "-o", program], check=True)
    path = os.path.join(folder, "tokenizer.json")
    os.environ["RAYON_NUM_THREADS"] = "1"
    for name, tokenizer in trained(text.splitlines(), charsmap):
        tokenizer.save(path)
        tokenizer = Tokenizer.from_file(path)
        for kind, file in (("english", arguments.text), ("mixed", arguments.mixed)):
            if file is None:
                continue
            content = open(file, encoding="utf-8").read()
            middle = content[len(content) // 2:][:1000000]
            rates = []
            for _ in range(3):
                start = time.process_time()
                for line in middle.splitlines():
                    tokenizer.encode(line)
                rates.append(len(middle.encode()) / 1e6 / (time.process_time() - start))
            library = statistics.median(rates)
            ours = json.loads(subprocess.run([program, "bench", path, file], check=True,
                                             capture_output=True).stdout)
            print(f"{name:8} {kind:8} ids {ours['encode_ids_mb_s']:6.1f} MB/s, encoding "
                  f"{ours['encode_mb_s']:6.1f}, decoding {ours['decode_mb_s']:6.1f}, library "
                  f"{library:5.2f}; ratio {ours['encode_ids_mb_s'] / library:.0f}x, "
                  f"{ours['encode_mb_s'] / library:.0f}x", flush=True)


if __name__ == "__main__":
    main()
