#include "runtime/program_report.h"

#include "base/format.h"

namespace corten::runtime {

std::string_view to_string(Owner owner) {
  switch (owner) {
    case Owner::parameter: return "parameters";
    case Owner::gradient: return "gradients";
    case Owner::optimizer: return "optimizer";
    case Owner::activation: return "activations";
    case Owner::temporary: return "temporaries";
    case Owner::workspace: return "workspace";
    case Owner::argument: return "arguments";
    case Owner::output: return "outputs";
    case Owner::other_state: return "other_state";
  }
  internal_error("unknown owner {}", static_cast<int>(owner));
}

Owner owner_of(ir::Stage made, ir::Stage last_read) {
  using ir::Stage;
  if (made == Stage::forward && last_read == Stage::backward) return Owner::activation;
  // What backward leaves behind for the sums over shards and for the optimizer; the sums themselves.
  if ((made == Stage::backward || made == Stage::accumulate) && (last_read == Stage::accumulate || last_read == Stage::update))
    return Owner::gradient;
  return Owner::temporary;
}

}  // namespace corten::runtime
