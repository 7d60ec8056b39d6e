#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <typeinfo>

#include "base/format.h"
#include "base/strings.h"
#include "corten/nn.h"
#include "corten/random.h"
#include "nn/state.h"
#include "runtime/tensor_impl.h"

namespace corten {

const Tensor* find_tensor(const StateDict& state, std::string_view name) {
  for (const auto& [key, tensor] : state)
    if (key == name) return &tensor;
  return nullptr;
}

}  // namespace corten

namespace corten::nn {
namespace {

/// Modules of this thread whose forward runs, outermost first.
thread_local std::vector<const Module*> running;

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

std::string indent(const std::string& text) {
  std::string out;
  for (char c : text) {
    out += c;
    if (c == '\n') out += "  ";
  }
  return out;
}

}  // namespace

/// Makes a module the innermost running one and names the random numbers that it draws: its path
/// below the module that calls it, so that containers that are never called themselves are part of
/// the name.
class Module::Scope {
 public:
  explicit Scope(const Module& module) {
    std::string path = module.path_below(running.empty() ? nullptr : running.back());
    if (!path.empty()) random_ = std::make_unique<RandomScope>(path);
    running.push_back(&module);
  }
  ~Scope() { running.pop_back(); }
  Scope(const Scope&) = delete;

 private:
  std::unique_ptr<RandomScope> random_;
};

// Members of a derived class are destroyed before this destructor of their parent runs, so that
// both directions are unlinked by whoever goes first.
Module::~Module() {
  for (auto& [parent, name] : parents_)
    std::erase_if(parent->children_, [this](const auto& child) { return child.second == this; });
  for (auto& [name, child] : children_)
    std::erase_if(child->parents_, [this](const auto& parent) { return parent.first == this; });
}

Tensor Module::forward(const Tensor&) {
  usage_error("[nn] {} has no forward() of one tensor", type_name());
}

std::string Module::type_name() const {
  int status = 0;
  char* text = abi::__cxa_demangle(typeid(*this).name(), nullptr, nullptr, &status);
  std::string name = status == 0 && text ? text : typeid(*this).name();
  std::free(text);
  name = name.substr(0, name.find('<'));
  size_t colon = name.rfind(':');
  return colon == std::string::npos ? name : name.substr(colon + 1);
}

std::string Module::to_string() const {
  std::vector<std::string> lines;
  for (size_t i = 0; i < children_.size();) {
    const std::string text = indent(children_[i].second->to_string());
    size_t end = i + 1;
    // Numbered neighbours that print alike become one line.
    const bool numbered = children_[i].first == std::to_string(i);
    while (numbered && end < children_.size() && children_[end].first == std::to_string(end) &&
           indent(children_[end].second->to_string()) == text)
      ++end;
    lines.push_back(end - i > 1 ? format("({}-{}): {} x {}", i, end - 1, end - i, text)
                                : format("({}): {}", children_[i].first, text));
    i = end;
  }
  const std::string extra = extra_repr();
  if (lines.empty()) return format("{}({})", type_name(), extra);
  return format("{}({}\n  {}\n)", type_name(), extra, fmt::join(lines, "\n  "));
}

void Module::walk(const std::string& prefix,
                  const std::function<void(const std::string&, const Module&)>& f) const {
  f(prefix, *this);
  for (const auto& [name, child] : children_) child->walk(join(prefix, name), f);
}

StateDict Module::named_parameters(bool recurse) const {
  StateDict out;
  std::set<const TensorImpl*> seen;
  auto add = [&](const std::string& prefix, const Module& module) {
    for (const Parameter& p : module.parameters_)
      if (p.tensor->defined() && seen.insert(p.tensor->impl().get()).second)
        out.emplace_back(join(prefix, p.name), *p.tensor);
  };
  recurse ? walk("", add) : add("", *this);
  return out;
}

std::vector<Tensor> Module::parameters(bool recurse) const {
  std::vector<Tensor> out;
  for (auto& [name, tensor] : named_parameters(recurse)) out.push_back(tensor);
  return out;
}

StateDict Module::named_buffers(bool recurse) const {
  StateDict out;
  std::set<const TensorImpl*> seen;
  auto add = [&](const std::string& prefix, const Module& module) {
    for (const Buffer& b : module.buffers_)
      if (b.tensor->defined() && seen.insert(b.tensor->impl().get()).second)
        out.emplace_back(join(prefix, b.name), *b.tensor);
  };
  recurse ? walk("", add) : add("", *this);
  return out;
}

void Module::collect_modules(const std::string& prefix, NamedModules& out) {
  for (const auto& [name, module] : out)
    if (module == this) return;
  out.emplace_back(prefix, this);
  for (const auto& [name, child] : children_) child->collect_modules(join(prefix, name), out);
}

Module::NamedModules Module::named_modules() {
  NamedModules out;
  collect_modules("", out);
  return out;
}

Module& Module::get_submodule(std::string_view path) {
  Module* module = this;
  std::string done;
  while (!path.empty()) {
    const std::string name(path.substr(0, path.find('.')));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    auto child = std::ranges::find(module->children_, name, &NamedModules::value_type::first);
    if (child == module->children_.end()) {
      std::vector<std::string> names;
      for (const auto& [other, unused] : module->children_) names.push_back(other);
      usage_error("[nn] {} \"{}\" has no submodule \"{}\"{}", module->type_name(), done, name,
                  did_you_mean(name, names));
    }
    module = child->second;
    done = join(done, name);
  }
  return *module;
}

int64_t Module::num_parameters() const {
  int64_t total = 0;
  for (const Tensor& p : parameters()) total += p.numel();
  return total;
}

void Module::apply(const std::function<void(Module&)>& f) {
  for (const auto& [name, child] : NamedModules(children_)) child->apply(f);
  f(*this);
}

void Module::train(bool on) {
  apply([on](Module& m) { m.training_ = on; });
}

void Module::requires_grad_(bool on) {
  for (Tensor& p : parameters()) p.set_requires_grad(on);
}

void Module::zero_grad() {
  for (Tensor& p : parameters()) p.zero_grad();
}

void Module::to(DType dtype) {
  if (!is_floating(dtype)) usage_error("[nn] a module cannot be converted to {}", name(dtype));
  const auto quantized = [](const Module& module) {
    const auto* layer = dynamic_cast<const Quantizable*>(&module);
    return layer && layer->is_quantized();
  };
  for (const auto& [path, module] : named_modules())
    if (quantized(*module)) static_cast<Quantizable*>(module)->dtype_ = dtype;
  std::map<std::shared_ptr<TensorImpl>, Tensor> converted;  // keeps shared tensors shared
  NoGradGuard no_grad;
  auto convert = [&](Tensor& tensor, bool parameter) {
    if (!tensor.defined() || !is_floating(tensor.dtype()) || tensor.dtype() == dtype) return;
    auto [place, is_new] = converted.try_emplace(tensor.impl());
    if (is_new) {
      place->second = tensor.to(dtype);
      if (parameter) place->second.set_requires_grad(tensor.requires_grad());
    }
    tensor.impl()->cell->replaced = true;
    tensor = place->second;
  };
  walk("", [&](const std::string&, const Module& module) {
    for (const Parameter& p : module.parameters_) convert(*p.tensor, true);
    if (quantized(module)) return;  // scales keep their dtype
    for (const Buffer& b : module.buffers_) convert(*b.tensor, false);
  });
}

void Module::to(const Device& device) {
  for (const auto& [path, module] : named_modules()) {
    const auto* layer = dynamic_cast<const Quantizable*>(module);
    if (layer && layer->is_quantized()) usage_error("[nn] the weight of {} is quantised: it stays on the cpu", path.empty() ? "the module" : path);
  }
  NoGradGuard no_grad;
  walk("", [&](const std::string&, const Module& module) {
    const auto move = [&](const Tensor& tensor) {
      if (!tensor.defined() || tensor.device() == device) return;
      Cell& cell = *tensor.impl()->cell;
      if (!tensor.impl()->views.empty()) internal_error("a parameter or buffer is a view");
      cell.value = runtime::value_of(tensor.detach().to(device));
      if (cell.grad.defined()) cell.grad = cell.grad.to(device);
    };
    for (const Parameter& p : module.parameters_) move(*p.tensor);
    for (const Buffer& b : module.buffers_) move(*b.tensor);
  });
}

void Module::initialize(int64_t seed) {
  NoGradGuard no_grad;
  std::set<const TensorImpl*> seen;
  for (const auto& [prefix, module] : named_modules()) {
    for (Parameter& p : module->parameters_) {
      if (p.initializer && p.tensor->defined() && seen.insert(p.tensor->impl().get()).second)
        runtime::assign(*p.tensor, runtime::take(p.initializer(p.tensor->shape(), seed, join(prefix, p.name))), "initialize");
      p.ready = true;
    }
  }
}

void Module::mark_initialized() {
  apply([](Module& m) {
    for (Parameter& p : m.parameters_) p.ready = true;
  });
}

StateDict Module::state_dict() const {
  StateDict out;
  walk("", [&](const std::string& prefix, const Module& module) {
    for (const Parameter& p : module.parameters_)
      if (p.tensor->defined()) out.emplace_back(join(prefix, p.name), *p.tensor);
    for (const Buffer& b : module.buffers_)
      if (b.persistent && b.tensor->defined()) out.emplace_back(join(prefix, b.name), *b.tensor);
  });
  return out;
}

Module::LoadResult Module::load_state_dict(const StateDict& state, bool strict) {
  StateDict mine = state_dict();
  StateDifference difference = compare_states(mine, state);
  if (!strict) {
    LoadResult kept{std::move(difference.missing), std::move(difference.unexpected)};
    difference.missing.clear(), difference.unexpected.clear();
    check_states("load_state_dict", type_name(), difference);
    copy_state(mine, state);
    if (kept.missing.empty()) mark_initialized();
    return kept;
  }
  check_states("load_state_dict", type_name(), difference);
  copy_state(mine, state);
  mark_initialized();
  return {};
}

int64_t Module::register_forward_pre_hook(PreHook hook) {
  pre_hooks_.emplace_back(next_hook_, std::move(hook));
  return next_hook_++;
}
int64_t Module::register_forward_hook(Hook hook) {
  hooks_.emplace_back(next_hook_, std::move(hook));
  return next_hook_++;
}
void Module::remove_hook(int64_t id) {
  std::erase_if(pre_hooks_, [id](const auto& hook) { return hook.first == id; });
  std::erase_if(hooks_, [id](const auto& hook) { return hook.first == id; });
}

void Module::check_name(const std::string& name) const {
  bool taken = std::ranges::any_of(parameters_, [&](const auto& p) { return p.name == name; }) ||
               std::ranges::any_of(buffers_, [&](const auto& b) { return b.name == name; }) ||
               std::ranges::any_of(children_, [&](const auto& c) { return c.first == name; });
  if (name.empty() || name.find('.') != std::string::npos || taken)
    usage_error("[nn] {} cannot register \"{}\": the name is {}", type_name(), name,
                taken ? "taken" : "empty or has a \".\"");
}

void Module::register_parameter(std::string name, Tensor& member, Shape shape,
                                init::Initializer initializer) {
  check_name(name);
  member = zeros(std::move(shape)).set_requires_grad();
  parameters_.push_back({std::move(name), &member, std::move(initializer), false});
}
void Module::register_parameter(std::string name, Tensor& member) {
  check_name(name);
  if (member.defined()) member.set_requires_grad();
  parameters_.push_back({std::move(name), &member, {}, true});
}
void Module::register_buffer(std::string name, Tensor& member, Tensor value, bool persistent) {
  check_name(name);
  member = std::move(value);
  buffers_.push_back({std::move(name), &member, persistent});
}
void Module::register_module(std::string name, Module& child) {
  check_name(name);
  child.parents_.emplace_back(this, name);
  children_.emplace_back(std::move(name), &child);
}

std::string Module::path_below(const Module* ancestor) const {
  std::string path;
  const Module* module = this;
  while (module != ancestor && !module->parents_.empty()) {
    const auto& [parent, name] = module->parents_.front();
    path = path.empty() ? name : name + "." + path;
    module = parent;
  }
  return path;
}

Tensor Module::run(std::vector<Tensor> inputs,
                   const std::function<Tensor(const std::vector<Tensor>&)>& body) {
  for (const Parameter& p : parameters_)
    if (!p.ready)
      usage_error(
          "[nn] parameter \"{}\" of {} has no values yet: call initialize(seed) or "
          "load_state_dict() on the model",
          join(path_below(nullptr), p.name), type_name());
  Scope scope(*this);
  for (auto& [id, hook] : pre_hooks_) hook(*this, inputs);
  Tensor output = body(inputs);
  for (auto& [id, hook] : hooks_) hook(*this, inputs, output);
  return output;
}

}  // namespace corten::nn
