// Python bindings of the kernels: check all arrays, release the GIL, call the kernel.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <vector>

#include "arrays.h"

namespace nb = nanobind;
namespace tt = throughtime;
using nb::literals::operator""_a;
using tt::optional_pointer, tt::pointer, tt::pointer_if, tt::rows, tt::view;

namespace {

// Calls `use` with a value of the array's element type.
template <class Use>
auto with_type_of(const char* name, nb::handle object, Use use) {
  const tt::View array = view(name, object);
  if (array.type == nb::dtype<double>()) return use(double{});
  tt::require_type(name, array, nb::dtype<float>());
  return use(float{});
}

// A checked layer, with the arrays it points to.
struct BoundLayer {
  virtual ~BoundLayer() = default;
  std::size_t steps = 0, samples = 0;  // leading axes of its arrays: [T,B], or [1, all rows] packed
  std::vector<std::int64_t> lengths, first;
  nb::object arrays;  // kept alive
};
template <class Real>
struct BoundLayerOf : BoundLayer {
  tt::Layer<Real> layer{};
};

template <class Real>
void read_lengths(BoundLayerOf<Real>& bound, nb::handle lengths, nb::handle batch_sizes) {
  tt::Layer<Real>& p = bound.layer;
  if (!lengths.is_none() && !batch_sizes.is_none()) {
    throw nb::value_error("lengths or batch_sizes, not both");
  }
  if (!lengths.is_none()) {
    const auto* given = pointer<const std::int64_t>("lengths", lengths, {p.B});
    bound.lengths.assign(given, given + p.B);
    for (std::int64_t n : bound.lengths) {
      if (n < 0 || n > (std::int64_t)p.T) throw nb::value_error("lengths must lie in 0..T");
    }
    p.lengths = bound.lengths.data();
  }
  if (batch_sizes.is_none()) return;
  // [1, all rows]: step t has the first batch_sizes[t] samples
  if (bound.steps != 1) throw nb::value_error("a packed x has shape [1, all rows, I]");
  p.T = (std::size_t)view("batch_sizes", batch_sizes).shape[0];
  const auto* sizes = pointer<const std::int64_t>("batch_sizes", batch_sizes, {p.T});
  if (!p.T || sizes[0] < 1 || sizes[0] > (std::int64_t)bound.samples) {
    throw nb::value_error("batch_sizes do not fit x");
  }
  p.B = (std::size_t)sizes[0];
  bound.lengths.assign(p.B, 0);
  std::int64_t count = 0, before = sizes[0];
  for (std::size_t t = 0; t < p.T; ++t) {
    if (sizes[t] < 1 || sizes[t] > before) {
      throw nb::value_error("batch_sizes must fall, to 1 at least");
    }
    bound.first.push_back(count);
    count += before = sizes[t];
    for (std::int64_t b = 0; b < sizes[t]; ++b) bound.lengths[(std::size_t)b] = (std::int64_t)t + 1;
  }
  if ((std::size_t)count != bound.samples) throw nb::value_error("batch_sizes do not add up to x");
  p.lengths = bound.lengths.data();
  p.first = bound.first.data();
}

std::unique_ptr<BoundLayer> layer(tt::Cell cell, bool backwards, nb::handle x, nb::handle w_ih,
                                  nb::handle w_hh, nb::handle b_ih, nb::handle b_hh,
                                  nb::handle w_hr, nb::handle h_0, nb::handle c_0, nb::handle y,
                                  nb::handle kept, nb::handle h_n, nb::handle c_n,
                                  nb::handle lengths, nb::handle batch_sizes, nb::handle reset,
                                  nb::handle h_mask, nb::handle zone_h, nb::handle zone_c,
                                  std::size_t mark_every, nb::handle marks) {
  return with_type_of("x", x, [&]<class Real>(Real) -> std::unique_ptr<BoundLayer> {
    auto bound = std::make_unique<BoundLayerOf<Real>>();
    tt::Layer<Real>& p = bound->layer;
    const std::size_t G = tt::gate_count(cell);
    const bool two_states = tt::state_count(cell) == 2, bias = !b_ih.is_none(),
               zoned = !zone_h.is_none();
    const tt::View as_x = view("x", x), as_w = view("w_hh", w_hh);
    const bool projects = two_states && !w_hr.is_none();
    if (as_x.dims != 3 || as_w.dims != 2) {
      throw nb::value_error("x must have 3 dimensions and w_hh 2");
    }
    p.cell = cell;
    p.backwards = backwards;
    bound->steps = p.T = (std::size_t)as_x.shape[0];
    bound->samples = p.B = (std::size_t)as_x.shape[1];
    p.I = (std::size_t)as_x.shape[2], p.P = (std::size_t)as_w.shape[1];
    p.H = (std::size_t)as_w.shape[0] / G;
    if (!p.I || !p.H || !p.P) throw nb::value_error("a layer has inputs and units");
    if (!projects && p.H != p.P) tt::require_shape("w_hh", as_w, {G * p.P, p.P});
    read_lengths(*bound, lengths, batch_sizes);
    const std::size_t T = bound->steps, B = bound->samples;
    p.x = rows<const Real>("x", x, {T, B, p.I});
    p.y = rows<Real>("y", y, {T, B, p.P});
    p.w_ih = pointer<const Real>("w_ih", w_ih, {G * p.H, p.I});
    p.w_hh = pointer<const Real>("w_hh", w_hh, {G * p.H, p.P});
    p.b_ih = pointer_if<const Real>(bias, "b_ih", b_ih, {G * p.H});
    p.b_hh = pointer_if<const Real>(bias, "b_hh", b_hh, {G * p.H});
    p.w_hr = optional_pointer<const Real>("w_hr", w_hr, two_states, {p.P, p.H});
    p.h_0 = pointer<const Real>("h_0", h_0, {p.B, p.P});
    p.c_0 = pointer_if<const Real>(two_states, "c_0", c_0, {p.B, p.H});
    p.h_mask = optional_pointer<const Real>("h_mask", h_mask, true, {p.B, p.P});
    if (zoned) p.zone_h = rows<const Real>("zone_h", zone_h, {T, B, p.H});
    if (zoned && projects) throw nb::value_error("zone_h goes with no projection");
    if (!zone_c.is_none()) {
      if (!two_states) throw nb::value_error("zone_c is given, but this cell has none");
      p.zone_c = rows<const Real>("zone_c", zone_c, {T, B, p.H});
    }
    const std::size_t width = tt::kept_width(cell, zoned);
    p.kept = optional_pointer<Real>("kept", kept, width > 0, {T, B, width, p.H});
    p.mark_every = mark_every;
    const std::size_t marked = mark_every ? (p.T + mark_every - 1) / mark_every : 0;
    p.marks = pointer_if<Real>(two_states && mark_every, "marks", marks, {marked, p.B, p.H});
    if (mark_every && p.kept) throw nb::value_error("kept or marks, not both");
    if (!reset.is_none()) {
      if (p.first) throw nb::value_error("reset goes with no batch_sizes");
      p.reset =
          reinterpret_cast<const std::uint8_t*>(pointer<const bool>("reset", reset, {p.T, p.B}));
    }
    p.h_n = pointer<Real>("h_n", h_n, {p.B, p.P});
    p.c_n = pointer_if<Real>(two_states, "c_n", c_n, {p.B, p.H});
    bound->arrays = nb::make_tuple(x, w_ih, w_hh, b_ih, b_hh, w_hr, h_0, c_0, y, kept, h_n, c_n,
                                   reset, h_mask, zone_h, zone_c, marks);
    return bound;
  });
}

struct BoundGradient {
  virtual ~BoundGradient() = default;
  const BoundLayer* layer = nullptr;
  nb::object arrays;  // kept alive
};
template <class Real>
struct BoundGradientOf : BoundGradient {
  tt::LayerGradient<Real> gradient{};
};

template <class Real>
std::unique_ptr<BoundGradient> gradient_of(const BoundLayerOf<Real>& bound, nb::handle dy,
                                           nb::handle dh_n, nb::handle dc_n, double clip,
                                           nb::handle dx, nb::handle dw_ih, nb::handle dw_hh,
                                           nb::handle dw_hr, nb::handle db_ih, nb::handle db_hh,
                                           nb::handle dh_0, nb::handle dc_0, nb::handle dh_seen,
                                           nb::handle dc_seen) {
  auto result = std::make_unique<BoundGradientOf<Real>>();
  const tt::Layer<Real>& p = bound.layer;
  tt::LayerGradient<Real>& d = result->gradient;
  const std::size_t GH = tt::gate_count(p.cell) * p.H, T = bound.steps, B = bound.samples;
  const bool two_states = tt::state_count(p.cell) == 2, bias = !db_ih.is_none();
  result->layer = &bound;
  if (T && B && tt::kept_width(p.cell, p.zone_h.at) && !p.kept && !p.mark_every) {
    throw nb::value_error("nothing was kept for the backward pass");
  }
  if (!(clip >= 0)) throw nb::value_error("clip must not be negative");
  if (!dy.is_none()) d.dy = rows<const Real>("dy", dy, {T, B, p.P});
  d.dh_n = optional_pointer<const Real>("dh_n", dh_n, true, {p.B, p.P});
  d.dc_n = optional_pointer<const Real>("dc_n", dc_n, two_states, {p.B, p.H});
  d.clip = (Real)clip;
  if (!dx.is_none()) d.dx = rows<Real>("dx", dx, {T, B, p.I});
  d.dw_ih = pointer<Real>("dw_ih", dw_ih, {GH, p.I});
  d.dw_hh = pointer<Real>("dw_hh", dw_hh, {GH, p.P});
  d.dw_hr = pointer_if<Real>(p.w_hr, "dw_hr", dw_hr, {p.P, p.H});
  d.db_ih = pointer_if<Real>(bias, "db_ih", db_ih, {GH});
  d.db_hh = pointer_if<Real>(bias, "db_hh", db_hh, {GH});
  d.dh_0 = pointer<Real>("dh_0", dh_0, {p.B, p.P});
  d.dc_0 = pointer_if<Real>(two_states, "dc_0", dc_0, {p.B, p.H});
  d.dh_seen = optional_pointer<Real>("dh_seen", dh_seen, true, {T, B, p.P});
  d.dc_seen = optional_pointer<Real>("dc_seen", dc_seen, two_states, {T, B, p.H});
  result->arrays = nb::make_tuple(dy, dh_n, dc_n, dx, dw_ih, dw_hh, dw_hr, db_ih, db_hh, dh_0, dc_0,
                                  dh_seen, dc_seen);
  return result;
}

std::unique_ptr<BoundGradient> gradient(const BoundLayer& bound, nb::handle dy, nb::handle dh_n,
                                        nb::handle dc_n, double clip, nb::handle dx,
                                        nb::handle dw_ih, nb::handle dw_hh, nb::handle dw_hr,
                                        nb::handle db_ih, nb::handle db_hh, nb::handle dh_0,
                                        nb::handle dc_0, nb::handle dh_seen, nb::handle dc_seen) {
  const auto call = [&](const auto& of_type) {
    return gradient_of(of_type, dy, dh_n, dc_n, clip, dx, dw_ih, dw_hh, dw_hr, db_ih, db_hh, dh_0,
                       dc_0, dh_seen, dc_seen);
  };
  if (const auto* of_float = dynamic_cast<const BoundLayerOf<float>*>(&bound))
    return call(*of_float);
  return call(dynamic_cast<const BoundLayerOf<double>&>(bound));
}

// Layers of one call are computed in parallel and must have the same cell and sizes.
template <class Real>
std::vector<tt::Layer<Real>> alike(const std::vector<const BoundLayer*>& layers) {
  std::vector<tt::Layer<Real>> plain;
  for (const BoundLayer* bound : layers) {
    const auto* typed = dynamic_cast<const BoundLayerOf<Real>*>(bound);
    if (!typed) throw nb::type_error("layers of one call have the same dtype");
    plain.push_back(typed->layer);
    const tt::Layer<Real>&one = plain[0], &p = plain.back();
    if (p.cell != one.cell || p.T != one.T || p.B != one.B || p.I != one.I || p.H != one.H ||
        p.P != one.P || p.mark_every != one.mark_every || bound->lengths != layers[0]->lengths ||
        !p.first != !one.first || !p.w_hr != !one.w_hr) {
      throw nb::value_error("layers of one call have the same cell, sizes and lengths");
    }
  }
  return plain;
}

template <class Real>
void forward_of(const std::vector<const BoundLayer*>& layers, std::size_t threads) {
  const std::vector<tt::Layer<Real>> plain = alike<Real>(layers);
  nb::gil_scoped_release release;
  tt::kernels<Real>().forward(plain.data(), plain.size(), threads);
}

void forward(const std::vector<const BoundLayer*>& layers, std::size_t threads) {
  if (layers.empty()) throw nb::value_error("no layers are given");
  const bool of_float = dynamic_cast<const BoundLayerOf<float>*>(layers[0]);
  of_float ? forward_of<float>(layers, threads) : forward_of<double>(layers, threads);
}

template <class Real>
void backward_of(const std::vector<const BoundGradient*>& gradients, std::size_t threads) {
  std::vector<const BoundLayer*> layers;
  std::vector<tt::LayerGradient<Real>> plain;
  for (const BoundGradient* bound : gradients) {
    const auto* typed = dynamic_cast<const BoundGradientOf<Real>*>(bound);
    if (!typed) throw nb::type_error("layers of one call have the same dtype");
    layers.push_back(typed->layer);
    plain.push_back(typed->gradient);
  }
  const std::vector<tt::Layer<Real>> of_layers = alike<Real>(layers);
  nb::gil_scoped_release release;
  tt::kernels<Real>().backward(of_layers.data(), plain.data(), plain.size(), threads);
}

void backward(const std::vector<const BoundGradient*>& gradients, std::size_t threads) {
  if (gradients.empty()) throw nb::value_error("no gradients are given");
  const bool of_float = dynamic_cast<const BoundGradientOf<float>*>(gradients[0]);
  of_float ? backward_of<float>(gradients, threads) : backward_of<double>(gradients, threads);
}

// A stream of one sample: weights are packed once, the state is updated in place.
struct BoundStream {
  virtual ~BoundStream() = default;
  virtual void step(nb::handle x, nb::handle h, nb::handle c) = 0;
};
template <class Real>
class BoundStreamOf : public BoundStream {
 public:
  BoundStreamOf(tt::Cell cell, nb::handle w_ih, nb::handle w_hh, nb::handle b_ih, nb::handle b_hh)
      : stream_(cell, (std::size_t)view("w_ih", w_ih).shape[1],
                (std::size_t)view("w_hh", w_hh).shape[1]) {
    const std::size_t units = tt::gate_count(cell) * stream_.H;
    const bool bias = !b_ih.is_none();
    if (!stream_.I || !stream_.H) throw nb::value_error("a layer has inputs and units");
    tt::kernels<Real>().stream_begin(stream_, pointer<const Real>("w_ih", w_ih, {units, stream_.I}),
                                     pointer<const Real>("w_hh", w_hh, {units, stream_.H}),
                                     pointer_if<const Real>(bias, "b_ih", b_ih, {units}),
                                     pointer_if<const Real>(bias, "b_hh", b_hh, {units}));
    step_ = tt::kernels<Real>().stream_step;  // the kernels that packed the weights must read them
  }

