// The programs that a process compiled not long ago, found by the content of their texts, so that
// loading a module again costs only its place in memory.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "gpud/device/cpu/ptx/engine.h"

namespace farwarp::ptx {

// Safe for use by any thread.
class ProgramCache {
 public:
  // Programs that nobody uses any more are kept while all texts together have at most
  // `text_bytes_max` bytes; those longest unused go first.
  explicit ProgramCache(size_t text_bytes_max);

  // As Program::link; the same inputs with the same options give the same program. Texts that do
  // not compile are not remembered.
  std::shared_ptr<const Program> link(std::span<const LinkInput> inputs,
                                      const CompileOptions& options, CompileLog& log);

 private:
  using Key = std::array<uint64_t, 2>;
  struct Entry {
    Key key{};
    size_t text_bytes = 0;
    std::weak_ptr<const Program> program;
    std::shared_ptr<const Program> kept;  // null once it had to go
  };
  Key keyOf(std::span<const LinkInput> inputs, const CompileOptions& options) const;
  std::shared_ptr<const Program> find(const Key& key);
  void keep(const Key& key, size_t text_bytes, const std::shared_ptr<const Program>& program);

  const size_t text_bytes_max_;
  const std::array<uint64_t, 4> secret_;  // of this process: nobody can make two texts alike
  std::mutex mutex_;                      // guards what follows
  std::vector<Entry> entries_;            // those used last at the end
};

}  // namespace farwarp::ptx
