// How functions that the engine provides reach the arguments and results of a call.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

#include "gpud/device/cpu/ptx/code.h"
#include "gpud/device/cpu/ptx/machine.h"

namespace farwarp::ptx::op {

template <class T>
T argument(const Warp& w, const CallSite& site, size_t index, uint32_t lane) {
  T value{};
  if (index < site.args.size()) {
    std::memcpy(&value, w.local_base + lane * w.local_stride + w.local + site.args[index].offset,
                std::min<size_t>(sizeof(T), site.args[index].size));
  }
  return value;
}
template <class T>
void giveResult(Warp& w, const CallSite& site, uint32_t lane, T value) {
  if (site.returns.empty()) return;
  std::memcpy(w.local_base + lane * w.local_stride + w.local + site.returns[0].offset, &value,
              std::min<size_t>(sizeof(T), site.returns[0].size));
}
template <class F>
void forLanes(uint32_t mask, F f) {
  for (; mask != 0; mask &= mask - 1) f(static_cast<uint32_t>(std::countr_zero(mask)));
}
inline const CallSite& siteOf(const Inst* i) {
  return *reinterpret_cast<const CallSite*>(i->imm);
}

// PTX of the kernels that copy and fill memory for kernels, without a header; empty when the text
// has no need of them. The kernels are called as follows.
std::string_view deviceRuntimeText(std::string_view text);
inline constexpr std::string_view kCopyHelper = "__farwarp_copy", kFillHelper = "__farwarp_fill";

// Functions with which kernels launch grids (device_runtime.cc): null when `name` is none of them.
Handler deviceRuntimeCall(std::string_view name);

}  // namespace farwarp::ptx::op
