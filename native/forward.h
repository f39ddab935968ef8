// Forward pass over whole sequences.
#pragma once
#include "cells.h"
#include "layout.h"

namespace throughtime::THROUGHTIME_ISA {

// Minimum number of rows of an input product: a smaller batch combines several steps.
constexpr std::size_t kProjectRows = 48;

// Weights of a layer, packed into panels. A block has as many units as a panel is wide. The G gates
// of a block are adjacent, so their sums are computed together and stay in the L1 cache.
template <class Real, class Math>
struct ForwardWeights {
  static constexpr std::size_t G = Math::gates, W = kPanel<Real>;
  Real *ih, *hh;    // [blocks,G][I or P][W]
  Real *b_x, *b_h;  // [blocks,G][W], [blocks][W]: initial values of the sums
  Real* hr;         // [panels of P][H][W]

  ForwardWeights(const Layer<Real>& p, Scratch& scratch, std::size_t threads) {
    const std::size_t blocks = panels_of<Real>(p.H), H = p.H;
    ih = scratch.take<Real>(blocks * G * p.I * W);
    hh = scratch.take<Real>(blocks * G * p.P * W);
    b_x = scratch.zeros<Real>(blocks * G * W);
    b_h = scratch.zeros<Real>(blocks * W);
    in_parallel(
        blocks * G, blocks * G * (p.I + p.P) * W < 100'000 ? 1 : threads, [&](std::size_t q) {
          const std::size_t u = q / G * W, g = q % G, units = smaller(W, H - u);
          const std::size_t row = g * H + u;
          pack_panel(p.w_ih + row * p.I, (std::ptrdiff_t)p.I, 1, units, p.I, ih + q * p.I * W);
          pack_panel(p.w_hh + row * p.P, (std::ptrdiff_t)p.P, 1, units, p.P, hh + q * p.P * W);
          if (!p.b_ih) return;
          const bool split = Math::splits_last && g == G - 1;
          for (std::size_t j = 0; j < units; ++j) {
            b_x[q * W + j] = split ? p.b_ih[row + j] : p.b_ih[row + j] + p.b_hh[row + j];
            if (split) b_h[q / G * W + j] = p.b_hh[row + j];
          }
        });
    hr = nullptr;
    if (!p.w_hr) return;
    hr = scratch.take<Real>(panels_of<Real>(p.P) * H * W);
    for (std::size_t n = 0; n < p.P; n += W) {
      pack_panel(p.w_hr + n * H, (std::ptrdiff_t)H, 1, smaller(W, p.P - n), H, hr + n * H);
    }
  }
};

// The forward pass of one share of the batch. The state is stored in separate rows, which are
// initialized at the first step of a sample and read out after its last step.
template <class Real, class Math>
class Forward {
  static constexpr std::size_t G = Math::gates, S = Math::states;
  static constexpr std::size_t W = kPanel<Real>;
  using V = VecOf<Real>;

 public:
  Forward(const Layer<Real>& p, const ForwardWeights<Real, Math>& weights, const Share& share,
          Scratch& scratch)
      : p(p),
        where{p},
        weights(weights),
        share(share),
        steps_(larger(1, kProjectRows / larger(1, share.rows))),
        cap_(steps_ * share.rows),
        ldh_((std::ptrdiff_t)row_distance<Real>(larger(p.H, p.P))),
        ldx_((std::ptrdiff_t)row_distance<Real>(p.I)),
        offset_(scratch.take<std::size_t>(steps_ + 1)) {
    const std::size_t wide = share.rows * (std::size_t)ldh_;
    h_ = scratch.zeros<Real>(wide);
    next_h_ = scratch.zeros<Real>(wide);
    c_ = S == 2 ? scratch.zeros<Real>(wide) : nullptr;
    masked_ = p.h_mask ? scratch.zeros<Real>(wide) : nullptr;
    inner_ = p.w_hr ? scratch.zeros<Real>(wide) : nullptr;
    x_ = scratch.take<Real>(cap_ * (std::size_t)ldx_);
    sums_ = scratch.take<Real>(panels_of<Real>(p.H) * G * W * cap_);
    r_ = Math::splits_last ? scratch.take<Real>(share.rows * W) : nullptr;
  }

  // Computes all steps in order.
  void run() {
    if (p.lengths && !p.first) {
      for (std::size_t m = 0; m < share.rows; ++m) {
        const std::size_t b = share.sample[m];
        for (std::size_t t = where.length(b); t < p.T; ++t) fill_zero(p.P, where.row(p.y, t, b));
      }
    }
    run(0, p.T, p.kept, false);
    while (active_ > 0) leave(--active_);
    for (std::size_t m = 0; m < share.rows; ++m) {
      const std::size_t b = share.sample[m];
      if (where.length(b) > 0) continue;
      copy(p.P, p.h_0 + b * p.P, p.h_n + b * p.P);
      if constexpr (S == 2) copy(p.H, p.c_0 + b * p.H, p.c_n + b * p.H);
    }
  }

