// Backward pass over whole sequences.
#pragma once
#include "forward.h"

namespace throughtime::THROUGHTIME_ISA {

// Rows (samples x steps) of gate gradients that are collected before they are multiplied into the
// weight gradients and dx. Few enough to stay in the cache, many enough to amortize the access to
// the sums. Several short sums also round less than one long sum.
constexpr std::size_t kSumRows = 128;
// Maximum number of shares of the batch: each share has sums as large as the weights.
constexpr std::size_t kMostShares = 8;

// Shares depend only on sizes, so the order of all sums, and therefore every bit of the result, is
// the same for any number of threads. The larger the weights, the more rows a share needs to
// amortize its sums.
template <class Real>
std::size_t shares_of(const Layer<Real>& p) {
  const std::size_t rows = larger(8, smaller(32, (p.I + p.P) / 8));
  return smaller(larger(2, smaller(p.B / rows, kMostShares)), p.B);
}

// Weights in the layout of the backward products. The columns of the recurrent product are dr of
// the split gate, then da of the other gates. The columns of the input product are da of all gates.
template <class Real, class Math>
struct BackwardWeights {
  static constexpr std::size_t G = Math::gates, W = kPanel<Real>;
  Real *hh, *ih, *hr;  // [panels of P][G*H][W], [panels of I][G*H][W], [panels of H][P][W]

  BackwardWeights(const Layer<Real>& p, bool dx, Scratch& scratch, std::size_t threads) {
    const std::size_t GH = G * p.H, of_hh = panels_of<Real>(p.P), of_ih = panels_of<Real>(p.I);
    hh = scratch.take<Real>(of_hh * GH * W);
    ih = dx ? scratch.take<Real>(of_ih * GH * W) : nullptr;
    hr = p.w_hr ? scratch.take<Real>(panels_of<Real>(p.H) * p.P * W) : nullptr;
    const std::size_t count = of_hh + (dx ? of_ih : 0);
    in_parallel(count, count * GH * W < 100'000 ? 1 : threads, [&](std::size_t q) {
      if (q >= of_hh) {
        const std::size_t n = (q - of_hh) * W;
        pack_panel(p.w_ih + n, 1, (std::ptrdiff_t)p.I, smaller(W, p.I - n), GH, ih + n * GH);
        return;
      }
      const std::size_t n = q * W, there = smaller(W, p.P - n), H = p.H;
      const std::ptrdiff_t row = (std::ptrdiff_t)p.P;
      Real* to = hh + n * GH;
      if (Math::splits_last) {
        pack_panel(p.w_hh + (G - 1) * H * p.P + n, 1, row, there, H, to);
        pack_panel(p.w_hh + n, 1, row, there, (G - 1) * H, to + H * W);
      } else {
        pack_panel(p.w_hh + n, 1, row, there, GH, to);
      }
    });
    for (std::size_t n = 0; hr && n < p.H; n += W) {
      pack_panel(p.w_hr + n, 1, (std::ptrdiff_t)p.H, smaller(W, p.H - n), p.P, hr + n * p.P);
    }
  }
};

// The weight gradients of a share: for every panel of gates, one row per input of its product,
// which are h, 1 (the bias) and x. The recurrent and input part of a split gate have a row for 1
// each.
template <class Real, class Math>
struct Sums {
  static constexpr std::size_t G = Math::gates, W = kPanel<Real>;
  std::size_t rows, count;
  Real *gates, *hr;  // [blocks,G][P+1+I+1][W], [panels of P][H][W]

  Sums(const Layer<Real>& p, Scratch& scratch)
      : rows(p.P + 1 + p.I + (Math::splits_last ? 1 : 0)),
        count(panels_of<Real>(p.H) * G * rows * W),
        gates(scratch.take<Real>(count)),
        hr(p.w_hr ? scratch.take<Real>(whole_panels<Real>(p.P) * p.H) : nullptr) {}

  // Called by the share itself, so that its thread first touches (and thereby places) the memory.
  void clear(const Layer<Real>& p) const {
    fill_zero(count, gates);
    if (hr) fill_zero(whole_panels<Real>(p.P) * p.H, hr);
  }
};

// The backward pass of one share of the batch.
template <class Real, class Math>
class Backward {
  static constexpr std::size_t G = Math::gates, S = Math::states, L = kLanes<Real>;
  static constexpr std::size_t W = kPanel<Real>, split = Math::splits_last ? 1 : 0;
  using V = VecOf<Real>;

