#include "text/gpt2_split.h"

namespace corten {

namespace {

constexpr std::array<Gpt2Class, 256> byte_classes() {
  std::array<Gpt2Class, 256> classes{};
  for (int c = 0; c < 256; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    classes[static_cast<size_t>(c)] = c >= 0x80              ? Gpt2Class::Multibyte
                                      : letter               ? Gpt2Class::Letter
                                      : c >= '0' && c <= '9' ? Gpt2Class::Number
                                      : space                ? Gpt2Class::Space
                                                             : Gpt2Class::Other;
  }
  return classes;
}

}  // namespace

constinit const std::array<Gpt2Class, 256> kGpt2Bytes = byte_classes();

Gpt2Class gpt2_class(char32_t c) noexcept {
  switch (unicode_table().category(c)) {
    case Category::Lu:
    case Category::Ll:
    case Category::Lt:
    case Category::Lm:
    case Category::Lo:
      return Gpt2Class::Letter;
    case Category::Nd:
    case Category::Nl:
    case Category::No:
      return Gpt2Class::Number;
    default:
      return is_space(c) ? Gpt2Class::Space : Gpt2Class::Other;
  }
}

}  // namespace corten
