#include "train/quantize.h"

#include <algorithm>
#include <cmath>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/thread_pool.h"
#include "corten/compile.h"
#include "corten/models.h"
#include "corten/tokenizer.h"
#include "train/run_folder.h"

namespace corten {
namespace {

constexpr int64_t kWindow = 256;  // tokens that the models see at a time

/// What two rows of logits say about each other.
struct Compared {
  double kl = 0, loss_before = 0, loss_after = 0;
  bool same_top = false;
};

double log_sum_exp(const float* x, int64_t count, int64_t* top) {
  *top = std::max_element(x, x + count) - x;
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(double{x[i]} - double{x[*top]});
  return double{x[*top]} + std::log(sum);
}

Compared compare(const float* p, const float* q, int64_t vocab, int64_t target) {
  int64_t top_p = 0, top_q = 0;
  const double zp = log_sum_exp(p, vocab, &top_p), zq = log_sum_exp(q, vocab, &top_q);
  Compared c;
  for (int64_t i = 0; i < vocab; ++i) {
    const double lp = double{p[i]} - zp;
    if (lp > -80) c.kl += std::exp(lp) * (lp - (double{q[i]} - zq));
  }
  c.kl = std::max(c.kl, 0.0);  // not below by rounding
  c.loss_before = zp - double{p[target]};
  c.loss_after = zq - double{q[target]};
  c.same_top = top_p == top_q;
  return c;
}

CompiledFunction compiled_logits(CausalLM& model) {
  return compile([&model](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{model(in[0]).to(DType::f32)};
  });
}

QuantizeReport report(CausalLM& original, CausalLM& quantised, const std::vector<int64_t>& ids,
                      const std::function<void(int64_t, int64_t)>& on_progress) {
  const NoGradGuard no_grad;
  CompiledFunction before = compiled_logits(original), after = compiled_logits(quantised);
  const int64_t window = std::min(kWindow, original.max_positions()),
                positions = std::ssize(ids) - 1, vocab = original.vocab_size();
  std::vector<Compared> all(static_cast<size_t>(positions));
  for (int64_t first = 0; first < positions; first += window) {
    const int64_t count = std::min(window, positions - first);
    const Tensor input = from_vector(
        std::vector<int64_t>(ids.begin() + first, ids.begin() + first + count), {1, count});
    const std::vector<float> p = before({input})[0].to_vector<float>(),
                             q = after({input})[0].to_vector<float>();
    default_thread_pool().parallel_for(count, [&](int64_t i, int) {
      all[static_cast<size_t>(first + i)] =
          compare(&p[static_cast<size_t>(i * vocab)], &q[static_cast<size_t>(i * vocab)], vocab,
                  ids[static_cast<size_t>(first + i + 1)]);
    });
    if (on_progress) on_progress(first + count, positions);
  }
  QuantizeReport r;
  r.tokens = positions;
  const auto n = static_cast<double>(positions);
  std::vector<double> kl;
  double loss_before = 0, loss_after = 0;
  for (const Compared& c : all) {
    kl.push_back(c.kl);
    r.kl_mean += c.kl / n;
    r.same_top += c.same_top / n;
    loss_before += c.loss_before / n;
    loss_after += c.loss_after / n;
  }
  std::sort(kl.begin(), kl.end());
  r.kl_median = kl[kl.size() / 2];
  r.kl_p99 = kl[std::min(kl.size() - 1, kl.size() * 99 / 100)];
  r.kl_max = kl.back();
  r.perplexity_before = std::exp(loss_before);
  r.perplexity_after = std::exp(loss_after);
  return r;
}

std::vector<int64_t> report_ids(const QuantizeOptions& options, const std::string& folder) {
  const std::string path = join_path(folder, "tokenizer.json");
  if (!has_file(path))
    usage_error("{} has no tokenizer for the report: {}", folder, describe_absent(path));
  // No token is longer than this many bytes of text on average: enough for the tokens that count.
  constexpr int64_t kBytesPerToken = 64;
  std::string text = read_file(options.report_text, uint64_t{1} << 30);
  if (const auto most = static_cast<size_t>((options.report_tokens + 1) * kBytesPerToken);
      text.size() > most) {
    size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
      --end;  // whole characters of UTF-8
    text.resize(end);
  }
  const std::vector<int32_t> encoded = Tokenizer::from_file(path).encode_ids(text);
  std::vector<int64_t> ids(encoded.begin(), encoded.end());
  if (std::ssize(ids) > options.report_tokens + 1)
    ids.resize(static_cast<size_t>(options.report_tokens + 1));
  if (ids.size() < 2)
    usage_error("{} has {} tokens: a report needs two", options.report_text, ids.size());
  return ids;
}

}  // namespace

uint64_t model_bytes(const CausalLM& model) {
  uint64_t bytes = 0;
  for (const StateDict& part : {model.named_parameters(), model.named_buffers()})
    for (const auto& [name, tensor] : part)
      bytes += static_cast<uint64_t>(tensor.numel()) * size_of(tensor.dtype());
  return bytes;
}

QuantizeResult quantize_folder(const QuantizeOptions& options,
                               const std::function<void(int64_t, int64_t)>& on_progress) {
  if (options.model.device != "cpu")
    usage_error("quantising needs device \"cpu\", not \"{}\"", options.model.device);
  check_quantization(options.how);
  default_thread_pool().set_num_threads(static_cast<int>(options.model.threads));
  const std::string folder = find_model_folder(options.model.model);
  QuantizeResult result;
  result.model = folder;
  result.out = options.out;
  if (result.out.empty()) {
    std::string name = options.model.model;
    while (name.size() > 1 && name.ends_with('/')) name.pop_back();
    result.out = format("{}-int{}", name, options.how.bits);
  }
  if (path_exists(join_path(result.out, "config.json")))
    usage_error("{} holds a model already: choose another folder with -o", result.out);
  std::vector<int64_t> ids;
  if (!options.report_text.empty()) ids = report_ids(options, folder);

  LoadOptions load{.dtype = options.model.dtype,
                   .load_in_8bit = options.how.bits == 8,
                   .load_in_4bit = options.how.bits == 4,
                   .group_size = options.how.group_size,
                   .llm_int8_threshold = options.how.outlier_threshold};
  const std::unique_ptr<CausalLM> quantised = load_model(folder, load);
  for (const std::string& name : quantised->load_report().initialized)
    usage_error("{} holds no {}: save the model with its head", folder, name);
  result.how = *quantised->quantization();
  result.bytes_after = model_bytes(*quantised);
  result.bytes_before = static_cast<uint64_t>(model_info(quantised->config_json()).num_parameters) *
                        size_of(quantised->dtype());
  quantised->save_pretrained(result.out);
  copy_tokenizer_files(folder, result.out);
  if (ids.empty()) return result;
  const std::unique_ptr<CausalLM> original = load_model(folder, options.model.dtype);
  result.report = report(*original, *quantised, ids, on_progress);
  return result;
}

}  // namespace corten
