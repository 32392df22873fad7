// What the benchmarks share: medians of repetitions in random order, and a table of their ratios.
//
// A benchmark `x` has a baseline `xRaw` in the same program.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace farwarp::bench {

// Keeps every repetition of each benchmark while the console shows them.
class MedianReporter final : public benchmark::ConsoleReporter {
 public:
  struct Sample {
    double real_s;  // per iteration
    double cpu_s;   // of the calling thread
  };

  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.error_occurred || run.run_type != Run::RT_Iteration) continue;
      const auto iterations = static_cast<double>(run.iterations);
      samples_[run.run_name.function_name].push_back(
          {run.real_accumulated_time / iterations, run.cpu_accumulated_time / iterations});
    }
  }

  // 0 when the benchmark did not run.
  double median(const std::string& name, double Sample::*field) const {
    const auto found = samples_.find(name);
    if (found == samples_.end()) return 0;
    std::vector<double> values;
    for (const Sample& sample : found->second) values.push_back(sample.*field);
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }

 private:
  std::map<std::string, std::vector<Sample>> samples_;
};

struct RatioRow {
  const char* what;
  const char* name;  // of the benchmark; its baseline is name + "Raw"
  double per;        // operations of one iteration
  bool rate;         // the ratio is of rates: larger is better; else of times
  const char* goal;
};

inline void printRatios(const MedianReporter& reporter, std::span<const RatioRow> rows) {
  std::printf("%-34s %13s %13s %13s %13s %7s  %s\n", "", "raw", "farwarp", "raw cpu", "farwarp cpu",
              "ratio", "goal");
  for (const RatioRow& row : rows) {
    const auto at = [&](const char* side, double MedianReporter::Sample::*field) {
      return reporter.median(std::string(row.name) + side, field) / row.per * 1e6;
    };
    const double raw = at("Raw", &MedianReporter::Sample::real_s);
    const double own = at("", &MedianReporter::Sample::real_s);
    if (raw == 0 || own == 0) continue;
    std::printf("%-34s %10.3f us %10.3f us %10.3f us %10.3f us %7.2f  %s\n", row.what, raw, own,
                at("Raw", &MedianReporter::Sample::cpu_s), at("", &MedianReporter::Sample::cpu_s),
                row.rate ? raw / own : own / raw, row.goal);
  }
  std::fflush(stdout);
}

// Runs all benchmarks with repetitions in random order, unless the flags say otherwise.
inline bool runBenchmarks(int argc, char** argv, MedianReporter& reporter) {
  std::string repetitions = "--benchmark_repetitions=5", least = "--benchmark_min_time=0.2",
              mixed = "--benchmark_enable_random_interleaving=true";
  std::vector<char*> args = {argv[0], repetitions.data(), least.data(), mixed.data()};
  args.insert(args.end(), argv + 1, argv + argc);
  int count = static_cast<int>(args.size());
  benchmark::Initialize(&count, args.data());
  if (benchmark::ReportUnrecognizedArguments(count, args.data())) return false;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return true;
}

}  // namespace farwarp::bench
