// The settings of GPU core dumps. They are kept and told; what would have a core dump written is
// not taken, because nobody would write it where the program could read it.
//
// Which sizes are taken, and what a setting that is not one of a context gives, are guesses.
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "driver/graph/host.h"
#include "graph_calls_gen.h"

namespace farwarp::graph {
namespace {

constexpr size_t kTextBytesMax = 1024;  // with its NUL
constexpr size_t kContextsMax = 4096;
constexpr int kAllFlags = CU_COREDUMP_LIGHTWEIGHT_FLAGS | CU_COREDUMP_SKIP_ABORT;

std::string defaultName(const char* prefix) {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  return std::string(prefix) + "." + host + "." + std::to_string(getpid());
}

struct Settings {
  bool trigger_host = true;
  int flags = CU_COREDUMP_DEFAULT_FLAGS;
  std::string file = defaultName("core.cuda");
  std::string pipe = defaultName("corepipe.cuda");
};

// Never destroyed: programs may ask in their exit handlers.
struct AllSettings {
  std::mutex mutex;  // guards the rest; a leaf
  Settings global;
  std::map<CUcontext, Settings> contexts;  // that have their own
};

AllSettings& allSettings() {
  static auto* settings = new AllSettings;
  return *settings;
}

// 0 for what is no setting.
size_t bytesOf(CUcoredumpSettings which) {
  switch (which) {
    case CU_COREDUMP_ENABLE_ON_EXCEPTION:
    case CU_COREDUMP_TRIGGER_HOST:
    case CU_COREDUMP_LIGHTWEIGHT:
    case CU_COREDUMP_ENABLE_USER_TRIGGER:
      return sizeof(bool);
    case CU_COREDUMP_FILE:
    case CU_COREDUMP_PIPE:
      return kTextBytesMax;
    case CU_COREDUMP_GENERATION_FLAGS:
      return sizeof(int);
    default:
      return 0;
  }
}

CUresult giveText(const std::string& text, void* value, size_t* size) {
  if (*size < text.size() + 1) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(value, text.c_str(), text.size() + 1);
  return CUDA_SUCCESS;
}

CUresult get(const Settings& settings, CUcoredumpSettings which, void* value, size_t* size) {
  if (which == CU_COREDUMP_FILE) return giveText(settings.file, value, size);
  if (which == CU_COREDUMP_PIPE) return giveText(settings.pipe, value, size);
  if (*size < bytesOf(which)) return CUDA_ERROR_INVALID_VALUE;
  if (which == CU_COREDUMP_GENERATION_FLAGS) {
    std::memcpy(value, &settings.flags, sizeof(settings.flags));
    return CUDA_SUCCESS;
  }
  bool on = false;  // neither kind of core dump can be enabled
  if (which == CU_COREDUMP_TRIGGER_HOST) on = settings.trigger_host;
  if (which == CU_COREDUMP_LIGHTWEIGHT) {
    on = (settings.flags & CU_COREDUMP_LIGHTWEIGHT_FLAGS) == CU_COREDUMP_LIGHTWEIGHT_FLAGS;
  }
  std::memcpy(value, &on, sizeof(on));
  return CUDA_SUCCESS;
}

CUresult takeText(const void* value, size_t bytes, std::string& text) {
  const auto* characters = static_cast<const char*>(value);
  const size_t length = strnlen(characters, bytes);
  if (length == 0 || length >= kTextBytesMax) return CUDA_ERROR_INVALID_VALUE;
  text.assign(characters, length);
  return CUDA_SUCCESS;
}

CUresult set(Settings& settings, CUcoredumpSettings which, const void* value, size_t bytes) {
  if (which == CU_COREDUMP_FILE) return takeText(value, bytes, settings.file);
  if (which == CU_COREDUMP_PIPE) return takeText(value, bytes, settings.pipe);
  if (bytes != bytesOf(which)) return CUDA_ERROR_INVALID_VALUE;
  if (which == CU_COREDUMP_GENERATION_FLAGS) {
    int flags = 0;
    std::memcpy(&flags, value, sizeof(flags));
    if ((flags & ~kAllFlags) != 0) return CUDA_ERROR_INVALID_VALUE;
    settings.flags = flags;
    return CUDA_SUCCESS;
  }
  unsigned char byte = 0;
  std::memcpy(&byte, value, sizeof(byte));
  const bool on = byte != 0;
  if (which == CU_COREDUMP_TRIGGER_HOST) {
    settings.trigger_host = on;
  } else if (which == CU_COREDUMP_LIGHTWEIGHT) {
    settings.flags = on ? settings.flags | CU_COREDUMP_LIGHTWEIGHT_FLAGS
                        : settings.flags & ~CU_COREDUMP_LIGHTWEIGHT_FLAGS;
  } else if (on) {
    return CUDA_ERROR_NOT_SUPPORTED;
  }
  return CUDA_SUCCESS;
}

// Whether there is anything to do but to tell the size: `result` is the result if not.
bool begins(CUcoredumpSettings which, const void* value, size_t* size, CUresult& result) {
  result = size == nullptr || bytesOf(which) == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
  if (result != CUDA_SUCCESS) return false;
  if (value == nullptr) *size = bytesOf(which);
  return value != nullptr;
}

}  // namespace

namespace calls {

CUresult cuCoredumpGetAttribute(Host& host, CUcoredumpSettings which, void* value, size_t* size) {
  FARWARP_GRAPH_TRY(host.enter(true));
  CUresult result;
  if (!begins(which, value, size, result)) return result;
  AllSettings& all = allSettings();
  std::lock_guard lock(all.mutex);
  const auto own = all.contexts.find(host.currentContext());
  return get(own == all.contexts.end() ? all.global : own->second, which, value, size);
}

CUresult cuCoredumpGetAttributeGlobal(Host&, CUcoredumpSettings which, void* value, size_t* size) {
  CUresult result;
  if (!begins(which, value, size, result)) return result;
  AllSettings& all = allSettings();
  std::lock_guard lock(all.mutex);
  return get(all.global, which, value, size);
}

CUresult cuCoredumpSetAttribute(Host& host, CUcoredumpSettings which, void* value, size_t* size) {
  FARWARP_GRAPH_TRY(host.enter(true));
  CUresult result;
  if (!begins(which, value, size, result)) return result;
  if (which == CU_COREDUMP_ENABLE_USER_TRIGGER || which == CU_COREDUMP_PIPE) {
    return CUDA_ERROR_NOT_PERMITTED;
  }
  AllSettings& all = allSettings();
  std::lock_guard lock(all.mutex);
  const CUcontext context = host.currentContext();
  const auto own = all.contexts.find(context);
  Settings changed = own == all.contexts.end() ? all.global : own->second;
  FARWARP_GRAPH_TRY(set(changed, which, value, *size));
  if (own == all.contexts.end() && all.contexts.size() >= kContextsMax) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  all.contexts[context] = std::move(changed);
  return CUDA_SUCCESS;
}

CUresult cuCoredumpSetAttributeGlobal(Host&, CUcoredumpSettings which, void* value, size_t* size) {
  CUresult result;
  if (!begins(which, value, size, result)) return result;
  AllSettings& all = allSettings();
  std::lock_guard lock(all.mutex);
  return set(all.global, which, value, *size);
}

}  // namespace calls
}  // namespace farwarp::graph
