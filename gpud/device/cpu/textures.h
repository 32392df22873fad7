// Texture and surface objects: what a program describes, as the engine reads it.
#pragma once

#include <cuda.h>

#include <memory>
#include <mutex>
#include <optional>

#include "gpud/device/cpu/ptx/texture.h"

namespace farwarp::cpu {

class Context;
class Driver;

struct TextureObject {
  std::shared_ptr<Context> context;
  CUDA_RESOURCE_DESC resource{};
  CUDA_TEXTURE_DESC description{};              // not of a surface
  std::optional<CUDA_RESOURCE_VIEW_DESC> view;  // not of a surface
};

// The textures and surfaces of a context. A launch keeps those that there are when it is queued, so
// that a program may destroy them right behind it. Safe for use by any thread.
class TextureSet {
 public:
  void add(uint64_t value, std::shared_ptr<const ptx::Texture> texture);
  void remove(uint64_t value);
  void clear();
  // Null when there are none.
  std::shared_ptr<const ptx::TextureTable> snapshot();

 private:
  std::mutex mutex_;  // guards the rest
  ptx::TextureTable table_;
  std::shared_ptr<const ptx::TextureTable> snapshot_;  // null when it has to be made anew
};

// What a fetch needs to know. CUDA_ERROR_INVALID_VALUE for what CUDA refuses, with
// CUDA_ERROR_INVALID_HANDLE for an array that is none, and CUDA_ERROR_NOT_SUPPORTED for views in
// compressed formats. Enumerations may hold any value.
CUresult describeTexture(Driver& driver, const TextureObject& object, ptx::Texture& texture);
CUresult describeSurface(Driver& driver, const CUDA_RESOURCE_DESC& resource, ptx::Texture& surface);

}  // namespace farwarp::cpu
