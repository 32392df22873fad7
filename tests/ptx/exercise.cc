#include "tests/ptx/exercise.h"

#include <sys/mman.h>

#include <cstring>
#include <functional>
#include <vector>

#include "gpud/device/cpu/ptx/check.h"
#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::ptx {
namespace {

constexpr size_t kReserved = size_t{64} << 20;
constexpr size_t kArena = 256 << 10;          // what parameters point into
constexpr size_t kVariables = 4 << 20;        // for the module's variables
constexpr size_t kHeap = 1 << 20;             // for the kernels' malloc
constexpr uint64_t kTextureHandle = 0x10007;  // any number will do
constexpr size_t kLaunchesMax = 12;

uint64_t reserve() {
  void* at =
      mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return reinterpret_cast<uint64_t>(at);
}

}  // namespace

struct Exerciser::Device : Environment {
  Device() : Device(reserve()) {}
  explicit Device(uint64_t base)
      : Environment(map, pool, traits()), base(base), map(base, base + kReserved), pool(1) {
    // Pages without access lie between the three.
    arena = base + (1 << 20);
    variables = base + (4 << 20);
    heap = base + (16 << 20);
    for (auto [at, bytes] : {std::pair{arena, kArena}, {variables, kVariables}, {heap, kHeap}}) {
      if (mprotect(reinterpret_cast<void*>(at), bytes, PROT_READ | PROT_WRITE) != 0) abort();
    }
    auto texture = std::make_shared<Texture>();
    texture->channels = 4;
    texture->levels.push_back({arena, 16, 16, 1, 256, 4096});
    textures[kTextureHandle] = texture;
    auto surface = std::make_shared<Texture>(*texture);
    surface->is_surface = true;
    textures[kTextureHandle + 1] = surface;
  }
  ~Device() override { munmap(reinterpret_cast<void*>(base), kReserved); }
  static DeviceTraits traits() {
    DeviceTraits traits;
    traits.multiprocessors = 2;
    traits.stack_bytes_max = 4096;
    return traits;
  }

  void print(std::string_view text) override { printed += text.size(); }
  void printAssertion(std::string_view text) override { printed += text.size(); }
  uint64_t allocate(uint64_t bytes) override {
    if (bytes > kHeap - heap_used) return 0;
    uint64_t at = heap + heap_used;
    heap_used += (bytes + 15) & ~uint64_t{15};
    return at;
  }

  uint64_t base;
  MemoryMap map;
  WorkerPool pool;
  uint64_t arena = 0, variables = 0, heap = 0;
  size_t heap_used = 0;
  size_t printed = 0;
  TextureTable textures;
};

Exerciser::Exerciser() : device_(std::make_unique<Device>()) {}
Exerciser::~Exerciser() = default;

namespace {

// Pointers into the arena wherever a pointer may be, small numbers elsewhere.
std::vector<std::byte> parametersOf(const KernelInfo& info, uint64_t arena, size_t seed) {
  std::vector<std::byte> block(info.param_bytes + 8);
  auto put = [&](size_t at, uint64_t value, size_t size) {
    std::memcpy(&block[at], &value, std::min(size, block.size() - at));
  };
  for (size_t k = 0; k < info.params.size(); ++k) {
    const ParamInfo& p = info.params[k];
    uint64_t address = arena + (k * 16384 + (seed % 3) * 4096) % kArena;
    uint64_t handle = kTextureHandle + k % 2;
    if (p.size == 8) {
      put(p.offset, seed % 11 == 10 ? handle : address, 8);
    } else if (p.size < 8) {
      put(p.offset, (seed >> k % 40) % 97, p.size);
    } else {
      for (size_t at = 0; at + 8 <= p.size; at += 8) {
        put(p.offset + at, at % 24 == 16 ? seed % 97 : address + at, 8);
      }
    }
  }
  block.resize(info.param_bytes);
  return block;
}

LaunchShape shapeOf(const KernelInfo& info, size_t seed) {
  static constexpr Extent kBlocks[] = {{32}, {64}, {7, 3}, {1}, {96}, {16, 4}, {8, 4, 3}, {33}};
  static constexpr Extent kGrids[] = {{1}, {2}, {3}, {2, 2}};
  LaunchShape shape;
  shape.block = kBlocks[seed % std::size(kBlocks)];
  shape.grid = kGrids[seed / 8 % std::size(kGrids)];
  if (seed / 32 % 8 == 7) shape.grid = shape.cluster = {2};
  if (info.required_cluster[0] != 0) {
    const uint32_t(&c)[3] = info.required_cluster;
    shape.grid = shape.cluster = {c[0], c[1], c[2]};
  }
  shape.cooperative = seed / 256 % 8 == 7;
  shape.dynamic_shared_bytes = seed / 2048 % 4 * 512;
  return shape;
}

std::string contradictionIn(const TextCheck& check) {
  if ((check.log.status == CompileStatus::ok) != check.log.text.empty()) {
    return "The text's status and its log do not fit each other: " + check.log.text;
  }
  for (const FunctionCheck& function : check.functions) {
    if ((function.status == CompileStatus::ok) != function.reason.empty()) {
      return "The status of '" + function.name + "' does not fit its reason: " + function.reason;
    }
  }
  return {};
}

}  // namespace

