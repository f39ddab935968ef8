// The kernels of one instruction set: layers forward and backward, streams, and parts for tests.
// Compiled once for each instruction set.
//
// Forward: the batch is split over threads once, and each thread computes all steps of its rows, so
// threads never synchronize at a step. Backward does the same with shares whose size depends only
// on the sizes of the call. Each share sums its own weight gradients; these are added at the end in
// a fixed order.
#include "backward.h"
#include "stream.h"

#define THROUGHTIME_TEXT_(name) #name
#define THROUGHTIME_TEXT(name) THROUGHTIME_TEXT_(name)

namespace throughtime::THROUGHTIME_ISA {
namespace {

// Work with fewer multiply-adds stays on one thread: waking another costs some microseconds.
constexpr std::size_t kWorthAThread = 2'000'000;

// Calls `use` with the class of a cell.
template <class Real, class Use>
void with_cell(Cell cell, Use use) {
  switch (cell) {
#define THROUGHTIME_CASE(name, math) \
  case Cell::name:                   \
    return use.template operator()<math<VecOf<Real>>>();
    THROUGHTIME_CELLS(THROUGHTIME_CASE)
#undef THROUGHTIME_CASE
  }
}

template <class Real>
CellFacts facts(Cell cell) {
  CellFacts found{};
  with_cell<Real>(cell, [&]<class Math>() {
    // the gates, the recurrent part of a split gate, and the other states; if the only gate is h
    // itself, y contains it unless zoneout makes them differ
    const std::size_t saved = Math::gates + Math::splits_last + Math::states - 1;
    found = {Math::gates, Math::states, Math::gate_is_state ? 0 : saved, saved};
  });
  return found;
}

template <class Real>
std::size_t threads_for(const Layer<Real>& p, std::size_t count, std::size_t threads) {
  const std::size_t work = count * p.T * p.B * gate_count(p.cell) * p.H * (p.I + p.P);
  return work < kWorthAThread ? 1 : threads;
}

// Layers of one call have the same cell and sizes.
template <class Real>
void forward(const Layer<Real>* layers, std::size_t count, std::size_t threads) {
  with_cell<Real>(layers[0].cell, [&]<class Math>() {
    const Layer<Real>& p = layers[0];
    threads = threads_for(p, count, threads);
    Scratch scratch;
    std::vector<ForwardWeights<Real, Math>> weights;
    for (std::size_t k = 0; k < count; ++k) {
      weights.emplace_back(layers[k], scratch, threads);
      if (layers[k].kept) {
        const std::size_t rows = p.first ? (std::size_t)p.first[p.T - 1] : p.T * p.B;
        ask_for_large_pages(layers[k].kept,
                            rows * kept_width(p.cell, p.zone_h.at) * p.H * sizeof(Real));
      }
    }
    const std::size_t parts = smaller((threads + count - 1) / count, p.B);
    const Shares<Real> shares(p, parts, scratch);
    in_parallel(count * parts, threads, [&](std::size_t i) {
      Scratch own;
      Forward<Real, Math>(layers[i / parts], weights[i / parts], shares[i % parts], own).run();
    });
  });
}

template <class Real>
void backward(const Layer<Real>* layers, const LayerGradient<Real>* gradients, std::size_t count,
              std::size_t threads) {
  with_cell<Real>(layers[0].cell, [&]<class Math>() {
    const Layer<Real>& p = layers[0];
    const std::size_t parts = shares_of(p), of = larger(1, parts);
    threads = threads_for(p, count, threads);
    Scratch scratch;
    const Shares<Real> shares(p, parts, scratch);
    std::vector<BackwardWeights<Real, Math>> weights;
    std::vector<ForwardWeights<Real, Math>> again;
    std::vector<Sums<Real, Math>> sums;
    std::vector<const Sums<Real, Math>*> of_layer;
    sums.reserve(count * of);
    for (std::size_t k = 0; k < count; ++k) {
      weights.emplace_back(layers[k], gradients[k].dx.at != nullptr, scratch, threads);
      if (p.mark_every) again.emplace_back(layers[k], scratch, threads);
      for (std::size_t s = 0; s < of; ++s) {
        of_layer.push_back(&sums.emplace_back(p, scratch));
        if (!parts) sums.back().clear(p);  // no samples, so no share clears them
      }
    }
    in_parallel(count * parts, threads, [&](std::size_t i) {
      const std::size_t k = i / parts;
      Scratch own;
      Backward<Real, Math>(layers[k], gradients[k], weights[k], p.mark_every ? &again[k] : nullptr,
                           sums[i], shares[i % parts], own)
          .run();
    });
    const std::size_t panels = panels_of<Real>(p.H) * Math::gates;
    in_parallel(count * panels, threads, [&](std::size_t i) {
      gather(layers[i / panels], gradients[i / panels], &of_layer[i / panels * of], of, i % panels);
    });
    for (std::size_t k = 0; k < count && p.w_hr; ++k) {
      gather_projection(layers[k], gradients[k], &of_layer[k * of], of);
    }
  });
}

// -------------------------------------------------------------------- parts of the kernels, for
// tests

template <class Real>
void step_forward(Cell cell, std::size_t B, std::size_t H, const Real* a, const Real* r,
                  const Real* state, Real* gate, Real* new_state) {
  with_cell<Real>(cell, [&]<class Math>() {
    using V = VecOf<Real>;
    constexpr std::size_t G = Math::gates, S = Math::states;
    for (std::size_t b = 0; b < B; ++b) {
      for (std::size_t u = 0; u < H; u += kLanes<Real>) {
        const std::size_t n = H - u;
        V as[G], states[S], gates[G], next[S];
        for (std::size_t g = 0; g < G; ++g) as[g] = read(a + (b * G + g) * H + u, n);
        for (std::size_t s = 0; s < S; ++s) states[s] = read(state + (b * S + s) * H + u, n);
        Math::forward(as, read(r + b * H + u, n), states, gates, next);
        for (std::size_t g = 0; g < G; ++g) write(gate + (b * G + g) * H + u, gates[g], n);
        for (std::size_t s = 0; s < S; ++s) write(new_state + (b * S + s) * H + u, next[s], n);
      }
    }
  });
}

template <class Real>
void step_backward(Cell cell, std::size_t B, std::size_t H, const Real* r, const Real* gate,
                   const Real* state, const Real* dnew_state, Real* da, Real* dr, Real* dstate) {
  with_cell<Real>(cell, [&]<class Math>() {
    using V = VecOf<Real>;
    constexpr std::size_t G = Math::gates, S = Math::states;
    for (std::size_t b = 0; b < B; ++b) {
      for (std::size_t u = 0; u < H; u += kLanes<Real>) {
        const std::size_t n = H - u;
        V gates[G], states[S], dnew[S], das[G], of_r = {}, dstates[S];
        for (std::size_t g = 0; g < G; ++g) gates[g] = read(gate + (b * G + g) * H + u, n);
        for (std::size_t s = 0; s < S; ++s) {
          states[s] = read(state + (b * S + s) * H + u, n);
          dnew[s] = read(dnew_state + (b * S + s) * H + u, n);
        }
        Math::backward(read(r + b * H + u, n), gates, states, dnew, das, &of_r, dstates);
        for (std::size_t g = 0; g < G; ++g) write(da + (b * G + g) * H + u, das[g], n);
        write(dr + b * H + u, Math::splits_last ? of_r : das[G - 1], n);
        for (std::size_t s = 0; s < S; ++s) write(dstate + (b * S + s) * H + u, dstates[s], n);
      }
    }
  });
}

template <class Real>
void product(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b, Real* c,
             std::size_t threads) {
  constexpr std::size_t W = kPanel<Real>, rows = 8 * kTileRows;
  Scratch scratch;
  Real* packed = scratch.take<Real>(whole_panels<Real>(N) * K);
  for (std::size_t n = 0; n < N; n += W) {
    pack_panel(b + n * K, (std::ptrdiff_t)K, 1, smaller(W, N - n), K, packed + n * K);
  }
  const std::ptrdiff_t ld = (std::ptrdiff_t)row_distance<Real>(N);
  in_parallel((M + rows - 1) / rows, threads, [&](std::size_t i) {
    Scratch own;
    const std::size_t from = i * rows, there = smaller(rows, M - from);
    Real* wide = own.take<Real>(rows * (std::size_t)ld);
    multiply(there, N,
             Product<Real>{K, a + from * K, (std::ptrdiff_t)K, packed, wide, ld, Start::kZero});
    for (std::size_t m = 0; m < there; ++m) {
      copy(N, (const Real*)wide + m * (std::size_t)ld, c + (from + m) * N);
    }
  });
}

template <class Real>
void naive(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b, Real* c) {
  product_naive(a, b, c, M, N, K);
}

template <class Real>
void elementwise(int function, std::size_t N, const Real* x, Real* y) {
  for (std::size_t i = 0; i < N; i += kLanes<Real>) {
    const VecOf<Real> v = read(x + i, N - i);
    write(y + i, function == 0 ? exp_of<Real>(v) : function == 1 ? tanh(v) : sigmoid(v), N - i);
  }
}

template <class Real>
void begin(Stream<Real>& stream, const Real* w_ih, const Real* w_hh, const Real* b_ih,
           const Real* b_hh) {
  with_cell<Real>(stream.cell,
                  [&]<class Math>() { stream_begin<Real, Math>(stream, w_ih, w_hh, b_ih, b_hh); });
}

template <class Real>
void step(Stream<Real>& stream, const Real* x, Real* h, Real* c) {
  with_cell<Real>(stream.cell, [&]<class Math>() { stream_step<Real, Math>(stream, x, h, c); });
}

template <class Real>
constexpr Kernels<Real> table{forward<Real>,      backward<Real>,      begin<Real>, step<Real>,
                              step_forward<Real>, step_backward<Real>, naive<Real>, product<Real>,
                              facts<Real>,        elementwise<Real>};

}  // namespace

extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
const Kernels<float> float_kernels = table<float>;
const Kernels<double> double_kernels = table<double>;

}  // namespace throughtime::THROUGHTIME_ISA
