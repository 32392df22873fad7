#include "driver/fatbin.h"

#include <elf.h>
#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "driver/linked_image.h"

namespace farwarp {
namespace {

// Figures of the container, found by taking apart what nvcc 13.0 writes in all its -compress-mode
// settings.
constexpr uint32_t kWrapperMagic = 0x466243b1;
constexpr uint32_t kFatbinMagic = 0xba55ed50;
constexpr size_t kFatbinHeaderBytes = 16;
constexpr size_t kEntryHeaderBytes = 64;
constexpr uint64_t kFlagLz4 = 0x2000;
constexpr uint64_t kFlagZstd = 0x8000;
constexpr uint64_t kFlagArchSpecific = 0x100000;
constexpr uint64_t kFlagFamilySpecific = 0x200000;
constexpr uint16_t kElfMachineCuda = 190;

struct FatbinWrapper {
  uint32_t magic;
  uint32_t version;
  const void* data;
  const void* extra;
};

CUresult refuse(std::string* why, std::string sentence, CUresult code = CUDA_ERROR_INVALID_IMAGE) {
  if (why != nullptr) *why = std::move(sentence);
  return code;
}

// Little-endian fields at any alignment. The caller has checked the bounds.
template <typename T>
T field(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

ImageKind kindOf(uint16_t kind) {
  switch (kind) {
    case 1:
      return ImageKind::ptx;
    case 2:
      return ImageKind::cubin;
    case 8:
      return ImageKind::lto_ir;
    default:
      return ImageKind::other;
  }
}

// The options of an entry: a (string offset, length) pair somewhere in its header.
void readOptions(std::span<const std::byte> header, uint32_t offset, ImageEntry& entry) {
  if (offset == 0 || offset > header.size() || header.size() - offset < 8) return;
  const auto text = field<uint32_t>(header.data() + offset);
  const auto length = field<uint32_t>(header.data() + offset + 4);
  if (text > header.size() || length > header.size() - text) return;
  std::string_view options(reinterpret_cast<const char*>(header.data()) + text, length);
  entry.options = options.substr(0, options.find('\0'));
}

// Reads the entry that starts at `bytes`.
CUresult readEntry(std::span<const std::byte> bytes, ImageEntry& entry, std::string* why) {
  if (bytes.size() < kEntryHeaderBytes) {
    return refuse(
        why, "A fatbin entry has " + std::to_string(bytes.size()) + " bytes; its header needs 64.");
  }
  const std::byte* at = bytes.data();
  const auto header_bytes = field<uint32_t>(at + 4);
  const auto padded_bytes = field<uint64_t>(at + 8);
  const auto compressed_bytes = field<uint32_t>(at + 16);
  if (header_bytes < kEntryHeaderBytes || header_bytes > bytes.size() ||
      padded_bytes > bytes.size() - header_bytes || compressed_bytes > padded_bytes) {
    return refuse(why, "A fatbin entry's sizes (header " + std::to_string(header_bytes) +
                           ", payload " + std::to_string(padded_bytes) + ", compressed " +
                           std::to_string(compressed_bytes) + ") pass the " +
                           std::to_string(bytes.size()) + " bytes that are left.");
  }
  entry.kind = kindOf(field<uint16_t>(at));
  entry.version_minor = field<uint16_t>(at + 0x18);
  entry.version_major = field<uint16_t>(at + 0x1a);
  entry.sm = field<uint32_t>(at + 0x1c);
  entry.flags = field<uint64_t>(at + 0x28);
  entry.arch_specific = (entry.flags & kFlagArchSpecific) != 0;
  entry.family_specific = (entry.flags & kFlagFamilySpecific) != 0;
  entry.whole = bytes.first(header_bytes + padded_bytes);
  readOptions(bytes.first(header_bytes), field<uint32_t>(at + 0x14), entry);

  const auto stored = bytes.subspan(header_bytes, padded_bytes);
  entry.unpacked_bytes = field<uint64_t>(at + 0x38);
  if ((entry.flags & kFlagLz4) != 0) entry.compression = Compression::lz4;
  if ((entry.flags & kFlagZstd) != 0) entry.compression = Compression::zstd;
  if (entry.compression == Compression::none) {
    entry.payload = stored;
    entry.unpacked_bytes = stored.size();
  } else {
    entry.payload = stored.first(compressed_bytes);
  }
  return CUDA_SUCCESS;
}

// Reads the entries between a fatbin's header and its end.
CUresult readEntries(std::span<const std::byte> fatbin, std::vector<ImageEntry>& entries,
                     std::string* why) {
  size_t at = field<uint16_t>(fatbin.data() + 6);
  while (at < fatbin.size()) {
    if (entries.size() == kFatbinEntriesMax) {
      return refuse(why,
                    "The fatbin has more than " + std::to_string(kFatbinEntriesMax) + " entries.");
    }
    ImageEntry entry;
    if (CUresult r = readEntry(fatbin.subspan(at), entry, why); r != CUDA_SUCCESS) return r;
    at += entry.whole.size();
    entries.push_back(entry);
  }
  return CUDA_SUCCESS;
}

// Bytes of the fatbin whose 16-byte header is at `at`, or 0 when it is not a sensible one.
uint64_t fatbinBytes(const std::byte* at) {
  if (field<uint32_t>(at) != kFatbinMagic) return 0;
  const auto header_bytes = field<uint16_t>(at + 6);
  const auto entries_bytes = field<uint64_t>(at + 8);
  if (header_bytes < kFatbinHeaderBytes || entries_bytes > kImageBytesMax) return 0;
  return header_bytes + entries_bytes;
}

CUresult readFatbin(std::span<const std::byte> bytes, std::vector<ImageEntry>& entries,
                    std::string* why) {
  const uint64_t size = bytes.size() < kFatbinHeaderBytes ? 0 : fatbinBytes(bytes.data());
  if (size == 0) return refuse(why, "The image has no valid fatbin header.");
  if (size > bytes.size()) {
    return refuse(why, "The fatbin's header tells " + std::to_string(size) +
                           " bytes and the image has " + std::to_string(bytes.size()) + ".");
  }
  return readEntries(bytes.first(size), entries, why);
}

// End of what an ELF header describes, without looking past the headers. `available` bounds every
// read; for an image of unknown size it is the limit of an image. 0 when the header makes no sense.
uint64_t elfBytes(const std::byte* at, uint64_t available) {
  if (available < sizeof(Elf64_Ehdr)) return 0;
  // Before the whole header: what only begins like an ELF file may end right there.
  if (std::to_integer<int>(at[EI_CLASS]) != ELFCLASS64) return 0;
  const auto header = field<Elf64_Ehdr>(at);
  if (header.e_machine != kElfMachineCuda) return 0;
  if (header.e_shnum != 0 && header.e_shentsize != sizeof(Elf64_Shdr)) return 0;
  if (header.e_phnum != 0 && header.e_phentsize != sizeof(Elf64_Phdr)) return 0;
  const auto table_end = [&](uint64_t offset, uint64_t bytes) -> uint64_t {
    return bytes == 0                                         ? 0
           : offset > available || bytes > available - offset ? UINT64_MAX
                                                              : offset + bytes;
  };
  uint64_t end = std::max<uint64_t>(
      {sizeof header, table_end(header.e_shoff, uint64_t{header.e_shnum} * sizeof(Elf64_Shdr)),
       table_end(header.e_phoff, uint64_t{header.e_phnum} * sizeof(Elf64_Phdr))});
  if (end == UINT64_MAX) return 0;
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    const auto section = field<Elf64_Shdr>(at + header.e_shoff + i * sizeof(Elf64_Shdr));
    if (section.sh_type == SHT_NOBITS) continue;
    end = std::max(end, table_end(section.sh_offset, section.sh_size));
  }
  return end == UINT64_MAX ? 0 : end;
}

bool isElf(const std::byte* at) {
  return std::memcmp(at, ELFMAG, SELFMAG) == 0;
}

// The architecture that a cubin is for stands in different bits of its flags by ABI.
uint32_t cubinArchitecture(std::span<const std::byte> elf) {
  const auto header = field<Elf64_Ehdr>(elf.data());
  const bool new_abi = header.e_ident[EI_OSABI] == 0x41;
  return new_abi ? header.e_flags >> 8 & 0xff : header.e_flags & 0xff;
}

CUresult readLinked(std::span<const std::span<const std::byte>> parts, ModuleImage& out,
                    std::string* why) {
  out.form = ImageForm::linked;
  for (const auto& part : parts) {
    ModuleImage read;
    if (part.size() > EI_CLASS && isElf(part.data())) {
      return refuse(why, "A part of a linked image is no PTX.");
    }
    if (CUresult r = readImage(part, read, why); r != CUDA_SUCCESS) return r;
    out.relocatable.push_back(std::move(read.entries));
  }
  return CUDA_SUCCESS;
}

CUresult readCubin(std::span<const std::byte> bytes, ModuleImage& out, std::string* why) {
  const uint64_t size = elfBytes(bytes.data(), bytes.size());
  if (size == 0) return refuse(why, "The image is an ELF file, but not a sound cubin.");
  out.form = ImageForm::cubin;
  out.bytes = bytes.first(size);
  if (const LinkedParts linked = linkedParts(out.bytes); !linked.parts.empty()) {
    out.registers_max = linked.registers_max;
    return readLinked(linked.parts, out, why);
  }
  ImageEntry entry;
  entry.kind = ImageKind::cubin;
  entry.sm = cubinArchitecture(out.bytes);
  entry.payload = out.bytes;
  entry.unpacked_bytes = size;
  out.entries.push_back(entry);
  return CUDA_SUCCESS;
}

CUresult readPtx(std::span<const std::byte> bytes, ModuleImage& out, std::string* why) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const size_t size = strnlen(text, bytes.size());
  ImageEntry entry;
  if (!readPtxTarget({text, size}, entry)) {
    return refuse(why,
                  "The image is neither a fatbin nor a cubin, and as text it does not begin with "
                  "PTX's .version and .target.");
  }
  out.form = ImageForm::ptx_text;
  out.bytes = bytes.first(size);
  entry.kind = ImageKind::ptx;
  entry.payload = out.bytes;
  entry.unpacked_bytes = size;
  out.entries.push_back(entry);
  return CUDA_SUCCESS;
}

CUresult readFatbinAt(const void* image, std::span<const std::byte>& bytes,
                      std::vector<ImageEntry>& entries, std::string* why) {
  const auto* at = static_cast<const std::byte*>(image);
  if (at == nullptr) return refuse(why, "A fatbin wrapper points to nothing.");
  const uint64_t size = fatbinBytes(at);
  if (size == 0) return refuse(why, "A fatbin wrapper points to no valid fatbin header.");
  bytes = {at, size};
  return readEntries(bytes, entries, why);
}

CUresult readWrapper(const void* image, ModuleImage& out, std::string* why) {
  const auto wrapper = field<FatbinWrapper>(static_cast<const std::byte*>(image));
  if (wrapper.version != 1 && wrapper.version != 2) {
    return refuse(why, "The fatbin wrapper's version is " + std::to_string(wrapper.version) +
                           "; 1 and 2 are known.");
  }
  out.form = ImageForm::fatbin;
  if (CUresult r = readFatbinAt(wrapper.data, out.bytes, out.entries, why); r != CUDA_SUCCESS) {
    return r;
  }
  if (wrapper.version == 1 || wrapper.extra == nullptr) return CUDA_SUCCESS;
  const auto* part = static_cast<const void* const*>(wrapper.extra);
  for (; *part != nullptr; ++part) {
    if (out.relocatable.size() == kLinkedFatbinsMax) {
      return refuse(why, "More than " + std::to_string(kLinkedFatbinsMax) +
                             " relocatable fatbins are linked into the program.");
    }
    std::span<const std::byte> bytes;
    CUresult r = readFatbinAt(*part, bytes, out.relocatable.emplace_back(), why);
    if (r != CUDA_SUCCESS) return r;
  }
  return CUDA_SUCCESS;
}

// How well a device is served by an entry; 0 not at all. Cubins go before PTX, newer before older,
// and code for exactly this architecture or family before plain code of the same age.
uint32_t fitness(const ImageEntry& entry, const ImageTarget& target) {
  const bool cubin = entry.kind == ImageKind::cubin;
  if (!cubin && entry.kind != ImageKind::ptx) return 0;
  if (cubin ? !target.takes_cubin : !target.takes_ptx) return 0;
  if (entry.sm > target.sm || entry.sm == 0) return 0;
  const bool same_major = entry.sm / 10 == target.sm / 10;
  if (entry.arch_specific && entry.sm != target.sm) return 0;
  if ((cubin || entry.family_specific) && !same_major) return 0;
  return (cubin ? 1u << 20 : 0) + entry.sm * 4 + (entry.arch_specific ? 2 : 0) +
         (entry.family_specific ? 1 : 0);
}

CUresult damaged(std::string* why, const ImageEntry& entry) {
  return refuse(why, "The compressed fatbin entry for sm_" + std::to_string(entry.sm) +
                         " is damaged: it does not unpack to the " +
                         std::to_string(entry.unpacked_bytes) + " bytes that its header tells.");
}

}  // namespace

CUresult readImage(const void* image, ModuleImage& out, std::string* why) {
  out = {};
  if (image == nullptr) return refuse(why, "The image is null.", CUDA_ERROR_INVALID_VALUE);
  const auto* at = static_cast<const std::byte*>(image);
  // Four bytes may be read of anything: the shortest image, an empty text, is no image anyway.
  const size_t first_bytes = strnlen(static_cast<const char*>(image), sizeof(uint32_t));
  if (first_bytes < sizeof(uint32_t)) {
    return refuse(why, "The image is shorter than any fatbin, cubin or PTX text.");
  }
  const auto magic = field<uint32_t>(at);
  if (magic == kWrapperMagic) return readWrapper(image, out, why);
  if (magic == kFatbinMagic) return readFatbinAt(image, out.bytes, out.entries, why);
  if (isElf(at)) return readCubin({at, kImageBytesMax}, out, why);
  const size_t text_bytes = strnlen(static_cast<const char*>(image), kImageBytesMax);
  return readPtx({at, text_bytes}, out, why);
}

CUresult readImage(std::span<const std::byte> bytes, ModuleImage& out, std::string* why) {
  out = {};
  if (bytes.size() > kImageBytesMax) {
    return refuse(why, "The image has " + std::to_string(bytes.size()) + " bytes; the limit is " +
                           std::to_string(kImageBytesMax) + ".");
  }
  if (bytes.empty()) return refuse(why, "The image is empty.");
  if (bytes.size() >= sizeof(uint32_t)) {
    if (field<uint32_t>(bytes.data()) == kFatbinMagic) {
      out.form = ImageForm::fatbin;
      out.bytes = bytes;
      return readFatbin(bytes, out.entries, why);
    }
    if (bytes.size() > EI_CLASS && isElf(bytes.data())) return readCubin(bytes, out, why);
  }
  return readPtx(bytes, out, why);
}

const ImageEntry* chooseEntry(std::span<const ImageEntry> entries, const ImageTarget& target) {
  const ImageEntry* best = nullptr;
  uint32_t best_fitness = 0;
  for (const ImageEntry& entry : entries) {
    const uint32_t fit = fitness(entry, target);
    if (fit > best_fitness) best = &entry, best_fitness = fit;
  }
  return best;
}

CUresult unpackEntry(const ImageEntry& entry, std::string& out, std::string* why,
                     uint64_t bytes_max) {
  if (entry.unpacked_bytes > bytes_max) {
    return refuse(why,
                  "The fatbin entry unpacks to " + std::to_string(entry.unpacked_bytes) +
                      " bytes; the limit is " + std::to_string(bytes_max) + ".",
                  CUDA_ERROR_OUT_OF_MEMORY);
  }
  const auto* source = reinterpret_cast<const char*>(entry.payload.data());
  const size_t source_bytes = entry.payload.size();
  if (entry.compression == Compression::none) {
    out.assign(source, source_bytes);
  } else if (entry.compression == Compression::lz4) {
    // Checked first, so that a small hostile entry cannot make us take much memory: LZ4 grows its
    // input at most 255 times.
    if (entry.unpacked_bytes > source_bytes * uint64_t{255} + 64 ||
        entry.unpacked_bytes > INT32_MAX) {
      return damaged(why, entry);
    }
    out.resize(entry.unpacked_bytes);
    const int got = LZ4_decompress_safe(source, out.data(), static_cast<int>(source_bytes),
                                        static_cast<int>(out.size()));
    if (got < 0 || static_cast<uint64_t>(got) != entry.unpacked_bytes) return damaged(why, entry);
  } else {
    const auto told = ZSTD_getFrameContentSize(source, source_bytes);
    if (told != ZSTD_CONTENTSIZE_UNKNOWN && told != entry.unpacked_bytes) {
      return damaged(why, entry);
    }
    out.resize(entry.unpacked_bytes);
    const size_t got = ZSTD_decompress(out.data(), out.size(), source, source_bytes);
    if (ZSTD_isError(got) || got != entry.unpacked_bytes) return damaged(why, entry);
  }
  if (entry.kind == ImageKind::ptx) out.erase(out.find_last_not_of('\0') + 1);
  return CUDA_SUCCESS;
}

std::vector<std::byte> packEntry(const ImageEntry& entry) {
  if (entry.whole.empty()) {
    std::vector<std::byte> bytes(entry.payload.begin(), entry.payload.end());
    if (entry.kind == ImageKind::ptx) bytes.push_back(std::byte{0});
    return bytes;
  }
  std::vector<std::byte> bytes(kFatbinHeaderBytes + entry.whole.size());
  const uint16_t ones[2] = {1, kFatbinHeaderBytes};
  const uint64_t entries_bytes = entry.whole.size();
  std::memcpy(bytes.data(), &kFatbinMagic, sizeof kFatbinMagic);
  std::memcpy(bytes.data() + 4, ones, sizeof ones);
  std::memcpy(bytes.data() + 8, &entries_bytes, sizeof entries_bytes);
  std::memcpy(bytes.data() + kFatbinHeaderBytes, entry.whole.data(), entry.whole.size());
  return bytes;
}

}  // namespace farwarp
