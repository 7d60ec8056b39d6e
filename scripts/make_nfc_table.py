#!/usr/bin/env python3
"""Writes src/text/nfc_data.cpp: canonical decompositions, compositions and combining classes as the
`tokenizers` library has them (it normalizes with tables of Unicode 9).

usage: make_nfc_table.py > src/text/nfc_data.cpp      (needs `pip install tokenizers`)
"""
import unicodedata

import tokenizers
from tokenizers import normalizers

NFC, NFD = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
CODE_POINTS = [c for c in range(0x110000)
               if not 0xD800 <= c < 0xE000 and not 0xAC00 <= c < 0xD7A4]  # Hangul: by formula


def combining_classes():
    """{code point: class > 0}, found by which marks change places with which."""
    representatives = {}
    for c in CODE_POINTS:
        value = unicodedata.combining(chr(c))
        if value > 0 and value not in representatives and NFD("a\u0345" + chr(c)) != "a\u0345" + chr(c):
            representatives[value] = chr(c)
    representatives[240] = "\u0345"
    known = sorted(representatives.items())
    classes = {}
    for c in CODE_POINTS:
        mark = chr(c)
        if len(NFD(mark)) > 1 or NFD(mark) != mark:
            continue
        if NFD(f"a{mark}\u0334") == f"a{mark}\u0334" and NFD(f"a\u0345{mark}") == f"a\u0345{mark}":
            continue  # neither above class 1 nor below 240
        classes[c] = next(value for value, other in known
                          if NFD(f"a{mark}{other}") == f"a{mark}{other}")
    classes.setdefault(0x345, 240)
    return classes


def main():
    classes = combining_classes()
    decompositions = {c: NFD(chr(c)) for c in CODE_POINTS if NFD(chr(c)) != chr(c)}
    composed = {c for c, parts in decompositions.items() if NFC(chr(c)) == chr(c)}
    for c in composed:  # what nfc.cpp relies on
        first = NFC(decompositions[c][:-1])
        assert len(first) == 1 and NFC(first + decompositions[c][-1]) == chr(c)

    def print_list(items):
        line = "   "
        for item in items:
            if len(line) + len(item) + 2 > 100:
                print(line)
                line = "   "
            line += " " + item + ","
        print(line)

    print(f"// Made by scripts/make_nfc_table.py from tokenizers {tokenizers.__version__}; "
          "do not edit.")
    print('#include "text/nfc_data.h"\n\nnamespace corten {\n')
    print(f"const uint32_t kCombiningClasses[{len(classes)}] = {{")
    print_list(f"0x{c << 8 | value:x}" for c, value in sorted(classes.items()))
    print("};\n")
    print(f"const size_t kCombiningClassCount = {len(classes)};\n")
    flat = []
    for c, parts in sorted(decompositions.items()):
        flat += [(c in composed) << 31 | len(parts) << 24 | c] + [ord(part) for part in parts]
    print(f"const uint32_t kDecompositions[{len(flat)}] = {{")
    print_list(f"0x{value:x}" for value in flat)
    print("};\n")
    print(f"const size_t kDecompositionsSize = {len(flat)};\n")
    print("}  // namespace corten")


if __name__ == "__main__":
    main()
