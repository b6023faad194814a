# Sourced: tensorhold_run CLASSPATH ARGS... replaces this shell with the command.
# The environment may set TENSORHOLD_HEAP (default 336m for a server, 192m for a client) and TENSORHOLD_JVM (more flags).
tensorhold_run() {
  local classpath=$1 heap=192m simd=
  shift
  case "${1:-}" in server) heap=336m ;; demo | demo-worker | compare) heap=768m ;; esac
  # The JVM warns of the incubating Vector API: only what computes asks for it.
  case "${1:-}" in server | load | demo | demo-worker | compare) simd=--add-modules=jdk.incubator.vector ;; esac
  # Two arenas: the C allocator of a process with many threads would otherwise hold memory in each.
  # Blocks come straight from the system and go back to it, so that no hole between them stays resident.
  export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-2} MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-524288}
  # shellcheck disable=SC2086
  exec "$JAVA" $simd --enable-native-access=ALL-UNNAMED \
    --sun-misc-unsafe-memory-access=allow -XX:-UsePerfData -XX:+UseParallelGC -XX:+ExitOnOutOfMemoryError -XX:MaxDirectMemorySize=256m \
    -Xshare:auto -Xmx"${TENSORHOLD_HEAP:-$heap}" ${TENSORHOLD_JVM:-} \
    -cp "$classpath" io.tensorhold.cli.Main "$@"
}