 public:
  Backward(const Layer<Real>& p, const LayerGradient<Real>& d,
           const BackwardWeights<Real, Math>& weights, const ForwardWeights<Real, Math>* forward,
           const Sums<Real, Math>& sums, const Share& share, Scratch& scratch)
      : p(p),
        d(d),
        where{p},
        weights(weights),
        forward(forward),
        sums(sums),
        share(share),
        scratch(scratch),
        steps_((kSumRows + share.rows - 1) / share.rows),
        cap_(steps_ * share.rows),
        ldh_((std::ptrdiff_t)row_distance<Real>(p.P)),
        ldc_((std::ptrdiff_t)row_distance<Real>(p.H)),
        ldd_((std::ptrdiff_t)row_distance<Real>((G + split) * p.H)),
        lda_((std::ptrdiff_t)row_distance<Real>(p.P + 1 + p.I)),
        offset_(scratch.zeros<std::size_t>(steps_ + 1)),
        t_(scratch.take<std::size_t>(steps_)) {
    dh_ = scratch.zeros<Real>(share.rows * (std::size_t)ldh_);
    dc_ = S == 2 ? scratch.zeros<Real>(share.rows * (std::size_t)ldc_) : nullptr;
    extra_ = p.h_mask ? scratch.zeros<Real>(share.rows * (std::size_t)ldh_) : nullptr;
    inner_ = p.w_hr ? scratch.zeros<Real>(share.rows * (std::size_t)ldc_) : nullptr;
    nothing_ = scratch.zeros<Real>(larger(p.H, p.P));
    d_rows_ = scratch.zeros<Real>(cap_ * (std::size_t)ldd_);
    d_panels_ = scratch.take<Real>(panels_of<Real>(p.H) * (G + split) * cap_ * W);
    a_rows_ = scratch.zeros<Real>(cap_ * (std::size_t)lda_);
    dx_ = d.dx.at ? scratch.take<Real>(cap_ * row_distance<Real>(p.I)) : nullptr;
    m_rows_ = p.w_hr ? scratch.zeros<Real>(cap_ * (std::size_t)ldc_) : nullptr;
    m_panels_ = p.w_hr ? scratch.take<Real>(panels_of<Real>(p.P) * cap_ * W) : nullptr;
    sums.clear(p);
  }

  void run() {
    if (d.dx.at && p.lengths && !p.first) {
      for (std::size_t m = 0; m < share.rows; ++m) {
        const std::size_t b = share.sample[m];
        for (std::size_t t = where.length(b); t < p.T; ++t) fill_zero(p.I, where.row(d.dx, t, b));
      }
    }
    if (p.mark_every) {
      Forward<Real, Math> steps(p, *forward, share, scratch);
      Real* kept = scratch.take<Real>(p.mark_every * share.rows * width_ * p.H);
      for (std::size_t to = p.T; to > 0;) {
        const std::size_t from = (to - 1) / p.mark_every * p.mark_every;
        steps.again(from, to, kept);
        run(from, to, kept);
        to = from;
      }
    } else {
      run(0, p.T, nullptr);
    }
    while (active_ > 0) leave(--active_);
    for (std::size_t m = 0; m < share.rows; ++m) {
      if (where.length(share.sample[m]) > 0) continue;
      enter(m);
      leave(m);
    }
  }

 private:
  // Steps i1 to i0, with their saved values in a buffer [i1-i0, rows, ...] or in p.kept.
  void run(std::size_t i0, std::size_t i1, const Real* kept) {
    for (std::size_t i = i1; i-- > i0;) {
      const std::size_t t = where.step(i), rows = rows_at(where, share, t);
      while (active_ < rows) enter(active_++);
      while (active_ > rows) leave(--active_);
      t_[taken_] = t;
      offset_[taken_ + 1] = offset_[taken_] + rows;
      add_outside(t, rows);
      if (p.w_hr) through_projection(rows);
      for (std::size_t m = 0; m < rows; ++m) {
        point(i, t, m, kept ? kept + ((i - i0) * share.rows + m) * width_ * p.H : nullptr);
      }
      through_recurrence(i, rows);
      if (++taken_ == steps_ || i == 0) flush();
    }
  }

