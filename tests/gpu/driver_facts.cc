// What the CUDA driver that a process finds says about itself, as JSON on stdout: version, hidden
// tables, entry points by name and version, device attributes, and the code that each of a list of
// wrong calls gives.
//
// The same program runs on a real driver, on the CPU device and through gpud; scripts/gpu-check
// compares what they say. It names no code that is right: which is right is the real driver's to
// say.
//
//   farwarp_driver_facts [LIBRARY]     default: libcuda.so.1, as the dynamic linker finds it
#include <cuda.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gpud/device/driver_table.h"

namespace farwarp {
namespace {

using Json = nlohmann::ordered_json;

DriverTable driver;  // filled by run

const char kKernels[] = R"(
.version 7.0
.target sm_70
.address_size 64
.visible .entry empty() { ret; }
.visible .entry trap_now() { trap; }
.visible .entry write(.param .u64 where) {
  .reg .u64 %a; .reg .u32 %v;
  ld.param.u64 %a, [where];
  mov.u32 %v, 7;
  st.global.u32 [%a], %v;
  ret;
}
.visible .entry narrow() .maxntid 32, 1, 1 { ret; }
.visible .entry exact() .reqntid 64, 1, 1 { ret; }
.visible .entry read_shared(.param .u32 at) {
  .reg .u32 %a, %v;
  .shared .align 4 .b8 few[16];
  ld.param.u32 %a, [at];
  ld.shared.u32 %v, [%a];
  st.shared.u32 [few], %v;
  ret;
}
)";

std::string codeName(CUresult code) {
  const char* name = nullptr;
  driver.cuGetErrorName(code, &name);
  return name != nullptr ? name : std::to_string(static_cast<int>(code));
}

// --- entry points
// ----------------------------------------------------------------------------------

// A symbol without version and stream suffixes: cuMemcpyHtoD for cuMemcpyHtoD_v2_ptds.
std::string baseOf(std::string name) {
  const auto cut = [&name](const char* suffix) {
    const size_t length = std::strlen(suffix);
    if (name.size() > length && name.compare(name.size() - length, length, suffix) == 0) {
      name.resize(name.size() - length);
    }
  };
  cut("_ptds");
  cut("_ptsz");
  const size_t at = name.rfind("_v");
  if (at != std::string::npos && at + 3 == name.size() && isdigit(name[at + 2]) != 0) {
    name.resize(at);
  }
  return name;
}

// For each base name the symbol that cuGetProcAddress gives, from the version at which it changes.
Json entryPoints() {
  constexpr int kVersions[] = {2000,  2010,  2020,  3000,  3010,  3020,  4000,  4010,  4020,
                               5000,  5050,  6000,  6050,  7000,  7050,  8000,  9000,  9010,
                               9020,  10000, 10010, 10020, 11000, 11010, 11020, 11030, 11040,
                               11050, 11060, 11070, 11080, 12000, 12010, 12020, 12030, 12040,
                               12050, 12060, 12080, 12090, 13000};
  std::map<void*, std::string> symbols;
  std::map<std::string, Json> bases;
  const auto* members = reinterpret_cast<void* const*>(&driver);
  for (size_t i = 0; i < kDriverFunctionCount; ++i) {
    symbols.emplace(members[i], kDriverSymbolNames[i]);
    bases.emplace(baseOf(kDriverSymbolNames[i]), Json::object());
  }
  Json all = Json::object();
  for (auto& [base, found] : bases) {
    std::map<void*, size_t> forms;
    for (const cuuint64_t flags :
         {cuuint64_t{0}, cuuint64_t{CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM}}) {
      std::string last;
      for (const int version : kVersions) {
        void* address = nullptr;
        CUdriverProcAddressQueryResult status{};
        const CUresult code =
            driver.cuGetProcAddress_v2(base.c_str(), &address, version, flags, &status);
        std::string says;
        if (code != CUDA_SUCCESS) {
          says = codeName(code);
        } else if (address == nullptr) {
          says = "none, status " + std::to_string(static_cast<int>(status));
        } else {
          // Some drivers export other addresses than they hand out: those are numbered.
          const auto symbol = symbols.find(address);
          const auto number = forms.emplace(address, forms.size() + 1).first->second;
          says = symbol == symbols.end() ? "form " + std::to_string(number) : symbol->second;
        }
        if (says == last) continue;
        found[(flags == 0 ? "" : "per thread ") + std::to_string(version)] = says;
        last = says;
      }
    }
    all[base] = found;
  }
  return all;
}

// --- hidden tables
// ---------------------------------------------------------------------------------

Json hiddenTables() {
  constexpr const char* kTables[] = {
      "f8cff951-2146-8b4e-b9e2-fb469e7c0dd9", "6bd5fb6c-5bf4-e74a-8987-d93912fd9df9",
      "a094798c-2e74-2e74-93f2-0800200c0a66", "42d85a81-23f6-cb47-8298-f6e78a3aecdc",
      "c693336e-1121-df11-a8c3-68f355d89593", "263e8860-7cd2-6143-92f6-bbd5006dfa7e",
      "d4082055-bde6-704b-8d34-ba123c66e1f2", "21318c60-9714-3248-8ca6-41ff7324c8f2",
      "6e163fbe-b958-444d-835c-e182aff1991e", "da9151d3-3ae6-cc41-a5c0-4f26d533e328",
      "0ca50b8c-1004-929a-89a7-d0df10e77286", "195bcbf4-d67d-024a-acc5-1d29cea631ae",
      "b10541e1-f7c7-c74a-9f64-f223be99f1e2", "dd9e98a4-f410-4844-99b0-e2aeb7b432b5",
      "00000000-0000-0000-0000-000000000001"};
  constexpr const char* kWithoutSize = "c693336e-1121-df11-a8c3-68f355d89593";
  constexpr uint64_t kBytesMax = 8192;
  Json all = Json::object();
  for (const char* text : kTables) {
    CUuuid id{};
    size_t at = 0;
    for (const char* p = text; *p != 0 && at < sizeof(id.bytes); ++p) {
      if (*p == '-') continue;
      id.bytes[at++] = static_cast<char>(std::stoi(std::string(p, 2), nullptr, 16));
      ++p;
    }
    const void* table = nullptr;
    const CUresult code = driver.cuGetExportTable(&table, &id);
    Json entry = {{"code", codeName(code)}};
    if (code == CUDA_SUCCESS && table != nullptr && std::strcmp(text, kWithoutSize) != 0) {
      const auto* words = static_cast<const uint64_t*>(table);
      entry["bytes"] = words[0];
      if (words[0] <= kBytesMax) {
        Json empty = Json::array();
        for (uint64_t i = 1; i < words[0] / 8; ++i) {
          if (words[i] == 0) empty.push_back(i);
        }
        entry["empty_slots"] = empty;
      }
    }
    all[text] = entry;
  }
  return all;
}

// --- attributes
// ------------------------------------------------------------------------------------

Json attributes() {
  Json all = Json::object();
  for (int attribute = 1; attribute < 160; ++attribute) {
    int value = 0;
    const CUresult code =
        driver.cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(attribute), 0);
    all[std::to_string(attribute)] = code == CUDA_SUCCESS ? Json(value) : Json(codeName(code));
  }
  return all;
}

