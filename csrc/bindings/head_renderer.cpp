#include "head_renderer/contract.h"

#include <pybind11/numpy.h>

#include <optional>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/arguments.h"
#include "common/error.h"

namespace motion_lab {
namespace {

using namespace head_renderer;

template <class T>
using Array = py::array_t<T, py::array::c_style>;
using Optional = std::optional<Array<float>>;
using Names = std::vector<const char*>;

#define X(name) #name,
Names identity_names() { return {MOTION_LAB_HEAD_IDENTITY(X)}; }
Names body_names() { return {MOTION_LAB_BODY(X)}; }
#undef X

const Identity* identity_of(const Array<float>& values) {
  check(values.size() * sizeof(float) == sizeof(Identity), "identity has another number of fields");
  return reinterpret_cast<const Identity*>(values.data());
}

const Motion* motion_of(const Array<float>& values) {
  check(values.ndim() == 2 && values.shape(1) * sizeof(float) == sizeof(Motion),
        "motion must be (frames, 16)");
  return reinterpret_cast<const Motion*>(values.data());
}

// Null where there is no body.
const Body* body_of(const Optional& values) {
  if (!values) return nullptr;
  check(values->size() * sizeof(float) == sizeof(Body), "body has another number of fields");
  return reinterpret_cast<const Body*>(values->data());
}

const Arms* arms_of(const Optional& values, const Optional& body, py::ssize_t frames) {
  check(values.has_value() == body.has_value(), "a body needs arms, and arms a body");
  if (!values) return nullptr;
  check(values->ndim() == 2 && values->shape(0) == frames &&
            values->shape(1) * sizeof(float) == sizeof(Arms),
        "arms must be (frames, 10)");
  return reinterpret_cast<const Arms*>(values->data());
}

template <class T>
T* output_of(const py::object& array) {
  return array.is_none() ? nullptr : array.cast<Array<T>>().mutable_data();
}

void call_render(Array<float> identity, Array<float> motion, Optional body, Optional arms, int size,
                 int samples, int threads, py::object image, py::object depth, py::object regions) {
  const RenderJob job{identity_of(identity),
                      motion_of(motion),
                      body_of(body),
                      arms_of(arms, body, motion.shape(0)),
                      motion.shape(0),
                      size,
                      samples,
                      threads,
                      output_of<uint8_t>(image),
                      output_of<float>(depth),
                      output_of<uint8_t>(regions)};
  py::gil_scoped_release unlocked;
  MOTION_LAB_CALL(head_renderer::cpu::, render(job));
}

void call_flow(Array<float> identity, Array<float> driving, Array<float> source, Optional body,
               Optional driving_arms, Optional source_arms, int size, int threads,
               Array<float> displacement, Array<float> visible) {
  check(driving.shape(0) == source.shape(0), "driving and source differ in length");
  const FlowJob job{identity_of(identity),
                    motion_of(driving),
                    motion_of(source),
                    body_of(body),
                    arms_of(driving_arms, body, driving.shape(0)),
                    arms_of(source_arms, body, source.shape(0)),
                    driving.shape(0),
                    size,
                    threads,
                    displacement.mutable_data(),
                    visible.mutable_data()};
  py::gil_scoped_release unlocked;
  MOTION_LAB_CALL(head_renderer::cpu::, flow(job));
}

void call_landmarks(Array<float> identity, Array<float> motion, Optional body, Optional arms,
                    const std::vector<std::tuple<float, float, int>>& marks, Array<float> points) {
  std::vector<Landmark> list;
  for (const auto& [x, y, kind] : marks) list.push_back({x, y, kind});
  const LandmarkJob job{identity_of(identity),
                        motion_of(motion),
                        body_of(body),
                        arms_of(arms, body, motion.shape(0)),
                        motion.shape(0),
                        list.data(),
                        static_cast<int>(list.size()),
                        points.mutable_data()};
  py::gil_scoped_release unlocked;
  MOTION_LAB_CALL(head_renderer::cpu::, landmarks(job));
}

}  // namespace

void bind_head_renderer(py::module_& module) {
  module.def("head_identity_names", &identity_names);
  module.def("head_body_names", &body_names);
  module.def("head_render", &call_render);
  module.def("head_flow", &call_flow);
  module.def("head_landmarks", &call_landmarks);
}

}  // namespace motion_lab
