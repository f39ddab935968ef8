// Layout of the arrays of a call: the samples of each thread, the samples of each step, and the
// position of each row. Also scratch memory that a thread reuses between calls.
#pragma once
#include <cmath>
#include <cstdlib>
#include <new>
#include <vector>

#include "gemm.h"
#include "kernels.h"
#include "threads.h"

namespace throughtime::THROUGHTIME_ISA {

// Stack of scratch memory of one thread. The memory is kept for the next call, because new pages
// cost more than the computation of a small layer.
class Scratch {
 public:
  Scratch() : mark_(stack().used) { ++stack().depth; }
  ~Scratch() {
    Stack& s = stack();
    s.used = mark_;
    if (--s.depth == 0 && s.blocks.size() > 1) {  // use one block of the total size next time
      std::size_t sum = 0;
      for (const Block& block : s.blocks) sum += block.size;
      s.clear();
      if (sum <= kKeep) s.add(sum);
    } else if (s.depth == 0 && !s.blocks.empty() && s.blocks[0].size > kKeep) {
      s.clear();
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Aligned, uninitialized, and padded by one vector at the end.
  template <class Real>
  Real* take(std::size_t count) {
    return static_cast<Real*>(stack().take((count * sizeof(Real) + 127) / 64 * 64));
  }
  template <class Real>
  Real* zeros(std::size_t count) {
    Real* data = take<Real>(count);
    for (std::size_t i = 0; i < count; ++i) data[i] = 0;
    return data;
  }

 private:
  static constexpr std::size_t kKeep = std::size_t(64)
                                       << 20;  // maximum number of bytes kept by a thread
  // Library containers may only hold types of this namespace: the linker keeps one copy of each
  // instantiation, and it could be one that was compiled for another instruction set.
  struct Block {
    char* at;
    std::size_t size;
  };
  struct Mark {
    std::size_t block = 0, byte = 0;
  };
  struct Stack {
    std::vector<Block> blocks;
    Mark used;
    int depth = 0;

    ~Stack() { clear(); }
    void clear() {
      for (const Block& block : blocks) std::free(block.at);
      blocks.clear();
      used = {};
    }
    void add(std::size_t size) {
      char* at = static_cast<char*>(std::aligned_alloc(64, size));
      if (!at) throw std::bad_alloc();
      blocks.push_back({at, size});
    }
    void* take(std::size_t size) {
      while (used.block < blocks.size() && used.byte + size > blocks[used.block].size) {
        ++used.block;
        used.byte = 0;
      }
      if (used.block == blocks.size()) add(larger(size, 1 << 16));
      char* at = blocks[used.block].at + used.byte;
      used.byte += size;
      return at;
    }
  };
  static Stack& stack() {
    static thread_local Stack s;
    return s;
  }
  Mark mark_;
};

// Calls `work(i)` for every i < count on at most `threads` threads.
template <class Work>
void in_parallel(std::size_t count, std::size_t threads, Work work) {
  parallel(
      count, threads, [](void* context, std::size_t i) { (*static_cast<Work*>(context))(i); },
      &work);
}

// Units are processed one vector at a time; the last vector may be partial.
template <class Real>
VecOf<Real> read(const Real* from, std::size_t count) {
  return count >= kLanes<Real> ? load(from) : load_part(from, count);
}
template <class Real>
void write(Real* to, VecOf<Real> v, std::size_t count) {
  count >= kLanes<Real> ? store(to, v) : store_part(to, v, count);
}
// Calls `use(u, lanes)` for every vector of `count` units. The type of `lanes` tells `read` and
// `write` at compile time whether a vector is whole.
template <class Real>
struct Whole {
  constexpr operator std::size_t() const { return kLanes<Real>; }
};
template <class Real, class Use>
[[gnu::always_inline]] inline void by_vectors(std::size_t count, Use use) {
  constexpr std::size_t L = kLanes<Real>;
  std::size_t u = 0;
  for (; u + L <= count; u += L) use(u, Whole<Real>{});
  if (u < count) use(u, count - u);
}
template <class Real>
VecOf<Real> read(const Real* from, Whole<Real>) {
  return load(from);
}
template <class Real>
void write(Real* to, VecOf<Real> v, Whole<Real>) {
  store(to, v);
}

template <class Real>
void copy(std::size_t count, const Real* from, Real* to) {
  constexpr std::size_t L = kLanes<Real>;
  std::size_t i = 0;
  for (; i + L <= count; i += L) store(to + i, load(from + i));
  if (i < count) store_part(to + i, load_part(from + i, count - i), count - i);
}
template <class Real>
void fill_zero(std::size_t count, Real* to) {
  for (std::size_t i = 0; i < count; ++i) to[i] = 0;
}

// Positions of the rows of a layer.
template <class Real>
struct Geometry {
  const Layer<Real>& p;

  std::size_t length(std::size_t b) const { return p.lengths ? (std::size_t)p.lengths[b] : p.T; }
  // the time step computed as the i-th, and the inverse
  std::size_t step(std::size_t i) const { return p.backwards ? p.T - 1 - i : i; }

  template <class Value>
  Value* row(const Rows<Value>& rows, std::size_t t, std::size_t b) const {
    const std::ptrdiff_t n = p.first ? ((std::ptrdiff_t)p.first[t] + (std::ptrdiff_t)b) * rows.b
                                     : (std::ptrdiff_t)t * rows.t + (std::ptrdiff_t)b * rows.b;
    return rows.at + n;
  }
  // row index in a contiguous array that is packed like y
  std::size_t index(std::size_t t, std::size_t b) const {
    return (p.first ? (std::size_t)p.first[t] : t * p.B) + b;
  }
  // Whether sample b has a step before the i-th in computation order; if so, sets t to it.
  bool before(std::size_t i, std::size_t b, std::size_t& t) const {
    if (i == 0) return false;
    t = step(i - 1);
    return t < length(b);
  }
  // Whether the state of sample b is cleared before the i-th step. Backwards, the step to t comes
  // from t+1, so reset[t+1] applies. Resets beyond the sample's length are ignored.
  bool cleared(std::size_t i, std::size_t b) const {
    if (!p.reset) return false;
    const std::size_t border = p.backwards ? step(i) + 1 : step(i);
    return border < length(b) && p.reset[border * p.B + b];
  }
};

// A part of the batch, longest samples first, so that the samples of any step are a prefix.
struct Share {
  const std::size_t* sample;
  std::size_t rows;
};

// Splits the batch into `count` shares. Without lengths, a share has adjacent samples; with
// lengths, sorted samples are distributed round-robin, so that every share has samples of similar
// lengths.
template <class Real>
class Shares {
 public:
  Shares(const Layer<Real>& p, std::size_t count, Scratch& scratch)
      : order_(scratch.take<std::size_t>(p.B)), from_(scratch.take<std::size_t>(count + 1)) {
    std::size_t* sorted = scratch.take<std::size_t>(p.B);
    for (std::size_t b = 0; b < p.B; ++b) sorted[b] = b;
    if (p.lengths) {  // counting sort, stable: equal lengths keep their order
      std::size_t* start = scratch.zeros<std::size_t>(p.T + 2);
      for (std::size_t b = 0; b < p.B; ++b) ++start[p.T - (std::size_t)p.lengths[b] + 1];
      for (std::size_t n = 1; n < p.T + 2; ++n) start[n] += start[n - 1];
      for (std::size_t b = 0; b < p.B; ++b) sorted[start[p.T - (std::size_t)p.lengths[b]]++] = b;
    }
    std::size_t at = 0;
    for (std::size_t s = 0; s < count; ++s) {
      from_[s] = at;
      if (p.lengths) {
        for (std::size_t b = s; b < p.B; b += count) order_[at++] = sorted[b];
      } else {
        while (at < p.B * (s + 1) / count) order_[at] = sorted[at], ++at;
      }
    }
    from_[count] = at;
  }
  Share operator[](std::size_t s) const { return {order_ + from_[s], from_[s + 1] - from_[s]}; }

 private:
  std::size_t *order_, *from_;
};

// Number of rows of a share that have step t.
template <class Real>
std::size_t rows_at(const Geometry<Real>& where, const Share& share, std::size_t t) {
  std::size_t rows = share.rows;
  if (where.p.lengths) {
    while (rows > 0 && where.length(share.sample[rows - 1]) <= t) --rows;
  }
  return rows;
}

}  // namespace throughtime::THROUGHTIME_ISA
