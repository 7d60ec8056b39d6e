// JSON forms of results, as `--json` prints them and run folders store them.
#pragma once

#include <span>
#include <string>

#include "base/json.h"
#include "train/bench.h"
#include "train/generate.h"
#include "train/quantize.h"
#include "train/quickstart.h"
#include "train/trainer.h"

namespace corten {

/// Hash of the bits of the losses, in order: equal digests mean equal runs (to the bit).
std::string losses_digest(std::span<const float> losses);

Json to_json(const TrainResult& result);
/// Inverse of to_json(); Usage error for anything else. `source_name` is for messages.
TrainResult train_result_from_json(const Json& json, const std::string& source_name);
Json to_json(const QuickstartResult& result);
Json to_json(const GenerateResult& result);
Json to_json(const EvalLogitsResult& result);
Json to_json(const DeviceStepTimes& result);
Json to_json(const BenchTrainResult& result);
Json to_json(const BenchGenerateResult& result);
Json to_json(const BenchOpResult& result);
Json to_json(const QuantizeResult& result);

}  // namespace corten