  void step(nb::handle x, nb::handle h, nb::handle c) override {
    const bool two_states = tt::state_count(stream_.cell) == 2;
    step_(stream_, pointer<const Real>("x", x, {stream_.I}), pointer<Real>("h", h, {stream_.H}),
          pointer_if<Real>(two_states, "c", c, {stream_.H}));
  }

 private:
  tt::Stream<Real> stream_;
  void (*step_)(tt::Stream<Real>&, const Real*, Real*, Real*);
};

std::unique_ptr<BoundStream> stream(tt::Cell cell, nb::handle w_ih, nb::handle w_hh,
                                    nb::handle b_ih, nb::handle b_hh) {
  return with_type_of("w_ih", w_ih, [&]<class Real>(Real) -> std::unique_ptr<BoundStream> {
    return std::make_unique<BoundStreamOf<Real>>(cell, w_ih, w_hh, b_ih, b_hh);
  });
}

// -------------------------------------------------------------------- parts of the kernels, for
// tests

void product(nb::handle a, nb::handle b, nb::handle c, std::size_t threads) {
  with_type_of("a", a, [&]<class Real>(Real) {
    const tt::View as_a = view("a", a), as_b = view("b", b);
    const std::size_t M = (std::size_t)as_a.shape[0], K = (std::size_t)as_a.shape[1];
    const std::size_t N = (std::size_t)as_b.shape[0];
    const Real *of_a = pointer<const Real>("a", a, {M, K}),
               *of_b = pointer<const Real>("b", b, {N, K});
    Real* of_c = pointer<Real>("c", c, {M, N});
    nb::gil_scoped_release release;
    const tt::Kernels<Real>& kernels = tt::kernels<Real>();
    if (threads) return kernels.product(M, N, K, of_a, of_b, of_c, threads);
    kernels.product_naive(M, N, K, of_a, of_b, of_c);
  });
}

void elementwise(const std::string& function, nb::handle x, nb::handle y) {
  const int which = function == "exp" ? 0 : function == "tanh" ? 1 : function == "sigmoid" ? 2 : -1;
  if (which < 0) throw nb::value_error("function is exp, tanh or sigmoid");
  with_type_of("x", x, [&]<class Real>(Real) {
    const std::size_t N = (std::size_t)view("x", x).shape[0];
    const Real* from = pointer<const Real>("x", x, {N});
    tt::kernels<Real>().elementwise(which, N, from, pointer<Real>("y", y, {N}));
  });
}

void step_forward(tt::Cell cell, nb::handle a, nb::handle r, nb::handle state, nb::handle gate,
                  nb::handle new_state) {
  with_type_of("a", a, [&]<class Real>(Real) {
    const tt::View as_a = view("a", a);
    const std::size_t G = tt::gate_count(cell), S = tt::state_count(cell);
    const std::size_t B = (std::size_t)as_a.shape[0], H = (std::size_t)as_a.shape[2];
    tt::kernels<Real>().step_forward(
        cell, B, H, pointer<const Real>("a", a, {B, G, H}), pointer<const Real>("r", r, {B, H}),
        pointer<const Real>("state", state, {B, S, H}), pointer<Real>("gate", gate, {B, G, H}),
        pointer<Real>("new_state", new_state, {B, S, H}));
  });
}

void step_backward(tt::Cell cell, nb::handle r, nb::handle gate, nb::handle state,
                   nb::handle dnew_state, nb::handle da, nb::handle dr, nb::handle dstate) {
  with_type_of("r", r, [&]<class Real>(Real) {
    const tt::View as_r = view("r", r);
    const std::size_t G = tt::gate_count(cell), S = tt::state_count(cell);
    const std::size_t B = (std::size_t)as_r.shape[0], H = (std::size_t)as_r.shape[1];
    tt::kernels<Real>().step_backward(cell, B, H, pointer<const Real>("r", r, {B, H}),
                                      pointer<const Real>("gate", gate, {B, G, H}),
                                      pointer<const Real>("state", state, {B, S, H}),
                                      pointer<const Real>("dnew_state", dnew_state, {B, S, H}),
                                      pointer<Real>("da", da, {B, G, H}),
                                      pointer<Real>("dr", dr, {B, H}),
                                      pointer<Real>("dstate", dstate, {B, S, H}));
  });
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "throughtime's kernels. Use throughtime.nn.native, which says whether they are there.";
  nb::enum_<tt::Cell> cells(m, "Cell");
#define THROUGHTIME_VALUE(name, math) cells.value(#name, tt::Cell::name);
  THROUGHTIME_CELLS(THROUGHTIME_VALUE)
#undef THROUGHTIME_VALUE
  m.def(
      "cell_facts",
      [](tt::Cell cell) {
        const tt::CellFacts f = tt::facts(cell);
        return nb::make_tuple(f.gates, f.states, f.saved, f.saved_with_zoneout);
      },
      "cell"_a,
      "Gates, states, and values that forward keeps a unit and step, without and with zoneout");
  m.def("cpu_features", &tt::cpu_features, "What this processor can do, e.g. ['avx2', 'fma']");
  m.def("instruction_sets", &tt::instruction_sets, "Those built in that run here, best first");
  m.def("instruction_set_in_use", &tt::instruction_set_in_use);
  m.def("use_instruction_set", &tt::use_instruction_set, "name"_a,
        "False, and no change, for one that is not there");
  nb::class_<BoundLayer>(m, "Layer");
  nb::class_<BoundGradient>(m, "Gradient");
  const nb::object none = nb::none();
  m.def("layer", &layer, "cell"_a, "backwards"_a, "x"_a, "w_ih"_a, "w_hh"_a, "b_ih"_a.none(),
        "b_hh"_a.none(), "w_hr"_a.none(), "h_0"_a, "c_0"_a.none(), "y"_a, "kept"_a.none(), "h_n"_a,
        "c_n"_a.none(), "lengths"_a.none() = none, "batch_sizes"_a.none() = none,
        "reset"_a.none() = none, "h_mask"_a.none() = none, "zone_h"_a.none() = none,
        "zone_c"_a.none() = none, "mark_every"_a = 0, "marks"_a.none() = none,
        "One layer in one direction and its arrays, checked. Shapes: native/kernels.h");
  m.def("forward", &forward, "layers"_a, "threads"_a,
        "Layers side by side through all of time: writes y, h_n, c_n and what is kept");
  m.def("gradient", &gradient, "layer"_a, "dy"_a.none(), "dh_n"_a.none(), "dc_n"_a.none(), "clip"_a,
        "dx"_a.none(), "dw_ih"_a, "dw_hh"_a, "dw_hr"_a.none(), "db_ih"_a.none(), "db_hh"_a.none(),
        "dh_0"_a, "dc_0"_a.none(), "dh_seen"_a.none() = none, "dc_seen"_a.none() = none,
        nb::keep_alive<0, 1>(), "The arrays of its backward pass, checked");
  m.def("backward", &backward, "gradients"_a, "threads"_a, "Writes all gradients");
  nb::class_<BoundStream>(m, "Stream")
      .def("step", &BoundStream::step, "x"_a, "h"_a, "c"_a.none() = none,
           "One step: the state [H] becomes the next");
  m.def("stream", &stream, "cell"_a, "w_ih"_a, "w_hh"_a, "b_ih"_a.none(), "b_hh"_a.none(),
        "Steps of one layer, one sample at a time");
  m.def("product", &product, "a"_a, "b"_a, "c"_a, "threads"_a,
        "c [M,N] = a [M,K] b [N,K]^T by the packed micro-kernel; by the definition with 0 threads");
  m.def("elementwise", &elementwise, "function"_a, "x"_a, "y"_a,
        "y [N] = exp, tanh or sigmoid of x [N]");
  m.def("step_forward", &step_forward, "cell"_a, "a"_a, "r"_a, "state"_a, "gate"_a, "new_state"_a,
        "The cell's pointwise part: writes gate [B,G,H] and new_state [B,S,H]");
  m.def("step_backward", &step_backward, "cell"_a, "r"_a, "gate"_a, "state"_a, "dnew_state"_a,
        "da"_a, "dr"_a, "dstate"_a, "Its backward: writes da [B,G,H], dr [B,H], dstate [B,S,H]");
}