  // Recomputes steps i0 to i1 and saves the values that `run` did not, [i1-i0, rows, ...].
  void again(std::size_t i0, std::size_t i1, Real* kept) {
    active_ = 0;
    run(i0, i1, kept, true);
  }

 private:
  void run(std::size_t i0, std::size_t i1, Real* kept, bool again) {
    if (!width_) kept = nullptr;
    for (std::size_t from = i0; from < i1; from += steps_) {
      const std::size_t to = smaller(from + steps_, i1);
      project(from, to);
      for (std::size_t i = from; i < to; ++i) {
        const std::size_t t = where.step(i), rows = offset_[i - from + 1] - offset_[i - from];
        while (active_ < rows) enter(i, active_++);
        while (active_ > rows) leave_unless(again, --active_);
        for (std::size_t m = 0; m < rows; ++m) clear_at_border(i, m);
        if (S == 2 && p.marks && !again && i % p.mark_every == 0) mark(i, rows);
        const Real* operand = h_;
        if (p.h_mask) {
          mask(rows);
          operand = masked_;
        }
        for (std::size_t u = 0; u < p.H; u += W) {
          Real* sums = sums_ + (u * cap_ + offset_[i - from] * W) * G;
          recur(rows, u, operand, sums);
          point(t, rows, u, sums, kept, again ? (i - i0) * share.rows : kAsY);
        }
        if (p.w_hr) project_back(t, rows, again);
        Real* swap = h_;
        h_ = next_h_;
        next_h_ = swap;
      }
    }
  }

  // The input part of all gates for steps from..to: sums_ [blocks][rows][G][W].
  void project(std::size_t from, std::size_t to) {
    std::size_t rows = 0;
    for (std::size_t i = from; i < to; ++i) {
      const std::size_t t = where.step(i), here = rows_at(where, share, t);
      offset_[i - from] = rows;
      for (std::size_t m = 0; m < here; ++m, ++rows) {
        copy(p.I, where.row(p.x, t, share.sample[m]), x_ + rows * (std::size_t)ldx_);
      }
    }
    offset_[to - from] = rows;
    for (std::size_t q = 0; q < panels_of<Real>(p.H) * G; ++q) {
      Product<Real> product{p.I,
                            x_,
                            ldx_,
                            weights.ih + q * p.I * W,
                            sums_ + q / G * W * cap_ * G + q % G * W,
                            (std::ptrdiff_t)(G * W),
                            Start::kRow,
                            weights.b_x + q * W};
      multiply_panel(rows, units_in(q / G * W), product);
    }
  }

  // Adds the recurrent part of a block of units; that of a split gate is written to r_.
  void recur(std::size_t rows, std::size_t u, const Real* h, Real* sums) {
    for (std::size_t g = 0; g < G; ++g) {
      const Real* panel = weights.hh + (u * G + g * W) * p.P;
      Product<Real> product{
          p.P, h, ldh_, panel, sums + g * W, (std::ptrdiff_t)(G * W), Start::kContinue};
      if (Math::splits_last && g == G - 1) {
        product.c = r_;
        product.ldc = (std::ptrdiff_t)W;
        product.start = Start::kRow;
        product.row = weights.b_h + u;
      }
      multiply_panel(rows, units_in(u), product);
    }
  }

