// A planned step as a memory snapshot.
#include <algorithm>
#include <cmath>

#include "base/format.h"
#include "diagnose/step_plan.h"

namespace corten {
namespace {

constexpr int64_t kBase = int64_t{1} << 32;  // an address that no null pointer check trips over

/// The names that PyTorch's tools use for the owners of memory.
std::string category(Owner owner, bool recomputed) {
  if (recomputed) return "recompute";
  switch (owner) {
    case Owner::parameter: return "parameter";
    case Owner::gradient: return "gradient";
    case Owner::optimizer: return "optimizer_state";
    case Owner::activation: return "activation";
    case Owner::temporary: return "temporary";
    case Owner::workspace: return "workspace";
    case Owner::argument: return "input";
    case Owner::output: return "output";
    case Owner::other_state: return "state";
  }
  internal_error("unknown owner {}", static_cast<int>(owner));
}

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

/// What lives through the whole step, and where.
struct Fixed {
  int64_t address = 0, bytes = 0;
  std::string name;
  Owner owner = Owner::other_state;
};

std::vector<MemoryFrame> frames(const ir::Source& source, const std::string& name) {
  if (!source.file) return {{"", 0, name}};
  return {{source.file, source.line, name}};
}

}  // namespace

MemorySnapshot memory_timeline(const StepPlan& plan, const std::vector<double>& seconds) {
  MemorySnapshot out;
  auto event = [&](MemoryEvent::Action action, int64_t address, int64_t size, double time, std::vector<MemoryFrame> where, std::string what,
                   std::string owner) {
    out.trace.push_back({action, address, size, std::llround(time * 1e6), std::move(where), std::move(owner), std::move(what)});
  };
  // The first event names the category that viewers expect.
  event(MemoryEvent::Action::snapshot, 0, 0, 0, {}, "", "unknown");

  std::vector<Fixed> fixed;
  int64_t end = kBase;
  auto place = [&](std::string name, Owner owner, int64_t bytes) {
    if (bytes == 0) return;
    fixed.push_back({end, bytes, std::move(name), owner});
    end += aligned(bytes);
  };
  for (Owner owner : {Owner::parameter, Owner::optimizer, Owner::other_state})
    for (const StateReport& state : plan.state)
      if (state.owner == owner) place(state.name, owner, state.bytes);
  place("arguments", Owner::argument, plan.info.argument_bytes);
  place("results", Owner::output, plan.info.output_bytes);
  place("workspace of products", Owner::workspace, plan.workspace_bytes);
  const int64_t arena = end;
  end += plan.info.arena_bytes;

  event(MemoryEvent::Action::segment_alloc, kBase, end - kBase, 0, {}, "", "");
  MemorySegment segment{.address = kBase, .total_size = end - kBase};
  for (const Fixed& f : fixed) {
    const std::vector<MemoryFrame> where = frames({}, f.name);
    event(MemoryEvent::Action::alloc, f.address, aligned(f.bytes), 0, where, f.name, category(f.owner, false));
    segment.blocks.push_back({f.address, aligned(f.bytes), f.bytes, true, where});
  }
  if (plan.info.arena_bytes > 0) segment.blocks.push_back({arena, plan.info.arena_bytes, 0, false, {}});
  out.segments.push_back(std::move(segment));

  // By step: what begins to live, then what has lived.
  std::vector<int32_t> by_first(plan.report.buffers.size());
  for (size_t i = 0; i < by_first.size(); ++i) by_first[i] = static_cast<int32_t>(i);
  std::vector<int32_t> by_last = by_first;
  const auto& buffers = plan.report.buffers;
  std::stable_sort(by_first.begin(), by_first.end(), [&](int32_t a, int32_t b) { return buffers[a].first < buffers[b].first; });
  std::stable_sort(by_last.begin(), by_last.end(), [&](int32_t a, int32_t b) { return buffers[a].last < buffers[b].last; });
  double now = 0;
  size_t born = 0, gone = 0;
  for (int32_t s = 0; s <= static_cast<int32_t>(plan.report.steps.size()); ++s) {
    auto describe = [&](int32_t i, MemoryEvent::Action action) {
      const runtime::BufferReport& b = buffers[i];
      const bool scratch = b.owner == Owner::workspace;
      const runtime::StepReport* step = b.first < static_cast<int32_t>(plan.report.steps.size()) ? &plan.report.steps[b.first] : nullptr;
      const std::string what = scratch && step ? "workspace of " + step->name : b.what;
      const ir::Source source = scratch && step ? step->source : b.source;
      event(action, arena + b.offset, b.bytes, now, frames(source, what), what, category(b.owner, b.recomputed));
    };
    for (; born < by_first.size() && buffers[by_first[born]].first == s; ++born) describe(by_first[born], MemoryEvent::Action::alloc);
    if (s < static_cast<int32_t>(seconds.size())) now += seconds[s];
    for (; gone < by_last.size() && buffers[by_last[gone]].last == s; ++gone) {
      describe(by_last[gone], MemoryEvent::Action::free_requested);
      describe(by_last[gone], MemoryEvent::Action::free_completed);
    }
  }
  return out;
}

}  // namespace corten
