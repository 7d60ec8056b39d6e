// run.json: what a run was made with, so that it can be understood and repeated.
#pragma once

#include <string>

#include "base/json.h"
#include "train/config.h"

namespace corten {

/// What the header records besides the configuration.
struct RunHeader {
  std::string tokenizer_hash, train_fingerprint, validation_fingerprint;
  std::string model_config;  ///< text of config.json
  int64_t parameters = 0, steps = 0;
};

/// The content of run.json: version, time, configuration and its hash, hashes of tokenizer and
/// data, machine, and the certificate of the numerics contract.
Json run_header_json(const Config& config, const RunHeader& header);

/// What the bits of a run depend on besides its inputs (numerics contract): the kernel family and
/// V.
Json certificate_json(const Config& config);

/// The level of the numerics contract that training keeps.
inline constexpr const char* kContract = "L1";

}  // namespace corten
