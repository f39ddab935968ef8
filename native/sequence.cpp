// The one time loop, forward and backward, around the cells' mathematics. Compiled once for each
// instruction set.
//
// Forward: the batch is split over threads once; each takes its rows through all of time, so no
// thread waits for another at a step. Backward does the same, and then the weights' gradients, sums
// over all rows and steps, are split by columns instead: every sum is one chain in the order of time,
// whatever the number of threads, so that number cannot change a bit.
#include <cstdlib>
#include <new>

#include "cells.h"
#include "gemm.h"
#include "kernels.h"
#include "threads.h"

#define THROUGHTIME_TEXT_(name) #name
#define THROUGHTIME_TEXT(name) THROUGHTIME_TEXT_(name)

namespace throughtime::THROUGHTIME_ISA {
namespace {

// Work under this many multiply-adds stays on one thread: waking another would cost more.
constexpr std::size_t kWorthAThread = 100'000;
// Rows of a weight gradient's sum that are added up on their own, before they join the total: they
// stay in the first cache, and short chains round less than one long one.
constexpr std::size_t kSumRows = 64;

template <class Real>
class Buffer {
 public:
  explicit Buffer(std::size_t count)
      : data_(static_cast<Real*>(std::aligned_alloc(64, (count * sizeof(Real) + 63) / 64 * 64 + 64))) {
    if (!data_) throw std::bad_alloc();
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Real* get() const { return data_; }

 private:
  Real* data_;
};

// Units are taken a vector at a time; the last may be a part.
template <class Real>
VecOf<Real> read(const Real* from, std::size_t count) {
  return count == kLanes<Real> ? load(from) : load_part(from, count);
}
template <class Real>
void write(Real* to, VecOf<Real> v, std::size_t count) {
  count == kLanes<Real> ? store(to, v) : store_part(to, v, count);
}

// Pointers to one sample at one step. Values of one unit lie `*_gate` apart from gate to gate.
template <class Real>
struct Row {
  const Real* x;
  std::size_t x_gate;
  const Real* r;
  std::size_t r_gate;
  const Real* h;  // previous state
  const Real* c;
  Real* gates;
  std::size_t gates_gate;
  Real* new_h;
  Real* new_c;
  Real* r_new;  // null where not kept
};

template <class Real, class Math>
void row_forward(const Row<Real>& row, std::size_t units) {
  using V = VecOf<Real>;
  constexpr std::size_t G = Math::gates, S = Math::states, L = kLanes<Real>;
  for (std::size_t u = 0; u < units; u += L) {
    const std::size_t n = smaller(L, units - u);
    V x[G], r[G], state[S], gate[G], new_state[S];
    for (std::size_t g = 0; g < G; ++g) {
      x[g] = read(row.x + g * row.x_gate + u, n);
      r[g] = read(row.r + g * row.r_gate + u, n);
    }
    state[0] = read(row.h + u, n);
    if constexpr (S == 2) state[1] = read(row.c + u, n);
    Math::forward(x, r, state, gate, new_state);
    for (std::size_t g = 0; g < G; ++g) write(row.gates + g * row.gates_gate + u, gate[g], n);
    write(row.new_h + u, new_state[0], n);
    if constexpr (S == 2) write(row.new_c + u, new_state[1], n);
    if constexpr (Math::keeps_recurrent) {
      if (row.r_new) write(row.r_new + u, r[G - 1], n);
    }
  }
}

template <class Real>
struct RowGradient {
  const Real* gates;  // [G,H]
  const Real* r_new;
  const Real* h;  // previous state
  const Real* c;
  const Real* new_c;
  const Real* dy;  // from outside; added to dh; null for 0
  Real* dh;        // in: dL/dh'; out: the share of dL/dh that goes past the recurrent part
  Real* dc;
  Real* dgates;  // [G,H]: dx, and dr but for the last gate of a cell that keeps it
  Real* dr_new;
};

template <class Real, class Math>
void row_backward(const RowGradient<Real>& row, std::size_t H) {
  using V = VecOf<Real>;
  constexpr std::size_t G = Math::gates, S = Math::states, L = kLanes<Real>;
  for (std::size_t u = 0; u < H; u += L) {
    const std::size_t n = smaller(L, H - u);
    V r[G] = {}, gate[G], state[S], new_state[S], dnew[S], dx[G], dr[G], dstate[S];
    for (std::size_t g = 0; g < G; ++g) gate[g] = read(row.gates + g * H + u, n);
    if constexpr (Math::keeps_recurrent) r[G - 1] = read(row.r_new + u, n);
    state[0] = read(row.h + u, n);
    new_state[0] = V{};
    dnew[0] = read(row.dh + u, n);
    if (row.dy) dnew[0] += read(row.dy + u, n);
    if constexpr (S == 2) {
      state[1] = read(row.c + u, n);
      new_state[1] = read(row.new_c + u, n);
      dnew[1] = read(row.dc + u, n);
    }
    Math::backward(r, gate, state, new_state, dnew, dx, dr, dstate);
    for (std::size_t g = 0; g < G; ++g) write(row.dgates + g * H + u, dx[g], n);
    if constexpr (Math::keeps_recurrent) write(row.dr_new + u, dr[G - 1], n);
    write(row.dh + u, dstate[0], n);
    if constexpr (S == 2) write(row.dc + u, dstate[1], n);
  }
}

// Calls `use` with the mathematics of a cell. A new cell is added here and in cells.h.
template <class Real, class Use>
void with_cell(Cell cell, Use use) {
  using V = VecOf<Real>;
  switch (cell) {
    case Cell::kElmanTanh:
      return use.template operator()<Elman<V, false>>();
    case Cell::kElmanRelu:
      return use.template operator()<Elman<V, true>>();
    case Cell::kLstm:
      return use.template operator()<Lstm<V>>();
    case Cell::kGru:
      return use.template operator()<Gru<V>>();
  }
}

// A lambda as a function pointer and its context: what the pool takes.
template <class Work>
void in_parallel(std::size_t count, std::size_t threads, Work work) {
  parallel(
      count, threads, [](void* context, std::size_t i) { (*static_cast<Work*>(context))(i); }, &work);
}

template <class Real>
std::size_t threads_for(const Layer<Real>& p, std::size_t G, std::size_t threads) {
  const std::size_t work = p.T * p.B * G * p.H * (p.I + p.H);
  return work < kWorthAThread ? 1 : threads;
}

// The step of time that comes `i`-th, and the one before it.
template <class Real>
std::size_t step_of(const Layer<Real>& p, std::size_t i) {
  return p.backwards ? p.T - 1 - i : i;
}

template <class Real>
const Real* previous(const Layer<Real>& p, std::size_t i, const Real* at_start, const Real* all,
                     std::ptrdiff_t row) {
  return i == 0 ? at_start : all + (std::ptrdiff_t)(step_of(p, i - 1) * p.B) * row;
}

// -------------------------------------------------------------------- forward

template <class Real, class Math>
struct ForwardWeights {
  Buffer<Real> ih, hh, bias;
  static constexpr std::size_t G = Math::gates, W = kPanel<Real>;

