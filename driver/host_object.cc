#include "driver/host_object.h"

#include <ar.h>
#include <elf.h>

#include <charconv>
#include <cstring>

namespace farwarp {
namespace {

constexpr uint32_t kFatbinMagic = 0xba55ed50;
constexpr size_t kFatbinHeaderBytes = 16;
constexpr size_t kFatbinAlign = 8;

CUresult refuse(std::string& why, std::string sentence) {
  why = std::move(sentence);
  return CUDA_ERROR_INVALID_IMAGE;
}

template <typename T>
bool readAt(std::span<const std::byte> bytes, uint64_t at, T& out) {
  if (at > bytes.size() || bytes.size() - at < sizeof(T)) return false;
  std::memcpy(&out, bytes.data() + at, sizeof(T));
  return true;
}

// The bytes of a section; empty when they are not inside of the file.
std::span<const std::byte> contentOf(std::span<const std::byte> object, const Elf64_Shdr& section) {
  if (section.sh_type == SHT_NOBITS || section.sh_offset > object.size() ||
      section.sh_size > object.size() - section.sh_offset) {
    return {};
  }
  return object.subspan(section.sh_offset, section.sh_size);
}

// A name of the section name table, which may be damaged.
std::string_view nameIn(std::span<const std::byte> names, uint32_t at) {
  if (at >= names.size()) return {};
  const auto* text = reinterpret_cast<const char*>(names.data()) + at;
  return {text, strnlen(text, names.size() - at)};
}

// Fatbins lie one after the other, aligned, with zeros between them.
bool collect(std::span<const std::byte> section, std::vector<std::span<const std::byte>>& fatbins) {
  for (size_t at = 0; at + kFatbinHeaderBytes <= section.size();) {
    uint32_t magic = 0;
    uint16_t header_bytes = 0;
    uint64_t entries_bytes = 0;
    std::memcpy(&magic, section.data() + at, sizeof magic);
    if (magic != kFatbinMagic) {
      at += kFatbinAlign;
      continue;
    }
    std::memcpy(&header_bytes, section.data() + at + 6, sizeof header_bytes);
    std::memcpy(&entries_bytes, section.data() + at + 8, sizeof entries_bytes);
    const size_t left = section.size() - at;
    if (header_bytes < kFatbinHeaderBytes || header_bytes > left ||
        entries_bytes > left - header_bytes || fatbins.size() == kObjectFatbinsMax) {
      return false;
    }
    const size_t bytes = header_bytes + entries_bytes;
    fatbins.push_back(section.subspan(at, bytes));
    at += (bytes + kFatbinAlign - 1) & ~(kFatbinAlign - 1);
  }
  return true;
}

}  // namespace

CUresult findFatbins(std::span<const std::byte> object,
                     std::vector<std::span<const std::byte>>& fatbins, std::string& why) {
  fatbins.clear();
  Elf64_Ehdr header;
  if (!readAt(object, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_shentsize != sizeof(Elf64_Shdr)) {
    return refuse(why, "The object is no 64-bit ELF file.");
  }
  Elf64_Shdr names_section;
  if (!readAt(object, header.e_shoff + uint64_t{header.e_shstrndx} * sizeof(Elf64_Shdr),
              names_section)) {
    return refuse(why, "The object has no table of section names.");
  }
  const auto names = contentOf(object, names_section);
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    if (!readAt(object, header.e_shoff + uint64_t{i} * sizeof(Elf64_Shdr), section)) {
      return refuse(why, "The object ends before its " + std::to_string(header.e_shnum) +
                             " section headers do.");
    }
    const std::string_view name = nameIn(names, section.sh_name);
    if (name != "__nv_relfatbin" && name != ".nv_fatbin") continue;
    if (!collect(contentOf(object, section), fatbins)) {
      return refuse(why, "Section " + std::string(name) +
                             " of the object holds a damaged fatbin, "
                             "or more than " +
                             std::to_string(kObjectFatbinsMax) + " of them.");
    }
  }
  if (fatbins.empty()) return refuse(why, "The object has no device code.");
  return CUDA_SUCCESS;
}

CUresult readArchive(std::span<const std::byte> archive, std::vector<ArchiveMember>& members,
                     std::string& why) {
  members.clear();
  if (archive.size() < SARMAG || std::memcmp(archive.data(), ARMAG, SARMAG) != 0) {
    return refuse(why, "The library is no archive of object files.");
  }
  for (uint64_t at = SARMAG; at < archive.size();) {
    ar_hdr header;
    if (!readAt(archive, at, header) ||
        std::memcmp(header.ar_fmag, ARFMAG, sizeof header.ar_fmag) != 0) {
      return refuse(why, "The archive is damaged at byte " + std::to_string(at) + ".");
    }
    at += sizeof header;
    uint64_t bytes = 0;
    const char* digits = header.ar_size;
    const auto parsed = std::from_chars(digits, digits + sizeof header.ar_size, bytes);
    if (parsed.ec != std::errc() || bytes > archive.size() - at ||
        members.size() == kArchiveMembersMax) {
      return refuse(why, "The archive has a member of a size that it cannot have, or more than " +
                             std::to_string(kArchiveMembersMax) + " members.");
    }
    const char* name = reinterpret_cast<const char*>(archive.data() + at - sizeof header);
    std::string_view named(name, sizeof header.ar_name);
    named = named.substr(0, named.find_last_not_of(' ') + 1);
    const bool table = named == "/" || named == "//" || named == "/SYM64/";
    if (!table) members.push_back({named, archive.subspan(at, bytes)});
    at += bytes + (bytes & 1);
  }
  return CUDA_SUCCESS;
}

}  // namespace farwarp
