// Goal: the tables that cudart 13 needs are there, with working slots, and no others.
// Method: fetches each table by its id and calls the slots that runtimes and libraries are known to
// call.
#include "driver/hidden_tables.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "driver/integrity.h"
#include "tests/driver/fake_front.h"

namespace farwarp {
namespace {

FakeFront& front() {
  static FakeFront* front = [] {
    auto* made = new FakeFront;
    installHiddenTables(*made);
    return made;
  }();
  return *front;
}

CUuuid idOf(const std::string& text) {
  CUuuid id;
  std::string digits;
  for (char c : text) {
    if (c != '-') digits += c;
  }
  for (size_t i = 0; i < sizeof id.bytes; ++i) {
    id.bytes[i] = static_cast<char>(std::stoi(digits.substr(2 * i, 2), nullptr, 16));
  }
  return id;
}

void* const* table(const std::string& text) {
  front();
  const CUuuid id = idOf(text);
  const void* found = nullptr;
  EXPECT_EQ(findHiddenTable(&found, &id), CUDA_SUCCESS) << text;
  return static_cast<void* const*>(found);
}

template <typename Function>
Function slotOf(void* const* table, int slot) {
  return reinterpret_cast<Function>(table[slot]);
}

size_t bytesOf(void* const* table) {
  return reinterpret_cast<size_t>(table[0]);
}

constexpr char kInterface[] = "6bd5fb6c-5bf4-e74a-8987-d93912fd9df9";
constexpr char kHooks[] = "a094798c-2e74-2e74-93f2-0800200c0a66";
constexpr char kThreadState[] = "42d85a81-23f6-cb47-8298-f6e78a3aecdc";
constexpr char kStorage[] = "c693336e-1121-df11-a8c3-68f355d89593";
constexpr char kChecks[] = "263e8860-7cd2-6143-92f6-bbd5006dfa7e";
constexpr char kIntegrity[] = "d4082055-bde6-704b-8d34-ba123c66e1f2";
constexpr char kToolsContext[] = "21318c60-9714-3248-8ca6-41ff7324c8f2";
constexpr char kToolsModule[] = "6e163fbe-b958-444d-835c-e182aff1991e";
constexpr char kProfiler[] = "7cb63f9b-9ca4-8e42-a484-beb66e6aed7f";

TEST(HiddenTables, HaveTheSizesThatRuntimesAccept) {
  EXPECT_EQ(bytesOf(table(kInterface)), 13 * 8u);
  EXPECT_EQ(bytesOf(table(kHooks)), 7 * 8u);
  EXPECT_EQ(bytesOf(table(kThreadState)), 4 * 8u);
  EXPECT_EQ(bytesOf(table(kChecks)), 4 * 8u);
  EXPECT_EQ(bytesOf(table(kIntegrity)), 3 * 8u);
  EXPECT_GE(bytesOf(table(kToolsContext)), 52 * 8u);
  EXPECT_GE(bytesOf(table(kToolsModule)), 8 * 8u);
  EXPECT_EQ(bytesOf(table(kProfiler)), 8u);  // nothing but its size
  EXPECT_EQ(table(kStorage)[3], nullptr);
}

TEST(HiddenTables, RefuseWhatTheyDoNotKnow) {
  front();
  for (const char* text :
       {"f8cff951-2146-8b4e-b9e2-fb469e7c0dd9", "da9151d3-3ae6-cc41-a5c0-4f26d533e328",
        "00000000-0000-0000-0000-000000000000"}) {
    const CUuuid id = idOf(text);
    const void* found = &id;
    EXPECT_EQ(findHiddenTable(&found, &id), CUDA_ERROR_INVALID_VALUE) << text;
    EXPECT_EQ(found, nullptr);
  }
  const CUuuid id = idOf(kHooks);
  EXPECT_EQ(findHiddenTable(nullptr, &id), CUDA_ERROR_INVALID_VALUE);
}

TEST(HiddenTables, InterfaceGivesThePrimaryContext) {
  auto* primary = slotOf<CUresult (*)(CUcontext*, CUdevice)>(table(kInterface), 2);
  CUcontext context = nullptr, expected = nullptr;
  ASSERT_EQ(primary(&context, 0), CUDA_SUCCESS);
  front().primaryContext(&expected, 0);
  EXPECT_EQ(context, expected);
  EXPECT_EQ(primary(&context, 9), CUDA_ERROR_INVALID_DEVICE);
}

TEST(HiddenTables, InterfaceLetsNewerRuntimesFinishTheirInitialisation) {
  EXPECT_EQ(slotOf<CUresult (*)()>(table(kInterface), 12)(), CUDA_SUCCESS);
}

TEST(HiddenTables, HooksAreZeroAndLongEnough) {
  for (auto [slot, least] : {std::pair{2, 523u}, std::pair{6, 14u}}) {
    void* flags = nullptr;
    size_t count = 0;
    slotOf<CUresult (*)(void**, size_t*)>(table(kHooks), slot)(&flags, &count);
    ASSERT_GE(count, least);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(static_cast<uint32_t*>(flags)[i], 0u);
  }
}

TEST(HiddenTables, ThreadStateAndChecksAnswer) {
  FakeFront::current = reinterpret_cast<CUcontext>(uintptr_t{0x77});
  CUcontext context = nullptr;
  front();
  EXPECT_EQ((slotOf<CUresult (*)(CUcontext*, uint64_t)>(table(kThreadState), 2)(&context, 0)),
            CUDA_SUCCESS);
  EXPECT_EQ(context, FakeFront::current);
  uint32_t state = 9;
  void* more = nullptr;
  EXPECT_EQ((slotOf<CUresult (*)(CUcontext, uint32_t*, void**)>(table(kChecks), 2)(context, &state,
                                                                                   &more)),
            CUDA_SUCCESS);
  EXPECT_EQ(state, 0u);
  EXPECT_EQ(slotOf<uint32_t (*)()>(table(kChecks), 3)(), 0u);
}

TEST(HiddenTables, StorageUsesTheCurrentContextForZero) {
  void* const* storage = table(kStorage);
  const auto put =
      slotOf<CUresult (*)(CUcontext, void*, void*, void (*)(CUcontext, void*, void*))>(storage, 0);
  const auto remove = slotOf<CUresult (*)(CUcontext, void*)>(storage, 1);
  const auto get = slotOf<CUresult (*)(void**, CUcontext, void*)>(storage, 2);
  int key = 0, content = 0;
  void* value = nullptr;
  FakeFront::current = nullptr;
  EXPECT_NE(get(&value, nullptr, &key), CUDA_SUCCESS);
  FakeFront::current = reinterpret_cast<CUcontext>(uintptr_t{0x88});
  ASSERT_EQ(put(nullptr, &key, &content, nullptr), CUDA_SUCCESS);
  ASSERT_EQ(get(&value, FakeFront::current, &key), CUDA_SUCCESS);
  EXPECT_EQ(value, &content);
  value = nullptr;
  ASSERT_EQ(get(&value, nullptr, &key), CUDA_SUCCESS);
  EXPECT_EQ(value, &content);

  static int destroyed = 0;
  ASSERT_EQ(put(nullptr, &key, &content, [](CUcontext, void*, void*) { ++destroyed; }),
            CUDA_SUCCESS);
  contextLocalStorage().endContext(FakeFront::current);
  EXPECT_EQ(destroyed, 1);
  EXPECT_EQ(get(&value, nullptr, &key), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(remove(nullptr, &key), CUDA_ERROR_INVALID_HANDLE);
}

TEST(HiddenTables, IntegrityCoversTheTablesGivenOut) {
  void* const* integrity = table(kIntegrity);
  Digest answer{};
  ASSERT_EQ((slotOf<CUresult (*)(uint32_t, uint64_t, uint8_t*)>(integrity, 1)(13002, 1234,
                                                                              answer.data())),
            CUDA_SUCCESS);
  EXPECT_EQ(answer, integrityAnswer(front(), {.version = 13002,
                                              .unix_seconds = 1234,
                                              .interface_table = table(kInterface),
                                              .integrity_table = integrity,
                                              .check_function = integrity[1]}));
}

TEST(HiddenTables, ToolsTablesServeTheMathLibraries) {
  void* const* tools = table(kToolsContext);
  FakeFront::current = reinterpret_cast<CUcontext>(uintptr_t{0x99});
  uint64_t number = 0, property = 9;
  void* object = nullptr;
  EXPECT_EQ((slotOf<CUresult (*)(CUcontext, uint64_t*)>(tools, 4)(nullptr, &number)), CUDA_SUCCESS);
  EXPECT_NE(number, 0u);
  EXPECT_EQ(
      (slotOf<CUresult (*)(CUcontext, CUstream, void**)>(tools, 51)(nullptr, nullptr, &object)),
      CUDA_SUCCESS);
  EXPECT_NE(object, nullptr);
  EXPECT_EQ(
      (slotOf<CUresult (*)(CUcontext, void*, uint64_t*)>(tools, 39)(nullptr, object, &property)),
      CUDA_SUCCESS);
  EXPECT_EQ(property, 0u);
  EXPECT_EQ(slotOf<CUresult (*)()>(tools, 60)(), CUDA_ERROR_NOT_SUPPORTED);

  std::string seen;
  const auto visit = [](void* user, CUfunction, const char* name) {
    *static_cast<std::string*>(user) += name;
  };
  using Visit = size_t (*)(CUcontext, CUmodule, void (*)(void*, CUfunction, const char*), void*);
  EXPECT_EQ((slotOf<Visit>(table(kToolsModule), 7)(nullptr, reinterpret_cast<CUmodule>(&seen),
                                                   visit, &seen)),
            1u);
  EXPECT_EQ(seen, "only_kernel");
}

}  // namespace
}  // namespace farwarp
