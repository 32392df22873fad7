// Goal: however the addresses of a warp's lanes lie, and however much of them the decoder knows
// before, accesses reach the right places. Method: kernels whose indices lie in rows, in groups,
// all at one place and anyhow, compared with the same sums on the host; and kernels where taking an
// index for an address, or one access's addresses for those of the next, would be wrong.
#include <numeric>
#include <optional>

#include "tests/ptx/harness.h"

namespace farwarp::ptx {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kWords = 4096;

class Addresses : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (GetParam() == 3 && !__builtin_cpu_supports("avx2")) GTEST_SKIP() << "needs AVX2";
  }
  void load(const std::string& registers, const std::string& body) {
    module_.emplace(device_, kernelText(registers, body, 2), GetParam());
    out_ = device_.allocateArray<uint32_t>(kWords);
    words_ = device_.allocateArray<uint32_t>(kWords);
    index_ = device_.allocateArray<int32_t>(kThreads);
    std::iota(words_, words_ + kWords, 1000);
  }
  void run(uint32_t threads = kThreads) {
    ASSERT_EQ(module_->launch("k", {1}, {threads}, 0, out_, words_, index_).status,
              LaunchStatus::ok);
  }
  TestDevice device_{1};
  std::optional<TestModule> module_;
  uint32_t* out_ = nullptr;
  uint32_t* words_ = nullptr;
  int32_t* index_ = nullptr;
};

// Index of a thread: lanes in a row, all alike, groups of 8 and 16, mixed groups, and no order.
const std::vector<int32_t (*)(uint32_t)> kOrders = {
    [](uint32_t t) { return static_cast<int32_t>(t + 3); },
    [](uint32_t t) { return static_cast<int32_t>(t / 32); },
    [](uint32_t t) { return static_cast<int32_t>(t % 16 + t / 16 * 40); },
    [](uint32_t t) { return static_cast<int32_t>(t % 8 + t / 8 * 20); },
    [](uint32_t t) { return static_cast<int32_t>(t / 8 * 3); },
    [](uint32_t t) { return static_cast<int32_t>(t % 16 < 8 ? t : t / 8); },
    [](uint32_t t) { return static_cast<int32_t>(t * 37 % 509); },
    [](uint32_t t) { return static_cast<int32_t>(t == 31 ? 500 : t); },
    [](uint32_t t) { return static_cast<int32_t>(255 - t); },
    [](uint32_t t) { return static_cast<int32_t>(t % 8 == 7 ? 1 : t); },
};

TEST_P(Addresses, IndexedLoadsOfEveryOrder) {
  load(".reg .b32 %i, %r<4>; .reg .b64 %x, %y, %z; .reg .pred %p;", R"(
    mul.wide.u32 %at, %tidx, 4; add.s64 %x, %in1, %at; ld.global.s32 %i, [%x];
    mul.wide.s32 %y, %i, 4; add.s64 %z, %in0, %y;
    ld.global.u32 %r0, [%z]; ld.global.u32 %r1, [%z+4]; ld.global.u8 %r2, [%z+8];
    setp.gt.u32 %p, %tidx, 40; @%p ld.global.u32 %r1, [%z+12];
    add.u32 %r0, %r0, %r1; add.u32 %r0, %r0, %r2; add.s64 %x, %out, %at; st.global.u32 [%x], %r0;)");
  for (auto order : kOrders) {
    for (uint32_t t = 0; t < kThreads; ++t) index_[t] = order(t);
    run();
    for (uint32_t t = 0; t < kThreads; ++t) {
      const uint32_t* w = words_ + index_[t];
      ASSERT_EQ(out_[t], w[0] + w[t > 40 ? 3 : 1] + (w[2] & 0xff)) << t;
    }
  }
}

