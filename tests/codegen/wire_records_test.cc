// Goal: what a peer sends is either exactly one record or refused, for every record that there is.
// Method: the generator lists all records (wire_records_gen_test.cc). For each, with several seeds:
// the values come back from their encoding; every proper prefix, every longer record, every lie
// about a length, every value outside an enumeration and every broken string is refused. The
// encodings lie in memory of exactly their size, so that a sanitizer sees a read beyond the end.
#include "tests/codegen/wire_record_case.h"

#include "protocol/record.h"

namespace farwarp::wire::test {
namespace {

constexpr uint64_t kSeeds = 12;

// Runs `check(record, bytes, seed)` for every record with every seed.
template <typename Check>
void forEachSample(Check check) {
  ASSERT_GT(recordCases().size(), 100u);
  for (const RecordCase& record : recordCases()) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      SCOPED_TRACE(std::string(record.name) + " seed " + std::to_string(seed));
      Values values(seed);
      check(record, record.make(values), seed);
    }
  }
}

TEST(WireRecords, RoundTrip) {
  forEachSample([](const RecordCase& record, const Bytes& bytes, uint64_t seed) {
    EXPECT_EQ(bytes.size() % kRecordAlign, 0u);
    Values again(seed);
    record.compare(again, bytes.view());
    Values once_more(seed);
    EXPECT_TRUE(same(bytes.view(), record.make(once_more).view()))
        << "the encoding is not deterministic";
  });
}

TEST(WireRecords, RefusesEveryProperPrefix) {
  forEachSample([](const RecordCase& record, const Bytes& bytes, uint64_t) {
    for (size_t length = 0; length < bytes.size(); ++length) {
      const Bytes prefix(bytes.view().first(length));
      EXPECT_FALSE(record.decode(prefix.view())) << length << " of " << bytes.size() << " bytes";
    }
  });
}

TEST(WireRecords, RefusesBytesBehindTheRecord) {
  forEachSample([](const RecordCase& record, const Bytes& bytes, uint64_t) {
    for (size_t extra : {1, 7, 8, 16}) {
      Bytes longer(bytes.size() + extra);
      std::memset(longer.data(), 0, longer.size());
      if (bytes.size() != 0) std::memcpy(longer.data(), bytes.view().data(), bytes.size());
      EXPECT_FALSE(record.decode(longer.view())) << extra << " more bytes";
    }
  });
}

TEST(WireRecords, RefusesHostileLengths) {
  size_t tried = 0;
  forEachSample([&](const RecordCase& record, const Bytes& bytes, uint64_t) {
    for (const TailPlace& tail : record.tails) {
      uint32_t count;
      std::memcpy(&count, bytes.view().data() + tail.offset, sizeof(count));
      const auto more = static_cast<uint32_t>(count + kRecordAlign);
      for (uint32_t lie : {more, static_cast<uint32_t>(bytes.size() + 1), 0x10000000u, 0x20000000u,
                           0x7fffffffu, 0x80000000u, 0xfffffff8u, 0xffffffffu}) {
        Bytes hostile(bytes);
        std::memcpy(hostile.data() + tail.offset, &lie, sizeof(lie));
        EXPECT_FALSE(record.decode(hostile.view())) << "length " << lie << " at " << tail.offset;
        ++tried;
      }
    }
  });
  EXPECT_GT(tried, 100u);
}

TEST(WireRecords, RefusesValuesOutsideOfAnEnumeration) {
  size_t tried = 0;
  forEachSample([&](const RecordCase& record, const Bytes& bytes, uint64_t) {
    for (const EnumPlace& place : record.enums) {
      for (uint32_t value : {place.mask + 1, 0xffffffffu}) {
        Bytes hostile(bytes);
        std::memcpy(hostile.data() + place.offset, &value, sizeof(value));
        EXPECT_FALSE(record.decode(hostile.view())) << "value " << value << " at " << place.offset;
        ++tried;
      }
    }
  });
  EXPECT_GT(tried, 0u);
}

TEST(WireRecords, RefusesStringsThatAreNoCStrings) {
  size_t tried = 0;
  forEachSample([&](const RecordCase& record, const Bytes& bytes, uint64_t) {
    for (const TailPlace& tail : record.tails) {
      uint32_t length;
      std::memcpy(&length, bytes.view().data() + tail.offset, sizeof(length));
      if (!tail.is_string || length < 2) continue;
      // A length that is one too small leaves a letter where the terminator should be.
      Bytes shorter(bytes);
      const uint32_t less = length - 1;
      std::memcpy(shorter.data() + tail.offset, &less, sizeof(less));
      EXPECT_FALSE(record.decode(shorter.view()));
      if (padded(length + 2) == padded(length + 1)) {
        // One too large takes the terminator into the string.
        Bytes longer(bytes);
        const uint32_t larger = length + 1;
        std::memcpy(longer.data() + tail.offset, &larger, sizeof(larger));
        EXPECT_FALSE(record.decode(longer.view()));
      }
      ++tried;
    }
  });
  EXPECT_GT(tried, 0u);
}

}  // namespace
}  // namespace farwarp::wire::test
