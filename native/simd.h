// One vector type for every instruction set, and exp, tanh and sigmoid on it.
//
// Compiled once per instruction set, each in its own namespace (THROUGHTIME_ISA), so that the
// linker never mixes them. Arithmetic uses the compiler's vector extension; this file adds fused
// multiply-add and partial loads. No -ffast-math: NaN and infinity must be preserved.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace throughtime::THROUGHTIME_ISA {

#if defined(__AVX512F__)
inline constexpr std::size_t kVectorBytes = 64;
inline constexpr int kTileRows = 12;  // times two vectors: the sums use 24 of 32 registers
#elif defined(__AVX2__)
inline constexpr std::size_t kVectorBytes = 32;
inline constexpr int kTileRows = 6;  // the sums use 12 of 16 registers
#elif defined(__ARM_NEON)
inline constexpr std::size_t kVectorBytes = 16;
inline constexpr int kTileRows = 12;
#else
inline constexpr std::size_t kVectorBytes = 16;
inline constexpr int kTileRows = 6;
#endif

template <class Real>
struct Traits;
template <>
struct Traits<float> {
  typedef float Vec __attribute__((vector_size(kVectorBytes)));
  typedef std::int32_t Bits __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Traits<double> {
  typedef double Vec __attribute__((vector_size(kVectorBytes)));
  typedef std::int64_t Bits __attribute__((vector_size(kVectorBytes)));
};
template <class Real>
using VecOf = typename Traits<Real>::Vec;
using FloatVec = VecOf<float>;
using DoubleVec = VecOf<double>;

template <class Real>
inline constexpr std::size_t kLanes = kVectorBytes / sizeof(Real);

template <class Real>
inline VecOf<Real> broadcast(Real value) {
  return VecOf<Real>{} + value;
}

template <class Real>
inline VecOf<Real> load(const Real* from) {
  VecOf<Real> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class Real>
inline void store(Real* to, VecOf<Real> v) {
  std::memcpy(to, &v, sizeof v);
}

// Loads the first `count` lanes; the others are 0 and their memory is not accessed.
template <class Real>
inline VecOf<Real> load_part(const Real* from, std::size_t count) {
  VecOf<Real> v{};
  std::memcpy(&v, from, count * sizeof(Real));
  return v;
}

template <class Real>
inline void store_part(Real* to, VecOf<Real> v, std::size_t count) {
  std::memcpy(to, &v, count * sizeof(Real));
}

#if defined(__AVX512F__)
template <>
inline FloatVec load_part<float>(const float* from, std::size_t count) {
  return (FloatVec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
}
template <>
inline void store_part<float>(float* to, FloatVec v, std::size_t count) {
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)v);
}
template <>
inline DoubleVec load_part<double>(const double* from, std::size_t count) {
  return (DoubleVec)_mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), from);
}
template <>
inline void store_part<double>(double* to, DoubleVec v, std::size_t count) {
  _mm512_mask_storeu_pd(to, (__mmask8)((1u << count) - 1), (__m512d)v);
}
#endif

