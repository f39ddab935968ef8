// The kernels alone, without Python: random sizes, strides, lengths and options, every array of
// exactly its size, held against the definition in double precision. Built with sanitizers by `make
// sanitize` and for Arm by `make arm`; runs under valgrind too.
//
//   fuzz [rounds] [seed]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

// the cells' mathematics on one number at a time
#define THROUGHTIME_ISA scalar
#include "simd.h"
namespace throughtime::scalar {
inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
inline double tanh(double x) { return std::tanh(x); }
}  // namespace throughtime::scalar
#include "cells.h"
#include "kernels.h"

using namespace throughtime;
namespace {

std::mt19937_64 source;
std::size_t upto(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n)(source); }
bool chance(double p) { return std::bernoulli_distribution(p)(source); }

// Memory of exactly its size: one value beyond is an error that a sanitizer sees.
template <class Value>
struct Array {
  std::unique_ptr<Value[]> data;
  std::size_t size = 0;
  bool there = false;

  Array() = default;
  explicit Array(std::size_t n) : data(new Value[n]), size(n), there(true) {}
  Value* get() const { return there ? data.get() : nullptr; }
  Value& operator[](std::size_t i) const { return data[i]; }
};
template <class Value>
Array<Value> random_array(std::size_t n, double scale = 0.7) {
  Array<Value> a(n);
  std::normal_distribution<double> normal(0, scale);
  for (std::size_t i = 0; i < n; ++i) a[i] = (Value)normal(source);
  return a;
}

struct Sizes {
  Cell cell;
  std::size_t T, B, I, H, P, G, rows;  // rows: T*B, or those of a packed batch
  bool backwards, packed, bias;
  std::vector<std::int64_t> lengths, first;
  std::size_t length(std::size_t b) const { return lengths.empty() ? T : (std::size_t)lengths[b]; }
  std::size_t index(std::size_t t, std::size_t b) const {
    return (packed ? (std::size_t)first[t] : t * B) + b;
  }
};

// What a call reads; Real as given, the reference converts.
template <class Real>
struct Inputs {
  Array<Real> x, w_ih, w_hh, b_ih, b_hh, w_hr, h_0, c_0, h_mask, zone_h, zone_c, dy, dh_n, dc_n;
  Array<std::uint8_t> reset;
  Rows<const Real> x_rows, dy_rows;
  Real clip = 0;
  std::size_t mark_every = 0;
};

// What it writes, as one list of named arrays.
template <class Real>
struct Outputs {
  Array<Real> y, h_n, c_n, dx, dw_ih, dw_hh, db_ih, db_hh, dw_hr, dh_0, dc_0, dh_seen, dc_seen;
  std::vector<std::pair<const char*, const Array<Real>*>> all() const {
    return {{"y", &y},
            {"h_n", &h_n},
            {"c_n", &c_n},
            {"dx", &dx},
            {"dw_ih", &dw_ih},
            {"dw_hh", &dw_hh},
            {"db_ih", &db_ih},
            {"db_hh", &db_hh},
            {"dw_hr", &dw_hr},
            {"dh_0", &dh_0},
            {"dc_0", &dc_0},
            {"dh_seen", &dh_seen},
            {"dc_seen", &dc_seen}};
  }
};

template <class Real>
Outputs<Real> outputs_for(const Sizes& s) {
  Outputs<Real> o;
  const bool lstm = s.cell == Cell::kLstm;
  const auto make = [](bool there, std::size_t n) {
    Array<Real> a;
    if (there) {
      a = Array<Real>(n);
      std::fill_n(a.get(), n, (Real)std::nan(""));  // what stays unwritten is seen
    }
    return a;
  };
  o.y = make(true, s.rows * s.P), o.h_n = make(true, s.B * s.P), o.c_n = make(lstm, s.B * s.H);
  o.dx = make(chance(0.8), s.rows * s.I);
  o.dw_ih = make(true, s.G * s.H * s.I), o.dw_hh = make(true, s.G * s.H * s.P);
  o.db_ih = make(s.bias, s.G * s.H), o.db_hh = make(s.bias, s.G * s.H);
  o.dw_hr = make(s.P != s.H, s.P * s.H);
  o.dh_0 = make(true, s.B * s.P), o.dc_0 = make(lstm, s.B * s.H);
  const bool looks = chance(0.5);
  o.dh_seen = make(looks, s.rows * s.P), o.dc_seen = make(looks && lstm, s.rows * s.H);
  return o;
}

