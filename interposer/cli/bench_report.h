// The figures of farwarp bench, and a page that shows them.
#pragma once

#include <string>
#include <vector>

namespace farwarp::cli {

struct BenchFigure {
  std::string name;
  std::string unit;
  bool less_is_better = true;
  double median = 0, least = 0, greatest = 0;
};

// One side of the comparison; without figures when it was not measured.
struct BenchRun {
  std::string device;
  std::vector<BenchFigure> figures;
  const BenchFigure* find(const std::string& name) const;
};

// How many times longer the remote side takes: above 1 it is slower.
double slowdown(const BenchFigure& local, const BenchFigure& remote);

// Writes one HTML file with a plot and a table, which needs nothing else to be shown. False with a
// sentence in `why` when it cannot be written.
[[nodiscard]] bool writeBenchReport(const std::string& path, const BenchRun& local,
                                    const BenchRun& remote, std::string& why);

}  // namespace farwarp::cli
