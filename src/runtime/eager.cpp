// Eager execution: an op call is a program of one op, found in a cache or compiled.
#include "base/format.h"
#include "kernel/reference.h"
#include "ops/functions.h"
#include "ops/view_layout.h"
#include "runtime/allocator.h"
#include "runtime/devices.h"
#include "runtime/eager_device.h"
#include "runtime/null_device.h"
#include "runtime/program.h"
#include "runtime/program_cache.h"
#include "runtime/tensor_impl.h"

namespace corten {
namespace runtime {
namespace {

class EagerBuilder : public ir::Builder {
 public:
  ir::Values add(const ir::Op& op, ir::AttrsPtr attrs, const ir::Values& inputs) override {
    for (const ir::Value& v : inputs) {
      if (!v.concrete())
        usage_error("a traced value ({}) was used outside of the trace that made it: return it from the compiled function instead",
                    to_string(v.type()));
      if (on_null_device(v)) return null_builder().add(op, std::move(attrs), inputs);
    }
    if (op.kind == ir::OpKind::view) {
      std::vector<ir::Type> types = ir::infer_types(op, attrs, {inputs[0].type()});
      if (auto layout = ops::view_layout(op, attrs, inputs[0].dims(), inputs[0]->layout))
        return {ir::make_concrete(types[0], inputs[0]->buffer, *layout)};
      ir::GradScope no_grad(false);
      return add(op, attrs, {ops::copy(inputs[0])});
    }
    if (op.kind == ir::OpKind::full) return {number(ir::infer_types(op, attrs, {})[0], ops::full_value(attrs))};
    if (const ir::Placement place = where(inputs); place.kind == ir::DeviceKind::cuda) return open_device(place).run(op, attrs, inputs);
    thread_local std::string key;
    make_program_key(op, *attrs, inputs, key);
    std::shared_ptr<Program> program = cache_.find(key);
    if (!program) {
      const std::string mine = key;  // compiling may run other ops
      program = compile(op, attrs, inputs);
      cache_.insert(mine, program);
    }
    std::vector<void*> in, out;
    for (const ir::Value& v : inputs)
      in.push_back(static_cast<char*>(v->buffer->data()) + v->layout.offset * static_cast<int64_t>(size_of(v.dtype())));
    AllocationLabel label(op.name);
    RangeScope range(op.name, "cpu_op");
    ir::Values results;
    for (const ir::Type& type : program->output_types()) {
      results.push_back(ir::make_concrete(type, allocate(type.bytes())));
      out.push_back(results.back()->buffer->data());
    }
    program->run(in, out, eager_detects_anomaly());
    return results;
  }

 private:
  /// Where an op runs: where its operands lie, but for the numbers among them.
  static ir::Placement where(const ir::Values& inputs) {
    for (const ir::Value& v : inputs)
      if (v->buffer->placement().kind == ir::DeviceKind::cuda) return v->buffer->placement();
    const ir::Placement current = ir::current_placement();
    if (current.kind == ir::DeviceKind::cpu || !std::all_of(inputs.begin(), inputs.end(), is_number)) return {};
    return current;
  }

  /// One number in memory that all elements share: no program writes it, and those that read it read no more than that.
  static ir::Value number(ir::Type type, double value) {
    const kernel::HostTensor host{{type.dtype, {}}, {{type.dtype == DType::f64 ? value : static_cast<float>(value), static_cast<int64_t>(value)}}};
    ir::BufferPtr buffer = allocate(static_cast<int64_t>(size_of(type.dtype)));
    kernel::to_memory(host, buffer->data());
    ir::Layout layout{0, ir::Dims(type.dims.size(), 0)};
    return ir::make_concrete(std::move(type), std::move(buffer), std::move(layout));
  }

  static std::shared_ptr<Program> compile(const ir::Op& op, const ir::AttrsPtr& attrs, const ir::Values& inputs) {
    ir::Graph graph;
    ir::Values in;
    for (const ir::Value& v : inputs) in.push_back(graph.input(v.type(), "", ir::Layout{0, v->layout.strides}));
    ir::BuilderScope builder(graph);
    for (const ir::Value& v : graph.add(op, attrs, in)) graph.output(v);
    return std::make_shared<Program>(graph, ProgramOptions{.eager = true});
  }
  ProgramCache<Program> cache_;
};

}  // namespace

bool& eager_detects_anomaly() {
  static bool enabled = false;
  return enabled;
}

}  // namespace runtime

ir::Builder& ir::eager_builder() {
  static auto* builder = new runtime::EagerBuilder;
  return *builder;
}

}  // namespace corten
