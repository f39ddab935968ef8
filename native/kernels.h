// The C++ interface. Nothing here knows Python or torch; every pointer stands with its shape.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace throughtime {

// What this processor can do, as the compiler names it, e.g. {"avx2", "fma", "avx512f"}.
std::vector<std::string> cpu_features();

enum class Cell { kElmanTanh, kElmanRelu, kLstm, kGru };

// Gates (G: 1, 4, 3) and states (S: 1, or 2 where there is a cell state) of a cell.
std::size_t gate_count(Cell cell);
std::size_t state_count(Cell cell);

// c [M,N] = a [M,K] b [N,K]^T.
template <class Real>
void product(const Real* a, const Real* b, Real* c, std::size_t M, std::size_t N, std::size_t K);

// One time step of B samples and H units.
// Read:  x, r [B,G,H] (input and recurrent part, biases included), state [B,S,H].
// Write: gate [B,G,H] (after their nonlinearity), new_state [B,S,H].
template <class Real>
void step_forward(Cell cell, const Real* x, const Real* r, const Real* state, Real* gate,
                  Real* new_state, std::size_t B, std::size_t H);

// Its backward. Read: what forward read and wrote, and dnew_state [B,S,H].
// Write: dx, dr [B,G,H], and dstate [B,S,H] without the share that goes through r.
template <class Real>
void step_backward(Cell cell, const Real* r, const Real* gate, const Real* state,
                   const Real* new_state, const Real* dnew_state, Real* dx, Real* dr, Real* dstate,
                   std::size_t B, std::size_t H);

}  // namespace throughtime