// a b + c, rounded once if the processor supports it
#if defined(__AVX512F__)
inline FloatVec fma(FloatVec a, FloatVec b, FloatVec c) {
  return (FloatVec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
inline DoubleVec fma(DoubleVec a, DoubleVec b, DoubleVec c) {
  return (DoubleVec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#elif defined(__AVX2__)
inline FloatVec fma(FloatVec a, FloatVec b, FloatVec c) {
  return (FloatVec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
inline DoubleVec fma(DoubleVec a, DoubleVec b, DoubleVec c) {
  return (DoubleVec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#elif defined(__ARM_NEON)
inline FloatVec fma(FloatVec a, FloatVec b, FloatVec c) {
  return (FloatVec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
inline DoubleVec fma(DoubleVec a, DoubleVec b, DoubleVec c) {
  return (DoubleVec)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else
inline FloatVec fma(FloatVec a, FloatVec b, FloatVec c) { return a * b + c; }
inline DoubleVec fma(DoubleVec a, DoubleVec b, DoubleVec c) { return a * b + c; }
#endif

// Minimum or maximum of a bound and x; NaN is preserved.
template <class V, class Real>
inline V at_most(Real bound, V x) {
  return x > bound ? V{} + bound : x;
}
template <class V, class Real>
inline V at_least(Real bound, V x) {
  return x < bound ? V{} + bound : x;
}
#if defined(__AVX512F__)
template <>
inline FloatVec at_most(float bound, FloatVec x) {
  return (FloatVec)_mm512_maskz_min_ps((__mmask16)-1, _mm512_set1_ps(bound),
                                       (__m512)x);  // the second operand if one is NaN
}
template <>
inline FloatVec at_least(float bound, FloatVec x) {
  return (FloatVec)_mm512_maskz_max_ps((__mmask16)-1, _mm512_set1_ps(bound), (__m512)x);
}
#elif defined(__AVX2__)
template <>
inline FloatVec at_most(float bound, FloatVec x) {
  return (FloatVec)_mm256_min_ps(_mm256_set1_ps(bound), (__m256)x);
}
template <>
inline FloatVec at_least(float bound, FloatVec x) {
  return (FloatVec)_mm256_max_ps(_mm256_set1_ps(bound), (__m256)x);
}
#endif

// Constants of exp for a type. Above `most` exp is infinite, below `least` it is 0.
template <class Real>
struct ExpFacts;
template <>
struct ExpFacts<float> {
  static constexpr float most = 88.73f, least = -104.0f;
  static constexpr float ln2_high = 0.693359375f, ln2_rest = -2.12194440e-4f;
  static constexpr float round = 0x1.8p23f;   // adding it rounds to an integer
  static constexpr float one_in_tanh = 9.1f;  // tanh rounds to 1 from here on
  static constexpr std::int32_t sign = INT32_MIN;
  static constexpr int mantissa = 23, bias = 127, terms = 7;
};
template <>
struct ExpFacts<double> {
  static constexpr double most = 709.79, least = -746.0;
  static constexpr double ln2_high = 0x1.62e42fefa3800p-1, ln2_rest = 0x1.ef35793c76730p-45;
  static constexpr double round = 0x1.8p52;
  static constexpr double one_in_tanh = 19.1;
  static constexpr std::int64_t sign = INT64_MIN;
  static constexpr int mantissa = 52, bias = 1023, terms = 13;
};

// x = n ln 2 + r with |r| <= ln 2 / 2 (Cody and Waite 1980): e^r - 1 by Taylor's series, and n.
template <class Real>
struct Reduced {
  VecOf<Real> rest;     // e^r - 1
  VecOf<Real> shifted;  // n + ExpFacts::round: the last bits are the integer n
};
template <class Real>
inline Reduced<Real> reduce(VecOf<Real> x) {
  using V = VecOf<Real>;
  using F = ExpFacts<Real>;
  const V shifted = fma(x, broadcast(Real(1.4426950408889634074)), broadcast(F::round));
  const V n = shifted - F::round;
  V r = fma(n, broadcast(-F::ln2_high), x);
  r = fma(n, broadcast(-F::ln2_rest), r);
  Real factors[F::terms + 1];  // 1 / k!
  factors[0] = 1;
  for (int k = 1; k <= F::terms; ++k) factors[k] = factors[k - 1] / Real(k);
  V sum = broadcast(factors[F::terms]);
#pragma GCC unroll 16
  for (int k = F::terms - 1; k >= 2; --k) sum = fma(sum, r, broadcast(factors[k]));
  return {fma(sum * r, r, r), shifted};
}

// 2^n for an exponent n of a normal number
template <class Real>
inline VecOf<Real> power_of_2(VecOf<Real> shifted) {
  using Bits = typename Traits<Real>::Bits;
  using F = ExpFacts<Real>;
  // the shift removes the bits above
  return (VecOf<Real>)(((Bits)shifted + F::bias) << F::mantissa);
}

// v 2^n for any n that occurs in exp
template <class Real>
inline VecOf<Real> scaled(VecOf<Real> v, VecOf<Real> shifted) {
  // in two halves, because n may exceed the exponent range of normal numbers
  using Bits = typename Traits<Real>::Bits;
  using F = ExpFacts<Real>;
  const Bits n = (Bits)shifted - (Bits)broadcast(F::round), half = n >> 1;
  const auto power = [](Bits m) { return (VecOf<Real>)((m + F::bias) << F::mantissa); };
  return v * power(half) * power(n - half);
}
#if defined(__AVX512F__)
template <>
inline FloatVec scaled<float>(FloatVec v, FloatVec shifted) {
  return (FloatVec)_mm512_maskz_scalef_ps((__mmask16)-1, (__m512)v,
                                          (__m512)(shifted - ExpFacts<float>::round));
}
template <>
inline DoubleVec scaled<double>(DoubleVec v, DoubleVec shifted) {
  return (DoubleVec)_mm512_maskz_scalef_pd((__mmask8)-1, (__m512d)v,
                                           (__m512d)(shifted - ExpFacts<double>::round));
}
#endif

template <class Real>
inline VecOf<Real> exp_of(VecOf<Real> x) {
  using F = ExpFacts<Real>;
  const Reduced<Real> e = reduce<Real>(at_least(F::least, at_most(F::most, x)));
  return scaled<Real>(e.rest + 1, e.shifted);
}

// 1 / (1 + e^-x)
template <class Real>
inline VecOf<Real> sigmoid_of(VecOf<Real> x) {
  return Real(1) / (Real(1) + exp_of<Real>(-x));
}

// With q = e^2|x| - 1: tanh |x| = q / (q + 2). There is no cancellation near 0, where q is
// 2^n (e^r - 1) + 2^n - 1 with n = 0.
template <class Real>
inline VecOf<Real> tanh_of(VecOf<Real> x) {
  using V = VecOf<Real>;
  using Bits = typename Traits<Real>::Bits;
  using F = ExpFacts<Real>;
  const Bits sign = (Bits)x & (Bits{} + F::sign);
  const V size = (V)((Bits)x ^ sign);
  const V near = at_most(F::one_in_tanh, size);
  const Reduced<Real> e = reduce<Real>(near + near);
  const V scale = power_of_2<Real>(e.shifted);
  const V q = fma(scale, e.rest, scale - 1);
  return (V)((Bits)(q / (q + 2)) | sign);
}

inline FloatVec sigmoid(FloatVec x) { return sigmoid_of<float>(x); }
inline DoubleVec sigmoid(DoubleVec x) { return sigmoid_of<double>(x); }
inline FloatVec tanh(FloatVec x) { return tanh_of<float>(x); }
inline DoubleVec tanh(DoubleVec x) { return tanh_of<double>(x); }

}  // namespace throughtime::THROUGHTIME_ISA
