#include "driver/hidden_tables.h"

#include <cstring>

#include "driver/integrity.h"

namespace farwarp {
namespace {

// Never destroyed: runtimes in shared libraries call in after our own destructors have run.
DriverFront* g_front = nullptr;
alignas(ContextLocalStorage) std::byte g_storage_bytes[sizeof(ContextLocalStorage)];
ContextLocalStorage* g_storage = nullptr;

CUcontext orCurrent(CUcontext context) {
  return context != nullptr ? context : g_front->currentContext();
}

// --- CUDART_INTERFACE
// ---------------------------------------------------------------------------------

CUresult primaryContextOf(CUcontext* context, CUdevice device) {
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return g_front->primaryContext(context, device);
}

// Runtimes from 13.1 on call this once, without arguments, as the last step of their
// initialisation, and fail with what it returns. What NVIDIA's driver does there is not known.
CUresult runtimeInitialised() {
  return CUDA_SUCCESS;
}

// --- TOOLS_RUNTIME_CALLBACK_HOOKS: arrays of flags by runtime call; all zero means no tool listens
// -----

constexpr size_t kRuntimeCalls = 4096;  // cudart 13.0 wants at least 523
constexpr size_t kOtherCalls = 64;      // and 14
uint32_t g_runtime_call_flags[kRuntimeCalls];
uint32_t g_other_call_flags[kOtherCalls];

CUresult runtimeCallFlags(void** flags, size_t* count) {
  *flags = g_runtime_call_flags;
  *count = kRuntimeCalls;
  return CUDA_SUCCESS;
}

CUresult otherCallFlags(void** flags, size_t* count) {
  *flags = g_other_call_flags;
  *count = kOtherCalls;
  return CUDA_SUCCESS;
}

// --- TOOLS_TLS
// ----------------------------------------------------------------------------------------

CUresult threadContext(CUcontext* context, uint64_t) {
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *context = g_front->currentContext();
  return CUDA_SUCCESS;
}

// --- CONTEXT_LOCAL_STORAGE
// ----------------------------------------------------------------------------

CUresult storagePut(CUcontext context, void* key, void* value,
                    ContextLocalStorage::Destructor destructor) {
  return g_storage->put(orCurrent(context), key, value, destructor);
}

CUresult storageDelete(CUcontext context, void* key) {
  return g_storage->remove(orCurrent(context), key);
}

CUresult storageGet(void** value, CUcontext context, void* key) {
  return g_storage->get(value, orCurrent(context), key);
}

// --- CONTEXT_CHECKS
// -----------------------------------------------------------------------------------

CUresult contextState(CUcontext, uint32_t* state, void**) {
  if (state != nullptr) *state = 0;
  return CUDA_SUCCESS;
}

uint32_t checksFlag() {
  return 0;
}

// --- ToolsContext: cuBLASLt and cuFFT name contexts and streams with it
// ---------------------------------

CUresult contextNumberOf(CUcontext context, uint64_t* number) {
  if (number == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return g_front->contextNumber(orCurrent(context), number);
}

// The callers only pass the object on to streamProperty; any object that is not null serves.
uint64_t g_stream_object = 0;

CUresult streamObject(CUcontext, CUstream, void** object) {
  if (object == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *object = &g_stream_object;
  return CUDA_SUCCESS;
}

CUresult streamProperty(CUcontext, void*, uint64_t* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *value = 0;
  return CUDA_SUCCESS;
}

// --- ToolsModule: cuFFT finds the one kernel of each module that it makes
// ------------------------------

size_t visitModuleFunctions(CUcontext, CUmodule module,
                            void (*visit)(void* user, CUfunction function, const char* name),
                            void* user) {
  if (visit == nullptr) return 0;
  return g_front->visitFunctions(module, visit, user);
}

// --- The tables
// ---------------------------------------------------------------------------------------

// A slot that no runtime that we know calls. Some only look whether it is there.
CUresult notSupported() {
  return CUDA_ERROR_NOT_SUPPORTED;
}

// Tables are arrays of words: functions, and in front the size of the table in bytes.
template <size_t words>
struct Table {
  void* slots[words];
  Table() {
    slots[0] = reinterpret_cast<void*>(sizeof slots);
    for (size_t i = 1; i < words; ++i) slots[i] = reinterpret_cast<void*>(&notSupported);
  }
};

struct Tables {
  Table<13> interface_table;
  Table<7> callback_hooks;
  Table<4> thread_state;
  Table<4> local_storage;
  Table<4> context_checks;
  Table<3> integrity;
  Table<96> tools_context;
  Table<16> tools_module;
  Table<1> profiler;
  Tables();
};
Tables* g_tables = nullptr;

CUresult integrityCheck(uint32_t version, uint64_t unix_seconds, uint8_t* answer) {
  if (answer == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Digest digest = integrityAnswer(*g_front, {.version = version,
                                                   .unix_seconds = unix_seconds,
                                                   .interface_table = &g_tables->interface_table,
                                                   .integrity_table = &g_tables->integrity,
                                                   .check_function = g_tables->integrity.slots[1]});
  std::memcpy(answer, digest.data(), digest.size());
  return CUDA_SUCCESS;
}

template <typename Function>
void* slot(Function* function) {
  return reinterpret_cast<void*>(function);
}

Tables::Tables() {
  interface_table.slots[2] = slot(primaryContextOf);
  interface_table.slots[12] = slot(runtimeInitialised);
  callback_hooks.slots[2] = slot(runtimeCallFlags);
  callback_hooks.slots[6] = slot(otherCallFlags);
  thread_state.slots[2] = slot(threadContext);
  // The one table without a size in front.
  local_storage.slots[0] = slot(storagePut);
  local_storage.slots[1] = slot(storageDelete);
  local_storage.slots[2] = slot(storageGet);
  local_storage.slots[3] = nullptr;
  context_checks.slots[2] = slot(contextState);
  context_checks.slots[3] = slot(checksFlag);
  integrity.slots[1] = slot(integrityCheck);
  tools_context.slots[4] = slot(contextNumberOf);
  tools_context.slots[39] = slot(streamProperty);
  tools_context.slots[51] = slot(streamObject);
  tools_module.slots[7] = slot(visitModuleFunctions);
}

// An id in the order of its bytes in memory.
using TableId = unsigned char[17];

struct KnownTable {
  TableId id;
  const void* (*table)();
};

const KnownTable kKnownTables[] = {
    {"\x6b\xd5\xfb\x6c\x5b\xf4\xe7\x4a\x89\x87\xd9\x39\x12\xfd\x9d\xf9",
     [] { return static_cast<const void*>(&g_tables->interface_table); }},
    {"\xa0\x94\x79\x8c\x2e\x74\x2e\x74\x93\xf2\x08\x00\x20\x0c\x0a\x66",
     [] { return static_cast<const void*>(&g_tables->callback_hooks); }},
    {"\x42\xd8\x5a\x81\x23\xf6\xcb\x47\x82\x98\xf6\xe7\x8a\x3a\xec\xdc",
     [] { return static_cast<const void*>(&g_tables->thread_state); }},
    {"\xc6\x93\x33\x6e\x11\x21\xdf\x11\xa8\xc3\x68\xf3\x55\xd8\x95\x93",
     [] { return static_cast<const void*>(&g_tables->local_storage); }},
    {"\x26\x3e\x88\x60\x7c\xd2\x61\x43\x92\xf6\xbb\xd5\x00\x6d\xfa\x7e",
     [] { return static_cast<const void*>(&g_tables->context_checks); }},
    {"\xd4\x08\x20\x55\xbd\xe6\x70\x4b\x8d\x34\xba\x12\x3c\x66\xe1\xf2",
     [] { return static_cast<const void*>(&g_tables->integrity); }},
    {"\x21\x31\x8c\x60\x97\x14\x32\x48\x8c\xa6\x41\xff\x73\x24\xc8\xf2",
     [] { return static_cast<const void*>(&g_tables->tools_context); }},
    {"\x6e\x16\x3f\xbe\xb9\x58\x44\x4d\x83\x5c\xe1\x82\xaf\xf1\x99\x1e",
     [] { return static_cast<const void*>(&g_tables->tools_module); }},
    // CUPTI 13.5 tells its version and the time when this table is there, and JAX asks for the
    // version before it uses a device. There is nothing in it: what else CUPTI does, it refuses.
    {"\x7c\xb6\x3f\x9b\x9c\xa4\x8e\x42\xa4\x84\xbe\xb6\x6e\x6a\xed\x7f",
     [] { return static_cast<const void*>(&g_tables->profiler); }},
};

}  // namespace

void installHiddenTables(DriverFront& front) {
  if (g_front != nullptr) return;
  g_storage = new (g_storage_bytes) ContextLocalStorage;
  g_front = &front;
  g_tables = new Tables;
}

CUresult findHiddenTable(const void** table, const CUuuid* id) {
  if (table == nullptr || id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *table = nullptr;
  if (g_front == nullptr) return CUDA_ERROR_NOT_INITIALIZED;
  for (const KnownTable& known : kKnownTables) {
    if (std::memcmp(known.id, id->bytes, sizeof id->bytes) == 0) {
      *table = known.table();
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_INVALID_VALUE;
}

ContextLocalStorage& contextLocalStorage() {
  return *g_storage;
}

}  // namespace farwarp