Sizes random_sizes() {
  Sizes s;
  s.cell = (Cell)upto(3);
  s.G = gate_count(s.cell);
  s.T = upto(9), s.B = chance(0.1) ? 0 : 1 + upto(chance(0.2) ? 70 : 12);
  s.I = 1 + upto(20), s.H = 1 + upto(chance(0.3) ? 75 : 20);
  s.P = s.cell == Cell::kLstm && s.H > 1 && chance(0.3) ? 1 + upto(s.H - 2) : s.H;
  s.backwards = chance(0.5), s.packed = chance(0.2), s.bias = chance(0.8);
  s.rows = s.T * s.B;
  if (s.packed && (s.T == 0 || s.B == 0)) s.packed = false;
  if (!s.packed && chance(0.5)) return s;
  for (std::size_t b = 0; b < s.B; ++b) s.lengths.push_back((std::int64_t)upto(s.T));
  if (!s.packed) return s;
  for (auto& n : s.lengths) n = std::max<std::int64_t>(n, 1);
  std::sort(s.lengths.rbegin(), s.lengths.rend());
  s.T = (std::size_t)s.lengths[0], s.rows = 0;
  for (std::size_t t = 0; t < s.T; ++t) {
    s.first.push_back((std::int64_t)s.rows);
    for (auto n : s.lengths) s.rows += n > (std::int64_t)t;
  }
  return s;
}

// Rows of N at random distances, steps and samples in either order.
template <class Real>
Rows<const Real> random_rows(const Sizes& s, std::size_t N, Array<Real>& memory) {
  const std::ptrdiff_t gap = (std::ptrdiff_t)(N + upto(3));
  Rows<const Real> rows;
  if (s.packed) {
    memory = random_array<Real>(s.rows ? (s.rows - 1) * (std::size_t)gap + N : 0);
    rows = {memory.get(), 0, gap};
  } else {
    const bool time_first = chance(0.5);
    memory = random_array<Real>(s.rows ? (s.rows - 1) * (std::size_t)gap + N : 0);
    rows = {memory.get(), time_first ? (std::ptrdiff_t)s.B * gap : gap,
            time_first ? gap : (std::ptrdiff_t)s.T * gap};
  }
  return rows;
}
template <class Real>
const Real* at(const Sizes& s, const Rows<const Real>& rows, std::size_t t, std::size_t b) {
  return rows.at + (s.packed ? (std::ptrdiff_t)(s.index(t, b)) * rows.b
                             : (std::ptrdiff_t)t * rows.t + (std::ptrdiff_t)b * rows.b);
}

template <class Real>
Inputs<Real> random_inputs(const Sizes& s) {
  Inputs<Real> in;
  const bool lstm = s.cell == Cell::kLstm;
  in.x_rows = random_rows(s, s.I, in.x);
  // no larger than what keeps states and gradients of order 1: chaos would magnify every rounding
  in.w_ih = random_array<Real>(s.G * s.H * s.I, 1 / std::sqrt((double)s.I));
  in.w_hh = random_array<Real>(s.G * s.H * s.P, 1 / std::sqrt((double)s.P));
  if (s.bias) in.b_ih = random_array<Real>(s.G * s.H), in.b_hh = random_array<Real>(s.G * s.H);
  if (s.P != s.H) in.w_hr = random_array<Real>(s.P * s.H);
  in.h_0 = random_array<Real>(s.B * s.P);
  if (lstm) in.c_0 = random_array<Real>(s.B * s.H);
  if (!s.packed && chance(0.3)) {
    in.reset = Array<std::uint8_t>(s.T * s.B);
    for (std::size_t i = 0; i < s.T * s.B; ++i) in.reset[i] = chance(0.3);
  }
  if (chance(0.3)) in.h_mask = random_array<Real>(s.B * s.P);
  if (s.P == s.H && chance(0.3)) {
    in.zone_h = random_array<Real>(s.rows * s.H);
    if (lstm) in.zone_c = random_array<Real>(s.rows * s.H);
  }
  if (chance(0.8)) in.dy_rows = random_rows(s, s.P, in.dy);
  if (chance(0.7)) in.dh_n = random_array<Real>(s.B * s.P);
  if (lstm && chance(0.7)) in.dc_n = random_array<Real>(s.B * s.H);
  if (chance(0.3)) in.clip = (Real)0.5;
  if (chance(0.4)) in.mark_every = 1 + upto(4);
  return in;
}

