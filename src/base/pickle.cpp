#include "base/pickle.h"

#include <bit>
#include <limits>

#include "base/format.h"

namespace corten {
namespace {

void little_endian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

}  // namespace

void PickleWriter::value() {
  if (open_.empty() || open_.back().marked) return;
  out_ += '(';
  open_.back().marked = true;
}

PickleWriter& PickleWriter::begin(char open, char close) {
  value();
  out_ += open;
  open_.push_back({close, false});
  return *this;
}
PickleWriter& PickleWriter::begin_tuple() {
  value();
  out_ += '(';
  open_.push_back({'t', true});
  return *this;
}
PickleWriter& PickleWriter::end() {
  if (open_.empty()) internal_error("a pickle's container is closed that was never opened");
  if (open_.back().marked) out_ += open_.back().close;
  open_.pop_back();
  return *this;
}

PickleWriter& PickleWriter::text(std::string_view text) {
  if (text.size() > std::numeric_limits<uint32_t>::max()) internal_error("a text of {} bytes does not fit a pickle", text.size());
  value();
  out_ += 'X';
  little_endian(out_, text.size(), 4);
  out_ += text;
  return *this;
}
PickleWriter& PickleWriter::integer(int64_t number) {
  value();
  if (number >= 0 && number < 256) {
    out_ += 'K';
    little_endian(out_, static_cast<uint64_t>(number), 1);
  } else if (number >= 0 && number < 65536) {
    out_ += 'M';
    little_endian(out_, static_cast<uint64_t>(number), 2);
  } else if (number >= std::numeric_limits<int32_t>::min() && number <= std::numeric_limits<int32_t>::max()) {
    out_ += 'J';
    little_endian(out_, static_cast<uint64_t>(number), 4);
  } else {
    out_ += "\x8a\x08";
    little_endian(out_, static_cast<uint64_t>(number), 8);
  }
  return *this;
}
PickleWriter& PickleWriter::boolean(bool flag) {
  value();
  out_ += flag ? '\x88' : '\x89';
  return *this;
}
PickleWriter& PickleWriter::number(double number) {
  value();
  out_ += 'G';
  const auto bits = std::bit_cast<uint64_t>(number);
  for (int i = 7; i >= 0; --i) out_ += static_cast<char>(bits >> (8 * i) & 0xff);
  return *this;
}
PickleWriter& PickleWriter::none() {
  value();
  out_ += 'N';
  return *this;
}

std::string PickleWriter::finish() && {
  if (!open_.empty()) internal_error("a pickle was finished with {} open containers", open_.size());
  return std::move(out_) + '.';
}

}  // namespace corten
