#include "ir/kernel.h"

#include <string_view>

#include "base/format.h"

namespace corten::ir {
namespace {

std::string_view name(KernelForm form) {
  switch (form) {
    case KernelForm::rows:
      return "rows";
    case KernelForm::columns:
      return "columns";
    default:
      return "scatter";
  }
}

std::string_view name(InnerStride stride) {
  switch (stride) {
    case InnerStride::zero:
      return "0";
    case InnerStride::one:
      return "1";
    default:
      return "any";
  }
}

}  // namespace

std::string to_string(const Kernel& kernel) {
  std::string text = format("kernel {}, outer rank {}\n", name(kernel.form), kernel.outer_rank);
  for (size_t i = 0; i < kernel.operands.size(); ++i) {
    const Operand& operand = kernel.operands[i];
    text += format("operand {}: {}{}\n", i, corten::name(operand.dtype),
                   operand.written ? " written" : "");
  }
  for (size_t i = 0; i < kernel.params.size(); ++i)
    text += format("param @{}: {}\n", i, corten::name(kernel.params[i]));
  for (size_t i = 0; i < kernel.accesses.size(); ++i) {
    const Access& access = kernel.accesses[i];
    text += format("access @{}: ", i);
    text += access.operand < 0 ? "index" : format("operand {}", access.operand);
    text += format(", inner stride {}", name(access.inner));
    if (access.index >= 0) text += format(", gathered by %{}", access.index);
    for (int d = 0; d <= kernel.outer_rank; ++d)
      if (access.guards >> d & 1)
        text += d == kernel.outer_rank ? ", guard c" : format(", guard o{}", d);
    text += '\n';
  }
  text += to_string(kernel.body);
  for (const Store& store : kernel.stores)
    text += format("store %{} @{}{}{}\n", store.node, store.access,
                   store.mode == StoreMode::add ? " add" : "", store.streaming ? " streaming" : "");
  return text;
}

}  // namespace corten::ir
