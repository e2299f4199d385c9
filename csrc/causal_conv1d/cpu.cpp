// The convolution forward and backward, bound by memory: each signal is read and written once.
#include <vector>

#include "causal_conv1d/cpu_tile.h"

namespace motion_lab::causal_conv1d::cpu::MOTION_LAB_ISA {
namespace {

template <class T>
void forward_of(const Inputs& inputs, const Tensor& out, int threads) {
  using F = compute_t<T>;
  using V = Vec<F>;
  const Cut cut(inputs, kLanes<F>, threads);
  const int64_t edges = cut.width - 1;
  const Continued<F, T> p{inputs.x, inputs.edge, cut, inputs.reverse};

  parallel_ranges(cut.units * cut.batch, threads, [&](int64_t begin, int64_t end, int) {
    Buffer<F> signal(cut.buffer(kLanes<F>)), result(cut.buffer(kLanes<F>));
    signal.zero(cut.buffer(kLanes<F>));
    Taps<F> taps(inputs, cut);
    int64_t loaded = -1;
    for (int64_t at = begin; at < end; ++at) {
      const int64_t channel = at / cut.batch * cut.channels;
      Place rows{at % cut.batch, channel, std::min(cut.channels, cut.dim - channel), 0, edges};
      if (channel != loaded) taps.load(channel, rows.channels);
      loaded = channel;
      p.read(rows, signal.data());
      for (int64_t t = 0; t < cut.length; t += cut.steps) {
        rows.begin = t + edges;
        rows.count = std::min(cut.steps, cut.length - t);
        p.read(rows, signal.data() + edges * cut.pitch);
        const Ahead<F, T> ahead(cut, {rows.row, channel, rows.channels, t + rows.count, 0},
                                {&inputs.x, &out});
        const Walk walk(cut, rows.count, kLanes<F>);
        for (int64_t g = 0; g < walk.groups; ++g) {
          const V* tap = taps.of(g);
          for_vectors(walk.count, [&](auto n, int64_t i) {
            const int64_t first = g * kLanes<F> + i * walk.stride;
            V sums[n];
            for (V& sum : sums) sum = tap[cut.width];
            for (int j = 0; j < n; ++j) ahead.fetch(g, i + j);
            correlate<n, F>(signal.data() + first, walk.stride, cut.pitch, tap, cut.width, sums);
            for (int j = 0; j < n; ++j) {
              const V y = inputs.silu ? V(sums[j] * simd::sigmoid(sums[j])) : sums[j];
              store(result.data() + first + j * walk.stride, y);
            }
          });
        }
        copy<F, T, true>(out, cut, {rows.row, channel, rows.channels, t, rows.count},
                         result.data());
        std::copy_n(signal.data() + rows.count * cut.pitch, edges * cut.pitch, signal.data());
      }
    }
  });
}

// With g the gradient of out, and d = g silu'(pre) that of pre:
//
//   dp_s = Σ_k tap_k d_{s-k},   dtap_k = Σ_t d_t p_{t+k},   dbias = Σ_t d_t.
//
// Rows s are those of p; the last edges of d are carried on from tile to tile.
template <class T>
void backward_of(const Inputs& inputs, const Gradients& gradients, int threads) {
  using F = compute_t<T>;
  using V = Vec<F>;
  const Cut cut(inputs, kLanes<F>, threads);
  const int64_t edges = cut.width - 1, all = cut.buffer(kLanes<F>);
  const Tensor none;
  const Continued<F, T> p{inputs.x, inputs.edge, cut, inputs.reverse};
  const Continued<F, T> dp{gradients.x, gradients.edge, cut, inputs.reverse};
  const Continued<F, T> g{gradients.out, none, cut, true};
  // Of every part of the batch, by channel: dtap and dbias.
  const int64_t sums = cut.width + 1;
  Buffer<F> partial(cut.parts * cut.dim * sums);

  parallel_ranges(cut.units * cut.parts, threads, [&](int64_t begin, int64_t end, int) {
    Buffer<F> signal(all), slope(all), result(all);
    Taps<F> taps(inputs, cut);
    const int64_t groups = Walk(cut, cut.steps, kLanes<F>).groups;
    Buffer<V> totals(groups * sums), added(sums);
    for (int64_t at = begin; at < end; ++at) {
      const int64_t channel = at / cut.parts * cut.channels, part = at % cut.parts;
      const int64_t channels = std::min(cut.channels, cut.dim - channel);
      taps.load(channel, channels);
      signal.zero(all);
      slope.zero(all);
      totals.zero(groups * sums);
      for (int64_t b = part * cut.batch / cut.parts; b < (part + 1) * cut.batch / cut.parts; ++b) {
        p.read({b, channel, channels, 0, edges}, signal.data());
        std::fill_n(slope.data(), edges * cut.pitch, F(0));
        for (int64_t t = 0; t < cut.rows(); t += cut.steps) {
          const int64_t count = std::min(cut.steps, cut.rows() - t);
          p.read({b, channel, channels, t + edges, count}, signal.data() + edges * cut.pitch);
          g.read({b, channel, channels, t, count}, slope.data() + edges * cut.pitch);
          const Ahead<F, T> ahead(cut, {b, channel, channels, t + count, 0},
                                  {&inputs.x, &gradients.out, &gradients.x});
          const Walk walk(cut, count, kLanes<F>);
          for (int64_t group = 0; group < walk.groups; ++group) {
            const V* tap = taps.of(group);
            // A tile's sums by themselves: of many steps one after the other too much would be
            // lost.
            added.zero(sums);
            for_vectors(walk.count, [&](auto n, int64_t i) {
              const int64_t first = group * kLanes<F> + i * walk.stride;
              const F* from = signal.data() + first;
              F* to = slope.data() + first + edges * cut.pitch;
              V d[n];
              for (V& pre : d) pre = tap[cut.width];
              for (int j = 0; j < n; ++j) ahead.fetch(group, i + j);
              if (inputs.silu) correlate<n, F>(from, walk.stride, cut.pitch, tap, cut.width, d);
              for (int j = 0; j < n; ++j) {
                const V grad = load(to + j * walk.stride);
                if (inputs.silu) {
                  const V open = simd::sigmoid(d[j]);
                  d[j] = grad * open * (1 + d[j] * (1 - open));
                  store(to + j * walk.stride, d[j]);
                } else {
                  d[j] = grad;
                }
                added[cut.width] += d[j];
              }
              for (int64_t k = 0; k < cut.width; ++k)
                for (int j = 0; j < n; ++j)
                  added[k] += d[j] * load(from + k * cut.pitch + j * walk.stride);
            });
            for (int64_t k = 0; k < sums; ++k) totals[group * sums + k] += added[k];
            for_vectors(walk.count, [&](auto n, int64_t i) {
              const int64_t first = group * kLanes<F> + i * walk.stride;
              V found[n] = {};
              correlate<n, F>(slope.data() + first + edges * cut.pitch, walk.stride, -cut.pitch,
                              tap, cut.width, found);
              for (int j = 0; j < n; ++j) store(result.data() + first + j * walk.stride, found[j]);
            });
          }
          dp.write({b, channel, channels, t, count}, result.data());
          for (Buffer<F>* buffer : {&signal, &slope})
            std::copy_n(buffer->data() + count * cut.pitch, edges * cut.pitch, buffer->data());
        }
      }
      for (int64_t k = 0; k < sums; ++k)
        for (int64_t c = 0; c < channels; ++c) {
          const V total = totals[c / kLanes<F> * sums + k];
          F lanes[kLanes<F>];
          store(lanes, total);
          partial[(part * cut.dim + channel + c) * sums + k] =
              cut.along_channels ? lanes[c % kLanes<F>] : sum_of_lanes<F>(total);
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
