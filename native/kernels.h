// The C++ interface. Nothing here knows Python or torch; every pointer stands with its shape.
//
// T steps, B samples, I inputs, H units, G gates (Elman 1, Lstm 4, Gru 3). Arrays are row-major
// without gaps unless strides (in elements) stand beside them; the last axis never has gaps.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace throughtime {

enum class Cell { kElmanTanh, kElmanRelu, kLstm, kGru };

// One layer in one direction, and what its forward pass reads, writes and keeps.
template <class Real>
struct Layer {
  Cell cell;
  std::size_t T, B, I, H;
  bool backwards;  // from the last step to the first
  // read
  const Real* x;  // [T,B,I] by strides
  std::ptrdiff_t x_t, x_b;
  const Real *w_ih, *w_hh;  // [G*H,I], [G*H,H]
  const Real *b_ih, *b_hh;  // [G*H] each, or both null
  const Real *h_0, *c_0;    // [B,H]; c_0 for the Lstm alone
  // written
  Real* y;  // [T,B,H], rows y_b apart, steps B * y_b
  std::ptrdiff_t y_b;
  // written and kept for the backward pass; null where none will follow
  Real* gates;  // [T,B,G,H]
  Real* cells;  // [T,B,H], Lstm alone
  Real* r_new;  // [T,B,H], Gru alone: the recurrent part of the new gate
  // written, [B,H]: the last cell state, Lstm alone (the last hidden state is in y)
  Real* c_n;
};

// Gradients of a loss, given those of what forward wrote.
template <class Real>
struct LayerGradient {
  const Real* dy;  // [T,B,H], rows dy_b apart, steps B * dy_b; null for 0
  std::ptrdiff_t dy_b;
  const Real *dh_n, *dc_n;  // [B,H]; null for 0
  // written
  Real* dx;              // [T,B,I]; null where nobody asks
  Real *dw_ih, *dw_hh;   // [G*H,I], [G*H,H]
  Real *db_ih, *db_hh;   // [G*H] each, or null
  Real *dh_0, *dc_0;     // [B,H]; dc_0 for the Lstm alone
};

// The kernels, compiled for one instruction set.
template <class Real>
struct Kernels {
  void (*forward)(const Layer<Real>&, std::size_t threads);
  void (*backward)(const Layer<Real>&, const LayerGradient<Real>&, std::size_t threads);
  // One step of the cell's pointwise part: x, r [B,G,H], state [B,S,H] -> gate [B,G,H],
  // new_state [B,S,H], with S states (h, or h and c); and its backward.
  void (*step_forward)(Cell, std::size_t B, std::size_t H, const Real* x, const Real* r,
                       const Real* state, Real* gate, Real* new_state);
  void (*step_backward)(Cell, std::size_t B, std::size_t H, const Real* r, const Real* gate,
                        const Real* state, const Real* new_state, const Real* dnew_state, Real* dx,
                        Real* dr, Real* dstate);
  // c [M,N] = a [M,K] b [N,K]^T: by the definition, and by the packed micro-kernel.
  void (*product_naive)(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b,
                        Real* c);
  void (*product)(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b,
                  Real* c);
  // function: 0 exp, 1 tanh, 2 sigmoid
  void (*elementwise)(int function, std::size_t N, const Real* x, Real* y);
};

// What this processor can do, as the compiler names it, e.g. {"avx2", "fma", "avx512f"}.
std::vector<std::string> cpu_features();

// The instruction sets that are built in and that this processor has, best first.
std::vector<std::string> instruction_sets();

// Which one is used: the best, unless one is named. False, and no change, for one that is not there.
bool use_instruction_set(const std::string& name);
std::string instruction_set_in_use();

template <class Real>
const Kernels<Real>& kernels();

std::size_t gate_count(Cell cell);
std::size_t state_count(Cell cell);

}  // namespace throughtime