// By the definition, in double precision, one sample and one unit after the other.
template <class Real, class Math>
void reference(const Sizes& s, const Inputs<Real>& in, Outputs<double>& o) {
  constexpr std::size_t G = Math::gates, S = Math::states;
  const std::size_t H = s.H, P = s.P, I = s.I;
  for (const auto& [name, array] : o.all()) {
    (void)name;
    if (array->there) std::fill_n(array->get(), array->size, 0.0);
  }
  for (std::size_t b = 0; b < s.B; ++b) {
    struct Step {
      std::size_t t;
      std::vector<double> h, m, c, r, gate, new_c, inner;  // before, masked; the cell before, ...
      bool cleared;
    };
    std::vector<Step> steps;
    std::vector<double> h(P), c(H);
    for (std::size_t k = 0; k < P; ++k) h[k] = in.h_0[b * P + k];
    for (std::size_t u = 0; S == 2 && u < H; ++u) c[u] = in.c_0[b * H + u];
    const std::size_t n = s.length(b);
    for (std::size_t i = 0; i < n; ++i) {
      Step step;
      step.t = s.backwards ? n - 1 - i : i;
      const std::size_t border = s.backwards ? step.t + 1 : step.t;
      step.cleared = in.reset.there && border < n && in.reset[border * s.B + b];
      if (step.cleared) std::fill(h.begin(), h.end(), 0), std::fill(c.begin(), c.end(), 0);
      step.h = h, step.c = c, step.m = h;
      for (std::size_t k = 0; in.h_mask.there && k < P; ++k) step.m[k] *= in.h_mask[b * P + k];
      step.r.resize(H), step.gate.resize(G * H), step.new_c.resize(H), step.inner.resize(H);
      const Real* x = at(s, in.x_rows, step.t, b);
      const std::size_t row = s.index(step.t, b);
      for (std::size_t u = 0; u < H; ++u) {
        double a[G], gate[G], state[S], next[S];
        for (std::size_t g = 0; g < G; ++g) {
          const std::size_t w = g * H + u;
          double of_x = s.bias ? in.b_ih[w] : 0, of_h = s.bias ? in.b_hh[w] : 0;
          for (std::size_t k = 0; k < I; ++k) of_x += (double)in.w_ih[w * I + k] * x[k];
          for (std::size_t k = 0; k < P; ++k) of_h += (double)in.w_hh[w * P + k] * step.m[k];
          const bool split = Math::splits_last && g == G - 1;
          a[g] = split ? of_x : of_x + of_h;
          step.r[u] = of_h;
        }
        state[0] = P == H ? h[u] : 0;
        if (S == 2) state[S - 1] = c[u];
        Math::forward(a, step.r[u], state, gate, next);
        for (std::size_t g = 0; g < G; ++g) step.gate[g * H + u] = gate[g];
        step.inner[u] = next[0];
        if (in.zone_h.there) {
          const double z = in.zone_h[row * H + u];
          step.inner[u] = z * state[0] + (1 - z) * next[0];
        }
        if (S == 2) {
          step.new_c[u] = next[S - 1];
          if (in.zone_c.there) {
            const double z = in.zone_c[row * H + u];
            step.new_c[u] = z * c[u] + (1 - z) * next[S - 1];
          }
        }
      }
      c = step.new_c;
      for (std::size_t k = 0; k < P; ++k) {
        h[k] = P == H ? step.inner[k] : 0;
        for (std::size_t u = 0; P != H && u < H; ++u)
          h[k] += (double)in.w_hr[k * H + u] * step.inner[u];
        o.y[row * P + k] = h[k];
      }
      steps.push_back(std::move(step));
    }
    for (std::size_t k = 0; k < P; ++k) o.h_n[b * P + k] = h[k];
    for (std::size_t u = 0; S == 2 && u < H; ++u) o.c_n[b * H + u] = c[u];

    std::vector<double> dh(P), dc(H);
    for (std::size_t k = 0; in.dh_n.there && k < P; ++k) dh[k] = in.dh_n[b * P + k];
    for (std::size_t u = 0; in.dc_n.there && u < H; ++u) dc[u] = in.dc_n[b * H + u];
    for (std::size_t i = n; i-- > 0;) {
      const Step& step = steps[i];
      const std::size_t row = s.index(step.t, b);
      const Real* x = at(s, in.x_rows, step.t, b);
      if (in.dy.there) {
        for (std::size_t k = 0; k < P; ++k) dh[k] += at(s, in.dy_rows, step.t, b)[k];
      }
      double norm = 0;
      for (double v : dh) norm += v * v;
      norm = std::sqrt(norm);
      for (double& v : dh) v *= in.clip > 0 && norm > in.clip ? in.clip / norm : 1;
      for (std::size_t k = 0; o.dh_seen.there && k < P; ++k) o.dh_seen[row * P + k] = dh[k];
      std::vector<double> before(P);
      for (std::size_t u = 0; u < H; ++u) {
        double gate[G], state[S], dnew[S], da[G], dr = 0, dstate[S], stays[2] = {0, 0};
        for (std::size_t g = 0; g < G; ++g) gate[g] = step.gate[g * H + u];
        state[0] = P == H ? step.h[u] : 0;
        dnew[0] = P == H ? dh[u] : 0;
        for (std::size_t k = 0; P != H && k < P; ++k) {
          dnew[0] += dh[k] * in.w_hr[k * H + u];
          o.dw_hr[k * H + u] += dh[k] * step.inner[u];
        }
        if (in.zone_h.there) stays[0] = in.zone_h[row * H + u] * dnew[0], dnew[0] -= stays[0];
        if (S == 2) {
          state[S - 1] = step.c[u], dnew[S - 1] = dc[u];
          if (in.zone_c.there) stays[1] = in.zone_c[row * H + u] * dc[u], dnew[S - 1] -= stays[1];
        }
        const double later = S == 2 ? dc[u] : 0;
        Math::backward(step.r[u], gate, state, dnew, da, &dr, dstate);
        if (S == 2) {
          if (o.dc_seen.there) o.dc_seen[row * H + u] = in.zone_c.there ? later : dnew[S - 1];
          dc[u] = dstate[S - 1] + stays[1];
        }
        if (P == H) before[u] += dstate[0] + stays[0];
        for (std::size_t g = 0; g < G; ++g) {
          const std::size_t w = g * H + u;
          const double of_h = Math::splits_last && g == G - 1 ? dr : da[g];
          for (std::size_t k = 0; k < I; ++k) {
            o.dw_ih[w * I + k] += da[g] * x[k];
            if (o.dx.there) o.dx[row * I + k] += da[g] * in.w_ih[w * I + k];
          }
          for (std::size_t k = 0; k < P; ++k) {
            o.dw_hh[w * P + k] += of_h * step.m[k];
            const double mask = in.h_mask.there ? (double)in.h_mask[b * P + k] : 1;
            before[k] += of_h * in.w_hh[w * P + k] * mask;
          }
          if (s.bias) o.db_ih[w] += da[g], o.db_hh[w] += of_h;
        }
      }
      dh = before;
      if (step.cleared) std::fill(dh.begin(), dh.end(), 0), std::fill(dc.begin(), dc.end(), 0);
    }
    for (std::size_t k = 0; k < P; ++k) o.dh_0[b * P + k] = dh[k];
    for (std::size_t u = 0; S == 2 && u < H; ++u) o.dc_0[b * H + u] = dc[u];
  }
}

template <class Real>
void by_kernels(const Sizes& s, const Inputs<Real>& in, const Outputs<Real>& o,
                std::size_t threads) {
  const bool lstm = s.cell == Cell::kLstm;
  Layer<Real> p{};
  p.cell = s.cell, p.T = s.T, p.B = s.B, p.I = s.I, p.H = s.H, p.P = s.P, p.backwards = s.backwards;
  p.lengths = s.lengths.empty() ? nullptr : s.lengths.data();
  p.first = s.packed ? s.first.data() : nullptr;
  p.reset = in.reset.get();
  p.x = in.x_rows;
  p.w_ih = in.w_ih.get(), p.w_hh = in.w_hh.get(), p.w_hr = in.w_hr.get();
  p.b_ih = in.b_ih.get(), p.b_hh = in.b_hh.get();
  p.h_0 = in.h_0.get(), p.c_0 = in.c_0.get(), p.h_mask = in.h_mask.get();
  const std::ptrdiff_t wide = (std::ptrdiff_t)s.H;
  if (in.zone_h.there) p.zone_h = {in.zone_h.get(), (std::ptrdiff_t)s.B * wide, wide};
  if (in.zone_c.there) p.zone_c = {in.zone_c.get(), (std::ptrdiff_t)s.B * wide, wide};
  p.y = {o.y.get(), (std::ptrdiff_t)(s.B * s.P), (std::ptrdiff_t)s.P};
  p.h_n = o.h_n.get(), p.c_n = o.c_n.get();
  Array<Real> kept(s.rows * kept_width(s.cell, in.zone_h.there) * s.H), marks;
  p.mark_every = in.mark_every;
  if (in.mark_every) {
    marks = Array<Real>((s.T + in.mark_every - 1) / in.mark_every * s.B * s.H);
    p.marks = lstm ? marks.get() : nullptr;
  } else {
    p.kept = kept.get();
  }
  kernels<Real>().forward(&p, 1, threads);
  LayerGradient<Real> d{};
  if (in.dy.there) d.dy = in.dy_rows;
  d.dh_n = in.dh_n.get(), d.dc_n = in.dc_n.get(), d.clip = in.clip;
  if (o.dx.there) d.dx = {o.dx.get(), (std::ptrdiff_t)(s.B * s.I), (std::ptrdiff_t)s.I};
  d.dw_ih = o.dw_ih.get(), d.dw_hh = o.dw_hh.get(), d.dw_hr = o.dw_hr.get();
  d.db_ih = o.db_ih.get(), d.db_hh = o.db_hh.get();
  d.dh_0 = o.dh_0.get(), d.dc_0 = o.dc_0.get();
  d.dh_seen = o.dh_seen.get(), d.dc_seen = o.dc_seen.get();
  kernels<Real>().backward(&p, &d, 1, threads);
}

