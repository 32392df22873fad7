// The types of PTX and their sizes.
#pragma once

#include <cstdint>
#include <string_view>

namespace farwarp::ptx {

enum class Type : uint8_t {
  none,
  pred,
  b8,
  b16,
  b32,
  b64,
  b128,
  u8,
  u16,
  u32,
  u64,
  s8,
  s16,
  s32,
  s64,
  f16,
  f16x2,
  bf16,
  bf16x2,
  tf32,
  f32,
  f64,
  u16x2,
  s16x2,
  e4m3x2,
  e5m2x2,
  texref,
  samplerref,
  surfref,
};

// Bytes that one value takes in memory; 0 for none and pred.
constexpr uint32_t sizeOf(Type type) {
  switch (type) {
    case Type::b8:
    case Type::u8:
    case Type::s8:
      return 1;
    case Type::b16:
    case Type::u16:
    case Type::s16:
    case Type::f16:
    case Type::bf16:
    case Type::e4m3x2:
    case Type::e5m2x2:
      return 2;
    case Type::b32:
    case Type::u32:
    case Type::s32:
    case Type::f32:
    case Type::f16x2:
    case Type::bf16x2:
    case Type::tf32:
    case Type::u16x2:
    case Type::s16x2:
      return 4;
    case Type::b64:
    case Type::u64:
    case Type::s64:
    case Type::f64:
    case Type::texref:
    case Type::samplerref:
    case Type::surfref:
      return 8;
    case Type::b128:
      return 16;
    default:
      return 0;
  }
}

constexpr bool isSigned(Type t) {
  return t == Type::s8 || t == Type::s16 || t == Type::s32 || t == Type::s64;
}
constexpr bool isUnsigned(Type t) {
  return t == Type::u8 || t == Type::u16 || t == Type::u32 || t == Type::u64;
}
constexpr bool isBits(Type t) {
  return t == Type::b8 || t == Type::b16 || t == Type::b32 || t == Type::b64 || t == Type::b128;
}
constexpr bool isInteger(Type t) {
  return isSigned(t) || isUnsigned(t);
}
constexpr bool isFloat(Type t) {
  return t == Type::f16 || t == Type::bf16 || t == Type::f32 || t == Type::f64 || t == Type::tf32;
}

// A variable that names a texture, a sampler or a surface.
constexpr bool isReference(Type t) {
  return t == Type::texref || t == Type::samplerref || t == Type::surfref;
}

// The type a modifier such as "f32" names (without the dot); none when it names no type.
Type typeFromName(std::string_view name);
const char* typeName(Type type);

}  // namespace farwarp::ptx
