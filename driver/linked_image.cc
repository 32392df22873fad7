#include "driver/linked_image.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace farwarp {
namespace {

constexpr uint16_t kElfMachineCuda = 190;
// As ptxas 13.0 writes them (driver/fatbin.cc reads the architecture by them).
constexpr unsigned char kOsAbi = 0x41;
constexpr unsigned char kAbiVersion = 8;
// Of a section with a part: in the range that ELF leaves to systems, and no other's.
constexpr uint32_t kPartSection = 0x6f775058;
constexpr size_t kPartAlign = 16;  // and zeros behind each part, so that text ends with a NUL

// The section names; offsets in them are sh_name.
constexpr std::string_view kNames("\0.shstrtab\0.farwarp.ptx\0", 24);
constexpr uint32_t kNamesName = 1;
constexpr uint32_t kPartName = 11;

size_t roomFor(size_t bytes) {
  return (bytes + kPartAlign) & ~(kPartAlign - 1);  // at least one byte more
}

void put(std::vector<std::byte>& out, size_t at, const void* from, size_t bytes) {
  std::memcpy(out.data() + at, from, bytes);
}

}  // namespace

std::vector<std::byte> packLinked(std::span<const std::vector<std::byte>> parts, uint32_t sm,
                                  uint32_t registers_max) {
  const size_t count = std::min(parts.size(), kLinkedPartsMax);
  const size_t names_at = sizeof(Elf64_Ehdr);
  size_t at = roomFor(names_at + kNames.size());
  std::vector<Elf64_Shdr> sections(2 + count);
  sections[1].sh_name = kNamesName;
  sections[1].sh_type = SHT_STRTAB;
  sections[1].sh_offset = names_at;
  sections[1].sh_size = kNames.size();
  sections[1].sh_addralign = 1;
  for (size_t i = 0; i < count; ++i) {
    Elf64_Shdr& section = sections[2 + i];
    section.sh_name = kPartName;
    section.sh_type = kPartSection;
    section.sh_offset = at;
    section.sh_size = parts[i].size();
    section.sh_addralign = kPartAlign;
    section.sh_info = registers_max;
    at += roomFor(parts[i].size());
  }
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_ident[EI_OSABI] = kOsAbi;
  header.e_ident[EI_ABIVERSION] = kAbiVersion;
  header.e_type = ET_EXEC;
  header.e_machine = kElfMachineCuda;
  header.e_version = EV_CURRENT;
  header.e_flags = sm << 8;
  header.e_ehsize = sizeof(header);
  header.e_shoff = at;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = static_cast<uint16_t>(sections.size());
  header.e_shstrndx = 1;

  std::vector<std::byte> out(at + sections.size() * sizeof(Elf64_Shdr));
  put(out, 0, &header, sizeof header);
  put(out, names_at, kNames.data(), kNames.size());
  for (size_t i = 0; i < count; ++i) {
    put(out, sections[2 + i].sh_offset, parts[i].data(), parts[i].size());
  }
  put(out, at, sections.data(), sections.size() * sizeof(Elf64_Shdr));
  return out;
}

LinkedParts linkedParts(std::span<const std::byte> elf) {
  LinkedParts found;
  Elf64_Ehdr header;
  if (elf.size() < sizeof header) return found;
  std::memcpy(&header, elf.data(), sizeof header);
  for (unsigned i = 0; i < header.e_shnum && found.parts.size() < kLinkedPartsMax; ++i) {
    const uint64_t at = header.e_shoff + i * sizeof(Elf64_Shdr);
    if (at > elf.size() || elf.size() - at < sizeof(Elf64_Shdr)) break;
    Elf64_Shdr section;
    std::memcpy(&section, elf.data() + at, sizeof section);
    if (section.sh_type != kPartSection || section.sh_offset > elf.size() ||
        section.sh_size > elf.size() - section.sh_offset) {
      continue;
    }
    found.parts.push_back(elf.subspan(section.sh_offset, section.sh_size));
    found.registers_max = section.sh_info;  // the same in all of them
  }
  return found;
}

}  // namespace farwarp
