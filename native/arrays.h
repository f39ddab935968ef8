// Access to Python arrays through the fastest available interface, with checks.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels.h"

namespace throughtime {

namespace nb = nanobind;

// A view of an array of numpy, torch or any library that supports DLPack. It does not own the
// array: it is valid as long as the object lives. Never a copy, because outputs are written to it.
struct View {
  char* data = nullptr;
  int dims = 0;
  std::int64_t shape[4] = {}, stride[4] = {};  // strides in elements
  nb::dlpack::dtype type{};

  std::size_t size() const {
    std::size_t n = 1;
    for (int d = 0; d < dims; ++d) n *= (std::size_t)shape[d];
    return n;
  }
};

// Throws TypeError if the object is not a CPU array, or is read-only but must be written.
View view(const char* name, nb::handle object, bool written = false);

// Throws ValueError or TypeError with the name of the array, its properties and the expected ones.
void require_type(const char* name, const View& array, nb::dlpack::dtype type);
void require_shape(const char* name, const View& array, std::initializer_list<std::size_t> shape);
void require_no_gaps(const char* name, const View& array);

// The pointer of a contiguous array of the given type and shape. `Value` is const if it is read.
template <class Value>
Value* pointer(const char* name, nb::handle object, std::initializer_list<std::size_t> shape) {
  const View array = view(name, object, !std::is_const_v<Value>);
  require_type(name, array, nb::dtype<std::remove_const_t<Value>>());
  require_shape(name, array, shape);
  require_no_gaps(name, array);
  return reinterpret_cast<Value*>(array.data);
}

// The same, but null for None if `may` allows it, and null if the cell has no such array.
template <class Value>
Value* optional_pointer(const char* name, nb::handle object, bool may,
                        std::initializer_list<std::size_t> shape) {
  if (object.is_none()) return nullptr;
  if (!may)
    throw nb::value_error((std::string(name) + " is given, but this cell has none").c_str());
  return pointer<Value>(name, object, shape);
}

// The same for an array that depends on the cell: required, or not present.
template <class Value>
Value* pointer_if(bool has, const char* name, nb::handle object,
                  std::initializer_list<std::size_t> shape) {
  if (has && object.is_none()) throw nb::value_error((std::string(name) + " is missing").c_str());
  return optional_pointer<Value>(name, object, has, shape);
}

// A [T,B,N] array with contiguous rows and any strides between rows.
template <class Value>
Rows<Value> rows(const char* name, nb::handle object, std::initializer_list<std::size_t> shape) {
  const View array = view(name, object, !std::is_const_v<Value>);
  require_type(name, array, nb::dtype<std::remove_const_t<Value>>());
  require_shape(name, array, shape);
  if (array.size() && array.shape[2] > 1 && array.stride[2] != 1) {
    throw nb::value_error((std::string(name) + " has gaps between the values of a row").c_str());
  }
  return {reinterpret_cast<Value*>(array.data), (std::ptrdiff_t)array.stride[0],
          (std::ptrdiff_t)array.stride[1]};
}

}  // namespace throughtime