TEST_P(Addresses, SharedLoadsAndStoresOfEveryOrder) {
  load(".reg .b32 %i, %a, %r<4>; .reg .b64 %x; .shared .align 16 .b8 cells[16384];", R"(
    mul.wide.u32 %at, %tidx, 4; add.s64 %x, %in1, %at; ld.global.s32 %i, [%x];
    shl.b32 %a, %tidx, 2; mov.u32 %r0, cells; add.u32 %a, %a, %r0;
    st.shared.u32 [%a], %tidx; st.shared.u32 [%a+1024], %i; st.shared.u32 [%a+2048], 7;
    bar.sync 0;
    shl.b32 %i, %i, 2; add.u32 %a, %i, %r0; ld.shared.u32 %r1, [%a]; ld.shared.u32 %r2, [%a+1024];
    add.u32 %r1, %r1, %r2; st.shared.u32 [%a+4096], %r1; bar.sync 0; ld.shared.u32 %r1, [%a+4096];
    add.s64 %x, %out, %at; st.global.u32 [%x], %r1;)");
  for (auto order : kOrders) {
    std::vector<uint32_t> cells(kWords);
    for (uint32_t t = 0; t < kThreads; ++t) index_[t] = order(t) % 512;
    for (uint32_t t = 0; t < kThreads; ++t) {
      cells[t] = t, cells[256 + t] = static_cast<uint32_t>(index_[t]), cells[512 + t] = 7;
    }
    run();
    for (uint32_t t = 0; t < kThreads; ++t) {
      auto i = static_cast<size_t>(index_[t]);
      ASSERT_EQ(out_[t], cells[i] + cells[i + 256]) << t;
    }
  }
}

TEST_P(Addresses, VectorsOfEveryOrder) {
  load(".reg .b32 %i, %r<4>; .reg .b64 %x, %y, %z;", R"(
    mul.wide.u32 %at, %tidx, 4; add.s64 %x, %in1, %at; ld.global.s32 %i, [%x];
    mul.wide.s32 %y, %i, 16; add.s64 %z, %in0, %y; ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%z];
    add.s64 %z, %out, %y; st.global.v2.u32 [%z], {%r3, %r2}; st.global.v2.u32 [%z+8], {%r1, %r0};)");
  for (auto order : kOrders) {
    for (uint32_t t = 0; t < kThreads; ++t) index_[t] = order(t) % 700;
    std::fill_n(out_, kWords, 0);
    run();
    for (uint32_t t = 0; t < kThreads; ++t) {
      const uint32_t *w = words_ + 4 * index_[t], *o = out_ + 4 * index_[t];
      for (int k = 0; k < 4; ++k) ASSERT_EQ(o[k], w[3 - k]) << t;
    }
  }
}

// 32-bit indices that wrap around between two lanes name places 16 GiB apart: not a row.
TEST_P(Addresses, AnIndexThatWrapsIsNoRow) {
  load(".reg .b32 %i; .reg .b64 %x, %y, %z; .reg .b32 %r;", R"(
    add.u32 %i, %tidx, -8; mul.wide.u32 %y, %i, 4; add.s64 %z, %in0, %y; ld.global.u32 %r, [%z];)");
  LaunchResult result = module_->launch("k", {1}, {32}, 0, out_, words_, index_);
  EXPECT_EQ(result.status, LaunchStatus::illegal_address);
  EXPECT_EQ(result.detail.thread.x, 0u);
  EXPECT_EQ(result.detail.address, reinterpret_cast<uint64_t>(words_) + 4 * 0xfffffff8ull);
  load(".reg .b32 %i; .reg .b64 %x, %y, %z; .reg .b32 %r;", R"(
    add.u32 %i, %tidx, -8; mul.wide.s32 %y, %i, 4; add.s64 %z, %in0, %y; ld.global.u32 %r, [%z+32];
    mul.wide.u32 %x, %tidx, 4; add.s64 %x, %out, %x; st.global.u32 [%x], %r;)");
  run(32);
  for (uint32_t t = 0; t < 32; ++t) EXPECT_EQ(out_[t], words_[t]);
}

