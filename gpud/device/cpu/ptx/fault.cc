// Errors of kernels: memory faults, failed checks, traps. All of them leave the executor by a jump
// to the worker, which owns no objects between that point and here.
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include <bit>
#include <cstdio>
#include <mutex>

#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx {
namespace {

thread_local Worker* current = nullptr;
struct sigaction previous_segv, previous_bus;

void chain(int signal, siginfo_t* info, void* context) {
  const struct sigaction& previous = signal == SIGBUS ? previous_bus : previous_segv;
  if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(signal, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    return previous.sa_handler(signal);
  }
  // Nobody handles it: let the default action happen when the instruction is run again.
  struct sigaction fallback = {};
  fallback.sa_handler = SIG_DFL;
  sigaction(signal, &fallback, nullptr);
}

// The lane whose access covers the faulting address, else the first.
uint32_t blame(const Warp& w, uint64_t address) {
  uint32_t mask = w.pc != nullptr ? execMask(w, w.pc) : w.mask;
  uint32_t first = static_cast<uint32_t>(std::countr_zero(mask | 1u << 31));
  if (w.spacing == kSpacingOfGroups) {
    for (uint32_t l = 0; l < kLanes; ++l) {
      const uint64_t* group = w.address + (l & ~7u);
      uint64_t step = group[1] - group[0];
      if (address - (group[0] + (l & 7) * step) < (step != 0 ? step : 16)) return l;
    }
    return first;
  }
  if (w.spacing != kNone && w.spacing != 0) {
    uint64_t lane = (address - w.address[0]) / w.spacing;
    return lane < kLanes ? static_cast<uint32_t>(lane) : first;
  }
  for (uint32_t rest = mask; rest != 0 && w.spacing == kNone; rest &= rest - 1) {
    uint32_t l = static_cast<uint32_t>(std::countr_zero(rest));
    if (address - w.address[l] < 16) return l;
  }
  return first;
}

void onFault(int signal, siginfo_t* info, void* context) {
  Worker* worker = current;
  if (worker == nullptr || worker->running == nullptr || info->si_code <= 0) {
    return chain(signal, info, context);
  }
  Warp& w = *worker->running;
  uint64_t address = reinterpret_cast<uint64_t>(info->si_addr);
  worker->fault = {LaunchStatus::illegal_address, w.pc, blame(w, address), address};
  // The jump does what a return from here would do to the signal mask. A thread that stayed as it
  // is in a handler could not take a second fault: some runtimes block every signal around
  // handlers.
  pthread_sigmask(SIG_SETMASK, &static_cast<ucontext_t*>(context)->uc_sigmask, nullptr);
  siglongjmp(worker->recovery, 1);
}

}  // namespace

void installFaultHandlers() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = onFault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
  });
}

void setFaultWorker(Worker* worker) {
  current = worker;
}

void raise(Warp& w, const Inst* i, LaunchStatus status, uint32_t lane, uint64_t address) {
  Worker* worker = w.block->worker;
  worker->fault = {status, i, lane & 31, address};
  siglongjmp(worker->recovery, 1);
}

LaunchDetail locate(const Warp& w, uint32_t lane, const Inst* i) {
  LaunchDetail detail;
  const Block& block = *w.block;
  const Extent& shape = block.launch->shape.block;
  detail.kernel = block.launch->kernel->name;
  detail.block = {block.ctaid[0], block.ctaid[1], block.ctaid[2]};
  uint64_t thread = uint64_t{w.index} * kLanes + lane;
  detail.thread = {static_cast<uint32_t>(thread % shape.x),
                   static_cast<uint32_t>(thread / shape.x % shape.y),
                   static_cast<uint32_t>(thread / (uint64_t{shape.x} * shape.y))};
  detail.ptx_line = i != nullptr ? i->line : 0;
  return detail;
}

namespace {

bool inside(uint64_t address, uint64_t begin, uint64_t size, uint32_t bytes) {
  return size >= bytes && address - begin <= size - bytes;
}

bool mayAccess(Warp& w, uint64_t address, uint32_t bytes) {
  const Block& block = *w.block;
  if (inside(address, w.reserved_begin, w.reserved_size, bytes)) return true;
  if (inside(address, reinterpret_cast<uint64_t>(block.shared), block.shared_bytes, bytes))
    return true;
  if (inside(address, reinterpret_cast<uint64_t>(block.local), block.local_bytes, bytes))
    return true;
  Launch& launch = *block.launch;
  if (inside(address, reinterpret_cast<uint64_t>(launch.params.data()), launch.params.size(),
             bytes)) {
    return true;
  }
  if (inside(address, reinterpret_cast<uint64_t>(&launch.workspace), sizeof(GridWorkspace),
             bytes)) {
    return true;
  }
  if (inside(address, launch.children.begin(), launch.children.size(), bytes)) return true;
  for (uint32_t k = 0; k < block.cluster_blocks && block.cluster != nullptr; ++k) {
    const Block& other = *block.cluster[k];
    if (inside(address, reinterpret_cast<uint64_t>(other.shared), other.shared_bytes, bytes))
      return true;
  }
  const MemoryMap& memory = launch.environment->memory();
  if (uint64_t now = memory.generation(); now != w.range_generation) {
    w.range_size = 0;
    w.range_generation = now;
  }
  if (inside(address, w.range_begin, w.range_size, bytes)) return true;
  MemoryMap::Range range = memory.find(address);
  w.range_begin = range.begin;
  w.range_size = range.end - range.begin;
  return inside(address, w.range_begin, w.range_size, bytes);
}

}  // namespace

// shared::cluster addresses: (rank + 1) << 24 | offset, as mapa makes them.
void checkAddresses(Warp& w, const Inst* i, uint32_t mask, uint32_t bytes, Space space) {
  const Block& block = *w.block;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    uint32_t l = static_cast<uint32_t>(std::countr_zero(rest));
    uint64_t& address = w.address[l];
    LaunchStatus wrong = LaunchStatus::illegal_address;
    bool allowed = false;
    if (space == Space::shared) {
      const Block* target = &block;
      uint64_t offset = address, rank = address >> 24;
      if (rank != 0 && block.cluster != nullptr && rank <= block.cluster_blocks) {
        target = block.cluster[rank - 1];
        offset = address & 0xffffff;
      }
      allowed = inside(offset, 0, target->shared_bytes, bytes);
      if (allowed && (offset & (bytes - 1)) == 0) {
        address = reinterpret_cast<uint64_t>(target->shared) + offset;
        continue;
      }
    } else if (space == Space::local) {
      allowed = inside(address, 0, w.local_bytes, bytes);
      if (allowed && (address & (bytes - 1)) == 0) continue;
    } else {
      allowed = mayAccess(w, address, bytes);
      if (allowed && (address & (bytes - 1)) == 0) continue;
    }
    if (allowed) wrong = LaunchStatus::misaligned_address;
    raise(w, i, wrong, l, address);
  }
}

}  // namespace farwarp::ptx
