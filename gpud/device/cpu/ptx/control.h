// Handlers that are compiled once: control flow, predicates, moves of parts, warp and block
// operations, atomics, calls.
#pragma once

#include "gpud/device/cpu/ptx/executors.h"
#include "gpud/device/cpu/ptx/warp.h"

namespace farwarp::ptx::op {

// control.cc -----------------------------------------------------------------------------------
// imm = instructions to the target, d = instructions to the meeting point (0: none); signed.
const Inst* branch(Warp& w, const Inst* i);
// a = index, imm = address of a BranchTable.
const Inst* branchIndexed(Warp& w, const Inst* i);
const Inst* join(Warp& w, const Inst* i);
const Inst* exit(Warp& w, const Inst* i);
const Inst* ret(Warp& w, const Inst* i);
const Inst* trap(Warp& w, const Inst* i);
// The next instruction is typical of waiting loops.
const Inst* spinHint(Warp& w, const Inst* i);
const Inst* nanosleep(Warp& w, const Inst* i);
const Inst* fence(Warp& w, const Inst* i);
const Inst* nothing(Warp& w, const Inst* i);
// imm = CallSite; a = function handle for indirect calls.
const Inst* call(Warp& w, const Inst* i);
// dst = local address of the frame + imm; aux = bytes of dst.
const Inst* frameAddress(Warp& w, const Inst* i);
// dst = a + start of each lane's local memory (x = 0) or a - that (x = 1), or of shared memory
// (y = 1). 64 bits.
const Inst* convertAddress(Warp& w, const Inst* i);
// dst (aux bytes) = the first b bytes at [a + imm], the rest zero: the reading half of cp.async.
const Inst* copySource(Warp& w, const Inst* i);
// dst = predicate: is the generic address a in the space x?
const Inst* isSpace(Warp& w, const Inst* i);
const Inst* clock(Warp& w, const Inst* i);  // aux = bytes; x: 0 clock, 1 globaltimer, 2 high half

// predicates.cc ----------------------------------------------------------------------------------
// dst = op(a ^ x, b ^ y); aux: 0 and, 1 or, 2 xor, 3 a alone
const Inst* predicateLogic(Warp& w, const Inst* i);
// dst[0] | dst[1] << bits ... from aux parts of x bytes each: registers a, b, c, d
const Inst* pack(Warp& w, const Inst* i);
// parts dst, b, c, d of a
const Inst* unpack(Warp& w, const Inst* i);
// dst = a and b, signed, saturated to x bits (y = 1: signed), below the low bits of c.
const Inst* packIntegers(Warp& w, const Inst* i);

// warp_ops.cc ------------------------------------------------------------------------------------
// dst, predicate e (kNone: none) = shuffle a by b, clamp c, members d; aux: 0 up, 1 down, 2 bfly, 3
// idx
const Inst* shuffle(Warp& w, const Inst* i);
// dst = vote of predicate a ^ x over members b; aux: 0 all, 1 any, 2 uni, 3 ballot
const Inst* vote(Warp& w, const Inst* i);
// dst = lanes with the same a; e = predicate; aux: bytes of a; x = all
const Inst* match(Warp& w, const Inst* i);
const Inst* redux(Warp& w, const Inst* i);  // aux = ReduxOp
const Inst* activeMask(Warp& w, const Inst* i);
const Inst* elect(Warp& w, const Inst* i);  // dst = leader, e = predicate, b = members
const Inst* warpBarrier(Warp& w, const Inst* i);
enum ReduxOp : uint16_t {
  kReduxAdd,
  kReduxAnd,
  kReduxOr,
  kReduxXor,
  kReduxMinU,
  kReduxMaxU,
  kReduxMinS,
  kReduxMaxS,
  kReduxMinF,
  kReduxMaxF
};

// barrier.cc -------------------------------------------------------------------------------------
// a = barrier, b = thread count (x = 1: given); aux: 0 sync, 1 arrive, 2 popc, 3 and, 4 or with
// predicate c ^ y into dst
const Inst* barrier(Warp& w, const Inst* i);
const Inst* clusterBarrier(Warp& w, const Inst* i);  // aux: 1 arrive, 2 wait

// atomics.cc -------------------------------------------------------------------------------------
enum class AtomicOp : uint8_t { add, min, max, inc, dec, cas, exch, and_, or_, xor_ };
// dst = old value (x of red: no dst) of [a + imm], operand b, c for cas. Null when there is none.
Handler atomicHandler(AtomicOp op, Type type, bool returns);
// One element of a bulk reduction: the value at host address `to` becomes op(value, value at
// `from`).
void atomicApply(AtomicOp op, Type type, uint64_t to, uint64_t from);
bool canApply(AtomicOp op, Type type);

// matrix.cc --------------------------------------------------------------------------------------
// imm = MatrixSite. Loads and stores: a, b as for other accesses; x = the resolver, y = 1 where b
// is the address's offset.
const Inst* matrixMultiply(Warp& w, const Inst* i);
const Inst* matrixLoad(Warp& w, const Inst* i);   // wmma.load
const Inst* matrixStore(Warp& w, const Inst* i);  // wmma.store

// tiles.cc ---------------------------------------------------------------------------------------
// imm = TileSite; the operation before has the address.
const Inst* tileLoad(Warp& w, const Inst* i);       // ldmatrix
const Inst* tileStore(Warp& w, const Inst* i);      // stmatrix
const Inst* tileTranspose(Warp& w, const Inst* i);  // movmatrix: dst, a

// async.cc ---------------------------------------------------------------------------------------
// An mbarrier is the 8 bytes at [a + imm], in the shared memory of this block or of another one of
// its cluster.
enum MbarrierOp : uint16_t {
  kMbarrierInit,  // b = arrivals that a phase waits for
  kMbarrierInvalidate,
  kMbarrierExpect,      // b = bytes
  kMbarrierComplete,    // b = bytes
  kMbarrierArrive,      // b = arrivals, c = bytes to expect before; dst = the state before
  kMbarrierArriveDrop,  // the same, and the next phases wait for that many arrivals less
  kMbarrierTest,        // dst = predicate: is the phase of state b over?
  kMbarrierTestParity,  // dst = predicate: is the phase of parity b over?
};
// aux = MbarrierOp; d = 1 where the state is wanted.
const Inst* mbarrier(Warp& w, const Inst* i);
const Inst* mbarrierPending(Warp& w, const Inst* i);  // dst = arrivals left in the state a
// Copies d bytes (a register) from the generic address b to a + imm, then completes as many bytes
// of the mbarrier at c; x = the resolver of a, y: 0 no mbarrier, 1 its address is shared; aux = an
// AtomicOp of a reduction + 1, e = its Type; b = which bytes of each 16 are copied (kNone: all).
const Inst* bulkCopy(Warp& w, const Inst* i);
// Fills b bytes (a register) at a + imm, in shared memory, with zeros; x = the resolver.
const Inst* zeroBulk(Warp& w, const Inst* i);
// dst = the address a of shared memory as seen in block b of the cluster; aux = bytes (8: generic).
const Inst* mapToRank(Warp& w, const Inst* i);
const Inst* rankOfAddress(Warp& w, const Inst* i);  // dst = rank; aux = bytes of the address a
// dst = start of b bytes of this thread's stack, aligned to imm; aux = bytes of an address.
const Inst* allocateStack(Warp& w, const Inst* i);
const Inst* saveStack(Warp& w, const Inst* i);     // dst = the stack's state; aux = bytes
const Inst* restoreStack(Warp& w, const Inst* i);  // a = a state; aux = bytes

// tensor_copy.cc ---------------------------------------------------------------------------------
// a + imm = place in shared memory (x = its resolver); the operations before it, from the last,
// have the addresses of the mbarrier and of the tensor map, and a TensorSite in imm.
const Inst* copyTensor(Warp& w, const Inst* i);
enum class TensorMapField : uint16_t {
  global_address,
  rank,
  box_dim,
  global_dim,
  global_stride,
  element_stride,
  element_type,
  interleave_layout,
  swizzle_mode,
  fill_mode,
};
// Field aux (number y of several) of the tensor map at a + imm (x = the resolver) = b, of d bytes.
const Inst* replaceInTensorMap(Warp& w, const Inst* i);
// Copies the tensor map at the address of the operation before to a + imm.
const Inst* copyTensorMap(Warp& w, const Inst* i);

// texture_ops.cc ---------------------------------------------------------------------------------
const Inst* fetch(Warp& w, const Inst* i);          // a = the texture, imm = TextureSite
const Inst* accessSurface(Warp& w, const Inst* i);  // a = the surface, imm = SurfaceSite
enum class TextureQuery : uint8_t {
  width,
  height,
  depth,
  channel_type,
  channel_order,
  normalized,
  layers,
  levels,
  samples,
  filter,
  addressing_0,
  addressing_1,
  addressing_2,
  memory_layout,
};
// dst = what aux, a TextureQuery, asks of the texture or surface a; b = level (x = 1).
const Inst* queryTexture(Warp& w, const Inst* i);

// video.cc ---------------------------------------------------------------------------------------
enum VideoOp : uint8_t {
  kVideoAdd,
  kVideoSub,
  kVideoAbsdiff,
  kVideoMin,
  kVideoMax,
  kVideoAverage,
  kVideoShiftLeft,
  kVideoShiftRight,
  kVideoMad,
  kVideoSet,
};
enum VideoSecond : uint8_t {
  kVideoNone,
  kVideoAccumulate,
  kVideoThenMin,
  kVideoThenMax,
  kVideoMerge
};
// dst = operation on a, b and c; imm = VideoForm.
const Inst* video(Warp& w, const Inst* i);

// small_float.cc ---------------------------------------------------------------------------------
// dst = two packed small floats (2 or 1 bytes in a register of y bytes) of the f32 values a (high)
// and b; x = SmallFormat, aux bit 2 relu.
const Inst* packSmall(Warp& w, const Inst* i);
// dst = two halves (x = 5: f16, 6: bf16), or four small floats (x = SmallFormat), of the f32 values
// a, b and perhaps c, d, the first one highest, rounded by the random bits e; aux bit 2 relu, bit 3
// satfinite.
const Inst* packStochastic(Warp& w, const Inst* i);
// dst = f16x2 (y = 0) or bf16x2 (y = 1) of the packed small floats a; d = bytes of a; aux bit 2
// relu.
const Inst* unpackSmall(Warp& w, const Inst* i);

// system.cc --------------------------------------------------------------------------------------
// Calls that the CUDA device runtime provides: null when `name` is none of them.
Handler systemCall(std::string_view name);

}  // namespace farwarp::ptx::op