// Steps that a padded sample does not have: nothing is seen there, so nothing is compared.
template <class Real>
bool beyond(const Sizes& s, const std::string& name, const Array<Real>& array, std::size_t i) {
  if (s.packed || s.lengths.empty() || name.find("_seen") == std::string::npos || !s.rows)
    return false;
  const std::size_t row = i / (array.size / s.rows);
  return row / s.B >= s.length(row % s.B);
}

template <class Real, class Math>
bool agrees(const Sizes& s, double tolerance) {
  const Inputs<Real> in = random_inputs<Real>(s);
  const Outputs<Real> found = outputs_for<Real>(s);
  Outputs<double> expected = outputs_for<double>(s);
  const auto mine = found.all();
  const auto truths = expected.all();
  for (std::size_t i = 0; i < mine.size(); ++i) {  // the same outputs are wanted of both
    auto* to = const_cast<Array<double>*>(truths[i].second);
    const auto* from = mine[i].second;
    *to = from->there ? Array<double>(from->size) : Array<double>();
  }
  by_kernels(s, in, found, 1 + upto(2));
  reference<Real, Math>(s, in, expected);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    const auto& [name, array] = mine[i];
    const auto* truth = truths[i].second;
    double most = 1;
    for (std::size_t k = 0; k < array->size; ++k) most = std::max(most, std::fabs((*truth)[k]));
    for (std::size_t k = 0; k < array->size; ++k) {
      if (beyond(s, name, *array, k)) continue;
      const double error = std::fabs((double)(*array)[k] - (*truth)[k]);
      if (error <= tolerance * most) continue;  // NaN fails
      std::printf("%s[%zu]: %g, expected %g; cell %d T %zu B %zu I %zu H %zu P %zu%s%s%s\n", name,
                  k, (double)(*array)[k], (*truth)[k], (int)s.cell, s.T, s.B, s.I, s.H, s.P,
                  s.backwards ? " backwards" : "", s.packed ? " packed" : "",
                  in.mark_every ? " checkpoint" : "");
      return false;
    }
  }
  return true;
}

template <class Real>
bool agrees(const Sizes& s, double tolerance) {
  switch (s.cell) {
    case Cell::kElmanTanh:
      return agrees<Real, scalar::Elman<double, false>>(s, tolerance);
    case Cell::kElmanRelu:
      return agrees<Real, scalar::Elman<double, true>>(s, tolerance);
    case Cell::kLstm:
      return agrees<Real, scalar::Lstm<double>>(s, tolerance);
    default:
      return agrees<Real, scalar::Gru<double>>(s, tolerance);
  }
}

}  // namespace

int main(int count, char** words) {
  const unsigned long rounds = count > 1 ? std::strtoul(words[1], nullptr, 10) : 200;
  source.seed(count > 2 ? std::strtoul(words[2], nullptr, 10) : 0);
  unsigned long failed = 0;
  for (const std::string& name : instruction_sets()) {
    use_instruction_set(name);
    for (unsigned long i = 0; i < rounds; ++i) {
      const Sizes s = random_sizes();
      failed += chance(0.5) ? !agrees<float>(s, 2e-4) : !agrees<double>(s, 1e-11);
    }
    std::printf("%s: %lu rounds\n", name.c_str(), rounds);
  }
  std::printf("%lu failed\n", failed);
  return failed != 0;
}
