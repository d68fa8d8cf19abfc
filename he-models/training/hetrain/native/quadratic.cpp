// Normalisation followed by a quadratic per channel, forward and backward, on the CPU.
//
// Tensors are channels-last, so a "row" is one pixel: C consecutive channel values. Each pass reads its
// inputs once, computes in float32 and writes once; without the fusion the same work is some ten passes over
// memory and costs more than the convolutions. Channels are taken sixteen at a time as one vector.
//
//   z = (x - mean) * inv_std         c = clamp(z, -bound, bound)         y = k0 + k1 c + k2 c^2
//
// Sums go through a fixed number of row ranges, added in order, so results do not depend on the thread count.
#include <ATen/Parallel.h>
#include <torch/extension.h>

#include <cstdint>
#include <cstring>
#include <tuple>
#include <vector>

namespace {

using at::Tensor;

constexpr int64_t LANES = 16;
constexpr int64_t RANGES = 32;     // row ranges of a reduction
constexpr int64_t BLOCK_ROWS = 256;  // rows summed in float32 before they are added to float64 totals

typedef float Float16 __attribute__((vector_size(64)));
typedef uint32_t Word16 __attribute__((vector_size(64)));
typedef uint16_t Half16 __attribute__((vector_size(32)));

inline Float16 splat(float value) { return value - Float16{}; }

inline Float16 load(const float* from) {
  Float16 v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Float16 v) { std::memcpy(to, &v, sizeof v); }

inline Float16 load(const at::BFloat16* from) {
  Half16 half;
  std::memcpy(&half, from, sizeof half);
  const Word16 word = __builtin_convertvector(half, Word16) << 16;
  Float16 v;
  std::memcpy(&v, &word, sizeof v);
  return v;
}

inline void store(at::BFloat16* to, Float16 v) {  // round to nearest, ties to even
  Word16 word;
  std::memcpy(&word, &v, sizeof word);
  word = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  const Half16 half = __builtin_convertvector(word, Half16);
  std::memcpy(to, &half, sizeof half);
}

inline Float16 positive_part(Float16 v) { return v > 0.0f ? v : splat(0.0f); }

// Per-channel constants of one group of sixteen channels.
struct Channel16 {
  Float16 mean, inv_std, k0, k1, k2;
  Float16 low{}, high{};  // z between them costs nothing

  Channel16(const float* m, const float* s, const float* k, int64_t channels, int64_t c)
      : mean(load(m + c)), inv_std(load(s + c)), k0(load(k + c)), k1(load(k + channels + c)), k2(load(k + 2 * channels + c)) {}
  Channel16(const float* m, const float* s, const float* k, const float* free, int64_t channels, int64_t c)
      : Channel16(m, s, k, channels, c) {
    low = load(free + c);
    high = load(free + channels + c);
  }

  Float16 normalise(Float16 x) const { return (x - mean) * inv_std; }
  Float16 value(Float16 z) const { return k0 + z * (k1 + k2 * z); }
  Float16 slope(Float16 z) const { return k1 + (k2 + k2) * z; }
};

// What keeps |z| small: values are clamped at `bound`, and weight * mean(e^2) is added to the loss, e being how far z lies
// outside of [low, high]; the gradient grows no more from e = cap on. scale = 2 * weight / elements.
struct Tail {
  float bound, cap, scale;

  Float16 clamp(Float16 z) const {
    z = z > bound ? splat(bound) : z;
    return z < -bound ? splat(-bound) : z;
  }
  Float16 penalty_gradient(const Channel16& ch, Float16 z) const {
    const Float16 above = positive_part(z - ch.high), below = positive_part(ch.low - z);
    return scale * ((above < cap ? above : splat(cap)) - (below < cap ? below : splat(cap)));
  }
  // Gradient of z, given that of y.
  Float16 gradient(const Channel16& ch, Float16 z, Float16 g) const {
    const Float16 inside = (z <= bound) & (z >= -bound) ? g : splat(0.0f);
    return inside * ch.slope(z) + penalty_gradient(ch, z);
  }
};

template <typename Body>
void over_ranges(int64_t rows, const Body& body) {
  at::parallel_for(0, RANGES, 1, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) body(r, rows * r / RANGES, rows * (r + 1) / RANGES);
  });
}

