// One vector type for every instruction set, and exp, tanh and sigmoid on it.
//
// Compiled once per instruction set, each in a namespace of its own (THROUGHTIME_ISA), so that the
// linker never mixes them. Arithmetic is the compiler's vector extension; what it lacks, a fused
// multiply-add and partial loads, stands here. No -ffast-math: NaN and infinity must survive.
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
inline constexpr int kTileRows = 12;  // times two vectors: 24 of 32 registers hold sums
#elif defined(__AVX2__)
inline constexpr std::size_t kVectorBytes = 32;
inline constexpr int kTileRows = 6;  // 12 of 16
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

// The first `count` lanes; the others are 0 and their memory is not touched.
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

// a b + c, rounded once where the processor can
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

// What exp needs to know of a type. Above `most` exp is infinite, below `least` it is 0.
template <class Real>
struct ExpFacts;
template <>
struct ExpFacts<float> {
  static constexpr float most = 88.73f, least = -104.0f;
  static constexpr float ln2_high = 0.693359375f, ln2_rest = -2.12194440e-4f;
  static constexpr float round = 0x1.8p23f;  // adding it rounds to a whole number
  static constexpr int mantissa = 23, bias = 127, terms = 7;
};
template <>
struct ExpFacts<double> {
  static constexpr double most = 709.79, least = -746.0;
  static constexpr double ln2_high = 0x1.62e42fefa3800p-1, ln2_rest = 0x1.ef35793c76730p-45;
  static constexpr double round = 0x1.8p52;
  static constexpr int mantissa = 52, bias = 1023, terms = 13;
};

// e^x. x = n ln 2 + r with |r| <= ln 2 / 2, and Taylor's series for e^r (Cody and Waite 1980).
template <class Real>
inline VecOf<Real> exp_of(VecOf<Real> x) {
  using V = VecOf<Real>;
  using Bits = typename Traits<Real>::Bits;
  using F = ExpFacts<Real>;
  // NaN fails both comparisons and passes through
  x = x > F::most ? broadcast(F::most) : x;
  x = x < F::least ? broadcast(F::least) : x;
  const V shifted = fma(x, broadcast(Real(1.4426950408889634074)), broadcast(F::round));
  const V n = shifted - F::round;
  V r = fma(n, broadcast(-F::ln2_high), x);
  r = fma(n, broadcast(-F::ln2_rest), r);
  Real factor = 1;  // 1 / k!
  Real factors[F::terms + 1];
  for (int k = 0; k <= F::terms; ++k) {
    factors[k] = factor;
    factor /= Real(k + 1);
  }
  V sum = broadcast(factors[F::terms]);
  for (int k = F::terms - 1; k >= 0; --k) sum = fma(sum, r, broadcast(factors[k]));
  // 2^n in two halves: n itself may lie beyond the exponents that a normal number has
  const Bits whole = (Bits)shifted - (Bits)broadcast(F::round);
  const Bits half = whole >> 1;
  const V first = (V)((half + F::bias) << F::mantissa);
  const V second = (V)((whole - half + F::bias) << F::mantissa);
  return sum * first * second;
}

template <class Real>
inline VecOf<Real> sigmoid_of(VecOf<Real> x) {
  return Real(1) / (Real(1) + exp_of<Real>(-x));
}

// Near 0 a quotient of polynomials keeps the relative error small (Moshier, Cephes 1989).
inline FloatVec tanh_near_0(FloatVec x) {
  const FloatVec z = x * x;
  FloatVec p = broadcast(-5.70498872745e-3f);
  p = fma(p, z, broadcast(2.06390887954e-2f));
  p = fma(p, z, broadcast(-5.37397155531e-2f));
  p = fma(p, z, broadcast(1.33314422036e-1f));
  p = fma(p, z, broadcast(-3.33332819422e-1f));
  return fma(p * z, x, x);
}
inline DoubleVec tanh_near_0(DoubleVec x) {
  const DoubleVec z = x * x;
  DoubleVec p = broadcast(-9.64399179425052238628e-1);
  p = fma(p, z, broadcast(-9.92877231001918586564e1));
  p = fma(p, z, broadcast(-1.61468768441708447952e3));
  DoubleVec q = z + 1.12811678491632931402e2;
  q = fma(q, z, broadcast(2.23548839060100448583e3));
  q = fma(q, z, broadcast(4.84406305325125486048e3));
  return fma(x * z, p / q, x);
}

template <class Real>
inline VecOf<Real> tanh_of(VecOf<Real> x) {
  using V = VecOf<Real>;
  const V size = x < 0 ? -x : x;
  const V far = Real(1) - Real(2) / (exp_of<Real>(size + size) + Real(1));
  return size < Real(0.625) ? tanh_near_0(x) : (x < 0 ? -far : far);
}

inline FloatVec sigmoid(FloatVec x) { return sigmoid_of<float>(x); }
inline DoubleVec sigmoid(DoubleVec x) { return sigmoid_of<double>(x); }
inline FloatVec tanh(FloatVec x) { return tanh_of<float>(x); }
inline DoubleVec tanh(DoubleVec x) { return tanh_of<double>(x); }

}  // namespace throughtime::THROUGHTIME_ISA
