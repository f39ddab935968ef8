// What the kernels ask of the system: threads, and pages.
#pragma once
#include <cstddef>

namespace throughtime {

// Calls work(context, i) for every i < count, each once, on at most `threads` threads, the caller's
// among them; returns when all are done. Safe after fork, and from several threads at once.
void parallel(std::size_t count, std::size_t threads, void (*work)(void* context, std::size_t i),
              void* context);

// Asks for large pages behind a large buffer that is about to be written for the first time: fresh
// pages of 4 KiB cost more than what is computed into them.
void ask_for_large_pages(void* at, std::size_t bytes);

}  // namespace throughtime
