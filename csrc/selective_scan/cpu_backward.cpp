// The scan's gradients. With g_t the gradient of y_t before the skip and the gate, e_t = exp(d_t A)
// and q_t that of h_t, running against the scan:
//   q_t += C_t g_t            dC_t = g_t h_t        dB_t = q_t d_t u_t
//   du_t = d_t (q_t·B_t)      dA  += d_t q_t e_t h_{t-1}
//   dd_t = u_t (q_t·B_t) + A·(q_t e_t h_{t-1})      q_{t-1} = e_t q_t
// Chunk by chunk from the last, the states are computed again from the forward's checkpoints.
#include "common/sum.h"
#include "selective_scan/cpu_blocks.h"
#include "selective_scan/cpu_decay.h"

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

// dB or dC of a task. Where all lanes share a group their sum goes to its step and state at once;
// where B varies otherwise, lanes wait for the end of the block; where it is constant, for the end
// of the chunk.
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
        lanes_(kUniform ? 0 : sums.states * kChunk) {
    if (!kUniform) lanes_.zero(sums.states * kChunk);
  }

  // Where the products of a chunk's steps and states are added to.
  struct Target {
    std::conditional_t<kUniform, F, Vec<F>>* items;
    int64_t step;

    // Adds those of N states from n on at step t.
    template <int N>
    void add(int t, int64_t n, const Vec<F>* products) const {
      auto* target = items + t * step + n;
      if constexpr (kUniform)
        add_sums<N>(products, target);
      else
        for (int i = 0; i < N; ++i) target[i] += products[i];
    }
  };

  Target begin(Steps steps) {
    steps_ = steps;
    const int64_t states = sums_.states;
    if constexpr (kUniform) {
      const int64_t first = sums_.offset(task_.sequence.row, task_.group, steps.first);
      return {slices_.slice(task_.part) + first, steps.sign * states};
    } else {
      return {lanes_.data(), constant_ ? 0 : states};
    }
  }

  void end_block(Block block) {
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
    for (int t = 0; t < steps_.count; ++t)
      for (int64_t n = 0; n < states; ++n) {
        F lanes[kLanes<F>];
        store(lanes, lanes_[t * states + n]);
        for (int c = 0; c < block.count; ++c) {
          const int64_t group = (block.channel + c) / plan_.group_size;
          target[sums_.offset(task_.sequence.row, group, steps_.time(t)) + n] += lanes[c];
        }
      }
    lanes_.zero(states * steps_.count);
  }

 private:
  Slices<F>& slices_;
  const Sums<F>& sums_;
  const Plan& plan_;
  const Task& task_;
  bool constant_;
  Steps steps_{Sequence{}, 0, false};
  Buffer<Vec<F>> lanes_;
};

// What a block's sweeps over its states read and add up, a vector a step.
template <class F>
struct Signals {
  Vec<F> d[kChunk], x[kChunk], dx[kChunk];
  Vec<F> g[kChunk];         // of y before the skip and the gate
  Vec<F> y[kChunk];         // C·h, wanted where there is a gate
  Vec<F> to_input[kChunk];  // q·B
  Vec<F> to_rate[kChunk];   // A·(q e h)
};

