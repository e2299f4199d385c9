// The scan's gradients on the GPU, by the formulas at the head of cpu_backward.cpp; see
// cuda_tiles.h for how it is cut. A lane is one state. Chunk by chunk from the last, it computes
// its states once more from the forward's checkpoint, keeps them in registers, and goes back over
// the chunk.
//
// No float is added to by two blocks: what several contribute to goes to a place for each of them,
// and is added up afterwards in a fixed order (contract.h).
#include "common/sum.h"
#include "selective_scan/cuda_tiles.h"

namespace motion_lab::selective_scan::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kChannels = kThreads / kStates;
static_assert(kChannels == kBackwardChannels);
constexpr int kTurn = 8;  // steps whose sums over channels and over states are taken together
using Tile = Elements<kThreads, kChannels>;
using Signal = float[kSteps][kChannels + 1];

// By steps and channels, the same for all states.
struct Signals {
  Signal d, dx;     // the step after softplus, and times u
  Signal g;         // of y before the skip and the gate
  Signal y;         // C·h
  Signal to_input;  // q·B
  Signal to_rate;   // A·(q e h)
};

struct Shared {
  Signals signals;
  float2 bc[kSteps][kStates];
  // What each warp adds to dB and dC in a turn.
  float2 sums[kWarps][kTurn][kStates];
};

// The contract's, without what a kernel does not need of tensors.
struct Places {
  float *A, *B, *C, *D, *delta_bias, *state;
};