  // The pointwise part for a block of units. Saved values are written to the rows from `at` on, or
  // to the rows of y; y is written only the first time.
  static constexpr std::size_t kAsY = ~std::size_t(0);
  void point(std::size_t t, std::size_t rows, std::size_t u, const Real* sums, Real* kept,
             std::size_t at) {
    for (std::size_t m = 0; m < rows; ++m, sums += G * W) {
      const std::size_t b = share.sample[m], index = at == kAsY ? where.index(t, b) : at + m;
      Real* keep = kept ? kept + index * width_ * p.H : nullptr;
      Real* y = at != kAsY || p.w_hr ? nullptr : where.row(p.y, t, b) + u;
      point_row(t, m, b, u, sums, keep, y);
    }
  }
  [[gnu::always_inline]] inline void point_row(std::size_t t, std::size_t m, std::size_t b,
                                               std::size_t u, const Real* sums, Real* keep,
                                               Real* y) {
    const std::size_t row = m * (std::size_t)ldh_, H = p.H, units = units_in(u);
    by_vectors<Real>(units, [&](std::size_t v, auto n) __attribute__((always_inline)) {
      V a[G], r = V{}, state[S], gate[G], next[S];
      for (std::size_t g = 0; g < G; ++g) a[g] = load(sums + g * W + v);
      if constexpr (Math::splits_last) r = load(r_ + m * W + v);
      state[0] = load(h_ + row + u + v);
      if constexpr (S == 2) state[1] = load(c_ + row + u + v);
      Math::forward(a, r, state, gate, next);
      if (p.zone_h.at) zone(p.zone_h, t, b, u + v, n, state[0], next[0]);
      if constexpr (S == 2) {
        if (p.zone_c.at) zone(p.zone_c, t, b, u + v, n, state[1], next[1]);
        store(c_ + row + u + v, next[1]);
      }
      store((p.w_hr ? inner_ : next_h_) + row + u + v, next[0]);
      if (y) write(y + v, next[0], n);
      if (!keep) return;
      for (std::size_t g = 0; g < G; ++g) write(keep + g * H + u + v, gate[g], n);
      if constexpr (S == 2) write(keep + G * H + u + v, next[1], n);
      if constexpr (Math::splits_last) write(keep + G * H + u + v, r, n);
    });
  }

  // Zoneout (Krueger et al. 2017): a share of the state is kept.
  void zone(const Rows<const Real>& stays, std::size_t t, std::size_t b, std::size_t u,
            std::size_t n, V before, V& next) {
    const V z = read(where.row(stays, t, b) + u, n);
    next = z * before + (1 - z) * next;
  }

  void project_back(std::size_t t, std::size_t rows, bool again) {
    multiply(rows, p.P, Product<Real>{p.H, inner_, ldh_, weights.hr, next_h_, ldh_, Start::kZero});
    for (std::size_t m = 0; m < rows && !again; ++m) {
      copy(p.P, next_h_ + m * (std::size_t)ldh_, where.row(p.y, t, share.sample[m]));
    }
  }

  void mask(std::size_t rows) {
    for (std::size_t m = 0; m < rows; ++m) {
      const std::size_t row = m * (std::size_t)ldh_;
      const Real* factor = p.h_mask + share.sample[m] * p.P;
      for (std::size_t k = 0; k < p.P; ++k) masked_[row + k] = h_[row + k] * factor[k];
    }
  }

  // Loads the state before step i, if a sample or a recomputation (`again`) begins there.
  void enter(std::size_t i, std::size_t m) {
    const std::size_t b = share.sample[m], row = m * (std::size_t)ldh_;
    std::size_t t = 0;
    const bool inside = where.before(i, b, t);
    copy(p.P, inside ? (const Real*)where.row(p.y, t, b) : p.h_0 + b * p.P, h_ + row);
    if constexpr (S == 2) {
      const Real* c = inside ? p.marks + (i / p.mark_every * p.B + b) * p.H : p.c_0 + b * p.H;
      copy(p.H, c, c_ + row);
    }
  }

  void leave_unless(bool again, std::size_t m) {
    if (!again) leave(m);
  }
  void leave(std::size_t m) {
    const std::size_t b = share.sample[m], row = m * (std::size_t)ldh_;
    copy(p.P, (const Real*)h_ + row, p.h_n + b * p.P);
    if constexpr (S == 2) copy(p.H, (const Real*)c_ + row, p.c_n + b * p.H);
  }

  void clear_at_border(std::size_t i, std::size_t m) {
    if (!where.cleared(i, share.sample[m])) return;
    fill_zero((std::size_t)ldh_, h_ + m * (std::size_t)ldh_);
    if constexpr (S == 2) fill_zero((std::size_t)ldh_, c_ + m * (std::size_t)ldh_);
  }

  void mark(std::size_t i, std::size_t rows) {
    for (std::size_t m = 0; m < rows; ++m) {
      copy(p.H, (const Real*)c_ + m * (std::size_t)ldh_,
           p.marks + (i / p.mark_every * p.B + share.sample[m]) * p.H);
    }
  }

  std::size_t units_in(std::size_t u) const { return smaller(W, p.H - u); }

  const Layer<Real>& p;
  Geometry<Real> where;
  const ForwardWeights<Real, Math>& weights;
  Share share;
  const std::size_t steps_, cap_;  // steps of an input product, and their rows
  const std::ptrdiff_t ldh_, ldx_;
  const std::size_t width_ = kept_width(p.cell, p.zone_h.at != nullptr);
  std::size_t* const offset_;  // row offset of each of these steps
  std::size_t active_ = 0;     // rows whose sample has begun
  Real *h_, *next_h_, *c_, *masked_, *inner_, *x_, *sums_, *r_;
};

}  // namespace throughtime::THROUGHTIME_ISA
