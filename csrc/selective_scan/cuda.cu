// The scan forward on the GPU; see cuda_tiles.h for how it is cut.
#include "selective_scan/cuda_tiles.h"

namespace motion_lab::selective_scan::cuda {
namespace {

// kPer states a lane. kVarying: neither B nor C is constant.
template <int kPer, bool kVarying, int kThreads>
__global__ void __launch_bounds__(kThreads, 5)
    forward_kernel(Inputs inputs, Outputs outputs, Cut cut) {
  constexpr int kLanes = kStates / kPer, kChannels = kThreads / kLanes;
  constexpr int kPairs = kSteps * kStates / kThreads;  // of B and C that a thread stages
  using Tile = Elements<kThreads, kChannels>;
  // A column more than there are channels: steps of one channel are in different banks.
  __shared__ float d[kSteps][kChannels + 1], dx[kSteps][kChannels + 1];
  __shared__ float skipped[kSteps][kChannels + 1], y[kSteps][kChannels + 1];
  __shared__ float2 bc[kSteps][kStates];

  const Job job(inputs, cut, kChannels);
  const int64_t states = inputs.A.size[1];
  const int rounds = static_cast<int>((states + kStates - 1) / kStates);
  const Tile tile(inputs.u);
  const int own = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const int64_t channel = job.first + own;
  const bool there = own < job.count;

  // Read ahead of their use, while the chunk before is computed.
  float next_delta[Tile::kCount], next_u[Tile::kCount], gate[Tile::kCount];
  float2 next_bc[kPairs];
  const auto fetch_signals = [&](int64_t chunk) {
    const Steps steps(job, chunk, inputs.reverse);
#pragma unroll
    for (int i = 0; i < Tile::kCount; ++i) {
      next_delta[i] = element(inputs.delta, job, steps, tile.step(i), tile.channel(i));
      next_u[i] = element(inputs.u, job, steps, tile.step(i), tile.channel(i));
    }
  };
  const auto fetch_coefficients = [&](int64_t chunk, int round) {
    const Steps steps(job, chunk, inputs.reverse);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int at = threadIdx.x + i * kThreads, step = at % kSteps;
      const int64_t state = at / kSteps + round * kStates;
      next_bc[i] = {coefficient(inputs.B, job, steps, step, state, states),
                    coefficient(inputs.C, job, steps, step, state, states)};
    }
  };

  float h[kPer], rate[kPer], b[kPer], c[kPer];
  // A lane's states of a round: from their place in last_state, which carries them where there
  // are several rounds.
  const auto load_states = [&](int round, const Tensor& from) {
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      const int64_t n = round * kStates + lane * kPer + j;
      const bool have = there && n < states;
      h[j] = have && from.data ? *state_of(from, job.sequence, channel, n) : 0.0f;
      rate[j] = matrix(inputs.A, channel, n, have) * kLog2E;
      b[j] = inputs.B.dims == 2 ? matrix(inputs.B, channel, n, have) : 0.0f;
      c[j] = inputs.C.dims == 2 ? matrix(inputs.C, channel, n, have) : 0.0f;
    }
  };
  const auto store_states = [&](int round) {
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      const int64_t n = round * kStates + lane * kPer + j;
      if (there && n < states) *state_of(outputs.last_state, job.sequence, channel, n) = h[j];
    }
  };
  for (int round = rounds - 1; round >= 0; --round) {
    load_states(round, inputs.initial_state);
    store_states(round);
  }

  const int64_t chunks = job.chunks();
  if (chunks > 0) {
    fetch_signals(0);
    fetch_coefficients(0, 0);
  }
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const Steps steps(job, chunk, inputs.reverse);
    // Others have read these before the barrier that precedes the writing out.
