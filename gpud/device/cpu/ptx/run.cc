// Runs a grid: checks the shape, shares the blocks among workers, and collects the result.
#include <time.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>

#include "gpud/device/cpu/ptx/machine.h"
#include "gpud/device/cpu/ptx/worker_pool.h"

namespace farwarp::ptx {

uint64_t monotonicNanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void Launch::fail(LaunchStatus status, const LaunchDetail& detail) {
  std::lock_guard lock(mutex);
  if (result.status != LaunchStatus::ok) return;
  result.status = status;
  result.detail = detail;
  stop.store(true, std::memory_order_release);
}

void Launch::chooseOrder() {
  const uint64_t seed = environment->traits().order_seed, units = block_total / cluster_blocks;
  if (seed == 0) return;
  first_unit = mixed(seed, units) % units;
  // Steps without a common divisor with the number of units come by each of them.
  unit_step = mixed(seed, first_unit) % units;
  while (std::gcd(unit_step, units) != 1) ++unit_step;
}

uint32_t residentBlocks(const KernelInfo& kernel, uint32_t threads, size_t dynamic_shared_bytes) {
  constexpr uint32_t kThreads = 2048, kBlocks = 32, kRegisters = 65536;
  constexpr size_t kShared = 228 * 1024, kSharedReserved = 1024;
  if (threads == 0 || threads > 1024) return 0;
  uint32_t warps = (threads + kLanes - 1) / kLanes;
  uint32_t blocks = std::min(kBlocks, kThreads / (warps * kLanes));
  uint32_t registers = (std::max(kernel.registers, 16u) + 7) / 8 * 8 * kLanes * warps;
  blocks = std::min(blocks, kRegisters / registers);
  size_t shared = kernel.static_shared_bytes + dynamic_shared_bytes + kSharedReserved;
  return static_cast<uint32_t>(std::min<size_t>(blocks, kShared / shared));
}

namespace {

std::string checkShape(const Kernel& kernel, const LaunchShape& shape, const DeviceTraits& traits,
                       uint64_t shared_bytes) {
  const KernelInfo& info = kernel.info();
  auto number = [](uint64_t n) { return std::to_string(n); };
  if (shape.grid.count() == 0 || shape.block.count() == 0) {
    return "The grid or the block has an extent of 0; the least is 1.";
  }
  if (shape.grid.x > 0x7fffffff || shape.grid.y > 65535 || shape.grid.z > 65535) {
    return "The grid is larger than 2147483647 x 65535 x 65535.";
  }
  if (shape.block.count() > 1024 || shape.block.x > 1024 || shape.block.y > 1024 ||
      shape.block.z > 64) {
    return "The block has " + number(shape.block.count()) +
           " threads; the limit is 1024, and 1024 x 1024 x 64.";
  }
  if (shape.param_bytes < info.param_bytes) {
    return "The parameter block has " + number(shape.param_bytes) + " bytes; the kernel needs " +
           number(info.param_bytes) + ".";
  }
  if (shared_bytes > traits.shared_bytes_max) {
    return "The block needs " + number(shared_bytes) + " bytes of shared memory; the limit is " +
           number(traits.shared_bytes_max) + ".";
  }
  const Extent& c = shape.cluster;
  if (c.count() == 0 || c.count() > 16 || shape.grid.x % std::max(c.x, 1u) != 0 ||
      shape.grid.y % std::max(c.y, 1u) != 0 || shape.grid.z % std::max(c.z, 1u) != 0) {
    return "The cluster has " + number(c.count()) +
           " blocks; it must have 1 to 16 and divide the grid.";
  }
  if (shape.cooperative) {
    uint64_t limit = uint64_t{traits.multiprocessors} *
                     residentBlocks(info, static_cast<uint32_t>(shape.block.count()),
                                    shape.dynamic_shared_bytes);
    if (shape.grid.count() > limit) {
      return "The cooperative grid has " + number(shape.grid.count()) +
             " blocks; the device holds at most " + number(limit) + " of them at once.";
    }
  }
  return {};
}

LaunchResult runGrid(const Kernel& kernel, const LoadedProgram& program, const LaunchShape& shape,
                     Environment& environment, LaunchControl* control, uint32_t depth);

// The grids that a grid launched; the first error ends them all.
void runChildren(Launch& launch) {
  for (const ChildGrid& child : launch.children.take()) {
    LaunchShape shape;
    shape.grid = child.grid;
    shape.block = child.block;
    shape.dynamic_shared_bytes = child.shared_bytes;
    shape.params = static_cast<const std::byte*>(child.params);
    shape.param_bytes = child.kernel->info().param_bytes;
    shape.grid_id = launch.shape.grid_id;
    shape.textures = launch.shape.textures;
    launch.result = runGrid(*child.kernel, *launch.program, shape, *launch.environment,
                            launch.control, launch.depth + 1);
    if (launch.result.status != LaunchStatus::ok) return;
  }
}

LaunchResult runGrid(const Kernel& kernel, const LoadedProgram& program, const LaunchShape& shape,
                     Environment& environment, LaunchControl* control, uint32_t depth) {
  Launch launch;
  launch.depth = depth;
  const DeviceTraits& traits = environment.traits();
  const KernelCode& code = kernel.code();
  launch.shared_bytes = uint64_t{code.static_shared_bytes} + shape.dynamic_shared_bytes;
  std::string wrong = checkShape(kernel, shape, traits, launch.shared_bytes);
  if (!wrong.empty()) {
    launch.result.status = LaunchStatus::bad_shape;
    launch.result.detail.message = wrong;
    launch.result.detail.kernel = code.name;
    return launch.result;
  }
  installFaultHandlers();
  launch.kernel = &code;
  launch.program = &program;
  launch.code = &program.program().code();
  launch.shape = shape;
  launch.environment = &environment;
  launch.control = control;
  launch.executors = launch.code->executors;
  launch.block_total = shape.grid.count();
  launch.cluster_blocks = static_cast<uint32_t>(shape.cluster.count());
  launch.chooseOrder();
  uint32_t threads = static_cast<uint32_t>(shape.block.count());
  uint64_t resident =
      uint64_t{traits.multiprocessors} *
      std::max(residentBlocks(kernel.info(), threads, shape.dynamic_shared_bytes), 1u);
  launch.resident_max = shape.cooperative ? launch.block_total : std::max<uint64_t>(resident, 1);
  launch.stack_bytes = code.unbounded_stack ? traits.stack_bytes_max
                                            : std::min(code.stack_bytes, traits.stack_bytes_max);
  if (control != nullptr && control->timeout_ns != 0) launch.start_ns = monotonicNanoseconds();
  try {
    launch.params.assign(shape.params, code.param_bytes);
    WorkerPool::Impl& pool = environment.pool().impl();
    WorkerPool::Impl::Request request;
    request.launch = &launch;
    uint64_t units = launch.block_total / launch.cluster_blocks;
    request.wanted =
        static_cast<unsigned>(std::min<uint64_t>(units - 1, environment.pool().threads() - 1));
    pool.add(request);
    {
      Worker worker(launch);
      worker.run();
    }
    pool.finish(request);
    if (launch.result.status == LaunchStatus::ok) runChildren(launch);
  } catch (const std::bad_alloc&) {
    LaunchDetail detail;
    detail.message = "The host has no memory for the launch.";
    launch.fail(LaunchStatus::out_of_memory, detail);
  }
  return launch.result;
}

}  // namespace

LaunchResult run(const Kernel& kernel, const LoadedProgram& program, const LaunchShape& shape,
                 Environment& environment, LaunchControl* control) {
  return runGrid(kernel, program, shape, environment, control, 0);
}

}  // namespace farwarp::ptx
