#include "passes/pipeline.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "base/env.h"
#include "base/format.h"
#include "base/strings.h"
#include "passes/passes.h"
#include "passes/precision.h"

namespace corten::passes {
namespace {

constexpr unsigned bit(Families f) { return 1u << static_cast<unsigned>(f); }
constexpr unsigned kCpu = bit(Families::cpu), kFloat8 = bit(Families::gpu_float8), kGpu = bit(Families::gpu) | kFloat8;

struct Pass {
  std::string_view name;
  bool optional;
  ir::Graph (*run)(const ir::Graph&);
  bool (*needed)() = nullptr;  // null: always
  unsigned only = ~0u;  // whose families' pipelines it is in
};

// Values larger than this are made in pieces of rows. Each piece reads and writes the gradient of the weights again, which
// costs a GPU more than what is saved where pieces do not fit its cache anyway: fewer, larger ones there.
int64_t chunk_bytes(int mebibytes) {
  return static_cast<int64_t>(env_bytes("CORTEN_CHUNK_BYTES", static_cast<uint64_t>(mebibytes) << 20));
}

// Autocast and differentiation happen while the graph is recorded: by the scope of the call and by the tape. Then:
constexpr Pass kPipeline[] = {
    {"cse", true, cse},                  // equal composites are expanded once
    {"dce", true, dce},
    {"claim_composites", false, claim_composites, nullptr, kCpu},  // defines the bits of attention
    {"claim_composites", false, claim_attention, nullptr, kGpu},
    {"claim_composites", false, claim_convolutions, nullptr, kGpu},
    {"expand", false, [](const ir::Graph& graph) { return expand(graph); }},
    {"float8", false, [](const ir::Graph& graph) { return expand_float8(graph, false); }, nullptr, ~kFloat8},
    {"float8", false, [](const ir::Graph& graph) { return expand_float8(graph, true); }, nullptr, kFloat8},
    {"precision", false, lower_precision, lowers_precision},  // defines the bits of f32 products
    {"fold", true, fold},
    {"cse", true, cse},
    {"claim", false, claim, nullptr, kCpu},  // defines the bits of products
    {"claim", false, claim_products, nullptr, kGpu},
    {"dce", true, dce},
    {"chunk", true, [](const ir::Graph& graph) { return chunk_rows(graph, chunk_bytes(64)); }, nullptr, kCpu},
    {"chunk", true, [](const ir::Graph& graph) { return chunk_rows(graph, chunk_bytes(256)); }, nullptr, kGpu},
    {"absorb", true, absorb, nullptr, kCpu},
    {"schedule", true, schedule},
    {"materialize", false, materialize, nullptr, kCpu},
    {"materialize", false, materialize_for_gpu, nullptr, kGpu},
};
// Not passes over graphs, but switched off by the same names: fuse (kernel/partition), remat (passes/remat, which
// needs a plan to decide by) and plan (passes/plan_memory).

bool verify_always() {
#ifdef NDEBUG
  static const bool asked = std::getenv("CORTEN_VERIFY") != nullptr;
  return asked;
#else
  return true;
#endif
}

}  // namespace

const std::vector<std::string_view>& optional_passes() {
  static const std::vector<std::string_view> names{"fold", "cse", "dce", "chunk", "absorb", "schedule", "fuse", "remat", "plan"};
  return names;
}

std::set<std::string, std::less<>> disabled_passes() {
  std::set<std::string, std::less<>> out;
  const char* text = std::getenv("CORTEN_DISABLE");
  std::string_view list = text ? text : "";
  while (!list.empty()) {
    std::string name(list.substr(0, list.find(',')));
    list.remove_prefix(std::min(name.size() + 1, list.size()));
    if (name.empty()) continue;
    bool known = false;
    for (std::string_view optional : optional_passes()) known |= name == optional;
    if (!known)
      usage_error("CORTEN_DISABLE: there is no pass \"{}\" that can be switched off; choose from {}", name,
                  fmt::join(optional_passes(), ", "));
    out.insert(std::move(name));
  }
  return out;
}

ir::Graph run_pipeline(const ir::Graph& graph, const std::set<std::string, std::less<>>& disabled, std::vector<PassRecord>* records,
                       Families families) {
  const char* dump = std::getenv("CORTEN_DUMP");
  ir::Graph current;
  const ir::Graph* latest = &graph;
  if (verify_always()) ir::verify(graph, "trace");
  for (const Pass& pass : kPipeline) {
    if (pass.needed && !pass.needed()) continue;
    if (!(pass.only & bit(families))) continue;
    PassRecord record{pass.name, 0, latest->nodes().size(), 0, pass.optional && disabled.count(pass.name) > 0};
    if (!record.skipped) {
      auto start = std::chrono::steady_clock::now();
      current = pass.run(*latest);
      latest = &current;
      record.ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
      if (verify_always()) ir::verify(current, pass.name);
      if (dump && (format("after:{}", pass.name) == dump || std::string_view(dump) == "after:all"))
        std::fprintf(stderr, "; after %s\n%s", std::string(pass.name).c_str(), to_string(current).c_str());
    }
    record.nodes_after = latest->nodes().size();
    if (records) records->push_back(record);
  }
  return current;
}

}  // namespace corten::passes
