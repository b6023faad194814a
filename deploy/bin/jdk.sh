# Sourced: exports JAVA_HOME and JAVA for the newest JDK of at least 25 that this machine has.
tensorhold_java_major() { # the feature release of a JDK's home folder, or nothing
  [ -x "$1/bin/java" ] || return 0
  if [ -r "$1/release" ]; then sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$1/release"
  else "$1/bin/java" -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p'; fi
}
tensorhold_find_jdk() {
  local home major on_path
  on_path=$(command -v java 2>/dev/null || true)
  [ -n "$on_path" ] && on_path=$(dirname "$(dirname "$(readlink -f "$on_path")")")
  for home in "${JAVA_HOME:-}" "$on_path" /usr/lib/jvm/*25* /usr/lib/jvm/* /opt/*jdk* /opt/java/* \
      "$HOME"/.sdkman/candidates/java/* "$HOME"/.jdks/* /Library/Java/JavaVirtualMachines/*/Contents/Home; do
    [ -n "$home" ] || continue
    major=$(tensorhold_java_major "$home")
    if [ -n "$major" ] && [ "$major" -ge 25 ]; then printf '%s\n' "$home"; return 0; fi
  done
  return 1
}
JAVA_HOME=$(tensorhold_find_jdk) || {
  echo "tensorhold: no JDK 25 found; install one (for example Debian's or Adoptium's temurin-25-jdk) or set JAVA_HOME to it" >&2
  exit 1
}
export JAVA_HOME
JAVA=$JAVA_HOME/bin/java
