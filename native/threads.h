// A pool of threads that sleep between calls: no spinning, so a busy neighbour stalls nobody.
#pragma once
#include <cstddef>

namespace throughtime {

// Calls work(context, i) for every i < count, each once, on at most `threads` threads, the caller's
// among them; returns when all are done. Safe after fork, and from several threads at once.
void parallel(std::size_t count, std::size_t threads, void (*work)(void* context, std::size_t i),
              void* context);

}  // namespace throughtime
