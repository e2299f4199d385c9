#include "common/parallel.h"
#include "selective_scan/contract.h"
#include "selective_scan/math.h"

namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA {
namespace {

template <class T>
void step_of(const StepParams& params, int threads) {
  using F = compute_t<T>;
  const View<F, 3> state(params.state);
  const View<T, 2> u(params.u), delta(params.delta), z(params.z), out(params.out);
  const View<F, 2> A(params.A);
  const View<T, 3> B(params.B), C(params.C);
  const View<F, 1> D(params.D), delta_bias(params.delta_bias);
  const int64_t batches = u.size[0], channels = u.size[1], states = A.size[1];
  const int64_t group_size = channels / B.size[1];

  parallel_ranges(batches * channels, threads, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / channels, c = row % channels, g = c / group_size;
      F d = static_cast<F>(delta(b, c)) + (delta_bias ? delta_bias(c) : F(0));
      if (params.delta_softplus) d = softplus(d);
      const F x = static_cast<F>(u(b, c));
      F y = D ? D(c) * x : F(0);
      for (int64_t n = 0; n < states; ++n) {
        F& h = state(b, c, n);
        h = exponential(d * A(c, n)) * h + d * static_cast<F>(B(b, g, n)) * x;
        y += static_cast<F>(C(b, g, n)) * h;
      }
      if (z) y *= silu(static_cast<F>(z(b, c)));
      out(b, c) = static_cast<T>(y);
    }
  });
}

}  // namespace

void step(const StepParams& params, int threads) {
  dispatch_floating(params.u.dtype, [&](auto type) { step_of<decltype(type)>(params, threads); });
}

}  // namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA
