// Single steps of one sample, for streams. The sums have the order of forward.h, so the states of a
// stream are bitwise equal to those of the whole sequence.
#pragma once
#include "cells.h"
#include "layout.h"

namespace throughtime::THROUGHTIME_ISA {

// Weights [blocks][I+H][G][W], initial values of the sums [blocks][G+1][W], and the new h.
template <class Real, class Math>
void stream_begin(Stream<Real>& s, const Real* w_ih, const Real* w_hh, const Real* b_ih,
                  const Real* b_hh) {
  constexpr std::size_t G = Math::gates, W = kPanel<Real>;
  const std::size_t blocks = panels_of<Real>(s.H), K = s.I + s.H, H = s.H;
  const std::size_t of_weights = blocks * K * G * W, of_biases = blocks * (G + 1) * W;
  const std::size_t bytes = (of_weights + of_biases + (blocks + 1) * W) * sizeof(Real);
  s.memory = static_cast<Real*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  if (!s.memory) throw std::bad_alloc();
  fill_zero(of_weights + of_biases + (blocks + 1) * W, s.memory);
  for (std::size_t unit = 0; unit < H; ++unit) {
    const std::size_t block = unit / W, j = unit % W;
    for (std::size_t g = 0; g < G; ++g) {
      const std::size_t row = g * H + unit;
      Real* to = s.memory + (block * K * G + g) * W + j;
      for (std::size_t k = 0; k < s.I; ++k, to += G * W) *to = w_ih[row * s.I + k];
      for (std::size_t k = 0; k < H; ++k, to += G * W) *to = w_hh[row * H + k];
      if (!b_ih) continue;
      Real* bias = s.memory + of_weights + block * (G + 1) * W + j;
      const bool split = Math::splits_last && g == G - 1;
      bias[g * W] = split ? b_ih[row] : b_ih[row] + b_hh[row];
      if (split) bias[G * W] = b_hh[row];
    }
  }
}

// C vectors of units, beginning at u.
template <class Real, class Math, int C>
void stream_block(const Stream<Real>& s, std::size_t u, const Real* x, const Real* h, Real* c,
                  const Real* weights, const Real* bias, Real* next_h) {
  using V = VecOf<Real>;
  constexpr std::size_t L = kLanes<Real>, W = kPanel<Real>;
  constexpr int G = Math::gates, S = Math::states, shared = Math::splits_last ? G - 1 : G;
  V a[C][G], r[C];
  for (int v = 0; v < C; ++v) {
    for (int g = 0; g < G; ++g) a[v][g] = load(bias + g * W + v * L);
    r[v] = load(bias + G * W + v * L);
  }
  const Real* w = weights;
  for (std::size_t k = 0; k < s.I; ++k, w += G * W) {
    const V value = broadcast(x[k]);
    for (int g = 0; g < G; ++g) {
      for (int v = 0; v < C; ++v) a[v][g] = fma(value, load(w + g * W + v * L), a[v][g]);
    }
  }
  for (std::size_t k = 0; k < s.H; ++k, w += G * W) {
    const V value = broadcast(h[k]);
    for (int v = 0; v < C; ++v) {
      for (int g = 0; g < shared; ++g) a[v][g] = fma(value, load(w + g * W + v * L), a[v][g]);
      if (shared < G) r[v] = fma(value, load(w + shared * W + v * L), r[v]);
    }
  }
  for (int v = 0; v < C; ++v) {
    const std::size_t at = u + v * L, n = s.H - at;
    V state[S], gate[G], next[S];
    state[0] = read(h + at, n);
    if constexpr (S == 2) state[1] = read(c + at, n);
    Math::forward(a[v], r[v], state, gate, next);
    store(next_h + at, next[0]);
    if constexpr (S == 2) write(c + at, next[1], n);
  }
}

template <class Real, class Math>
void stream_step(Stream<Real>& s, const Real* x, Real* h, Real* c) {
  constexpr std::size_t G = Math::gates, W = kPanel<Real>;
  const std::size_t blocks = panels_of<Real>(s.H), K = s.I + s.H;
  const Real* biases = s.memory + blocks * K * G * W;
  Real* next_h = s.memory + blocks * (K * G + G + 1) * W;
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t u = block * W;
    const Real *weights = s.memory + block * K * G * W, *bias = biases + block * (G + 1) * W;
    if (s.H - u > kLanes<Real>) {
      stream_block<Real, Math, 2>(s, u, x, h, c, weights, bias, next_h);
    } else {
      stream_block<Real, Math, 1>(s, u, x, h, c, weights, bias, next_h);
    }
  }
  copy(s.H, (const Real*)next_h, h);
}

}  // namespace throughtime::THROUGHTIME_ISA
