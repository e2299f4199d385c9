// Frames, flow and landmarks of procedural heads and upper bodies.
#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "trace.h"

namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA {
namespace {

const Arms* frame_of(const Arms* arms, std::int64_t frame) { return arms ? arms + frame : nullptr; }

struct Tile {
  vf x, y;  // pixel indices
};
HEAD_INLINE Tile tile_at(int px, int py) {
  Tile t;
  for (int i = 0; i < kLanes; ++i) {
    t.x[i] = (float)(px + i % kTileX);
    t.y[i] = (float)(py + i / kTileX);
  }
  return t;
}

// Calls f(lane, x, y) for the lanes inside the frame.
template <class F>
HEAD_INLINE void each_lane(int px, int py, int size, F f) {
  for (int i = 0; i < kLanes; ++i) {
    const int x = px + i % kTileX, y = py + i / kTileX;
    if (x < size && y < size) f(i, x, y);
  }
}

// The developed wall, (size, size, 3): it is the same in all frames.
std::vector<float> paint_background(const Identity& I, int size, int threads) {
  std::vector<float> wall((std::size_t)size * size * 3);
  const float inv = 1.f / size;
  parallel_for((size + kTileY - 1) / kTileY, threads, [&](std::int64_t row) {
    const int py = (int)row * kTileY;
    for (int px = 0; px < size; px += kTileX) {
      Tile t = tile_at(px, py);
      vf x = (t.x + 0.5f) * inv, y = (t.y + 0.5f) * inv;
      V3 c = develop(I, background(I, x, y), x, y);
      each_lane(px, py, size, [&](int i, int lx, int ly) {
        float* out = &wall[((std::size_t)ly * size + lx) * 3];
        out[0] = c.x[i], out[1] = c.y[i], out[2] = c.z[i];
      });
    }
  });
  return wall;
}

// Distances at which the rays of a frame's band may start, one for every cell of kCell x kCell
// rays.
constexpr int kCell = 8;
std::vector<float> march_band(const Pose& P, int fine, int row_begin, int row_end) {
  const int columns = (fine + kCell - 1) / kCell, rows = (row_end - row_begin + kCell - 1) / kCell;
  const int cells = columns * rows;
  const float inv = 1.f / fine;
  const float spread = 0.75f * kCell * inv * P.frame_width / (P.zoom * (P.camera_z - P.eye_plane));
  std::vector<float> start(cells);
  for (int first = 0; first < cells; first += kLanes) {
    vf x, y;
    for (int i = 0; i < kLanes; ++i) {
      const int cell = std::min(first + i, cells - 1);
      x[i] = (kCell * (cell % columns + 0.5f)) * inv;
      y[i] = (row_begin + kCell * (cell / columns + 0.5f)) * inv;
    }
    vf t = march_cells(P, ray_at(P, x, y), spread);
    for (int i = 0; i < kLanes && first + i < cells; ++i) start[first + i] = t[i];
  }
  return start;
}

// One band of tile rows of one frame at the sampling resolution, averaged into the image.
void render_rows(const RenderJob& job, const Pose& P, const std::vector<float>& wall,
                 std::int64_t frame, int row_begin, int row_end) {
  const int n = job.samples, fine = job.size * n, size = job.size;
  const float inv = 1.f / fine, share = 255.f / (n * n);
  std::vector<float> sum((std::size_t)(row_end - row_begin) * size * 3);
  const std::size_t base = (std::size_t)frame * size * size;
  const std::vector<float> start = march_band(P, fine, row_begin * n, row_end * n);
  const int columns = (fine + kCell - 1) / kCell;
  for (int py = row_begin * n; py < row_end * n; py += kTileY)
    for (int px = 0; px < fine; px += kTileX) {
      Tile t = tile_at(px, py);
      vf x = (t.x + 0.5f) * inv, y = (t.y + 0.5f) * inv;
      Ray ray = ray_at(P, x, y);
      Hit hit;
      trace(P, ray, splat(start[(py - row_begin * n) / kCell * columns + px / kCell]), hit);
      vi found = hit.part != kNothing, region = vi{};
      V3 c{};
      if (any(found)) {
        if (job.image) {
          c = develop(*P.id, shade(P, ray, hit, region), x, y);
        } else if (job.regions) {
          region = surface_of(P, hit).region;
        }
      }
      each_lane(px, py, fine, [&](int i, int lx, int ly) {
        if (ly >= row_end * n) return;
        const int ox = lx / n, oy = ly / n;
        if (job.image) {
          const float* back = &wall[((std::size_t)ly * fine + lx) * 3];
          float* out = &sum[((std::size_t)(oy - row_begin) * size + ox) * 3];
          out[0] += found[i] ? c.x[i] : back[0];
          out[1] += found[i] ? c.y[i] : back[1];
          out[2] += found[i] ? c.z[i] : back[2];
        }
        if (lx % n != n / 2 || ly % n != n / 2)
          return;  // labels from the sample nearest the centre
        const std::size_t at = base + (std::size_t)oy * size + ox;
        if (job.depth) job.depth[at] = found[i] ? P.camera_z - hit.point.z[i] : 0.f;
        if (job.regions) job.regions[at] = found[i] ? (std::uint8_t)region[i] : 0;
      });
    }
  if (!job.image) return;
  std::uint8_t* out = job.image + (base + (std::size_t)row_begin * size) * 3;
  for (std::size_t i = 0; i < sum.size(); ++i) out[i] = (std::uint8_t)(sum[i] * share + 0.5f);
}

// The material point that a hit shows, carried to another pose; `ok` where that worked.
HEAD_INLINE V3 carry(const Pose& P, const Pose& Q, const Hit& hit, vi& ok) {
  V3 h = hit.at.head_point, w = hit.point;
  ok = hit.part != kNothing;
  vi face = hit.part == kFacePart, body = (hit.part == kBodyPart) | (hit.part == kHairPart);
  V3 in_head = h;
  if (any(face)) {
    V3 posed = pose_face(Q, hit.at.canonical);
    vi lower_lip = hit.at.canonical.y < lip_line(*P.id, hit.at.canonical.x);
    vi lower_lid = hit.at.canonical.y < lid_line(*P.id, vabs(hit.at.canonical.x) - P.id->eye_x);
    V3 r = untear(Q, relax(Q, posed), lower_lip, lower_lid) - hit.at.canonical;
    ok = ok & (~face | (dot(r, r) < 1e-5f));
    in_head = select(face, posed, in_head);
  }
  vi eye_left = hit.part == kEyeLeft, eye_right = hit.part == kEyeRight;
  if (any(eye_left)) in_head = select(eye_left, apply(Q.gaze[0], unapply(P.gaze[0], h)), in_head);
  if (any(eye_right)) in_head = select(eye_right, apply(Q.gaze[1], unapply(P.gaze[1], h)), in_head);
  vi lower = hit.part == kTeethLower, tongue = hit.part == kTongue;
  const float fall = P.jaw - Q.jaw;
  in_head.y += select(lower, splat(0.93f * fall), select(tongue, splat(0.72f * fall), vf{}));
  in_head.z += select(lower, splat(0.22f * fall), vf{});
  V3 out = apply(Q.head, in_head);
  if (any(body)) {
    V3 b = hit.at.body_point, posed = pose_body(Q, b);
    V3 r = body_of(Q, posed, unapply(Q.head, posed)) - b;
    ok = ok & (~body | (dot(r, r) < 1e-5f));
    out = select(body, posed, out);
  }
  if (P.body)
    for (int k = 0; k < kBones; ++k)
      out = select(hit.part == kBonePart + k, apply(Q.bone[k], unapply(P.bone[k], w)), out);
  return select(hit.part == kNothing, w, out);
}

// Parts that go over into each other: the bones of an arm share their joints.
HEAD_INLINE vi limb_of(vi part) {
  constexpr int kRight = kBonePart + kBones / 2;
  return select(part >= kRight, splat_int(kRight),
                select(part >= kBonePart, splat_int(kBonePart), part));
}

void flow_rows(const FlowJob& job, const Pose& P, const Pose& Q, std::int64_t frame, int row_begin,
               int row_end) {
  constexpr float kTolerance = 0.02f;
  const int size = job.size;
  const float inv = 1.f / size;
  const std::size_t base = (std::size_t)frame * size * size;
  for (int py = row_begin; py < row_end; py += kTileY)
    for (int px = 0; px < size; px += kTileX) {
      Tile t = tile_at(px, py);
      vf x = (t.x + 0.5f) * inv, y = (t.y + 0.5f) * inv;
      Ray ray = ray_at(P, x, y);
      Hit hit;
      trace(P, ray, first_surface(P, ray), hit);
      vi solid = hit.part != kNothing, ok = vi{};
      vf sx = x, sy = y;
      V3 there = hit.point;
      if (any(solid)) {
        there = carry(P, Q, hit, ok);
        vf qx, qy;
        project(Q, there, qx, qy);
        sx = select(solid, qx, x);
        sy = select(solid, qy, y);
      }
      Ray back = ray_at(Q, sx, sy);
      Hit seen;
      trace(Q, back, first_surface(Q, back), seen);
      V3 eye{there.x, there.y, there.z - Q.camera_z};
      vi same = (limb_of(seen.part) == limb_of(hit.part)) & ok &
                (vabs(length(eye) - seen.distance) < kTolerance);
      vi visible = select(solid, same, seen.part == kNothing);
      visible = visible & (sx > 0.f) & (sx < 1.f) & (sy > 0.f) & (sy < 1.f);
      each_lane(px, py, size, [&](int i, int lx, int ly) {
        if (ly >= row_end) return;
        const std::size_t at = base + (std::size_t)ly * size + lx;
        job.displacement[at * 2] = 2.f * (sx[i] - x[i]);
        job.displacement[at * 2 + 1] = 2.f * (sy[i] - y[i]);
        job.visible[at] = visible[i] ? 1.f : 0.f;
      });
    }
}

// Bands of rows of all frames, shared out over the threads.
template <class F>
void for_bands(std::int64_t frames, int size, int threads, F f) {
  constexpr int kBand = 16;
  const int bands = (size + kBand - 1) / kBand;
  parallel_for(frames * bands, threads, [&](std::int64_t k) {
    const int begin = (int)(k % bands) * kBand;
    f(k / bands, begin, std::min(begin + kBand, size));
  });
}

V3 landmark_point(const Pose& neutral, const Landmark& mark) {
  const Identity& I = *neutral.id;
  const float side = mark.x < 0 ? -1.f : 1.f;
  float x = mark.x, y = mark.y;
  if (mark.kind == 2 || mark.kind == 3) {
    const float u = mark.x < 0 ? -1.f - mark.x : mark.x - 1.f;  // +-1 is the middle of an eye
    x = side * (I.eye_x + u * I.eye_w);
    y = I.eye_tilt * u * I.eye_w + (mark.kind == 2 ? 2e-4f : -2e-4f);
  }
  if (mark.kind == 4 || mark.kind == 5) {
    x = mark.x * I.mouth_w;
    y = I.mouth_y + I.lip_curve * x * x + (mark.kind == 4 ? 2e-4f : -2e-4f);
  }
  // down the z axis onto the canonical surface
  vf z = splat(1.4f);
  for (int k = 0; k < 60; ++k) z -= 0.7f * face_distance(I, {splat(x), splat(y), z});
  return {splat(x), splat(y), z};
}

}  // namespace

void render(const RenderJob& job) {
  std::vector<float> wall;
  if (job.image) wall = paint_background(*job.identity, job.size * job.samples, job.threads);
  std::vector<Pose> poses;
  for (std::int64_t i = 0; i < job.frames; ++i)
    poses.emplace_back(*job.identity, job.motion[i], job.body, frame_of(job.arms, i));
  for_bands(job.frames, job.size, job.threads, [&](std::int64_t frame, int begin, int end) {
    render_rows(job, poses[frame], wall, frame, begin, end);
  });
}

void flow(const FlowJob& job) {
  std::vector<Pose> driving, source;
  for (std::int64_t i = 0; i < job.frames; ++i) {
    driving.emplace_back(*job.identity, job.driving[i], job.body, frame_of(job.driving_arms, i));
    source.emplace_back(*job.identity, job.source[i], job.body, frame_of(job.source_arms, i));
  }
  for_bands(job.frames, job.size, job.threads, [&](std::int64_t frame, int begin, int end) {
    flow_rows(job, driving[frame], source[frame], frame, begin, end);
  });
}

void landmarks(const LandmarkJob& job) {
  const Pose neutral(*job.identity, Motion{}, nullptr, nullptr);
  std::vector<V3> marks;
  for (int k = 0; k < job.count; ++k) marks.push_back(landmark_point(neutral, job.landmarks[k]));
  for (std::int64_t f = 0; f < job.frames; ++f) {
    const Pose P(*job.identity, job.motion[f], job.body, frame_of(job.arms, f));
    for (int k = 0; k < job.count; ++k) {
      const Landmark& mark = job.landmarks[k];
      V3 w;
      if (mark.kind == 6) {
        w = apply(P.bone[(int)mark.x], {vf{}, splat(-mark.y), vf{}});
      } else if (mark.kind == 1) {
        w = apply(P.head, apply(P.gaze[mark.x > 0], {vf{}, vf{}, splat(job.identity->eye_r)}));
      } else {
        w = apply(P.head, pose_face(P, marks[k]));
      }
      vf x, y;
      project(P, w, x, y);
      float* out = job.points + (f * job.count + k) * 2;
      out[0] = x[0];
      out[1] = y[0];
    }
  }
}

}  // namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA
