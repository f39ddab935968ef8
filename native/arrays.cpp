#include "arrays.h"

namespace throughtime {
namespace {

// The exchange interface of DLPack 1.3: a table of functions of an array type, which gives access
// to an array without a Python call. The layout is that of DLPack.
struct ExchangeTable {
  struct {
    std::uint32_t major, minor;
  } version;
  ExchangeTable* older;
  void *allocate, *to_managed, *from_managed;
  int (*look)(void* object, nb::dlpack::dltensor* out);
  void* stream;
};

// The table of an object's type, or null. The last type is cached, because nearly all objects are
// torch tensors.
const ExchangeTable* table_of(PyTypeObject* type) {
  static PyTypeObject* last = nullptr;  // protected by the GIL
  static const ExchangeTable* table = nullptr;
  if (type == last) return table;
  nb::object capsule =
      nb::getattr(nb::handle((PyObject*)type), "__dlpack_c_exchange_api__", nb::none());
  const ExchangeTable* found = nullptr;
  if (PyCapsule_CheckExact(capsule.ptr())) {
    found = (const ExchangeTable*)PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api");
    if (!found) PyErr_Clear();
    while (found && found->version.major > 1) found = found->older;
  }
  last = type;
  table = found;
  return found;
}

void fill(View& to, const char* name, void* data, std::int64_t dims, const std::int64_t* shape,
          const std::int64_t* strides) {
  if (dims > 4) {
    throw nb::value_error((std::string(name) + " has more than 4 dimensions").c_str());
  }
  to.data = static_cast<char*>(data);
  to.dims = (int)dims;
  std::int64_t next = 1;
  for (int d = to.dims; d-- > 0;) {
    to.shape[d] = shape[d];
    to.stride[d] = strides ? strides[d] : next;
    next *= shape[d];
  }
}

std::string type_text(nb::dlpack::dtype type) {
  const auto is = [&](nb::dlpack::dtype_code code) { return type.code == (std::uint8_t)code; };
  const char* kind = is(nb::dlpack::dtype_code::Float)  ? "float"
                     : is(nb::dlpack::dtype_code::Int)  ? "int"
                     : is(nb::dlpack::dtype_code::UInt) ? "uint"
                     : is(nb::dlpack::dtype_code::Bool) ? "bool"
                                                        : "another type of ";
  return kind + std::to_string(type.bits);
}

std::string shape_text(std::size_t dims, const std::int64_t* sizes) {
  std::string text = "[";
  for (std::size_t d = 0; d < dims; ++d) text += (d ? "," : "") + std::to_string(sizes[d]);
  return text + "]";
}

}  // namespace

View view(const char* name, nb::handle object, bool written) {
  View found;
  if (const ExchangeTable* table = table_of(Py_TYPE(object.ptr()))) {
    nb::dlpack::dltensor tensor;
    const bool failed = table->look(object.ptr(), &tensor);
    if (failed) PyErr_Clear();  // for example a meta tensor
    if (failed || tensor.device.device_type != nb::device::cpu::value) {
      throw nb::type_error((std::string(name) + " is no array on the CPU").c_str());
    }
    found.type = tensor.dtype;
    fill(found, name, (char*)tensor.data + tensor.byte_offset, tensor.ndim, tensor.shape,
         tensor.strides);
    return found;
  }
  const auto look = [&](const auto& array) {
    found.type = array.dtype();
    fill(found, name, const_cast<void*>((const void*)array.data()), (std::int64_t)array.ndim(),
         array.shape_ptr(), array.stride_ptr());
  };
  nb::ndarray<nb::device::cpu> writable;
  nb::ndarray<nb::ro, nb::device::cpu> readable;
  if (written && nb::try_cast(object, writable, false)) {
    look(writable);
  } else if (nb::try_cast(object, readable, false)) {
    if (written) throw nb::type_error((std::string(name) + " cannot be written to").c_str());
    look(readable);
  } else {
    throw nb::type_error((std::string(name) + " is no array on the CPU").c_str());
  }
  return found;
}

void require_type(const char* name, const View& array, nb::dlpack::dtype type) {
  if (array.type == type) return;
  throw nb::type_error(
      (std::string(name) + " is " + type_text(array.type) + ", expected " + type_text(type))
          .c_str());
}

void require_shape(const char* name, const View& array, std::initializer_list<std::size_t> shape) {
  bool same = (std::size_t)array.dims == shape.size();
  std::int64_t expected[4] = {};
  for (std::size_t d = 0; d < shape.size(); ++d) {
    expected[d] = (std::int64_t)shape.begin()[d];
    same = same && array.shape[d] == expected[d];
  }
  if (same) return;
  throw nb::value_error((std::string(name) + " has shape " +
                         shape_text((std::size_t)array.dims, array.shape) + ", expected " +
                         shape_text(shape.size(), expected))
                            .c_str());
}

void require_no_gaps(const char* name, const View& array) {
  std::int64_t next = 1;
  if (!array.size()) return;
  for (int d = array.dims; d-- > 0; next *= array.shape[d]) {
    if (array.shape[d] > 1 && array.stride[d] != next) {
      throw nb::value_error((std::string(name) + " has gaps; give a contiguous array").c_str());
    }
  }
}

}  // namespace throughtime
