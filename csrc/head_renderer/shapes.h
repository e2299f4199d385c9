// Signed distances to the primitives, and how they are joined.
#pragma once
#include "simd.h"

namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA {

HEAD_INLINE vf ellipsoid(V3 p, F3 r) {
  V3 a{p.x * (1.f / r.x), p.y * (1.f / r.y), p.z * (1.f / r.z)};
  V3 b{a.x * (1.f / r.x), a.y * (1.f / r.y), a.z * (1.f / r.z)};
  vf k0 = length(a), k1 = vsqrt(dot(b, b) + 1e-9f);
  return k0 * (k0 - 1.f) / k1;
}
HEAD_INLINE vf capsule(V3 p, F3 a, F3 b, float ra, float rb) {
  F3 d{b.x - a.x, b.y - a.y, b.z - a.z};
  V3 q{p.x - a.x, p.y - a.y, p.z - a.z};
  const float inv = 1.f / (d.x * d.x + d.y * d.y + d.z * d.z);
  vf t = clamp01((q.x * d.x + q.y * d.y + q.z * d.z) * inv);
  q = {q.x - t * d.x, q.y - t * d.y, q.z - t * d.z};
  return length(q) - (ra + t * (rb - ra));
}
HEAD_INLINE vf join(vf a, vf b, float k) {  // smooth union (polynomial)
  vf h = vmax(k - vabs(a - b), 0.f);
  return vmin(a, b) - h * h * (0.25f / k);
}
HEAD_INLINE vf carve(vf a, vf b, float k) {  // a without b, smooth; b < 0 inside
  vf h = vmax(k - vabs(a + b), 0.f);
  return vmax(a, -b) + h * h * (0.25f / k);
}

}  // namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA
