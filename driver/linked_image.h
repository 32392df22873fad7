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
// architecture that they are for, 10 * major + minor.
[[nodiscard]] std::vector<std::byte> packLinked(std::span<const std::vector<std::byte>> parts,
                                                uint32_t sm);

// The parts of such an image, which point into it. Empty when `elf` is none. The headers and the
// section table of `elf` must have been checked to be inside of it.
[[nodiscard]] std::vector<std::span<const std::byte>> linkedParts(std::span<const std::byte> elf);

}  // namespace farwarp
