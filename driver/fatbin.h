// Reads what programs pass to cuModuleLoadData and cuLibraryLoadData: fatbins (with or without
// nvcc's wrapper), cubins and PTX text; finds the part that a device can use.
//
// A program passes a bare pointer with no size, so sizes come from headers; they are checked
// against each other, and against the end of the bytes where that is known.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace farwarp {

inline constexpr uint64_t kImageBytesMax = uint64_t{1} << 30;  // of one fatbin, cubin or PTX text
inline constexpr uint64_t kUnpackedBytesMax = uint64_t{1}
                                              << 30;  // of one entry after decompression
inline constexpr size_t kFatbinEntriesMax = 4096;
inline constexpr size_t kLinkedFatbinsMax = 4096;

enum class ImageKind : uint8_t { ptx, cubin, lto_ir, other };
enum class Compression : uint8_t { none, lz4, zstd };

// One program of a fatbin. The spans point into the image that was read.
struct ImageEntry {
  ImageKind kind = ImageKind::other;
  Compression compression = Compression::none;
  uint32_t sm = 0;               // 10 * major + minor
  bool arch_specific = false;    // "a": runs on exactly this architecture
  bool family_specific = false;  // "f": runs on this family from this architecture on
  uint16_t version_major = 0;    // PTX ISA; of the container for a cubin
  uint16_t version_minor = 0;
  uint64_t flags = 0;
  uint64_t unpacked_bytes = 0;
  std::string_view options;            // JIT options that nvcc recorded, such as "-maxrregcount=32"
  std::span<const std::byte> payload;  // as stored, compressed or not
  std::span<const std::byte> whole;    // the entry with its header; empty when not from a fatbin
};

enum class ImageForm : uint8_t { fatbin, cubin, ptx_text, linked };

struct ModuleImage {
  ImageForm form = ImageForm::fatbin;
  std::span<const std::byte> bytes;  // fatbin from its header, ELF, or text without the final NUL
  // Exactly one for a bare cubin or PTX text, none for a linked image.
  std::vector<ImageEntry> entries;
  // What a device that runs PTX links: the relocatable fatbins behind a version 2 wrapper (nvcc
  // -rdc=true), or the parts of a linked image (driver/linked_image.h); else empty.
  std::vector<std::vector<ImageEntry>> relocatable;
  // Of a linked image: registers per thread that its kernels may use; 0 for no limit.
  uint32_t registers_max = 0;
};

// Reads an image in the program's memory, of unknown size. `why` (may be null) gets a sentence on
// failure. CUDA_ERROR_INVALID_VALUE for null, CUDA_ERROR_INVALID_IMAGE for what is not an image.
[[nodiscard]] CUresult readImage(const void* image, ModuleImage& out, std::string* why = nullptr);
// Reads an image of known size, from a file or a peer. Wrappers, which hold pointers, are refused.
// Nothing outside `bytes` is read.
[[nodiscard]] CUresult readImage(std::span<const std::byte> bytes, ModuleImage& out,
                                 std::string* why = nullptr);

// What a device takes.
struct ImageTarget {
  uint32_t sm = 0;  // 10 * major + minor of its compute capability
  bool takes_cubin = true;
  bool takes_ptx = true;
};
// The entry that a driver would take: the cubin of the newest architecture that is binary
// compatible, else the PTX of the newest architecture that is not newer than the device. Null when
// none fits (CUDA_ERROR_NO_BINARY_FOR_GPU). For a bare PTX text the `.target` line counts.
[[nodiscard]] const ImageEntry* chooseEntry(std::span<const ImageEntry> entries,
                                            const ImageTarget& target);

// Decompresses. PTX comes without trailing NULs. CUDA_ERROR_INVALID_IMAGE when the data is damaged
// or its size differs from the header, CUDA_ERROR_OUT_OF_MEMORY over `bytes_max`.
[[nodiscard]] CUresult unpackEntry(const ImageEntry& entry, std::string& out,
                                   std::string* why = nullptr,
                                   uint64_t bytes_max = kUnpackedBytesMax);

// A fatbin that holds just this entry, still compressed; for a bare cubin or PTX text the bytes as
// they are, PTX with a final NUL. readImage reads the result. This is what is sent to a device
// elsewhere.
[[nodiscard]] std::vector<std::byte> packEntry(const ImageEntry& entry);

// Architecture in the `.target` line of PTX text: sm_90a gives sm 90 and arch_specific. False
// without one.
[[nodiscard]] bool readPtxTarget(std::string_view text, ImageEntry& entry);

}  // namespace farwarp