template <bool kVarying>
__global__ void __launch_bounds__(kThreads, 2)
    backward_kernel(Inputs inputs, const float* checkpoints, Gradients gradients, Places partials,
                    Cut cut) {
  __shared__ Shared shared;
  Signals& s = shared.signals;
  const Job job(inputs, cut, kChannels);
  const int64_t dim = inputs.u.size[1], states = inputs.A.size[1];
  const int rounds = static_cast<int>((states + kStates - 1) / kStates);
  const Tile tile(inputs.u);
  const int own = threadIdx.x / kStates, lane = threadIdx.x % kStates;
  const int warp = threadIdx.x / kWarp;
  const int64_t channel = job.first + own;
  const bool there = own < job.count;
  const bool varying_B = kVarying || inputs.B.dims == 4;
  const bool varying_C = kVarying || inputs.C.dims == 4;
  const bool gated = inputs.z.data != nullptr;

  // A lane's own sums over time: of the state's rate and constant coefficients, and, a share of
  // the steps each, of the channel's skip and bias. Several rounds carry theirs in `partials`.
  float q = 0.0f, to_B = 0.0f, to_C = 0.0f;
  CompensatedSum<float> to_A{}, to_D{}, to_bias{};
  float rate = 0.0f, b = 0.0f, c = 0.0f;
  const auto per_state = [&](float* base, int64_t n) -> float& {
    return base[(job.sequence * dim + channel) * states + n];
  };
  const auto load_state = [&](int round, bool first) {
    const int64_t n = round * kStates + lane;
    const bool have = there && n < states;
    rate = matrix(inputs.A, channel, n, have);
    b = varying_B ? 0.0f : matrix(inputs.B, channel, n, have);
    c = varying_C ? 0.0f : matrix(inputs.C, channel, n, have);
    q = to_B = to_C = 0.0f;
    to_A = {};
    if (!have) return;
    if (first) {
      q = *state_of(gradients.last_state, job.sequence, channel, n);
      return;
    }
    q = per_state(partials.state, n);
    to_A.sum = per_state(partials.A, n);
    if (!varying_B) to_B = per_state(partials.B, n);
    if (!varying_C) to_C = per_state(partials.C, n);
  };
  const auto store_state = [&](int round) {
    const int64_t n = round * kStates + lane;
    if (!there || n >= states) return;
    per_state(partials.state, n) = q;
    per_state(partials.A, n) = to_A.sum;
    if (!varying_B) per_state(partials.B, n) = to_B;
    if (!varying_C) per_state(partials.C, n) = to_C;
  };

  const int64_t chunks = job.chunks();
  if (rounds == 1) load_state(0, true);
  for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
    const Steps steps(job, chunk, inputs.reverse);
    // Others have read these before the barrier that ends a turn.
#pragma unroll
    for (int i = 0; i < Tile::kCount; ++i) {
      const int t = tile.step(i), ch = tile.channel(i);
      float step = element(inputs.delta, job, steps, t, ch) +
                   channel_value(inputs.delta_bias, job.first + ch, ch < job.count);
      if (inputs.delta_softplus) step = softplus(step);
      if (t >= steps.count) step = 0.0f;  // steps past the end leave the state alone
      s.d[t][ch] = step;
      s.dx[t][ch] = step * element(inputs.u, job, steps, t, ch);
      float g = element(gradients.out, job, steps, t, ch);
      if (gated) g *= silu(element(inputs.z, job, steps, t, ch));
      s.g[t][ch] = g;
    }

    for (int round = 0; round < rounds; ++round) {
      for (int at = threadIdx.x; at < kSteps * kStates; at += kThreads) {
        const int t = at % kSteps, n = at / kSteps;
        const int64_t state = round * kStates + n;
        shared.bc[t][n] = {coefficient(inputs.B, job, steps, t, state, states),
                           coefficient(inputs.C, job, steps, t, state, states)};
      }
      __syncthreads();
      if (rounds > 1) load_state(round, chunk + 1 == chunks);
      const int64_t n = round * kStates + lane;
      const float scaled = rate * kLog2E;

      // Forwards once more: the states before each step, and the decays.
      float before[kSteps + 1], decay[kSteps];
      before[0] = there && n < states
                      ? checkpoints[((job.first_chunk + chunk) * dim + channel) * states + n]
                      : 0.0f;
#pragma unroll
      for (int t = 0; t < kSteps; ++t) {
        decay[t] = motion_lab::cuda::exp2_approx(s.d[t][own] * scaled);
        const float from = varying_B ? shared.bc[t][lane].x : b;
        before[t + 1] = decay[t] * before[t] + s.dx[t][own] * from;
      }
      if (gated) {
#pragma unroll
        for (int begin = 0; begin < kSteps; begin += kTurn) {
          float part[kTurn];
#pragma unroll
          for (int i = 0; i < kTurn; ++i)
            part[i] = before[begin + i + 1] * (varying_C ? shared.bc[begin + i][lane].y : c);
          const float sum = sum_over_lanes<kStates>(part);
          float& total = s.y[begin + lane % kTurn][own];
          if (lane < kTurn) total = round == 0 ? sum : total + sum;
        }
      }

      // Backwards.
#pragma unroll
      for (int begin = kSteps - kTurn; begin >= 0; begin -= kTurn) {
        float input[kTurn], through[kTurn], turn_to_A = 0.0f;
#pragma unroll
        for (int i = kTurn - 1; i >= 0; --i) {
          const int t = begin + i;
          const float2 both = shared.bc[t][lane];
          const float from = varying_B ? both.x : b, to = varying_C ? both.y : c;
          const float g = s.g[t][own], now = q + g * to;
          float db = now * s.dx[t][own], dc = g * before[t + 1];
          if (!varying_B) to_B += db;
          if (!varying_C) to_C += dc;
          // The warp's two channels at once; the warps' sums are taken after the turn.
          db += __shfl_xor_sync(kAllLanes, db, kStates);
          dc += __shfl_xor_sync(kAllLanes, dc, kStates);
          if (threadIdx.x % kWarp < kStates) shared.sums[warp][i][lane] = {db, dc};
          input[i] = now * from;
          q = now * decay[t];
          const float reached = q * before[t];
          through[i] = reached * rate;
          turn_to_A += reached * s.d[t][own];
        }
        to_A.add(turn_to_A);
        const float input_sum = sum_over_lanes<kStates>(input);
        const float through_sum = sum_over_lanes<kStates>(through);
        if (lane < kTurn) {
          float& to_input = s.to_input[begin + lane][own];
          float& to_rate = s.to_rate[begin + lane][own];
          to_input = round == 0 ? input_sum : to_input + input_sum;
          to_rate = round == 0 ? through_sum : to_rate + through_sum;
        }
        __syncthreads();
        for (int at = threadIdx.x; at < kTurn * kStates; at += kThreads) {
          const int i = at / kStates, state = at % kStates;
          const int64_t m = round * kStates + state;
          if (begin + i >= steps.count || m >= states) continue;
          float2 sum = shared.sums[0][i][state];
#pragma unroll
          for (int w = 1; w < kWarps; ++w) {
            sum.x += shared.sums[w][i][state].x;
            sum.y += shared.sums[w][i][state].y;
          }
          const int64_t place =
              (((job.part * inputs.u.size[0] + job.row) * cut.groups + job.group) *
                   inputs.u.size[2] +
               steps.time(begin + i)) *
                  states +
              m;
          if (varying_B) partials.B[place] = sum.x;
          if (varying_C) partials.C[place] = sum.y;
        }
        __syncthreads();
      }
      if (rounds > 1) store_state(round);
    }

#pragma unroll
    for (int i = 0; i < Tile::kCount; ++i) {
      const int t = tile.step(i), ch = tile.channel(i);
      if (t >= steps.count || ch >= job.count) continue;
      const int64_t at = job.first + ch;
      const float u = element(inputs.u, job, steps, t, ch);
      const float skip = channel_value(inputs.D, at, true), g = s.g[t][ch], d = s.d[t][ch];
      float to_delta = s.to_rate[t][ch] + u * s.to_input[t][ch];
      if (inputs.delta_softplus)
        to_delta *= sigmoid(element(inputs.delta, job, steps, t, ch) +
                            channel_value(inputs.delta_bias, at, true));
      const auto write = [&](const Tensor& target, float value) {
        write_float(target.data, target.dtype, offset_of(target, job, steps, t, ch), value);
      };
      write(gradients.u, skip * g + d * s.to_input[t][ch]);
      write(gradients.delta, to_delta);
      if (gated) {
        const float z = element(inputs.z, job, steps, t, ch), open = sigmoid(z);
        write(gradients.z, element(gradients.out, job, steps, t, ch) * (s.y[t][ch] + skip * u) *
                               open * (1.0f + z * (1.0f - open)));
      }
      // For the sums over time, in places that are read no more.
      s.to_rate[t][ch] = to_delta;
      s.to_input[t][ch] = g * u;
    }
    __syncthreads();
    for (int t = lane; t < steps.count; t += kStates) {
      if (!there) continue;
      to_bias.add(s.to_rate[t][own]);
      to_D.add(s.to_input[t][own]);
    }
  }

  for (int round = 0; round < rounds; ++round) {
    if (rounds > 1) load_state(round, chunks == 0);
    const int64_t n = round * kStates + lane;
    if (there && n < states && gradients.initial_state.data)
      *state_of(gradients.initial_state, job.sequence, channel, n) = q;
    store_state(round);
  }
  const float bias_sum = sum_over_lanes<kStates>({to_bias.sum});
  const float D_sum = sum_over_lanes<kStates>({to_D.sum});
  if (there && lane == 0) {
    partials.delta_bias[job.sequence * dim + channel] = bias_sum;
    partials.D[job.sequence * dim + channel] = D_sum;
  }
}

}  // namespace

void backward(const Inputs& inputs, const Tensor& checkpoints, const Gradients& gradients,
              const Partials& partials, int device, uintptr_t stream) {
  const motion_lab::cuda::Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  const Cut cut(inputs, kChannels);
  const int64_t blocks = gradients.last_state.size[0] * cut.groups * cut.parts;
  check(blocks < int64_t{1} << 31, "selective_scan: too many sequences and channels for one call");
  const auto kernel =
      inputs.B.dims == 4 && inputs.C.dims == 4 ? backward_kernel<true> : backward_kernel<false>;
  motion_lab::cuda::launch(
      kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, place, inputs,
      checkpoints.as<const float>(), gradients,
      Places{partials.A.as<float>(), partials.B.as<float>(), partials.C.as<float>(),
             partials.D.as<float>(), partials.delta_bias.as<float>(), partials.state.as<float>()},
      cut);
}

}  // namespace motion_lab::selective_scan::cuda
