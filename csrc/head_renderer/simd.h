// Packets of float lanes over GCC's vector extensions, and the few functions that the ray-caster
// needs.
#pragma once
#include <cstdint>

namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kTileX = 4, kTileY = 4;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kTileX = 4, kTileY = 2;
#else
constexpr int kLanes = 4, kTileX = 2, kTileY = 2;
#endif

typedef float vf __attribute__((vector_size(kLanes * 4)));
typedef std::int32_t vi __attribute__((vector_size(kLanes * 4)));
typedef std::uint32_t vu __attribute__((vector_size(kLanes * 4)));

#define HEAD_INLINE inline __attribute__((always_inline))

HEAD_INLINE vf splat(float x) { return vf{} + x; }
HEAD_INLINE vi splat_int(std::int32_t x) { return vi{} + x; }
HEAD_INLINE vf select(vi m, vf a, vf b) { return m ? a : b; }
HEAD_INLINE vi select(vi m, vi a, vi b) { return m ? a : b; }
HEAD_INLINE vf vmin(vf a, vf b) { return a < b ? a : b; }
HEAD_INLINE vf vmax(vf a, vf b) { return a > b ? a : b; }
HEAD_INLINE vf vmin(vf a, float b) { return vmin(a, splat(b)); }
HEAD_INLINE vf vmax(vf a, float b) { return vmax(a, splat(b)); }
HEAD_INLINE vf vabs(vf a) { return (vf)((vi)a & 0x7fffffff); }
HEAD_INLINE vf clamp01(vf a) { return vmin(vmax(a, 0.f), 1.f); }
HEAD_INLINE vf mix(vf a, vf b, vf t) { return a + (b - a) * t; }
HEAD_INLINE bool any(vi m) {
  std::int32_t r = 0;
  for (int i = 0; i < kLanes; ++i) r |= m[i];
  return r != 0;
}
HEAD_INLINE vf vsqrt(vf a) {
  vf r;
  for (int i = 0; i < kLanes; ++i) r[i] = __builtin_sqrtf(a[i]);
  return r;
}
HEAD_INLINE vf to_float(vi a) { return __builtin_convertvector(a, vf); }
HEAD_INLINE vi floor_int(vf a) {
  vi t = __builtin_convertvector(a, vi);
  return t + (to_float(t) > a);
}
HEAD_INLINE vf smoothstep(vf e0, vf e1, vf x) {
  vf t = clamp01((x - e0) / (e1 - e0));
  return t * t * (3.f - 2.f * t);
}
HEAD_INLINE vf smoothstep(float e0, float e1, vf x) {
  vf t = clamp01((x - e0) * (1.f / (e1 - e0)));
  return t * t * (3.f - 2.f * t);
}
// (1 - r2)^2 for r2 < 1, else 0: a bump of compact support in place of a Gaussian.
HEAD_INLINE vf bump(vf r2) {
  vf t = vmax(1.f - r2, 0.f);
  return t * t;
}
// sin(2 pi x), error below 1e-3.
HEAD_INLINE vf sin_turns(vf x) {
  vf f = x - to_float(floor_int(x)) - 0.5f;
  vf y = f * (8.f - 16.f * vabs(f));
  return -(y * 0.775f + y * vabs(y) * 0.225f);
}
HEAD_INLINE vf exp2_fast(vf x) {
  x = vmin(vmax(x, -120.f), 120.f);
  vi i = floor_int(x);
  vf f = x - to_float(i);
  vf p = 1.f + f - f * (1.f - f) * (0.30407f + 0.07913f * f);
  return (vf)((vi)p + (i << 23));
}
HEAD_INLINE vf log2_fast(vf x) {
  vi b = (vi)vmax(x, 1e-20f);
  vf e = to_float((b >> 23) - 127);
  vf m = (vf)((b & 0x7fffff) | 0x3f800000);
  vf f = m - 1.f;
  return e + f + f * (1.f - f) * (0.43807f + f * (0.08031f * f - 0.23669f));
}
HEAD_INLINE vf pow_fast(vf x, float e) { return exp2_fast(log2_fast(x) * e); }

