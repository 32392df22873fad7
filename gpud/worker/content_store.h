// Bytes that clients sent before, found by their SHA-256, so that they are not sent again: a folder
// of files that all workers of a gpud share.
//
// A file's name is the digest of what is in it, computed here from the bytes that came, and checked
// again whenever the file is read. So nobody can make a name mean other bytes. Who knows a digest
// can have the bytes; see docs/adr/0021 for why that is all right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>

#include "protocol/content_digest.h"

namespace farwarp::worker {

class ContentStore {
 public:
  // `bytes_max`: of all files together; 0: nothing is kept. The folder is made when it is needed.
  ContentStore(std::string folder, uint64_t bytes_max)
      : folder_(std::move(folder)), bytes_max_(bytes_max) {}

  bool enabled() const { return bytes_max_ > 0; }

  // `bytes` bytes with that digest; null when they are not here.
  std::unique_ptr<std::byte[]> find(const wire::ContentDigest& digest, uint64_t bytes) const;

  // The client will send content that it asked for in vain, as `transfer`.
  void expect(uint64_t transfer);
  // A transfer is there. Kept when it was expected.
  void arrived(uint64_t transfer, std::span<const std::byte> bytes);

 private:
  void keep(std::span<const std::byte> bytes) const;
  void trim() const;
  std::string pathOf(const wire::ContentDigest& digest) const;

  const std::string folder_;
  const uint64_t bytes_max_;
  std::deque<uint64_t> expected_;  // the newest last
};

}  // namespace farwarp::worker