Exercised Exerciser::run(std::string_view text, unsigned timeout_ms) {
  Exercised result;
  result.contradiction = contradictionIn(checkText(text));
  size_t seed = std::hash<std::string_view>()(text);
  CompileOptions options;
  options.host_level = static_cast<int>(2 + seed % 3);
  if (!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    options.host_level = 2;
  }
  CompileLog log;
  auto program = Program::compile({&text, 1}, options, log);
  if ((program == nullptr) != (log.status != CompileStatus::ok)) {
    result.contradiction = "A program without status, or a status without program: " + log.text;
  }
  if (program == nullptr) return result;
  result.compiled = 1;
  Device& device = *device_;
  std::vector<uint64_t> addresses;
  uint64_t at = device.variables;
  for (const VariableInfo& v : program->variables()) {
    uint64_t here = (at + v.align - 1) & ~uint64_t{v.align - 1};
    if (v.size > device.variables + kVariables - here) return result;
    addresses.push_back(here);
    at = here + v.size;
  }
  LoadedProgram loaded(program, addresses);
  loaded.initialise();
  for (const Kernel& kernel : program->kernels()) {
    if (result.launches == kLaunchesMax) break;
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    size_t bits = seed >> 20;
    auto* words = reinterpret_cast<uint32_t*>(device.arena);
    for (size_t k = 0; k < kArena / 4; ++k) words[k] = static_cast<uint32_t>(k % 1021);
    device.heap_used = 0;
    std::vector<std::byte> params = parametersOf(kernel.info(), device.arena, bits);
    LaunchShape shape = shapeOf(kernel.info(), bits);
    shape.params = params.data();
    shape.param_bytes = params.size();
    shape.textures = &device.textures;
    LaunchControl control;
    control.timeout_ns = uint64_t{timeout_ms} * 1'000'000;
    LaunchResult end = ptx::run(kernel, loaded, shape, device, &control);
    ++result.launches;
    result.completed += end.status == LaunchStatus::ok ? 1 : 0;
    result.timed_out += end.status == LaunchStatus::launch_timeout ? 1 : 0;
    if ((end.status == LaunchStatus::ok) != end.detail.message.empty()) {
      result.contradiction = "A launch's status and message do not fit: " + end.detail.message;
    }
  }
  return result;
}

std::string runnableModuleOf(std::string_view instruction) {
  std::string text =
      ".version 9.0\n.target sm_120a\n.address_size 64\n"
      ".global .align 16 .b8 cells[256];\n.global .texref image;\n.global .surfref target;\n"
      ".visible .entry k(.param .u64 p)\n{\n"
      ".reg .pred %p<10>;\n.reg .b8 %x<10>;\n.reg .b16 %h<10>;\n.reg .b32 %r<10>;\n"
      ".reg .b64 %d<10>;\n.reg .b128 %q<10>;\n.shared .align 16 .b8 shared_cells[256];\n"
      "ld.param.u64 %d0, [p];\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %d1, %r0, 16;\n"
      "add.u64 %d1, %d1, %d0;\n";
  for (int k = 2; k < 10; ++k) {
    std::string n = std::to_string(k);
    text += "add.u64 %d" + n + ", %d0, " + std::to_string(k * 256) + ";\n";
    text += "mad.lo.u32 %r" + n + ", %r0, " + n + ", " + n + ";\n";
    text += "cvt.u16.u32 %h" + n + ", %r" + n + ";\n";
    text += "setp.gt.u32 %p" + n + ", %r" + n + ", 31;\n";
  }
  text += "mov.u32 %r1, shared_cells;\n";
  text += instruction;
  return text + ";\nst.global.b32 [%d1], %r2;\nret;\n}\n";
}

}  // namespace farwarp::ptx
