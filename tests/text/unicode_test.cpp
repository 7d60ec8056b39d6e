#include "text/unicode.h"

#include <gtest/gtest.h>

#include "text/unicode_forms.h"

namespace corten {
namespace {

std::string lossy(std::string_view bytes) {
  std::string out;
  EXPECT_EQ(append_lossy(out, bytes, true), bytes.size());
  return out;
}

TEST(Utf8, InvalidBytesBecomeOneReplacementPerMaximalSubpart) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(lossy("plain text, also é€😀"), "plain text, also é€😀");
  EXPECT_EQ(lossy("\x80"), r);
  EXPECT_EQ(lossy("\xE2\x82"), r);
  EXPECT_EQ(lossy("\xE2\x82z"), r + "z");
  EXPECT_EQ(lossy("\xE2z"), r + "z");
  EXPECT_EQ(lossy("\xF0\x9F\x98\xF0\x9F\x98\x80"), r + "😀");
  EXPECT_EQ(lossy("\xC0\xAF"), r + r);                  // overlong
  EXPECT_EQ(lossy("\xE0\x80\xAF"), r + r + r);          // overlong
  EXPECT_EQ(lossy("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(lossy("\xF4\x90\x80\x80"), r + r + r + r);  // above U+10FFFF
  EXPECT_EQ(lossy("\xF8\x88"), r + r);
  // The Unicode Standard, table 3-8.
  EXPECT_EQ(lossy("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
}

TEST(Utf8, IncompleteCharactersAreHeldBack) {
  std::string out;
  EXPECT_EQ(append_lossy(out, "a\xF0\x9F\x98", false), 1u);
  EXPECT_EQ(append_lossy(out, "b\xE2\x82", false), 1u);
  EXPECT_EQ(append_lossy(out, "c\xE2\x28", false), 3u);
  EXPECT_EQ(out, "abc\uFFFD(");
}

TEST(Utf8, RoundTripOfEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    std::string text;
    append_utf8(text, c);
    const Utf8Char decoded = decode_utf8(text);
    if (c >= 0xD800 && c < 0xE000) {
      ASSERT_EQ(decoded.state, Utf8::Invalid);
      continue;
    }
    ASSERT_EQ(decoded.state, Utf8::Valid);
    ASSERT_EQ(decoded.code, c);
    ASSERT_EQ(decoded.length, text.size());
    char32_t again;
    ASSERT_EQ(decode_valid_utf8(text.data(), again), text.size());
    ASSERT_EQ(again, c);
    ASSERT_EQ(decode_before(text, text.size(), again), text.size());
    ASSERT_EQ(again, c);
  }
}

TEST(UnicodeTable, Categories) {
  const UnicodeTable& table = unicode_table();
  EXPECT_EQ(table.category('A'), Category::Lu);
  EXPECT_EQ(table.category('z'), Category::Ll);
  EXPECT_EQ(table.category('7'), Category::Nd);
  EXPECT_EQ(table.category(' '), Category::Zs);
  EXPECT_EQ(table.category('\n'), Category::Cc);
  EXPECT_EQ(table.category(U'日'), Category::Lo);
  EXPECT_EQ(table.category(U'Ⅷ'), Category::Nl);
  EXPECT_EQ(table.category(0x301), Category::Mn);
  EXPECT_EQ(table.category(0x10FFFF), Category::Cn);
  EXPECT_EQ(table.category(0x10FFFD), Category::Co);
  EXPECT_EQ(table.category(0x1C89), Category::Lu);  // new in Unicode 16
  // The table and the sets are made from the same runs in different ways.
  for (int i = 0; i < kCategoryCount; ++i) {
    const CharSet set = CharSet::category(static_cast<Category>(i));
    size_t count = 0, expected = 0;
    for (const auto& [first, last] : set.ranges()) count += last - first + 1;
    for (char32_t c = 0; c < 0x110000; ++c)
      expected += table.category(c) == static_cast<Category>(i);
    EXPECT_EQ(count, expected);
  }
  size_t spaces = 0;
  for (char32_t c = 0; c < 0x110000; ++c) spaces += is_space(c);
  EXPECT_EQ(spaces, 25u);  // PropList.txt: White_Space
}

TEST(CharSet, Algebra) {
  const CharSet a({{5, 9}, {1, 2}, {3, 3}, {20, 30}});
  EXPECT_EQ(a.ranges(), (std::vector<CharSet::Range>{{1, 3}, {5, 9}, {20, 30}}));
  EXPECT_TRUE(a.contains(3));
  EXPECT_FALSE(a.contains(4));
  EXPECT_FALSE(a.contains(0));
  EXPECT_EQ(a.complement().complement().ranges(), a.ranges());
  EXPECT_TRUE(a.intersected(a.complement()).empty());
  EXPECT_EQ(a.united(a.complement()).ranges(), CharSet::everything().ranges());
  EXPECT_EQ(a.intersected(CharSet({{2, 6}, {25, 40}})).ranges(),
            (std::vector<CharSet::Range>{{2, 3}, {5, 6}, {25, 30}}));
}

std::string nfc(std::string_view text) { return unicode_normal(text, UnicodeForm::NFC); }
bool surely_nfc(std::string_view text) { return surely_normal(text, UnicodeForm::NFC); }

TEST(Nfc, Forms) {
  EXPECT_EQ(nfc("e\u0301"), "é");
  EXPECT_EQ(nfc("e\u0323\u0307"), "ẹ\u0307");
  EXPECT_EQ(nfc("e\u0307\u0323"), "ẹ\u0307");  // reordered, then composed
  EXPECT_EQ(nfc("u\u031b\u0323"), "ự");        // two steps
  EXPECT_EQ(nfc("\u212b\u2126"), "ÅΩ");        // singletons
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093C");    // a composition exclusion
  EXPECT_EQ(nfc("\u1112\u1161\u11ab"), "한");
  EXPECT_EQ(nfc("\uD558\u11ab"), "한");
  EXPECT_EQ(nfc("a\u0327\u0301\u0300"), "á\u0327\u0300");  // the second accent is blocked
  EXPECT_EQ(nfc("\u0301a"), "\u0301a");
  for (const char* text : {"plain", "é", "日本語 ẹ", "한국어"}) {
    EXPECT_TRUE(surely_nfc(text));
    EXPECT_EQ(nfc(text), text);
  }
  for (const char* text : {"e\u0301", "\u212b", "\u1112\u1161", "\u0344"})
    EXPECT_FALSE(surely_nfc(text));
}

TEST(Nfc, TextThatIsSurelyNormalDoesNotChange) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "a";
    append_utf8(text, c);
    if (surely_nfc(text)) {
      ASSERT_EQ(nfc(text), text) << static_cast<uint32_t>(c);
    }
    ASSERT_EQ(nfc(nfc(text)), nfc(text)) << static_cast<uint32_t>(c);
  }
}

TEST(UnicodeForms, Compatibility) {
  EXPECT_EQ(unicode_normal("ﬁ½ Å", UnicodeForm::NFKC), "fi1⁄2 Å");
  EXPECT_EQ(unicode_normal("Å\u1e9b\u0323", UnicodeForm::NFD), "A\u030a\u017f\u0323\u0307");
  EXPECT_EQ(unicode_normal("\u1e9b\u0323", UnicodeForm::NFKD), "s\u0323\u0307");
  EXPECT_EQ(unicode_normal("\u1e9b\u0323", UnicodeForm::NFKC), "\u1e69");
  EXPECT_EQ(unicode_normal("한", UnicodeForm::NFD), "\u1112\u1161\u11ab");
  EXPECT_FALSE(surely_normal("é", UnicodeForm::NFD));
  EXPECT_TRUE(surely_normal("e", UnicodeForm::NFKD));
}

TEST(NormalizedText, AlignmentOfForms) {
  NormalizedText text("xe\u0301y", true);
  text.transform(unicode_changes(text.text(), UnicodeForm::NFC));
  EXPECT_EQ(text.text(), "xéy");
  EXPECT_EQ(text.alignment(), (Alignment{{0, 1}, {1, 2}, {1, 2}, {4, 5}}));
  NormalizedText same("é", true);
  same.transform(unicode_changes("é", UnicodeForm::NFC));
  EXPECT_TRUE(same.in_place());
}

TEST(NormalizedText, PrependReplaceFilter) {
  NormalizedText text("a b", true);
  text.prepend("__");
  EXPECT_EQ(text.text(), "__a b");
  EXPECT_EQ(text.alignment(), (Alignment{{0, 1}, {0, 1}, {0, 1}, {1, 2}, {2, 3}}));
  const std::pair<size_t, size_t> blank[] = {{3, 4}};
  text.replace(blank, "é");
  EXPECT_EQ(text.text(), "__aéb");
  EXPECT_EQ(text.alignment(), (Alignment{{0, 1}, {0, 1}, {0, 1}, {1, 2}, {1, 2}, {2, 3}}));
  text.filter([](char32_t c) { return c != '_'; });
  EXPECT_EQ(text.text(), "aéb");
  EXPECT_EQ(text.alignment(), (Alignment{{0, 1}, {1, 2}, {1, 2}, {2, 3}}));
}

}  // namespace
}  // namespace corten
