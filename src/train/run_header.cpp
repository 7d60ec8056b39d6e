#include "train/run_header.h"

#include <time.h>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/thread_pool.h"

#ifndef CORTEN_VERSION
#error "the build defines CORTEN_VERSION"
#endif

namespace corten {
namespace {

std::string now_utc() {
  const time_t now = ::time(nullptr);
  tm fields{};
  ::gmtime_r(&now, &fields);
  char text[32];
  ::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &fields);
  return text;
}

/// Hash of the keys that decide results.
std::string config_hash(const Config& config) {
  Json deciding = Json::object();
  for (const ConfigField& field : config_fields())
    if (field.changes_result) deciding.set(field.key, field.get(config));
  return hex(hash128(deciding.dump()));
}

}  // namespace

Json certificate_json(const Config& config) {
  return Json::object({{"contract", kContract},
                       {"kernel_family", name(cpu_isa())},
                       {"virtual_shards", config.train.virtual_shards},
                       {"dtype", name(config.train.dtype)},
                       {"relaxed", Json::array()}});
}

Json run_header_json(const Config& config, const RunHeader& header) {
  const CpuInfo& cpu = cpu_info();
  return Json::object(
      {{"format", "corten-run"},
       {"version", 1},
       {"corten", CORTEN_VERSION},
       {"created", now_utc()},
       {"contract", kContract},
       {"certificate", certificate_json(config)},
       {"machine", Json::object({{"cpu", cpu.model},
                                 {"cores", cpu.cores},
                                 {"isa", name(cpu_isa())},
                                 {"threads", default_thread_pool().num_threads()}})},
       {"hashes", Json::object({{"config", config_hash(config)},
                                {"model", hex(hash128(header.model_config))},
                                {"tokenizer", header.tokenizer_hash},
                                {"data", header.train_fingerprint},
                                {"validation", header.validation_fingerprint}})},
       {"parameters", header.parameters},
       {"steps", header.steps},
       {"config", config_to_json(config)}});
}

}  // namespace corten
