// The one time loop, forward and backward, around the cells' mathematics. Compiled once for each
// instruction set.
//
// Forward: the batch is split over threads once; each takes its rows through all of time, so no
// thread waits for another at a step. Backward does the same with shares of a size that the batch
// alone sets; each share adds up its own weight gradients, and these are added at the end in order.
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
// stay in the cache, and short chains round less than one long one.
constexpr std::size_t kSumRows = 128;
// Shares of the batch in the backward pass, at most: each has sums as large as the weights.
constexpr std::size_t kMostShares = 8;

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

// Where a share of the batch adds up its weights' gradients, transposed: the gates' gradients are
// the vectors. [I+H, G*H] and the two biases.
template <class Real>
struct Sums {
  std::size_t inputs, hidden, wide;
  Buffer<Real> all;

  Sums(std::size_t I, std::size_t H, std::size_t GH)
      : inputs(I), hidden(H), wide((GH + kPanel<Real> - 1) / kPanel<Real> * kPanel<Real>),
        all((I + H + 2) * wide) {
    for (std::size_t k = 0; k < (I + H + 2) * wide; ++k) all.get()[k] = 0;
  }
  Real* ih() const { return all.get(); }
  Real* hh() const { return all.get() + inputs * wide; }
  Real* b_ih() const { return hh() + hidden * wide; }
  Real* b_hh() const { return b_ih() + wide; }
};

// Weights as the backward pass multiplies by them.
template <class Real, class Math>
struct BackwardWeights {
  static constexpr std::size_t G = Math::gates;
  static constexpr std::size_t shared = Math::keeps_recurrent ? G - 1 : G;  // gates with dr = dx
  Buffer<Real> hh, hh_new, ih;

  BackwardWeights(const Layer<Real>& p, bool dx)
      : hh(packed_size<Real>(p.H, shared * p.H)),
        hh_new(shared < G ? packed_size<Real>(p.H, p.H) : 0),
        ih(dx ? packed_size<Real>(p.I, G * p.H) : 0) {
    const std::ptrdiff_t row = (std::ptrdiff_t)p.H;
    pack(p.w_hh, 1, row, p.H, shared * p.H, hh.get());
    if (shared < G) pack(p.w_hh + shared * p.H * p.H, 1, row, p.H, p.H, hh_new.get());
    if (dx) pack(p.w_ih, 1, (std::ptrdiff_t)p.I, p.I, G * p.H, ih.get());
  }
};

template <class Real>
void add_rows(std::size_t rows, std::size_t N, const Real* d, Real* sums) {
  constexpr std::size_t L = kLanes<Real>;
  for (std::size_t n = 0; n < N; n += L) {
    const std::size_t there = smaller(L, N - n);
    VecOf<Real> part{};
    for (std::size_t i = 0; i < rows; ++i) part += read(d + i * N + n, there);
    write(sums + n, read(sums + n, there) + part, there);
  }
}

template <class Real>
void copy_rows(std::size_t rows, std::size_t N, const Real* from, std::ptrdiff_t row, Real* to) {
  for (std::size_t i = 0; i < rows; ++i, from += row, to += N) {
    for (std::size_t n = 0; n < N; ++n) to[n] = from[n];
  }
}

