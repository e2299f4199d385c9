// The scan forward, and one step of it. The backward is in cpu_backward.cpp.
#include "selective_scan/cpu_blocks.h"
#include "selective_scan/cpu_decay.h"

namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA {
namespace {

// Advances N states over the steps of a chunk, and adds what they give to y.
template <int N, bool kBounded, class F, class Item, class EachStep>
void advance(const Vec<F>* d, const Vec<F>* dx, int steps, const Vec<F>* rate, Vec<F>* h,
             const Item* b, int64_t b_step, const Item* c, int64_t c_step, Vec<F>* y,
             EachStep each_step) {
  constexpr int kGroup = std::min(N, 4);
  Vec<F> state[N], rates[N];
  for (int n = 0; n < N; ++n) {
    state[n] = h[n];
    rates[n] = rate[n];
  }
  for (int t = 0; t < steps; ++t, b += b_step, c += c_step) {
    each_step(t);
    Vec<F> even = y[t], odd{};  // two chains, each half as long
#pragma GCC unroll 8
    for (int first = 0; first < N; first += kGroup) {
      Vec<F> e[kGroup];
      Decay<F>::template of<kGroup, kBounded>(d[t], rates + first, e);
#pragma GCC unroll 8
      for (int i = 0; i < kGroup; ++i) {
        const int n = first + i;
        state[n] = e[i] * state[n] + dx[t] * b[n];
        (n % 2 ? odd : even) += state[n] * c[n];
      }
    }
    y[t] = even + odd;
  }
  for (int n = 0; n < N; ++n) h[n] = state[n];
}

template <class F, bool kUniform>
void run_task(const Task& task, const Plan& plan, const Inputs& inputs, const Outputs& outputs) {
  using V = Vec<F>;
  const View<F, 2> A(inputs.A);
  const View<F, 1> D(inputs.D), delta_bias(inputs.delta_bias);
  const View<F, 3> initial(inputs.initial_state), last(outputs.last_state);
  const Sequence& sequence = task.sequence;
  const int64_t states = A.size[1], dim = A.size[0], blocks = task.last - task.first;

  constexpr int64_t visit = kUniform ? kVisit : 1;
  Coefficients<F, kUniform> B(inputs.B, plan.group_size, visit);
  Coefficients<F, kUniform> C(inputs.C, plan.group_size, visit);
  Buffer<V> rates(blocks * states), state(blocks * states);
  for (int64_t i = 0; i < blocks; ++i) {
    const Block block = plan.blocks[task.first + i];
    load_states(A, block, &rates[i * states]);
    for (int64_t n = 0; n < states; ++n)
      rates[i * states + n] = Decay<F>::scaled(rates[i * states + n]);
    std::fill_n(&state[i * states], states, V{});
    if (initial) load_states(matrix_of(initial, sequence.index), block, &state[i * states]);
  }

  V d[kChunk], x[kChunk], y[kChunk];
  const auto scan_chunk = [&](int64_t chunk, int64_t i, int64_t first_chunk) {
    const Steps steps(sequence, chunk, inputs.reverse);
    const Block block = plan.blocks[task.first + i];
    V* h = &state[i * states];
    const V* rate = &rates[i * states];
    if constexpr (!kUniform) {
      B.load_block(sequence.row, block, steps);
      C.load_block(sequence.row, block, steps);
    }
    if (outputs.checkpoints) {
      F* kept = outputs.checkpoints.as<F>() + (sequence.first_chunk + chunk) * states * dim +
                block.channel;
      for (int64_t n = 0; n < states; ++n) store_lanes(kept + n * dim, h[n], block);
    }
    load_tile<F>(inputs.delta, sequence.row, block, steps, d);
    load_tile<F>(inputs.u, sequence.row, block, steps, x);
    const V bias = load_channels(delta_bias, block), skip = load_channels(D, block);
    const int64_t parts = std::max<int64_t>(states / kTogether, 1);
    const bool stays = chunk + 1 < std::min(first_chunk + visit, sequence.chunks());
    const int64_t next = stays ? i : std::min(i + 1, blocks - 1);
    const Ahead ahead(Steps(sequence, stays ? chunk + 1 : first_chunk, inputs.reverse),
                      sequence.row, plan.blocks[task.first + next], false,
                      {&inputs.delta, &inputs.u, &inputs.z, &outputs.out}, steps.count, parts);
    for (int t = 0; t < steps.count; ++t) {
      d[t] += bias;
      if (inputs.delta_softplus) d[t] = simd::softplus(d[t]);
      y[t] = skip * x[t];
      x[t] *= d[t];
    }
    const auto* b = B.at((chunk - first_chunk) * kChunk);
    const auto* c = C.at((chunk - first_chunk) * kChunk);
    with_bound<F>(d, steps.count, rate, states, [&](auto bounded) {
      for_states<kTogether>(states, [&](auto together, int64_t n) {
        advance<together, bounded, F>(
            d, x, steps.count, rate + n, h + n, b + n, B.step(), c + n, C.step(), y,
            [&](int t) __attribute__((always_inline)) { ahead.fetch(t, n / together); });
      });
    });
    if (inputs.z) {
      load_tile<F>(inputs.z, sequence.row, block, steps, x);
      for (int t = 0; t < steps.count; ++t) y[t] *= x[t] * simd::sigmoid(x[t]);
    }
    store_tile<F>(outputs.out, sequence.row, block, steps, y);
  };
  for (int64_t first = 0; first < sequence.chunks(); first += visit) {
    const int64_t end = std::min(first + visit, sequence.chunks());
    if constexpr (kUniform) {
      const Steps steps(sequence, first, inputs.reverse, visit);
      B.load_group(sequence.row, task.group, steps);
      C.load_group(sequence.row, task.group, steps);
    }
    for (int64_t i = 0; i < blocks; ++i)
      for (int64_t chunk = first; chunk < end; ++chunk) scan_chunk(chunk, i, first);
  }
  for (int64_t i = 0; i < blocks; ++i)
    store_states(matrix_of(last, sequence.index), plan.blocks[task.first + i], &state[i * states]);
}

// The (dim, state) or (group, state) rows of one batch row's step, read as vectors of states.
template <class F>
struct StateRow {
  F* data;
  int64_t stride;

  Vec<F> get(int64_t n, int64_t count) const {
    if (stride == 1 && count == kLanes<F>) return load(data + n);
    F lanes[kLanes<F>] = {};
    for (int64_t i = 0; i < count; ++i) lanes[i] = data[(n + i) * stride];
    return load(lanes);
  }
  void set(int64_t n, int64_t count, Vec<F> value) const {
    if (stride == 1 && count == kLanes<F>) return store(data + n, value);
    F lanes[kLanes<F>];
    store(lanes, value);
    for (int64_t i = 0; i < count; ++i) data[(n + i) * stride] = lanes[i];
  }
};

// One step has no time to go along: lanes are states, as they lie in memory.
template <class F>
void step_of(const Step& arguments, int threads) {
  using V = Vec<F>;
  constexpr int64_t lanes = kLanes<F>;
  const View<F, 3> state(arguments.state), B(arguments.B), C(arguments.C);
  const View<F, 2> u(arguments.u), delta(arguments.delta), z(arguments.z), out(arguments.out);
  const View<F, 2> A(arguments.A);
  const View<F, 1> D(arguments.D), delta_bias(arguments.delta_bias);
  const int64_t batches = u.size[0], channels = u.size[1], states = A.size[1];
  const int64_t group_size = channels / B.size[1], blocks = (channels + lanes - 1) / lanes;

  parallel_ranges(batches * blocks, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t at = begin; at < end; ++at) {
      const int64_t b = at / blocks, first = at % blocks * lanes;
      const Block block{first, static_cast<int>(std::min(lanes, channels - first))};
      // A value a channel of the block, from a (batch, dim) tensor.
      const auto load_row = [&](const View<F, 2>& source) {
        F values[lanes] = {};
        for (int i = 0; i < block.count; ++i) values[i] = source(b, first + i);
        return load(values);
      };
      V d = load_row(delta) + load_channels(delta_bias, block);
      if (arguments.delta_softplus) d = simd::softplus(d);
      const V x = load_row(u);
      F steps[lanes], inputs[lanes], sums[lanes] = {};
      store(steps, d);
      store(inputs, V(d * x));
      V products[lanes] = {};
      for (int i = 0; i < block.count; ++i) {
        const int64_t c = first + i, g = c / group_size;
        const StateRow<F> h{&state(b, c, 0), state.stride[2]};
        const StateRow<F> rate{&A(c, 0), A.stride[1]};
        const StateRow<F> from{&B(b, g, 0), B.stride[2]}, to{&C(b, g, 0), C.stride[2]};
        const V now = V{} + steps[i];
        for (int64_t n = 0; n < states; n += lanes) {
          const int64_t count = std::min(lanes, states - n);
          const V scaled = Decay<F>::scaled(rate.get(n, count));
          V e;
          Decay<F>::template of<1, false>(now, &scaled, &e);
          const V after = e * h.get(n, count) + inputs[i] * from.get(n, count);
          h.set(n, count, after);
          products[i] += after * to.get(n, count);
        }
      }
      constexpr int kSums = static_cast<int>(std::min<int64_t>(lanes, 4));
      for (int i = 0; i < block.count; i += kSums) add_sums<kSums>(products + i, sums + i);
      V y = load(sums) + load_channels(D, block) * x;
      if (z) {
        const V gate = load_row(z);
        y *= gate * simd::sigmoid(gate);
      }
      store(sums, y);
      for (int i = 0; i < block.count; ++i) out(b, first + i) = sums[i];
    }
  });
}

}  // namespace

void forward(const Inputs& inputs, const Outputs& outputs, int threads) {
  dispatch_compute(inputs.u.dtype, [&](auto type) {
    using F = decltype(type);
    const Plan plan(inputs, kLanes<F>, threads);
    parallel_for(plan.tasks.size(), threads, [&](int64_t i) {
      const auto run = plan.uniform ? run_task<F, true> : run_task<F, false>;
      run(plan.tasks[i], plan, inputs, outputs);
    });
  });
}

void step(const Step& arguments, int threads) {
  dispatch_compute(arguments.u.dtype,
                   [&](auto type) { step_of<decltype(type)>(arguments, threads); });
}

}  // namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA
