// The scan forward, and one step of it. The backward is in cpu_backward.cpp.
#include "selective_scan/cpu_blocks.h"
#include "selective_scan/math.h"

namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA {
namespace {

template <class F, bool kUniform>
void run_task(const Task& task, const Plan& plan, const Inputs& inputs, const Outputs& outputs) {
  using V = Vec<F>;
  const View<F, 2> A(inputs.A);
  const View<F, 1> D(inputs.D), delta_bias(inputs.delta_bias);
  const View<F, 3> initial(inputs.initial_state), last(outputs.last_state);
  const Sequence& sequence = task.sequence;
  const int64_t states = A.size[1], dim = A.size[0], blocks = task.last - task.first;

  Coefficients<F, kUniform> B(inputs.B, plan.group_size), C(inputs.C, plan.group_size);
  Buffer<V> rates(blocks * states), state(blocks * states);
  for (int64_t i = 0; i < blocks; ++i) {
    const Block block = plan.blocks[task.first + i];
    load_states(A, block, &rates[i * states]);
    std::fill_n(&state[i * states], states, V{});
    if (initial) load_states(matrix_of(initial, sequence.index), block, &state[i * states]);
  }

  V d[kChunk], x[kChunk], y[kChunk];
  for (int64_t chunk = 0; chunk < sequence.chunks(); ++chunk) {
    const Steps steps(sequence, chunk, inputs.reverse);
    if constexpr (kUniform) {
      B.load_group(sequence.row, task.group, steps);
      C.load_group(sequence.row, task.group, steps);
    }
    for (int64_t i = 0; i < blocks; ++i) {
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
      for (int t = 0; t < steps.count; ++t) {
        d[t] += bias;
        if (inputs.delta_softplus) d[t] = simd::softplus(d[t]);
        const V now = d[t], dx = d[t] * x[t];
        const auto* b = B.at(t);
        const auto* c = C.at(t);
        V sum = skip * x[t];
        for (int64_t n = 0; n < states; ++n) {
          h[n] = simd::exp(now * rate[n]) * h[n] + dx * b[n];
          sum += h[n] * c[n];
        }
        y[t] = sum;
      }
      if (inputs.z) {
        load_tile<F>(inputs.z, sequence.row, block, steps, x);
        for (int t = 0; t < steps.count; ++t) y[t] *= x[t] * simd::sigmoid(x[t]);
      }
      store_tile<F>(outputs.out, sequence.row, block, steps, y);
    }
  }
  for (int64_t i = 0; i < blocks; ++i)
    store_states(matrix_of(last, sequence.index), plan.blocks[task.first + i], &state[i * states]);
}

template <class F>
void step_of(const Step& arguments, int threads) {
  const View<F, 3> state(arguments.state), B(arguments.B), C(arguments.C);
  const View<F, 2> u(arguments.u), delta(arguments.delta), z(arguments.z), out(arguments.out);
  const View<F, 2> A(arguments.A);
  const View<F, 1> D(arguments.D), delta_bias(arguments.delta_bias);
  const int64_t batches = u.size[0], channels = u.size[1], states = A.size[1];
  const int64_t group_size = channels / B.size[1];

  parallel_ranges(batches * channels, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / channels, c = row % channels, g = c / group_size;
      F d = delta(b, c) + (delta_bias ? delta_bias(c) : F(0));
      if (arguments.delta_softplus) d = softplus(d);
      const F x = u(b, c);
      F y = D ? D(c) * x : F(0);
      for (int64_t n = 0; n < states; ++n) {
        F& h = state(b, c, n);
        h = std::exp(d * A(c, n)) * h + d * B(b, g, n) * x;
        y += C(b, g, n) * h;
      }
      if (z) y *= silu(z(b, c));
      out(b, c) = y;
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