// Samples b0..b1 back through all of time. A few steps at a time: their gates' gradients stay in the
// cache until they have been added to the weights' and multiplied into dx.
template <class Real, class Math>
void backward_rows(const Layer<Real>& p, const LayerGradient<Real>& d,
                   const BackwardWeights<Real, Math>& weights, const Sums<Real>& sums,
                   std::size_t b0, std::size_t b1) {
  constexpr std::size_t G = Math::gates, S = Math::states;
  constexpr std::size_t shared = BackwardWeights<Real, Math>::shared;
  constexpr bool keeps = Math::keeps_recurrent;
  const std::size_t rows = b1 - b0, H = p.H, I = p.I, GH = G * H, of_shared = shared * H;
  const std::size_t steps = (kSumRows + rows - 1) / rows;  // taken together
  Buffer<Real> dgates(steps * rows * GH), dr_new(keeps ? steps * rows * H : 0);
  Buffer<Real> before(steps * rows * H), inputs(steps * rows * I);
  Real* dh = d.dh_0 + b0 * H;  // the gradient that flows through time lives where it will end
  Real* dc = S == 2 ? d.dc_0 + b0 * H : nullptr;
  for (std::size_t k = 0; k < rows * H; ++k) {
    dh[k] = d.dh_n ? d.dh_n[b0 * H + k] : Real(0);
    if (S == 2) dc[k] = d.dc_n ? d.dc_n[b0 * H + k] : Real(0);
  }
  std::size_t taken = 0;
  for (std::size_t i = p.T; i-- > 0;) {
    const std::size_t t = step_of(p, i), at = t * p.B + b0;
    const std::ptrdiff_t h_row = i == 0 ? (std::ptrdiff_t)H : p.y_b;
    const Real* h = previous(p, i, p.h_0, (const Real*)p.y, p.y_b) + (std::ptrdiff_t)b0 * h_row;
    const Real* c = S == 2 ? previous(p, i, p.c_0, (const Real*)p.cells, (std::ptrdiff_t)H) + b0 * H
                           : nullptr;
    Real* step_dgates = dgates.get() + taken * rows * GH;
    Real* step_dr_new = keeps ? dr_new.get() + taken * rows * H : nullptr;
    for (std::size_t m = 0; m < rows; ++m) {
      const std::size_t row = at + m;
      const RowGradient<Real> q{p.gates + row * GH,
                                keeps ? p.r_new + row * H : nullptr,
                                h + (std::ptrdiff_t)m * h_row,
                                S == 2 ? c + m * H : nullptr,
                                S == 2 ? p.cells + row * H : nullptr,
                                d.dy ? d.dy + (std::ptrdiff_t)row * d.dy_b : nullptr,
                                dh + m * H,
                                S == 2 ? dc + m * H : nullptr,
                                step_dgates + m * GH,
                                keeps ? step_dr_new + m * H : nullptr};
      row_backward<Real, Math>(q, H);
    }
    multiply_packed(rows, H, of_shared, step_dgates, (std::ptrdiff_t)GH, weights.hh.get(), dh,
                    (std::ptrdiff_t)H, (const Real*)nullptr, true);
    if constexpr (keeps) {
      multiply_packed(rows, H, H, step_dr_new, (std::ptrdiff_t)H, weights.hh_new.get(), dh,
                      (std::ptrdiff_t)H, (const Real*)nullptr, true);
    }
    copy_rows(rows, H, h, h_row, before.get() + taken * rows * H);
    copy_rows(rows, I, p.x + (std::ptrdiff_t)t * p.x_t + (std::ptrdiff_t)b0 * p.x_b, p.x_b,
              inputs.get() + taken * rows * I);
    if (d.dx) {
      multiply_packed(rows, I, GH, step_dgates, (std::ptrdiff_t)GH, weights.ih.get(),
                      d.dx + at * I, (std::ptrdiff_t)I, (const Real*)nullptr, false);
    }
    if (++taken < steps && i > 0) continue;
    const std::size_t K = taken * rows;
    const std::ptrdiff_t wide = (std::ptrdiff_t)sums.wide, gate_row = (std::ptrdiff_t)GH;
    const auto outer = [&](std::size_t M, const Real* a, std::size_t N, const Real* gradient,
                           std::ptrdiff_t row, Real* to) {
      multiply(M, N, TileArgs<Real>{K, a, 1, (std::ptrdiff_t)M, gradient, row, to, wide},
               (const Real*)nullptr, true);
    };
    outer(I, inputs.get(), GH, dgates.get(), gate_row, sums.ih());
    outer(H, before.get(), of_shared, dgates.get(), gate_row, sums.hh());
    if constexpr (keeps) {
      outer(H, before.get(), H, dr_new.get(), (std::ptrdiff_t)H, sums.hh() + of_shared);
    }
    if (d.db_ih) {
      add_rows(K, GH, (const Real*)dgates.get(), sums.b_ih());
      if constexpr (keeps) add_rows(K, H, (const Real*)dr_new.get(), sums.b_hh() + of_shared);
    }
    taken = 0;
  }
}

// The gradients of the weights from the sums of all shares, in their order.
template <class Real, class Math>
void gather_sums(const Layer<Real>& p, const LayerGradient<Real>& d, const Sums<Real>* const* sums,
                 std::size_t shares, std::size_t n0, std::size_t n1) {
  const std::size_t of_shared = BackwardWeights<Real, Math>::shared * p.H;
  const auto total = [&](std::size_t k, std::size_t n) {
    Real sum = 0;
    for (std::size_t s = 0; s < shares; ++s) sum += sums[s]->all.get()[k * sums[s]->wide + n];
    return sum;
  };
  for (std::size_t n = n0; n < n1; ++n) {
    for (std::size_t i = 0; i < p.I; ++i) d.dw_ih[n * p.I + i] = total(i, n);
    for (std::size_t h = 0; h < p.H; ++h) d.dw_hh[n * p.H + h] = total(p.I + h, n);
    if (!d.db_ih) continue;
    d.db_ih[n] = total(p.I + p.H, n);
    d.db_hh[n] = n < of_shared ? d.db_ih[n] : total(p.I + p.H + 1, n);
  }
}

// Shares of the batch in the backward pass: they depend on its size alone, so that the order of all
// sums, and with it every bit, is the same for any number of threads.
inline std::size_t shares_of(std::size_t B) {
  const std::size_t wanted = B / 16 < 2 ? 2 : B / 16;
  return smaller(smaller(wanted, kMostShares), B);
}

template <class Real, class Math>
void backward_of(const Layer<Real>& p, const LayerGradient<Real>& d, std::size_t threads) {
  const std::size_t GH = Math::gates * p.H, shares = shares_of(p.B);
  threads = threads_for(p, Math::gates, threads);
  const BackwardWeights<Real, Math> weights(p, d.dx != nullptr);
  const Sums<Real>* sums[kMostShares] = {};
  in_parallel(shares, threads, [&](std::size_t i) {
    const auto* mine = new Sums<Real>(p.I, p.H, GH);
    sums[i] = mine;
    backward_rows<Real, Math>(p, d, weights, *mine, p.B * i / shares, p.B * (i + 1) / shares);
  });
  const std::size_t parts = smaller(threads, GH);
  in_parallel(parts, threads, [&](std::size_t i) {
    gather_sums<Real, Math>(p, d, sums, shares, GH * i / parts, GH * (i + 1) / parts);
  });
  for (std::size_t i = 0; i < shares; ++i) delete sums[i];
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
