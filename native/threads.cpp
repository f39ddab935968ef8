#include "threads.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace throughtime {
namespace {

// Work that threads take item by item, so that a thread that starts late takes less of it.
class Work {
 public:
  Work(std::size_t count, void (*work)(void*, std::size_t), void* context)
      : count_(count), work_(work), context_(context) {}

  void take() {
    try {
      for (std::size_t i; (i = next_.fetch_add(1)) < count_;) work_(context_, i);
    } catch (...) {  // out of memory: reported to the caller when all have stopped
      next_ = count_;
      std::unique_lock lock(mutex_);
      error_ = std::current_exception();
    }
  }
  void rethrow() {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const std::size_t count_;
  void (*const work_)(void*, std::size_t);
  void* const context_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::exception_ptr error_;
};

// Own thread pool, whose threads sleep between calls.
class Pool {
 public:
  void run(Work& work, std::size_t threads) {
    {
      std::unique_lock lock(mutex_);
      while (workers_.size() + 1 < threads) workers_.emplace_back(&Pool::serve, this);
      work_ = &work;
      wanted_ = threads - 1;
      ++round_;
    }
    wake_.notify_all();
    work.take();
    // Workers that have not started find no work left: wait only for those that are running.
    std::unique_lock lock(mutex_);
    wanted_ = 0;
    idle_.wait(lock, [&] { return inside_ == 0; });
  }

 private:
  void serve() {
    std::size_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return round_ != seen && wanted_ > 0; });
      seen = round_;
      --wanted_;
      ++inside_;
      Work* work = work_;
      lock.unlock();
      work->take();
      lock.lock();
      if (--inside_ == 0) idle_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::vector<std::thread> workers_;
  Work* work_ = nullptr;
  std::size_t wanted_ = 0, inside_ = 0, round_ = 0;
};

// The OpenMP entry point loaded by torch, or null. Its threads stay awake between torch operators
// and would compete with a second pool for the processors.
using OpenMp = void (*)(void (*)(void*), void*, unsigned, unsigned);
OpenMp open_mp() {
  static const auto entry = reinterpret_cast<OpenMp>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return entry;
}

// A forked child has none of its parent's threads, and OpenMP would wait for them forever. Set at
// load, not at the first call, which may be in the child.
const pid_t first_process = getpid();

}  // namespace

void parallel(std::size_t count, std::size_t threads, void (*work)(void*, std::size_t),
              void* context) {
  if (threads > count) threads = count;
  if (threads < 2) {
    for (std::size_t i = 0; i < count; ++i) work(context, i);
    return;
  }
  Work pieces(count, work, context);
  if (open_mp() && getpid() == first_process) {
    open_mp()([](void* all) { static_cast<Work*>(all)->take(); }, &pieces, (unsigned)threads, 0);
    return pieces.rethrow();
  }
  // One pool per process, never destroyed: its threads end with the process.
  static std::mutex owner;
  static Pool* pool = nullptr;
  static pid_t pool_process = 0;
  std::unique_lock lock(owner, std::try_to_lock);
  if (!lock.owns_lock()) {  // busy with the work of another caller: compute here
    pieces.take();
    return pieces.rethrow();
  }
  if (pool_process != getpid()) {
    pool = new Pool;
    pool_process = getpid();
  }
  pool->run(pieces, threads);
  pieces.rethrow();
}

void ask_for_large_pages(void* at, std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t page = std::uintptr_t(1) << 21;
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(at);
  const std::uintptr_t from = (begin + page - 1) / page * page, to = (begin + bytes) / page * page;
  if (to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);  // only a hint
#else
  (void)at, (void)bytes;
#endif
}

}  // namespace throughtime
