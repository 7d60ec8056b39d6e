#include "ir/type.h"

#include <algorithm>
#include <charconv>

#include "base/format.h"

namespace corten::ir {

int64_t product(const Dims& dims) {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

int64_t Type::elements() const { return product(dims); }

std::string to_string(const Dims& dims) { return format("[{}]", fmt::join(dims, ",")); }
std::string to_string(const Type& type) { return format("{}{}", name(type.dtype), to_string(type.dims)); }

Type parse_type(std::string_view text) {
  size_t open = text.find('[');
  if (open == text.npos || text.back() != ']') usage_error("\"{}\" is not a type such as f32[2,4]", text);
  Type type{dtype_from_name(text.substr(0, open)), {}};
  std::string_view list = text.substr(open + 1, text.size() - open - 2);
  while (!list.empty()) {
    int64_t value = 0;
    auto [end, error] = std::from_chars(list.data(), list.data() + list.size(), value);
    if (error != std::errc() || value < 0) usage_error("\"{}\" is not a type such as f32[2,4]", text);
    type.dims.push_back(value);
    list.remove_prefix(end - list.data());
    if (!list.empty()) {
      if (list[0] != ',') usage_error("\"{}\" is not a type such as f32[2,4]", text);
      list.remove_prefix(1);
    }
  }
  return type;
}

Dims contiguous_strides(const Dims& dims) {
  Dims strides(dims.size());
  int64_t step = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = step;
    step *= std::max<int64_t>(dims[i], 1);
  }
  return strides;
}

Dims broadcast(const Dims& a, const Dims& b) {
  Dims out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
    int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1)
      usage_error("shapes {} and {} do not broadcast: sizes {} and {} differ", to_string(a), to_string(b), x, y);
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  return out;
}

int64_t normalize_axis(int64_t axis, const Type& type, std::string_view what) {
  int64_t normal = axis < 0 ? axis + type.rank() : axis;
  if (normal < 0 || normal >= type.rank())
    usage_error("[{}] axis {} is out of range for {} (rank {})", what, axis, to_string(type), type.rank());
  return normal;
}

}  // namespace corten::ir
