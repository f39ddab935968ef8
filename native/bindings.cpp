// Python's door to the kernels: check every array, release the GIL, call.
//
// nanobind copies an argument that does not match without a word, so each one is noconvert() and
// inputs are const; what is left to check here are sizes and strides, against each other.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>

#include "kernels.h"

namespace nb = nanobind;
namespace tt = throughtime;
using nb::literals::operator""_a;

namespace {

template <class Real, int kDims>
using Array = nb::ndarray<Real, nb::ndim<kDims>, nb::c_contig, nb::device::cpu>;
template <class Real>
using Strided = nb::ndarray<Real, nb::ndim<3>, nb::device::cpu>;
template <class A>
using Maybe = std::optional<A>;

std::string shape_text(std::size_t dims, const std::size_t* sizes) {
  std::string text = "[";
  for (std::size_t d = 0; d < dims; ++d) text += (d ? "," : "") + std::to_string(sizes[d]);
  return text + "]";
}

template <class A>
void require_shape(const char* name, const A& array, std::initializer_list<std::size_t> expected) {
  bool same = array.ndim() == expected.size();
  std::size_t actual[4] = {};
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

// The pointer of an array that a cell has, or null and nothing given where it has none.
template <class A>
auto pointer(const char* name, const Maybe<A>& array, bool needed,
             std::initializer_list<std::size_t> shape) -> decltype(array->data()) {
  if (!array) {
    if (needed) throw nb::value_error((std::string(name) + " is missing").c_str());
    return nullptr;
  }
  if (!needed) {
    throw nb::value_error((std::string(name) + " is given, but this cell has none").c_str());
  }
  require_shape(name, *array, shape);
  return array->data();
}

// Row stride of a [T,B,N] array whose last axis has no gaps and whose steps lie B rows apart.
template <class A>
std::ptrdiff_t row_stride(const char* name, const A& array) {
  const std::size_t T = array.shape(0), B = array.shape(1), N = array.shape(2);
  std::ptrdiff_t row = B > 1 ? array.stride(1) : array.stride(0);
  if (T * B < 2) row = (std::ptrdiff_t)N;
  const bool steps = T < 2 || B < 2 || array.stride(0) == (std::ptrdiff_t)B * row;
  if ((N > 1 && array.stride(2) != 1) || !steps) {
    throw nb::value_error((std::string(name) + " must have rows at one distance").c_str());
  }
  return row;
}

template <class Real>
struct Arguments {
  tt::Cell cell;
  bool backwards;
  Strided<const Real> x;
  Array<const Real, 2> w_ih, w_hh;
  Maybe<Array<const Real, 1>> b_ih, b_hh;
  Array<const Real, 2> h_0;
  Maybe<Array<const Real, 2>> c_0;

  // Sizes from the input and the weights, all else held against them.
  tt::Layer<Real> layer() const {
    const std::size_t G = tt::gate_count(cell);
    tt::Layer<Real> p{};
    p.cell = cell;
    p.backwards = backwards;
    p.T = x.shape(0), p.B = x.shape(1), p.I = x.shape(2), p.H = w_hh.shape(1);
    require_shape("w_ih", w_ih, {G * p.H, p.I});
    require_shape("w_hh", w_hh, {G * p.H, p.H});
    require_shape("h_0", h_0, {p.B, p.H});
    if (p.I > 1 && x.stride(2) != 1) throw nb::value_error("x has gaps between features");
    p.x = x.data();
    p.x_t = x.stride(0), p.x_b = x.stride(1);
    if (p.B == 1) p.x_b = p.x_t;
    if (p.T == 1) p.x_t = (std::ptrdiff_t)p.B * p.x_b;
    p.w_ih = w_ih.data(), p.w_hh = w_hh.data(), p.h_0 = h_0.data();
    const bool bias = b_ih.has_value();
    p.b_ih = pointer("b_ih", b_ih, bias, {G * p.H});
    p.b_hh = pointer("b_hh", b_hh, bias, {G * p.H});
    p.c_0 = pointer("c_0", c_0, cell == tt::Cell::kLstm, {p.B, p.H});
    return p;
  }
};

template <class Real>
void forward(tt::Cell cell, bool backwards, Strided<const Real> x, Array<const Real, 2> w_ih,
             Array<const Real, 2> w_hh, Maybe<Array<const Real, 1>> b_ih,
             Maybe<Array<const Real, 1>> b_hh, Array<const Real, 2> h_0,
             Maybe<Array<const Real, 2>> c_0, Strided<Real> y, Maybe<Array<Real, 4>> gates,
             Maybe<Array<Real, 3>> cells, Maybe<Array<Real, 3>> r_new, Maybe<Array<Real, 2>> c_n,
             std::size_t threads) {
  tt::Layer<Real> p =
      Arguments<Real>{cell, backwards, x, w_ih, w_hh, b_ih, b_hh, h_0, c_0}.layer();
  const bool keep = gates.has_value(), lstm = cell == tt::Cell::kLstm;
  require_shape("y", y, {p.T, p.B, p.H});
  p.y = y.data();
  p.y_b = row_stride("y", y);
  p.gates = pointer("gates", gates, keep, {p.T, p.B, tt::gate_count(cell), p.H});
  p.cells = pointer("cells", cells, keep && lstm, {p.T, p.B, p.H});
  p.r_new = pointer("r_new", r_new, keep && cell == tt::Cell::kGru, {p.T, p.B, p.H});
  p.c_n = pointer("c_n", c_n, lstm, {p.B, p.H});
  nb::gil_scoped_release release;
  tt::kernels<Real>().forward(p, threads);
}

template <class Real>
void backward(tt::Cell cell, bool backwards, Strided<const Real> x, Array<const Real, 2> w_ih,
              Array<const Real, 2> w_hh, Array<const Real, 2> h_0,
              Maybe<Array<const Real, 2>> c_0, Strided<const Real> y, Array<const Real, 4> gates,
              Maybe<Array<const Real, 3>> cells, Maybe<Array<const Real, 3>> r_new,
              Maybe<Strided<const Real>> dy, Maybe<Array<const Real, 2>> dh_n,
              Maybe<Array<const Real, 2>> dc_n, Maybe<Array<Real, 3>> dx, Array<Real, 2> dw_ih,
              Array<Real, 2> dw_hh, Maybe<Array<Real, 1>> db_ih, Maybe<Array<Real, 1>> db_hh,
              Array<Real, 2> dh_0, Maybe<Array<Real, 2>> dc_0, std::size_t threads) {
  tt::Layer<Real> p = Arguments<Real>{cell, backwards, x, w_ih, w_hh, {}, {}, h_0, c_0}.layer();
  const std::size_t G = tt::gate_count(cell), T = p.T, B = p.B, H = p.H;
  const bool lstm = cell == tt::Cell::kLstm, gru = cell == tt::Cell::kGru;
  require_shape("y", y, {T, B, H});
  require_shape("gates", gates, {T, B, G, H});
  // backward only reads what forward wrote
  p.y = const_cast<Real*>(y.data());
  p.y_b = row_stride("y", y);
  p.gates = const_cast<Real*>(gates.data());
  p.cells = const_cast<Real*>(pointer("cells", cells, lstm, {T, B, H}));
  p.r_new = const_cast<Real*>(pointer("r_new", r_new, gru, {T, B, H}));
  tt::LayerGradient<Real> d{};
  d.dy = pointer("dy", dy, dy.has_value(), {T, B, H});
  d.dy_b = dy ? row_stride("dy", *dy) : 0;
  d.dh_n = pointer("dh_n", dh_n, dh_n.has_value(), {B, H});
  d.dc_n = pointer("dc_n", dc_n, lstm && dc_n.has_value(), {B, H});
  d.dx = pointer("dx", dx, dx.has_value(), {T, B, p.I});
  require_shape("dw_ih", dw_ih, {G * H, p.I});
  require_shape("dw_hh", dw_hh, {G * H, H});
  require_shape("dh_0", dh_0, {B, H});
  d.dw_ih = dw_ih.data(), d.dw_hh = dw_hh.data(), d.dh_0 = dh_0.data();
  d.db_ih = pointer("db_ih", db_ih, db_ih.has_value(), {G * H});
  d.db_hh = pointer("db_hh", db_hh, db_ih.has_value(), {G * H});
  d.dc_0 = pointer("dc_0", dc_0, lstm, {B, H});
  nb::gil_scoped_release release;
  tt::kernels<Real>().backward(p, d, threads);
}

template <class Real, bool kNaive>
void product(Array<const Real, 2> a, Array<const Real, 2> b, Array<Real, 2> c) {
  const std::size_t M = a.shape(0), K = a.shape(1), N = b.shape(0);
  require_shape("b", b, {N, K});
  require_shape("c", c, {M, N});
  nb::gil_scoped_release release;
  const tt::Kernels<Real>& kernels = tt::kernels<Real>();
  (kNaive ? kernels.product_naive : kernels.product)(M, N, K, a.data(), b.data(), c.data());
}

template <class Real>
void elementwise(const std::string& function, Array<const Real, 1> x, Array<Real, 1> y) {
  const int which = function == "exp" ? 0 : function == "tanh" ? 1 : function == "sigmoid" ? 2 : -1;
  if (which < 0) throw nb::value_error("function is exp, tanh or sigmoid");
  require_shape("y", y, {x.shape(0)});
  nb::gil_scoped_release release;
  tt::kernels<Real>().elementwise(which, x.shape(0), x.data(), y.data());
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
  tt::kernels<Real>().step_forward(cell, B, H, x.data(), r.data(), state.data(), gate.data(),
                                   new_state.data());
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
  tt::kernels<Real>().step_backward(cell, B, H, r.data(), gate.data(), state.data(),
                                    new_state.data(), dnew_state.data(), dx.data(), dr.data(),
                                    dstate.data());
}

template <class Real>
void bind_for(nb::module_& m) {
  // none(): may be None. noconvert() on every array: a silent copy would lose what is written
  m.def("forward", &forward<Real>, "cell"_a, "backwards"_a, "x"_a.noconvert(),
        "w_ih"_a.noconvert(), "w_hh"_a.noconvert(), "b_ih"_a.noconvert().none(),
        "b_hh"_a.noconvert().none(), "h_0"_a.noconvert(), "c_0"_a.noconvert().none(),
        "y"_a.noconvert(), "gates"_a.noconvert().none(), "cells"_a.noconvert().none(),
        "r_new"_a.noconvert().none(), "c_n"_a.noconvert().none(), "threads"_a,
        "One layer in one direction through all of time: writes y [T,B,H] and what is kept");
  m.def("backward", &backward<Real>, "cell"_a, "backwards"_a, "x"_a.noconvert(),
        "w_ih"_a.noconvert(), "w_hh"_a.noconvert(), "h_0"_a.noconvert(),
        "c_0"_a.noconvert().none(), "y"_a.noconvert(), "gates"_a.noconvert(),
        "cells"_a.noconvert().none(), "r_new"_a.noconvert().none(), "dy"_a.noconvert().none(),
        "dh_n"_a.noconvert().none(), "dc_n"_a.noconvert().none(), "dx"_a.noconvert().none(),
        "dw_ih"_a.noconvert(), "dw_hh"_a.noconvert(), "db_ih"_a.noconvert().none(),
        "db_hh"_a.noconvert().none(), "dh_0"_a.noconvert(), "dc_0"_a.noconvert().none(),
        "threads"_a, "Its backward: writes all gradients");
  m.def("product_naive", &product<Real, true>, "a"_a.noconvert(), "b"_a.noconvert(),
        "c"_a.noconvert(), "c [M,N] = a [M,K] b [N,K]^T, by the definition");
  m.def("product", &product<Real, false>, "a"_a.noconvert(), "b"_a.noconvert(),
        "c"_a.noconvert(), "c [M,N] = a [M,K] b [N,K]^T, by the packed micro-kernel");
  m.def("elementwise", &elementwise<Real>, "function"_a, "x"_a.noconvert(), "y"_a.noconvert(),
        "y [N] = exp, tanh or sigmoid of x [N]");
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
  m.def("instruction_sets", &tt::instruction_sets, "Those built in that run here, best first");
  m.def("instruction_set_in_use", &tt::instruction_set_in_use);
  m.def("use_instruction_set", &tt::use_instruction_set, "name"_a,
        "False, and no change, for one that is not there");
  bind_for<float>(m);
  bind_for<double>(m);
}
