#include "bench/paired.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <system_error>

namespace farwarp::bench {
namespace {

using Clock = std::chrono::steady_clock;

double read(clockid_t clock) {
  timespec now{};
  if (clock_gettime(clock, &now) != 0) return 0;
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct Slice {
  double wall_s, near_s, far_s;  // per operation
};

Slice runSlice(const Side& side, int count) {
  const double near = side.near_cpu ? side.near_cpu() : 0;
  const double far = side.far_cpu ? side.far_cpu() : 0;
  const auto start = Clock::now();
  side.run(count);
  const double wall = std::chrono::duration<double>(Clock::now() - start).count();
  const double near_used = (side.near_cpu ? side.near_cpu() : 0) - near;
  const double far_used = (side.far_cpu ? side.far_cpu() : 0) - far;
  return {wall / count, near_used / count, far_used / count};
}

// How many operations fill a slice; warms the side up.
int calibrate(const Side& side, double slice_s) {
  int count = 1;
  for (;;) {
    const double took = runSlice(side, count).wall_s * count;
    if (took >= slice_s) return count;
    const double wanted = took > 0 ? std::ceil(1.2 * count * slice_s / took) : count * 8.0;
    count = static_cast<int>(std::min(wanted, count * 8.0 + 1));
  }
}

Figures mediansOf(const std::vector<Slice>& slices) {
  const auto of = [&](double Slice::*field) {
    std::vector<double> values;
    for (const Slice& slice : slices) values.push_back(slice.*field);
    return median(std::move(values));
  };
  return {of(&Slice::wall_s), of(&Slice::near_s), of(&Slice::far_s)};
}

}  // namespace

CpuClock threadCpu() {
  return [] { return read(CLOCK_THREAD_CPUTIME_ID); };
}

CpuClock threadCpu(pthread_t thread) {
  clockid_t clock;
  if (pthread_getcpuclockid(thread, &clock) != 0) return {};
  return [clock] { return read(clock); };
}

CpuClock processCpu(int pid) {
  clockid_t clock;
  if (clock_getcpuclockid(pid, &clock) != 0) return {};
  return [clock] { return read(clock); };
}

namespace {

// What this process could use when it began.
const cpu_set_t& allCores() {
  static const cpu_set_t all = [] {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof(allowed), &allowed);
    return allowed;
  }();
  return all;
}

bool coreNumber(int n, cpu_set_t& set) {
  const cpu_set_t& all = allCores();
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &all) || n-- > 0) continue;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    return true;
  }
  return false;
}

}  // namespace

void pinThread(pthread_t thread, int n) {
  cpu_set_t set;
  if (coreNumber(n, set)) pthread_setaffinity_np(thread, sizeof(set), &set);
}

void unpinThread(pthread_t thread) {
  pthread_setaffinity_np(thread, sizeof(cpu_set_t), &allCores());
}

void pinProcess(int pid, int n) {
  cpu_set_t set;
  if (!coreNumber(n, set)) return;
  std::error_code ignored;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks, ignored)) {
    sched_setaffinity(std::stoi(task.path().filename().string()), sizeof(set), &set);
  }
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Comparison compare(const Side& raw, const Side& own, const Effort& effort) {
  const int raw_count = calibrate(raw, effort.slice_s);
  const int own_count = calibrate(own, effort.slice_s);
  std::vector<Slice> raw_slices, own_slices;
  std::vector<double> ratios, near_cpu, cpu;
  for (int i = 0; i < effort.pairs; ++i) {
    // Who begins changes, so that a drift favours nobody.
    Slice first = runSlice(i % 2 == 0 ? raw : own, i % 2 == 0 ? raw_count : own_count);
    Slice second = runSlice(i % 2 == 0 ? own : raw, i % 2 == 0 ? own_count : raw_count);
    if (i % 2 != 0) std::swap(first, second);
    raw_slices.push_back(first);
    own_slices.push_back(second);
    ratios.push_back(second.wall_s / first.wall_s);
    near_cpu.push_back(second.near_s / first.near_s);
    cpu.push_back((second.near_s + second.far_s) / (first.near_s + first.far_s));
  }
  std::sort(ratios.begin(), ratios.end());
  Comparison result;
  result.raw = mediansOf(raw_slices);
  result.own = mediansOf(own_slices);
  result.ratio = ratios[ratios.size() / 2];
  result.ratio_least = ratios[ratios.size() / 4];
  result.ratio_greatest = ratios[ratios.size() * 3 / 4];
  result.near_cpu_least = *std::min_element(near_cpu.begin(), near_cpu.end());
  result.cpu_least = *std::min_element(cpu.begin(), cpu.end());
  result.pairs = effort.pairs;
  return result;
}

Figures measure(const Side& own, const Effort& effort) {
  const int count = calibrate(own, effort.slice_s);
  std::vector<Slice> slices;
  for (int i = 0; i < effort.pairs; ++i) slices.push_back(runSlice(own, count));
  return mediansOf(slices);
}

}  // namespace farwarp::bench
