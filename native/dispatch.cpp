// What the processor can do, asked once at load.
#include "kernels.h"

namespace throughtime {

std::vector<std::string> cpu_features() {
  std::vector<std::string> features;
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  // the compiler's builtin takes a literal alone
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

}  // namespace throughtime
