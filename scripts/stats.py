#!/usr/bin/env python3
"""Prints the size of the code base: lines by folder, ops, tests."""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUFFIXES = (".h", ".cpp", ".py", ".md", ".sh")


def lines_of(folder):
    files = lines = 0
    for path, _, names in os.walk(os.path.join(ROOT, folder)):
        for name in names:
            if name.endswith(SUFFIXES):
                with open(os.path.join(path, name), encoding="utf-8") as text:
                    lines += sum(1 for _ in text)
                files += 1
    return files, lines


def count(folder, pattern):
    total = 0
    for path, _, names in os.walk(os.path.join(ROOT, folder)):
        for name in names:
            if name.endswith((".h", ".cpp")):
                with open(os.path.join(path, name), encoding="utf-8") as text:
                    total += len(re.findall(pattern, text.read(), re.MULTILINE))
    return total


def ops():
    """Names of the primitives and of the composites in the op registry."""
    with open(os.path.join(ROOT, "src/ops/registry.cpp"), encoding="utf-8") as text:
        table = re.search(r"#define CORTEN_OPS\(X\)(.*?[^\\])\n", text.read(), re.DOTALL).group(1)
    primitives, composites = table.split("/* composites */")
    return re.findall(r"X\((\w+)\)", primitives), re.findall(r"X\((\w+)\)", composites)


def main():
    folders = [f"src/{name}" for name in sorted(os.listdir(os.path.join(ROOT, "src")))]
    folders += ["include", "tests", "examples", "scripts", "docs"]
    total = 0
    for folder in folders:
        files, lines = lines_of(folder)
        total += lines
        print(f"{folder:<16} {files:>5} files {lines:>8} lines")
    print(f"{'total':<16} {total:>20} lines")
    primitives, composites = ops()
    print(f"primitive ops    {len(primitives):>5}")
    print(f"composite ops    {len(composites):>5}")
    print(f"tests            {count('tests', r'^(TEST|TEST_F|TEST_P|TYPED_TEST)[(]'):>5}")


if __name__ == "__main__":
    main()
