// The decoded form of a program: what the executors run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "gpud/device/cpu/ptx/engine.h"
#include "gpud/device/cpu/ptx/types.h"

namespace farwarp::ptx {

struct Inst;
struct Warp;

// Executes one instruction for the active lanes and returns the next one; null when the warp stops
// running for now (it has saved where it goes on).
using Handler = const Inst* (*)(Warp&, const Inst*);

// Where an operand's lanes are: byte offset | base. The bases are those of Warp::base. The lanes of
// an operand are contiguous: 32 values of the operand's size; a predicate is one 32-bit mask.
using Ref = uint32_t;
enum Base : uint32_t {
  kBaseFrame = 0,      // registers of the running function
  kBaseConstants = 1,  // LoadedProgram::constants()
  kBaseBlock = 2,      // values of the block: %ctaid, %ntid ...; layout in BlockValue
  kBaseWarp = 3,       // values of the warp: %tid; layout in WarpValue
};
inline constexpr uint32_t kLanes = 32;
inline constexpr Ref kTrueRef = kBaseConstants;  // the first constant is an all-ones mask

// One decoded operation. The meaning of the fields past `guard` is the handler's.
struct alignas(64) Inst {
  Handler run = nullptr;
  Ref guard = kTrueRef;
  uint32_t guard_flip = 0;  // xor'ed to the guard's mask: ~0 for @!p
  Ref dst = 0, a = 0, b = 0, c = 0;
  int64_t imm = 0;
  uint32_t d = 0, e = 0;
  uint16_t aux = 0;
  uint8_t x = 0, y = 0;
  uint32_t line = 0;
  uint8_t memo = 0;  // loads and stores: which AddressMemo, | kMemoReuse where it is filled already
};

// Values that are the same for all lanes of a block, each as 32 lanes of 8 bytes (a 32-bit value
// uses the first half).
enum class BlockValue : uint32_t {
  ctaid_x,
  ctaid_y,
  ctaid_z,
  nctaid_x,
  nctaid_y,
  nctaid_z,
  ntid_x,
  ntid_y,
  ntid_z,
  clusterid_x,
  clusterid_y,
  clusterid_z,
  nclusterid_x,
  nclusterid_y,
  nclusterid_z,
  cluster_ctaid_x,
  cluster_ctaid_y,
  cluster_ctaid_z,
  cluster_nctaid_x,
  cluster_nctaid_y,
  cluster_nctaid_z,
  cluster_ctarank,
  cluster_nctarank,
  is_explicit_cluster,
  smid,
  nsmid,
  gridid,
  envreg1,
  envreg2,
  dynamic_shared,
  dynamic_smem_size,
  total_smem_size,
  param_address,
  nwarpid,
  zero,
  count,
};
enum class WarpValue : uint32_t { tid_x, tid_y, tid_z, warpid, count };
inline constexpr uint32_t kValueBytes = kLanes * 8;
constexpr Ref refOf(BlockValue v) {
  return static_cast<uint32_t>(v) * kValueBytes | kBaseBlock;
}
constexpr Ref refOf(WarpValue v) {
  return static_cast<uint32_t>(v) * kValueBytes | kBaseWarp;
}

// A formal parameter or result of a device function: bytes in the callee's local frame.
struct FormalParam {
  uint32_t offset = 0;
  uint32_t size = 0;
};

struct FunctionCode {
  std::string name;
  uint32_t index = 0;  // in ProgramCode::functions
  bool is_entry = false;
  std::vector<Inst> code;
  uint32_t frame_bytes = 0;  // registers of a warp
  uint32_t local_bytes = 0;  // local memory of a thread: .local and .param variables
  uint32_t registers = 0;    // estimate of 32-bit registers per thread
  std::vector<FormalParam> params;
  std::vector<FormalParam> returns;
  // Parameters of a kernel that its code takes from the block's values, after BlockValue::count.
  std::vector<FormalParam> uniform_params;
  std::vector<uint32_t> callees;  // indices of functions called directly
  bool calls_indirectly = false;
  bool uses_alloca = false;
  bool uses_dynamic_shared = false;
  bool uses_common_shared = false;
};

// A call as decoded: which bytes of the caller's local frame become which parameters.
struct CallSite {
  FunctionCode* callee = nullptr;  // null: indirect
  std::vector<FormalParam> args;   // in the caller's local frame
  std::vector<FormalParam> returns;
  uint32_t caller_local_bytes = 0;
};

// What the elements of a matrix operand are.
enum class Element : uint8_t {
  none,
  b1,
  s4,
  u4,
  s8,
  u8,
  e2m1,
  e2m1_packed,  // eight to a register; e2m1 and the others below 8 bits have a byte each
  e2m3,
  e3m2,
  e4m3,
  e5m2,
  f16,
  bf16,
  tf32,
  f32,
  s32,
  f64,
};

// A matrix as the registers of a warp hold it.
struct Fragment {
  Element element = Element::none;
  uint8_t count = 0;      // registers
  uint32_t per_lane = 0;  // elements
  uint32_t columns = 0;
  uint32_t elements = 0;  // of the matrix, or of all matrices of a batch
  Ref refs[8] = {};
  // Element `k` of lane `l` is number places[l * per_lane + k] of the matrix, row by row.
  std::vector<uint16_t> places;
};

// The half of A that a sparse product multiplies: each chunk of a row has two of its four parts,
// and four bits say which.
struct SparseForm {
  uint8_t chunk = 0;       // elements; 0: A is not sparse. Two tf32 count as four halves
  uint8_t first_lane = 0;  // of each four lanes: the first that has the bits
  bool two_rows = false;   // a register has four chunks of two rows, else eight of one
  Ref metadata = 0;
};

// The scales of the blocks of a factor: bytes of a register, from a byte and a lane that operands
// name.
struct ScaleForm {
  Ref data = 0, byte = 0, lane = 0;
};

// An operation of a warp on matrices.
struct MatrixSite {
  uint32_t m = 0, n = 0, k = 0;
  uint32_t batch = 1;    // products at once
  uint8_t rounding = 0;  // Rounding, of f64
  SparseForm sparse;
  uint8_t scales = 0;        // blocks of a row of A; 0: nothing is scaled
  bool scales_e4m3 = false;  // what the scales are, else powers of two
  ScaleForm scale_a, scale_b;
  bool saturates = false;  // integers
  bool by_and = false;     // single bits: and, else xor
  bool by_column = false;  // loads and stores: the matrix lies column by column
  Ref stride = 0;          // elements from line to line
  Fragment a, b, c, d;
};

// ldmatrix and stmatrix: up to four tiles, whose rows are 16 bytes in memory.
struct TileSite {
  enum class Form : uint8_t {
    halves_8x8,   // rows of 8 elements of 16 bits
    bytes_16x16,  // loads: columns of 16 bytes
    bytes_8x16,   // loads: rows of 16 bytes
    bytes_16x8,   // stores: columns of 16 bytes
  } form = Form::halves_8x8;
  bool transposed = false;   // halves
  uint8_t element_bits = 8;  // of the bytes: 6 and 4 are packed in memory
  uint8_t count = 1;         // tiles
  Ref refs[4] = {};
};

// A fetch from a texture: where the lanes have its coordinates and take its components.
struct TextureSite {
  uint8_t dimensions = 2;
  bool layered = false;
  bool cube = false;
  bool by_index = false;  // coordinates are integers
  enum class Level : uint8_t { base, given, gradient } level_kind = Level::base;
  enum class Result : uint8_t { words, halves, packed_halves } result = Result::words;
  uint8_t gathered = 4;  // tld4: which component
  Ref at[3] = {}, layer = 0, level = 0;
  Ref dx[3] = {}, dy[3] = {};
  Ref offset[3] = {};
  bool has_offset = false;
  bool wants_residency = false;
  Ref residency = 0;  // predicate
  Ref out[4] = {};
  uint8_t out_count = 4;
};

// An access to a surface.
struct SurfaceSite {
  uint8_t dimensions = 2;
  bool layered = false;
  enum class Access : uint8_t { load, store, formatted_store, reduce } access = Access::load;
  enum class Boundary : uint8_t { trap, clamp, zero } boundary = Boundary::trap;
  uint8_t elements = 1;
  uint8_t bytes = 4;           // of an element
  uint8_t reg_bytes = 4;       // of its register
  bool counts_texels = false;  // the first coordinate, which else counts bytes
  bool floats = false;         // formatted: the registers hold floats
  uint8_t reduction = 0;       // AtomicOp
  Type type = Type::none;      // of a reduction
  Ref at[3] = {}, layer = 0;
  Ref values[4] = {};
};

// A copy between a tensor in global memory and a box of it in shared memory.
struct TensorSite {
  enum class Kind : uint8_t { load, store, reduce } kind = Kind::load;
  uint8_t rank = 1;
  bool im2col = false;
  bool picks_rows = false;  // gather4, scatter4: a column and the numbers of four rows of a matrix
  bool signals = false;     // a load completes bytes of an mbarrier
  uint8_t reduction = 0;    // AtomicOp
  Ref at[5] = {};           // coordinates, the innermost dimension first
  Ref offset[3] = {};       // im2col loads: offsets of the pixels
  bool has_offset = false;
  bool multicasts = false;
  Ref targets = 0;  // blocks of the cluster
};

// A constant operand that is filled in when the program is loaded.
struct ConstantAddress {
  uint32_t offset = 0;  // in the constants
  uint32_t size = 8;    // of one lane
  int variable = -1;    // index of the variable
  int64_t addend = 0;
};

namespace op {
// Which operation, and how it takes its operands apart.
struct VideoForm {
  uint8_t op = 0;      // VideoOp
  uint8_t second = 0;  // VideoSecond: what follows on the result
  uint8_t parts = 1;   // 1 scalar, 2 or 4 SIMD
  uint8_t shift = 0;   // vmad: right shift of the result
  bool sign_d = false, sign_a = false, sign_b = false;
  bool saturates = false;
  bool wraps = false;          // shifts: count modulo 32
  bool plus_one = false;       // vmad .po
  bool minus_product = false;  // vmad
  bool minus_c = false;
  uint8_t compare = 0;                        // vset: Compare
  uint8_t select[3] = {0, 0, 0};              // of d, a, b: bytes << 4 | part; SIMD: unused
  uint8_t mask = 15;                          // SIMD: parts that are written or summed
  uint32_t pick_a = 0x3210, pick_b = 0x7654;  // SIMD: source of each part among those of a and b
};

// The targets of a brx.idx; the lanes meet again at `meet`, which may be null.
struct BranchTable {
  const Inst** targets;
  uint32_t count;
  const Inst* meet;
};
}  // namespace op

struct ProgramCode {
  std::deque<FunctionCode> functions;
  std::deque<CallSite> call_sites;
  std::deque<MatrixSite> matrix_sites;
  std::deque<TileSite> tile_sites;
  std::deque<op::VideoForm> video_forms;
  std::deque<TensorSite> tensor_sites;
  std::deque<TextureSite> texture_sites;
  std::deque<SurfaceSite> surface_sites;
  std::deque<std::vector<const Inst*>> branch_tables;
  std::deque<op::BranchTable> branch_heads;
  std::vector<std::byte> constants;
  std::vector<ConstantAddress> constant_addresses;
  std::vector<std::unique_ptr<KernelCode>> kernels;
  uint32_t common_shared_bytes = 0;
  bool uses_clusters = false;
  const struct Executors* executors = nullptr;
  uint32_t target = 0;
};

// What a launch needs to know of a kernel.
struct KernelCode {
  const FunctionCode* function = nullptr;
  std::string name;
  uint32_t param_bytes = 0;
  uint32_t static_shared_bytes = 0;
  uint32_t stack_bytes = 0;  // local memory of a thread with all calls; 0 = unbounded (recursion)
  bool unbounded_stack = false;
};

// A function pointer as kernels see it. Not an address of anything.
inline constexpr uint64_t kFunctionHandleTag = uint64_t{0xFA57} << 48;
constexpr uint64_t functionHandle(uint32_t index) {
  return kFunctionHandleTag | (uint64_t{index} + 1) << 4;
}

}  // namespace farwarp::ptx
