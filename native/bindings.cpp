// Python's door to the kernels: check every array, release the GIL, call.
//
// nanobind copies an argument that does not match without a word, so each one is noconvert() and
// inputs are const; what is left to check here are sizes, against each other.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

#include "kernels.h"

namespace nb = nanobind;
namespace tt = throughtime;
using nb::literals::operator""_a;

namespace {

template <class Real, int kDims>
using Array = nb::ndarray<Real, nb::ndim<kDims>, nb::c_contig, nb::device::cpu>;

std::string shape_text(std::size_t dims, const std::size_t* sizes) {
  std::string text = "[";
  for (std::size_t d = 0; d < dims; ++d) text += (d ? "," : "") + std::to_string(sizes[d]);
  return text + "]";
}

template <class A>
void require_shape(const char* name, const A& array, std::initializer_list<std::size_t> expected) {
  bool same = array.ndim() == expected.size();
  std::size_t actual[3] = {};
  for (std::size_t d = 0; d < array.ndim(); ++d) {
    actual[d] = array.shape(d);
    same = same && actual[d] == expected.begin()[d];
  }
  if (!same) {
    throw nb::value_error((std::string(name) + " has shape " + shape_text(array.ndim(), actual) +
                           ", expected " + shape_text(expected.size(), expected.begin()))
                              .c_str());
  }
}

template <class Real>
void product(Array<const Real, 2> a, Array<const Real, 2> b, Array<Real, 2> c) {
  const std::size_t M = a.shape(0), K = a.shape(1), N = b.shape(0);
  require_shape("b", b, {N, K});
  require_shape("c", c, {M, N});
  nb::gil_scoped_release release;
  tt::product(a.data(), b.data(), c.data(), M, N, K);
}

template <class Real>
void step_forward(tt::Cell cell, Array<const Real, 3> x, Array<const Real, 3> r,
                  Array<const Real, 3> state, Array<Real, 3> gate, Array<Real, 3> new_state) {
  const std::size_t G = tt::gate_count(cell), S = tt::state_count(cell);
  const std::size_t B = x.shape(0), H = x.shape(2);
  require_shape("x", x, {B, G, H});
  require_shape("r", r, {B, G, H});
  require_shape("state", state, {B, S, H});
  require_shape("gate", gate, {B, G, H});
  require_shape("new_state", new_state, {B, S, H});
  nb::gil_scoped_release release;
  tt::step_forward(cell, x.data(), r.data(), state.data(), gate.data(), new_state.data(), B, H);
}

template <class Real>
void step_backward(tt::Cell cell, Array<const Real, 3> r, Array<const Real, 3> gate,
                   Array<const Real, 3> state, Array<const Real, 3> new_state,
                   Array<const Real, 3> dnew_state, Array<Real, 3> dx, Array<Real, 3> dr,
                   Array<Real, 3> dstate) {
  const std::size_t G = tt::gate_count(cell), S = tt::state_count(cell);
  const std::size_t B = r.shape(0), H = r.shape(2);
  require_shape("r", r, {B, G, H});
  require_shape("gate", gate, {B, G, H});
  require_shape("state", state, {B, S, H});
  require_shape("new_state", new_state, {B, S, H});
  require_shape("dnew_state", dnew_state, {B, S, H});
  require_shape("dx", dx, {B, G, H});
  require_shape("dr", dr, {B, G, H});
  require_shape("dstate", dstate, {B, S, H});
  nb::gil_scoped_release release;
  tt::step_backward(cell, r.data(), gate.data(), state.data(), new_state.data(), dnew_state.data(),
                    dx.data(), dr.data(), dstate.data(), B, H);
}

template <class Real>
void bind_for(nb::module_& m) {
  m.def("product", &product<Real>, "a"_a.noconvert(), "b"_a.noconvert(), "c"_a.noconvert(),
        "c [M,N] = a [M,K] b [N,K]^T");
  m.def("step_forward", &step_forward<Real>, "cell"_a, "x"_a.noconvert(), "r"_a.noconvert(),
        "state"_a.noconvert(), "gate"_a.noconvert(), "new_state"_a.noconvert(),
        "One time step: writes gate [B,G,H] and new_state [B,S,H]");
  m.def("step_backward", &step_backward<Real>, "cell"_a, "r"_a.noconvert(), "gate"_a.noconvert(),
        "state"_a.noconvert(), "new_state"_a.noconvert(), "dnew_state"_a.noconvert(),
        "dx"_a.noconvert(), "dr"_a.noconvert(), "dstate"_a.noconvert(),
        "Its backward: writes dx, dr [B,G,H] and dstate [B,S,H]");
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "throughtime's kernels. Use throughtime.nn.native, which says whether they are there.";
  nb::enum_<tt::Cell>(m, "Cell")
      .value("ELMAN_TANH", tt::Cell::kElmanTanh)
      .value("ELMAN_RELU", tt::Cell::kElmanRelu)
      .value("LSTM", tt::Cell::kLstm)
      .value("GRU", tt::Cell::kGru);
  m.def("cpu_features", &tt::cpu_features, "What this processor can do, e.g. ['avx2', 'fma']");
  bind_for<float>(m);
  bind_for<double>(m);
}
