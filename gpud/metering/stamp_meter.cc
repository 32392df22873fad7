// Kernel times from a device that stamps each kernel's first and last instant itself.
#include <atomic>
#include <map>
#include <mutex>

#include "gpud/device/driver_table.h"
#include "gpud/device/kernel_records.h"
#include "gpud/metering/interval_union.h"
#include "gpud/metering/kernel_meter.h"
#include "gpud/metering/kernel_timeline.h"

namespace farwarp {
namespace {

class StampMeter final : public KernelMeter {
 public:
  explicit StampMeter(KernelTotals totals) : totals_(totals) {}
  ~StampMeter() override {
    if (table_ != nullptr) table_->subscribe(nullptr, nullptr);
  }

  bool subscribe(const DriverTable& driver) {
    const void* table = nullptr;
    if (driver.cuGetExportTable == nullptr ||
        driver.cuGetExportTable(&table, &kKernelRecordsTableId) != CUDA_SUCCESS ||
        table == nullptr) {
      return false;
    }
    const auto* records = static_cast<const KernelRecordsTable*>(table);
    if (records->bytes < sizeof(KernelRecordsTable)) return false;
    if (records->subscribe(&StampMeter::onRecord, this) != CUDA_SUCCESS) return false;
    table_ = records;
    return true;
  }

  MeterMethod method() const override { return MeterMethod::device_stamps; }

  void beforeLaunch(CUcontext, CUdevice, CUstream, const char*) override { issued_.fetch_add(1); }

  void afterLaunch(CUresult result) override {
    if (result == CUDA_SUCCESS) {
      // Written by the issuing thread alone.
      totals_.launches.store(totals_.launches.load(std::memory_order_relaxed) + 1,
                             std::memory_order_relaxed);
      return;
    }
    issued_.fetch_sub(1);
  }

  void poll() override {}
  void contextEnds(CUcontext) override {}

 private:
  // On a thread of the device.
  static void onRecord(void* user, const KernelRecord* record) {
    static_cast<StampMeter*>(user)->add(*record);
  }

  void add(const KernelRecord& record) {
    std::lock_guard lock(mutex_);
    ++recorded_;
    if (record.end_ns < record.start_ns) return;
    if (totals_.timeline != nullptr) {
      totals_.timeline->add(record.start_ns, record.end_ns, record.device, record.name);
    }
    IntervalUnion& busy = busy_[record.device];
    const uint64_t busy_before = busy.totalNs();
    busy.add(record.start_ns, record.end_ns);
    totals_.kernel_ns.fetch_add(record.end_ns - record.start_ns, std::memory_order_relaxed);
    totals_.busy_ns.fetch_add(busy.totalNs() - busy_before, std::memory_order_relaxed);
    // With nothing in flight, every kernel to come starts after all of these ended.
    if (recorded_ >= issued_.load()) {
      for (auto& [device, intervals] : busy_) intervals.settleAll();
    }
  }

  KernelTotals totals_;
  const KernelRecordsTable* table_ = nullptr;

  std::atomic<uint64_t> issued_{0};  // launches, before their records can come

  std::mutex mutex_;  // guards what follows; no other lock is taken under it
  std::map<uint32_t, IntervalUnion> busy_;
  uint64_t recorded_ = 0;
};

}  // namespace

std::unique_ptr<KernelMeter> makeStampMeter(const DriverTable& driver, KernelTotals totals) {
  auto meter = std::make_unique<StampMeter>(totals);
  if (!meter->subscribe(driver)) return nullptr;
  return meter;
}

std::unique_ptr<KernelMeter> makeKernelMeter(const DriverTable& driver, KernelTotals totals) {
  if (auto meter = makeStampMeter(driver, totals)) return meter;
  return makeEventMeter(driver, totals);
}

}  // namespace farwarp
