// Feeds arbitrary bytes to the readers of config.json. What is accepted describes a model of a
// plausible size; all else is refused in one line.
#include <cstdlib>
#include <cstring>

#include "corten/error.h"
#include "corten/models.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const corten::ModelInfo info =
        corten::model_info({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (info.num_parameters < 1 || info.vocab_size < 1 || info.max_positions < 1) std::abort();
  } catch (const corten::Error& error) {
    if (error.kind() != corten::ErrorKind::Usage) std::abort();
    if (std::strchr(error.what(), '\n') != nullptr) std::abort();
  }
  return 0;
}
