#include "gpud/device/cpu/linker.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "driver/host_object.h"
#include "driver/linked_image.h"
#include "gpud/device/cpu/device_runtime.h"
#include "gpud/device/cpu/driver.h"

namespace farwarp::cpu {
namespace {

std::vector<std::byte> imageOf(const std::string& ptx) {
  const auto bytes = std::as_bytes(std::span(ptx.c_str(), ptx.size() + 1));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

CUresult Linker::fail(CUresult result, const std::string& why) {
  errors_ += why;
  if (!errors_.empty() && errors_.back() != '\n') errors_ += '\n';
  jit_.write("", errors_);
  driver_.explain(why);
  return result;
}

CUresult Linker::add(CUjitInputType type, std::span<const std::byte> data, std::string_view name) {
  std::lock_guard lock(mutex_);
  if (!image_.empty() || data.empty()) return CUDA_ERROR_INVALID_VALUE;
  if (data.size() > kInputBytesMax - input_bytes_) {
    return fail(CUDA_ERROR_OUT_OF_MEMORY, "The inputs of a link may have 1 GiB together.");
  }
  if (name.empty()) name = "<unnamed>";
  std::vector<Text> texts;
  CUresult result = CUDA_ERROR_INVALID_VALUE;
  switch (type) {
    case CU_JIT_INPUT_CUBIN:
    case CU_JIT_INPUT_PTX:
    case CU_JIT_INPUT_FATBINARY:
      result = readImageInto(data, name, texts);
      if (type == CU_JIT_INPUT_PTX && result == CUDA_ERROR_INVALID_IMAGE) {
        result = CUDA_ERROR_INVALID_PTX;
      }
      break;
    case CU_JIT_INPUT_OBJECT:
      result = readObject(data, name, texts);
      break;
    case CU_JIT_INPUT_LIBRARY:
      result = readLibrary(data, name);
      break;
    case CU_JIT_INPUT_NVVM:
      return fail(CUDA_ERROR_NOT_SUPPORTED,
                  "NVVM code is linked by nvJitLink since CUDA 12, and not by a driver.");
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t i = 0; i < texts.size() && result == CUDA_SUCCESS; ++i) {
    result = define(std::move(texts[i]));
  }
  if (result == CUDA_SUCCESS) jit_.write("", errors_);
  return result;
}

CUresult Linker::readImageInto(std::span<const std::byte> data, std::string_view name,
                               std::vector<Text>& texts) {
  ModuleImage image;
  std::vector<std::string> ptx;
  std::string why;
  CUresult result = readImage(data, image, &why);
  if (result == CUDA_SUCCESS) result = unpackPtx(driver_, image, ptx, why);
  if (result != CUDA_SUCCESS) return fail(result, std::string(name) + ": " + why);
  for (std::string& text : ptx) {
    if (result = parse(std::move(text), name, texts); result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

CUresult Linker::readObject(std::span<const std::byte> data, std::string_view name,
                            std::vector<Text>& texts) {
  std::vector<std::span<const std::byte>> fatbins;
  std::string why;
  if (CUresult r = findFatbins(data, fatbins, why); r != CUDA_SUCCESS) {
    return fail(r, std::string(name) + ": " + why);
  }
  for (const auto& fatbin : fatbins) {
    if (CUresult r = readImageInto(fatbin, name, texts); r != CUDA_SUCCESS) return r;
  }
  return CUDA_SUCCESS;
}

// Members without code for this device define nothing here. They are common: cudadevrt has machine
// code for the GPUs that there are.
CUresult Linker::readLibrary(std::span<const std::byte> data, std::string_view name) {
  std::vector<ArchiveMember> found;
  std::string why;
  if (CUresult r = readArchive(data, found, why); r != CUDA_SUCCESS) {
    return fail(r, std::string(name) + ": " + why);
  }
  for (const ArchiveMember& member : found) {
    std::vector<std::span<const std::byte>> fatbins;
    if (findFatbins(member.bytes, fatbins, why) != CUDA_SUCCESS) continue;
    Member kept;
    for (const auto& fatbin : fatbins) {
      ModuleImage image;
      std::vector<std::string> ptx;
      if (readImage(fatbin, image, &why) != CUDA_SUCCESS ||
          unpackPtx(driver_, image, ptx, why) != CUDA_SUCCESS) {
        continue;
      }
      for (std::string& text : ptx) {
        const std::string full = std::string(name) + ":" + std::string(member.name);
        if (CUresult r = parse(std::move(text), full, kept.texts); r != CUDA_SUCCESS) return r;
      }
    }
    if (!kept.texts.empty()) members_.push_back(std::move(kept));
  }
  return CUDA_SUCCESS;
}

CUresult Linker::parse(std::string ptx, std::string_view name, std::vector<Text>& texts) {
  if (ptx.size() > kInputBytesMax - input_bytes_) {
    return fail(CUDA_ERROR_OUT_OF_MEMORY, "The inputs of a link may have 1 GiB together.");
  }
  input_bytes_ += ptx.size();
  Text text{std::move(ptx), std::string(name), {}};
  ptx::CompileLog log;
  if (!ptx::readSymbols(text.ptx, text.symbols, log)) {
    return fail(CUDA_ERROR_INVALID_PTX, "ptxas " + text.name + ", " + log.text);
  }
  texts.push_back(std::move(text));
  return CUDA_SUCCESS;
}

// Makes the text part of the link.
CUresult Linker::define(Text text) {
  // Names that are defined elsewhere are the link's business.
  ptx::CompileLog log;
  if (!ptx::Program::checkInput({text.ptx, text.name}, {}, log)) {
    return fail(CUDA_ERROR_INVALID_PTX, log.text);
  }
  if (texts_.size() == kLinkedPartsMax) {
    return fail(CUDA_ERROR_OUT_OF_MEMORY,
                "A link may have " + std::to_string(kLinkedPartsMax) + " inputs.");
  }
  for (const std::string& symbol : text.symbols.strong) {
    const auto [found, fresh] = defined_.try_emplace(symbol, texts_.size());
    if (fresh) continue;
    return fail(CUDA_ERROR_INVALID_SOURCE, "error   : Multiple definition of '" + symbol +
                                               "' in '" + text.name + "', first defined in '" +
                                               texts_[found->second].name + "'");
  }
  texts_.push_back(std::move(text));
  return CUDA_SUCCESS;
}

// Links the members of libraries that define what is wanted, and what these want in turn.
CUresult Linker::takeMembers() {
  if (std::exchange(has_runtime_, true) == false) {
    // The last library: what the program brings goes before.
    Member& runtime = members_.emplace_back();
    CUresult r = parse(std::string(kDeviceRuntime), "device runtime", runtime.texts);
    if (r != CUDA_SUCCESS) return r;
  }
  std::unordered_set<std::string> wanted, have;
  const auto note = [&](const Text& text) {
    wanted.insert(text.symbols.wanted.begin(), text.symbols.wanted.end());
    have.insert(text.symbols.strong.begin(), text.symbols.strong.end());
    have.insert(text.symbols.weak.begin(), text.symbols.weak.end());
  };
  for (const Text& text : texts_) note(text);
  const auto isWanted = [&](const std::string& symbol) {
    return wanted.contains(symbol) && !have.contains(symbol);
  };
  for (bool again = true; again;) {
    again = false;
    for (Member& member : members_) {
      const bool serves = std::ranges::any_of(member.texts, [&](const Text& text) {
        return std::ranges::any_of(text.symbols.strong, isWanted) ||
               std::ranges::any_of(text.symbols.weak, isWanted);
      });
      if (member.taken || !serves) continue;
      member.taken = again = true;
      for (Text& text : member.texts) {
        note(text);
        if (CUresult r = define(std::move(text)); r != CUDA_SUCCESS) return r;
      }
    }
  }
  return CUDA_SUCCESS;
}

// The program is kept for the load that follows. Messages name the inputs, programs do not.
CUresult Linker::compile() {
  std::vector<ptx::LinkInput> plain, named;
  for (const Text& text : texts_) {
    plain.push_back({text.ptx, {}});
    named.push_back({text.ptx, text.name});
  }
  ptx::CompileLog log;
  if (driver_.programs().link(plain, {}, log) != nullptr) return CUDA_SUCCESS;
  ptx::CompileLog told;
  if (ptx::Program::link(named, {}, told) != nullptr) return CUDA_SUCCESS;
  const bool of_link =
      told.status == ptx::CompileStatus::unresolved || told.status == ptx::CompileStatus::duplicate;
  return fail(of_link ? CUDA_ERROR_INVALID_SOURCE : CUDA_ERROR_INVALID_PTX, told.text);
}

CUresult Linker::complete(void** image, size_t* bytes) {
  std::lock_guard lock(mutex_);
  if (image_.empty()) {
    if (texts_.empty()) return fail(CUDA_ERROR_INVALID_IMAGE, "There is nothing to link.");
    if (CUresult r = takeMembers(); r != CUDA_SUCCESS) return r;
    if (CUresult r = compile(); r != CUDA_SUCCESS) return r;
    std::vector<std::vector<std::byte>> parts;
    for (const Text& text : texts_) parts.push_back(imageOf(text.ptx));
    image_ = packLinked(parts, driver_.device(0)->architecture(), jit_.registersMax());
  }
  jit_.write("", errors_);
  *image = image_.data();
  if (bytes != nullptr) *bytes = image_.size();
  return CUDA_SUCCESS;
}

}  // namespace farwarp::cpu
