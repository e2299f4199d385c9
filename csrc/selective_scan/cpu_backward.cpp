// The scan's gradients. With g_t the gradient of y_t before the skip and the gate, e_t = exp(d_t A)
// and q_t that of h_t, running against the scan:
//   q_t += C_t g_t            dC_t = g_t h_t        dB_t = q_t d_t u_t
//   du_t = d_t (q_t·B_t)      dA  += d_t q_t e_t h_{t-1}
//   dd_t = u_t (q_t·B_t) + A·(q_t e_t h_{t-1})      q_{t-1} = e_t q_t
// Chunk by chunk from the last, the states are computed again from the forward's checkpoints.
#include "selective_scan/cpu_blocks.h"

namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA {
namespace {

// Sums that several tasks add to: a slice each, added up in a fixed order at the end, so that the
// result does not depend on which thread ran what.
template <class F>
struct Slices {
  int64_t count, size;
  Buffer<F> data;

  Slices(int64_t count, int64_t size) : count(count), size(size), data(count * size) {
    data.zero(count * size);
  }

  F* slice(int64_t i) { return data.data() + i * size; }

  F total(int64_t at) {
    F sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += data[i * size + at];
    return sum;
  }
};

template <class F>
struct Sums {
  int64_t sequences, dim, states, rows, groups, length;
  Slices<F> A, D, delta_bias;  // a slice a sequence: (state, dim), (dim,), (dim,)
  Slices<F> B, C;              // constant: like A; else a slice a part: (row, group, time, state)

  Sums(const Inputs& inputs, const Plan& plan, int64_t sequences)
      : sequences(sequences),
        dim(inputs.A.size[0]),
        states(inputs.A.size[1]),
        rows(inputs.u.size[0]),
        groups(dim / plan.group_size),
        length(inputs.u.size[2]),
        A(sequences, states * dim),
        D(sequences, dim),
        delta_bias(sequences, dim),
        B(slices_of(inputs.B, plan)),
        C(slices_of(inputs.C, plan)) {}

  Slices<F> slices_of(const Tensor& coefficient, const Plan& plan) const {
    if (coefficient.dims == 2) return {sequences, states * dim};
    return {plan.parts, rows * groups * length * states};
  }

  int64_t offset(int64_t row, int64_t group, int64_t time) const {
    return ((row * groups + group) * length + time) * states;
  }
};

// dB or dC of a task: lanes are added up once a chunk where all blocks share a group, once a block
// where B varies otherwise, and never where it is constant.
template <class F, bool kUniform>
class CoefficientSums {
 public:
  CoefficientSums(Slices<F>& slices, const Sums<F>& sums, const Plan& plan, const Task& task,
                  bool constant)
      : slices_(slices),
        sums_(sums),
        plan_(plan),
        task_(task),
        constant_(constant),
        lanes_(sums.states * kChunk) {
    lanes_.zero(sums.states * kChunk);
  }

  Vec<F>* at(int step) { return &lanes_[constant_ ? 0 : step * sums_.states]; }

  void end_block(Block block, Steps steps) {
    if (kUniform) return;
    const int64_t states = sums_.states;
    if (constant_) {
      F* target = slices_.slice(task_.sequence.index) + block.channel;
      for (int64_t n = 0; n < states; ++n) {
        const Vec<F> so_far = load_lanes(target + n * sums_.dim, block);
        store_lanes(target + n * sums_.dim, so_far + lanes_[n], block);
      }
      lanes_.zero(states);
      return;
    }
    F* target = slices_.slice(task_.part);
    for (int t = 0; t < steps.count; ++t)
      for (int64_t n = 0; n < states; ++n) {
        F lanes[kLanes<F>];
        store(lanes, lanes_[t * states + n]);
        for (int c = 0; c < block.count; ++c) {
          const int64_t group = (block.channel + c) / plan_.group_size;
          target[sums_.offset(task_.sequence.row, group, steps.time(t)) + n] += lanes[c];
        }
      }
    lanes_.zero(states * steps.count);
  }

  void end_chunk(Steps steps) {
    if (!kUniform) return;
    const int64_t states = sums_.states;
    for (int t = 0; t < steps.count; ++t) {
      F* target =
          slices_.slice(task_.part) + sums_.offset(task_.sequence.row, task_.group, steps.time(t));
      for (int64_t n = 0; n < states; ++n) target[n] = sum_of_lanes<F>(lanes_[t * states + n]);
    }
    lanes_.zero(states * steps.count);
  }

 private:
  Slices<F>& slices_;
  const Sums<F>& sums_;
  const Plan& plan_;
  const Task& task_;
  bool constant_;
  Buffer<Vec<F>> lanes_;
};

template <class F, bool kUniform>
void run_task(const Task& task, const Plan& plan, const Inputs& inputs, const Tensor& checkpoints,
              const Gradients& gradients, Sums<F>& sums) {
  using V = Vec<F>;
  const View<F, 2> A(inputs.A);
  const View<F, 1> D(inputs.D), delta_bias(inputs.delta_bias);
  const View<F, 3> last(gradients.last_state), initial(gradients.initial_state);
  const Sequence& sequence = task.sequence;
  const int64_t states = sums.states, dim = sums.dim, blocks = task.last - task.first;

  Coefficients<F, kUniform> B(inputs.B, plan.group_size), C(inputs.C, plan.group_size);
  CoefficientSums<F, kUniform> dB(sums.B, sums, plan, task, B.constant());
  CoefficientSums<F, kUniform> dC(sums.C, sums, plan, task, C.constant());
  Buffer<V> rates(blocks * states), carried(blocks * states), dA(blocks * states);
  Buffer<V> dD(blocks), dbias(blocks), decay(kChunk * states), state((kChunk + 1) * states);
  dA.zero(blocks * states);
  dD.zero(blocks);
  dbias.zero(blocks);
  for (int64_t i = 0; i < blocks; ++i) {
    load_states(A, plan.blocks[task.first + i], &rates[i * states]);
    load_states(matrix_of(last, sequence.index), plan.blocks[task.first + i], &carried[i * states]);
  }

  V d[kChunk], slope[kChunk], x[kChunk], g[kChunk], y[kChunk], gate[kChunk];
  for (int64_t chunk = sequence.chunks() - 1; chunk >= 0; --chunk) {
    const Steps steps(sequence, chunk, inputs.reverse);
    if constexpr (kUniform) {
      B.load_group(sequence.row, task.group, steps);
      C.load_group(sequence.row, task.group, steps);
    }
    for (int64_t i = 0; i < blocks; ++i) {
      const Block block = plan.blocks[task.first + i];
      const V* rate = &rates[i * states];
      if constexpr (!kUniform) {
        B.load_block(sequence.row, block, steps);
        C.load_block(sequence.row, block, steps);
      }
      load_tile<F>(inputs.delta, sequence.row, block, steps, d);
      load_tile<F>(inputs.u, sequence.row, block, steps, x);
      load_tile<F>(gradients.out, sequence.row, block, steps, g);
      const V bias = load_channels(delta_bias, block), skip = load_channels(D, block);

      const F* kept = checkpoints.as<F>() + (sequence.first_chunk + chunk) * states * dim;
      for (int64_t n = 0; n < states; ++n)
        state[n] = load_lanes(kept + n * dim + block.channel, block);
      for (int t = 0; t < steps.count; ++t) {
        d[t] += bias;
        slope[t] = V{} + 1;
        if (inputs.delta_softplus) {
          slope[t] = simd::sigmoid(d[t]);
          d[t] = simd::softplus(d[t]);
        }
        const V now = d[t], dx = d[t] * x[t];
        const V* before = &state[t * states];
        V* after = &state[(t + 1) * states];
        V* e = &decay[t * states];
        const auto* b = B.at(t);
        for (int64_t n = 0; n < states; ++n) {
          e[n] = simd::exp(now * rate[n]);
          after[n] = e[n] * before[n] + dx * b[n];
        }
      }
      if (inputs.z) {
        load_tile<F>(inputs.z, sequence.row, block, steps, gate);
        for (int t = 0; t < steps.count; ++t) {
          const auto* c = C.at(t);
          V sum = skip * x[t];
          for (int64_t n = 0; n < states; ++n) sum += state[(t + 1) * states + n] * c[n];
          const V s = simd::sigmoid(gate[t]);
          y[t] = g[t] * sum * s * (1 + gate[t] * (1 - s));
          g[t] *= gate[t] * s;
        }
        store_tile<F>(gradients.z, sequence.row, block, steps, y);
      }

      V* q = &carried[i * states];
      for (int t = steps.count - 1; t >= 0; --t) {
        const V* before = &state[t * states];
        const V* after = &state[(t + 1) * states];
        const V* e = &decay[t * states];
        const auto* b = B.at(t);
        const auto* c = C.at(t);
        V* db = dB.at(t);
        V* dc = dC.at(t);
        V* da = &dA[i * states];
        const V dx = d[t] * x[t];
        V to_input{}, to_rate{};
        for (int64_t n = 0; n < states; ++n) {
          const V now = q[n] + g[t] * c[n];
          dc[n] += g[t] * after[n];
          db[n] += now * dx;
          to_input += now * b[n];
          q[n] = now * e[n];
          const V through = q[n] * before[n];
          to_rate += through * rate[n];
          da[n] += through * d[t];
        }
        dD[i] += g[t] * x[t];
        const V to_delta = (to_rate + x[t] * to_input) * slope[t];
        dbias[i] += to_delta;
        x[t] = skip * g[t] + d[t] * to_input;
        d[t] = to_delta;
      }
      store_tile<F>(gradients.u, sequence.row, block, steps, x);
      store_tile<F>(gradients.delta, sequence.row, block, steps, d);
      dB.end_block(block, steps);
      dC.end_block(block, steps);
    }
    dB.end_chunk(steps);
    dC.end_chunk(steps);
  }

  for (int64_t i = 0; i < blocks; ++i) {
    const Block block = plan.blocks[task.first + i];
    if (initial) store_states(matrix_of(initial, sequence.index), block, &carried[i * states]);
    F* to_A = sums.A.slice(sequence.index) + block.channel;
    for (int64_t n = 0; n < states; ++n) store_lanes(to_A + n * dim, dA[i * states + n], block);
    store_lanes(sums.D.slice(sequence.index) + block.channel, dD[i], block);
    store_lanes(sums.delta_bias.slice(sequence.index) + block.channel, dbias[i], block);
  }
}

template <class F>
void write_matrix(const View<F, 2>& target, Slices<F>& slices, int threads) {
  const int64_t dim = target.size[0];
  parallel_ranges(dim, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t n = 0; n < target.size[1]; ++n)
      for (int64_t c = begin; c < end; ++c) target(c, n) = slices.total(n * dim + c);
  });
}

