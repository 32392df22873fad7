#include "protocol/kernel_table.h"

#include <cstring>

namespace farwarp::wire {
namespace {

constexpr uint32_t kAttributesKnown = 1u << 0;

struct TableHead {
  uint32_t count;
  uint32_t reserved;
};

struct KernelHead {
  uint32_t name_bytes;
  uint32_t params;
  uint32_t flags;
  uint32_t reserved;
  int32_t attributes[kKernelAttributeCount];
};
static_assert(sizeof(TableHead) == 8 && sizeof(KernelHead) == 80 && sizeof(KernelParam) == 8);

constexpr size_t padded8(size_t bytes) {
  return (bytes + 7) & ~size_t{7};
}

size_t kernelBytes(const KernelInfo& kernel) {
  return sizeof(KernelHead) + kernel.params.size() * sizeof(KernelParam) +
         padded8(kernel.name.size());
}

// Copies `bytes` off the front of `table` to `to`; false when there are fewer.
bool take(std::span<const std::byte>& table, void* to, size_t bytes) {
  if (table.size() < bytes) return false;
  if (bytes != 0) std::memcpy(to, table.data(), bytes);
  table = table.subspan(bytes);
  return true;
}

bool paramsFit(std::span<const KernelParam> params) {
  for (const KernelParam& param : params) {
    if (param.offset > kKernelParamBytesMax || param.bytes > kKernelParamBytesMax - param.offset) {
      return false;
    }
  }
  return true;
}

bool decodeKernel(std::span<const std::byte>& table, KernelInfo& kernel) {
  KernelHead head;
  if (!take(table, &head, sizeof(head))) return false;
  if (head.name_bytes > kKernelNameBytesMax || head.params > kKernelParamsMax) return false;
  if (table.size() / sizeof(KernelParam) < head.params) return false;
  kernel.params.resize(head.params);
  if (!take(table, kernel.params.data(), head.params * sizeof(KernelParam))) return false;
  if (!paramsFit(kernel.params)) return false;
  const size_t name_padded = padded8(head.name_bytes);
  if (table.size() < name_padded) return false;
  kernel.name.assign(reinterpret_cast<const char*>(table.data()), head.name_bytes);
  table = table.subspan(name_padded);
  kernel.attributes_known = (head.flags & kAttributesKnown) != 0;
  std::memcpy(kernel.attributes.data(), head.attributes, sizeof(head.attributes));
  return true;
}

}  // namespace

size_t kernelTableBytes(std::span<const KernelInfo> kernels) {
  size_t bytes = sizeof(TableHead);
  for (const KernelInfo& kernel : kernels) bytes += kernelBytes(kernel);
  return bytes;
}

std::vector<std::byte> encodeKernelTable(std::span<const KernelInfo> kernels) {
  std::vector<std::byte> table(kernelTableBytes(kernels));
  std::byte* at = table.data();
  const auto put = [&at](const void* from, size_t bytes) {
    if (bytes != 0) std::memcpy(at, from, bytes);
    at += padded8(bytes);
  };
  const TableHead table_head{static_cast<uint32_t>(kernels.size()), 0};
  put(&table_head, sizeof(table_head));
  for (const KernelInfo& kernel : kernels) {
    KernelHead head{};
    head.name_bytes = static_cast<uint32_t>(kernel.name.size());
    head.params = static_cast<uint32_t>(kernel.params.size());
    head.flags = kernel.attributes_known ? kAttributesKnown : 0;
    std::memcpy(head.attributes, kernel.attributes.data(), sizeof(head.attributes));
    put(&head, sizeof(head));
    put(kernel.params.data(), kernel.params.size() * sizeof(KernelParam));
    put(kernel.name.data(), kernel.name.size());
  }
  return table;
}

bool decodeKernelTable(std::span<const std::byte> table, std::vector<KernelInfo>& kernels) {
  kernels.clear();
  TableHead head;
  if (!take(table, &head, sizeof(head))) return false;
  if (head.count > kKernelsPerImageMax || table.size() / sizeof(KernelHead) < head.count)
    return false;
  kernels.resize(head.count);
  for (KernelInfo& kernel : kernels) {
    if (!decodeKernel(table, kernel)) return kernels.clear(), false;
  }
  if (!table.empty()) return kernels.clear(), false;
  return true;
}

}  // namespace farwarp::wire
