// Selection of the instruction set, from the processor features, once at load.
#include <atomic>

#include "kernels.h"

namespace throughtime {

// each built-in instruction set defines these two tables, in sequence.cpp
#define THROUGHTIME_DECLARE(isa)               \
  namespace isa {                              \
  extern const Kernels<float> float_kernels;   \
  extern const Kernels<double> double_kernels; \
  }
#if defined(__aarch64__)
THROUGHTIME_DECLARE(neon)
#else
THROUGHTIME_DECLARE(baseline)
#endif
#if defined(__x86_64__)
THROUGHTIME_DECLARE(avx2)
THROUGHTIME_DECLARE(avx512)
#endif

namespace {

struct Variant {
  const char* name;
  const Kernels<float>* of_float;
  const Kernels<double>* of_double;
  bool (*runs_here)();
};

// best first
const Variant variants[] = {
#if defined(__x86_64__)
    {"avx512", &avx512::float_kernels, &avx512::double_kernels,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("fma");
     }},
    {"avx2", &avx2::float_kernels, &avx2::double_kernels,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
#if defined(__aarch64__)
    {"neon", &neon::float_kernels, &neon::double_kernels, [] { return true; }},
#else
    {"baseline", &baseline::float_kernels, &baseline::double_kernels, [] { return true; }},
#endif
};

const Variant* best() {
  for (const Variant& variant : variants) {
    if (variant.runs_here()) return &variant;
  }
  return nullptr;  // unreachable: the last set runs everywhere
}

std::atomic<const Variant*> in_use{best()};

}  // namespace

std::vector<std::string> cpu_features() {
  std::vector<std::string> features;
#if defined(__x86_64__)
  // the compiler builtin accepts only a literal
#define THROUGHTIME_ASK(name) \
  if (__builtin_cpu_supports(name)) features.emplace_back(name)
  THROUGHTIME_ASK("sse2");
  THROUGHTIME_ASK("avx");
  THROUGHTIME_ASK("avx2");
  THROUGHTIME_ASK("fma");
  THROUGHTIME_ASK("avx512f");
  THROUGHTIME_ASK("avx512dq");
  THROUGHTIME_ASK("avx512bw");
  THROUGHTIME_ASK("avx512vl");
#undef THROUGHTIME_ASK
#elif defined(__aarch64__)
  features.emplace_back("neon");
#endif
  return features;
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const Variant& variant : variants) {
    if (variant.runs_here()) names.emplace_back(variant.name);
  }
  return names;
}

bool use_instruction_set(const std::string& name) {
  for (const Variant& variant : variants) {
    if (name == variant.name && variant.runs_here()) {
      in_use = &variant;
      return true;
    }
  }
  return false;
}

std::string instruction_set_in_use() { return in_use.load()->name; }

template <>
const Kernels<float>& kernels<float>() {
  return *in_use.load()->of_float;
}
template <>
const Kernels<double>& kernels<double>() {
  return *in_use.load()->of_double;
}

CellFacts facts(Cell cell) { return kernels<float>().facts(cell); }

}  // namespace throughtime