  // dL/dh_t is the sum of the direct gradient dy_t and the gradient from later steps.
  void add_outside(std::size_t t, std::size_t rows) {
    for (std::size_t m = 0; m < rows; ++m) {
      const std::size_t b = share.sample[m];
      Real* dh = dh_ + m * (std::size_t)ldh_;
      if (d.dy.at) {
        const Real* dy = where.row(d.dy, t, b);
        for (std::size_t k = 0; k < p.P; k += L) {
          store(dh + k, load(dh + k) + read(dy + k, p.P - k));
        }
      }
      if (d.clip > 0) clip(dh);
      if (d.dh_seen) copy(p.P, (const Real*)dh, d.dh_seen + where.index(t, b) * p.P);
    }
  }

  void clip(Real* dh) const {
    Real squares = 0;
    for (std::size_t k = 0; k < p.P; ++k) squares += dh[k] * dh[k];
    const Real norm = std::sqrt(squares);
    if (!(norm > d.clip)) return;
    const Real factor = d.clip / norm;
    for (std::size_t k = 0; k < p.P; ++k) dh[k] *= factor;
  }

  // h = W_hr m: computes dm from dh in inner_, and adds to the gradient of W_hr.
  void through_projection(std::size_t rows) {
    multiply(rows, p.H, Product<Real>{p.P, dh_, ldh_, weights.hr, inner_, ldc_, Start::kZero});
    for (std::size_t m = 0; m < rows; ++m) {
      const std::size_t at = offset_[taken_] + m;
      for (std::size_t k = 0; k < p.P; k += L) {
        store(m_panels_ + (k / W * cap_ + at) * W + k % W, load(dh_ + m * (std::size_t)ldh_ + k));
      }
    }
  }

  // The pointwise part for one sample, and the rows of all products.
  void point(std::size_t i, std::size_t t, std::size_t m, const Real* kept) {
    const std::size_t b = share.sample[m], H = p.H, at = offset_[taken_] + m;
    std::size_t t_before = 0;
    const bool inside = where.before(i, b, t_before), cleared = where.cleared(i, b);
    if (!kept && p.kept) kept = p.kept + where.index(t, b) * width_ * H;
    const Real* gates = width_ ? kept : where.row(p.y, t, b);
    const Real* h = cleared ? nothing_ : inside ? where.row(p.y, t_before, b) : p.h_0 + b * p.P;
    const Real* c = nullptr;
    if constexpr (S == 2) {
      c = cleared ? nothing_ : inside ? cell_before(i, t_before, b, kept) : p.c_0 + b * H;
    }
    Real* dh = p.w_hr ? inner_ + m * (std::size_t)ldc_ : dh_ + m * (std::size_t)ldh_;
    Real* dc = S == 2 ? dc_ + m * (std::size_t)ldc_ : nullptr;
    Real* d_row = d_rows_ + at * (std::size_t)ldd_;
    by_vectors<Real>(H, [&](std::size_t u, auto n) __attribute__((always_inline)) {
      V r = {}, gate[G], state[S], dnew[S], da[G], dr = {}, dstate[S];
      for (std::size_t g = 0; g < G; ++g) gate[g] = read(gates + g * H + u, n);
      if constexpr (Math::splits_last) r = read(gates + G * H + u, n);
      if constexpr (S == 1) state[0] = read(h + u, n);
      dnew[0] = load(dh + u);
      V stays[S] = {}, later = {};
      if (p.zone_h.at) zone(p.zone_h, t, b, u, dnew[0], stays[0]);
      if constexpr (S == 2) {
        state[0] = V{};  // h of the Lstm affects h' only through the recurrent part
        state[1] = read(c + u, n);
        later = dnew[1] = load(dc + u);
        if (p.zone_c.at) zone(p.zone_c, t, b, u, dnew[1], stays[1]);
      }
      Math::backward(r, gate, state, dnew, da, &dr, dstate);
      if constexpr (S == 2) {
        if (d.dc_seen) {  // h takes what was there before zoneout, so c_t has what comes later
                          // alone
          write(d.dc_seen + where.index(t, b) * H + u, p.zone_c.at ? later : dnew[1], n);
        }
        store(dc + u, dstate[1] + stays[1]);
        if (p.w_hr) {
          const V m_t = gate[G - 1] * tanh(Math::cell(gate, state));
          store(m_rows_ + at * (std::size_t)ldc_ + u, m_t);
        }
      }
      if (!p.w_hr) store(dh + u, dstate[0] + stays[0]);
      Real* panels = d_panels_ + (u / W * (G + split) * cap_ + at) * W + u % W;
      for (std::size_t g = 0; g < G; ++g) {
        write(d_row + (split + g) * H + u, da[g], n);
        store(panels + g * cap_ * W, da[g]);
      }
      if constexpr (split) {
        write(d_row + u, dr, n);
        store(panels + G * cap_ * W, dr);
      }
    });
    Real* a = a_rows_ + at * (std::size_t)lda_;
    copy(p.P, h, a);
    if (p.h_mask) {
      for (std::size_t k = 0; k < p.P; ++k) a[k] *= p.h_mask[b * p.P + k];
    }
    a[p.P] = 1;
    copy(p.I, where.row(p.x, t, b), a + p.P + 1);
  }

