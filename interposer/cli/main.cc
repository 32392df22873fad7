// The farwarp command: runs programs on a gpud, and shows what gpud recorded about them.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "interposer/cli/commands.h"

int main(int argc, char** argv) {
  CLI::App app{"Farwarp: runs unmodified CUDA programs on a GPU in another machine."};
  app.require_subcommand(1);
  app.footer(
      "Environment: FARWARP_SERVER names the gpud when --server does not; FARWARP_STATS=1 is\n"
      "--stats; FARWARP_TRACE=FILE is --trace; FARWARP_LOG=FILE (or stderr) writes down "
      "connections\n"
      "and failed calls. FARWARP_FINGERPRINT or FARWARP_CA says which certificate a gpud over TCP "
      "must\n"
      "have; gpud init prints the line. FARWARP_INSECURE=1 is --insecure.");

  farwarp::cli::RunOptions run;
  CLI::App* run_command = app.add_subcommand("run", "Run a program; its CUDA calls go to a gpud");
  run_command->add_option("--server", run.server,
                          "The gpud to use: HOST:PORT or unix:PATH (default: FARWARP_SERVER)");
  run_command->add_flag(
      "--stats", run.stats,
      "When the program ends, print calls, waiting calls, bytes, and kernel time");
  run_command->add_flag("--insecure", run.insecure,
                        "Speak without TLS with a gpud that was started with --insecure");
  run_command->add_option("--trace", run.trace,
                          "Record every call in this file, for farwarp trace");
  run_command->add_option("PROGRAM", run.program, "The program and its arguments")->required();
  run_command->positionals_at_end();
  run_command->footer(
      "Everything behind the program's name is the program's own:\n"
      "  farwarp run --server gpu1:4810 -- ./vectorAdd --size 1000\n"
      "Exit status: the program's; 127 when it is not found, 126 when it cannot be run.");

  std::string log;
  CLI::App* sessions_command =
      app.add_subcommand("sessions", "Print a table of the sessions in a log that gpud wrote");
  sessions_command->add_option("FILE", log, "gpud's session log (JSON lines)")->required();

  farwarp::cli::TraceOptions trace;
  CLI::App* trace_command = app.add_subcommand("trace", "Show what farwarp run --trace recorded");
  trace_command->add_option("FILE", trace.file, "The trace")->required();
  trace_command->add_option("--chrome", trace.chrome,
                            "Write a trace for chrome://tracing and ui.perfetto.dev to this file "
                            "instead of printing tables");
  trace_command->add_flag("--unsupported", trace.unsupported,
                          "Print only the calls that are not supported: how often, name, reason");

  farwarp::cli::BenchOptions bench;
  CLI::App* bench_command = app.add_subcommand(
      "bench", "Measure calls, copies, launches and a small step of kernels, remote against local");
  bench_command->add_option("--server", bench.server,
                            "The gpud to measure (default: FARWARP_SERVER)");
  bench_command
      ->add_option("--local", bench.local,
                   "The driver to compare with: a path; \"none\"; or \"auto\", which is "
                   "this machine's driver or else the CPU device")
      ->capture_default_str();
  bench_command->add_option("--report", bench.report, "Write a page with plots to this HTML file");
  bench_command->add_flag("--quick", bench.quick, "Fewer repetitions and no large copies");

  CLI::App* version_command = app.add_subcommand("version", "Print the version");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : farwarp::cli::kExitUsage;
  }
  if (version_command->parsed()) {
    std::printf("farwarp %s\n", FARWARP_VERSION);
    return 0;
  }
  if (bench_command->parsed()) return farwarp::cli::runBench(bench);
  if (trace_command->parsed()) return farwarp::cli::showTrace(trace);
  if (sessions_command->parsed()) return farwarp::cli::printSessions(log);
  return farwarp::cli::runProgram(run);
}
