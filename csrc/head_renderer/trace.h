// Rays: camera, sphere tracing, which part was hit, and shading of the hit.
#pragma once
#include "appearance.h"

namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA {

constexpr float kZoomHeight = 0.55f;  // of the frame, from the top: what zoom keeps in place

struct Ray {
  V3 origin, direction;
};

// x, y in fractions of the frame.
HEAD_INLINE Ray ray_at(const Pose& P, vf x, vf y) {
  const Motion& m = P.motion;
  const float inv = 1.f / P.zoom;
  vf fx = (x - 0.5f - m.shift_x) * (inv * P.frame_width);
  vf fy = kZoomHeight - P.eye_height + (y - kZoomHeight - m.shift_y) * inv;
  V3 d{fx, fy * -P.frame_width, splat(P.eye_plane - P.camera_z)};
  return {{vf{}, vf{}, splat(P.camera_z)}, normalize(d)};
}
HEAD_INLINE void project(const Pose& P, V3 w, vf& x, vf& y) {
  const Motion& m = P.motion;
  vf k = (P.camera_z - P.eye_plane) / (P.camera_z - w.z) * (1.f / P.frame_width);
  x = 0.5f + m.shift_x + w.x * k * P.zoom;
  y = kZoomHeight + m.shift_y + (P.eye_height - kZoomHeight - w.y * k) * P.zoom;
}

struct Hit {
  V3 point;
  vf distance;  // along the ray
  vi part;      // kNothing where the ray escapes
  Distances at;
};

HEAD_INLINE vi part_of(const Distances& d) {
  vf best = d.face;
  vi part = splat_int(kFacePart);
  auto take = [&](vf other, vi which) {
    vi nearer = other < best;
    best = select(nearer, other, best);
    part = select(nearer, which, part);
  };
  take(d.eye, select(d.right, splat_int(kEyeRight), splat_int(kEyeLeft)));
  take(d.upper_teeth, splat_int(kTeethUpper));
  take(d.lower_teeth, splat_int(kTeethLower));
  take(d.tongue, splat_int(kTongue));
  take(d.hair, splat_int(kHairPart));
  take(d.body, splat_int(kBodyPart));
  take(d.glasses, splat_int(kGlassesPart));
  take(d.arms, kBonePart + d.bone);
  return part;
}

constexpr int kSteps = 56;
constexpr float kRelax =
    0.86f;  // deformation stretches distances; this keeps steps short of the surface

// Where along a ray any surface can lie.
HEAD_INLINE vf first_surface(const Pose& P, const Ray& ray) {
  return (P.front - P.camera_z) / ray.direction.z;
}
HEAD_INLINE vf last_surface(const Pose& P, const Ray& ray) {
  return (P.back - P.camera_z) / ray.direction.z;
}

HEAD_INLINE void trace(const Pose& P, const Ray& ray, vf start, Hit& hit) {
  constexpr float kTolerance = 1e-3f;
  vf end = last_surface(P, ray);
  vf t = start;
  vi active = t < end;
  for (int k = 0; k < kSteps && any(active); ++k) {
    distances(P, ray.origin + ray.direction * t, hit.at);
    vf d = hit.at.all;
    t = select(active, t + d * kRelax, t);
    active = active & (t < end) & (vabs(d) > kTolerance);
  }
  hit.distance = t;
  hit.point = ray.origin + ray.direction * t;
  distances(P, hit.point, hit.at);
  vi found = (t < end) & (hit.at.all < 0.03f);
  hit.part = select(found, part_of(hit.at), splat_int(kNothing));
}

// How far all rays of square cells may go at once: `ray` runs through the middle of each cell,
// whose half diagonal is `spread` at unit distance. Past the head where a whole cell misses it.
HEAD_INLINE vf march_cells(const Pose& P, const Ray& ray, float spread) {
  vf t = first_surface(P, ray), end = last_surface(P, ray);
  vi active = t < end;
  Distances at;
  for (int k = 0; k < kSteps && any(active); ++k) {
    distances(P, ray.origin + ray.direction * t, at);
    vf step = at.all * kRelax - t * spread;
    active = active & (step > 0.02f);
    t = select(active, t + step, t);
    active = active & (t < end);
  }
  return t;
}

HEAD_INLINE V3 normal_at(const Pose& P, V3 w) {
  constexpr float e = 5e-3f;
  Distances a, b, c, d;
  distances(P, {w.x + e, w.y - e, w.z - e}, a);
  distances(P, {w.x - e, w.y - e, w.z + e}, b);
  distances(P, {w.x - e, w.y + e, w.z - e}, c);
  distances(P, {w.x + e, w.y + e, w.z + e}, d);
  return normalize(V3{a.all - b.all - c.all + d.all, c.all + d.all - a.all - b.all,
                      b.all + d.all - a.all - c.all});
}

HEAD_INLINE Surface surface_of(const Pose& P, const Hit& hit) {
  const Identity& I = *P.id;
  Surface out{}, s;
  auto take = [&](vi mask, const Surface& one) {
    out.albedo = select(mask, one.albedo, out.albedo);
    out.specular = select(mask, one.specular, out.specular);
    out.gloss = select(mask, one.gloss, out.gloss);
    out.wrap = select(mask, one.wrap, out.wrap);
    out.region = select(mask, one.region, out.region);
  };
  V3 h = hit.at.head_point;
  vi face = hit.part == kFacePart, body = hit.part == kBodyPart, hair = hit.part == kHairPart;
  if (any(face)) {
    face_surface(P, hit.at.canonical, h.z, s);
    take(face, s);
  }
  vi eye = (hit.part == kEyeLeft) | (hit.part == kEyeRight);
  if (any(eye)) {
    vi right = h.x > 0.f;
    V3 g = select(right, unapply(P.gaze[1], h), unapply(P.gaze[0], h));
    vf u = vabs(h.x) - I.eye_x;
    vf edge = select(right, splat(P.lid_up[1]), splat(P.lid_up[0])) * opening(u * (1.f / I.eye_w));
    eye_surface(P, g, edge - (h.y - lid_line(I, u)), s);
    take(eye, s);
  }
  vi teeth = (hit.part == kTeethUpper) | (hit.part == kTeethLower);
  if (any(teeth)) {
    teeth_surface(P, h.x, h.z, hit.part == kTeethLower, s);
    take(teeth, s);
  }
  vi tongue = hit.part == kTongue;
  if (any(tongue)) {
    s = {rgb(0.42f, 0.12f, 0.11f) * (0.3f + 0.7f * smoothstep(0.30f, 0.55f, h.z)), splat(0.25f),
         splat(25.f), splat(0.3f), splat_int(kMouthInterior)};
    take(tongue, s);
  }
  if (any(hair)) {
    V3 c = hair_colour(I, hit.at.body_point);
    s = {c, splat(I.hair_spec), splat(9.f), splat(0.2f), splat_int(kHair)};
    take(hair, s);
  }
  if (any(body)) {
    body_surface(I, hit.at.body_point, s);
    take(body, s);
  }
  vi glasses = hit.part == kGlassesPart;
  if (any(glasses)) {
    s = {rgb(I.glasses_red, I.glasses_green, I.glasses_blue), splat(0.5f), splat(30.f), splat(0.f),
         splat_int(kGlasses)};
    take(glasses, s);
  }
  if (P.body)
    for (int k = 0; k < kBones; ++k) {
      vi bone = hit.part == kBonePart + k;
      if (!any(bone)) continue;
      bone_surface(P, k, unapply(P.bone[k], hit.point), s);
      take(bone, s);
    }
  return out;
}

HEAD_INLINE V3 shade(const Pose& P, const Ray& ray, const Hit& hit, vi& region) {
  Surface s = surface_of(P, hit);
  region = s.region;
  V3 n = normal_at(P, hit.point);
  // occlusion from how much nearer than free space the surface is along the normal
  Distances a, b;
  distances(P, hit.point + n * splat(0.07f), a);
  distances(P, hit.point + n * splat(0.22f), b);
  vf occlusion = clamp01(0.4f + 0.25f * vmin(a.all * (1.f / 0.07f), 1.f) +
                         0.35f * vmin(b.all * (1.f / 0.22f), 1.f));
  return illuminate(*P.id, s, n, ray.direction, occlusion * occlusion);
}

}  // namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA
