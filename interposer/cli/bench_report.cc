#include "interposer/cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

namespace farwarp::cli {
namespace {

constexpr double kBarWidth = 420;  // of the greatest slowdown, in pixels

constexpr const char* kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>farwarp bench</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; color: #1c2430; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .3rem .6rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr { border-bottom: 1px solid #dde3ea; }
svg { display: block; margin: 1rem 0; } .range { color: #66707d; font-size: 85%; }
</style></head><body>
)";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// One bar for each figure, as long as the logarithm of the slowdown.
std::string plot(const BenchRun& local, const BenchRun& remote) {
  double most = 2;
  size_t bars = 0;
  for (const BenchFigure& there : remote.figures) {
    const BenchFigure* here = local.find(there.name);
    if (here == nullptr) continue;
    ++bars;
    most = std::max(most, slowdown(*here, there));
  }
  if (bars == 0) return "";
  std::string out = fmt::format(
      "<h2>How many times longer the remote side takes</h2>\n"
      "<svg role=\"img\" width=\"900\" height=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">\n",
      28 * bars + 4);
  double y = 4;
  for (const BenchFigure& there : remote.figures) {
    const BenchFigure* here = local.find(there.name);
    if (here == nullptr) continue;
    const double ratio = slowdown(*here, there);
    const double width = std::max(2.0, std::log(std::max(ratio, 1.0)) / std::log(most) * kBarWidth);
    out += fmt::format(
        "<text x=\"0\" y=\"{:.0f}\">{}</text><rect x=\"380\" y=\"{:.0f}\" width=\"{:.1f}\" "
        "height=\"18\" fill=\"#2f6fab\"/><text x=\"{:.1f}\" y=\"{:.0f}\">{:.2f}x</text>\n",
        y + 14, escaped(there.name), y, width, 386 + width, y + 14, ratio);
    y += 28;
  }
  return out + "</svg>\n";
}

std::string cell(const BenchFigure* figure) {
  if (figure == nullptr) return "<td></td>";
  return fmt::format("<td>{:.5g} {} <span class=\"range\">({:.4g} to {:.4g})</span></td>",
                     figure->median, escaped(figure->unit), figure->least, figure->greatest);
}

}  // namespace

const BenchFigure* BenchRun::find(const std::string& name) const {
  const auto found = std::find_if(figures.begin(), figures.end(),
                                  [&](const BenchFigure& figure) { return figure.name == name; });
  return found == figures.end() ? nullptr : &*found;
}

double slowdown(const BenchFigure& local, const BenchFigure& remote) {
  const double over = local.less_is_better ? remote.median : local.median;
  const double under = local.less_is_better ? local.median : remote.median;
  return under > 0 ? over / under : 0;
}

bool writeBenchReport(const std::string& path, const BenchRun& local, const BenchRun& remote,
                      std::string& why) {
  std::ofstream out(path);
  out << kHead << "<h1>farwarp bench</h1>\n<p>Local: "
      << escaped(local.figures.empty() ? "not measured" : local.device)
      << "<br/>Remote: " << escaped(remote.device) << "</p>\n"
      << plot(local, remote)
      << "<h2>Figures</h2>\n<p>Medians, and in brackets the least and the greatest of the "
         "repetitions.</p>\n<table><tr><th></th><th>local</th><th>remote</th></tr>\n";
  for (const BenchFigure& there : remote.figures) {
    out << "<tr><td>" << escaped(there.name) << "</td>" << cell(local.find(there.name))
        << cell(&there) << "</tr>\n";
  }
  out << "</table></body></html>\n";
  out.close();
  if (out.fail())
    why = "The report \"" + path + "\" cannot be written: " + std::strerror(errno) + ".";
  return !out.fail();
}

}  // namespace farwarp::cli
