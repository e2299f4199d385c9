// How motion deforms the head: maps from the posed head to its canonical surface (explicit, used by
// every step of a ray) and back (Newton's method, used once a pixel by the flow).
//
// In the canonical head lips and lids are closed. Opening them tears the canonical domain along the
// lip line and along the lid line: points above the opening move up, points below move down, and
// what lies between the edges is a hole. Which side a canonical point belongs to is the sign of its
// height over the line.
#pragma once
#include <cmath>

#include "contract.h"
#include "simd.h"

namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA {

HEAD_INLINE Rigid compose_rotation(float yaw, float pitch, float roll) {
  float cy = std::cos(yaw), sy = std::sin(yaw), cp = std::cos(pitch), sp = std::sin(pitch),
        cr = std::cos(roll), sr = std::sin(roll);
  const float Y[9] = {cy, 0, sy, 0, 1, 0, -sy, 0, cy};
  const float P[9] = {1, 0, 0, 0, cp, sp, 0, -sp, cp};
  const float R[9] = {cr, sr, 0, -sr, cr, 0, 0, 0, 1};
  float T[9];
  Rigid out{};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      T[i * 3 + j] = Y[i * 3] * P[j] + Y[i * 3 + 1] * P[3 + j] + Y[i * 3 + 2] * P[6 + j];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      out.m[i * 3 + j] = T[i * 3] * R[j] + T[i * 3 + 1] * R[3 + j] + T[i * 3 + 2] * R[6 + j];
  return out;
}
inline void turn_about(Rigid& r, F3 pivot) {
  const float v[3] = {pivot.x, pivot.y, pivot.z};
  float q[3];
  for (int i = 0; i < 3; ++i)
    q[i] = v[i] - (r.m[i * 3] * v[0] + r.m[i * 3 + 1] * v[1] + r.m[i * 3 + 2] * v[2]);
  r.t = {q[0], q[1], q[2]};
}

// b, then a.
inline Rigid compose(const Rigid& a, const Rigid& b) {
  Rigid out{};
  const float t[3] = {b.t.x, b.t.y, b.t.z}, base[3] = {a.t.x, a.t.y, a.t.z};
  float moved[3];
  for (int i = 0; i < 3; ++i) {
    const float* row = a.m + i * 3;
    for (int j = 0; j < 3; ++j)
      out.m[i * 3 + j] = row[0] * b.m[j] + row[1] * b.m[3 + j] + row[2] * b.m[6 + j];
    moved[i] = row[0] * t[0] + row[1] * t[1] + row[2] * t[2] + base[i];
  }
  out.t = {moved[0], moved[1], moved[2]};
  return out;
}

constexpr int kBones = 6;  // upper arm, forearm and hand of the left side, then of the right

// Everything about one frame that does not depend on the pixel. Index 0: viewer's left, 1: right.
struct Pose {
  const Identity* id;
  Motion motion;
  Rigid head, torso, gaze[2];
  const Body* body;    // or null: then there are no bones
  Rigid bone[kBones];  // to the world; a bone runs from its joint, the origin, down its own -y
  float camera_z, eye_plane, frame_width, zoom;
  float eye_height;            // of the frame, from the top, at neutral
  float front, back;           // no surface lies outside, in z
  float jaw;                   // how far the chin goes down
  float lip_drop;              // how far the middle of the lower lip goes down
  float lip_rise;              // how far the middle of the upper lip goes up
  float lid_up[2], lid_lo[2];  // edges of the eye opening over and under the lid line
  float reach;                 // radius of what encloses the head
  bool mouth_open;

  Pose(const Identity& identity, const Motion& m, const Body* shown, const Arms* arms)
      : id(&identity), motion(m), body(shown) {
    const Identity& I = identity;
    head = compose_rotation(m.yaw, m.pitch, m.roll);
    turn_about(head, {0.f, -0.85f, -0.30f});
    torso = compose_rotation(0.22f * m.yaw, 0.06f * m.pitch, 0.22f * m.roll);
    turn_about(torso, {0.f, -2.6f, -0.4f});
    eye_plane = I.eye_z + I.eye_r;
    camera_z = eye_plane + I.camera;
    frame_width = 3.3f * I.scale;
    eye_height = 0.42f;
    front = 1.5f;
    back = -1.7f;
    if (body) {
      camera_z = eye_plane + I.camera * body->view;
      frame_width *= body->view;
      eye_height = body->eye_height;
      front = body->upper_arm + body->forearm + 2.f * body->hand;
      back = -body->upper_arm;
      pose_arms(*arms);
    }
    zoom = std::exp(m.zoom);
    reach = 1.15f + I.hair * (I.hair_thick + I.hair_top + I.hair_wave);
    const float open = m.jaw < 0 ? 0 : m.jaw;
    const float press = m.lip_press;
    jaw = 0.36f * open;
    lip_drop = jaw * (1.f - press);
    const float parted = open * 5.f < 1.f ? open * 5.f : 1.f;
    lip_rise = parted * (1.f - press) * (0.035f + 0.045f * (m.smile > 0 ? m.smile : 0));
    mouth_open = lip_drop + lip_rise > 1e-4f;
    const float blink[2] = {m.blink_left, m.blink_right};
    for (int s = 0; s < 2; ++s) {
      const float b = blink[s];
      const float up = I.eye_up * (1.f + 0.18f * m.brow_raise + 0.5f * m.gaze_y);
      const float lo = I.eye_lo * (1.f - 0.25f * (m.smile > 0 ? m.smile : 0));
      lid_up[s] = up * (1.f - b) - I.eye_close * lo * b;
      lid_lo[s] = lo * (1.f - b) + I.eye_close * lo * b;
      gaze[s] = compose_rotation(m.gaze_x, m.gaze_y, 0.f);
      gaze[s].t = {s ? I.eye_x : -I.eye_x, 0.f, I.eye_z};
    }
  }

  // The bones hang from the torso, one from the other.
  void pose_arms(const Arms& arms) {
    auto joint = [](F3 at, float yaw, float pitch, float roll) {
      Rigid r = compose_rotation(yaw, pitch, roll);
      r.t = at;
      return r;
    };
    for (int s = 0; s < 2; ++s) {
      const float side = s ? 1.f : -1.f;
      const Arm& a = arms.side[s];
      const F3 here{0.f, 0.f, 0.f}, elbow{0.f, -body->upper_arm, 0.f},
          wrist{0.f, -body->forearm, 0.f};
      const F3 shoulder{side * id->shoulder_w, id->shoulder_y - 0.1f, -0.45f};
      const Rigid raised = compose(torso, joint(shoulder, 0.f, 0.f, -side * a.lift));
      const Rigid swung = compose(raised, joint(here, 0.f, a.swing, 0.f));
      Rigid* b = bone + 3 * s;
      b[0] = compose(swung, joint(here, -side * a.twist, 0.f, 0.f));
      b[1] = compose(b[0], joint(elbow, 0.f, a.elbow, 0.f));
      b[2] = compose(b[1], joint(wrist, -side * a.palm, 0.f, 0.f));
    }
  }
};

// Height of the lip line, and the outline of an opening from its middle (1) to its corners (0).
HEAD_INLINE vf lip_line(const Identity& I, vf x) { return I.mouth_y + I.lip_curve * x * x; }
HEAD_INLINE vf opening(vf q) {
  vf q2 = q * q;
  return vmax(1.f - q2, 0.f) * (1.f + 0.45f * q2);
}
HEAD_INLINE vf lid_line(const Identity& I, vf u) { return I.eye_tilt * u; }

// Smooth part of the inverse deformation: muscles that pull the skin along.
HEAD_INLINE V3 relax(const Pose& P, V3 h) {
  const Identity& I = *P.id;
  const Motion& m = P.motion;
  vf sign = select(h.x < 0.f, splat(-1.f), splat(1.f));
  vf ax = vabs(h.x), front = smoothstep(0.0f, 0.4f, h.z);
  vf v = h.y - I.mouth_y;
  V3 d{vf{}, vf{}, vf{}};
  // smile: corners of the mouth out and up, cheeks up
  vf soft_x = vsqrt(h.x * h.x + 0.012f);
  vf corner_x = (soft_x - I.mouth_w - 0.06f) * (1.f / 0.46f), corner_y = v * (1.f / 0.44f);
  vf corner = bump(corner_x * corner_x + corner_y * corner_y) * front;
  d.x += sign * corner * smoothstep(0.f, 0.2f, ax) * (0.09f * m.smile);
  d.y += corner * (m.smile * 0.15f);
  d.z -= corner * (0.05f * m.smile);
  vf cheek_x = (ax - I.cheek_x) * (1.f / 0.32f), cheek_y = (h.y - I.cheek_y) * (1.f / 0.3f);
  d.y += bump(cheek_x * cheek_x + cheek_y * cheek_y) * front * (0.05f * m.smile);
  // width, pucker and press of the lips
  vf mx = h.x * (1.f / 0.62f), my = v * (1.f / 0.42f);
  vf mouth = bump(mx * mx + my * my) * front;
  const float pucker = m.lip_width < 0 ? -m.lip_width : 0,
              spread = m.lip_width > 0 ? m.lip_width : 0;
  d.x += h.x * mouth * (0.30f * spread - 0.52f * pucker);
  d.z += mouth * (0.14f * pucker - 0.04f * spread - 0.03f * m.lip_press);
  d.y += v * mouth * (0.30f * pucker - 0.12f * spread);
  vf py = v * (1.f / 0.24f);
  d.y -= v * bump(mx * mx + py * py) * front * (0.48f * m.lip_press);
  // brows
  vf bx = (ax - 0.32f) * (1.f / 0.46f), by = (h.y - I.brow_y) * (1.f / 0.30f);
  d.y += bump(bx * bx + by * by) * front * (0.13f * m.brow_raise);
  vf fx = (ax - 0.14f) * (1.f / 0.30f);
  vf frown = bump(fx * fx + by * by) * front;
  d.x -= sign * frown * (0.055f * m.brow_frown);
  d.y -= frown * (0.075f * m.brow_frown);
  return h - d;
}

struct Holes {
  vf mouth, eye;  // signed depth inside the opening, > 0 where nothing is
};

// Inverse of the tears. `lower_lip` and `lower_lid` say on which side each lane lies; beyond its
// edge a side is continued smoothly, which Newton's method needs.
HEAD_INLINE V3 untear(const Pose& P, V3 p, vi lower_lip, vi lower_lid) {
  const Identity& I = *P.id;
  V3 c = p;
  // eye of this side
  vi right = p.x > 0.f;
  vf up = select(right, splat(P.lid_up[1]), splat(P.lid_up[0]));
  vf lo = select(right, splat(P.lid_lo[1]), splat(P.lid_lo[0]));
  vf u = vabs(p.x) - I.eye_x;
  vf shape = opening(u * (1.f / I.eye_w));
  vf v = p.y - lid_line(I, u);
  vf front = smoothstep(0.1f, 0.35f, p.z);
  vf t_up = clamp01((v - up * shape) * (1.f / 0.22f)),
     t_lo = clamp01((-v - lo * shape) * (1.f / 0.20f));
  vf f_up = (1.f - t_up) * (1.f - t_up), f_lo = (1.f - t_lo) * (1.f - t_lo);
  c.y += select(lower_lid, lo * shape * f_lo, -up * shape * f_up) * front;
  if (P.jaw == 0.f) return c;
  // mouth and jaw
  vf line = lip_line(I, p.x);
  vf q = opening(p.x * (1.f / (I.mouth_w * 0.94f)));
  vf w = p.y - line;
  vf rise = P.lip_rise * q, drop = P.lip_drop * q;
  vf t_rise = clamp01((w - rise) * (1.f / 0.34f));
  // wide enough for the stretched skin not to fold
  vf s = smoothstep(vf{}, 0.15f + 2.f * (P.jaw - drop), -(w + drop));
  vf down = mix(drop, splat(P.jaw), s);
  vf mouth_front = smoothstep(-0.15f, 0.45f, p.z);
  vf lowered = down * mouth_front;
  c.y += select(lower_lip, lowered, -rise * (1.f - t_rise) * (1.f - t_rise) * mouth_front);
  c.z += select(lower_lip, 0.22f * lowered, vf{});
  return c;
}

// Posed point in the head's frame -> canonical point, and how deep inside the openings it lies.
HEAD_INLINE V3 canonical_of(const Pose& P, V3 h, Holes& holes) {
  const Identity& I = *P.id;
  V3 p = relax(P, h);
  vi right = p.x > 0.f;
  vf up = select(right, splat(P.lid_up[1]), splat(P.lid_up[0]));
  vf lo = select(right, splat(P.lid_lo[1]), splat(P.lid_lo[0]));
  vf u = vabs(p.x) - I.eye_x;
  vf q_eye = u * (1.f / I.eye_w);
  vf shape = opening(q_eye);
  vf v = p.y - lid_line(I, u);
  vi lower_lid = v < 0.5f * (up - lo) * shape;
  holes.eye = vmin(vmin(up * shape - v, v + lo * shape), p.z - I.eye_z);
  holes.eye = vmin(holes.eye, (1.f - vabs(q_eye)) * (0.5f * I.eye_w));
  vf line = lip_line(I, p.x);
  vf q_mouth = p.x * (1.f / (I.mouth_w * 0.94f));
  vf q = opening(q_mouth);
  vf w = p.y - line;
  vi lower_lip = w < 0.5f * (P.lip_rise - P.lip_drop) * q;
  holes.mouth = vmin(vmin(P.lip_rise * q - w, w + P.lip_drop * q), p.z - 0.28f);
  holes.mouth = vmin(holes.mouth, (1.f - vabs(q_mouth)) * (0.5f * I.mouth_w));
  V3 c = untear(P, p, lower_lip, lower_lid);
  // Inside a hole a side runs past its line: keep it there.
  vf lid_v = c.y - lid_line(I, u), lip_v = c.y - line;
  vi in_eye = (vabs(q_eye) < 1.f) & (vabs(v) < 0.2f);
  vi in_mouth = (vabs(q_mouth) < 1.f) & (w > -0.5f) & (w < 0.2f);
  constexpr float kEdge = 1e-4f;
  c.y = select(in_eye & lower_lid & (lid_v > -kEdge), c.y - lid_v - kEdge, c.y);
  c.y = select(in_eye & ~lower_lid & (lid_v < kEdge), c.y - lid_v + kEdge, c.y);
  c.y = select(in_mouth & lower_lip & (lip_v > -kEdge), c.y - lip_v - kEdge, c.y);
  c.y = select(in_mouth & ~lower_lip & (lip_v < kEdge), c.y - lip_v + kEdge, c.y);
  return c;
}

// Solves f(p) = target from `p` by Newton's method with a numerical Jacobian.
template <class F>
HEAD_INLINE V3 newton(F f, V3 target, V3 p, int steps) {
  constexpr float kStep = 2e-3f, kInverse = 1.f / kStep;
  for (int k = 0; k < steps; ++k) {
    V3 r = f(p);
    V3 a = (f({p.x + kStep, p.y, p.z}) - r) * splat(kInverse);
    V3 b = (f({p.x, p.y + kStep, p.z}) - r) * splat(kInverse);
    V3 c = (f({p.x, p.y, p.z + kStep}) - r) * splat(kInverse);
    r = target - r;
    V3 bc{b.y * c.z - b.z * c.y, b.z * c.x - b.x * c.z, b.x * c.y - b.y * c.x};
    V3 ca{c.y * a.z - c.z * a.y, c.z * a.x - c.x * a.z, c.x * a.y - c.y * a.x};
    V3 ab{a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
    vf det = dot(a, bc);
    det = select(vabs(det) < 1e-3f, splat(1e-3f), det);
    vf inv = 1.f / det;
    V3 step{dot(r, bc) * inv, dot(r, ca) * inv, dot(r, ab) * inv};
    vf n = length(step);
    p = p + step * select(n > 0.15f, 0.15f / vmax(n, 1e-9f), splat(1.f));
  }
  return p;
}

// Canonical point of the face -> posed point in the head's frame.
HEAD_INLINE V3 pose_face(const Pose& P, V3 c) {
  const Identity& I = *P.id;
  vi lower_lip = c.y < lip_line(I, c.x);
  vi lower_lid = c.y < lid_line(I, vabs(c.x) - I.eye_x);
  return newton([&](V3 h) { return untear(P, relax(P, h), lower_lip, lower_lid); }, c, c, 8);
}

// How far the neck follows the head (1) rather than the shoulders (0), by height in the world.
HEAD_INLINE vf follow(vf y) { return smoothstep(-1.95f, -1.10f, y); }
HEAD_INLINE V3 body_of(const Pose& P, V3 world, V3 h) {
  return mix(unapply(P.torso, world), h, follow(world.y));
}
HEAD_INLINE V3 pose_body(const Pose& P, V3 c) {
  V3 start = mix(apply(P.torso, c), apply(P.head, c), follow(c.y));
  return newton([&](V3 w) { return body_of(P, w, unapply(P.head, w)); }, c, start, 6);
}

}  // namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA
