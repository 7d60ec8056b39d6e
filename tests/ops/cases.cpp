#include "ops/cases.h"

namespace corten::testing {

using In = const std::vector<Tensor>&;

const std::vector<Case>& cases() {
  const Operand a{{3, 5}}, b{{3, 5}}, row{{5}}, column{{3, 1}}, positive{{3, 5}, 0.25, 3}, apart{{3, 5}, -2, 2};
  const Operand big{{2, 3, 17}}, long_row{{2, 1500}}, tall{{150, 9}};
  static const std::vector<Case> list = {
      // element-wise
      {"add", {a, b}, [](In x) { return x[0] + x[1]; }},
      {"add_row", {a, row}, [](In x) { return x[0] + x[1]; }},
      {"add_column", {a, column}, [](In x) { return x[0] + x[1]; }},
      {"add_number", {a}, [](In x) { return x[0] + 1.5; }},
      {"sub", {a, b}, [](In x) { return x[0] - x[1]; }},
      {"rsub_number", {a}, [](In x) { return 1.5 - x[0]; }},
      {"mul", {a, column}, [](In x) { return x[0] * x[1]; }},
      {"mul_same", {a}, [](In x) { return x[0] * x[0]; }},
      {"div", {a, positive}, [](In x) { return x[0] / x[1]; }},
      {"rdiv_number", {positive}, [](In x) { return 2.0 / x[0]; }},
      {"neg", {a}, [](In x) { return -x[0]; }},
      {"minimum", {a, row}, [](In x) { return minimum(x[0], x[1]); }, true, false},
      {"maximum", {a, row}, [](In x) { return maximum(x[0], x[1]); }, true, false},
      {"where", {a, row}, [](In x) { return where(x[0] > x[1], x[0] * 2.0, x[1]); }, true, false},
      {"less", {a, row}, [](In x) { return (x[0] < x[1]).to(DType::f32); }, false, false},
      {"equal", {a, a}, [](In x) { return (x[0] == x[1]).to(DType::f32); }, false, false},
      {"exp", {a}, [](In x) { return exp(x[0]); }},
      {"log", {positive}, [](In x) { return log(x[0]); }},
      {"sqrt", {positive}, [](In x) { return sqrt(x[0]); }},
      {"rsqrt", {positive}, [](In x) { return rsqrt(x[0]); }},
      {"tanh", {a}, [](In x) { return tanh(x[0]); }},
      {"erf", {a}, [](In x) { return erf(x[0]); }},
      {"sin", {a}, [](In x) { return sin(x[0] * 3.0); }},
      {"cos", {a}, [](In x) { return cos(x[0] * 3.0); }},
      {"abs", {a}, [](In x) { return abs(x[0]); }, true, false},
      {"sign", {a}, [](In x) { return sign(x[0]); }, true, false},
      {"floor", {a}, [](In x) { return floor(x[0] * 3.0); }, true, false},
      {"round", {a}, [](In x) { return round(x[0] * 3.0); }, true, false},
      {"square", {a}, [](In x) { return square(x[0]); }},
      {"pow3", {a}, [](In x) { return pow(x[0], 3); }},
      {"pow_minus2", {positive}, [](In x) { return pow(x[0], -2); }},
      {"pow_fraction", {positive}, [](In x) { return pow(x[0], 1.7); }},
      // reductions
      {"sum", {big}, [](In x) { return x[0].sum(); }},
      {"sum_last", {long_row}, [](In x) { return x[0].sum({-1}); }},
      {"sum_first", {tall}, [](In x) { return x[0].sum({0}); }},
      {"sum_middle_keep", {big}, [](In x) { return x[0].sum({1}, true); }},
      {"sum_two", {big}, [](In x) { return x[0].sum({0, 2}); }},
      {"mean", {big}, [](In x) { return x[0].mean({-1}); }},
      {"mean_all", {long_row}, [](In x) { return x[0].mean(); }},
      {"amax", {big}, [](In x) { return x[0].amax({1}); }, true, false},
      {"amin_all", {tall}, [](In x) { return amin(x[0]); }, true, false},
      {"argmax", {big}, [](In x) { return x[0].argmax(2).to(DType::f32); }, false, false},
      {"logsumexp", {big}, [](In x) { return logsumexp(x[0], 2); }},
      {"logsumexp_first", {tall}, [](In x) { return logsumexp(x[0], 0); }},
      // movement
      {"reshape", {big}, [](In x) { return x[0].reshape({6, -1}) * 2.0; }},
      {"permute", {big}, [](In x) { return x[0].permute({2, 0, 1}) * 2.0; }},
      {"transpose_reshape", {big}, [](In x) { return x[0].transpose(1, 2).reshape({34, 3}) * 2.0; }},
      {"expand", {column}, [](In x) { return x[0].expand({2, 3, 4}) * 2.0; }},
      {"slice", {big}, [](In x) { return x[0].slice(2, 3, 11) * 2.0; }},
      {"select", {big}, [](In x) { return x[0].select(1, -1) * 2.0; }},
      {"concat", {a, {{3, 2}}}, [](In x) { return concat({x[0], x[1], x[0]}, 1); }},
      {"stack", {a, b}, [](In x) { return stack({x[0], x[1]}, 1); }},
      {"pad", {a}, [](In x) { return pad(x[0], {1, 0}, {0, 2}, 0.5); }},
      {"gather", {big, {{2, 3, 4}, 0, 0, 17}}, [](In x) { return gather(x[0], 2, x[1]); }},
      {"gather_first", {tall, {{4, 9}, 0, 0, 150}}, [](In x) { return gather(x[0], 0, x[1]); }},
      {"index_select", {tall, {{6}, 0, 0, 150}}, [](In x) { return index_select(x[0], 0, x[1]); }},
      {"scatter_add", {a, {{3, 4}, 0, 0, 5}, {{3, 4}}}, [](In x) { return scatter_add(x[0], 1, x[1], x[2]); }},
      {"embedding", {{{2, 4}, 0, 0, 11}, {{11, 6}}}, [](In x) { return embedding(x[0], x[1]); }},
      // products
      {"matmul", {{{7, 33}}, {{33, 5}}}, [](In x) { return matmul(x[0], x[1]); }},
      {"matmul_batch", {{{2, 3, 4, 6}}, {{3, 6, 5}}}, [](In x) { return matmul(x[0], x[1]); }},
      {"matmul_transposed", {{{5, 7}}, {{3, 7}}}, [](In x) { return matmul(x[0], x[1].t()); }},
      {"matmul_vector", {{{4, 6}}, {{6}}}, [](In x) { return matmul(x[0], x[1]); }},
      {"linear", {{{2, 3, 8}}, {{5, 8}}, {{5}}}, [](In x) { return linear(x[0], x[1], x[2]); }},
      {"conv1d_linear", {{{2, 3, 8}}, {{8, 5}}, {{5}}}, [](In x) { return conv1d_linear(x[0], x[1], x[2]); }},
      // networks
      {"relu", {a}, [](In x) { return relu(x[0]); }, true, false},
      {"gelu", {{{3, 5}, -6, 6}}, [](In x) { return gelu(x[0]); }},
      {"gelu_tanh", {{{3, 5}, -6, 6}}, [](In x) { return gelu(x[0], true); }},
      {"silu", {{{3, 5}, -6, 6}}, [](In x) { return silu(x[0]); }},
      {"sigmoid", {{{3, 5}, -6, 6}}, [](In x) { return sigmoid(x[0]); }},
      {"softmax", {big}, [](In x) { return softmax(x[0], -1); }},
      {"softmax_long", {long_row}, [](In x) { return softmax(x[0] * 3.0, -1); }},
      {"softmax_axis", {big}, [](In x) { return softmax(x[0], 1); }},
      {"log_softmax", {big}, [](In x) { return log_softmax(x[0], -1); }},
      {"layer_norm", {{{4, 33}}, {{33}}, {{33}}}, [](In x) { return layer_norm(x[0], x[1], x[2], 1e-5); }},
      {"layer_norm_no_bias", {{{2, 3, 8}}, {{8}}}, [](In x) { return layer_norm(x[0], x[1], {}, 1e-5); }},
      {"rotary", {{{2, 3, 4, 10}}, {{2, 1, 4, 5}}, {{2, 1, 4, 5}}}, [](In x) { return rotary(x[0], x[1], x[2]); }},
      {"rms_norm", {{{4, 33}}, {{33}}}, [](In x) { return rms_norm(x[0], x[1], 1e-6); }},
      {"cross_entropy", {{{6, 11}}, {{6}, 0, 0, 11}}, [](In x) { return cross_entropy(x[0], x[1]); }},
      {"cross_entropy_smooth", {{{6, 11}}, {{6}, 0, 0, 11}}, [](In x) { return cross_entropy(x[0], x[1], Reduction::sum, -100, 0.1); }},
      {"cross_entropy_ignore", {{{6, 11}}, {{6}, 0, 0, 4}}, [](In x) { return cross_entropy(x[0], x[1], Reduction::mean, 2); }},
      {"attention", {{{2, 3, 7, 8}}, {{2, 3, 7, 8}}, {{2, 3, 7, 8}}}, [](In x) { return scaled_dot_product_attention(x[0], x[1], x[2]); }},
      {"attention_causal", {{{2, 7, 8}}, {{2, 7, 8}}, {{2, 7, 8}}},
       [](In x) { return scaled_dot_product_attention(x[0], x[1], x[2], {}, {.causal = true}); }},
      {"attention_mask", {{{2, 7, 8}}, {{2, 9, 8}}, {{2, 9, 8}}, {{7, 9}}},
       [](In x) { return scaled_dot_product_attention(x[0], x[1], x[2], x[3]); }},
      {"attention_causal_long", {{{2, 7, 8}}, {{2, 70, 8}}, {{2, 70, 8}}},
       [](In x) { return scaled_dot_product_attention(x[0], x[1], x[2], {}, {.causal = true}); }},
      // Query 2 sees nothing; keys and values are shared by the heads.
      {"attention_bool_mask", {{{2, 3, 7, 8}}, {{2, 1, 9, 8}}, {{2, 1, 9, 8}}, {{1, 7, 9}, 0, 0, 3}},
       [](In x) {
         Tensor mask = logical_and(x[3] != 0.0, arange(7).reshape({7, 1}) != 2.0);
         return scaled_dot_product_attention(x[0], x[1], x[2], mask, {.scale = 0.5});
       }},
      {"attention_projected", {{{2, 70, 72}}},
       [](In x) {
         std::vector<Tensor> heads;
         for (int64_t i = 0; i < 3; ++i)
           heads.push_back(x[0].slice(2, 24 * i, 24 * (i + 1)).reshape({2, 70, 3, 8}).transpose(1, 2));
         return scaled_dot_product_attention(heads[0], heads[1], heads[2], {}, {.causal = true}).transpose(1, 2).reshape({2, 70, 24});
       }},
      // images
      {"conv2d", {{{2, 3, 7, 6}}, {{5, 3, 3, 2}}, {{5}}}, [](In x) { return conv2d(x[0], x[1], x[2]); }},
      {"conv2d_strided", {{{2, 4, 9, 11}}, {{6, 4, 3, 3}}},
       [](In x) { return conv2d(x[0], x[1], {}, {.stride = {2, 3}, .padding = {1, 2}}); }},
      {"conv2d_dilated", {{{1, 2, 11, 9}}, {{3, 2, 3, 3}}, {{3}}},
       [](In x) { return conv2d(x[0], x[1], x[2], {.stride = 2, .padding = 2, .dilation = {2, 1}}); }},
      {"conv2d_groups", {{{2, 6, 5, 8}}, {{4, 3, 3, 3}}, {{4}}},
       [](In x) { return conv2d(x[0], x[1], x[2], {.padding = 1, .groups = 2}); }},
      {"conv2d_depthwise", {{{2, 5, 6, 6}}, {{5, 1, 3, 3}}}, [](In x) { return conv2d(x[0], x[1], {}, {.padding = 1, .groups = 5}); }},
      {"conv2d_pointwise", {{{3, 6, 4, 5}}, {{7, 6, 1, 1}}, {{7}}}, [](In x) { return conv2d(x[0], x[1], x[2]); }},
      {"conv2d_pointwise_strided", {{{2, 6, 7, 5}}, {{4, 6, 1, 1}}}, [](In x) { return conv2d(x[0], x[1], {}, {.stride = 2}); }},
      {"conv2d_patches", {{{2, 3, 8, 12}}, {{10, 3, 4, 4}}, {{10}}}, [](In x) { return conv2d(x[0], x[1], x[2], {.stride = 4}); }},
      {"conv2d_wide_padding", {{{1, 2, 3, 2}}, {{2, 2, 3, 3}}}, [](In x) { return conv2d(x[0], x[1], {}, {.padding = 4}); }},
      {"conv2d_many_pixels", {{{1, 2, 40, 37}}, {{3, 2, 3, 3}}, {{3}}}, [](In x) { return conv2d(x[0], x[1], x[2], {.padding = 1}); }},
      {"conv2d_one_image", {{{3, 7, 6}}, {{5, 3, 3, 2}}}, [](In x) { return conv2d(x[0], x[1]); }},
      {"conv1d", {{{2, 4, 13}}, {{6, 2, 3}}, {{6}}},
       [](In x) { return conv1d(x[0], x[1], x[2], {.stride = 2, .padding = 1, .dilation = 2, .groups = 2}); }},
      {"max_pool2d", {{{2, 3, 8, 7}}}, [](In x) { return max_pool2d(x[0], 2); }, true, false},
      {"max_pool2d_padded", {{{2, 3, 9, 7}}},
       [](In x) { return max_pool2d(x[0], 3, {.stride = Size2{2}, .padding = 1}); }, true, false},
      {"max_pool2d_ceil", {{{1, 2, 10, 9}}},
       [](In x) { return max_pool2d(x[0], {3, 2}, {.stride = Size2{3, 2}, .padding = {1, 0}, .dilation = {1, 2}, .ceil_mode = true}); }, true,
       false},
      {"avg_pool2d", {{{2, 3, 8, 7}}}, [](In x) { return avg_pool2d(x[0], 2); }},
      {"avg_pool2d_padded", {{{2, 3, 9, 7}}}, [](In x) { return avg_pool2d(x[0], 3, {.stride = Size2{2}, .padding = 1}); }},
      {"avg_pool2d_inside", {{{2, 3, 9, 8}}},
       [](In x) { return avg_pool2d(x[0], {3, 4}, {.stride = Size2{2, 3}, .padding = {1, 2}, .ceil_mode = true, .count_include_pad = false}); }},
      {"avg_pool2d_ceil", {{{2, 3, 8, 8}}},
       [](In x) { return avg_pool2d(x[0], 3, {.stride = Size2{2}, .padding = 1, .ceil_mode = true}); }},
      {"avg_pool2d_divisor", {{{1, 2, 6, 6}}}, [](In x) { return avg_pool2d(x[0], 3, {.padding = 1, .divisor_override = 5}); }},
      {"adaptive_avg_pool2d", {{{2, 3, 7, 10}}}, [](In x) { return adaptive_avg_pool2d(x[0], {3, 4}); }},
      {"adaptive_avg_pool2d_even", {{{2, 3, 6, 8}}}, [](In x) { return adaptive_avg_pool2d(x[0], {3, 2}); }},
      {"adaptive_avg_pool2d_larger", {{{1, 2, 3, 4}}}, [](In x) { return adaptive_avg_pool2d(x[0], {5, 6}); }},
      {"adaptive_avg_pool2d_one", {{{2, 3, 7, 5}}}, [](In x) { return adaptive_avg_pool2d(x[0], 1); }},
      {"batch_norm", {{{4, 3, 5, 6}}, {{3}}, {{3}}},
       [](In x) { return batch_norm(x[0], {}, {}, x[1], x[2], {.training = true}); }},
      {"batch_norm_vector", {{{9, 4}}, {{4}}, {{4}}}, [](In x) { return batch_norm(x[0], {}, {}, x[1], x[2], {.training = true, .eps = 0.1}); }},
      {"batch_norm_plain", {{{4, 3, 7}}}, [](In x) { return batch_norm(x[0], {}, {}, {}, {}, {.training = true}); }},
      {"batch_norm_inference", {{{4, 3, 5, 6}}, {{3}}, {{3}, 0.25, 3}, {{3}}, {{3}}},
       [](In x) { return batch_norm(x[0], x[1], x[2], x[3], x[4]); }},
  };
  return list;
}

Tensor operand(const Case& c, size_t i, DType dtype) {
  const Operand& o = c.operands[i];
  int64_t n = 1;
  for (int64_t d : o.shape) n *= d;
  std::vector<double> values(n);
  std::vector<int64_t> integers(n);
  for (int64_t k = 0; k < n; ++k) {
    // A multiplicative hash of the position and the operand.
    uint64_t x = (static_cast<uint64_t>(k) + 1) * 0x9e3779b97f4a7c15u + (i + 1) * 0xbf58476d1ce4e5b9u;
    x ^= x >> 29;
    x *= 0x94d049bb133111ebu;
    x ^= x >> 32;
    double u = static_cast<double>(x >> 11) * 0x1p-53;
    values[k] = static_cast<float>(o.low + u * (o.high - o.low));
    if (o.classes) integers[k] = static_cast<int64_t>(x % static_cast<uint64_t>(o.classes));
  }
  if (o.classes) return from_vector(integers, o.shape);
  return from_vector(values, o.shape).to(dtype);
}

}  // namespace corten::testing