struct V3 {
  vf x, y, z;
};
HEAD_INLINE V3 operator+(V3 a, V3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
HEAD_INLINE V3 operator-(V3 a, V3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
HEAD_INLINE V3 operator*(V3 a, vf s) { return {a.x * s, a.y * s, a.z * s}; }
HEAD_INLINE V3 operator*(V3 a, V3 b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
HEAD_INLINE vf dot(V3 a, V3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
HEAD_INLINE vf length(V3 a) { return vsqrt(dot(a, a)); }
HEAD_INLINE V3 normalize(V3 a) { return a * (1.f / vsqrt(dot(a, a) + 1e-20f)); }
HEAD_INLINE V3 select(vi m, V3 a, V3 b) {
  return {select(m, a.x, b.x), select(m, a.y, b.y), select(m, a.z, b.z)};
}
HEAD_INLINE V3 mix(V3 a, V3 b, vf t) { return a + (b - a) * t; }

struct F3 {
  float x, y, z;
};
HEAD_INLINE V3 splat(F3 a) { return {splat(a.x), splat(a.y), splat(a.z)}; }

// A rotation and a translation; rows of the matrix.
struct Rigid {
  float m[9];
  F3 t;
};
HEAD_INLINE V3 rotate(const Rigid& r, V3 v) {
  return {r.m[0] * v.x + r.m[1] * v.y + r.m[2] * v.z, r.m[3] * v.x + r.m[4] * v.y + r.m[5] * v.z,
          r.m[6] * v.x + r.m[7] * v.y + r.m[8] * v.z};
}
HEAD_INLINE V3 apply(const Rigid& r, V3 v) {
  V3 q = rotate(r, v);
  return {q.x + r.t.x, q.y + r.t.y, q.z + r.t.z};
}
HEAD_INLINE V3 unapply(const Rigid& r, V3 v) {
  v = {v.x - r.t.x, v.y - r.t.y, v.z - r.t.z};
  return {r.m[0] * v.x + r.m[3] * v.y + r.m[6] * v.z, r.m[1] * v.x + r.m[4] * v.y + r.m[7] * v.z,
          r.m[2] * v.x + r.m[5] * v.y + r.m[8] * v.z};
}

// Value noise in [-1, 1] on the integer lattice.
HEAD_INLINE vf lattice(vu h) {
  h = (h ^ (h >> 15)) * 0x2c1b3c6du;
  h = (h ^ (h >> 12)) * 0x297a2d39u;
  h = h ^ (h >> 15);
  return to_float((vi)(h >> 8)) * (2.f / 16777216.f) - 1.f;
}
HEAD_INLINE vf noise(V3 p, std::uint32_t seed) {
  vi xi = floor_int(p.x), yi = floor_int(p.y), zi = floor_int(p.z);
  V3 f{p.x - to_float(xi), p.y - to_float(yi), p.z - to_float(zi)};
  vf u = f.x * f.x * (3.f - 2.f * f.x), v = f.y * f.y * (3.f - 2.f * f.y),
     w = f.z * f.z * (3.f - 2.f * f.z);
  constexpr std::uint32_t px = 374761393u, py = 668265263u, pz = 2147483647u;
  vu x0 = (vu)xi * px, y0 = (vu)yi * py, z0 = (vu)zi * pz + seed * 974634777u;
  vu x1 = x0 + px, y1 = y0 + py, z1 = z0 + pz;
  vf a = mix(mix(lattice(x0 + y0 + z0), lattice(x1 + y0 + z0), u),
             mix(lattice(x0 + y1 + z0), lattice(x1 + y1 + z0), u), v);
  vf b = mix(mix(lattice(x0 + y0 + z1), lattice(x1 + y0 + z1), u),
             mix(lattice(x0 + y1 + z1), lattice(x1 + y1 + z1), u), v);
  return mix(a, b, w);
}

}  // namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA
