#include "interposer/session/images.h"

#include <algorithm>

namespace farwarp::client {

FunctionLimits Kernel::limits() const {
  auto value = [this](CUfunction_attribute attribute) {
    return static_cast<uint32_t>(
        std::max(0, attributes[attribute].load(std::memory_order_relaxed)));
  };
  FunctionLimits out;
  if (!info->attributes_known) {
    // gpud's driver decides then; nothing is refused here on account of the kernel.
    out.threads_per_block_max = out.shared_dynamic_max = UINT32_MAX;
    out.shared_static = out.registers = 0;
    return out;
  }
  out.threads_per_block_max = value(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  out.shared_static = value(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
  out.shared_dynamic_max = value(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  out.registers = value(CU_FUNC_ATTRIBUTE_NUM_REGS);
  out.cluster_size_must_be_set = value(CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET) != 0;
  out.required_cluster[0] = value(CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH);
  out.required_cluster[1] = value(CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT);
  out.required_cluster[2] = value(CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH);
  out.nonportable_cluster_allowed = value(CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED) != 0;
  return out;
}

bool Image::readKernels(std::span<const std::byte> table) {
  if (!wire::decodeKernelTable(table, infos)) return false;
  for (const wire::KernelInfo& info : infos) {
    Kernel& kernel = kernels.emplace_back();
    kernel.info = &info;
    kernel.image = this;
    for (const wire::KernelParam& param : info.params) {
      kernel.param_bytes = std::max(kernel.param_bytes, param.offset + param.bytes);
    }
    for (size_t i = 0; i < wire::kKernelAttributeCount; ++i) {
      kernel.attributes[i].store(info.attributes[i], std::memory_order_relaxed);
    }
    by_name.emplace(info.name, &kernel);
  }
  return true;
}

void ImageGraveyard::bury(Image* image) {
  std::unique_ptr<Image> oldest;  // freed without the lock
  std::lock_guard lock(mutex_);
  images_.emplace_back(image);
  if (images_.size() > kKept) {
    oldest = std::move(images_.front());
    images_.pop_front();
  }
}

}  // namespace farwarp::client
