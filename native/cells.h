// The mathematics of one unit at one time step: forward beside backward, same order of terms.
//
// Every cell is a pointwise function of three things: the input part (W_ih x + b_ih), the recurrent
// part (W_hh h + b_hh) and the previous state. The gradient of `x` is `dx`. Gate order is torch's.
// V is a vector of units. A cell says how many values it has per unit:
//   gates    pre-activations read, and gate values kept for the backward pass
//   states   1 (h) or 2 (h and c)
// and whether its backward pass needs the recurrent part of the last gate (`keeps_recurrent`), which
// is then also the one gate whose dr differs from its dx.
#pragma once
#include <cstddef>

#include "simd.h"

namespace throughtime::THROUGHTIME_ISA {

// Elman 1990. h' = f(x + r), f = tanh or relu.
template <class V, bool kRelu>
struct Elman {
  static constexpr std::size_t gates = 1, states = 1;
  static constexpr bool keeps_recurrent = false;

  static void forward(const V* x, const V* r, const V* /*state*/, V* gate,
                      V* new_state) {
    const V a = x[0] + r[0];
    // `a < 0` and not `a > 0`: NaN must pass
    gate[0] = kRelu ? (a < 0 ? V{} : a) : tanh(a);
    new_state[0] = gate[0];
  }

  static void backward(const V* /*r*/, const V* gate, const V* /*state*/,
                       const V* /*new_state*/, const V* dnew_state, V* dx, V* dr,
                       V* dstate) {
    const V h = gate[0];
    const V slope = kRelu ? (h > 0 ? V{} + 1 : V{}) : 1 - h * h;
    dx[0] = dnew_state[0] * slope;
    dr[0] = dx[0];
    dstate[0] = V{};  // h reaches h' through the recurrent part alone
  }
};

// Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
//   i, f, o = sigmoid(x + r), g = tanh(x + r);   c' = f c + i g;   h' = o tanh(c')
template <class V>
struct Lstm {
  static constexpr std::size_t gates = 4, states = 2;
  static constexpr bool keeps_recurrent = false;
  enum Gate { kInput, kForget, kCell, kOutput };
  enum State { kH, kC };

  static void forward(const V* x, const V* r, const V* state, V* gate,
                      V* new_state) {
    gate[kInput] = sigmoid(x[kInput] + r[kInput]);
    gate[kForget] = sigmoid(x[kForget] + r[kForget]);
    gate[kCell] = tanh(x[kCell] + r[kCell]);
    gate[kOutput] = sigmoid(x[kOutput] + r[kOutput]);
    new_state[kC] = gate[kForget] * state[kC] + gate[kInput] * gate[kCell];
    new_state[kH] = gate[kOutput] * tanh(new_state[kC]);
  }

  static void backward(const V* /*r*/, const V* gate, const V* state,
                       const V* new_state, const V* dnew_state, V* dx, V* dr,
                       V* dstate) {
    const V i = gate[kInput], f = gate[kForget], g = gate[kCell], o = gate[kOutput];
    const V tanh_c = tanh(new_state[kC]);
    const V dc = dnew_state[kC] + dnew_state[kH] * o * (1 - tanh_c * tanh_c);
    dx[kInput] = dc * g * i * (1 - i);
    dx[kForget] = dc * state[kC] * f * (1 - f);
    dx[kCell] = dc * i * (1 - g * g);
    dx[kOutput] = dnew_state[kH] * tanh_c * o * (1 - o);
    for (std::size_t k = 0; k < gates; ++k) dr[k] = dx[k];
    dstate[kC] = dc * f;
    dstate[kH] = V{};  // h reaches h' through the recurrent part alone
  }
};

// Cho et al. 2014, in the reset-after form of torch and cuDNN.
//   r, z = sigmoid(x + r);   n = tanh(x_n + r r_n);   h' = (1 - z) n + z h
template <class V>
struct Gru {
  static constexpr std::size_t gates = 3, states = 1;
  static constexpr bool keeps_recurrent = true;
  enum Gate { kReset, kUpdate, kNew };

  static void forward(const V* x, const V* r, const V* state, V* gate,
                      V* new_state) {
    gate[kReset] = sigmoid(x[kReset] + r[kReset]);
    gate[kUpdate] = sigmoid(x[kUpdate] + r[kUpdate]);
    gate[kNew] = tanh(x[kNew] + gate[kReset] * r[kNew]);
    new_state[0] = (1 - gate[kUpdate]) * gate[kNew] + gate[kUpdate] * state[0];
  }

  static void backward(const V* r, const V* gate, const V* state,
                       const V* /*new_state*/, const V* dnew_state, V* dx, V* dr,
                       V* dstate) {
    const V reset = gate[kReset], z = gate[kUpdate], n = gate[kNew], dh = dnew_state[0];
    dx[kNew] = dh * (1 - z) * (1 - n * n);
    dx[kReset] = dx[kNew] * r[kNew] * reset * (1 - reset);
    dx[kUpdate] = dh * (state[0] - n) * z * (1 - z);
    dr[kReset] = dx[kReset];
    dr[kUpdate] = dx[kUpdate];
    dr[kNew] = dx[kNew] * reset;
    dstate[0] = dh * z;
  }
};

}  // namespace throughtime::THROUGHTIME_ISA
