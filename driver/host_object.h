// Finds the fatbins in what a host compiler makes of CUDA sources: object files, and archives of
// them. cuLinkAddData takes both.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace farwarp {

inline constexpr size_t kArchiveMembersMax = 65536;
inline constexpr size_t kObjectFatbinsMax = 4096;

// The fatbins of an ELF object of the host, relocatable ones (nvcc -rdc=true) and others; they
// point into `object`. CUDA_ERROR_INVALID_IMAGE, with a sentence in `why`, for what is no such file
// and for one without device code.
[[nodiscard]] CUresult findFatbins(std::span<const std::byte> object,
                                   std::vector<std::span<const std::byte>>& fatbins,
                                   std::string& why);

struct ArchiveMember {
  std::string_view name;  // as the archive has it; may be a number of its name table
  std::span<const std::byte> bytes;
};
// The members of a Unix archive (ar), without its tables. CUDA_ERROR_INVALID_IMAGE for what is
// none.
[[nodiscard]] CUresult readArchive(std::span<const std::byte> archive,
                                   std::vector<ArchiveMember>& members, std::string& why);

}  // namespace farwarp
