// The links of a session that are under way (cuLink*): the driver's link states with the buffers
// that the driver writes its logs to as long as they live.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>

#include "gpud/device/driver_table.h"
#include "gpud/worker/image.h"

namespace farwarp::worker {

class LinkState {
 public:
  static constexpr uint64_t kInputBytesMax = kImageBytesMax;  // of all inputs

  explicit LinkState(const DriverTable& driver) : driver_(driver) {}
  ~LinkState();
  LinkState(const LinkState&) = delete;
  LinkState& operator=(const LinkState&) = delete;

  [[nodiscard]] CUresult create(std::span<const uint32_t> options,
                                std::span<const uint64_t> values);
  [[nodiscard]] CUresult add(CUjitInputType type, const Image& input, std::string_view name,
                             JitOptions& options);
  [[nodiscard]] CUresult complete();

  // What complete() made; it is the driver's, as long as the link state lives.
  std::span<const std::byte> image() const { return image_; }
  std::string_view infoLog() const { return options_.infoLog(); }
  std::string_view errorLog() const { return options_.errorLog(); }

 private:
  const DriverTable& driver_;
  CUlinkState state_ = nullptr;
  JitOptions options_;
  uint64_t input_bytes_ = 0;
  std::span<const std::byte> image_;
};

// By the client's ids.
class LinkStates {
 public:
  static constexpr size_t kLiveMax = 1024;

  explicit LinkStates(const DriverTable& driver) : driver_(driver) {}

  // Null when there are too many.
  std::unique_ptr<LinkState> make() const;
  LinkState* keep(uint64_t id, std::unique_ptr<LinkState> state);
  void end(uint64_t id) { states_.erase(id); }

 private:
  const DriverTable& driver_;
  std::unordered_map<uint64_t, std::unique_ptr<LinkState>> states_;
};

}  // namespace farwarp::worker