  explicit ForwardWeights(const Layer<Real>& p)
      : ih(packed_size<Real>(G * p.H, p.I)), hh(G * packed_size<Real>(p.H, p.H)),
        bias(G * packed_size<Real>(p.H, 1)) {
    pack(p.w_ih, (std::ptrdiff_t)p.I, 1, G * p.H, p.I, ih.get());
    const std::size_t one = packed_size<Real>(p.H, p.H), wide = packed_size<Real>(p.H, 1);
    for (std::size_t g = 0; g < G; ++g) {  // each gate in whole panels of its own
      pack(p.w_hh + g * p.H * p.H, (std::ptrdiff_t)p.H, 1, p.H, p.H, hh.get() + g * one);
      for (std::size_t u = 0; u < wide; ++u) {
        bias.get()[g * wide + u] = p.b_hh && u < p.H ? p.b_hh[g * p.H + u] : Real(0);
      }
    }
  }
};

template <class Real, class Math>
void forward_rows(const Layer<Real>& p, const ForwardWeights<Real, Math>& weights, std::size_t b0,
                  std::size_t b1) {
  constexpr std::size_t G = Math::gates, S = Math::states, W = kPanel<Real>;
  const std::size_t rows = b1 - b0, H = p.H, GH = G * H;
  const std::size_t one = packed_size<Real>(H, H), wide = packed_size<Real>(H, 1);
  Buffer<Real> recurrent(G * kTileRows * W);
  // where nothing is kept, one step's gates and two cell states are enough
  Buffer<Real> scratch(p.gates ? 0 : rows * (GH + 2 * H));
  for (std::size_t i = 0; i < p.T; ++i) {
    const std::size_t t = step_of(p, i);
    Real* gates = p.gates ? p.gates + (t * p.B + b0) * GH : scratch.get();
    multiply_packed(rows, GH, p.I, p.x + (std::ptrdiff_t)t * p.x_t + (std::ptrdiff_t)b0 * p.x_b,
                    p.x_b, weights.ih.get(), gates, (std::ptrdiff_t)GH, p.b_ih, false);
    const bool first = i == 0;
    const std::ptrdiff_t h_row = first ? (std::ptrdiff_t)H : p.y_b;
    const Real* h = previous(p, i, p.h_0, p.y, p.y_b) + (std::ptrdiff_t)b0 * h_row;
    Real* new_h = p.y + (std::ptrdiff_t)(t * p.B + b0) * p.y_b;
    const Real* c = nullptr;
    Real* new_c = nullptr;
    if constexpr (S == 2) {
      Real* one_of_two = scratch.get() + rows * (GH + (i % 2) * H);
      Real* other = scratch.get() + rows * (GH + (1 - i % 2) * H);
      c = first ? p.c_0 + b0 * H
                : (p.cells ? previous(p, i, p.c_0, p.cells, (std::ptrdiff_t)H) + b0 * H : other);
      new_c = p.cells ? p.cells + (t * p.B + b0) * H : one_of_two;
    }
    // a block of units through all its gates at once: its sums never leave the first cache
    for (std::size_t u = 0; u < H; u += W) {
      const std::size_t units = smaller(W, H - u);
      const std::size_t tiles = (rows + kTileRows - 1) / kTileRows;
      for (std::size_t tile_index = 0; tile_index < tiles; ++tile_index) {
        const std::size_t from = rows * tile_index / tiles, to = rows * (tile_index + 1) / tiles;
        for (std::size_t g = 0; g < G; ++g) {
          const TileArgs<Real> q{H, h + (std::ptrdiff_t)from * h_row, h_row, 1,
                                 weights.hh.get() + g * one + u * H, (std::ptrdiff_t)W,
                                 recurrent.get() + g * W, (std::ptrdiff_t)(G * W)};
          tile_of<Real, false>((int)(to - from), q, weights.bias.get() + g * wide + u, false, W);
        }
        for (std::size_t m = from; m < to; ++m) {
          const Row<Real> row{gates + m * GH + u,
                              H,
                              recurrent.get() + (m - from) * G * W,
                              W,
                              h + (std::ptrdiff_t)m * h_row + u,
                              S == 2 ? c + m * H + u : nullptr,
                              gates + m * GH + u,
                              H,
                              new_h + (std::ptrdiff_t)m * p.y_b + u,
                              S == 2 ? new_c + m * H + u : nullptr,
                              p.r_new ? p.r_new + (t * p.B + b0 + m) * H + u : nullptr};
          row_forward<Real, Math>(row, units);
        }
      }
    }
    if (S == 2 && i + 1 == p.T) {
      for (std::size_t k = 0; k < rows * H; ++k) p.c_n[b0 * H + k] = new_c[k];
    }
  }
}

template <class Real>
void forward(const Layer<Real>& p, std::size_t threads) {
  with_cell<Real>(p.cell, [&]<class Math>() {
    const ForwardWeights<Real, Math> weights(p);
    const std::size_t parts = smaller(threads_for(p, Math::gates, threads), p.B);
    in_parallel(parts, threads, [&](std::size_t i) {
      forward_rows<Real, Math>(p, weights, p.B * i / parts, p.B * (i + 1) / parts);
    });
  });
}

// -------------------------------------------------------------------- backward

template <class Real, class Math>
void backward_rows(const Layer<Real>& p, const LayerGradient<Real>& d, const Real* packed_hh,
                   std::size_t b0, std::size_t b1) {
  constexpr std::size_t G = Math::gates, S = Math::states;
  constexpr std::size_t shared = Math::keeps_recurrent ? G - 1 : G;  // gates with dr = dx
  const std::size_t rows = b1 - b0, H = p.H, GH = G * H;
  Real* dh = d.dh_0 + b0 * H;  // the gradient that flows through time lives where it will end
  Real* dc = S == 2 ? d.dc_0 + b0 * H : nullptr;
  for (std::size_t k = 0; k < rows * H; ++k) {
    dh[k] = d.dh_n ? d.dh_n[b0 * H + k] : Real(0);
    if (S == 2) dc[k] = d.dc_n ? d.dc_n[b0 * H + k] : Real(0);
  }
  for (std::size_t i = p.T; i-- > 0;) {
    const std::size_t t = step_of(p, i), at = t * p.B + b0;
    const std::ptrdiff_t h_row = i == 0 ? (std::ptrdiff_t)H : p.y_b;
    const Real* h = previous(p, i, p.h_0, (const Real*)p.y, p.y_b) + (std::ptrdiff_t)b0 * h_row;
    const Real* c = S == 2 ? previous(p, i, p.c_0, (const Real*)p.cells, (std::ptrdiff_t)H) + b0 * H
                           : nullptr;
    for (std::size_t m = 0; m < rows; ++m) {
      const std::size_t row = at + m;
      const RowGradient<Real> q{p.gates + row * GH,
                                p.r_new ? p.r_new + row * H : nullptr,
                                h + (std::ptrdiff_t)m * h_row,
                                S == 2 ? c + m * H : nullptr,
                                S == 2 ? p.cells + row * H : nullptr,
                                d.dy ? d.dy + (std::ptrdiff_t)row * d.dy_b : nullptr,
                                dh + m * H,
                                S == 2 ? dc + m * H : nullptr,
                                d.dgates + row * GH,
                                d.dr_new ? d.dr_new + row * H : nullptr};
      row_backward<Real, Math>(q, H);
    }
    multiply_packed(rows, H, shared * H, d.dgates + at * GH, (std::ptrdiff_t)GH, packed_hh, dh,
                    (std::ptrdiff_t)H, (const Real*)nullptr, true);
    if constexpr (shared < G) {
      multiply_packed(rows, H, H, d.dr_new + at * H, (std::ptrdiff_t)H,
                      packed_hh + packed_size<Real>(H, shared * H), dh, (std::ptrdiff_t)H,
                      (const Real*)nullptr, true);
    }
  }
}

// dw [n0..n1, M] = sum over rows k of d[k, n] a[k, m]: rows of `a` before `split` come from
// a_first. A matrix of rows `*_row` apart. Each element is one chain in the order of k.
template <class Real>
struct Sum {
  std::size_t rows, split, M;
  const Real* a_first;
  std::ptrdiff_t a_first_row;
  const Real* a;
  std::ptrdiff_t a_row;
  const Real* d;
  std::ptrdiff_t d_row;
  Real* dw;
};

template <class Real>
void sum_outer_products(const Sum<Real>& s, std::size_t n0, std::size_t n1) {
  constexpr std::size_t W = kPanel<Real>;
  const std::size_t wide = (n1 - n0 + W - 1) / W * W;
  Buffer<Real> sums(s.M * wide);  // dw transposed: the columns of d are the vectors
  std::size_t k = 0;
  bool add = false;
  while (k < s.rows) {
    const bool in_first = k < s.split;
    const std::size_t to = smaller(k + kSumRows, in_first ? s.split : s.rows);
    const Real* a = in_first ? s.a_first + (std::ptrdiff_t)k * s.a_first_row
                             : s.a + (std::ptrdiff_t)(k - s.split) * s.a_row;
    const std::ptrdiff_t a_row = in_first ? s.a_first_row : s.a_row;
    const TileArgs<Real> q{to - k, a, 1, a_row, s.d + (std::ptrdiff_t)k * s.d_row + (std::ptrdiff_t)n0,
                           s.d_row, sums.get(), (std::ptrdiff_t)wide};
    multiply(s.M, n1 - n0, q, (const Real*)nullptr, add);
    add = true;
    k = to;
  }
  for (std::size_t n = n0; n < n1; ++n) {
    for (std::size_t m = 0; m < s.M; ++m) {
      s.dw[n * s.M + m] = s.rows ? sums.get()[m * wide + n - n0] : Real(0);
    }
  }
}

// sums [n0..n1] of the columns of d, in blocks as above.
template <class Real>
void sum_rows(std::size_t rows, const Real* d, std::ptrdiff_t d_row, std::size_t n0, std::size_t n1,
              Real* sums) {
  constexpr std::size_t L = kLanes<Real>;
  for (std::size_t n = n0; n < n1; n += L) {
    const std::size_t there = smaller(L, n1 - n);
    VecOf<Real> total{};
    for (std::size_t k = 0; k < rows; k += kSumRows) {
      VecOf<Real> part{};
      const std::size_t to = smaller(k + kSumRows, rows);
      for (std::size_t i = k; i < to; ++i) part += read(d + (std::ptrdiff_t)i * d_row + n, there);
      total += part;
    }
    write(sums + n, total, there);
  }
}

template <class Real, class Math>
void backward_of(const Layer<Real>& p, const LayerGradient<Real>& d, std::size_t threads) {
  constexpr std::size_t G = Math::gates, W = kPanel<Real>;
  constexpr std::size_t shared = Math::keeps_recurrent ? G - 1 : G;
  const std::size_t H = p.H, GH = G * H, rows = p.T * p.B;
  threads = threads_for(p, G, threads);

  Buffer<Real> packed_hh(packed_size<Real>(H, shared * H) + packed_size<Real>(H, H));
  pack(p.w_hh, 1, (std::ptrdiff_t)H, H, shared * H, packed_hh.get());
  if (shared < G) {
    pack(p.w_hh + shared * H * H, 1, (std::ptrdiff_t)H, H, H,
         packed_hh.get() + packed_size<Real>(H, shared * H));
  }
  const std::size_t parts = smaller(threads, p.B);
  in_parallel(parts, threads, [&](std::size_t i) {
    backward_rows<Real, Math>(p, d, packed_hh.get(), p.B * i / parts, p.B * (i + 1) / parts);
  });

  // x without gaps between steps, so that rows of all steps are one matrix
  const bool flat = p.x_t == (std::ptrdiff_t)p.B * p.x_b;
  Buffer<Real> copied(flat ? 0 : rows * p.I);
  const Real* x = p.x;
  std::ptrdiff_t x_row = p.x_b;
  if (!flat) {
    for (std::size_t t = 0; t < p.T; ++t) {
      for (std::size_t b = 0; b < p.B; ++b) {
        const Real* from = p.x + (std::ptrdiff_t)t * p.x_t + (std::ptrdiff_t)b * p.x_b;
        for (std::size_t i = 0; i < p.I; ++i) copied.get()[(t * p.B + b) * p.I + i] = from[i];
      }
    }
    x = copied.get();
    x_row = (std::ptrdiff_t)p.I;
  }
  // the hidden state before each row: a step earlier, or a step later where time runs backwards
  const std::size_t others = p.T ? rows - p.B : 0;
  const auto recurrent = [&](const Real* dr, std::ptrdiff_t dr_row, Real* dw) {
    if (!p.backwards) return Sum<Real>{rows, p.B, H, p.h_0, (std::ptrdiff_t)H, p.y, p.y_b, dr, dr_row, dw};
    return Sum<Real>{rows, others, H, p.y + (std::ptrdiff_t)p.B * p.y_b, p.y_b, p.h_0,
                     (std::ptrdiff_t)H, dr, dr_row, dw};
  };
  const Sum<Real> of_x{rows, 0, p.I, nullptr, 0, x, x_row, d.dgates, (std::ptrdiff_t)GH, d.dw_ih};
  const Sum<Real> of_h = recurrent(d.dgates, (std::ptrdiff_t)GH, d.dw_hh);
  const Sum<Real> of_h_new = recurrent(d.dr_new, (std::ptrdiff_t)H, d.dw_hh + shared * H * H);

  Buffer<Real> packed_ih(d.dx ? packed_size<Real>(p.I, GH) : 0);
  if (d.dx) pack(p.w_ih, 1, (std::ptrdiff_t)p.I, p.I, GH, packed_ih.get());
  // tasks: panels of gate columns, then blocks of rows of dx
  const std::size_t panels = (GH + W - 1) / W;
  const std::size_t column_tasks = smaller(panels, threads);
  const std::size_t dx_tasks = d.dx ? smaller(threads, rows) : 0;
  in_parallel(column_tasks + dx_tasks, threads, [&](std::size_t i) {
    if (i >= column_tasks) {
      const std::size_t from = rows * (i - column_tasks) / dx_tasks;
      const std::size_t to = rows * (i - column_tasks + 1) / dx_tasks;
      // in blocks, so that the rows' gates stay in the cache for all panels
      for (std::size_t k = from; k < to; k += kSumRows) {
        multiply_packed(smaller(kSumRows, to - k), p.I, GH, d.dgates + k * GH, (std::ptrdiff_t)GH,
                        packed_ih.get(), d.dx + k * p.I, (std::ptrdiff_t)p.I, (const Real*)nullptr,
                        false);
      }
      return;
    }
    const std::size_t n0 = panels * i / column_tasks * W;
    const std::size_t n1 = smaller(GH, panels * (i + 1) / column_tasks * W);
    const std::size_t of_shared = shared * H;
    sum_outer_products(of_x, n0, n1);
    if (n0 < of_shared) sum_outer_products(of_h, n0, smaller(n1, of_shared));
    if (n1 > of_shared) {
      const std::size_t first = n0 > of_shared ? n0 - of_shared : 0;
      sum_outer_products(of_h_new, first, n1 - of_shared);
    }
    if (!d.db_ih) return;
    sum_rows(rows, (const Real*)d.dgates, (std::ptrdiff_t)GH, n0, n1, d.db_ih);
    for (std::size_t n = n0; n < smaller(n1, of_shared); ++n) d.db_hh[n] = d.db_ih[n];
    if (n1 > of_shared) {
      const std::size_t first = n0 > of_shared ? n0 - of_shared : 0;
      sum_rows(rows, (const Real*)d.dr_new, (std::ptrdiff_t)H, first, n1 - of_shared,
               d.db_hh + of_shared);
    }
  });
}

template <class Real>
void backward(const Layer<Real>& p, const LayerGradient<Real>& d, std::size_t threads) {
  with_cell<Real>(p.cell, [&]<class Math>() { backward_of<Real, Math>(p, d, threads); });
}

// -------------------------------------------------------------------- single steps, for tests

template <class Real>
void step_forward(Cell cell, std::size_t B, std::size_t H, const Real* x, const Real* r,
                  const Real* state, Real* gate, Real* new_state) {
  with_cell<Real>(cell, [&]<class Math>() {
    constexpr std::size_t G = Math::gates, S = Math::states;
    for (std::size_t b = 0; b < B; ++b) {
      row_forward<Real, Math>({x + b * G * H, H, r + b * G * H, H, state + b * S * H,
                               state + b * S * H + H, gate + b * G * H, H, new_state + b * S * H,
                               new_state + b * S * H + H, nullptr},
                              H);
    }
  });
}

template <class Real>
void step_backward(Cell cell, std::size_t B, std::size_t H, const Real* r, const Real* gate,
                   const Real* state, const Real* new_state, const Real* dnew_state, Real* dx,
                   Real* dr, Real* dstate) {
  with_cell<Real>(cell, [&]<class Math>() {
    constexpr std::size_t G = Math::gates, S = Math::states;
    for (std::size_t b = 0; b < B; ++b) {
      for (std::size_t k = 0; k < S * H; ++k) dstate[b * S * H + k] = dnew_state[b * S * H + k];
      Real* last = dr + b * G * H + (G - 1) * H;
      row_backward<Real, Math>(
          {gate + b * G * H, r + b * G * H + (G - 1) * H, state + b * S * H, state + b * S * H + H,
           new_state + b * S * H + H, nullptr, dstate + b * S * H, dstate + b * S * H + H,
           dx + b * G * H, last},
          H);
      const std::size_t shared = Math::keeps_recurrent ? G - 1 : G;
      for (std::size_t k = 0; k < shared * H; ++k) dr[b * G * H + k] = dx[b * G * H + k];
    }
  });
}

template <class Real>
void product(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b, Real* c) {
  Buffer<Real> packed(packed_size<Real>(N, K));
  pack(b, (std::ptrdiff_t)K, 1, N, K, packed.get());
  multiply_packed(M, N, K, a, (std::ptrdiff_t)K, packed.get(), c, (std::ptrdiff_t)N,
                  (const Real*)nullptr, false);
}

template <class Real>
void naive(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b, Real* c) {
  product_naive(a, b, c, M, N, K);
}

template <class Real>
void elementwise(int function, std::size_t N, const Real* x, Real* y) {
  for (std::size_t i = 0; i < N; i += kLanes<Real>) {
    const std::size_t n = smaller(kLanes<Real>, N - i);
    const VecOf<Real> v = read(x + i, n);
    write(y + i, function == 0 ? exp_of<Real>(v) : function == 1 ? tanh(v) : sigmoid(v), n);
  }
}

template <class Real>
constexpr Kernels<Real> table{forward<Real>,       backward<Real>, step_forward<Real>,
                              step_backward<Real>, naive<Real>,    product<Real>,
                              elementwise<Real>};

}  // namespace

extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
const Kernels<float> float_kernels = table<float>;
const Kernels<double> double_kernels = table<double>;

}  // namespace throughtime::THROUGHTIME_ISA