  void zone(const Rows<const Real>& share_of, std::size_t t, std::size_t b, std::size_t u, V& dnew,
            V& stays) const {
    const V z = read(where.row(share_of, t, b) + u, p.H - u);
    stays = z * dnew;
    dnew = dnew - stays;
  }

  const Real* cell_before(std::size_t i, std::size_t t_before, std::size_t b,
                          const Real* kept) const {
    if (!p.mark_every) return p.kept + (where.index(t_before, b) * width_ + G) * p.H;
    if (i % p.mark_every == 0) return p.marks + (i / p.mark_every * p.B + b) * p.H;
    return kept - share.rows * width_ * p.H + G * p.H;  // the same row at the previous step
  }

  // Computes dL/dh_{t-1} through the gates.
  void through_recurrence(std::size_t i, std::size_t rows) {
    const Real* d_rows = d_rows_ + offset_[taken_] * (std::size_t)ldd_;
    Product<Real> product{G * p.H, d_rows, ldd_, weights.hh, dh_, ldh_, Start::kContinue};
    if (p.w_hr) product.start = Start::kZero;  // with a projection, h has no direct path
    if (p.h_mask) {
      product.c = extra_;
      product.start = Start::kZero;
    }
    multiply(rows, p.P, product);
    for (std::size_t m = 0; m < rows; ++m) {
      const std::size_t b = share.sample[m];
      Real* dh = dh_ + m * (std::size_t)ldh_;
      if (p.h_mask) {
        const Real* extra = extra_ + m * (std::size_t)ldh_;
        for (std::size_t k = 0; k < p.P; ++k) {
          dh[k] = (p.w_hr ? Real(0) : dh[k]) + extra[k] * p.h_mask[b * p.P + k];
        }
      }
      if (!where.cleared(i, b)) continue;
      fill_zero(p.P, dh);
      if constexpr (S == 2) fill_zero(p.H, dc_ + m * (std::size_t)ldc_);
    }
  }

  // Multiplies the collected rows into the weight gradients and dx.
  void flush() {
    const std::size_t rows = offset_[taken_];
    for (std::size_t q = 0; q < panels_of<Real>(p.H) * G; ++q) {
      const std::size_t u = q / G, g = q % G, units = smaller(W, p.H - u * W);
      const Real* panels = d_panels_ + u * (G + split) * cap_ * W;
      Product<Real> product{rows,
                            a_rows_,
                            lda_,
                            panels + g * cap_ * W,
                            sums.gates + q * sums.rows * W,
                            (std::ptrdiff_t)W,
                            Start::kAddAfter};
      if (split && g == G - 1) {  // h and 1 with dr; 1 and x with da
        Product<Real> recurrent = product;
        recurrent.b = panels + G * cap_ * W;
        multiply_panel<Real, true>(p.P + 1, units, recurrent);
        product.a += p.P;
        product.c += (p.P + 1) * W;
        multiply_panel<Real, true>(1 + p.I, units, product);
      } else {
        multiply_panel<Real, true>(p.P + 1 + p.I, units, product);
      }
    }
    for (std::size_t n = 0; p.w_hr && n < p.P; n += W) {
      multiply_panel<Real, true>(
          p.H, smaller(W, p.P - n),
          Product<Real>{rows, m_rows_, ldc_, m_panels_ + n * cap_, sums.hr + n * p.H,
                        (std::ptrdiff_t)W, Start::kAddAfter});
    }
    if (d.dx.at) {
      const std::ptrdiff_t ld = (std::ptrdiff_t)row_distance<Real>(p.I);
      multiply(
          rows, p.I,
          Product<Real>{G * p.H, d_rows_ + split * p.H, ldd_, weights.ih, dx_, ld, Start::kZero});
      for (std::size_t s = 0; s < taken_; ++s) {
        for (std::size_t m = 0; m < offset_[s + 1] - offset_[s]; ++m) {
          copy(p.I, (const Real*)dx_ + (offset_[s] + m) * (std::size_t)ld,
               where.row(d.dx, t_[s], share.sample[m]));
        }
      }
    }
    taken_ = 0;
  }