// The address is computed once, then its index changes in a loop before the address is used.
TEST_P(Addresses, AnAddressOutlivesItsIndex) {
  load(".reg .b32 %i, %n, %r<4>; .reg .b64 %x, %y, %z, %w; .reg .pred %p;", R"(
    mov.u32 %i, %tidx; mov.u32 %n, 0; mov.u32 %r0, 0; mov.u64 %z, %in0;
  LOOP:
    ld.global.u32 %r1, [%z]; add.u32 %r0, %r0, %r1;
    add.u32 %i, %i, 5; mul.wide.u32 %y, %i, 4; add.s64 %w, %in0, %y; add.u32 %i, %i, 1;
    ld.global.u32 %r1, [%w]; add.u32 %r0, %r0, %r1; mov.u64 %z, %w;
    add.u32 %n, %n, 1; setp.lt.u32 %p, %n, 3; @%p bra LOOP;
    mul.wide.u32 %x, %tidx, 4; add.s64 %x, %out, %x; st.global.u32 [%x], %r0;)");
  run();
  for (uint32_t t = 0; t < kThreads; ++t) {
    uint32_t sum = 0, i = t, z = 0;
    for (int n = 0; n < 3; ++n) {
      sum += words_[z];
      i += 5, z = i, i += 1;
      sum += words_[z];
    }
    ASSERT_EQ(out_[t], sum) << t;
  }
}

// Definitions that stand after their use in the text, or on one of two ways, are not folded.
TEST_P(Addresses, OnlyWhatPrecedesOnEveryPathIsFolded) {
  load(".reg .b32 %i, %n, %r<4>; .reg .b64 %x, %y, %z; .reg .pred %p, %q;", R"(
    mov.u32 %r0, 0; mov.u32 %n, 0; mul.wide.u32 %y, %tidx, 0; add.s64 %z, %in0, %y;
    setp.lt.u32 %q, %tidx, 10;
  LOOP:
    ld.global.u32 %r1, [%z]; add.u32 %r0, %r0, %r1; @%q bra NEXT;
    mad.lo.u32 %i, %n, 3, %tidx; mul.wide.u32 %y, %i, 4; add.s64 %z, %in0, %y;
  NEXT:
    add.u32 %n, %n, 1; setp.lt.u32 %p, %n, 3; @%p bra LOOP;
    mul.wide.u32 %x, %tidx, 4; add.s64 %x, %out, %x; st.global.u32 [%x], %r0;)");
  run();
  for (uint32_t t = 0; t < kThreads; ++t) {
    uint32_t sum = words_[0] + (t < 10 ? 2 * words_[0] : words_[t] + words_[t + 3]);
    ASSERT_EQ(out_[t], sum) << t;
  }
}

// A load into its own address register, and changes of the register between accesses.
TEST_P(Addresses, AccessesShareOnlyTheSameValue) {
  load(".reg .b32 %a, %r<4>; .reg .b64 %x; .shared .align 8 .b8 cells[4096];", R"(
    shl.b32 %a, %tidx, 2; mov.u32 %r0, cells; add.u32 %a, %a, %r0;
    xor.b32 %r1, %tidx, 255; shl.b32 %r1, %r1, 2; add.u32 %r1, %r1, %r0;
    st.shared.u32 [%a], %r1; st.shared.u32 [%a+1024], %tidx; bar.sync 0;
    ld.shared.u32 %a, [%a]; ld.shared.u32 %r2, [%a+1024];
    xor.b32 %a, %a, 32; ld.shared.u32 %r3, [%a+1024]; shl.b32 %r3, %r3, 8; add.u32 %r2, %r2, %r3;
    mul.wide.u32 %x, %tidx, 4; add.s64 %x, %out, %x; st.global.u32 [%x], %r2;)");
  run();
  for (uint32_t t = 0; t < kThreads; ++t) {
    uint32_t other = 255 - t;
    ASSERT_EQ(out_[t], other + ((other ^ 8) << 8)) << t;
  }
}

// Some of the lanes only, then all, then some again, at one address register.
TEST_P(Addresses, GuardedAccessesShareToo) {
  load(".reg .b32 %r<6>; .reg .b64 %x, %z; .reg .pred %p;", R"(
    mad.wide.u32 %z, %tidx, 4, %in0; setp.lt.u32 %p, %t2, 20; mov.u32 %r0, 0; mov.u32 %r2, 0;
    @%p ld.global.u32 %r0, [%z]; ld.global.u32 %r1, [%z+4]; @!%p ld.global.u32 %r2, [%z+8];
    ld.global.u32 %r3, [%z+12]; add.u32 %r0, %r0, %r1; add.u32 %r0, %r0, %r2;
    add.u32 %r0, %r0, %r3; mad.wide.u32 %x, %tidx, 4, %out; st.global.u32 [%x], %r0;)");
  run();
  for (uint32_t t = 0; t < kThreads; ++t) {
    ASSERT_EQ(out_[t], (t < 20 ? words_[t] : words_[t + 2]) + words_[t + 1] + words_[t + 3]) << t;
  }
}

