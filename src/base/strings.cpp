#include "base/strings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/format.h"

namespace corten {
namespace {

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return lower(c); });
  return out;
}

// Reads "<number><unit>" from the front of `text`; false if there is no number.
bool take_number_and_unit(std::string_view& text, double& number, std::string_view& unit) {
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(number) || number < 0) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  text = trim(text);
  size_t length = 0;
  while (length < text.size() && lower(text[length]) >= 'a' && lower(text[length]) <= 'z') ++length;
  unit = text.substr(0, length);
  text.remove_prefix(length);
  text = trim(text);
  return true;
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    before.swap(previous);
    previous.swap(row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitution = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({previous[j] + 1, row[j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.size() > 200) return "";
  const std::string* best = nullptr;
  size_t best_distance = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > 200) continue;
    const size_t distance = edit_distance(lower(name), lower(candidate));
    if (distance < best_distance) {
      best = &candidate;
      best_distance = distance;
    }
  }
  return best == nullptr ? "" : format("; did you mean \"{}\"?", *best);
}

std::string format_bytes(uint64_t bytes) {
  if (bytes < 1024) return format("{} B", bytes);
  constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1023.995 && unit + 1 < kUnits.size()) {  // 1023.995 would be printed as 1024.00
    value /= 1024;
    ++unit;
  }
  return format("{:.2f} {}", value, kUnits[unit]);
}

uint64_t parse_bytes(std::string_view text, std::string_view what) {
  std::string_view rest = trim(text), unit;
  double number = 0;
  const auto fail = [&]() {
    usage_error("{}: \"{}\" is no size in bytes: write 4096, \"500MB\" or \"2GiB\"", what, text);
  };
  const std::string_view digits = rest;
  if (!take_number_and_unit(rest, number, unit) || !rest.empty()) fail();
  const std::string name = lower(unit);
  double factor = 0;
  if (name.empty() || name == "b") {
    uint64_t exact = 0;  // beyond 2^53 a double would round
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), exact);
    if (error != std::errc() || (end != digits.data() + digits.size() && *end == '.')) fail();
    return exact;
  }
  constexpr std::string_view kLetters = "kmgtpe";
  const size_t power = kLetters.find(name[0]);
  if (power == std::string_view::npos) fail();
  if (name.size() == 1 || name.substr(1) == "ib")
    factor = std::ldexp(1.0, 10 * static_cast<int>(power + 1));
  else if (name.substr(1) == "b")
    factor = std::pow(10.0, 3.0 * static_cast<double>(power + 1));
  else
    fail();
  const double bytes = std::round(number * factor);
  if (bytes >= std::ldexp(1.0, 63)) fail();
  return static_cast<uint64_t>(bytes);
}

int64_t parse_count(std::string_view text, std::string_view what) {
  const std::string_view all = trim(text);
  double number = 0;
  const auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), number);
  const std::string unit = lower(trim(all.substr(static_cast<size_t>(end - all.data()))));
  const double factor = unit.empty()                  ? 1
                        : unit == "k"                 ? 1e3
                        : unit == "m"                 ? 1e6
                        : unit == "b" || unit == "g" ? 1e9
                        : unit == "t"                 ? 1e12
                                                      : 0;
  const double count = std::round(number * factor);
  if (error != std::errc() || factor == 0 || !(count >= 0) || count >= std::ldexp(1.0, 63))
    usage_error("{}: \"{}\" is no number: write 4096, 1.1e9, \"124M\" or \"13B\"", what, text);
  return static_cast<int64_t>(count);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds)) return "unknown";
  if (seconds < 0) return "-" + format_duration(-seconds);
  const auto digits = [](double value, const char* unit) {
    return format("{:.{}f} {}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, unit);
  };
  if (seconds < 1e-6) return digits(seconds * 1e9, "ns");
  if (seconds < 1e-3) return digits(seconds * 1e6, "us");
  if (seconds < 1) return digits(seconds * 1e3, "ms");
  if (seconds < 60) return digits(seconds, "s");
  if (seconds > 1e15) return format("{:.3g} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  const int64_t minutes = whole / 60, hours = whole / 3600, days = whole / 86400;
  if (minutes < 60) return format("{} min {:02} s", minutes, whole % 60);
  if (hours < 24) return format("{} h {:02} min", hours, minutes % 60);
  return format("{} d {:02} h", days, hours % 24);
}

double parse_duration(std::string_view text, std::string_view what) {
  std::string_view rest = trim(text);
  double total = 0;
  bool any = false;
  const auto fail = [&]() {
    usage_error("{}: \"{}\" is no duration: write 30, \"250ms\", \"30s\", \"5min\" or \"1h30min\"",
                what, text);
  };
  while (!rest.empty()) {
    double number = 0;
    std::string_view unit;
    if (!take_number_and_unit(rest, number, unit)) fail();
    const std::string name = lower(unit);
    double factor = 0;
    if (name == "ms")
      factor = 1e-3;
    else if (name == "s" || name == "sec" || (name.empty() && !any && rest.empty()))
      factor = 1;
    else if (name == "m" || name == "min")
      factor = 60;
    else if (name == "h")
      factor = 3600;
    else if (name == "d")
      factor = 86400;
    else
      fail();
    total += number * factor;
    any = true;
  }
  if (!any) fail();
  return total;
}

std::pair<size_t, size_t> line_and_column(std::string_view text, size_t offset) noexcept {
  const std::string_view head = text.substr(0, std::min(offset, text.size()));
  const size_t last = head.rfind('\n');
  const auto lines = static_cast<size_t>(std::count(head.begin(), head.end(), '\n'));
  return {lines + 1, last == std::string_view::npos ? head.size() + 1 : head.size() - last};
}

size_t find_invalid_utf8(std::string_view text) noexcept {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const size_t size = text.size();
  for (size_t i = 0; i < size;) {
    if (uint64_t eight = 0; i + 8 <= size) {  // most text is ASCII
      std::memcpy(&eight, bytes + i, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const unsigned lead = bytes[i];
    if (lead < 0x80) {
      ++i;
      continue;
    }
    // Length, and the range of the second byte that rules out overlong forms, surrogates and
    // code points above U+10FFFF (Unicode standard, table 3-7).
    size_t length = 0;
    unsigned low = 0x80, high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
      length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      length = 3;
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      length = 4;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    } else {
      return i;
    }
    if (i + length > size || bytes[i + 1] < low || bytes[i + 1] > high) return i;
    for (size_t k = 2; k < length; ++k)
      if ((bytes[i + k] & 0xC0) != 0x80) return i;
    i += length;
  }
  return std::string_view::npos;
}

std::string one_line(std::string_view text, size_t limit) {
  std::string line(text.substr(0, limit));
  for (size_t from = 0, bad; (bad = find_invalid_utf8(std::string_view(line).substr(from))) != std::string::npos;) {
    from += bad;
    line[from] = '?';
  }
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text.size() > limit ? line + "..." : line;
}

std::string_view trim(std::string_view text) noexcept {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace corten
