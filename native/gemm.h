// Matrix products: one micro-kernel for all of them, and the naive product it is tested against.
//
// The kernel keeps a tile of R rows and two vectors of columns in registers and walks once through
// K. Every element of the result is one chain of multiply-adds in the order of k, whatever tile it
// falls into, so how rows are split over tiles and threads cannot change a bit.
#pragma once
#include <cstddef>

#include "simd.h"

namespace throughtime::THROUGHTIME_ISA {

// c [M,N] = a [M,K] b [N,K]^T, all row-major: b lies as torch stores a weight, one row an output.
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

// not std::min: a template of the library, compiled here for one processor, could be the copy that
// the linker keeps for all
inline std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

template <class Real>
inline constexpr std::size_t kPanel = 2 * kLanes<Real>;  // columns of a tile

// a [M,K] by strides; b [K,N] rows `b_k` apart, columns contiguous, kPanel of them readable unless
// `columns` says that fewer are there.
template <class Real>
struct TileArgs {
  std::size_t K;
  const Real* a;
  std::ptrdiff_t a_m, a_k;
  const Real* b;
  std::ptrdiff_t b_k;
  Real* c;
  std::ptrdiff_t c_m;
};

// c = start + a b for R rows and kPanel columns. start: 0, one row for all (bias), or what c holds;
// to that the finished sum is added, so that long sums made of several calls round less.
template <class Real, int R, bool kPart>
void tile(const TileArgs<Real>& p, const Real* bias, bool add, std::size_t columns) {
  using V = VecOf<Real>;
  constexpr std::size_t L = kLanes<Real>;
  const std::size_t left = kPart ? smaller(columns, L) : L;
  const std::size_t right = kPart ? (columns > L ? columns - L : 0) : L;
  const auto read = [&](const Real* from, std::size_t count) {
    return kPart ? load_part(from, count) : load(from);
  };
  V sum[R][2];
  for (int m = 0; m < R; ++m) {
    if (bias) {
      sum[m][0] = read(bias, left);
      sum[m][1] = read(bias + L, right);
    } else {
      sum[m][0] = sum[m][1] = V{};
    }
  }
  const Real* a = p.a;
  const Real* b = p.b;
  for (std::size_t k = 0; k < p.K; ++k, a += p.a_k, b += p.b_k) {
    const V b0 = read(b, left), b1 = read(b + L, right);
#pragma GCC unroll 16
    for (int m = 0; m < R; ++m) {
      const V value = broadcast(a[m * p.a_m]);
      sum[m][0] = fma(value, b0, sum[m][0]);
      sum[m][1] = fma(value, b1, sum[m][1]);
    }
  }
  for (int m = 0; m < R; ++m) {
    Real* row = p.c + m * p.c_m;
    if (add) {
      sum[m][0] += read(row, left);
      sum[m][1] += read(row + L, right);
    }
    if (kPart) {
      store_part(row, sum[m][0], left);
      store_part(row + L, sum[m][1], right);
    } else {
      store(row, sum[m][0]);
      store(row + L, sum[m][1]);
    }
  }
}

template <class Real, bool kPart, int R = kTileRows>
void tile_of(int rows, const TileArgs<Real>& p, const Real* bias, bool add, std::size_t columns) {
  if constexpr (R > 0) {
    if (rows == R) return tile<Real, R, kPart>(p, bias, add, columns);
    tile_of<Real, kPart, R - 1>(rows, p, bias, add, columns);
  }
}

// All rows of one panel: c [M, columns] = start + a [M,K] b [K, columns], in tiles of equal height.
template <class Real, bool kPart>
void panel(std::size_t M, TileArgs<Real> p, const Real* bias, bool add, std::size_t columns) {
  const std::size_t tiles = (M + kTileRows - 1) / kTileRows;
  for (std::size_t i = 0; i < tiles; ++i) {
    const std::size_t from = M * i / tiles, to = M * (i + 1) / tiles;
    TileArgs<Real> q = p;
    q.a += (std::ptrdiff_t)from * p.a_m;
    q.c += (std::ptrdiff_t)from * p.c_m;
    tile_of<Real, kPart>((int)(to - from), q, bias, add, columns);
  }
}

// c [M,N] = start + a [M,K] b [K,N], b's rows contiguous in n.
template <class Real>
void multiply(std::size_t M, std::size_t N, TileArgs<Real> p, const Real* bias, bool add) {
  constexpr std::size_t W = kPanel<Real>;
  for (std::size_t n = 0; n < N; n += W) {
    TileArgs<Real> q = p;
    q.b += n;
    q.c += n;
    const Real* start = bias ? bias + n : nullptr;
    if (N - n >= W) {
      panel<Real, false>(M, q, start, add, W);
    } else {
      panel<Real, true>(M, q, start, add, N - n);
    }
  }
}

// Weights as panels: packed [N/W][K][W], 0 beyond N. `n_stride`, `k_stride` say how the source lies.
template <class Real>
std::size_t packed_size(std::size_t N, std::size_t K) {
  constexpr std::size_t W = kPanel<Real>;
  return (N + W - 1) / W * W * K;
}

template <class Real>
void pack(const Real* from, std::ptrdiff_t n_stride, std::ptrdiff_t k_stride, std::size_t N,
          std::size_t K, Real* to) {
  constexpr std::size_t W = kPanel<Real>;
  for (std::size_t n0 = 0; n0 < N; n0 += W) {
    const std::size_t there = smaller(W, N - n0);
    for (std::size_t k = 0; k < K; ++k, to += W) {
      const Real* column = from + (std::ptrdiff_t)n0 * n_stride + (std::ptrdiff_t)k * k_stride;
      for (std::size_t n = 0; n < there; ++n) to[n] = column[(std::ptrdiff_t)n * n_stride];
      for (std::size_t n = there; n < W; ++n) to[n] = 0;
    }
  }
}

// c [M,N] = start + a [M,K] times packed panels.
template <class Real>
void multiply_packed(std::size_t M, std::size_t N, std::size_t K, const Real* a,
                     std::ptrdiff_t a_m, const Real* packed, Real* c, std::ptrdiff_t c_m,
                     const Real* bias, bool add) {
  constexpr std::size_t W = kPanel<Real>;
  for (std::size_t n = 0; n < N; n += W, packed += W * K) {
    const TileArgs<Real> p{K, a, a_m, 1, packed, (std::ptrdiff_t)W, c + n, c_m};
    const Real* start = bias ? bias + n : nullptr;
    if (N - n >= W) {
      panel<Real, false>(M, p, start, add, W);
    } else {
      panel<Real, true>(M, p, start, add, N - n);
    }
  }
}

}  // namespace throughtime::THROUGHTIME_ISA
