// Matrix products: one micro-kernel for all of them, and the naive product that tests it.
//
// The kernel keeps a tile of R rows and one or two vectors of columns in registers and loops once
// over K. Every element of the result is one chain of multiply-adds in the order of k, independent
// of its tile, so the split of rows into tiles and threads does not change the result.
#pragma once
#include <cstddef>

#include "simd.h"

namespace throughtime::THROUGHTIME_ISA {

// c [M,N] = a [M,K] b [N,K]^T, all row-major: b has the layout of a torch weight, [outputs,inputs].
template <class Real>
void product_naive(const Real* a, const Real* b, Real* c, std::size_t M, std::size_t N,
                   std::size_t K) {
  for (std::size_t m = 0; m < M; ++m) {
    for (std::size_t n = 0; n < N; ++n) {
      Real sum = 0;
      for (std::size_t k = 0; k < K; ++k) sum += a[m * K + k] * b[n * K + k];
      c[m * N + n] = sum;
    }
  }
}

// Not std::min: the linker keeps one copy of a library template, and it could choose this one,
// which is compiled for one instruction set.
inline std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }
inline std::size_t larger(std::size_t a, std::size_t b) { return a > b ? a : b; }

template <class Real>
inline constexpr std::size_t kPanel = 2 * kLanes<Real>;  // columns of a tile

template <class Real>
constexpr std::size_t panels_of(std::size_t N) {
  return (N + kPanel<Real> - 1) / kPanel<Real>;
}
template <class Real>
constexpr std::size_t whole_panels(std::size_t N) {
  return panels_of<Real>(N) * kPanel<Real>;
}

// Row stride for N values: whole panels, so that vectors may write beyond N, and an odd number of
// cache lines, so that a column does not map to only a few cache sets.
template <class Real>
constexpr std::size_t row_distance(std::size_t N) {
  constexpr std::size_t line = 64 / sizeof(Real);
  const std::size_t wide = (whole_panels<Real>(N) + line - 1) / line * line;
  return wide / line % 2 ? wide : wide + line;
}

// Initial value of the sums of a tile: 0, one row for all (the bias), or c. Or 0, with c added to
// the finished sum, so that a long sum over many calls rounds less.
enum class Start { kZero, kRow, kContinue, kAddAfter };

// b is a panel [K][kPanel], and rows of c are whole panels; both are accessed beyond N.
template <class Real>
struct Product {
  std::size_t K;
  const Real* a;
  std::ptrdiff_t lda;  // [M,K], rows lda apart; across: [K,M]
  const Real* b;
  Real* c;
  std::ptrdiff_t ldc;
  Start start;
  const Real* row = nullptr;
};

template <class Real, int R, int C, bool kAcross>
void tile(const Product<Real>& p) {
  using V = VecOf<Real>;
  constexpr std::size_t L = kLanes<Real>;
  V sum[R][C];
  if (p.start == Start::kContinue) {
    for (int m = 0; m < R; ++m) {
      for (int v = 0; v < C; ++v) sum[m][v] = load(p.c + m * p.ldc + v * L);
    }
  } else {
    for (int v = 0; v < C; ++v) {
      const V first = p.start == Start::kRow ? load(p.row + v * L) : V{};
      for (int m = 0; m < R; ++m) sum[m][v] = first;
    }
  }
  const Real *a = p.a, *b = p.b;
  const std::ptrdiff_t next_m = kAcross ? 1 : p.lda, next_k = kAcross ? p.lda : 1;
  for (std::size_t k = 0; k < p.K; ++k, a += next_k, b += kPanel<Real>) {
    V columns[C];
    for (int v = 0; v < C; ++v) columns[v] = load(b + v * L);
#pragma GCC unroll 16
    for (int m = 0; m < R; ++m) {
      const V value = broadcast(a[m * next_m]);
      for (int v = 0; v < C; ++v) sum[m][v] = fma(value, columns[v], sum[m][v]);
    }
  }
  for (int m = 0; m < R; ++m) {
    for (int v = 0; v < C; ++v) {
      Real* to = p.c + m * p.ldc + v * L;
      store(to, p.start == Start::kAddAfter ? load(to) + sum[m][v] : sum[m][v]);
    }
  }
}

template <class Real, int C, bool kAcross, int R = kTileRows>
void tile_of(int rows, const Product<Real>& p) {
  if constexpr (R > 0) {
    if (rows == R) return tile<Real, R, C, kAcross>(p);
    tile_of<Real, C, kAcross, R - 1>(rows, p);
  }
}

// M rows of one panel, in tiles of equal height. One vector is enough for up to kLanes columns.
template <class Real, bool kAcross = false>
void multiply_panel(std::size_t M, std::size_t columns, Product<Real> p) {
  const std::size_t tiles = (M + kTileRows - 1) / kTileRows;
  const Real* a = p.a;
  Real* c = p.c;
  for (std::size_t i = 0; i < tiles; ++i) {
    const std::size_t from = M * i / tiles, to = M * (i + 1) / tiles;
    p.a = a + (std::ptrdiff_t)from * (kAcross ? 1 : p.lda);
    p.c = c + (std::ptrdiff_t)from * p.ldc;
    if (columns > kLanes<Real>) {
      tile_of<Real, 2, kAcross>((int)(to - from), p);
    } else {
      tile_of<Real, 1, kAcross>((int)(to - from), p);
    }
  }
}

// c [M,N] = start + a [M,K] times panels [N/kPanel][K][kPanel].
template <class Real>
void multiply(std::size_t M, std::size_t N, Product<Real> p) {
  constexpr std::size_t W = kPanel<Real>;
  for (std::size_t n = 0; n < N; n += W, p.b += p.K * W, p.c += W) {
    multiply_panel(M, smaller(W, N - n), p);
  }
}

// One panel [K][kPanel] of a weight: `there` columns with stride `n_stride`, the others 0.
// `k_stride` is the stride of the rows.
template <class Real>
void pack_panel(const Real* from, std::ptrdiff_t n_stride, std::ptrdiff_t k_stride,
                std::size_t there, std::size_t K, Real* to) {
  constexpr std::size_t W = kPanel<Real>, block = 16;
  if (there < W) {
    for (std::size_t i = 0; i < K * W; ++i) to[i] = 0;
  }
  // a few k at a time, so that source and target stay in the cache for either stride order
  for (std::size_t k0 = 0; k0 < K; k0 += block) {
    const std::size_t k1 = smaller(k0 + block, K);
    for (std::size_t n = 0; n < there; ++n) {
      const Real* column = from + (std::ptrdiff_t)n * n_stride;
      for (std::size_t k = k0; k < k1; ++k) to[k * W + n] = column[(std::ptrdiff_t)k * k_stride];
    }
  }
}

}  // namespace throughtime::THROUGHTIME_ISA
