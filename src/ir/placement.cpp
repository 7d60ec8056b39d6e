#include "ir/placement.h"

#include "base/format.h"

namespace corten::ir {
namespace {

thread_local Placement t_placement;

}  // namespace

Placement current_placement() {
  return t_placement;
}

PlacementScope::PlacementScope(Placement placement) : previous_(t_placement) {
  t_placement = placement;
}
PlacementScope::PlacementScope(const Value& value) : previous_(t_placement) {
  if (value && value.concrete() && value->buffer) t_placement = value->buffer->placement();
}
PlacementScope::~PlacementScope() {
  t_placement = previous_;
}

Placement placement_of(const Value& value) {
  return value.concrete() && value->buffer ? value->buffer->placement() : Placement();
}

std::string to_string(Placement placement) {
  switch (placement.kind) {
    case DeviceKind::cpu:
      return "cpu";
    case DeviceKind::null:
      return "null";
    case DeviceKind::cuda:
      return format("cuda:{}", placement.index);
  }
  internal_error("unknown device {}", static_cast<int>(placement.kind));
}

}  // namespace corten::ir