// A guard that holds for no lane: the access finds nothing out that later ones could share. What an
// earlier basic block found out about another register must not be taken for it, whichever of the
// few memos that block's four accesses used.
TEST_P(Addresses, AnAccessThatNoLaneMakesSharesNothing) {
  load(".reg .b32 %r<6>; .reg .b64 %x, %z<4>; .reg .pred %p, %q;", R"(
    mad.wide.u32 %z0, %tidx, 4, %in0; add.u64 %z1, %z0, 4; add.u64 %z2, %z0, 8;
    add.u64 %z3, %z0, 12; setp.gt.u32 %p, %tidx, 4096; setp.lt.u32 %q, %tidx, 4096;
    ld.global.u32 %r0, [%z0]; ld.global.u32 %r1, [%z1]; ld.global.u32 %r2, [%z2];
    ld.global.u32 %r3, [%z3]; @%q bra LATER;
    mov.u32 %r0, 0;
  LATER:
    mad.wide.u32 %z0, %tidx, 4, %z0; @%p ld.global.u32 %r1, [%z0+4096];
    ld.global.u32 %r4, [%z0+4]; add.u32 %r0, %r0, %r1; add.u32 %r0, %r0, %r4;
    mad.wide.u32 %x, %tidx, 4, %out; st.global.u32 [%x], %r0;)");
  run();
  for (uint32_t t = 0; t < kThreads; ++t) {
    ASSERT_EQ(out_[t], words_[t] + words_[t + 1] + words_[2 * t + 1]) << t;
  }
}

// One register as an index with a sign and as one without: the latter lies 16 GiB behind.
TEST_P(Addresses, AnIndexWithoutASignIsAnotherIndex) {
  load(".reg .b32 %i, %r<2>; .reg .b64 %x, %y<2>, %z<2>;", R"(
    mul.wide.u32 %at, %tidx, 4; add.s64 %x, %in1, %at; ld.global.s32 %i, [%x];
    mul.wide.s32 %y0, %i, 4; add.s64 %z0, %in0, %y0; ld.global.u32 %r0, [%z0+1024];
    mul.wide.u32 %y1, %i, 4; add.s64 %z1, %in0, %y1; ld.global.u32 %r1, [%z1+1024];
    add.u32 %r0, %r0, %r1; add.s64 %x, %out, %at; st.global.u32 [%x], %r0;)");
  for (int32_t first : {5, -100}) {
    for (uint32_t t = 0; t < kThreads; ++t) index_[t] = first + static_cast<int32_t>(t);
    LaunchResult result = module_->launch("k", {1}, {kThreads}, 0, out_, words_, index_);
    EXPECT_EQ(result.status == LaunchStatus::ok, first >= 0) << first;
  }
  EXPECT_EQ(out_[3], 2 * words_[256 + 5 + 3]);
}

// Groups of lanes where one group lies behind the end of the memory.
TEST_P(Addresses, TheFaultOfAGroupNamesItsThread) {
  load(".reg .b32 %i, %r; .reg .b64 %x, %y, %z;", R"(
    mul.wide.u32 %at, %tidx, 4; add.s64 %x, %in1, %at; ld.global.s32 %i, [%x];
    mul.wide.s32 %y, %i, 4; add.s64 %z, %in0, %y; ld.global.u32 %r, [%z];)");
  for (uint32_t t = 0; t < kThreads; ++t) {
    index_[t] = static_cast<int32_t>(t % 8 + (t / 8 == 6 ? kWords - 4 : t / 8 * 16));
  }
  LaunchResult result = module_->launch("k", {1}, {kThreads}, 0, out_, words_, index_);
  EXPECT_EQ(result.status, LaunchStatus::illegal_address);
  EXPECT_EQ(result.detail.thread.x, 52u);
  EXPECT_EQ(result.detail.address, reinterpret_cast<uint64_t>(words_ + kWords));
}

INSTANTIATE_TEST_SUITE_P(Levels, Addresses, testing::Values(2, 3, 0));

}  // namespace
}  // namespace farwarp::ptx