// Sums of SUMS per-channel quantities over all rows: `add(channel16, row, c, sums)` adds one vector to each.
template <int SUMS, typename Add>
std::vector<double> reduce(int64_t rows, int64_t channels, const Add& add) {
  std::vector<double> partial(RANGES * SUMS * channels, 0.0);
  over_ranges(rows, [&](int64_t range, int64_t first, int64_t last) {
    double* total = &partial[range * SUMS * channels];
    for (int64_t block = first; block < last; block += BLOCK_ROWS) {
      const int64_t end = std::min(last, block + BLOCK_ROWS);
      for (int64_t c = 0; c < channels; c += LANES) {
        Float16 sums[SUMS] = {};
        add(block, end, c, sums);
        for (int s = 0; s < SUMS; ++s)
          for (int64_t lane = 0; lane < LANES; ++lane) total[s * channels + c + lane] += sums[s][lane];
      }
    }
  });
  std::vector<double> result(SUMS * channels, 0.0);
  for (int64_t range = 0; range < RANGES; ++range)
    for (int64_t i = 0; i < SUMS * channels; ++i) result[i] += partial[range * SUMS * channels + i];
  return result;
}

void check(const Tensor& x) {
  TORCH_CHECK(x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast), "expected a channels-last image tensor");
  TORCH_CHECK(x.size(1) % LANES == 0, "expected a multiple of 16 channels, found ", x.size(1));
}

template <typename T>
std::tuple<Tensor, Tensor> moments_of(const Tensor& x) {
  const int64_t channels = x.size(1), rows = x.numel() / channels;
  const T* xs = x.data_ptr<T>();
  const auto sums = reduce<2>(rows, channels, [&](int64_t first, int64_t last, int64_t c, Float16* s) {
    for (int64_t r = first; r < last; ++r) {
      const Float16 v = load(xs + r * channels + c);
      s[0] += v;
      s[1] += v * v;
    }
  });
  Tensor mean = at::empty({channels}), variance = at::empty({channels});
  for (int64_t c = 0; c < channels; ++c) {
    const double m = sums[c] / rows;
    mean.data_ptr<float>()[c] = static_cast<float>(m);
    variance.data_ptr<float>()[c] = static_cast<float>(std::max(0.0, sums[channels + c] / rows - m * m));
  }
  return {mean, variance};
}

template <typename T>
Tensor forward_of(const Tensor& x, const Tensor& mean, const Tensor& inv_std, const Tensor& k, double bound) {
  const int64_t channels = x.size(1), rows = x.numel() / channels;
  Tensor y = at::empty_like(x);
  const T* xs = x.data_ptr<T>();
  T* ys = y.data_ptr<T>();
  const Tail tail{static_cast<float>(bound), 0.0f, 0.0f};
  over_ranges(rows, [&](int64_t, int64_t first, int64_t last) {
    for (int64_t block = first; block < last; block += BLOCK_ROWS)
      for (int64_t c = 0; c < channels; c += LANES) {
        const Channel16 ch(mean.data_ptr<float>(), inv_std.data_ptr<float>(), k.data_ptr<float>(), channels, c);
        for (int64_t r = block; r < std::min(last, block + BLOCK_ROWS); ++r)
          store(ys + r * channels + c, ch.value(tail.clamp(ch.normalise(load(xs + r * channels + c)))));
      }
  });
  return y;
}

