#include "gpud/worker/link_states.h"

#include <string>

namespace farwarp::worker {

LinkState::~LinkState() {
  if (state_ != nullptr) driver_.cuLinkDestroy(state_);
}

CUresult LinkState::create(std::span<const uint32_t> options, std::span<const uint64_t> values) {
  if (CUresult r = options_.set(options, values); r != CUDA_SUCCESS) return r;
  return driver_.cuLinkCreate_v2(options_.count(), options_.options(), options_.values(), &state_);
}

CUresult LinkState::add(CUjitInputType type, const Image& input, std::string_view name,
                        JitOptions& options) {
  if (input.size() > kInputBytesMax - input_bytes_) return CUDA_ERROR_OUT_OF_MEMORY;
  input_bytes_ += input.size();
  // The driver keeps no reference to what it gets, and writes to none of it.
  return driver_.cuLinkAddData_v2(state_, type, const_cast<void*>(input.data()), input.size(),
                                  std::string(name).c_str(), options.count(), options.options(),
                                  options.values());
}

CUresult LinkState::complete() {
  void* image = nullptr;
  size_t bytes = 0;
  const CUresult result = driver_.cuLinkComplete(state_, &image, &bytes);
  if (result != CUDA_SUCCESS) return result;
  if (image == nullptr || bytes == 0) return CUDA_ERROR_UNKNOWN;
  image_ = {static_cast<const std::byte*>(image), bytes};
  return CUDA_SUCCESS;
}

std::unique_ptr<LinkState> LinkStates::make() const {
  return states_.size() < kLiveMax ? std::make_unique<LinkState>(driver_) : nullptr;
}

LinkState* LinkStates::keep(uint64_t id, std::unique_ptr<LinkState> state) {
  return (states_[id] = std::move(state)).get();
}

}  // namespace farwarp::worker
