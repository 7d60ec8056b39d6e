#include <algorithm>

#include "corten/generate.h"

namespace corten {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string StopMatcher::push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  size_t found = std::string::npos;
  for (const std::string& stop : stops_) found = std::min(found, held_.find(stop));
  size_t certain = held_.size();
  if (found != std::string::npos) {
    stopped_ = true;
    certain = found;
  } else {
    // Hold back the longest end of the text that begins a stop text.
    for (const std::string& stop : stops_)
      for (size_t n = std::min(stop.size() - 1, held_.size()); n > 0; --n)
        if (held_.ends_with(std::string_view(stop).substr(0, n))) {
          certain = std::min(certain, held_.size() - n);
          break;
        }
  }
  std::string out = held_.substr(0, certain);
  held_ = stopped_ ? "" : held_.substr(certain);
  return out;
}

std::string StopMatcher::flush() {
  return std::exchange(held_, {});
}

}  // namespace corten
