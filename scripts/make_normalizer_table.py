#!/usr/bin/env python3
"""Writes src/text/normalizer_data.cpp: what the normalizers of the `tokenizers` library do to
characters, asked of the library itself: lower case (Rust's standard library), control characters and
nonspacing marks of BertNormalizer, combining marks of StripAccents, compatibility decompositions
(tables of Unicode 9), and the classes of grapheme clusters that Precompiled works on (these begin as
those of the `regex` module and are then corrected where the library differs).

usage: make_normalizer_table.py > src/text/normalizer_data.cpp   (needs `pip install tokenizers regex`)
"""
import sys

import regex
import tokenizers
from tokenizers import normalizers

import charsmap

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CLASSES = ("Other CR LF Control Extend ZWJ Regional_Indicator Prepend SpacingMark L V T LV LVT "
           "ExtendedPictographic").split()
CONSONANT, LINKER = 16, 32


def ranges(code_points):
    result = []
    for c in sorted(code_points):
        if result and result[-1][1] == c - 1:
            result[-1][1] = c
        else:
            result.append([c, c])
    return result


def print_list(items):
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line)


def print_ranges(name, code_points):
    found = ranges(code_points)
    print(f"const uint32_t {name}[{len(found)}][2] = {{")
    print_list(f"{{0x{a:x}, 0x{b:x}}}" for a, b in found)
    print(f"}};\nconst size_t {name}Count = {len(found)};\n")


def lowercase():
    """(runs of [first, last, stride, difference], {code point: several})."""
    lower = normalizers.Lowercase().normalize_str
    pairs, several = [], {}
    for c in CODE_POINTS:
        text = lower(chr(c))
        if len(text) > 1:
            several[c] = text
        elif text != chr(c):
            pairs.append((c, ord(text) - c))
    runs = []
    for c, difference in pairs:
        last = runs[-1] if runs else None
        if last and last[3] == difference:
            if last[0] == last[1] and c - last[1] <= 2:
                last[1:3] = [c, c - last[1]]
                continue
            if last[0] != last[1] and c - last[1] == last[2]:
                last[1] = c
                continue
        runs.append([c, c, 1, difference])
    return runs, several


def grapheme_classes():
    every = "".join(map(chr, CODE_POINTS))
    classes = [0] * 0x110000
    for index, name in enumerate(CLASSES):
        if name not in ("Other", "ExtendedPictographic"):
            for c in regex.findall(rf"\p{{GCB={name}}}", every):
                classes[ord(c)] = index
    for c in regex.findall(r"\p{Extended_Pictographic}", every):
        if classes[ord(c)] == 0:
            classes[ord(c)] = CLASSES.index("ExtendedPictographic")

    # A cluster of up to 5 bytes that begins with a character of the map becomes its replacement.
    changed = 0
    after = normalizers.Precompiled(charsmap.build({"a": "X"})).normalize_str
    joined = [CLASSES.index(name) for name in ("Extend", "ZWJ", "SpacingMark")]
    for c in CODE_POINTS:
        if c in (0x61, 0):
            continue
        is_joined = after("a" + chr(c)) == "X"
        if is_joined != (classes[c] in joined):
            classes[c] = CLASSES.index("Extend") if is_joined else 0
            changed += 1
    prepend = CLASSES.index("Prepend")
    candidates = [c for c in CODE_POINTS
                  if classes[c] == prepend or (classes[c] == 0 and 0x600 <= c < 0x12000
                                               and regex.match(r"\p{Cf}|\p{Lo}", chr(c))
                                               and not 0x3400 <= c < 0xA000)]
    for i in range(0, len(candidates), 400):
        part = candidates[i:i + 400]
        before = normalizers.Precompiled(charsmap.build({chr(c): "X" for c in part})).normalize_str
        for c in part:
            is_joined = before(chr(c) + "a") == "X"
            if is_joined != (classes[c] == prepend):
                classes[c] = prepend if is_joined else 0
                changed += 1
    pictographic = CLASSES.index("ExtendedPictographic")
    for c in CODE_POINTS:  # "©", ZWJ and a pictograph are one cluster, of more than 5 bytes
        if classes[c] not in (0, pictographic) or c < 0xA9:
            continue
        if c == 0xA9:
            picture = normalizers.Precompiled(charsmap.build({"\u00a9": "X"})).normalize_str
        is_joined = picture("\u00a9\u200d" + chr(c)) != "X" + chr(c).replace("\u00a9", "X")
        if is_joined != (classes[c] == pictographic):
            classes[c] = pictographic if is_joined else 0
            changed += 1
    # Conjuncts: consonant, linker, consonant are one cluster; a mark after them is then kept.
    ka = "\u0915"
    conjunct = normalizers.Precompiled(charsmap.build({ka: "X"})).normalize_str
    linkers = [c for c in CODE_POINTS if classes[c] in joined
               and conjunct(f"{ka}{chr(c)}{ka}\u0301").endswith("\u0301")]
    letters = [c for c in CODE_POINTS if 0x900 <= c < 0x10000 and classes[c] == 0
               and not 0x3000 <= c < 0xA800 and regex.match(r"\p{Lo}", chr(c))]
    consonants = []
    for i in range(0, len(letters), 400):
        part = letters[i:i + 400]
        which = normalizers.Precompiled(charsmap.build({chr(c): "X" for c in part})).normalize_str
        consonants += [c for c in part if which(f"{ka}\u094d{chr(c)}\u0301").endswith("\u0301")]
    print(f"{changed} corrected, {len(linkers)} linkers, {len(consonants)} consonants",
          file=sys.stderr)
    for c in linkers:
        classes[c] |= LINKER
    for c in consonants:
        classes[c] |= CONSONANT
    return classes


