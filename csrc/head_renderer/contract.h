// What the renderer of heads and upper bodies takes and gives. Lengths are in units of 100 mm in
// the head's own frame: x to the viewer's right, y up, z towards the camera, the origin between the
// eyes. Colours are linear, 0..1.
#pragma once
#include <cstdint>

#include "common/isa.h"

namespace motion_lab::head_renderer {

// One float each. The Python side packs them by these names
// (motion_lab/data/synthetic/identity.py).
// clang-format off
#define MOTION_LAB_HEAD_IDENTITY(X) \
  /* skull, jaw and flesh */                                                                    \
  X(scale) X(cranium_w) X(cranium_h) X(cranium_d) X(cranium_y) X(face_w) X(face_h) X(face_d)    \
  X(jaw_w) X(jaw_y) X(jaw_r) X(chin_y) X(chin_z) X(chin_w) X(cheek_x) X(cheek_y) X(cheek_r)     \
  X(ridge) X(muzzle)                                                                            \
  /* eyes */                                                                                    \
  X(eye_x) X(eye_z) X(eye_r) X(eye_w) X(eye_up) X(eye_lo) X(eye_tilt) X(eye_close) X(socket)    \
  X(iris_r) X(iris_red) X(iris_green) X(iris_blue) X(lash) X(crease) X(shadow) X(shadow_red)    \
  X(shadow_green) X(shadow_blue)                                                                \
  /* nose, mouth, ears */                                                                       \
  X(nose_y) X(nose_z) X(nose_r) X(bridge_z) X(bridge_r) X(wing_x) X(wing_r) X(mouth_y)          \
  X(mouth_w) X(lip_up) X(lip_lo) X(lip_bulge) X(lip_curve) X(lip_red) X(lip_green) X(lip_blue)  \
  X(lip_gloss) X(lip_line) X(teeth) X(ear_size) X(ear_out)                                      \
  /* brows */                                                                                   \
  X(brow_y) X(brow_arch) X(brow_tilt) X(brow_thick) X(brow_in) X(brow_out) X(brow_dark)         \
  /* body and clothes */                                                                        \
  X(neck_r) X(shoulder_w) X(shoulder_y) X(shoulder_r) X(neckline) X(neckline_v) X(collar)       \
  X(cloth_red) X(cloth_green) X(cloth_blue) X(cloth2_red) X(cloth2_green) X(cloth2_blue)        \
  X(cloth_pattern) X(cloth_freq)                                                                \
  /* skin */                                                                                    \
  X(skin_red) X(skin_green) X(skin_blue) X(skin_var) X(freckles) X(blush) X(wrinkles) X(bags)   \
  X(skin_spec) X(asymmetry)                                                                     \
  /* hair, beard, glasses */                                                                    \
  X(hair) X(buzz) X(hair_thick) X(hair_line) X(hair_side) X(hair_part) X(hair_len)              \
  X(hair_wide) X(hair_top) X(hair_wave) X(hair_wave_freq) X(hair_strand) X(hair_spec)           \
  X(hair_red) X(hair_green) X(hair_blue) X(beard) X(moustache) X(stubble) X(grey) X(glasses)    \
  X(glasses_r) X(glasses_square) X(glasses_red) X(glasses_green) X(glasses_blue)                \
  /* light and camera */                                                                        \
  X(light_x) X(light_y) X(light_z) X(light_red) X(light_green) X(light_blue) X(sky_red)         \
  X(sky_green) X(sky_blue) X(ground_red) X(ground_green) X(ground_blue) X(rim) X(camera)        \
  X(exposure) X(gamma) X(cast_red) X(cast_green) X(cast_blue) X(vignette)                       \
  /* background */                                                                              \
  X(back) X(back_freq) X(back_angle) X(back_soft) X(back_red) X(back_green) X(back_blue)        \
  X(back2_red) X(back2_green) X(back2_blue) X(back3_red) X(back3_green) X(back3_blue) X(seed)
// clang-format on

struct Identity {
#define X(name) float name;
  MOTION_LAB_HEAD_IDENTITY(X)
#undef X
};

// The order of motion_lab.data.synthetic.parameters.MOTION.
struct Motion {
  float yaw, pitch, roll, shift_x, shift_y, zoom, jaw, lip_width, lip_press, smile, blink_left,
      blink_right, gaze_x, gaze_y, brow_raise, brow_frown;
};

// What an upper body has that a head has not; packed by name like Identity
// (motion_lab/data/synthetic/bodies.py). sleeve: where it ends, 0 shoulder, 1 elbow, 2 wrist. view:
// how much more the frame spans than a head's, from as much farther away; eye_height: of the frame,
// from the top.
#define MOTION_LAB_BODY(X) \
  X(upper_arm) X(forearm) X(arm_r) X(hand) X(sleeve) X(waist) X(view) X(eye_height)

struct Body {
#define X(name) float name;
  MOTION_LAB_BODY(X)
#undef X
};

// Joint angles in radians; all zero hangs straight down, thumb forward.
struct Arm {
  float lift;   // sideways, away from the body
  float swing;  // forwards
  float twist;  // of the upper arm about itself: takes a bent forearm inwards
  float elbow;  // bend
  float palm;   // of the forearm about itself: turns the thumb inwards
};

// The viewer's left, then right; the order of motion_lab.data.synthetic.parameters.ARMS.
struct Arms {
  Arm side[2];
};

// Labels of what a pixel shows, in the order of motion_lab.data.synthetic.parameters.BODY_REGIONS.
constexpr std::int32_t kBackground = 0, kSkin = 1, kEyes = 2, kBrows = 3, kLips = 4,
                       kMouthInterior = 5, kHair = 6, kEars = 7, kNeck = 8, kClothes = 9,
                       kGlasses = 10, kArms = 11, kHands = 12;

// A point fixed to the head, named by its place on the neutral face: (x, y) of the front view.
// kind: 0 face surface, 1 iris of the eye on the side of x, 2 upper / 3 lower edge of the eye
// opening at x as a fraction of its half width, 4 upper / 5 lower inner edge of the lips at x as a
// fraction of theirs. 6: in bone x of the arms (see Pose::bone), y from its joint.
struct Landmark {
  float x, y;
  std::int32_t kind;
};

struct RenderJob {
  const Identity* identity;
  const Motion* motion;  // (frames)
  const Body* body;      // or null, a head alone
  const Arms* arms;      // (frames) of the body
  std::int64_t frames;
  int size, samples, threads;
  std::uint8_t* image;  // (frames, size, size, 3) or null
  float* depth;  // (frames, size, size) or null; 0 where background, else units from the camera
  std::uint8_t* regions;  // (frames, size, size) or null
};

struct FlowJob {
  const Identity* identity;
  const Motion *driving, *source;  // (frames) each
  const Body* body;                // or null
  const Arms *driving_arms, *source_arms;
  std::int64_t frames;
  int size, threads;
  float* displacement;  // (frames, size, size, 2), normalised coordinates, x then y
  float* visible;       // (frames, size, size), 0 or 1
};

struct LandmarkJob {
  const Identity* identity;
  const Motion* motion;
  const Body* body;  // or null
  const Arms* arms;
  std::int64_t frames;
  const Landmark* landmarks;
  int count;
  float* points;  // (frames, count, 2), fractions of the frame, x then y
};

namespace cpu {
MOTION_LAB_PER_ISA(void render(const RenderJob& job); void flow(const FlowJob& job);
                   void landmarks(const LandmarkJob& job);)
}

}  // namespace motion_lab::head_renderer