// N states from n on: forwards over the chunk once more, then backwards.
template <int N, bool kBounded, class F, class Item, class Target, class EachStep>
void sweep(Signals<F>& s, int steps, int64_t n, const Vec<F>* scaled, const Vec<F>* rate,
           const Vec<F>* start, Vec<F>* q, CompensatedSum<Vec<F>>* dA, const Item* b,
           int64_t b_step, const Item* c, int64_t c_step, bool gated, Target dB, Target dC,
           EachStep each_step) {
  using V = Vec<F>;
  V state[kChunk + 1][N], e[kChunk][N];
  V h[N];
  for (int i = 0; i < N; ++i) state[0][i] = h[i] = start[i];
  for (int t = 0; t < steps; ++t) {
    each_step(t);
    V y = s.y[t];
    Decay<F>::template of<N, kBounded>(s.d[t], scaled, e[t]);
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      state[t + 1][i] = h[i] = e[t][i] * h[i] + s.dx[t] * b[t * b_step + i];
      if (gated) y += h[i] * c[t * c_step + i];
    }
    s.y[t] = y;
  }

  V carried[N], to_A[N], own_rate[N];
  for (int i = 0; i < N; ++i) {
    carried[i] = q[i];
    to_A[i] = V{};
    own_rate[i] = rate[i];
  }
  for (int t = steps - 1; t >= 0; --t) {
    V to_input = s.to_input[t], to_rate = s.to_rate[t];
    V to_B[N], to_C[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      const V now = carried[i] + s.g[t] * c[t * c_step + i];
      to_C[i] = s.g[t] * state[t + 1][i];
      to_B[i] = now * s.dx[t];
      to_input += now * b[t * b_step + i];
      carried[i] = now * e[t][i];
      const V through = carried[i] * state[t][i];
      to_rate += through * own_rate[i];
      to_A[i] += through * s.d[t];
    }
    dB.template add<N>(t, n, to_B);
    dC.template add<N>(t, n, to_C);
    s.to_input[t] = to_input;
    s.to_rate[t] = to_rate;
  }
  for (int i = 0; i < N; ++i) {
    q[i] = carried[i];
    dA[i].add(to_A[i]);
  }
}

