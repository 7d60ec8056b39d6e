#!/usr/bin/env python3
"""Runs the commands of README.md: every line of its ```sh blocks that begins with "corten", in order,
in an empty folder with a short book.txt, with training cut to a few steps. Lines that begin with
./run must name a verb of that script."""

import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHORT = {"CORTEN_TRAIN_STEPS": "3", "CORTEN_TRAIN_EVAL_BATCHES": "2"}
BOOK_BYTES = 300_000


def commands():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as text:
        for block in re.findall(r"^```sh\n(.*?)^```", text.read(), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                line = line.split("  #")[0].strip()
                if line and not line.startswith("#"):
                    yield line


def main():
    faults = ran = 0
    help_text = subprocess.run(["./run", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    environment = {**os.environ, **SHORT}
    environment["PATH"] = os.path.join(ROOT, "build/release") + ":" + environment["PATH"]
    with tempfile.TemporaryDirectory() as scratch:
        with open(os.path.join(ROOT, "build/corpus/kjv.txt"), "rb") as corpus:
            book = corpus.read(BOOK_BYTES)
        with open(os.path.join(scratch, "book.txt"), "wb") as out:
            out.write(book[: book.rindex(b"\n") + 1])
        for line in commands():
            if line.startswith("./run "):
                ok = re.search(rf"^  {line.split()[1]}\b", help_text, re.MULTILINE) is not None
                output = "no verb of this name"
            elif line.startswith("corten "):
                done = subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=scratch,
                                      env=environment, stdin=subprocess.DEVNULL, timeout=600,
                                      capture_output=True, text=True)
                ok, output = done.returncode == 0, f"exit {done.returncode}: {done.stderr[-800:]}"
            else:
                continue
            ran += 1
            if not ok:
                faults += 1
                print(f"README.md: {line}\n  {output}")
    print(f"{ran} commands, {faults} faults")
    return 1 if faults or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
