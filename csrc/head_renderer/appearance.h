// What the surface looks like: colours painted in canonical coordinates, so that they move with the
// flesh; light; the background.
#pragma once
#include "geometry.h"

namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA {

struct Surface {
  V3 albedo;
  vf specular, gloss, wrap;  // strength, exponent, how far light creeps round
  vi region;
};

HEAD_INLINE std::uint32_t seed_of(const Identity& I, std::uint32_t salt) {
  return (std::uint32_t)(std::int64_t)(I.seed * 65536.f) * 31u + salt;
}
HEAD_INLINE V3 rgb(float r, float g, float b) { return splat(F3{r, g, b}); }
HEAD_INLINE V3 scaled(V3 p, float a, float b, float c) { return {p.x * a, p.y * b, p.z * c}; }
HEAD_INLINE void paint(V3& base, V3 colour, vf amount) { base = mix(base, colour, amount); }
HEAD_INLINE vf patch(vf x, vf y, float cx, float cy, float rx, float ry) {
  vf a = (x - cx) * (1.f / rx), b = (y - cy) * (1.f / ry);
  return bump(a * a + b * b);
}

HEAD_INLINE V3 hair_colour(const Identity& I, V3 b) {
  // strands run from the crown downwards: fine around the head, coarse along
  vf r = vsqrt(b.x * b.x + b.z * b.z + 0.03f), inv = 1.f / r;
  vf across = b.x * inv * 15.f, around = b.z * inv * 15.f, along = b.y + 0.8f * r;
  vf strand = noise({across, along * 1.6f, around}, seed_of(I, 11)) * 0.6f +
              noise({across * 2.6f, along * 2.6f, around * 2.6f}, seed_of(I, 12)) * 0.4f;
  V3 c = rgb(I.hair_red, I.hair_green, I.hair_blue) * (1.f + strand * I.hair_strand);
  vf g = clamp01((strand + 1.4f * I.grey - 0.7f) * 3.f) * (I.grey > 0.02f ? 1.f : 0.f);
  paint(c, rgb(0.55f, 0.54f, 0.53f), g);
  return c;
}

HEAD_INLINE V3 skin_tone(const Identity& I, V3 c) {
  vf n = noise(scaled(c, 5.f, 5.f, 5.f), seed_of(I, 1)) * 0.6f +
         noise(scaled(c, 17.f, 17.f, 17.f), seed_of(I, 2)) * 0.4f;
  vf fine = noise(scaled(c, 46.f, 46.f, 46.f), seed_of(I, 3));
  V3 s = rgb(I.skin_red, I.skin_green, I.skin_blue);
  vf amount = n * I.skin_var + fine * (0.35f * I.skin_var);
  s = {s.x * (1.f + 0.6f * amount), s.y * (1.f + amount), s.z * (1.f + amount)};
  vf spots = noise(scaled(c, 27.f, 27.f, 27.f), seed_of(I, 4));
  vf freckle = clamp01((spots - 0.42f) * 5.f) * I.freckles;
  paint(s, {s.x * 0.62f, s.y * 0.48f, s.z * 0.40f}, freckle);
  return s;
}

// A point of the canonical face, with what several painters need of it.
struct FacePoint {
  V3 c;
  vf x, y;                             // x folded to one side
  vf front;                            // 0 behind the cheeks
  vf over_line, lip_upper, lip_lower;  // height over the lip line; the lips' thickness there
};

HEAD_INLINE void paint_blush(const Identity& I, const FacePoint& f, V3& s) {
  vf red = (patch(f.x, f.y, I.cheek_x, I.cheek_y - 0.06f, 0.26f, 0.22f) +
            patch(f.x, f.y, 0.f, I.nose_y, 0.16f, 0.14f)) *
           f.front * I.blush;
  s = s * V3{1.f + 0.08f * red, 1.f - 0.35f * red, 1.f - 0.3f * red};
  vf nostril = patch(f.x, f.y, 0.62f * I.wing_x, I.nose_y - 0.095f, 0.045f, 0.034f) * f.front;
  s = s * (1.f - 0.75f * clamp01(2.f * nostril));
}

HEAD_INLINE void paint_forehead(const Identity& I, const FacePoint& f, V3& s) {
  if (I.wrinkles <= 0.05f) return;
  vf bend = noise(scaled(f.c, 4.f, 2.f, 0.f), seed_of(I, 5)) * 0.35f;
  vf line = sin_turns(f.y * 9.f + bend);
  s = s * (1.f - 0.25f * I.wrinkles * clamp01(line * 3.f - 1.6f) *
                     patch(f.x, f.y, 0.f, 0.55f, 0.5f, 0.26f) * f.front);
}

// Bags, eye shadow, the crease of the lid, lashes.
HEAD_INLINE void paint_lids(const Identity& I, const FacePoint& f, V3& s) {
  vf u = f.x - I.eye_x, v = f.y - lid_line(I, u), q = u * (1.f / I.eye_w);
  vf shape = opening(q);
  vf bag = patch(f.x, f.y, I.eye_x - 0.02f, -0.13f, 0.17f, 0.10f) * I.bags;
  s = s * V3{1.f - 0.20f * bag, 1.f - 0.32f * bag, 1.f - 0.22f * bag};
  vf lid = bump(q * q * 0.72f) * clamp01(v * 40.f) * clamp01((0.13f - v) * 14.f) * f.front;
  paint(s, rgb(I.shadow_red, I.shadow_green, I.shadow_blue), lid * I.shadow);
  vf crease = (v - I.crease * (0.35f + 0.65f * shape)) * (1.f / 0.024f);
  s = s * (1.f - 0.42f * bump(crease * crease) * clamp01(shape * 2.f) * f.front);
  vf upper = (v - 0.004f) * (1.f / 0.030f), lower = v * (1.f / 0.018f);
  vf lashes =
      bump(upper * upper) * clamp01(v * 1e3f) + bump(lower * lower) * clamp01(-v * 1e3f) * 0.35f;
  s = s * (1.f - clamp01((1.12f - vabs(q)) * 8.f) * f.front * lashes * I.lash);
}

// Hair too short to have a shape; gives where it is.
HEAD_INLINE vi paint_scalp(const Identity& I, const FacePoint& f, V3& s) {
  if (I.buzz <= 0.f) return vi{};
  vf margin = hairline(I, f.c) + 0.02f * noise(scaled(f.c, 14.f, 14.f, 14.f), seed_of(I, 6));
  vf on = smoothstep(0.f, 0.07f, margin) *
          smoothstep(-0.75f, -0.45f, f.c.y - 0.4f * (f.c.z + 0.4f)) * I.buzz;
  on = on * (1.f - smoothstep(0.01f, -0.02f, ear_distance(I, f.c) - 0.03f));
  paint(s, hair_colour(I, f.c), on);
  return on > 0.5f;
}

// Beard, moustache, stubble.
HEAD_INLINE void paint_beard(const Identity& I, const FacePoint& f, V3& s) {
  if (I.beard + I.moustache + I.stubble <= 0.f) return;
  vf bristle = noise(scaled(f.c, 40.f, 16.f, 30.f), seed_of(I, 7));
  // the beard's upper edge: under the lip, then from the corner of the mouth up to the ear
  vf edge =
      mix(splat(I.mouth_y - 0.05f) - f.lip_lower, I.mouth_y + 0.03f + 0.8f * (f.x - I.mouth_w),
          smoothstep(I.mouth_w - 0.06f, I.mouth_w + 0.08f, f.x));
  vf beard =
      smoothstep(-0.03f, 0.07f, edge - f.y + 0.04f * bristle) * smoothstep(-0.28f, -0.05f, f.c.z);
  vf moustache =
      patch(f.x, f.over_line, 0.05f, I.lip_up + 0.075f, I.mouth_w * 1.05f, 0.10f) * 1.6f * f.front;
  moustache = clamp01(moustache) * clamp01((f.over_line - f.lip_upper) * 60.f);
  V3 hair = hair_colour(I, f.c);
  vf grain = 0.75f + 0.25f * bristle;
  paint(s, mix(s, hair, splat(0.5f)), clamp01(vmax(beard, moustache) * I.stubble * grain));
  vf full = vmax(beard * I.beard, moustache * I.moustache);
  paint(s, hair, clamp01(full * grain * 1.15f));
}

// Gives how much of the point is lip.
HEAD_INLINE vf paint_lips(const Identity& I, const FacePoint& f, V3& s) {
  vf q = f.x * (1.f / I.mouth_w);
  vf inside = vmin(f.lip_upper - f.over_line, f.over_line + f.lip_lower);
  vf lips = smoothstep(-0.010f, 0.010f, inside) * smoothstep(1.02f, 0.94f, q) * f.front;
  vf grain = noise(scaled(f.c, 70.f, 9.f, 9.f), seed_of(I, 8));
  paint(s, rgb(I.lip_red, I.lip_green, I.lip_blue) * (1.f + 0.10f * grain), lips);
  vf line = f.over_line * (1.f / 0.016f);
  s = s * (1.f - I.lip_line * bump(line * line) * smoothstep(1.05f, 0.95f, q) * f.front);
  return lips;
}

// Gives how much of the point is brow.
HEAD_INLINE vf paint_brows(const Identity& I, const FacePoint& f, V3& s) {
  vf along = (f.x - I.brow_in) * (1.f / (I.brow_out - I.brow_in));
  vf middle = I.brow_y + I.brow_arch * (1.f - (along - 0.6f) * (along - 0.6f) * 3.f) +
              I.brow_tilt * (along - 0.5f);
  vf half = I.brow_thick * (1.f - 0.55f * vmax(along - 0.35f, 0.f)) *
            smoothstep(-0.06f, 0.06f, along) * smoothstep(1.06f, 0.90f, along);
  vf bristle = noise({f.c.x * 46.f + f.c.y * 30.f, f.c.y * 22.f, f.c.z * 8.f}, seed_of(I, 9));
  vf brow = smoothstep(-0.014f, 0.022f, half - vabs(f.y - middle) + 0.008f * bristle) * f.front *
            clamp01(half * 100.f);
  paint(s, rgb(I.hair_red, I.hair_green, I.hair_blue) * splat(0.75f),
        brow * I.brow_dark * (0.85f + 0.15f * bristle));
  return brow;
}

HEAD_INLINE void face_surface(const Pose& P, V3 c, vf posed_z, Surface& out) {
  const Identity& I = *P.id;
  FacePoint f{c, vabs(c.x), c.y, smoothstep(0.05f, 0.35f, c.z), c.y - lip_line(I, c.x), {}, {}};
  lip_profile(I, c.x, f.lip_upper, f.lip_lower);
  V3 s = skin_tone(I, c);
  paint_blush(I, f, s);
  paint_lids(I, f, s);
  paint_forehead(I, f, s);
  out.region = select(paint_scalp(I, f, s), splat_int(kHair), splat_int(kSkin));
  paint_beard(I, f, s);
  vf lips = paint_lips(I, f, s);
  out.region = select(lips > 0.5f, splat_int(kLips), out.region);
  vf brow = paint_brows(I, f, s);
  out.region = select(brow > 0.5f, splat_int(kBrows), out.region);
  vi ear = ear_distance(I, c) < 0.02f;
  out.region = select(ear & (out.region == kSkin), splat_int(kEars), out.region);
  paint(s, V3{s.x * 1.04f, s.y * 0.86f, s.z * 0.84f}, select(ear, splat(0.8f), vf{}));
  out.specular = I.skin_spec * (1.f - 0.6f * brow) + lips * I.lip_gloss;
  out.gloss = splat(18.f) + lips * 30.f;
  out.wrap = splat(0.28f);
  if (P.mouth_open) {  // behind the lips, the wall of the mouth
    vf deep = smoothstep(0.05f, 0.15f, (0.42f + I.muzzle) - posed_z) *
              clamp01(1.f - vabs(f.over_line) * 50.f) *
              smoothstep(1.0f, 0.9f, f.x * (1.f / I.mouth_w));
    paint(s, rgb(0.10f, 0.020f, 0.018f), deep);
    out.specular = out.specular * (1.f - deep);
    out.region = select(deep > 0.5f, splat_int(kMouthInterior), out.region);
  }
  out.albedo = s;
}

// The eyeball, g in the frame of its gaze; `lid` is the distance below the upper lid's edge.
HEAD_INLINE void eye_surface(const Pose& P, V3 g, vf lid, Surface& out) {
  const Identity& I = *P.id;
  vf r = vsqrt(g.x * g.x + g.y * g.y + 1e-12f) * (1.f / I.iris_r);
  vf spoke =
      noise({g.x / (r * I.iris_r + 1e-3f) * 7.f, g.y / (r * I.iris_r + 1e-3f) * 7.f, r * 2.f},
            seed_of(I, 21));
  V3 white = rgb(0.66f, 0.63f, 0.61f);
  vf corner = clamp01((vabs(g.x) - 0.09f) * 9.f);
  paint(white, rgb(0.66f, 0.42f, 0.38f), corner * 0.7f);
  V3 iris = rgb(I.iris_red, I.iris_green, I.iris_blue) * (1.f + 0.35f * spoke);
  iris = iris * (0.75f + 0.5f * clamp01((0.9f - r) * 2.f));
  iris = iris * (1.f - 0.65f * smoothstep(0.78f, 0.98f, r));
  vf front = clamp01(g.z * 1e3f);
  V3 c = mix(white, iris, smoothstep(1.06f, 0.96f, r) * front);
  c = mix(c, rgb(0.012f, 0.011f, 0.012f), smoothstep(0.47f, 0.38f, r) * front);
  out.albedo = c * (0.45f + 0.55f * smoothstep(0.0f, 0.055f, lid));
  out.specular = splat(0.9f);
  out.gloss = splat(140.f);
  out.wrap = splat(0.35f);
  out.region = splat_int(kEyes);
}

HEAD_INLINE void teeth_surface(const Pose& P, vf x, vf z, vi lower, Surface& out) {
  const Identity& I = *P.id;
  vf gap = sin_turns(x * select(lower, splat(7.4f), splat(5.6f)));
  vf dark = 1.f - 0.45f * bump(gap * gap * 30.f);
  V3 c = rgb(0.86f, 0.82f, 0.72f) * splat(I.teeth);
  vf depth = smoothstep(0.42f, 0.62f, z);
  out.albedo = c * (dark * (0.25f + 0.75f * depth));
  out.specular = splat(0.35f);
  out.gloss = splat(50.f);
  out.wrap = splat(0.3f);
  out.region = splat_int(kMouthInterior);
}

// Skin where `margin` is below 0, and cloth above it; gives where there is cloth.
HEAD_INLINE vi dressed_surface(const Identity& I, V3 b, vf margin, Surface& out) {
  V3 skin = skin_tone(I, b);
  V3 one = rgb(I.cloth_red, I.cloth_green, I.cloth_blue),
     two = rgb(I.cloth2_red, I.cloth2_green, I.cloth2_blue);
  const float f = I.cloth_freq;
  const int pattern = (int)I.cloth_pattern;
  vf t = vf{};
  if (pattern == 1) t = clamp01(sin_turns(b.y * f) * 4.f + 0.5f);
  if (pattern == 2) t = clamp01(sin_turns(b.x * f) * 4.f + 0.5f);
  if (pattern == 3)
    t = 0.5f *
        (clamp01(sin_turns(b.x * f) * 4.f + 0.5f) + clamp01(sin_turns(b.y * f) * 4.f + 0.5f));
  if (pattern == 4) t = clamp01((sin_turns(b.x * f) * sin_turns(b.y * f) - 0.45f) * 6.f);
  if (pattern == 5) t = clamp01(noise(scaled(b, f, f, f), seed_of(I, 31)) * 1.6f + 0.5f);
  if (pattern == 6) t = clamp01((0.09f - vabs(b.x)) * 60.f);
  vf folds = noise(scaled(b, 2.4f, 1.3f, 2.f), seed_of(I, 32)) * 0.20f +
             noise(scaled(b, 60.f, 60.f, 60.f), seed_of(I, 33)) * 0.08f;
  V3 cloth = mix(one, two, t) * (1.f + folds);
  vf rim = bump((margin - 0.05f) * (margin - 0.05f) * (1.f / (0.06f * 0.06f)));
  paint(cloth, two, rim * I.collar);
  vf on = smoothstep(-0.01f, 0.012f, margin);
  out.albedo = mix(skin, cloth, on);
  out.specular = mix(splat(I.skin_spec), splat(0.03f), on);
  out.gloss = splat(16.f);
  out.wrap = splat(0.25f);
  return on > 0.5f;
}

HEAD_INLINE void body_surface(const Identity& I, V3 b, Surface& out) {
  vi cloth = dressed_surface(I, b, cloth_margin(I, b), out);
  out.region = select(cloth, splat_int(kClothes), splat_int(kNeck));
}

// A point of bone k in the bone's frame.
HEAD_INLINE void bone_surface(const Pose& P, int k, V3 p, Surface& out) {
  const bool hand = k % 3 == 2;
  dressed_surface(*P.id, p, hand ? splat(-1.f) : sleeve_margin(*P.body, k % 3, p), out);
  out.region = splat_int(hand ? kHands : kArms);
}

HEAD_INLINE V3 illuminate(const Identity& I, const Surface& s, V3 n, V3 view, vf occlusion) {
  V3 key = splat(F3{I.light_x, I.light_y, I.light_z});
  vf facing = dot(n, key);
  vf diffuse = vmax((facing + s.wrap) / (1.f + s.wrap), 0.f);
  diffuse = diffuse * mix(splat(0.45f), splat(1.f), occlusion);
  V3 ambient = mix(rgb(I.ground_red, I.ground_green, I.ground_blue),
                   rgb(I.sky_red, I.sky_green, I.sky_blue), 0.5f + 0.5f * n.y) *
               occlusion;
  V3 halfway = normalize(key - view);
  vf spec = exp2_fast(log2_fast(vmax(dot(n, halfway), 1e-4f)) * s.gloss);
  spec = spec * s.specular * clamp01(facing * 4.f + 0.3f) * occlusion;
  vf rim = vmax(1.f + dot(n, view), 0.f);
  rim = rim * rim * rim * I.rim * occlusion;
  V3 light = rgb(I.light_red, I.light_green, I.light_blue);
  return s.albedo * (ambient + light * diffuse) + light * spec +
         rgb(I.sky_red, I.sky_green, I.sky_blue) * s.albedo * rim;
}

// The wall behind; x, y in fractions of the frame.
HEAD_INLINE V3 background(const Identity& I, vf x, vf y) {
  const int kind = (int)I.back;
  const float ca = std::cos(I.back_angle), sa = std::sin(I.back_angle), f = I.back_freq,
              soft = I.back_soft;
  vf px = ca * (x - 0.5f) + sa * (y - 0.5f), py = ca * (y - 0.5f) - sa * (x - 0.5f);
  V3 a = rgb(I.back_red, I.back_green, I.back_blue),
     b = rgb(I.back2_red, I.back2_green, I.back2_blue),
     c = rgb(I.back3_red, I.back3_green, I.back3_blue);
  const std::uint32_t seed = seed_of(I, 41);
  auto fractal = [&](vf u, vf v, std::uint32_t salt) {
    vf z = splat(I.seed * 7.f + (float)salt);
    return noise({u, v, z}, seed + salt) * 0.55f +
           noise({u * 2.1f, v * 2.1f, z}, seed + salt + 1) * 0.27f +
           noise({u * 4.3f, v * 4.3f, z}, seed + salt + 2) * 0.14f +
           noise({u * 9.1f, v * 9.1f, z}, seed + salt + 3) * 0.07f;
  };
  const float sharp = 1.f / (0.04f + soft);
  V3 out = mix(a, b, clamp01(px + 0.5f));
  if (kind == 1) out = mix(a, b, clamp01(sin_turns(px * f) * sharp * 0.5f + 0.5f));
  if (kind == 2) out = mix(a, b, clamp01(sin_turns(px * f) * sin_turns(py * f) * sharp + 0.5f));
  if (kind == 3) {  // blobs out of focus
    out = mix(a, b, clamp01(py + 0.5f));
    vf n1 = noise({px * f, py * f, splat(0.3f)}, seed + 5),
       n2 = noise({px * f * 1.7f, py * f * 1.7f, splat(0.7f)}, seed + 6);
    out = mix(out, c, clamp01((n1 - 0.25f) * sharp) * 0.8f);
    out = mix(out, b * splat(1.4f), clamp01((n2 - 0.35f) * sharp) * 0.6f);
  }
  if (kind >= 4) {  // fractal colours, warped: foliage, plaster, clouds
    vf wx = fractal(px * f, py * f, 10), wy = fractal(px * f + 5.2f, py * f + 1.3f, 20);
    vf n = fractal(px * f + 1.4f * wx, py * f + 1.4f * wy, 30);
    out = mix(a, b, clamp01(n * 1.3f + 0.5f));
    out = mix(out, c, clamp01(wx * 1.5f));
  }
  if (kind == 5) {  // boxes before it: furniture, windows, frames
    for (int k = 0; k < 9; ++k) {
      vu h = vu{} + (seed * 747796405u + (std::uint32_t)k * 2891336453u);
      vf cx = lattice(h) * 0.6f, cy = lattice(h + 1u) * 0.6f,
         rx = 0.05f + 0.11f * (1.f + lattice(h + 2u)), ry = 0.05f + 0.11f * (1.f + lattice(h + 3u)),
         tone = 0.5f + 0.5f * lattice(h + 4u);
      vf d = vmin(rx - vabs(px - cx), ry - vabs(py - cy));
      vf on = clamp01(d * (4.f * sharp) + 0.5f);
      V3 colour = mix(mix(a, c, tone), b, 0.5f + 0.5f * lattice(h + 5u)) * (0.5f + tone);
      out = mix(out, colour * (1.f + 0.15f * noise({px * 14.f, py * 14.f, splat((float)k)}, seed)),
                on * 0.9f);
    }
  }
  return out;
}

// Linear light -> display values in [0, 1]; x, y in fractions of the frame.
HEAD_INLINE V3 develop(const Identity& I, V3 c, vf x, vf y) {
  vf dx = x - 0.5f, dy = y - 0.5f;
  c = c * (I.exposure * (1.f - I.vignette * (dx * dx + dy * dy)));
  const float gain[3] = {I.cast_red, I.cast_green, I.cast_blue};
  vf* channel[3] = {&c.x, &c.y, &c.z};
  for (int k = 0; k < 3; ++k) {
    vf v = *channel[k] * gain[k];
    v = v * (1.f + v * 0.25f) / (1.f + v * 0.55f);  // a soft shoulder
    *channel[k] = clamp01(pow_fast(vmax(v, 1e-5f), I.gamma));
  }
  return c;
}

}  // namespace motion_lab::head_renderer::cpu::MOTION_LAB_ISA
