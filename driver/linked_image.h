// Several PTX programs as one image, to be linked when it is loaded: a CUDA ELF file without
// machine code that has a section for each. A device that runs PTX gives it as the result of a link
// (cuLinkComplete), and programs pass it on as they pass on a cubin: by address without a size, or
// through a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace farwarp {

inline constexpr size_t kLinkedPartsMax = 4096;

// `parts` are images that readImage knows, fatbins or PTX texts, at most kLinkedPartsMax. `sm`: the
// architecture that they are for, 10 * major + minor. `registers_max`: registers per thread that
// their kernels may use; 0 for no limit.
[[nodiscard]] std::vector<std::byte> packLinked(std::span<const std::vector<std::byte>> parts,
                                                uint32_t sm, uint32_t registers_max = 0);

struct LinkedParts {
  std::vector<std::span<const std::byte>> parts;  // they point into the image
  uint32_t registers_max = 0;
};
// What is in such an image. No parts when `elf` is none. The headers and the section table of `elf`
// must have been checked to be inside of it.
[[nodiscard]] LinkedParts linkedParts(std::span<const std::byte> elf);

}  // namespace farwarp