template <class F>
void write_channels(const View<F, 1>& target, Slices<F>& slices) {
  if (!target) return;
  for (int64_t c = 0; c < target.size[0]; ++c) target(c) = slices.total(c);
}

template <class F>
void write_coefficients(const Tensor& gradient, Slices<F>& slices, const Sums<F>& sums,
                        int threads) {
  if (gradient.dims == 2) return write_matrix(View<F, 2>(gradient), slices, threads);
  const int64_t times = sums.rows * sums.groups * sums.length;
  dispatch_input<F>(gradient.dtype, [&](auto type) {
    using T = decltype(type);
    const View<T, 4> target(gradient);
    parallel_ranges(times, threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t at = begin; at < end; ++at) {
        const int64_t time = at % sums.length, rest = at / sums.length;
        for (int64_t n = 0; n < sums.states; ++n)
          target(rest / sums.groups, rest % sums.groups, n, time) =
              static_cast<T>(slices.total(at * sums.states + n));
      }
    });
  });
}

}  // namespace

void backward(const Inputs& inputs, const Tensor& checkpoints, const Gradients& gradients,
              int threads) {
  dispatch_compute(inputs.u.dtype, [&](auto type) {
    using F = decltype(type);
    const Plan plan(inputs, kLanes<F>, threads);
    Sums<F> sums(inputs, plan, gradients.last_state.size[0]);
    parallel_for(plan.tasks.size(), threads, [&](int64_t i) {
      const auto run = plan.uniform ? run_task<F, true> : run_task<F, false>;
      run(plan.tasks[i], plan, inputs, checkpoints, gradients, sums);
    });
    write_matrix(View<F, 2>(gradients.A), sums.A, threads);
    write_coefficients(gradients.B, sums.B, sums, threads);
    write_coefficients(gradients.C, sums.C, sums, threads);
    write_channels(View<F, 1>(gradients.D), sums.D);
    write_channels(View<F, 1>(gradients.delta_bias), sums.delta_bias);
  });
}

}  // namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA
