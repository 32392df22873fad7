// Goal: device code is found in host objects and archives, and damaged ones are refused without a
// byte read outside of them. Method: objects and archives made by hand; then every truncation and
// many mutations, in buffers whose end is the end of a heap block.
#include "driver/host_object.h"

#include <ar.h>
#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>

namespace farwarp {
namespace {

std::string fatbin(size_t payload) {
  std::string out(16 + payload, 'p');
  const uint32_t magic = 0xba55ed50;
  const uint16_t version = 1, header = 16;
  const uint64_t bytes = payload;
  std::memcpy(&out[0], &magic, 4);
  std::memcpy(&out[4], &version, 2);
  std::memcpy(&out[6], &header, 2);
  std::memcpy(&out[8], &bytes, 8);
  return out;
}

// An object whose section `name` holds `content`.
std::string object(const std::string& name, const std::string& content) {
  const std::string names = std::string(1, '\0') + name + std::string(1, '\0');
  const size_t content_at = 64 + ((names.size() + 7) & ~size_t{7});
  const size_t sections_at = (content_at + content.size() + 7) & ~size_t{7};
  std::string out(sections_at + 3 * sizeof(Elf64_Shdr), '\0');
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_shoff = sections_at;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 3;
  header.e_shstrndx = 1;
  Elf64_Shdr sections[3]{};
  sections[1].sh_type = SHT_STRTAB;
  sections[1].sh_offset = 64;
  sections[1].sh_size = names.size();
  sections[2].sh_name = 1;
  sections[2].sh_type = SHT_PROGBITS;
  sections[2].sh_offset = content_at;
  sections[2].sh_size = content.size();
  std::memcpy(&out[0], &header, sizeof header);
  std::memcpy(&out[64], names.data(), names.size());
  std::memcpy(&out[content_at], content.data(), content.size());
  std::memcpy(&out[sections_at], sections, sizeof sections);
  return out;
}

std::string member(const std::string& name, const std::string& content) {
  char head[sizeof(ar_hdr) + 1];
  std::snprintf(head, sizeof head, "%-16s%-12d%-6d%-6d%-8d%-10zu`\n", name.c_str(), 0, 0, 0, 644,
                content.size());
  return head + content + (content.size() % 2 != 0 ? "\n" : "");
}

std::span<const std::byte> bytesOf(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(HostObject, FatbinsInBothSections) {
  const std::string two = fatbin(24) + fatbin(8);
  for (const char* name : {"__nv_relfatbin", ".nv_fatbin"}) {
    const std::string file = object(name, two + std::string(16, '\0'));
    std::vector<std::span<const std::byte>> fatbins;
    std::string why;
    ASSERT_EQ(findFatbins(bytesOf(file), fatbins, why), CUDA_SUCCESS) << why;
    ASSERT_EQ(fatbins.size(), 2u);
    EXPECT_EQ(fatbins[0].size(), 40u);
    EXPECT_EQ(fatbins[1].size(), 24u);
  }
}

TEST(HostObject, WithoutDeviceCodeOrDamaged) {
  std::vector<std::span<const std::byte>> fatbins;
  std::string why;
  EXPECT_EQ(findFatbins(bytesOf(object(".text", fatbin(8))), fatbins, why),
            CUDA_ERROR_INVALID_IMAGE);
  EXPECT_EQ(findFatbins(bytesOf("no object at all"), fatbins, why), CUDA_ERROR_INVALID_IMAGE);
  std::string longer = fatbin(8);
  longer[8] = 100;  // more than there is
  EXPECT_EQ(findFatbins(bytesOf(object(".nv_fatbin", longer)), fatbins, why),
            CUDA_ERROR_INVALID_IMAGE);
  EXPECT_FALSE(why.empty());
}

TEST(HostObject, ArchivesHaveTheirMembers) {
  const std::string archive = std::string(ARMAG) + member("/", "table") + member("//", "names") +
                              member("a.o/", "odd") + member("/12", "even");
  std::vector<ArchiveMember> members;
  std::string why;
  ASSERT_EQ(readArchive(bytesOf(archive), members, why), CUDA_SUCCESS) << why;
  ASSERT_EQ(members.size(), 2u);
  EXPECT_EQ(members[0].name, "a.o/");
  EXPECT_EQ(members[0].bytes.size(), 3u);
  EXPECT_EQ(members[1].bytes.size(), 4u);
  EXPECT_EQ(readArchive(bytesOf("!<arch"), members, why), CUDA_ERROR_INVALID_IMAGE);
}

TEST(HostObject, DamageIsSurvived) {
  const std::string whole =
      std::string(ARMAG) + member("a.o/", object("__nv_relfatbin", fatbin(24) + fatbin(8)));
  const auto read = [](const std::string& text) {
    const auto exact = std::make_unique<std::byte[]>(text.size());
    std::memcpy(exact.get(), text.data(), text.size());
    std::vector<ArchiveMember> members;
    std::vector<std::span<const std::byte>> fatbins;
    std::string why;
    if (readArchive({exact.get(), text.size()}, members, why) != CUDA_SUCCESS) return false;
    size_t found = 0;
    for (const ArchiveMember& one : members) {
      if (findFatbins(one.bytes, fatbins, why) == CUDA_SUCCESS) found += fatbins.size();
    }
    return found == 2;
  };
  ASSERT_TRUE(read(whole));
  for (size_t size = 0; size + 1 < whole.size(); ++size) EXPECT_FALSE(read(whole.substr(0, size)));
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    static_cast<void>(read(damaged));
  }
}

}  // namespace
}  // namespace farwarp
