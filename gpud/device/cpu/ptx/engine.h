// The PTX engine: compiles PTX text into a pre-decoded program and runs its kernels on the CPU.
// It knows PTX and memory, nothing of the CUDA driver API. A driver uses it like this:
//
//   CompileLog log;
//   auto program = Program::compile({&text, 1}, {}, log);        // once per module
//   auto loaded = std::make_shared<LoadedProgram>(program, addresses);  // once per context
//   loaded->initialise();                                       // writes initial values of
//   variables LaunchResult r = run(*program->findKernel("k"), *loaded, shape, environment);
//
// Addresses: a device address is the address of host memory. Kernels may touch the memory that the
// environment's MemoryMap names and nothing else; everything else ends the launch with a result.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gpud/device/cpu/ptx/texture.h"

namespace farwarp::ptx {

// ---------------------------------------------------------------------------------------------
// Compiling

enum class CompileStatus : uint8_t {
  ok,
  invalid_ptx,  // not PTX: syntax, unknown symbol, wrong operand types
  unsupported,  // PTX that this engine does not execute
  unresolved,   // an .extern function or variable has no definition
  duplicate,    // two of the texts define the same name
};

struct CompileLog {
  CompileStatus status = CompileStatus::ok;
  uint32_t line = 0;  // 1-based line of the first error, 0 when there is none
  std::string text;   // one line per error, as ptxas would print it; full sentences
};

struct CompileOptions {
  // Instruction set of the host to use: 0 = best of this machine, else 2, 3 or 4 (x86-64-v2 ..).
  int host_level = 0;
  // Text longer than this is refused.
  size_t text_bytes_max = size_t{256} << 20;
};

// One of several texts that become one program.
struct LinkInput {
  std::string_view text;
  std::string_view name;  // for messages; may be empty
};

struct ParamInfo {
  uint32_t offset = 0;  // bytes from the start of the kernel's parameter block
  uint32_t size = 0;    // bytes
  uint32_t align = 0;   // bytes
};

struct KernelInfo {
  std::string name;
  std::vector<ParamInfo> params;
  uint32_t param_bytes = 0;          // size of the parameter block
  uint32_t static_shared_bytes = 0;  // without dynamic shared memory
  uint32_t local_bytes = 0;          // per thread, this function's own frame
  uint32_t const_bytes = 0;          // of the module's constant variables
  uint32_t registers = 0;  // estimate that lets every block size of the kernel run, 16..255
  uint32_t target = 0;     // NN of the PTX's .target sm_NN
  uint32_t max_threads[3] = {0, 0, 0};       // .maxntid, 0 = not given
  uint32_t required_threads[3] = {0, 0, 0};  // .reqntid, 0 = not given
  uint32_t required_cluster[3] = {0, 0, 0};  // .reqnctapercluster, 0 = not given
  uint32_t min_blocks_per_sm = 0;            // .minnctapersm
  bool uses_dynamic_shared = false;
};

enum class VariableSpace : uint8_t { global, constant };

// A place in a variable's initial value that holds the address of another symbol.
struct Relocation {
  uint32_t offset = 0;  // bytes from the variable's start
  uint32_t size = 8;    // 4 or 8 bytes
  uint32_t shift = 0;   // the address is shifted right by this many bits (mask() initialisers)
  uint64_t addend = 0;
  int variable = -1;  // index in the program's variables
  int function = -1;  // or the function's index
};

// What a variable of type .texref, .samplerref or .surfref is a reference to.
enum class ReferenceKind : uint8_t { none, texture, sampler, surface };

struct VariableInfo {
  std::string name;
  uint64_t size = 0;   // bytes
  uint32_t align = 1;  // bytes, a power of two
  VariableSpace space = VariableSpace::global;
  bool managed = false;
  // Not none: kernels name a texture or surface by this variable. Its address is the value that
  // they have for it: the texture that a driver binds to it lies in the TextureTable of a launch
  // under LoadedProgram::address(). A reference that nothing is bound to is an illegal address.
  ReferenceKind reference = ReferenceKind::none;
  bool is_visible = false;         // .visible or .weak or .common: found by name from outside
  std::vector<std::byte> initial;  // shorter than size: the rest is zero
  std::vector<Relocation> relocations;
};

struct KernelCode;  // decoded form, private to the engine
struct ProgramCode;

// One kernel of a program; lives as long as its Program.
class Kernel {
 public:
  Kernel(KernelInfo info, const KernelCode* code) : info_(std::move(info)), code_(code) {}
  const KernelInfo& info() const { return info_; }
  const KernelCode& code() const { return *code_; }

 private:
  KernelInfo info_;
  const KernelCode* code_;
};

// Immutable after compile(); may be shared by threads and contexts.
class Program {
 public:
  // Compiles PTX. Returns null on failure, with the reasons in `log`. Throws nothing but
  // std::bad_alloc. program_cache.h remembers programs.
  static std::shared_ptr<const Program> compile(std::span<const std::string_view> texts,
                                                const CompileOptions& options, CompileLog& log);
  // The same with names for messages. Several texts are linked: what one declares .extern may be
  // defined .visible, .weak or .common in another; names without these belong to their text.
  static std::shared_ptr<const Program> link(std::span<const LinkInput> inputs,
                                             const CompileOptions& options, CompileLog& log);
  // Would the text compile if others defined what it declares .extern? False: why not, in `log`.
  [[nodiscard]] static bool checkInput(const LinkInput& input, const CompileOptions& options,
                                       CompileLog& log);
  static std::shared_ptr<const Program> compile(std::string_view text, CompileLog& log) {
    return compile({&text, 1}, {}, log);
  }
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  std::span<const Kernel> kernels() const { return kernels_; }
  // Indices in this list are the indices of LoadedProgram's addresses.
  std::span<const VariableInfo> variables() const { return variables_; }
  const Kernel* findKernel(std::string_view name) const;  // null when there is none
  // -1 when there is none. References are found by their kind only.
  int findVariable(std::string_view name, ReferenceKind kind = ReferenceKind::none) const;
  const ProgramCode& code() const { return *code_; }
  // Kernels of the engine itself, with which the program's kernels copy and fill memory.
  std::span<const Kernel> helpers() const { return helpers_; }

 private:
  Program();
  std::unique_ptr<ProgramCode> code_;
  std::vector<Kernel> kernels_;
  std::vector<Kernel> helpers_;
  std::vector<VariableInfo> variables_;
};

// A program with a place in memory for each of its variables. The caller allocates the places
// (size and alignment as VariableInfo says, all readable and writable by the host) and frees them
// after the last launch; they must be inside the MemoryMap of every environment it runs in.
class LoadedProgram {
 public:
  LoadedProgram(std::shared_ptr<const Program> program, std::vector<uint64_t> addresses);
  ~LoadedProgram();
  LoadedProgram(const LoadedProgram&) = delete;
  LoadedProgram& operator=(const LoadedProgram&) = delete;

  // Writes the initial values, relocated, into the variables. Call once before the first launch.
  void initialise();
  const Program& program() const { return *program_; }
  uint64_t address(size_t variable) const { return addresses_[variable]; }
  // Operand constants with this program's addresses filled in; private to the engine.
  const std::byte* constants() const { return constants_; }

 private:
  std::shared_ptr<const Program> program_;
  std::vector<uint64_t> addresses_;
  std::unique_ptr<std::byte[]> storage_;
  std::byte* constants_ = nullptr;  // 64-byte aligned, in storage_
};

// ---------------------------------------------------------------------------------------------
// Memory that kernels may touch

// One reserved device range, and further ranges (pinned, mapped or managed host memory). Pages of
// the reserved range that are not mapped give an illegal address when touched. Safe for use by any
// thread while kernels run.
class MemoryMap {
 public:
  MemoryMap(uint64_t reserved_begin, uint64_t reserved_end)
      : begin_(reserved_begin), end_(reserved_end) {}
  uint64_t reservedBegin() const { return begin_; }
  uint64_t reservedEnd() const { return end_; }

  // Ranges must not overlap. remove() takes the begin of an added range; false when there is none.
  void add(uint64_t begin, uint64_t end);
  bool remove(uint64_t begin);

  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
  };
  // The range (reserved or added) that holds `address`; {0,0} when there is none.
  Range find(uint64_t address) const;
  // Grows with each change; a cached Range is valid while it stays the same.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

 private:
  uint64_t begin_;
  uint64_t end_;
  mutable std::mutex mutex_;   // guards ranges_
  std::vector<Range> ranges_;  // sorted by begin
  std::atomic<uint64_t> generation_{1};
};

// ---------------------------------------------------------------------------------------------
// Running

