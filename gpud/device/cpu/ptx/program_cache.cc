#include "gpud/device/cpu/ptx/program_cache.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace farwarp::ptx {
namespace {

constexpr size_t kEntriesMax = 1024;

uint64_t fold(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  Wide product = Wide{a} * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

std::array<uint64_t, 4> newSecret() {
  std::random_device device;
  std::array<uint64_t, 4> secret;
  for (uint64_t& word : secret) word = uint64_t{device()} << 32 | device() | 1;
  return secret;
}

// Two sums of products of the words with secret numbers, kept apart all along.
struct Digest {
  const std::array<uint64_t, 4>& secret;
  uint64_t a = 0, b = 0;

  void add(uint64_t first, uint64_t second) {
    a = fold(a ^ first ^ secret[0], second ^ secret[1]);
    b = fold(b ^ second ^ secret[2], first ^ secret[3]) + first;
  }
  void add(std::string_view text) {
    add(text.size(), ~text.size());
    while (!text.empty()) {
      uint64_t words[2] = {0, 0};
      size_t bytes = std::min(text.size(), sizeof(words));
      std::memcpy(words, text.data(), bytes);
      add(words[0], words[1]);
      text.remove_prefix(bytes);
    }
  }
};

}  // namespace

ProgramCache::ProgramCache(size_t text_bytes_max)
    : text_bytes_max_(text_bytes_max), secret_(newSecret()) {}

ProgramCache::Key ProgramCache::keyOf(std::span<const LinkInput> inputs,
                                      const CompileOptions& options) const {
  Digest digest{secret_};
  digest.add(static_cast<uint64_t>(options.host_level), options.text_bytes_max);
  for (const LinkInput& input : inputs) {
    digest.add(input.name);
    digest.add(input.text);
  }
  digest.add(inputs.size(), 0);
  return {digest.a, digest.b};
}

std::shared_ptr<const Program> ProgramCache::find(const Key& key) {
  std::lock_guard lock(mutex_);
  auto found = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& entry) { return entry.key == key; });
  if (found == entries_.end()) return nullptr;
  std::shared_ptr<const Program> program = found->program.lock();
  if (program != nullptr) std::rotate(found, found + 1, entries_.end());
  return program;
}

void ProgramCache::keep(const Key& key, size_t text_bytes,
                        const std::shared_ptr<const Program>& program) {
  std::vector<std::shared_ptr<const Program>> gone;  // end after the lock does
  std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const Entry& entry) {
    return entry.key == key || (entry.kept == nullptr && entry.program.expired());
  });
  if (entries_.size() == kEntriesMax) {
    gone.push_back(std::move(entries_.front().kept));
    entries_.erase(entries_.begin());
  }
  entries_.push_back({key, text_bytes, program, program});
  size_t sum = 0;
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    if (entry->kept == nullptr) continue;
    sum += entry->text_bytes;
    if (sum > text_bytes_max_) gone.push_back(std::move(entry->kept));
  }
}

std::shared_ptr<const Program> ProgramCache::link(std::span<const LinkInput> inputs,
                                                  const CompileOptions& options, CompileLog& log) {
  const Key key = keyOf(inputs, options);
  if (auto program = find(key); program != nullptr) {
    log.status = CompileStatus::ok;
    return program;
  }
  auto program = Program::link(inputs, options, log);
  size_t text_bytes = 0;
  for (const LinkInput& input : inputs) text_bytes += input.text.size();
  if (program != nullptr) keep(key, text_bytes, program);
  return program;
}

}  // namespace farwarp::ptx