// --- codes of wrong calls
// ----------------------------------------------------------------------------

struct Setting {
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction kernel(const char* name) const {
    CUfunction function = nullptr;
    driver.cuModuleGetFunction(&function, module, name);
    return function;
  }
};

Setting makeSetting() {
  Setting setting;
  driver.cuInit(0);
  driver.cuCtxCreate_v4(&setting.context, nullptr, 0, 0);
  driver.cuModuleLoadData(&setting.module, kKernels);
  return setting;
}

CUresult launch(CUfunction kernel, std::array<unsigned, 3> grid, std::array<unsigned, 3> block,
                unsigned shared = 0, void** params = nullptr) {
  return driver.cuLaunchKernel(kernel, grid[0], grid[1], grid[2], block[0], block[1], block[2],
                               shared, nullptr, params, nullptr);
}

CUdeviceptr allocate(size_t bytes) {
  CUdeviceptr address = 0;
  driver.cuMemAlloc_v2(&address, bytes);
  return address;
}

struct Case {
  const char* name;
  std::function<CUresult(const Setting&)> call;
};

// Calls that fail at once and leave the context as it was.
const std::vector<Case>& harmlessCases() {
  static const std::vector<Case> cases = {
      {"launch, grid x 0",
       [](auto& s) {
         return launch(s.kernel("empty"), {0, 1, 1}, {1, 1, 1});
       }},
      {"launch, grid y 65536",
       [](auto& s) {
         return launch(s.kernel("empty"), {1, 65536, 1}, {1, 1, 1});
       }},
      {"launch, block x 0",
       [](auto& s) {
         return launch(s.kernel("empty"), {1, 1, 1}, {0, 1, 1});
       }},
      {"launch, block 2048",
       [](auto& s) {
         return launch(s.kernel("empty"), {1, 1, 1}, {2048, 1, 1});
       }},
      {"launch, block 1024 x 2",
       [](auto& s) {
         return launch(s.kernel("empty"), {1, 1, 1}, {1024, 2, 1});
       }},
      {"launch, block z 65",
       [](auto& s) {
         return launch(s.kernel("empty"), {1, 1, 1}, {1, 1, 65});
       }},
      {"launch, more threads than .maxntid",
       [](auto& s) {
         return launch(s.kernel("narrow"), {1, 1, 1}, {64, 1, 1});
       }},
      {"launch, other threads than .reqntid",
       [](auto& s) {
         // No attribute tells a client what the kernel requires: remotely, the next call that waits
         // brings the error.
         const CUresult r = launch(s.kernel("exact"), {1, 1, 1}, {32, 1, 1});
         return r == CUDA_SUCCESS ? driver.cuCtxSynchronize() : r;
       }},
      {"launch, 64 KiB of dynamic shared memory without the attribute",
       [](auto& s) {
         return launch(s.kernel("empty"), {1, 1, 1}, {1, 1, 1}, 65536);
       }},
      {"launch, 1 GiB of dynamic shared memory",
       [](auto& s) {
         return launch(s.kernel("empty"), {1, 1, 1}, {1, 1, 1}, 1u << 30);
       }},
      {"launch, null kernel",
       [](auto&) {
         return launch(nullptr, {1, 1, 1}, {1, 1, 1});
       }},
      {"launch, null parameters",
       [](auto& s) {
         return launch(s.kernel("write"), {1, 1, 1}, {1, 1, 1});
       }},
      {"launch, dynamic shared attribute of 1 GiB",
       [](auto& s) {
         return driver.cuFuncSetAttribute(s.kernel("empty"),
                                          CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 1 << 30);
       }},
      {"cooperative launch, too many blocks",
       [](auto& s) {
         return driver.cuLaunchCooperativeKernel(s.kernel("empty"), 1u << 24, 1, 1, 32, 1, 1, 0,
                                                 nullptr, nullptr);
       }},
      {"function, unknown name",
       [](auto& s) {
         CUfunction function;
         return driver.cuModuleGetFunction(&function, s.module, "nothing");
       }},
      {"function, null name",
       [](auto& s) {
         CUfunction function;
         return driver.cuModuleGetFunction(&function, s.module, nullptr);
       }},
      {"global, unknown name",
       [](auto& s) {
         CUdeviceptr address;
         return driver.cuModuleGetGlobal_v2(&address, nullptr, s.module, "nothing");
       }},
      {"module, empty image",
       [](auto&) {
         CUmodule module;
         return driver.cuModuleLoadData(&module, "");
       }},
      {"module, text that is not PTX",
       [](auto&) {
         CUmodule module;
         return driver.cuModuleLoadData(&module, "hello");
       }},
      {"module, PTX with an unknown instruction",
       [](auto&) {
         CUmodule module;
         return driver.cuModuleLoadData(&module,
                                        ".version 7.0\n.target sm_70\n.address_size 64\n"
                                        ".visible .entry k() { frobnicate; ret; }\n");
       }},
      {"module, PTX of a newer ISA",
       [](auto&) {
         CUmodule module;
         return driver.cuModuleLoadData(&module,
                                        ".version 99.0\n.target sm_70\n.address_size 64\n"
                                        ".visible .entry k() { ret; }\n");
       }},
      {"module, PTX for sm_999",
       [](auto&) {
         CUmodule module;
         return driver.cuModuleLoadData(&module,
                                        ".version 7.0\n.target sm_999\n.address_size 64\n"
                                        ".visible .entry k() { ret; }\n");
       }},
      {"module, null image",
       [](auto&) {
         CUmodule module;
         return driver.cuModuleLoadData(&module, nullptr);
       }},
      {"module, file that is not there",
       [](auto&) {
         CUmodule module;
         return driver.cuModuleLoad(&module, "/nonexistent/module.ptx");
       }},
      {"allocate, 0 bytes",
       [](auto&) {
         CUdeviceptr address;
         return driver.cuMemAlloc_v2(&address, 0);
       }},
      {"allocate, 2^60 bytes",
       [](auto&) {
         CUdeviceptr address;
         return driver.cuMemAlloc_v2(&address, size_t{1} << 60);
       }},
      {"allocate, null result", [](auto&) { return driver.cuMemAlloc_v2(nullptr, 16); }},
      {"allocate pitch, width 0",
       [](auto&) {
         CUdeviceptr address;
         size_t pitch;
         return driver.cuMemAllocPitch_v2(&address, &pitch, 0, 4, 4);
       }},
      {"allocate pitch, element size 3",
       [](auto&) {
         CUdeviceptr address;
         size_t pitch;
         return driver.cuMemAllocPitch_v2(&address, &pitch, 16, 4, 3);
       }},
      {"free, null", [](auto&) { return driver.cuMemFree_v2(0); }},
      {"free, inside of an allocation",
       [](auto&) { return driver.cuMemFree_v2(allocate(4096) + 16); }},
      {"free, twice",
       [](auto&) {
         const CUdeviceptr address = allocate(4096);
         driver.cuMemFree_v2(address);
         return driver.cuMemFree_v2(address);
       }},
      {"free, a host address",
       [](auto&) {
         static int value;
         return driver.cuMemFree_v2(reinterpret_cast<CUdeviceptr>(&value));
       }},
      {"copy to the device, null destination",
       [](auto&) {
         char bytes[16] = {};
         return driver.cuMemcpyHtoD_v2(0, bytes, 16);
       }},
      {"copy to the device, null source",
       [](auto&) { return driver.cuMemcpyHtoD_v2(allocate(16), nullptr, 16); }},
      {"copy to the device, past the end of an allocation",
       [](auto&) {
         static std::vector<char> bytes(64 << 20);
         return driver.cuMemcpyHtoD_v2(allocate(2 << 20), bytes.data(), bytes.size());
       }},
      {"copy to the device, destination on the host",
       [](auto&) {
         static char from[16], to[16];
         return driver.cuMemcpyHtoD_v2(reinterpret_cast<CUdeviceptr>(to), from, 16);
       }},
      {"copy to the host, source freed",
       [](auto&) {
         const CUdeviceptr address = allocate(32 << 20);
         driver.cuMemFree_v2(address);
         char bytes[16];
         return driver.cuMemcpyDtoH_v2(bytes, address, 16);
       }},
      {"copy to the host, destination on the device",
       [](auto&) {
         return driver.cuMemcpyDtoH_v2(reinterpret_cast<void*>(allocate(64)), allocate(64), 16);
       }},
      {"copy, 0 bytes, null addresses",
       [](auto&) { return driver.cuMemcpyHtoD_v2(0, nullptr, 0); }},
      {"copy of either kind, both on the host",
       [](auto&) {
         static char from[16], to[16];
         return driver.cuMemcpy(reinterpret_cast<CUdeviceptr>(to),
                                reinterpret_cast<CUdeviceptr>(from), 16);
       }},
      {"set, misaligned 32 bits",
       [](auto&) { return driver.cuMemsetD32_v2(allocate(64) + 1, 1, 4); }},
      {"set, past the end",
       [](auto&) { return driver.cuMemsetD8_v2(allocate(2 << 20), 1, size_t{64} << 20); }},
      {"attribute, unknown",
       [](auto&) {
         int value;
         return driver.cuDeviceGetAttribute(&value, static_cast<CUdevice_attribute>(9999), 0);
       }},
      {"device, ordinal 4096",
       [](auto&) {
         CUdevice device;
         return driver.cuDeviceGet(&device, 4096);
       }},
      {"device, ordinal -1",
       [](auto&) {
         CUdevice device;
         return driver.cuDeviceGet(&device, -1);
       }},
      {"device name, 0 bytes",
       [](auto&) {
         char name[1];
         return driver.cuDeviceGetName(name, 0, 0);
       }},
      {"init, flags 1", [](auto&) { return driver.cuInit(1); }},
      {"context, pop too often",
       [](auto&) {
         CUcontext popped;
         for (int i = 0; i < 64; ++i) {
           const CUresult code = driver.cuCtxPopCurrent_v2(&popped);
           if (code != CUDA_SUCCESS) return code;
         }
         return CUDA_SUCCESS;
       }},
      {"context, push null", [](auto&) { return driver.cuCtxPushCurrent_v2(nullptr); }},
      {"no context, allocate",
       [](auto&) {
         driver.cuCtxSetCurrent(nullptr);
         CUdeviceptr address;
         return driver.cuMemAlloc_v2(&address, 16);
       }},
      {"no context, synchronize",
       [](auto&) {
         driver.cuCtxSetCurrent(nullptr);
         return driver.cuCtxSynchronize();
       }},
      {"context flags, unknown",
       [](auto&) {
         CUcontext context;
         return driver.cuCtxCreate_v4(&context, nullptr, 0x10000, 0);
       }},
      {"limit, unknown",
       [](auto&) {
         size_t value;
         return driver.cuCtxGetLimit(&value, static_cast<CUlimit>(999));
       }},
      {"stream, unknown flags",
       [](auto&) {
         CUstream stream;
         return driver.cuStreamCreate(&stream, 0x100);
       }},
      {"stream, destroy the legacy stream",
       [](auto&) { return driver.cuStreamDestroy_v2(CU_STREAM_LEGACY); }},
      {"stream, null handle result", [](auto&) { return driver.cuStreamCreate(nullptr, 0); }},
      {"event, unknown flags",
       [](auto&) {
         CUevent event;
         return driver.cuEventCreate(&event, 0x1000);
       }},
      {"event, interprocess with timing",
       [](auto&) {
         CUevent event;
         return driver.cuEventCreate(&event, CU_EVENT_INTERPROCESS);
       }},
      {"event, synchronize before a record",
       [](auto&) {
         CUevent event;
         driver.cuEventCreate(&event, 0);
         return driver.cuEventSynchronize(event);
       }},
      {"event, elapsed time before a record",
       [](auto&) {
         CUevent from, to;
         driver.cuEventCreate(&from, 0);
         driver.cuEventCreate(&to, 0);
         float ms;
         return driver.cuEventElapsedTime_v2(&ms, from, to);
       }},
      {"event, elapsed time without timing",
       [](auto&) {
         CUevent from, to;
         driver.cuEventCreate(&from, CU_EVENT_DISABLE_TIMING);
         driver.cuEventCreate(&to, CU_EVENT_DISABLE_TIMING);
         driver.cuEventRecord(from, nullptr);
         driver.cuEventRecord(to, nullptr);
         driver.cuCtxSynchronize();
         float ms;
         return driver.cuEventElapsedTime_v2(&ms, from, to);
       }},
      {"pointer attribute of a host address",
       [](auto&) {
         static int value;
         CUmemorytype type;
         return driver.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                             reinterpret_cast<CUdeviceptr>(&value));
       }},
      {"address range of a host address",
       [](auto&) {
         static int value;
         CUdeviceptr base;
         size_t bytes;
         return driver.cuMemGetAddressRange_v2(&base, &bytes,
                                               reinterpret_cast<CUdeviceptr>(&value));
       }},
      {"host register, 0 bytes",
       [](auto&) {
         static char bytes[64];
         return driver.cuMemHostRegister_v2(bytes, 0, 0);
       }},
      {"host register, twice",
       [](auto&) {
         alignas(4096) static char bytes[8192];
         driver.cuMemHostRegister_v2(bytes, sizeof(bytes), 0);
         return driver.cuMemHostRegister_v2(bytes, sizeof(bytes), 0);
       }},
      {"host unregister, not registered",
       [](auto&) {
         static char bytes[64];
         return driver.cuMemHostUnregister(bytes);
       }},
      {"host free, not allocated",
       [](auto&) {
         static char bytes[64];
         return driver.cuMemFreeHost(bytes);
       }},
      {"peer access to its own device",
       [](auto& s) { return driver.cuCtxEnablePeerAccess(s.context, 0); }},
      {"peer access, null context", [](auto&) { return driver.cuCtxEnablePeerAccess(nullptr, 0); }},
      {"occupancy, block 0",
       [](auto& s) {
         int blocks;
         return driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, s.kernel("empty"), 0,
                                                                   0);
       }},
      {"graph, launch null", [](auto&) { return driver.cuGraphLaunch(nullptr, nullptr); }},
      {"capture, end without a begin",
       [](auto&) {
         CUstream stream;
         driver.cuStreamCreate(&stream, 0);
         CUgraph graph;
         return driver.cuStreamEndCapture(stream, &graph);
       }},
      {"capture, synchronize the captured stream",
       [](auto&) {
         CUstream stream;
         driver.cuStreamCreate(&stream, 0);
         driver.cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
         return driver.cuStreamSynchronize(stream);
       }},
      {"capture, the legacy stream",
       [](auto&) {
         return driver.cuStreamBeginCapture_v2(nullptr, CU_STREAM_CAPTURE_MODE_GLOBAL);
       }},
      {"capture, allocate in global mode",
       [](auto&) {
         CUstream stream;
         driver.cuStreamCreate(&stream, 0);
         driver.cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
         CUdeviceptr address;
         return driver.cuMemAlloc_v2(&address, 64);
       }},
      {"array, width 0",
       [](auto&) {
         const CUDA_ARRAY_DESCRIPTOR description = {0, 4, CU_AD_FORMAT_FLOAT, 1};
         CUarray array;
         return driver.cuArrayCreate_v2(&array, &description);
       }},
      {"array, 3 channels",
       [](auto&) {
         const CUDA_ARRAY_DESCRIPTOR description = {4, 4, CU_AD_FORMAT_FLOAT, 3};
         CUarray array;
         return driver.cuArrayCreate_v2(&array, &description);
       }},
      {"free async, not from a pool",
       [](auto&) { return driver.cuMemFreeAsync(allocate(64), nullptr); }},
      {"null kernel's attribute",
       [](auto&) {
         int value;
         return driver.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, nullptr);
       }},
  };
  return cases;
}

