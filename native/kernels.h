// The C++ interface, independent of Python and torch. The shape of every pointer is documented.
//
// T steps, B samples, I inputs, H units, P outputs (proj_size, or H), G gates. Arrays are row-major
// and contiguous, except those given as Rows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace throughtime {

// All cells: name, and class in cells.h. A new cell needs a line here.
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

// The sizes of a cell, from its class in cells.h.
struct CellFacts {
  std::size_t gates, states;
  std::size_t saved, saved_with_zoneout;  // values per unit and step saved for backward
};

// An array [T,B,N] with contiguous rows and strides t and b in elements. In a packed array, whose
// steps have different numbers of rows, b is the row stride and t is not used.
template <class Real>
struct Rows {
  Real* at = nullptr;
  std::ptrdiff_t t = 0, b = 0;
};

// One layer in one direction: the inputs, outputs and saved values of its forward pass.
template <class Real>
struct Layer {
  Cell cell;
  std::size_t T, B, I, H, P;
  bool backwards;  // runs from the last step to the first
  // Valid steps: null if all are valid.
  const std::int64_t* lengths;  // [B], each at most T
  const std::int64_t* first;    // [T]: rows before step t of a packed array; null if padded
  const std::uint8_t* reset;    // [T,B]: 1 where a new sequence begins
  // inputs
  Rows<const Real> x;       // [T,B,I]
  const Real *w_ih, *w_hh;  // [G*H,I], [G*H,P]
  const Real *b_ih, *b_hh;  // [G*H] each, or both null
  const Real* w_hr;         // [P,H], only for an Lstm with a projection
  const Real *h_0, *c_0;    // [B,P], [B,H]; c_0 only for the Lstm
  // Options, null if not used.
  const Real* h_mask;               // [B,P]: factor applied to h before the recurrent product
  Rows<const Real> zone_h, zone_c;  // [T,B,H]: the share of the state that is kept
  // outputs
  Rows<Real> y;  // [T,B,P]; 0 beyond a sample's length
  // Values saved for the backward pass, one row per row of y, or null: gates [G,H], then [H] the
  // cell state (Lstm) or the recurrent part of the new gate (Gru). The gate of an Elman cell is y
  // itself, so nothing is saved unless zoneout makes them differ.
  Real* kept;  // [T,B,kept_width*H], packed like y
  // With checkpointing, instead of `kept`: the cell state before every mark_every-th step, from
  // which the backward pass recomputes the steps in between.
  std::size_t mark_every;  // 0: save everything
  Real* marks;             // [ceil(T/mark_every),B,H], only for the Lstm
  Real *h_n, *c_n;         // [B,P], [B,H]: the last state; c_n only for the Lstm
};

// Gradients of a loss, given the gradients of the outputs of forward.
template <class Real>
struct LayerGradient {
  Rows<const Real> dy;      // [T,B,P]; null for 0
  const Real *dh_n, *dc_n;  // [B,P], [B,H]; null for 0
  Real clip;                // maximum norm of dL/dh_t per sample; 0 disables clipping
  // outputs
  Rows<Real> dx;                // [T,B,I]; null if not requested
  Real *dw_ih, *dw_hh, *dw_hr;  // [G*H,I], [G*H,P], [P,H]
  Real *db_ih, *db_hh;          // [G*H] each, or null
  Real *dh_0, *dc_0;            // [B,P], [B,H]; dc_0 only for the Lstm
  // Total dL/dh_t and dL/dc_t, clipped, packed like y; null without an observer.
  Real *dh_seen, *dc_seen;  // [T,B,P], [T,B,H]
};

// Weights packed for single steps, for streams; see stream.h.
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
  // Computes independent layers in parallel, such as the two directions of a layer.
  void (*forward)(const Layer<Real>* layers, std::size_t count, std::size_t threads);
  void (*backward)(const Layer<Real>* layers, const LayerGradient<Real>* gradients,
                   std::size_t count, std::size_t threads);
  void (*stream_begin)(Stream<Real>&, const Real* w_ih, const Real* w_hh, const Real* b_ih,
                       const Real* b_hh);
  // x [I]; the states h and (Lstm) c, [H] each, are replaced by the new states.
  void (*stream_step)(Stream<Real>&, const Real* x, Real* h, Real* c);
  // One step of the pointwise part: a [B,G,H], r [B,H], state [B,S,H] -> gate [B,G,H],
  // new_state [B,S,H], with S states (h, or h and c); and its backward pass.
  void (*step_forward)(Cell, std::size_t B, std::size_t H, const Real* a, const Real* r,
                       const Real* state, Real* gate, Real* new_state);
  void (*step_backward)(Cell, std::size_t B, std::size_t H, const Real* r, const Real* gate,
                        const Real* state, const Real* dnew_state, Real* da, Real* dr,
                        Real* dstate);
  // c [M,N] = a [M,K] b [N,K]^T: a naive loop, and the packed micro-kernel.
  void (*product_naive)(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b,
                        Real* c);
  void (*product)(std::size_t M, std::size_t N, std::size_t K, const Real* a, const Real* b,
                  Real* c, std::size_t threads);
  CellFacts (*facts)(Cell);
  // function: 0 exp, 1 tanh, 2 sigmoid
  void (*elementwise)(int function, std::size_t N, const Real* x, Real* y);
};

// Features of this processor by the compiler's names, e.g. {"avx2", "fma", "avx512f"}.
std::vector<std::string> cpu_features();

// The instruction sets that are built in and supported by this processor, best first.
std::vector<std::string> instruction_sets();

// Selects an instruction set; the default is the best. Returns false, without a change, if it is
// not available.
bool use_instruction_set(const std::string& name);
std::string instruction_set_in_use();

template <class Real>
const Kernels<Real>& kernels();

CellFacts facts(Cell cell);
inline std::size_t gate_count(Cell cell) { return facts(cell).gates; }
inline std::size_t state_count(Cell cell) { return facts(cell).states; }
// Number of values saved per unit and step.
inline std::size_t kept_width(Cell cell, bool zoneout) {
  return zoneout ? facts(cell).saved_with_zoneout : facts(cell).saved;
}

}  // namespace throughtime
