// System services for the kernels: threads and memory pages.
#pragma once
#include <cstddef>

namespace throughtime {

// Calls work(context, i) once for every i < count, on at most `threads` threads including the
// caller's; returns when all are done. Safe after fork and for concurrent callers.
void parallel(std::size_t count, std::size_t threads, void (*work)(void* context, std::size_t i),
              void* context);

// Requests large pages for a large buffer before it is first written: new pages of 4 KiB cost more
// than the computation that fills them.
void ask_for_large_pages(void* at, std::size_t bytes);

}  // namespace throughtime
