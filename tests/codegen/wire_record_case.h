// What the generated table of records (wire_records_gen_test.cc) gives to the tests: for each
// record a way to make one from values, to decode one, and the places in it that a peer could lie
// about.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace farwarp::wire::test {

// Whole 8-byte words, so that the bytes are aligned as they are in a batch, and exactly as long as
// asked for, so that AddressSanitizer sees every read beyond the end.
class Bytes {
 public:
  explicit Bytes(size_t size) : memory_(size == 0 ? nullptr : ::operator new(size)), size_(size) {}
  explicit Bytes(std::span<const std::byte> from) : Bytes(from.size()) {
    if (size_ != 0) std::memcpy(memory_, from.data(), size_);
  }
  Bytes(const Bytes& other) : Bytes(other.view()) {}
  Bytes& operator=(const Bytes&) = delete;
  ~Bytes() { ::operator delete(memory_); }

  std::byte* data() { return static_cast<std::byte*>(memory_); }
  size_t size() const { return size_; }
  std::span<const std::byte> view() const {
    return {static_cast<const std::byte*>(memory_), size_};
  }

 private:
  void* memory_;
  size_t size_;
};

struct EnumPlace {
  size_t offset;
  uint32_t mask;  // the largest value that is one
};

// Makes the same values again when made with the same seed. Owns what spans and strings refer to.
class Values {
 public:
  explicit Values(uint64_t seed) : random_(seed) {}

  template <typename T>
  void scalar(T& value) {
    fill(&value, sizeof(value));
  }

  uint32_t enumeration(uint32_t mask) { return static_cast<uint32_t>(random_()) & mask; }

  std::string_view string() {
    std::string& text = strings_.emplace_back();
    for (size_t left = random_() % 40; left > 0; --left) text.push_back('a' + random_() % 26);
    return text;
  }

  template <typename T>
  std::span<const T> array(std::initializer_list<EnumPlace> places = {}) {
    const size_t count = random_() % 9;
    Bytes& bytes = arrays_.emplace_back(count * sizeof(T));
    fill(bytes.data(), bytes.size());
    for (size_t i = 0; i < count; ++i) {
      for (const EnumPlace& place : places) {
        const uint32_t value = enumeration(place.mask);
        std::memcpy(bytes.data() + i * sizeof(T) + place.offset, &value, sizeof(value));
      }
    }
    return {reinterpret_cast<const T*>(bytes.data()), count};
  }

 private:
  void fill(void* to, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) static_cast<std::byte*>(to)[i] = std::byte(random_() & 0xff);
  }

  std::mt19937_64 random_;
  std::deque<std::string> strings_;
  std::deque<Bytes> arrays_;
};

// Bit for bit, so that every float equals itself.
template <typename T>
bool same(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}
inline bool same(std::string_view a, std::string_view b) {
  return a == b && a.data()[a.size()] == '\0';
}
template <typename T>
bool same(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

// Where the count of a variable field stands in the encoding.
struct TailPlace {
  size_t offset;
  size_t element_bytes;
  bool is_string;
};

struct RecordCase {
  const char* name;
  Bytes (*make)(Values&);
  bool (*decode)(std::span<const std::byte>);
  void (*compare)(Values&, std::span<const std::byte>);  // decodes, and expects the values
  std::vector<TailPlace> tails;
  std::vector<EnumPlace> enums;
};

const std::vector<RecordCase>& recordCases();

}  // namespace farwarp::wire::test
