// Loops over samples and units around the pointwise mathematics of cells.h.
#include "kernels.h"

#include <array>

#include "cells.h"
#include "gemm.h"

namespace throughtime {
namespace {

// The values of one unit lie H apart; gather them, so that a cell reads a short plain array.
template <std::size_t kCount, class Real>
std::array<Real, kCount> gather(const Real* from, std::size_t H) {
  std::array<Real, kCount> values;
  for (std::size_t k = 0; k < kCount; ++k) values[k] = from[k * H];
  return values;
}

template <std::size_t kCount, class Real>
void scatter(const std::array<Real, kCount>& values, Real* to, std::size_t H) {
  for (std::size_t k = 0; k < kCount; ++k) to[k * H] = values[k];
}

template <class CellMath, class Real>
void forward(const Real* x, const Real* r, const Real* state, Real* gate, Real* new_state,
             std::size_t B, std::size_t H) {
  constexpr std::size_t G = CellMath::gates, S = CellMath::states;
  for (std::size_t b = 0; b < B; ++b) {
    for (std::size_t h = 0; h < H; ++h) {
      const std::size_t at_gate = b * G * H + h, at_state = b * S * H + h;
      const auto x_unit = gather<G>(x + at_gate, H);
      const auto r_unit = gather<G>(r + at_gate, H);
      const auto state_unit = gather<S>(state + at_state, H);
      std::array<Real, G> gate_unit;
      std::array<Real, S> new_unit;
      CellMath::forward(x_unit.data(), r_unit.data(), state_unit.data(), gate_unit.data(),
                        new_unit.data());
      scatter(gate_unit, gate + at_gate, H);
      scatter(new_unit, new_state + at_state, H);
    }
  }
}

template <class CellMath, class Real>
void backward(const Real* r, const Real* gate, const Real* state, const Real* new_state,
              const Real* dnew_state, Real* dx, Real* dr, Real* dstate, std::size_t B,
              std::size_t H) {
  constexpr std::size_t G = CellMath::gates, S = CellMath::states;
  for (std::size_t b = 0; b < B; ++b) {
    for (std::size_t h = 0; h < H; ++h) {
      const std::size_t at_gate = b * G * H + h, at_state = b * S * H + h;
      const auto r_unit = gather<G>(r + at_gate, H);
      const auto gate_unit = gather<G>(gate + at_gate, H);
      const auto state_unit = gather<S>(state + at_state, H);
      const auto new_unit = gather<S>(new_state + at_state, H);
      const auto dnew_unit = gather<S>(dnew_state + at_state, H);
      std::array<Real, G> dx_unit, dr_unit;
      std::array<Real, S> dstate_unit;
      CellMath::backward(r_unit.data(), gate_unit.data(), state_unit.data(), new_unit.data(),
                         dnew_unit.data(), dx_unit.data(), dr_unit.data(), dstate_unit.data());
      scatter(dx_unit, dx + at_gate, H);
      scatter(dr_unit, dr + at_gate, H);
      scatter(dstate_unit, dstate + at_state, H);
    }
  }
}

// Calls `use` with the mathematics of a cell. A new cell is added here and in cells.h.
template <class Real, class Use>
auto with_cell(Cell cell, Use use) {
  switch (cell) {
    case Cell::kElmanTanh:
      return use.template operator()<Elman<Real, false>>();
    case Cell::kElmanRelu:
      return use.template operator()<Elman<Real, true>>();
    case Cell::kLstm:
      return use.template operator()<Lstm<Real>>();
    case Cell::kGru:
      break;
  }
  return use.template operator()<Gru<Real>>();
}

}  // namespace

std::size_t gate_count(Cell cell) {
  return with_cell<float>(cell, []<class CellMath>() { return CellMath::gates; });
}

std::size_t state_count(Cell cell) {
  return with_cell<float>(cell, []<class CellMath>() { return CellMath::states; });
}

template <class Real>
void product(const Real* a, const Real* b, Real* c, std::size_t M, std::size_t N, std::size_t K) {
  product_naive(a, b, c, M, N, K);
}

template <class Real>
void step_forward(Cell cell, const Real* x, const Real* r, const Real* state, Real* gate,
                  Real* new_state, std::size_t B, std::size_t H) {
  with_cell<Real>(cell, [&]<class CellMath>() {
    forward<CellMath>(x, r, state, gate, new_state, B, H);
  });
}

template <class Real>
void step_backward(Cell cell, const Real* r, const Real* gate, const Real* state,
                   const Real* new_state, const Real* dnew_state, Real* dx, Real* dr, Real* dstate,
                   std::size_t B, std::size_t H) {
  with_cell<Real>(cell, [&]<class CellMath>() {
    backward<CellMath>(r, gate, state, new_state, dnew_state, dx, dr, dstate, B, H);
  });
}

#define THROUGHTIME_FOR(Real)                                                                    \
  template void product<Real>(const Real*, const Real*, Real*, std::size_t, std::size_t,         \
                              std::size_t);                                                      \
  template void step_forward<Real>(Cell, const Real*, const Real*, const Real*, Real*, Real*,    \
                                   std::size_t, std::size_t);                                    \
  template void step_backward<Real>(Cell, const Real*, const Real*, const Real*, const Real*,    \
                                    const Real*, Real*, Real*, Real*, std::size_t, std::size_t);
THROUGHTIME_FOR(float)
THROUGHTIME_FOR(double)
#undef THROUGHTIME_FOR

}  // namespace throughtime
