// Writing Python pickles of plain data: dictionaries, lists, tuples, text, numbers. Protocol 2 without memo, the subset that
// every reader understands, PyTorch's memory viewer among them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace corten {

/// Values are written one after another; those between begin and end belong to the container. Items of a dictionary are a
/// key and a value each.
class PickleWriter {
 public:
  PickleWriter() : out_("\x80\x02") {}
  PickleWriter& begin_dict() { return begin('}', 'u'); }
  PickleWriter& begin_list() { return begin(']', 'e'); }
  PickleWriter& begin_tuple();
  PickleWriter& end();
  PickleWriter& text(std::string_view value);  // UTF-8
  PickleWriter& integer(int64_t value);
  PickleWriter& boolean(bool value);
  PickleWriter& number(double value);
  PickleWriter& none();

  PickleWriter& item(std::string_view key, std::string_view value) { return text(key).text(value); }
  PickleWriter& item(std::string_view key, const char* value) { return text(key).text(value); }
  PickleWriter& item(std::string_view key, int64_t value) { return text(key).integer(value); }
  PickleWriter& item(std::string_view key, bool value) { return text(key).boolean(value); }

  /// The pickle. Internal error while a container is open.
  std::string finish() &&;

 private:
  struct Open {
    char close = 0;
    bool marked = false;  // an empty container has no mark
  };
  PickleWriter& begin(char open, char close);
  void value();  // before each value
  std::string out_;
  std::vector<Open> open_;
};

}  // namespace corten
