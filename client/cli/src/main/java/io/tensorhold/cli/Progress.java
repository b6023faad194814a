package io.tensorhold.cli;

import java.util.Locale;

/**
 * A progress line on stderr with rate and time left: rewritten in place on a terminal, a line every
 * few seconds elsewhere, nothing for work that is over at once.
 */
final class Progress implements AutoCloseable {
  private static final long TERMINAL_NANOS = 200_000_000L;
  private static final long LOG_NANOS = 5_000_000_000L;

  private final String what;
  private final long total;

  @SuppressWarnings("SystemConsoleNull") // it is null when stdin is no terminal
  private final boolean terminal = System.console() != null && System.console().isTerminal();

  private final long started = System.nanoTime();
  private long printed = started;
  private boolean shown;
  private long done;

  Progress(String what, long totalBytes) {
    this.what = what;
    this.total = totalBytes;
  }

  synchronized void add(long bytes) {
    done += bytes;
    long now = System.nanoTime();
    if (now - printed >= (terminal ? TERMINAL_NANOS : LOG_NANOS)) {
      printed = now;
      shown = true;
      System.err.print((terminal ? "\r\u001b[K" : "") + text(now) + (terminal ? "" : "\n"));
      System.err.flush();
    }
  }

  private String text(long now) {
    double seconds = (now - started) / 1e9;
    double rate = done / seconds;
    long left = rate > 0 ? Math.round((total - done) / rate) : 0;
    return String.format(
        Locale.ROOT,
        "%s %3d%%  %s of %s  %s/s  %d:%02d left",
        what,
        total == 0 ? 100 : done * 100 / total,
        Output.bytes(done),
        Output.bytes(total),
        Output.bytes((long) rate),
        left / 60,
        left % 60);
  }

  double seconds() {
    return (System.nanoTime() - started) / 1e9;
  }

  @Override
  public synchronized void close() {
    if (shown && terminal) {
      System.err.print("\r\u001b[K");
      System.err.flush();
    }
  }
}