// Threads that run blocks next to the launching thread; shared by any number of launches.
class WorkerPool {
 public:
  // `threads` = how many may work at once, counting the launching thread: 1 starts no thread;
  // 0 = one per CPU that this process may use.
  explicit WorkerPool(unsigned threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  unsigned threads() const { return threads_; }

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  unsigned threads_;
  std::unique_ptr<Impl> impl_;
};

struct DeviceTraits {
  uint32_t multiprocessors = 16;           // %nsmid
  uint32_t clock_khz = 1'000'000;          // rate at which clock64() counts
  uint32_t shared_bytes_max = 227 * 1024;  // per block, static + dynamic
  uint32_t stack_bytes_max = 64 * 1024;    // local memory per thread, all frames of a call chain
  // Not 0: blocks, warps and diverged lanes take turns in an order made from this number, for tests
  // of what a program may not rely on. 0: the natural order, which is the fastest.
  uint64_t order_seed = 0;
};

// What a launch needs from outside. The hooks are called from worker threads, possibly several at
// once. They must not throw.
class Environment {
 public:
  Environment(MemoryMap& memory, WorkerPool& pool, const DeviceTraits& traits)
      : memory_(memory), pool_(pool), traits_(traits) {}
  virtual ~Environment() = default;

  MemoryMap& memory() const { return memory_; }
  WorkerPool& pool() const { return pool_; }
  const DeviceTraits& traits() const { return traits_; }

  // Text of a device printf, formatted by the engine; one call per printf of a thread.
  virtual void print(std::string_view text) = 0;
  // Text of a failed device assertion, as CUDA prints it to stderr, with the newline.
  virtual void printAssertion(std::string_view text) = 0;
  // Device malloc: an address inside the memory map, 16-byte aligned, or 0. Device free.
  virtual uint64_t allocate(uint64_t /*bytes*/) { return 0; }
  virtual void release(uint64_t /*address*/) {}
  // cudaGraphSetConditional: the value of a conditional handle.
  virtual void setCondition(uint64_t /*handle*/, uint32_t /*value*/) {}

 private:
  MemoryMap& memory_;
  WorkerPool& pool_;
  DeviceTraits traits_;
};

struct Extent {
  uint32_t x = 1;
  uint32_t y = 1;
  uint32_t z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// Shared by the launch and whoever watches it.
struct LaunchControl {
  std::atomic<bool> abort{false};  // set by anyone: the launch ends soon with status aborted
  uint64_t timeout_ns = 0;         // 0 = no limit; else the launch ends with launch_timeout
};

struct LaunchShape {
  Extent grid;
  Extent block;
  Extent cluster;  // 1,1,1 = no clusters
  uint32_t dynamic_shared_bytes = 0;
  bool cooperative = false;           // all blocks live at once; grid-wide barriers work
  const std::byte* params = nullptr;  // the parameter block, KernelInfo::param_bytes long
  size_t param_bytes = 0;
  uint64_t grid_id = 0;  // %gridid
  // The textures and surfaces that the kernel may name; null: none. Must outlive the launch.
  const TextureTable* textures = nullptr;
};

enum class LaunchStatus : uint8_t {
  ok,
  bad_shape,  // the shape does not fit the kernel or the device; detail.message says why
  illegal_address,
  misaligned_address,
  illegal_instruction,
  trap,  // trap or brkpt
  assertion,
  launch_timeout,
  aborted,
  stack_overflow,  // local memory or call depth exhausted (hardware stack error)
  invalid_pc,      // indirect call or branch to an address that is no function
  invalid_address_space,
  deadlock,       // every thread waits at a barrier that can not complete
  out_of_memory,  // the host had no memory for the launch
};

struct LaunchDetail {
  std::string message;  // a full sentence, empty when ok
  std::string kernel;
  Extent block{0, 0, 0};   // %ctaid
  Extent thread{0, 0, 0};  // %tid
  uint32_t ptx_line = 0;
  uint64_t address = 0;  // for address errors
};

struct LaunchResult {
  LaunchStatus status = LaunchStatus::ok;
  LaunchDetail detail;             // of the first error
  uint64_t warp_instructions = 0;  // executed; 0 when not counted
};

// Runs the whole grid on the calling thread and idle threads of the pool; returns when the last
// block has ended. Any number of launches may run at once from different threads. `control` may be
// null.
LaunchResult run(const Kernel& kernel, const LoadedProgram& program, const LaunchShape& shape,
                 Environment& environment, LaunchControl* control = nullptr);

// The blocks of `threads` threads with `dynamic_shared_bytes` each that one multiprocessor of a
// compute 9.0 device holds; what occupancy queries answer.
uint32_t residentBlocks(const KernelInfo& kernel, uint32_t threads, size_t dynamic_shared_bytes);

}  // namespace farwarp::ptx
