#include "gpud/device/cpu/ptx/control.h"

#include <bit>
#include <cstring>

#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx::op {
namespace {

uint32_t firstLane(uint32_t mask) {
  return static_cast<uint32_t>(std::countr_zero(mask));
}

// A taken back-edge uses up the slice; the limits of the launch are looked at when it is gone.
inline const Inst* jump(Warp& w, const Inst* from, const Inst* target) {
  if (target <= from && --w.slice <= 0) [[unlikely]]
    return w.preempt(target);
  return target;
}

}  // namespace

const Inst* branch(Warp& w, const Inst* i) {
  uint32_t taken = execMask(w, i);
  const Inst* target = i + i->imm;
  if (taken == w.mask) return jump(w, i, target);
  if (taken == 0) return i + 1;
  const Inst* meet = i->d == 0 ? nullptr : i + static_cast<int32_t>(i->d);
  const Inst* next = w.diverge(taken, target, i + 1, meet);
  return next == target ? jump(w, i, next) : next;
}

const Inst* branchIndexed(Warp& w, const Inst* i) {
  const BranchTable& table = *reinterpret_cast<const BranchTable*>(i->imm);
  const uint32_t* index = lanes<uint32_t>(w, i->a);
  for (;;) {
    uint32_t lane = firstLane(w.mask);
    if (index[lane] >= table.count) raise(w, i, LaunchStatus::invalid_pc, lane, index[lane]);
    uint32_t same = 0;
    for (uint32_t rest = w.mask; rest != 0; rest &= rest - 1) {
      uint32_t l = firstLane(rest);
      same |= index[l] == index[lane] ? 1u << l : 0;
    }
    const Inst* target = table.targets[index[lane]];
    if (same == w.mask) return jump(w, i, target);
    // The others do this instruction again.
    const Inst* next = w.diverge(same, target, i, table.meet);
    if (next != i) return next;
  }
}

const Inst* join(Warp& w, const Inst* i) {
  if (w.join == kNone) return i + 1;
  return w.arrive(i);
}

const Inst* exit(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  return mask == 0 ? i + 1 : w.exitLanes(mask, i + 1);
}

namespace {

void copyLocal(Warp& w, uint32_t mask, uint64_t to, uint64_t from, uint32_t bytes) {
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    std::byte* lane = w.local_base + firstLane(rest) * w.local_stride;
    std::memcpy(lane + to, lane + from, bytes);
  }
}

}  // namespace

const Inst* ret(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (w.join == kNone) return mask != 0 ? w.exitLanes(mask, i + 1) : i + 1;
  if (mask == 0) return i + 1;
  uint32_t index = w.join;
  while (index != kNone && w.joins[index].callee == kNone) index = w.joins[index].parent;
  if (index != kNone) {
    const Join& j = w.joins[index];
    const FunctionCode& callee = w.block->launch->code->functions[j.callee];
    for (size_t k = 0; k < j.site->returns.size() && k < callee.returns.size(); ++k) {
      copyLocal(w, mask, j.local + j.site->returns[k].offset, w.local + callee.returns[k].offset,
                callee.returns[k].size);
    }
  }
  return w.returnLanes(mask, i + 1);
}

const Inst* trap(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask != 0) raise(w, i, static_cast<LaunchStatus>(i->aux), firstLane(mask));
  return i + 1;
}

const Inst* spinHint(Warp& w, const Inst* i) {
  w.slice -= kSpinCost;
  w.spinning = true;
  return i + 1;
}

const Inst* nanosleep(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  if (mask == 0) return i + 1;
  w.slice = 0;
  w.spinning = true;
  return w.preempt(i + 1);
}

const Inst* fence(Warp& w, const Inst* i) {
  if (execMask(w, i) != 0) __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return i + 1;
}

const Inst* nothing(Warp&, const Inst* i) {
  return i + 1;
}

namespace {

const Inst* enter(Warp& w, const Inst* i, const CallSite& site, const FunctionCode& callee) {
  uint64_t frame = w.local + site.caller_local_bytes;
  w.pc = i;
  if (frame + callee.local_bytes > w.local_bytes - w.alloca_most) {
    raise(w, i, LaunchStatus::stack_overflow, firstLane(w.mask));
  }
  for (size_t k = 0; k < site.args.size(); ++k) {
    copyLocal(w, w.mask, frame + callee.params[k].offset, w.local + site.args[k].offset,
              callee.params[k].size);
  }
  std::byte* regs = w.block->worker->takeFrame(callee);
  if (regs == nullptr) raise(w, i, LaunchStatus::stack_overflow, firstLane(w.mask));
  uint32_t index = w.newJoin();
  w.joins[index] = {i + 1,  w.base[kBaseFrame], w.local, w.mask, 0,
                    w.join, callee.index,       regs,    &site};
  w.join = index;
  w.base[kBaseFrame] = regs;
  w.local = static_cast<uint32_t>(frame);
  // Calls use up the slice as back-edges do: a tree of calls can take as long as a loop.
  if (--w.slice <= 0) [[unlikely]]
    return w.preempt(callee.code.data());
  return callee.code.data();
}

}  // namespace

// The decoder lowers a guarded call to a branch around it, so all running lanes make the call.
const Inst* call(Warp& w, const Inst* i) {
  const CallSite& site = *reinterpret_cast<const CallSite*>(i->imm);
  if (site.callee != nullptr) return enter(w, i, site, *site.callee);
  const uint64_t* handles = lanes<uint64_t>(w, i->a);
  for (;;) {
    uint32_t lane = firstLane(w.mask);
    uint64_t handle = handles[lane], index = ((handle & ~kFunctionHandleTag) >> 4) - 1;
    const auto& functions = w.block->launch->code->functions;
    if (index >= functions.size() || handle != functionHandle(static_cast<uint32_t>(index)) ||
        functions[index].is_entry || functions[index].code.empty() ||
        functions[index].params.size() != site.args.size()) {
      raise(w, i, LaunchStatus::invalid_pc, lane, handle);
    }
    for (size_t k = 0; k < site.args.size(); ++k) {
      if (functions[index].params[k].size > site.args[k].size) {
        raise(w, i, LaunchStatus::invalid_pc, lane, handle);
      }
    }
    uint32_t same = 0;
    for (uint32_t rest = w.mask; rest != 0; rest &= rest - 1) {
      uint32_t l = firstLane(rest);
      same |= handles[l] == handle ? 1u << l : 0;
    }
    if (same == w.mask) return enter(w, i, site, functions[index]);
    // Others call another function: they wait as a split that does this instruction again.
    w.push({i, w.base[kBaseFrame], w.local, w.mask & ~same, w.join, 0, SplitState::ready});
    w.mask = same;
  }
}

const Inst* frameAddress(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  uint64_t value = w.local + static_cast<uint64_t>(i->imm);
  for (uint32_t l = 0; l < kLanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    if (i->aux == 8)
      lanes<uint64_t>(w, i->dst)[l] = value;
    else
      lanes<uint32_t>(w, i->dst)[l] = static_cast<uint32_t>(value);
  }
  return i + 1;
}

namespace {

// A shared address of another block of the cluster, (rank + 1) << 24 | offset, as a generic one or
// the other way round; `own` is the result for this block's shared memory.
uint64_t clusterAddress(const Warp& w, uint64_t a, bool to_shared, uint64_t own) {
  const Block& block = *w.block;
  if (!to_shared) {
    uint64_t rank = a >> 24;
    if (rank == 0 || rank > block.cluster_blocks) return own;
    return reinterpret_cast<uint64_t>(block.cluster[rank - 1]->shared) + (a & 0xffffff);
  }
  for (uint32_t k = 0; own >= block.shared_bytes && k < block.cluster_blocks; ++k) {
    uint64_t offset = a - reinterpret_cast<uint64_t>(block.cluster[k]->shared);
    if (offset < block.cluster[k]->shared_bytes) return uint64_t{k + 1} << 24 | offset;
  }
  return own;
}

}  // namespace

const Inst* convertAddress(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  const uint64_t* a = lanes<uint64_t>(w, i->a);
  uint64_t* dst = lanes<uint64_t>(w, i->dst);
  uint64_t base = reinterpret_cast<uint64_t>(i->y != 0 ? w.shared : w.local_base);
  uint64_t stride = i->y != 0 ? 0 : w.local_stride;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    uint32_t l = firstLane(rest);
    uint64_t start = base + l * stride;
    uint64_t from = a[l];  // dst may be a
    dst[l] = i->x != 0 ? from - start : from + start;
    if (i->y != 0 && w.block->cluster != nullptr)
      dst[l] = clusterAddress(w, from, i->x != 0, dst[l]);
  }
  return i + 1;
}

const Inst* copySource(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i), bytes = i->aux;
  const uint64_t* a = lanes<uint64_t>(w, i->a);
  const uint32_t* given = lanes<uint32_t>(w, i->b);
  std::byte* dst = lanes<std::byte>(w, i->dst);
  w.pc = i;
  w.spacing = kNone;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    uint32_t l = firstLane(rest);
    uint32_t size = given[l] < bytes ? given[l] : bytes;
    std::memset(dst + l * bytes, 0, bytes);
    if (size == 0) continue;
    w.address[l] = a[l] + static_cast<uint64_t>(i->imm);
    if ((w.address[l] & (bytes - 1)) != 0) {
      raise(w, i, LaunchStatus::misaligned_address, l, w.address[l]);
    }
    // The bytes lie in one aligned unit of at most 16 bytes, hence in one page and one range.
    checkAddresses(w, i, 1u << l, 1, Space::generic);
    std::memcpy(dst + l * bytes, reinterpret_cast<const void*>(w.address[l]), size);
  }
  return i + 1;
}

const Inst* isSpace(Warp& w, const Inst* i) {
  const uint64_t* a = lanes<uint64_t>(w, i->a);
  const Block& b = *w.block;
  uint32_t result = 0;
  for (uint32_t l = 0; l < kLanes; ++l) {
    bool shared = a[l] - reinterpret_cast<uint64_t>(b.shared) < b.shared_bytes;
    bool local = a[l] - reinterpret_cast<uint64_t>(b.local) < b.local_bytes;
    uint64_t params = *lanes<uint64_t>(w, refOf(BlockValue::param_address));
    bool param = a[l] - params < b.launch->params.size();
    bool in = false;
    switch (static_cast<Space>(i->x)) {
      case Space::shared:
        in = shared;
        break;
      case Space::local:
        in = local;
        break;
      case Space::param:
        in = param;
        break;
      case Space::constant: {
        const auto& variables = b.launch->program->program().variables();
        for (size_t k = 0; k < variables.size() && !in; ++k) {
          in = variables[k].space == VariableSpace::constant &&
               a[l] - b.launch->program->address(k) < variables[k].size;
        }
        break;
      }
      default:
        in = !shared && !local;
        break;
    }
    result |= in ? 1u << l : 0;
  }
  setPredicate(w, i->dst, result, execMask(w, i));
  return i + 1;
}

const Inst* clock(Warp& w, const Inst* i) {
  uint32_t mask = execMask(w, i);
  uint64_t value = monotonicNanoseconds();
  if (i->x != 1) {
    uint64_t khz = w.block->launch->environment->traits().clock_khz;
    value = static_cast<uint64_t>(static_cast<unsigned __int128>(value) * khz / 1'000'000);
  }
  if (i->x == 2) value >>= 32;
  w.slice -= kSpinCost;
  w.spinning = true;
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    uint32_t l = firstLane(rest);
    if (i->aux == 8)
      lanes<uint64_t>(w, i->dst)[l] = value;
    else
      lanes<uint32_t>(w, i->dst)[l] = static_cast<uint32_t>(value);
  }
  return i + 1;
}

}  // namespace farwarp::ptx::op