#pragma unroll
    for (int i = 0; i < Tile::kCount; ++i) {
      const int t = tile.step(i), ch = tile.channel(i);
      const int64_t at = job.first + ch;
      float step = next_delta[i] + channel_value(inputs.delta_bias, at, ch < job.count);
      if (inputs.delta_softplus) step = softplus(step);
      if (t >= steps.count) step = 0.0f;  // steps past the end leave the state alone
      d[t][ch] = step;
      dx[t][ch] = step * next_u[i];
      skipped[t][ch] = channel_value(inputs.D, at, ch < job.count) * next_u[i];
      gate[i] = element(inputs.z, job, steps, t, ch);
    }
    if (chunk + 1 < chunks) fetch_signals(chunk + 1);

    for (int round = 0; round < rounds; ++round) {
      if (round > 0) __syncthreads();  // the round before has read bc
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        const int at = threadIdx.x + i * kThreads;
        bc[at % kSteps][at / kSteps] = next_bc[i];
      }
      __syncthreads();
      const bool last_round = round + 1 == rounds;
      if (!last_round || chunk + 1 < chunks)
        fetch_coefficients(last_round ? chunk + 1 : chunk, last_round ? 0 : round + 1);
      if (rounds > 1) load_states(round, outputs.last_state);
      if (outputs.checkpoints.data) {
#pragma unroll
        for (int j = 0; j < kPer; ++j) {
          const int64_t n = round * kStates + lane * kPer + j;
          if (there && n < states)
            data_of<float>(outputs.checkpoints)
                [((job.first_chunk + chunk) * inputs.u.size[1] + channel) * states + n] = h[j];
        }
      }
      for (int begin = 0; begin < kSteps; begin += kLanes) {
        float part[kLanes];
#pragma unroll
        for (int i = 0; i < kLanes; ++i) {
          const float now = d[begin + i][own], input = dx[begin + i][own];
          part[i] = 0.0f;
#pragma unroll
          for (int j = 0; j < kPer; ++j) {
            const float2 both = bc[begin + i][lane * kPer + j];
            const float from = kVarying || inputs.B.dims == 4 ? both.x : b[j];
            const float to = kVarying || inputs.C.dims == 4 ? both.y : c[j];
            h[j] = motion_lab::cuda::exp2_approx(now * rate[j]) * h[j] + input * from;
            part[i] += h[j] * to;
          }
        }
        const float sum = sum_over_lanes<kLanes>(part);
        float& total = y[begin + lane][own];
        total = round == 0 ? sum : total + sum;
      }
      if (rounds > 1) store_states(round);
    }

    __syncthreads();
#pragma unroll
    for (int i = 0; i < Tile::kCount; ++i) {
      const int t = tile.step(i), ch = tile.channel(i);
      if (t >= steps.count || ch >= job.count) continue;
      float value = y[t][ch] + skipped[t][ch];
      if (inputs.z.data) value *= silu(gate[i]);
      write_float(outputs.out.data, outputs.out.dtype, offset_of(outputs.out, job, steps, t, ch),
                  value);
    }
  }
  if (rounds == 1) store_states(0);
}

template <int kPer>
void launch_forward(const Inputs& inputs, const Outputs& outputs, motion_lab::cuda::Place place) {
  constexpr int kThreads = 128;
  const Cut cut(inputs, kThreads * kPer / kStates);
  const int64_t blocks = outputs.last_state.size[0] * cut.groups * cut.parts;
  check(blocks < int64_t{1} << 31, "selective_scan: too many sequences and channels for one call");
  const auto kernel = inputs.B.dims == 4 && inputs.C.dims == 4
                          ? forward_kernel<kPer, true, kThreads>
                          : forward_kernel<kPer, false, kThreads>;
  motion_lab::cuda::launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, place,
                           inputs, outputs, cut);
}

}  // namespace

void forward(const Inputs& inputs, const Outputs& outputs, int device, uintptr_t stream) {
  const motion_lab::cuda::Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  // Two states a lane share what is read for a step; but few channels want all the lanes there are.
  constexpr int64_t kMany = 8192;
  if (outputs.last_state.size[0] * inputs.u.size[1] >= kMany)
    launch_forward<2>(inputs, outputs, place);
  else
    launch_forward<1>(inputs, outputs, place);
}

}  // namespace motion_lab::selective_scan::cuda
