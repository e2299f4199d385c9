// The signed distance to a posed head: a smooth union of few primitives, mirrored in x.
#pragma once
#include "arms.h"

namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA {

// What a ray hits.
constexpr std::int32_t kNothing = 0, kFacePart = 1, kEyeLeft = 2, kEyeRight = 3, kTeethUpper = 4,
                       kTeethLower = 5, kTongue = 6, kHairPart = 7, kBodyPart = 8, kGlassesPart = 9,
                       kBonePart = 10;  // and the bones after the first

HEAD_INLINE vf ear_distance(const Identity& I, V3 c) {
  const float s = I.ear_size, out = I.ear_out;
  vf x = vabs(c.x) - (I.cranium_w - 0.035f), y = c.y + 0.13f, z = c.z + 0.12f;
  // leaning back, and its rear edge away from the skull
  vf ry = 0.97f * y - 0.24f * z, rz = 0.24f * y + 0.97f * z;
  vf rx = x + out * (rz - 0.10f * s);
  vf ear = ellipsoid({rx, ry, rz}, {0.055f, 0.29f * s, 0.17f * s});
  vf dent = ellipsoid({rx - 0.06f, ry - 0.03f, rz - 0.01f}, {0.05f, 0.19f * s, 0.10f * s});
  return carve(ear, dent, 0.05f);
}

// Thickness of the lips over the canonical surface.
HEAD_INLINE void lip_profile(const Identity& I, vf x, vf& upper, vf& lower) {
  vf q = x * (1.f / I.mouth_w), q2 = q * q;
  vf shape = vmax(1.f - q2, 0.f);
  upper = I.lip_up * shape * (1.f - 0.28f * bump(q2 * 30.f) + 0.35f * q2);
  lower = I.lip_lo * shape * (1.f + 0.15f * q2);
}

// The face alone, canonical: lips and lids closed.
HEAD_INLINE vf face_distance(const Identity& I, V3 c) {
  V3 f{vabs(c.x + I.asymmetry * vmax(-c.y, 0.f)), c.y, c.z};
  vf d = ellipsoid({f.x, f.y - I.cranium_y, f.z + 0.22f}, {I.cranium_w, I.cranium_h, I.cranium_d});
  vf mid = ellipsoid({f.x, f.y + 0.40f, f.z - 0.05f}, {I.face_w, I.face_h, I.face_d});
  d = join(d, mid, 0.25f);
  d = join(d,
           capsule(f, {I.jaw_w, I.jaw_y, -0.08f}, {I.chin_w, I.chin_y + 0.13f, I.chin_z - 0.10f},
                   I.jaw_r, 0.12f),
           0.18f);
  d = join(
      d, ellipsoid({f.x, f.y - I.chin_y - 0.15f, f.z - I.chin_z}, {I.chin_w + 0.10f, 0.16f, 0.18f}),
      0.18f);
  V3 ck{f.x - I.cheek_x, f.y - I.cheek_y, f.z - 0.38f};
  d = join(d, length(ck) - I.cheek_r, 0.22f);
  d = join(d, ellipsoid({f.x, f.y - I.mouth_y - 0.02f, f.z - 0.42f}, {0.33f, 0.30f, I.muzzle}),
           0.16f);
  d = join(d,
           ellipsoid({f.x - 0.25f, f.y - I.brow_y + 0.04f, f.z - 0.57f}, {0.27f, 0.08f, I.ridge}),
           0.14f);
  d = carve(d, ellipsoid({f.x - I.eye_x + 0.02f, f.y, f.z - 0.84f}, {0.20f, 0.125f, I.socket}),
            0.12f);
  // lids round the eyeball
  V3 e{f.x - I.eye_x, f.y, f.z - I.eye_z};
  d = join(d, length(e) - (I.eye_r + 0.022f), 0.06f);
  // nose
  d = join(d,
           capsule(f, {0.f, 0.10f, I.bridge_z}, {0.f, I.nose_y + 0.03f, I.nose_z - 0.03f},
                   I.bridge_r, I.nose_r * 0.92f),
           0.11f);
  V3 tip{f.x, f.y - I.nose_y, f.z - I.nose_z};
  d = join(d, length(tip) - I.nose_r, 0.05f);
  V3 wing{f.x - I.wing_x, f.y - I.nose_y + 0.025f, f.z - I.nose_z + 0.13f};
  d = join(d, length(wing) - I.wing_r, 0.05f);
  V3 hole{f.x - I.wing_x * 0.62f, f.y - I.nose_y + 0.115f, f.z - I.nose_z + 0.075f};
  d = carve(d, ellipsoid(hole, {0.036f, 0.05f, 0.055f}), 0.03f);
  // lips, and the groove over them
  vf upper, lower;
  lip_profile(I, c.x, upper, lower);
  vf v = c.y - lip_line(I, c.x);
  vf tu = (v - 0.48f * upper) / (0.75f * upper + 0.01f),
     tl = (v + 0.5f * lower) / (0.78f * lower + 0.01f);
  vf lips = bump(tu * tu) * upper * 0.42f + bump(tl * tl) * lower * 0.46f;
  vf gx = c.x * (1.f / 0.075f), gy = (v - I.lip_up - 0.10f) * (1.f / 0.11f);
  vf under = (v + I.lip_lo + 0.08f) * (1.f / 0.09f), ux = c.x * (1.f / 0.22f);
  vf grooves = bump(gx * gx + gy * gy) * 0.022f + bump(ux * ux + under * under) * 0.03f;
  // fold from the nose's wing to the corner of the mouth
  vf t = clamp01((I.nose_y - 0.02f - f.y) * (1.f / 0.26f));
  vf fold = (f.x - (I.wing_x + 0.09f) - t * (I.mouth_w - I.wing_x)) * (1.f / 0.07f);
  vf along = (f.y - 0.5f * (I.nose_y + I.mouth_y)) * (1.f / 0.26f);
  grooves += bump(fold * fold + along * along * along * along) * (0.005f + 0.02f * I.wrinkles);
  return d - smoothstep(0.2f, 0.4f, c.z) * (lips * I.lip_bulge - grooves);
}

// Where the face comes out of the hair: < 0 in the opening, whose edge is ragged.
HEAD_INLINE vf hairline(const Identity& I, V3 b) {
  vf strands = sin_turns(b.x * 5.3f + 3.f * I.seed) * sin_turns(b.y * 3.7f + b.z * 4.1f) +
               0.5f * sin_turns(b.x * 14.1f + b.y * 6.f + b.z * 9.f);
  vf x = b.x - I.hair_part * (b.y - 0.2f);
  vf top = ellipsoid({x, b.y - I.hair_line + 1.0f, b.z - 0.95f}, {I.hair_side, 1.0f, 1.05f});
  return top + 0.013f * strands;
}

HEAD_INLINE vf hair_distance(const Identity& I, V3 b) {
  const float t = I.hair_thick;
  vf d = ellipsoid({b.x, b.y - I.cranium_y - 0.5f * I.hair_top - 0.02f, b.z + 0.24f},
                   {I.cranium_w + t, I.cranium_h + t * 0.7f + 0.5f * I.hair_top, I.cranium_d + t});
  if (I.hair_len > 0.f) {
    V3 f{vabs(b.x), b.y, b.z};
    const float y1 = 0.1f - I.hair_len;
    d = join(d,
             capsule({f.x, f.y, 0.62f * f.z}, {I.cranium_w - 0.06f, 0.2f, -0.16f},
                     {I.hair_wide, y1, -0.16f}, 0.17f + t, 0.20f),
             0.2f);
    d = join(d,
             ellipsoid({b.x, b.y - 0.5f * y1, b.z + 0.62f},
                       {I.cranium_w + 0.05f, 0.6f * I.hair_len, 0.35f}),
             0.2f);
  }
  vf wave = sin_turns(b.x * I.hair_wave_freq + sin_turns(b.y * (I.hair_wave_freq * 0.5f)) * 0.4f +
                      I.seed) *
            sin_turns(b.y * I.hair_wave_freq + b.z * I.hair_wave_freq);
  d = d + wave * I.hair_wave;
  return carve(d, hairline(I, b), 0.10f);
}

HEAD_INLINE vf body_distance(const Identity& I, V3 b) {
  V3 f{vabs(b.x), b.y, b.z};
  vf d = capsule(b, {0.f, -0.95f, -0.27f}, {0.f, -1.85f, -0.42f}, I.neck_r, I.neck_r * 1.06f);
  vf torso = capsule(f, {0.f, I.shoulder_y, -0.42f}, {I.shoulder_w, I.shoulder_y - 0.10f, -0.45f},
                     I.shoulder_r + 0.06f, I.shoulder_r);
  torso = join(
      torso, ellipsoid({b.x, b.y + 3.1f, b.z + 0.32f}, {I.shoulder_w + 0.1f, 1.35f, 0.78f}), 0.3f);
  torso = join(torso,
               capsule(f, {0.f, -1.42f, -0.52f}, {I.shoulder_w * 0.8f, I.shoulder_y + 0.16f, -0.5f},
                       0.34f, 0.24f),
               0.3f);
  return join(d, torso, 0.34f);
}

// Where clothes begin on the body: > 0 on cloth.
HEAD_INLINE vf cloth_margin(const Identity& I, V3 b) {
  vf round = vsqrt(b.x * b.x + 0.02f);
  return (I.neckline + I.neckline_v * round) - b.y + 0.16f * vmin(vmax(-b.z - 0.3f, 0.f), 0.5f);
}

HEAD_INLINE vf glasses_distance(const Identity& I, V3 h) {
  V3 f{vabs(h.x), h.y, h.z};
  vf x = f.x - I.eye_x - 0.01f, y = f.y + 0.03f, z = f.z - 0.80f + 0.12f * f.x;
  const float r = I.glasses_r, sq = I.glasses_square;
  vf bx = vmax(vabs(x) - sq * r, 0.f), by = vmax(vabs(y) - sq * r * 0.7f, 0.f);
  vf ring = vsqrt(bx * bx + by * by + 1e-8f) - r * (1.f - sq * 0.6f);
  vf d = vsqrt(ring * ring + z * z) - 0.022f;
  d = vmin(d, capsule(f, {0.f, 0.03f, 0.82f}, {I.eye_x - r, 0.01f, 0.78f}, 0.02f, 0.02f));
  return vmin(d, capsule(f, {I.eye_x + r, 0.04f, 0.71f}, {I.cranium_w + 0.03f, 0.02f, -0.05f},
                         0.02f, 0.02f));
}

HEAD_INLINE vf teeth_distance(const Identity& I, V3 h, float bottom, float top) {
  // an arch seen from the front, in the plane of the lips
  vf x = h.x * (1.f / 0.33f), zf = h.z - 0.30f;
  vf r = vsqrt(x * x * 0.09f + zf * zf + 1e-8f) - (0.03f + I.muzzle);
  vf side = vabs(r) - 0.03f, up = vabs(h.y - 0.5f * (bottom + top)) - 0.5f * (top - bottom);
  return vmax(vmax(side, up), 0.30f - h.z) * 0.8f;
}

// Distances to every group, for one packet of points. A group that is certainly farther than
// another, for all lanes, is left at a bound: this changes no minimum.
struct Distances {
  vf face, eye, upper_teeth, lower_teeth, tongue, hair, body, glasses, arms;
  V3 head_point, canonical, body_point;
  vi right, bone;  // which of the bones is nearest
  vf all;
};

inline __attribute__((noinline)) void distances(const Pose& P, V3 w, Distances& out) {
  const Identity& I = *P.id;
  constexpr float kFar = 1e3f, kNear = 0.23f;  // the widest look of the occlusion in trace.h
  V3 h = unapply(P.head, w);
  out.head_point = h;
  out.right = h.x > 0.f;
  out.eye = out.upper_teeth = out.lower_teeth = out.tongue = out.hair = out.glasses = splat(kFar);
  out.arms = splat(kFar);
  out.bone = vi{};
  out.body_point = body_of(P, w, h);
  // a capsule round the head; far from it, its distance will do
  V3 o{h.x, h.y - vmin(vmax(h.y, -0.42f - P.jaw), 0.1f), h.z + 0.12f};
  vf bound = length(o) - P.reach;
  if (any(bound < kNear)) {
    Holes holes;
    V3 c = canonical_of(P, h, holes);
    out.canonical = c;
    vf d = face_distance(I, c);
    vf fx = vabs(h.x);
    d = join(d, ear_distance(I, c), 0.04f);
    vf hm = -holes.mouth, he = -holes.eye;
    vf inside = d + 0.035f;  // what the mouth holds stays behind the lips and cheeks
    d = carve(d, hm, 0.035f);
    d = carve(d, he, 0.02f);
    out.face = d;
    V3 e{fx - I.eye_x, h.y, h.z - I.eye_z};
    out.eye = length(e) - I.eye_r;
    if (P.mouth_open && any(hm < 0.15f)) {
      out.upper_teeth = vmax(inside, teeth_distance(I, h, I.mouth_y + 0.005f, I.mouth_y + 0.15f));
      const float low = I.mouth_y - 0.93f * P.jaw;
      out.lower_teeth = vmax(inside, teeth_distance(I, {h.x, h.y, h.z + 0.22f * P.jaw + 0.03f},
                                                    low - 0.15f, low - 0.01f));
      V3 g{h.x, h.y - (I.mouth_y - 0.10f - 0.72f * P.jaw), h.z - 0.36f};
      out.tongue = vmax(inside, ellipsoid(g, {0.19f, 0.075f, 0.20f}));
    }
    if (I.glasses > 0.5f) out.glasses = glasses_distance(I, h);
  } else {
    out.face = bound;
    out.canonical = h;
  }
  vf d = vmin(vmin(vmin(out.face, out.eye), vmin(out.upper_teeth, out.lower_teeth)),
              vmin(out.tongue, out.glasses));
  if (I.hair > 0.5f && (I.hair_len > 0.f || any(bound < kNear))) {
    out.hair = hair_distance(I, out.body_point);
    d = vmin(d, out.hair);
  }
  vf above = w.y + 0.40f;  // the body's top
  if (any(above < d)) {
    out.body = body_distance(I, out.body_point);
    if (P.body) out.body = join(out.body, waist_distance(*P.body, out.body_point), 0.4f);
    vf cloth = vmin(vmax(cloth_margin(I, out.body_point) * 1.5f + 0.5f, 0.f), 1.f);
    out.body = out.body - 0.028f * cloth;
    d = vmin(d, out.body);
  } else {
    out.body = above;
  }
  if (P.body) {
    out.arms = arms_distance(P, w, out.bone);
    d = vmin(d, out.arms);
  }
  out.all = d;
}

}  // namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA
