// The convolution forward and backward, bound by memory: each signal is read and written once.
#include "causal_conv1d/cpu_tile.h"
#include "common/sum.h"

namespace motion_lab::causal_conv1d::cpu::MOTION_LAB_ISA {
namespace {

// A column's outputs.
template <class F, class T>
void convolve(const Column<F>& column, const F* signal, F* result, bool silu,
              const Ahead<F, T>& ahead) {
  using V = Vec<F>;
  for_vectors(column.count, [&](auto n, int64_t i) {
    const int64_t at = column.first + i * column.stride;
    V sums[n];
    for (int j = 0; j < n; ++j) {
      ahead.fetch(column.index, i + j);
      sums[j] = column.taps[column.width];
    }
    correlate<n>(column, signal + at, column.pitch, sums);
    for (int j = 0; j < n; ++j)
      store(result + at + j * column.stride, silu ? V(sums[j] * simd::sigmoid(sums[j])) : sums[j]);
  });
}

// Puts the gradient of what is before SiLU in the place of the outputs', and adds to those of the
// taps and the bias.
template <class F, class T>
void differentiate(const Column<F>& column, const F* signal, F* slope, bool silu,
                   const Ahead<F, T>& ahead, Vec<F>* totals) {
  using V = Vec<F>;
  for_vectors(column.count, [&](auto n, int64_t i) {
    const int64_t at = column.first + i * column.stride;
    V pre[n], d[n];
    for (int j = 0; j < n; ++j) {
      ahead.fetch(column.index, i + j);
      pre[j] = column.taps[column.width];
      d[j] = load(slope + at + j * column.stride);
    }
    if (silu) {
      correlate<n>(column, signal + at, column.pitch, pre);
      for (int j = 0; j < n; ++j) {
        const V open = simd::sigmoid(pre[j]);
        d[j] *= open * (1 + pre[j] * (1 - open));
        store(slope + at + j * column.stride, d[j]);
      }
    }
    for (int64_t k = 0; k < column.width; ++k) {
      V sum{};
      for (int j = 0; j < n; ++j)
        sum += d[j] * load(signal + at + k * column.pitch + j * column.stride);
      totals[k] += sum;
    }
    for (int j = 1; j < n; ++j) d[0] += d[j];
    totals[column.width] += d[0];
  });
}

// The gradient of what the outputs saw, from that of what is before SiLU.
template <class F>
void spread(const Column<F>& column, const F* slope, F* result) {
  for_vectors(column.count, [&](auto n, int64_t i) {
    const int64_t at = column.first + i * column.stride;
    Vec<F> sums[n] = {};
    correlate<n>(column, slope + at, -column.pitch, sums);
    for (int j = 0; j < n; ++j) store(result + at + j * column.stride, sums[j]);
  });
}

template <class T>
void forward_of(const Inputs& inputs, const Tensor& out, int threads) {
  using F = compute_t<T>;
  const Cut cut(inputs, kLanes<F>, threads);
  const int64_t edges = cut.width - 1, kept = edges * cut.channels;
  const Continued<F, T> p{inputs.x, inputs.edge, cut, inputs.reverse};

  parallel_ranges(cut.units * cut.batch, threads, [&](int64_t begin, int64_t end, int) {
    Buffer<F> signal(cut.buffer(kLanes<F>)), result(cut.buffer(kLanes<F>));
    signal.zero(cut.buffer(kLanes<F>));
    Taps<F> taps(inputs, cut);
    int64_t loaded = -1;
    for (int64_t at = begin; at < end; ++at) {
      const int64_t b = at % cut.batch, channel = at / cut.batch * cut.channels;
      const int64_t channels = std::min(cut.channels, cut.dim - channel);
      if (channel != loaded) taps.load(channel, channels);
      loaded = channel;
      p.read({b, channel, channels, 0, edges}, signal.data());
      for (int64_t t = 0; t < cut.length; t += cut.steps) {
        const int64_t count = std::min(cut.steps, cut.length - t);
        p.read({b, channel, channels, t + edges, count}, signal.data() + kept);
        const Ahead<F, T> ahead(cut, {b, channel, channels, t + count, 0}, {&inputs.x, &out});
        for (int64_t i = 0; i < taps.columns(); ++i)
          convolve(taps.column(i, count), signal.data(), result.data(), inputs.silu, ahead);
        copy<F, T, true>(out, cut, {b, channel, channels, t, count}, result.data());
        std::copy_n(signal.data() + count * cut.channels, kept, signal.data());
      }
    }
  });
}

// With g the gradient of out, and d = g silu'(pre) that of pre:
//
//   dp_s = Σ_k tap_k d_{s-k},   dtap_k = Σ_t d_t p_{t+k},   dbias = Σ_t d_t.
//
// Rows s are those of p, so that there are more than of g, which is zero there; the last ones of d
// are carried on from tile to tile.
template <class T>
void backward_of(const Inputs& inputs, const Gradients& gradients, int threads) {
  using F = compute_t<T>;
  using V = Vec<F>;
  const Cut cut(inputs, kLanes<F>, threads);
  const int64_t edges = cut.width - 1, kept = edges * cut.channels, all = cut.buffer(kLanes<F>);
  const Tensor none;
  const Continued<F, T> p{inputs.x, inputs.edge, cut, inputs.reverse};
  const Continued<F, T> dp{gradients.x, gradients.edge, cut, inputs.reverse};
  const Continued<F, T> g{gradients.out, none, cut, true};
  const int64_t sums = cut.width + 1;
  // dtap and dbias by part of the batch and channel.
  Buffer<F> partial(cut.parts * cut.dim * sums);

  parallel_ranges(cut.units * cut.parts, threads, [&](int64_t begin, int64_t end, int) {
    Buffer<F> signal(all), slope(all), result(all);
    Taps<F> taps(inputs, cut);
    Buffer<CompensatedSum<V>> totals(taps.columns() * sums);
    Buffer<V> added(sums);
    for (int64_t at = begin; at < end; ++at) {
      const int64_t channel = at / cut.parts * cut.channels, part = at % cut.parts;
      const int64_t channels = std::min(cut.channels, cut.dim - channel);
      taps.load(channel, channels);
      signal.zero(all);
      slope.zero(all);
      totals.zero(taps.columns() * sums);
      for (int64_t b = part * cut.batch / cut.parts; b < (part + 1) * cut.batch / cut.parts; ++b) {
        p.read({b, channel, channels, 0, edges}, signal.data());
        std::fill_n(slope.data(), kept, F(0));
        for (int64_t t = 0; t < cut.rows(); t += cut.steps) {
          const int64_t count = std::min(cut.steps, cut.rows() - t);
          p.read({b, channel, channels, t + edges, count}, signal.data() + kept);
          g.read({b, channel, channels, t, count}, slope.data() + kept);
          const Ahead<F, T> ahead(cut, {b, channel, channels, t + count, 0},
                                  {&inputs.x, &gradients.out, &gradients.x});
          for (int64_t i = 0; i < taps.columns(); ++i) {
            const Column<F> column = taps.column(i, count);
            added.zero(sums);
            differentiate(column, signal.data(), slope.data() + kept, inputs.silu, ahead,
                          added.data());
            for (int64_t k = 0; k < sums; ++k) totals[i * sums + k].add(added[k]);
            spread(column, slope.data() + kept, result.data());
          }
          dp.write({b, channel, channels, t, count}, result.data());
          for (Buffer<F>* buffer : {&signal, &slope})
            std::copy_n(buffer->data() + count * cut.channels, kept, buffer->data());
        }
      }
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t k = 0; k < sums; ++k) {
          const V total = totals[(cut.along_channels ? c / kLanes<F> : 0) * sums + k].sum;
          partial[(part * cut.dim + channel + c) * sums + k] =
              cut.along_channels ? total[c % kLanes<F>] : sum_of_lanes<F>(total);
        }
    }
  });

  const View<F, 2> weight(gradients.weight);
  const View<F, 1> bias(gradients.bias);
  for (int64_t c = 0; c < cut.dim; ++c)
    for (int64_t k = 0; k < sums; ++k) {
      F sum = 0;
      for (int64_t part = 0; part < cut.parts; ++part)
        sum += partial[(part * cut.dim + c) * sums + k];
      if (k < cut.width)
        weight(c, inputs.reverse ? cut.width - 1 - k : k) = sum;
      else if (bias)
        bias(c) = sum;
    }
}

}  // namespace

void forward(const Inputs& inputs, const Tensor& out, int threads) {
  dispatch_floating(inputs.x.dtype,
                    [&](auto type) { forward_of<decltype(type)>(inputs, out, threads); });
}

void backward(const Inputs& inputs, const Gradients& gradients, int threads) {
  dispatch_floating(inputs.x.dtype,
                    [&](auto type) { backward_of<decltype(type)>(inputs, gradients, threads); });
}

}  // namespace motion_lab::causal_conv1d::cpu::MOTION_LAB_ISA
