// What an upper body adds to a head: a waist, and arms of rigid bones. A point of a bone keeps its
// place in the bone's frame in every pose; the round ends that two bones share close the joint.
#pragma once
#include "deform.h"
#include "shapes.h"

namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA {

HEAD_INLINE vf waist_distance(const Body& B, V3 b) {
  return ellipsoid({b.x, b.y + 5.5f, b.z + 0.35f}, {B.waist, 3.2f, 0.74f});
}

// How far a point of the upper arm (0) or forearm (1) lies inside the sleeve, along the arm.
HEAD_INLINE vf sleeve_margin(const Body& B, int segment, V3 p) {
  const float bone = segment ? B.forearm : B.upper_arm;
  return (B.sleeve - segment) * bone + p.y;
}

HEAD_INLINE vf segment_distance(const Body& B, int segment, V3 p) {
  const float r = B.arm_r, elbow = 0.80f * r, wrist = 0.56f * r;
  vf d = segment ? capsule(p, {0.f, 0.f, 0.f}, {0.f, -B.forearm, 0.f}, elbow, wrist)
                 : capsule(p, {0.f, 0.f, 0.f}, {0.f, -B.upper_arm, 0.f}, r, elbow);
  return d - 0.06f * clamp01(sleeve_margin(B, segment, p) * 12.f + 0.5f);
}

// A palm, four fingers and a thumb. The thumb is at z, the palm looks to -x on the right.
HEAD_INLINE vf hand_distance(const Body& B, float side, V3 p) {
  const float inv = 1.f / B.hand;
  V3 q{p.x * (side * inv), p.y * inv, p.z * inv};
  vf palm = ellipsoid({q.x, q.y + 0.46f, q.z}, {0.15f, 0.54f, 0.40f});
  // the fingers lie mirrored about the middle of the hand, and about that of each half
  vf z = vabs(vabs(q.z) - 0.19f), y = q.y - 0.8f * q.z * q.z;
  vf fingers = capsule({q.x, y, z}, {0.f, -0.75f, 0.095f}, {-0.22f, -1.62f, 0.085f}, 0.10f, 0.075f);
  vf thumb = capsule(q, {-0.04f, -0.20f, 0.22f}, {-0.20f, -0.80f, 0.58f}, 0.14f, 0.09f);
  return join(vmin(palm, fingers), thumb, 0.08f) * (0.9f * B.hand);
}

// The distance to both arms, and the bone that is nearest.
HEAD_INLINE vf arms_distance(const Pose& P, V3 w, vi& nearest) {
  const Body& B = *P.body;
  vf best = splat(1e3f);
  for (int k = 0; k < kBones; ++k) {
    V3 p = unapply(P.bone[k], w);
    vf d;
    if (k % 3 < 2) {
      d = segment_distance(B, k % 3, p);
    } else {
      // far from a hand, the distance to a ball round it will do
      vf bound = length({p.x, p.y + 0.85f * B.hand, p.z}) - B.hand;
      d = any(bound < 0.3f) ? hand_distance(B, k < 3 ? -1.f : 1.f, p) : bound;
    }
    vi nearer = d < best;
    best = select(nearer, d, best);
    nearest = select(nearer, splat_int(k), nearest);
  }
  return best;
}

}  // namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA
