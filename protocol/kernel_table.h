// The kernel table: what a client must know about the kernels of a module or library to launch them
// without asking again. It travels once, in the reply to the load.
//
// Layout, little endian, every part padded to 8 bytes:
//   u32 kernel count, u32 reserved
//   per kernel: u32 name bytes, u32 parameter count, u32 flags (bit 0: attributes known), u32
//   reserved,
//               i32 attributes[16], (u32 offset, u32 size) per parameter, name
// The table comes from a peer in both uses: nothing is used before its bounds were checked.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace farwarp::wire {

// CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK (0) to ..._NON_PORTABLE_CLUSTER_SIZE_ALLOWED's neighbour
// (15).
inline constexpr size_t kKernelAttributeCount = 16;

inline constexpr uint32_t kKernelsPerImageMax = 1u << 16;
inline constexpr uint32_t kKernelNameBytesMax = 1u << 16;
// CUDA passes at most 32764 bytes of parameters, and the smallest parameter takes one byte.
inline constexpr uint32_t kKernelParamBytesMax = 32764;
inline constexpr uint32_t kKernelParamsMax = kKernelParamBytesMax;

struct KernelParam {
  uint32_t offset = 0;  // in the packed parameter block, bytes
  uint32_t bytes = 0;

  bool operator==(const KernelParam&) const = default;
};

struct KernelInfo {
  std::string name;
  std::vector<KernelParam> params;  // in the order of the kernel's parameters
  // Indexed by CUfunction_attribute, for the session's first device. All 0 when not known.
  std::array<int32_t, kKernelAttributeCount> attributes{};
  bool attributes_known = false;

  bool operator==(const KernelInfo&) const = default;
};

// Bytes that encodeKernelTable() needs; a multiple of 8.
size_t kernelTableBytes(std::span<const KernelInfo> kernels);

// Packs the table. The caller keeps within the limits above and those of a record.
std::vector<std::byte> encodeKernelTable(std::span<const KernelInfo> kernels);

// Unpacks a table into `kernels`. False, with `kernels` empty, when any length, count, parameter
// bound or the total does not fit. Allocates at most a small multiple of `table.size()`.
[[nodiscard]] bool decodeKernelTable(std::span<const std::byte> table,
                                     std::vector<KernelInfo>& kernels);

}  // namespace farwarp::wire