// Kernels that fail: the code of the synchronisation, and of an allocation after it.
const std::vector<Case>& fatalCases() {
  static const std::vector<Case> cases = {
      {"kernel, trap",
       [](auto& s) {
         launch(s.kernel("trap_now"), {1, 1, 1}, {1, 1, 1});
         return driver.cuCtxSynchronize();
       }},
      {"kernel, writes to null",
       [](auto& s) {
         CUdeviceptr where = 0;
         void* params[] = {&where};
         launch(s.kernel("write"), {1, 1, 1}, {1, 1, 1}, 0, params);
         return driver.cuCtxSynchronize();
       }},
      {"kernel, writes far outside",
       [](auto& s) {
         CUdeviceptr where = 0x100000000000;
         void* params[] = {&where};
         launch(s.kernel("write"), {1, 1, 1}, {1, 1, 1}, 0, params);
         return driver.cuCtxSynchronize();
       }},
      {"kernel, misaligned write",
       [](auto& s) {
         CUdeviceptr where = allocate(64) + 1;
         void* params[] = {&where};
         launch(s.kernel("write"), {1, 1, 1}, {1, 1, 1}, 0, params);
         return driver.cuCtxSynchronize();
       }},
      {"kernel, shared memory outside of the window",
       [](auto& s) {
         unsigned at = 1u << 24;
         void* params[] = {&at};
         launch(s.kernel("read_shared"), {1, 1, 1}, {1, 1, 1}, 0, params);
         return driver.cuCtxSynchronize();
       }},
      {"kernel, trap, seen by an event query",
       [](auto& s) {
         CUevent event;
         driver.cuEventCreate(&event, 0);
         launch(s.kernel("trap_now"), {1, 1, 1}, {1, 1, 1});
         driver.cuEventRecord(event, nullptr);
         CUresult code;
         while ((code = driver.cuEventQuery(event)) == CUDA_ERROR_NOT_READY) usleep(100);
         return code;
       }},
      {"kernel, trap, context destroyed",
       [](auto& s) {
         launch(s.kernel("trap_now"), {1, 1, 1}, {1, 1, 1});
         driver.cuCtxSynchronize();
         return driver.cuCtxDestroy_v2(s.context);
       }},
  };
  return cases;
}

std::string runCase(const Case& one, bool fatal) {
  const Setting setting = makeSetting();
  if (setting.module == nullptr) return "the test's module cannot be loaded";
  std::string says = codeName(one.call(setting));
  if (!fatal) return says;
  CUdeviceptr address;
  return says + ", then " + codeName(driver.cuMemAlloc_v2(&address, 16));
}

// Runs `work` in a process of its own, which must be one that has not called the driver before.
std::string inChild(const std::function<std::string()>& work) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    const std::string says = work();
    (void)!::write(ends[1], says.data(), says.size());
    _exit(0);
  }
  close(ends[1]);
  std::string says;
  char bytes[256];
  for (ssize_t n; (n = read(ends[0], bytes, sizeof(bytes))) > 0;) {
    says.append(bytes, static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return says;
}

Json codes() {
  Json all = Json::object();
  for (const Case& one : fatalCases()) {
    all[one.name] = inChild([&] { return runCase(one, true); });
  }
  // A child whose parent has initialised the driver.
  all["fork after init, device count"] = inChild([] {
    driver.cuInit(0);
    return inChild([] {
      int count;
      return codeName(driver.cuDeviceGetCount(&count));
    });
  });
  for (const Case& one : harmlessCases()) {
    const Setting setting = makeSetting();
    all[one.name] = codeName(one.call(setting));
    if (setting.context != nullptr) driver.cuCtxDestroy_v2(setting.context);
  }
  return all;
}

int run(int argc, char** argv) {
  if (argc > 2) {
    std::fprintf(stderr, "usage: %s [LIBRARY]\n", argv[0]);
    return 2;
  }
  Driver library;
  std::string error;
  if (!library.load(argc == 2 ? argv[1] : "libcuda.so.1", error)) {
    std::fprintf(stderr, "%s\n", error.c_str());
    return 3;
  }
  driver = library.table();
  Json facts;
  facts["codes"] = codes();  // first: its children must not follow a cuInit of this process
  int version = 0;
  facts["init"] = codeName(driver.cuInit(0));
  driver.cuDriverGetVersion(&version);
  facts["driver_version"] = version;
  char name[256] = "";
  driver.cuDeviceGetName(name, sizeof(name), 0);
  facts["device"] = name;
  facts["tables"] = hiddenTables();
  facts["attributes"] = attributes();
  facts["entry_points"] = entryPoints();
  std::puts(facts.dump(1).c_str());
  return 0;
}

}  // namespace
}  // namespace farwarp

int main(int argc, char** argv) {
  return farwarp::run(argc, argv);
}
