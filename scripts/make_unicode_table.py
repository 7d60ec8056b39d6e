#!/usr/bin/env python3
"""Writes src/text/unicode_data.cpp: character classes as the `tokenizers` library sees them.

Every class is asked of the library itself, over all code points, so that the tables agree with it
whatever Unicode version its parts were built with: general categories, \\w and scripts of its
regular expressions (Oniguruma), \\w of its added-token matcher (Rust's regex crate), numbers (Rust's
standard library) and punctuation (its own table).

usage: make_unicode_table.py > src/text/unicode_data.cpp      (needs `pip install tokenizers`)
"""
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERYTHING = "".join(map(chr, CODE_POINTS))
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp "
              "Cc Cf Cs Co Cn").split()
SCRIPTS = ("Han Hiragana Katakana Hangul Latin Greek Cyrillic Arabic Hebrew Thai Devanagari Bengali "
           "Tamil Armenian Georgian Khmer Lao Myanmar Tibetan").split()


def matches(pattern):
    """The code points that a regular expression for one character matches."""
    split = pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed", invert=True)
    return {ord(c) for piece, _ in split.pre_tokenize_str(EVERYTHING) for c in piece}


def isolated(pre_tokenizer):
    """The code points that a pre-tokenizer cuts out of the letters around them."""
    text = "aa".join(map(chr, CODE_POINTS))
    return {ord(piece) for piece, (begin, end) in pre_tokenizer.pre_tokenize_str(text)
            if end - begin == 1 and begin % 3 == 0}


def added_token_word_characters():
    """\\w of the matcher of added tokens: a token that must stand alone is not found before one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken("xyz", single_word=True, normalized=False)])
    found = {begin for begin, _ in
             tokenizer.encode("".join(" xyz" + c for c in EVERYTHING)).offsets}
    return {c for i, c in enumerate(CODE_POINTS) if 5 * i + 1 not in found}


def ranges(code_points):
    result = []
    for c in sorted(code_points):
        if result and result[-1][1] == c - 1:
            result[-1][1] = c
        else:
            result.append([c, c])
    return result


def print_numbers(numbers):
    line = " "
    for number in numbers:
        text = f" 0x{number:x},"
        if len(line) + len(text) > 100:
            print(line)
            line = " "
        line += text
    if line.strip():
        print(line)


def main():
    category = {}
    for index, name in enumerate(CATEGORIES):
        for c in matches(rf"\p{{{name}}}"):
            assert c not in category
            category[c] = index
    for c in range(0xD800, 0xE000):
        category[c] = CATEGORIES.index("Cs")
    assert len(category) == 0x110000
    spaces = matches(r"\s")
    assert spaces == {c for c in range(0x110000)
                      if c in (9, 10, 11, 12, 13, 0x85) or CATEGORIES[category[c]][0] == "Z"}

    word = added_token_word_characters()
    # What word_set() in regex_parse.cpp relies on:
    assert matches(r"\w") == word - {0x200C, 0x200D} | {0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE}
    numeric = isolated(pre_tokenizers.Digits(individual_digits=True))
    punctuation = isolated(pre_tokenizers.Punctuation())
    flags = [category[c] | (32 if c in word else 0) | (64 if c in numeric else 0) |
             (128 if c in punctuation else 0) for c in range(0x110000)]
    runs = [(c << 8) | flags[c] for c in range(0x110000) if c == 0 or flags[c] != flags[c - 1]]

    print("// Made by scripts/make_unicode_table.py from tokenizers "
          f"{tokenizers.__version__}; do not edit.")
    print('#include "text/unicode_data.h"\n\nnamespace corten {\n')
    print(f"const uint32_t kUnicodeRuns[{len(runs)}] = {{")
    print_numbers(runs)
    print("};\n")
    print(f"const size_t kUnicodeRunCount = {len(runs)};\n")
    every_range, table = [], []
    for name in SCRIPTS:
        script = ranges(matches(rf"\p{{{name}}}"))
        table.append((name, len(every_range), len(script)))
        every_range += script
    print(f"const uint32_t kScriptRanges[{len(every_range)}][2] = {{")
    print_pairs(every_range)
    print("};\n")
    print(f"const ScriptEntry kScripts[{len(table)}] = {{")
    for name, first, count in table:
        print(f'    {{"{name}", {first}, {count}}},')
    print("};\n")
    print(f"const size_t kScriptCount = {len(table)};\n")
    print("}  // namespace corten")


def print_pairs(pairs):
    line = "   "
    for begin, end in pairs:
        text = f" {{0x{begin:x}, 0x{end:x}}},"
        if len(line) + len(text) > 100:
            print(line)
            line = "   "
        line += text
    print(line)


if __name__ == "__main__":
    main()