def main():
    nfd, nfkd = normalizers.NFD().normalize_str, normalizers.NFKD().normalize_str
    print(f"// Made by scripts/make_normalizer_table.py from tokenizers {tokenizers.__version__}; "
          "do not edit.")
    print('#include "text/normalizer_data.h"\n\nnamespace corten {\n')

    runs, several = lowercase()
    print(f"const LowercaseRun kLowercaseRuns[{len(runs)}] = {{")
    print_list(f"{{0x{a:x}, 0x{b:x}, {s}, {d}}}" for a, b, s, d in runs)
    print(f"}};\nconst size_t kLowercaseRunCount = {len(runs)};\n")
    assert several == {0x130: "i\u0307"}, several  # written out in normalizer.cpp

    clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False,
                                       strip_accents=False, lowercase=False).normalize_str
    print_ranges("kBertControl", [c for c in CODE_POINTS if clean("a" + chr(c)) == "a"])
    strip = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False,
                                       strip_accents=True, lowercase=False).normalize_str
    print_ranges("kNonspacingMarks", [c for c in CODE_POINTS if strip("a" + chr(c)) == "a"])
    accents = normalizers.StripAccents().normalize_str
    print_ranges("kCombiningMarks", [c for c in CODE_POINTS if accents("a" + chr(c)) == "a"])

    flat = []
    for c in CODE_POINTS:
        if nfkd(chr(c)) != nfd(chr(c)):
            parts = nfkd(chr(c))
            flat += [len(parts) << 24 | c] + [ord(part) for part in parts]
    print(f"const uint32_t kCompatibility[{len(flat)}] = {{")
    print_list(f"0x{value:x}" for value in flat)
    print(f"}};\nconst size_t kCompatibilitySize = {len(flat)};\n")

    classes = grapheme_classes()
    runs = [c << 8 | classes[c] for c in range(0x110000) if c == 0 or classes[c] != classes[c - 1]]
    print(f"const uint32_t kGraphemeRuns[{len(runs)}] = {{")
    print_list(f"0x{value:x}" for value in runs)
    print(f"}};\nconst size_t kGraphemeRunCount = {len(runs)};\n")
    print("}  // namespace corten")


if __name__ == "__main__":
    main()