template <class F, bool kUniform>
void run_task(const Task& task, const Plan& plan, const Inputs& inputs, const Tensor& checkpoints,
              const Gradients& gradients, Sums<F>& sums) {
  using V = Vec<F>;
  const View<F, 2> A(inputs.A);
  const View<F, 1> D(inputs.D), delta_bias(inputs.delta_bias);
  const View<F, 3> last(gradients.last_state), initial(gradients.initial_state);
  const Sequence& sequence = task.sequence;
  const int64_t states = sums.states, dim = sums.dim, blocks = task.last - task.first;

  constexpr int64_t visit = kUniform ? kVisit : 1;
  Coefficients<F, kUniform> B(inputs.B, plan.group_size, visit);
  Coefficients<F, kUniform> C(inputs.C, plan.group_size, visit);
  CoefficientSums<F, kUniform> dB(sums.B, sums, plan, task, B.constant());
  CoefficientSums<F, kUniform> dC(sums.C, sums, plan, task, C.constant());
  Buffer<V> rates(blocks * states), scaled(blocks * states);
  Buffer<V> carried(blocks * states), start(states);
  Buffer<CompensatedSum<V>> dA(blocks * states), dD(blocks), dbias(blocks);
  dA.zero(blocks * states);
  dD.zero(blocks);
  dbias.zero(blocks);
  for (int64_t i = 0; i < blocks; ++i) {
    load_states(A, plan.blocks[task.first + i], &rates[i * states]);
    load_states(matrix_of(last, sequence.index), plan.blocks[task.first + i], &carried[i * states]);
  }
  for (int64_t i = 0; i < blocks * states; ++i) scaled[i] = Decay<F>::scaled(rates[i]);

  Signals<F> s;
  V slope[kChunk], gate[kChunk], open[kChunk], before_gate[kChunk];  // open: the gate's sigmoid
  const auto differentiate_chunk = [&](int64_t chunk, int64_t i, int64_t first_chunk,
                                       int64_t last_chunk) {
    const Steps steps(sequence, chunk, inputs.reverse);
    const Block block = plan.blocks[task.first + i];
    if constexpr (!kUniform) {
      B.load_block(sequence.row, block, steps);
      C.load_block(sequence.row, block, steps);
    }
    load_tile<F>(inputs.delta, sequence.row, block, steps, s.d);
    load_tile<F>(inputs.u, sequence.row, block, steps, s.x);
    load_tile<F>(gradients.out, sequence.row, block, steps, s.g);
    const bool gated = static_cast<bool>(inputs.z);
    if (gated) load_tile<F>(inputs.z, sequence.row, block, steps, gate);
    const V bias = load_channels(delta_bias, block), skip = load_channels(D, block);
    const F* kept = checkpoints.as<F>() + (sequence.first_chunk + chunk) * states * dim;
    for (int64_t n = 0; n < states; ++n)
      start[n] = load_lanes(kept + n * dim + block.channel, block);

    constexpr int kTogether = 4;
    const int64_t parts = std::max<int64_t>(states / kTogether, 1);
    const bool stays = chunk > first_chunk;
    const int64_t next = stays ? i : std::min(i + 1, blocks - 1);
    const Ahead ahead(Steps(sequence, stays ? chunk - 1 : last_chunk, inputs.reverse), sequence.row,
                      plan.blocks[task.first + next], true,
                      {&inputs.delta, &inputs.u, &gradients.out, &inputs.z, &gradients.u,
                       &gradients.delta, &gradients.z},
                      steps.count, parts);
    for (int t = 0; t < steps.count; ++t) {
      s.d[t] += bias;
      slope[t] = V{} + 1;
      if (inputs.delta_softplus) s.d[t] = simd::softplus(s.d[t], slope[t]);
      s.dx[t] = s.d[t] * s.x[t];
      s.y[t] = skip * s.x[t];
      s.to_input[t] = s.to_rate[t] = V{};
      before_gate[t] = s.g[t];
      if (gated) {
        open[t] = simd::sigmoid(gate[t]);
        s.g[t] *= gate[t] * open[t];
      }
    }

    const auto to_B = dB.begin(steps), to_C = dC.begin(steps);
    const auto* b = B.at((chunk - first_chunk) * kChunk);
    const auto* c = C.at((chunk - first_chunk) * kChunk);
    with_bound<F>(s.d, steps.count, &scaled[i * states], states, [&](auto bounded) {
      for_states<kTogether>(states, [&](auto together, int64_t n) {
        sweep<together, bounded, F>(
            s, steps.count, n, &scaled[i * states + n], &rates[i * states + n], &start[n],
            &carried[i * states + n], &dA[i * states + n], b + n, B.step(), c + n, C.step(), gated,
            to_B, to_C,
            [&](int t) __attribute__((always_inline)) { ahead.fetch(t, n / together); });
      });
    });
    dB.end_block(block);
    dC.end_block(block);

    if (gated) {
      for (int t = 0; t < steps.count; ++t)
        s.y[t] *= before_gate[t] * open[t] * (1 + gate[t] * (1 - open[t]));
      store_tile<F>(gradients.z, sequence.row, block, steps, s.y);
    }
    V to_D{}, to_bias{};
    for (int t = 0; t < steps.count; ++t) {
      to_D += s.g[t] * s.x[t];
      const V to_delta = (s.to_rate[t] + s.x[t] * s.to_input[t]) * slope[t];
      to_bias += to_delta;
      s.x[t] = skip * s.g[t] + s.d[t] * s.to_input[t];
      s.d[t] = to_delta;
    }
    dD[i].add(to_D);
    dbias[i].add(to_bias);
    store_tile<F>(gradients.u, sequence.row, block, steps, s.x);
    store_tile<F>(gradients.delta, sequence.row, block, steps, s.d);
  };
  for (int64_t end = sequence.chunks(); end > 0;) {
    const int64_t first = (end - 1) / visit * visit;
    if constexpr (kUniform) {
      const Steps steps(sequence, first, inputs.reverse, visit);
      B.load_group(sequence.row, task.group, steps);
      C.load_group(sequence.row, task.group, steps);
    }
    for (int64_t i = 0; i < blocks; ++i)
      for (int64_t chunk = end - 1; chunk >= first; --chunk)
        differentiate_chunk(chunk, i, first, end - 1);
    end = first;
  }

  for (int64_t i = 0; i < blocks; ++i) {
    const Block block = plan.blocks[task.first + i];
    if (initial) store_states(matrix_of(initial, sequence.index), block, &carried[i * states]);
    F* to_A = sums.A.slice(sequence.index) + block.channel;
    for (int64_t n = 0; n < states; ++n) store_lanes(to_A + n * dim, dA[i * states + n].sum, block);
    store_lanes(sums.D.slice(sequence.index) + block.channel, dD[i].sum, block);
    store_lanes(sums.delta_bias.slice(sequence.index) + block.channel, dbias[i].sum, block);
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
