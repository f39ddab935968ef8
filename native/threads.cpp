#include "threads.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace throughtime {
namespace {

// Its threads sleep between calls: no spinning, so a busy neighbour stalls nobody.
class Pool {
 public:
  void run(std::size_t count, std::size_t threads, void (*work)(void*, std::size_t),
           void* context) {
    {
      std::unique_lock lock(mutex_);
      while (workers_.size() + 1 < threads) workers_.emplace_back(&Pool::serve, this);
      work_ = work;
      context_ = context;
      count_ = count;
      next_ = 0;
      wanted_ = threads - 1;
      ++round_;
    }
    wake_.notify_all();
    take();
    // Workers that did not wake in time have nothing left to take: only those inside are awaited.
    std::unique_lock lock(mutex_);
    wanted_ = 0;
    idle_.wait(lock, [&] { return inside_ == 0; });
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  void take() {
    try {
      for (std::size_t i; (i = next_.fetch_add(1)) < count_;) work_(context_, i);
    } catch (...) {  // no memory: told to the caller when all have stopped
      next_ = count_;
      std::unique_lock lock(mutex_);
      error_ = std::current_exception();
    }
  }

  void serve() {
    std::size_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return round_ != seen && wanted_ > 0; });
      seen = round_;
      --wanted_;
      ++inside_;
      lock.unlock();
      take();
      lock.lock();
      if (--inside_ == 0) idle_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::vector<std::thread> workers_;
  void (*work_)(void*, std::size_t) = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
  std::size_t count_ = 0, wanted_ = 0, inside_ = 0, round_ = 0;
  std::atomic<std::size_t> next_{0};
};

}  // namespace

void parallel(std::size_t count, std::size_t threads, void (*work)(void*, std::size_t),
              void* context) {
  if (threads > count) threads = count;
  // One pool a process, never destroyed: its threads end with the process. A forked child has none
  // of its parent's threads, so it makes a pool of its own.
  static std::mutex owner;
  static Pool* pool = nullptr;
  static pid_t pool_process = 0;
  std::unique_lock lock(owner, std::try_to_lock);
  if (threads < 2 || !lock.owns_lock()) {  // busy with another caller's work: do it here
    for (std::size_t i = 0; i < count; ++i) work(context, i);
    return;
  }
  if (pool_process != getpid()) {
    pool = new Pool;
    pool_process = getpid();
  }
  pool->run(count, threads, work, context);
}

void ask_for_large_pages(void* at, std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t page = std::uintptr_t(1) << 21;
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(at);
  const std::uintptr_t from = (begin + page - 1) / page * page, to = (begin + bytes) / page * page;
  if (to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);  // a wish alone
#else
  (void)at, (void)bytes;
#endif
}

}  // namespace throughtime