template <typename T>
std::tuple<Tensor, Tensor> backward_of(const Tensor& gradient, const Tensor& x, const Tensor& mean, const Tensor& inv_std,
                                       const Tensor& k, const Tensor& free, double bound, double cap, double weight,
                                       bool batch_statistics) {
  const int64_t channels = x.size(1), rows = x.numel() / channels;
  const Tail tail{static_cast<float>(bound), static_cast<float>(cap),
                  static_cast<float>(2.0 * weight / static_cast<double>(x.numel()))};
  const T *xs = x.data_ptr<T>(), *gs = gradient.data_ptr<T>();
  const float *m = mean.data_ptr<float>(), *s = inv_std.data_ptr<float>(), *ks = k.data_ptr<float>(), *fs = free.data_ptr<float>();

  const auto sums = reduce<5>(rows, channels, [&](int64_t first, int64_t last, int64_t c, Float16* total) {
    const Channel16 ch(m, s, ks, fs, channels, c);
    for (int64_t r = first; r < last; ++r) {
      const Float16 z = ch.normalise(load(xs + r * channels + c)), g = load(gs + r * channels + c);
      const Float16 value = tail.clamp(z), dz = tail.gradient(ch, z, g);
      total[0] += g;
      total[1] += g * value;
      total[2] += g * value * value;
      total[3] += dz;
      total[4] += dz * z;
    }
  });
  Tensor dk = at::empty({3, channels});
  for (int64_t i = 0; i < 3 * channels; ++i) dk.data_ptr<float>()[i] = static_cast<float>(sums[i]);
  std::vector<float> centre(channels, 0.0f), slope(channels, 0.0f);  // what the batch's own mean and variance take away
  if (batch_statistics)
    for (int64_t c = 0; c < channels; ++c) {
      centre[c] = static_cast<float>(sums[3 * channels + c] / rows);
      slope[c] = static_cast<float>(sums[4 * channels + c] / rows);
    }

  Tensor dx = at::empty_like(x);
  T* out = dx.data_ptr<T>();
  over_ranges(rows, [&](int64_t, int64_t first, int64_t last) {
    for (int64_t block = first; block < last; block += BLOCK_ROWS)
      for (int64_t c = 0; c < channels; c += LANES) {
        const Channel16 ch(m, s, ks, fs, channels, c);
        const Float16 a = load(&centre[c]), b = load(&slope[c]);
        for (int64_t r = block; r < std::min(last, block + BLOCK_ROWS); ++r) {
          const Float16 z = ch.normalise(load(xs + r * channels + c));
          const Float16 dz = tail.gradient(ch, z, load(gs + r * channels + c));
          store(out + r * channels + c, (dz - a - z * b) * ch.inv_std);
        }
      }
  });
  return {dx, dk};
}

// Calls `body` with a null pointer of the tensor's element type.
template <typename Body>
auto by_type(const Tensor& x, const Body& body) {
  if (x.scalar_type() == at::kBFloat16) return body(static_cast<at::BFloat16*>(nullptr));
  TORCH_CHECK(x.scalar_type() == at::kFloat, "expected float32 or bfloat16, found ", x.scalar_type());
  return body(static_cast<float*>(nullptr));
}

std::tuple<Tensor, Tensor> moments(const Tensor& x) {
  check(x);
  return by_type(x, [&](auto* of) { return moments_of<std::remove_pointer_t<decltype(of)>>(x); });
}

Tensor forward(const Tensor& x, const Tensor& mean, const Tensor& inv_std, const Tensor& k, double bound) {
  check(x);
  return by_type(x, [&](auto* of) { return forward_of<std::remove_pointer_t<decltype(of)>>(x, mean, inv_std, k, bound); });
}

std::tuple<Tensor, Tensor> backward(const Tensor& gradient, const Tensor& x, const Tensor& mean, const Tensor& inv_std,
                                    const Tensor& k, const Tensor& free, double bound, double cap, double weight,
                                    bool batch_statistics) {
  check(x);
  check(gradient);
  TORCH_CHECK(free.is_contiguous() && free.size(1) == x.size(1), "expected the lowest and highest free z of every channel");
  return by_type(x, [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    return backward_of<T>(gradient, x, mean, inv_std, k, free, bound, cap, weight, batch_statistics);
  });
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("moments", &moments, "mean and biased variance per channel");
  m.def("forward", &forward, "k0 + k1 z + k2 z^2");
  m.def("backward", &backward, "gradients of the input and of k");
}
