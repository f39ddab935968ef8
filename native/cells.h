// Pointwise equations of the cells for one time step, forward and backward.
//
// Every cell is a pointwise function of its pre-activations and the previous state. The gradient of
// `a` is `da`. The gate order is that of torch. V is a vector of units. A cell defines its number
// of values per unit:
//   gates    pre-activations, and gate values saved for the backward pass
//   states   1 (h) or 2 (h and c)
// whether its only gate is h itself (`gate_is_state`),
// and whether its last gate uses the recurrent part (W_hh h + b_hh) separately from the input part
// (`splits_last`): then a of that gate is only the input part, and r is the recurrent part. For all
// other gates, a is the sum of both, so both parts have the same gradient.
#pragma once
#include <cstddef>

#include "simd.h"

namespace throughtime::THROUGHTIME_ISA {

// Elman 1990. h' = f(a), f = tanh or relu.
template <class V, bool kRelu>
struct Elman {
  static constexpr std::size_t gates = 1, states = 1;
  static constexpr bool splits_last = false, gate_is_state = true;

  static void forward(const V* a, V /*r*/, const V* /*state*/, V* gate, V* new_state) {
    // `a < 0` instead of `a > 0`: NaN must propagate
    gate[0] = kRelu ? (a[0] < 0 ? V{} : a[0]) : tanh(a[0]);
    new_state[0] = gate[0];
  }

  static void backward(V /*r*/, const V* gate, const V* /*state*/, V* dnew_state, V* da, V* /*dr*/,
                       V* dstate) {
    const V h = gate[0];
    const V slope = kRelu ? (h > 0 ? V{} + 1 : V{}) : 1 - h * h;
    da[0] = dnew_state[0] * slope;
    dstate[0] = V{};  // h affects h' only through the recurrent part
  }
};

template <class V>
using ElmanTanh = Elman<V, false>;
template <class V>
using ElmanRelu = Elman<V, true>;

// Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
//   i, f, o = sigmoid(a), g = tanh(a);   c' = f c + i g;   h' = o tanh(c')
template <class V>
struct Lstm {
  static constexpr std::size_t gates = 4, states = 2;
  static constexpr bool splits_last = false, gate_is_state = false;
  enum Gate { kInput, kForget, kCell, kOutput };
  enum State { kH, kC };

  static V cell(const V* gate, const V* state) {
    return gate[kForget] * state[kC] + gate[kInput] * gate[kCell];
  }

  static void forward(const V* a, V /*r*/, const V* state, V* gate, V* new_state) {
    gate[kInput] = sigmoid(a[kInput]);
    gate[kForget] = sigmoid(a[kForget]);
    gate[kCell] = tanh(a[kCell]);
    gate[kOutput] = sigmoid(a[kOutput]);
    new_state[kC] = cell(gate, state);
    new_state[kH] = gate[kOutput] * tanh(new_state[kC]);
  }

  // dnew_state[kC] is the gradient from later steps; it is replaced by the total dL/dc'.
  static void backward(V /*r*/, const V* gate, const V* state, V* dnew_state, V* da, V* /*dr*/,
                       V* dstate) {
    const V i = gate[kInput], f = gate[kForget], g = gate[kCell], o = gate[kOutput];
    const V tanh_c = tanh(cell(gate, state)), dh = dnew_state[kH];
    const V dc = dnew_state[kC] + dh * o * (1 - tanh_c * tanh_c);
    dnew_state[kC] = dc;
    da[kInput] = dc * g * i * (1 - i);
    da[kForget] = dc * state[kC] * f * (1 - f);
    da[kCell] = dc * i * (1 - g * g);
    da[kOutput] = dh * tanh_c * o * (1 - o);
    dstate[kC] = dc * f;
    dstate[kH] = V{};  // h affects h' only through the recurrent part
  }
};

// Cho et al. 2014, in the reset-after form of torch and cuDNN.
//   r, z = sigmoid(a);   n = tanh(a_n + r r_n);   h' = (1 - z) n + z h
template <class V>
struct Gru {
  static constexpr std::size_t gates = 3, states = 1;
  static constexpr bool splits_last = true, gate_is_state = false;
  enum Gate { kReset, kUpdate, kNew };

  static void forward(const V* a, V r_n, const V* state, V* gate, V* new_state) {
    gate[kReset] = sigmoid(a[kReset]);
    gate[kUpdate] = sigmoid(a[kUpdate]);
    gate[kNew] = tanh(a[kNew] + gate[kReset] * r_n);
    new_state[0] = (1 - gate[kUpdate]) * gate[kNew] + gate[kUpdate] * state[0];
  }

  static void backward(V r_n, const V* gate, const V* state, V* dnew_state, V* da, V* dr_n,
                       V* dstate) {
    const V reset = gate[kReset], z = gate[kUpdate], n = gate[kNew], dh = dnew_state[0];
    da[kNew] = dh * (1 - z) * (1 - n * n);
    da[kReset] = da[kNew] * r_n * reset * (1 - reset);
    da[kUpdate] = dh * (state[0] - n) * z * (1 - z);
    dr_n[0] = da[kNew] * reset;
    dstate[0] = dh * z;
  }
};

}  // namespace throughtime::THROUGHTIME_ISA
