// Matrix products. The naive one below is the definition that every faster one is tested against.
#pragma once
#include <cstddef>

namespace throughtime {

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

}  // namespace throughtime
