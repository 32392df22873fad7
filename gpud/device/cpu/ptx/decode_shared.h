// Pieces that several decode_*.cc files use.
#pragma once

#include <initializer_list>

#include "gpud/device/cpu/ptx/decoder.h"

namespace farwarp::ptx {

// dst, a of the instruction.
void emitUnary(FunctionDecoder& d, Handler handler, Type to, Type from);
// dst and as many sources as `from` has types.
void emitOperation(FunctionDecoder& d, Handler handler, Type to, std::initializer_list<Type> from);
// A floating-point operation of `arity` sources of the same type.
void emitFloat(FunctionDecoder& d, FloatOp op, Type type, FloatFlags flags, int arity);

// cp.async.bulk.tensor, after these words, and its prefetch; cp.reduce when it `reduces`.
void decodeTensorCopy(FunctionDecoder& d, Modifiers& m, bool reduces);

// The floating-point forms of opcodes that integers have too.
void decodeFloatArithmetic(FunctionDecoder& d, Modifiers& m, Type type);
// add, sub, mul and fma of two f32 in a 64-bit register; .f32x2 is taken already.
void decodeFloatPair(FunctionDecoder& d, Modifiers& m);
void decodeFloatDivision(FunctionDecoder& d, Modifiers& m, Type type);
void decodeFloatMinMax(FunctionDecoder& d, Modifiers& m, Type type);

}  // namespace farwarp::ptx
