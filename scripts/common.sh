# What the scripts share. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc)

say() { printf '\n== %s\n' "$*"; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# The usage is the comment at the head of the script, from its second line to the first other line.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

# Configures and builds with a preset; the rest of the arguments are targets (none: everything).
build() {
  local preset=$1
  shift
  (cd "$root" && cmake --preset "$preset" --log-level=WARNING)
  cmake --build "$root/build/$preset" --parallel "$jobs" ${1:+--target "$@"}
}
