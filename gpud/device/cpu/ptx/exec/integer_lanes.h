// Pieces that the integer executors share: types, one- and two-operand loops, choice by type.
#pragma once

#include "gpud/device/cpu/ptx/exec/lanes.h"

namespace farwarp::ptx::FARWARP_LEVEL {

template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
inline constexpr unsigned kBits = sizeof(T) * 8;

// Arithmetic without overflow: in an unsigned type at least as wide as int.
template <class T>
using Safe = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

#define BINARY(Name, expression)         \
  struct Name {                          \
    template <class T>                   \
    static T run(T a, T b) {             \
      return static_cast<T>(expression); \
    }                                    \
  }
#define UNARY(Name, expression)          \
  struct Name {                          \
    template <class T>                   \
    static T run(T a) {                  \
      return static_cast<T>(expression); \
    }                                    \
  }

template <class Op, class T>
const Inst* binary(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  const T* b = lanes<T>(w, i->b);
  return writeLanes<T>(w, i, [=](uint32_t l) { return Op::template run<T>(a[l], b[l]); });
}
template <class Op, class T>
const Inst* unary(Warp& w, const Inst* i) {
  const T* a = lanes<T>(w, i->a);
  return writeLanes<T>(w, i, [=](uint32_t l) { return Op::template run<T>(a[l]); });
}

#define BY_SIZE(function)        \
  switch (sizeOf(type)) {        \
    case 2:                      \
      return function(uint16_t); \
    case 4:                      \
      return function(uint32_t); \
    case 8:                      \
      return function(uint64_t); \
    default:                     \
      return nullptr;            \
  }
#define BY_WIDTH(function)       \
  switch (sizeOf(type)) {        \
    case 4:                      \
      return function(uint32_t); \
    case 8:                      \
      return function(uint64_t); \
    default:                     \
      return nullptr;            \
  }
#define BY_SIGN(function)        \
  switch (type) {                \
    case Type::u16:              \
      return function(uint16_t); \
    case Type::s16:              \
      return function(int16_t);  \
    case Type::u32:              \
      return function(uint32_t); \
    case Type::s32:              \
      return function(int32_t);  \
    case Type::u64:              \
      return function(uint64_t); \
    case Type::s64:              \
      return function(int64_t);  \
    default:                     \
      return nullptr;            \
  }
#define BY_SIGN_WIDTH(function)  \
  switch (type) {                \
    case Type::u32:              \
    case Type::b32:              \
      return function(uint32_t); \
    case Type::s32:              \
      return function(int32_t);  \
    case Type::u64:              \
    case Type::b64:              \
      return function(uint64_t); \
    case Type::s64:              \
      return function(int64_t);  \
    default:                     \
      return nullptr;            \
  }
#define ANY_SIZE(function)        \
  switch (sizeOf(type)) {         \
    case 1:                       \
      return function(uint8_t);   \
    case 2:                       \
      return function(uint16_t);  \
    case 4:                       \
      return function(uint32_t);  \
    case 8:                       \
      return function(uint64_t);  \
    case 16:                      \
      return function(Vector128); \
    default:                      \
      return nullptr;             \
  }

Handler bitHandler(IntOp op, Type type);

}  // namespace farwarp::ptx::FARWARP_LEVEL
