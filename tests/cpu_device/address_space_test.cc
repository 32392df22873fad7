// Goal: allocations do not overlap, have inaccessible memory around them, obey the device's limit,
// and are known by every address inside of them and by no other. Method: random allocations and
// releases beside a simple model; whether a page can be read is asked of the kernel with
// process_vm_readv, which reports a bad address and does not fault. What kernels may touch is asked
// of a kernel.
#include "gpud/device/cpu/address_space.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <random>

namespace farwarp::cpu {
namespace {

constexpr uint64_t kPlenty = uint64_t{1} << 33;

bool readable(uint64_t address) {
  char byte;
  iovec to{&byte, 1}, from{reinterpret_cast<void*>(address), 1};
  return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

uint64_t allocate(AddressSpace& space, uint64_t bytes, uint64_t context = 1,
                  uint64_t limit = kPlenty) {
  return space.allocate({.bytes = bytes, .kind = MemoryKind::device, .context = context}, limit);
}

TEST(AddressSpace, GivesZeroedMemoryBetweenClosedPages) {
  AddressSpace space;
  for (uint64_t bytes : {1ull, 4096ull, 4097ull, 1ull << 20, 5ull << 20}) {
    const uint64_t begin = allocate(space, bytes);
    ASSERT_NE(begin, 0u);
    EXPECT_EQ(begin % 4096, 0u);
    EXPECT_TRUE(space.reserved(begin));
    auto* memory = reinterpret_cast<unsigned char*>(begin);
    EXPECT_EQ(memory[0], 0);
    EXPECT_EQ(memory[bytes - 1], 0);
    std::memset(memory, 0xab, bytes);
    EXPECT_FALSE(readable(begin - 1));
    EXPECT_FALSE(readable((begin + bytes + 4095) / 4096 * 4096));
    ASSERT_TRUE(space.release(begin, MemoryKind::device));
    EXPECT_FALSE(readable(begin));
  }
}

TEST(AddressSpace, KnowsAllocationsByTheirAddresses) {
  AddressSpace space;
  const uint64_t begin = allocate(space, 1000);
  Allocation found;
  ASSERT_TRUE(space.find(begin, found));
  ASSERT_TRUE(space.find(begin + 999, found));
  EXPECT_EQ(found.begin, begin);
  EXPECT_EQ(found.bytes, 1000u);
  EXPECT_FALSE(space.find(begin + 1000, found));
  EXPECT_FALSE(space.find(begin - 1, found));
  EXPECT_TRUE(space.covers(begin, 1000));
  EXPECT_FALSE(space.covers(begin, 1001));
  EXPECT_FALSE(space.covers(begin + 1, 1000));
  EXPECT_FALSE(space.release(begin + 1, MemoryKind::device));
  EXPECT_FALSE(space.release(begin, MemoryKind::host));
  EXPECT_FALSE(space.release(begin, MemoryKind::device, found.number + 1));
  EXPECT_TRUE(space.release(begin, MemoryKind::device, found.number));
  EXPECT_FALSE(space.release(begin, MemoryKind::device));
}

TEST(AddressSpace, KeepsTheLimitOfTheDevice) {
  AddressSpace space;
  constexpr uint64_t kLimit = 1 << 20;
  const uint64_t half = allocate(space, kLimit / 2, 1, kLimit);
  ASSERT_NE(half, 0u);
  EXPECT_EQ(space.usedBytes(0), kLimit / 2);
  EXPECT_EQ(allocate(space, kLimit / 2 + 1, 1, kLimit), 0u);
  const uint64_t rest = allocate(space, kLimit / 2, 1, kLimit);
  EXPECT_NE(rest, 0u);
  EXPECT_EQ(allocate(space, 1, 1, kLimit), 0u);
  EXPECT_NE(space.allocate({.bytes = 4096, .kind = MemoryKind::host, .context = 1}, kLimit), 0u)
      << "host memory does not count";
  EXPECT_NE(space.allocate({.bytes = 4096, .kind = MemoryKind::device, .context = 1, .device = 1},
                           kLimit),
            0u)
      << "another device has its own";
  ASSERT_TRUE(space.release(half, MemoryKind::device));
  EXPECT_EQ(space.usedBytes(0), kLimit / 2);
  EXPECT_EQ(allocate(space, 0), 0u);
  EXPECT_EQ(allocate(space, UINT64_MAX, 1, UINT64_MAX), 0u);
  EXPECT_EQ(allocate(space, uint64_t{1} << 41, 1, UINT64_MAX), 0u);
}

TEST(AddressSpace, EndsAllOfAContext) {
  AddressSpace space;
  const uint64_t mine = allocate(space, 4096, 1), other = allocate(space, 4096, 2);
  space.releaseContext(1);
  Allocation found;
  EXPECT_FALSE(space.find(mine, found));
  EXPECT_TRUE(space.find(other, found));
  EXPECT_EQ(space.usedBytes(0), 4096u);
}

TEST(AddressSpace, TakesHostRangesThatDoNotOverlap) {
  AddressSpace space;
  std::vector<char> memory(3 << 12);
  const auto begin = reinterpret_cast<uint64_t>(memory.data());
  const auto host = [&](uint64_t from, uint64_t bytes) {
    return Allocation{.begin = from, .bytes = bytes, .kind = MemoryKind::registered, .context = 1};
  };
  ASSERT_TRUE(space.add(host(begin + 4096, 4096)));
  EXPECT_FALSE(space.add(host(begin, 4097)));
  EXPECT_FALSE(space.add(host(begin + 8191, 10)));
  EXPECT_FALSE(space.add(host(begin + 5000, 10)));
  EXPECT_TRUE(space.add(host(begin, 4096)));
  EXPECT_TRUE(space.covers(begin + 4096, 4096));
  ASSERT_TRUE(space.release(begin + 4096, MemoryKind::registered));
  EXPECT_FALSE(space.covers(begin + 4096, 1));
  memory[5000] = 1;  // it is still the program's
}

TEST(AddressSpace, RandomUseMatchesAModel) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  AddressSpace space;
  std::map<uint64_t, uint64_t> model;
  for (int round = 0; round < 3000; ++round) {
    if (model.size() < 50 || random() % 2 == 0) {
      const uint64_t bytes = 1 + random() % (random() % 8 == 0 ? 6 << 20 : 20000);
      const uint64_t begin = allocate(space, bytes);
      ASSERT_NE(begin, 0u);
      const auto next = model.lower_bound(begin);
      if (next != model.end()) {
        ASSERT_LE(begin + bytes + 4096, next->first);
      }
      if (next != model.begin()) {
        ASSERT_LE(std::prev(next)->first + std::prev(next)->second, begin);
      }
      model[begin] = bytes;
      *reinterpret_cast<char*>(begin + bytes - 1) = 1;
    } else {
      auto at = std::next(model.begin(), random() % model.size());
      ASSERT_TRUE(space.release(at->first, MemoryKind::device));
      model.erase(at);
    }
  }
  uint64_t used = 0;
  for (const auto& [begin, bytes] : model) used += (bytes + 4095) / 4096 * 4096;
  EXPECT_EQ(space.usedBytes(0), used);
}

TEST(AddressSpace, GivesEachDeviceAddressesThatOthersMayBeLetInto) {
  AddressSpace space;
  space.divide(2);
  const auto first = space.view(0), second = space.view(1);
  const auto sees = [](const std::unique_ptr<MemoryView>& view, uint64_t address) {
    return view->map().find(address).end != 0;
  };
  const uint64_t own = space.allocate({.bytes = 4096, .device = 0}, kPlenty);
  const uint64_t other = space.allocate({.bytes = 4096, .device = 1}, kPlenty);
  const uint64_t pooled = space.allocate(
      {.bytes = 4096, .kind = MemoryKind::pooled, .device = 1, .access = 0}, kPlenty);
  const uint64_t host = space.allocate({.bytes = 4096, .kind = MemoryKind::host}, kPlenty);
  for (uint64_t address : {own, host}) EXPECT_TRUE(sees(first, address));
  for (uint64_t address : {other, pooled, host}) EXPECT_TRUE(sees(second, address));
  EXPECT_FALSE(sees(first, other));
  EXPECT_FALSE(sees(first, pooled));
  EXPECT_FALSE(sees(second, own));
  space.setPeer(*first, 1, true);
  EXPECT_TRUE(sees(first, other));
  EXPECT_FALSE(sees(first, pooled)) << "a pool's own rule";
  space.setPeer(*first, 1, false);
  EXPECT_FALSE(sees(first, other));
  space.setAccess(pooled, 1);
  EXPECT_TRUE(sees(first, pooled));
  EXPECT_TRUE(sees(space.view(0), pooled)) << "a view that was made later";
  space.setAccess(pooled, 0);
  EXPECT_FALSE(sees(first, pooled));
}

TEST(AddressSpace, MapsAFileAtReservedAddresses) {
  AddressSpace space;
  const int file = memfd_create("address_space_test", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(file, 8192), 0);
  const uint64_t begin = space.reserve(16384, 1 << 21, 0);
  ASSERT_NE(begin, 0u);
  EXPECT_EQ(begin % (1 << 21), 0u);
  EXPECT_FALSE(readable(begin));
  Allocation mapping{.begin = begin, .bytes = 4096, .kind = MemoryKind::mapped};
  ASSERT_TRUE(space.map(mapping, file, 4096));
  mapping.begin += 4096;
  ASSERT_TRUE(space.map(mapping, file, 4096));
  Allocation found;
  EXPECT_TRUE(space.findOne(begin, found));
  EXPECT_FALSE(space.find(begin, found)) << "closed";
  EXPECT_FALSE(readable(begin));
  space.setAccess(begin, 1);
  ASSERT_TRUE(space.find(begin, found));
  EXPECT_EQ(found.bytes, 4096u);
  space.setAccess(begin + 4096, 1);
  EXPECT_TRUE(space.covers(begin, 8192));
  EXPECT_FALSE(space.covers(begin, 8193));
  *reinterpret_cast<char*>(begin + 7) = 'x';
  EXPECT_EQ(*reinterpret_cast<char*>(begin + 4096 + 7), 'x') << "the same page of the file";
  EXPECT_NE(space.reserve(4096, 4096, begin), begin) << "taken";
  EXPECT_TRUE(space.unmap(begin));
  EXPECT_FALSE(space.unmap(begin));
  EXPECT_FALSE(readable(begin));
  EXPECT_TRUE(readable(begin + 4096));
  EXPECT_TRUE(space.unmap(begin + 4096));
  space.unreserve(begin, 16384);
  EXPECT_EQ(space.reserve(16384, 4096, begin), begin) << "free again, where it is wanted";
  close(file);
}

class Outside final : public ptx::Environment {
 public:
  using Environment::Environment;
  void print(std::string_view) override {}
  void printAssertion(std::string_view) override {}
};

// Each thread writes one word of an array that has no room for the last threads, in the middle of a
// page.
TEST(AddressSpace, KernelsStopAtTheFirstByteOutsideWhenCheckedExactly) {
  constexpr std::string_view kText =
      ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 p) {\n"
      ".reg .u64 %a, %b; .reg .u32 %t;\nld.param.u64 %a, [p]; mov.u32 %t, %tid.x;\n"
      "mad.wide.u32 %b, %t, 4, %a;\nst.global.u32 [%b], %t; ret; }";
  ptx::CompileLog log;
  auto program = ptx::Program::compile(kText, log);
  ASSERT_NE(program, nullptr) << log.text;
  const ptx::LoadedProgram loaded(program, {});
  ptx::WorkerPool pool(1);
  for (const bool exactly : {false, true}) {
    AddressSpace space;
    if (exactly) space.checkExactly();
    const auto view = space.view(0);
    Outside environment(view->map(), pool, {});
    const uint64_t begin = allocate(space, 100);
    const auto run = [&](uint64_t address, uint32_t threads) {
      ptx::LaunchShape shape;
      shape.block = {threads};
      shape.params = reinterpret_cast<const std::byte*>(&address);
      shape.param_bytes = 8;
      return ptx::run(*program->findKernel("k"), loaded, shape, environment);
    };
    EXPECT_EQ(run(begin, 25).status, ptx::LaunchStatus::ok);
    const ptx::LaunchResult result = run(begin, 32);
    EXPECT_EQ(result.status, exactly ? ptx::LaunchStatus::illegal_address : ptx::LaunchStatus::ok);
    if (exactly) {
      EXPECT_EQ(result.detail.thread.x, 25u);
      EXPECT_EQ(result.detail.address, begin + 100);
      EXPECT_NE(result.detail.ptx_line, 0u);
    }
    space.resize(begin, 8);
    EXPECT_EQ(run(begin, 2).status, ptx::LaunchStatus::ok);
    EXPECT_EQ(run(begin, 3).status == ptx::LaunchStatus::ok, !exactly);
    EXPECT_EQ(run(64, 1).status, ptx::LaunchStatus::illegal_address);
    ASSERT_TRUE(space.release(begin, MemoryKind::device));
    EXPECT_EQ(run(begin, 1).status, ptx::LaunchStatus::illegal_address);
  }
}

}  // namespace
}  // namespace farwarp::cpu