  void enter(std::size_t m) {
    const std::size_t b = share.sample[m];
    copy(p.P, d.dh_n ? d.dh_n + b * p.P : nothing_, dh_ + m * (std::size_t)ldh_);
    if constexpr (S == 2)
      copy(p.H, d.dc_n ? d.dc_n + b * p.H : nothing_, dc_ + m * (std::size_t)ldc_);
  }
  void leave(std::size_t m) {
    const std::size_t b = share.sample[m];
    copy(p.P, (const Real*)dh_ + m * (std::size_t)ldh_, d.dh_0 + b * p.P);
    if constexpr (S == 2) copy(p.H, (const Real*)dc_ + m * (std::size_t)ldc_, d.dc_0 + b * p.H);
  }

  const Layer<Real>& p;
  const LayerGradient<Real>& d;
  Geometry<Real> where;
  const BackwardWeights<Real, Math>& weights;
  const ForwardWeights<Real, Math>* forward;
  const Sums<Real, Math>& sums;
  Share share;
  Scratch& scratch;
  const std::size_t steps_, cap_;  // steps processed together, and their rows
  const std::ptrdiff_t ldh_, ldc_, ldd_, lda_;
  const std::size_t width_ = kept_width(p.cell, p.zone_h.at != nullptr);
  std::size_t *const offset_, *const t_;  // of the steps processed together
  std::size_t active_ = 0, taken_ = 0;
  Real *dh_, *dc_, *extra_, *inner_, *d_rows_, *d_panels_, *a_rows_, *dx_, *m_rows_, *m_panels_;
  const Real* nothing_;
};

// The weight gradients: the sums of all shares, added in the order of the shares.
template <class Real, class Math>
void gather(const Layer<Real>& p, const LayerGradient<Real>& d, const Sums<Real, Math>* const* sums,
            std::size_t shares, std::size_t q) {
  constexpr std::size_t G = Math::gates, W = kPanel<Real>, L = kLanes<Real>;
  const std::size_t rows = sums[0]->rows, u = q / G * W, g = q % G, units = smaller(W, p.H - u);
  const std::size_t row = g * p.H + u, split = Math::splits_last && g == G - 1 ? 1 : 0;
  Real* total = sums[0]->gates + q * rows * W;
  for (std::size_t s = 1; s < shares; ++s) {
    const Real* more = sums[s]->gates + q * rows * W;
    for (std::size_t k = 0; k < rows * W; k += L)
      store(total + k, load(total + k) + load(more + k));
  }
  const Real *of_1 = total + p.P * W, *of_x = of_1 + (1 + split) * W;
  for (std::size_t j = 0; j < units; ++j) {
    for (std::size_t k = 0; k < p.P; ++k) d.dw_hh[(row + j) * p.P + k] = total[k * W + j];
    for (std::size_t k = 0; k < p.I; ++k) d.dw_ih[(row + j) * p.I + k] = of_x[k * W + j];
    if (!d.db_ih) continue;
    d.db_hh[row + j] = of_1[j];
    d.db_ih[row + j] = of_1[split * W + j];
  }
}

template <class Real, class Math>
void gather_projection(const Layer<Real>& p, const LayerGradient<Real>& d,
                       const Sums<Real, Math>* const* sums, std::size_t shares) {
  constexpr std::size_t W = kPanel<Real>;
  for (std::size_t n = 0; n < p.P; ++n) {
    for (std::size_t k = 0; k < p.H; ++k) {
      Real sum = 0;
      for (std::size_t s = 0; s < shares; ++s) sum += sums[s]->hr[(n / W * p.H + k) * W + n % W];
      d.dw_hr[n * p.H + k] = sum;
    }
  }
}

}  // namespace throughtime::THROUGHTIME_ISA
