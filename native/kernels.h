// The C++ interface. Nothing here knows Python or torch; every pointer stands with its shape.
//
// T steps, B samples, I inputs, H units, P outputs (the projection's, or H), G gates. Arrays are
// row-major without gaps, but for those given as Rows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace throughtime {

// Every cell: its name, and its mathematics in cells.h. A new one is a line here.
#define THROUGHTIME_CELLS(CELL) \
  CELL(RNN_TANH, ElmanTanh)     \
  CELL(RNN_RELU, ElmanRelu)     \
  CELL(LSTM, Lstm)              \
  CELL(GRU, Gru)

enum class Cell {
#define THROUGHTIME_NAME(name, math) name,
  THROUGHTIME_CELLS(THROUGHTIME_NAME)
#undef THROUGHTIME_NAME
};

// The sizes of a cell, from its mathematics.
struct CellFacts {
  std::size_t gates, states;
  std::size_t saved, saved_with_zoneout;  // values a unit and step that forward keeps for backward
};

// An array [T,B,N] whose rows have no gaps but may lie anywhere: strides in elements. Of a packed
// array, whose steps hold fewer and fewer rows, b is the distance of rows and t is not used.
template <class Real>
struct Rows {
  Real* at = nullptr;
  std::ptrdiff_t t = 0, b = 0;
};

// One layer in one direction, and what its forward pass reads, writes and keeps.
template <class Real>
struct Layer {
  Cell cell;
  std::size_t T, B, I, H, P;
  bool backwards;  // from the last step to the first
  // Which steps there are: null where all are.
  const std::int64_t* lengths;  // [B], each at most T
  const std::int64_t* first;    // [T]: rows before step t of a packed array; null where padded
  const std::uint8_t* reset;    // [T,B]: 1 where a new sequence begins
  // read
  Rows<const Real> x;       // [T,B,I]
  const Real *w_ih, *w_hh;  // [G*H,I], [G*H,P]
  const Real *b_ih, *b_hh;  // [G*H] each, or both null
  const Real* w_hr;         // [P,H], Lstm with a projection alone
  const Real *h_0, *c_0;    // [B,P], [B,H]; c_0 for the Lstm alone
  // Options, null where not wanted.
  const Real* h_mask;               // [B,P]: factor on h as it enters the recurrent product
  Rows<const Real> zone_h, zone_c;  // [T,B,H]: the share of the state that stays as it was
  // written
  Rows<Real> y;  // [T,B,P]; 0 beyond a sample's length
  // Kept for the backward pass, one row a row of y, or null: gates [G,H], and then [H] the cell
  // state (Lstm) or the recurrent part of the new gate (Gru). An Elman cell's gate is y itself, and
  // nothing is kept unless zoneout makes them differ.
  Real* kept;  // [T,B,kept_width*H], packed as y is
  // In the place of `kept`: the cell state before every mark_every-th step, from which the backward
  // pass computes the steps between again.
  std::size_t mark_every;  // 0: keep everything
  Real* marks;             // [ceil(T/mark_every),B,H], Lstm alone
  Real *h_n, *c_n;         // [B,P], [B,H]: the last state; c_n for the Lstm alone
};

// Gradients of a loss, given those of what forward wrote.
template <class Real>
struct LayerGradient {
  Rows<const Real> dy;      // [T,B,P]; null for 0
  const Real *dh_n, *dc_n;  // [B,P], [B,H]; null for 0
  Real clip;                // bound on the norm of each sample's dL/dh_t; 0 for none
  // written
  Rows<Real> dx;                // [T,B,I]; null where nobody asks
  Real *dw_ih, *dw_hh, *dw_hr;  // [G*H,I], [G*H,P], [P,H]
  Real *db_ih, *db_hh;          // [G*H] each, or null
  Real *dh_0, *dc_0;            // [B,P], [B,H]; dc_0 for the Lstm alone
  // The whole dL/dh_t and dL/dc_t, clipped, packed as y is; null where nobody looks.
  Real *dh_seen, *dc_seen;  // [T,B,P], [T,B,H]
};

// Weights in the form that single steps read, for streams; see stream.h.
template <class Real>
struct Stream {
  Cell cell;
  std::size_t I, H;
  Real* memory = nullptr;  // packed weights and scratch

  Stream(Cell cell, std::size_t I, std::size_t H) : cell(cell), I(I), H(H) {}
  ~Stream() { std::free(memory); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

// The kernels, compiled for one instruction set.
template <class Real>
struct Kernels {
  // Layers that do not wait for each other, such as the two directions of one.
  void (*forward)(const Layer<Real>* layers, std::size_t count, std::size_t threads);
  void (*backward)(const Layer<Real>* layers, const LayerGradient<Real>* gradients,
                   std::size_t count, std::size_t threads);
  void (*stream_begin)(Stream<Real>&, const Real* w_ih, const Real* w_hh, const Real* b_ih,
                       const Real* b_hh);
  // x [I]; the state h, and c for the Lstm, [H] each, is replaced by the next.
  void (*stream_step)(Stream<Real>&, const Real* x, Real* h, Real* c);
  // One step of the cell's pointwise part on vectors a unit: a [B,G,H], r [B,H], state [B,S,H] ->
  // gate [B,G,H], new_state [B,S,H], with S states (h, or h and c); and its backward.
  void (*step_forward)(Cell, std::size_t B, std::size_t H, const Real* a, const Real* r,
                       const Real* state, Real* gate, Real* new_state);
  void (*step_backward)(Cell, std::size_t B, std::size_t H, const Real* r, const Real* gate,
                        const Real* state, const Real* dnew_state, Real* da, Real* dr,
                        Real* dstate);
  // c [M,N] = a [M,K] b [N,K]^T: by the definition, and by the packed micro-kernel.
  void (*product_naive)(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b,
                        Real* c);
  void (*product)(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b,
                  Real* c, std::size_t threads);
  CellFacts (*facts)(Cell);
  // function: 0 exp, 1 tanh, 2 sigmoid
  void (*elementwise)(int function, std::size_t N, const Real* x, Real* y);
};

// What this processor can do, as the compiler names it, e.g. {"avx2", "fma", "avx512f"}.
std::vector<std::string> cpu_features();

// The instruction sets that are built in and that this processor has, best first.
std::vector<std::string> instruction_sets();

// Which one is used: the best, unless one is named. False, and no change, for one that is not
// there.
bool use_instruction_set(const std::string& name);
std::string instruction_set_in_use();

template <class Real>
const Kernels<Real>& kernels();

CellFacts facts(Cell cell);
inline std::size_t gate_count(Cell cell) { return facts(cell).gates; }
inline std::size_t state_count(Cell cell) { return facts(cell).states; }
// Values kept per unit and step.
inline std::size_t kept_width(Cell cell, bool zoneout) {
  return zoneout ? facts(cell).saved_with_zoneout : facts(cell).saved;
}

}  // namespace throughtime
