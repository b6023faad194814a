package io.tensorhold.server.app;

import java.io.PrintStream;
import java.util.concurrent.CountDownLatch;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.slf4j.LoggerFactory;

/** The {@code tensorhold server} command. */
public final class ServerMain {
  /** Held, because the logging framework forgets levels of loggers that nobody holds. */
  private static final org.slf4j.Logger log = LoggerFactory.getLogger(ServerMain.class);

  private static final Logger RATIS_NETTY = Logger.getLogger("org.apache.ratis.thirdparty");

  private ServerMain() {}

  /** Runs a server until the process is asked to stop; the exit status. */
  public static int run(String[] args) {
    if (args.length > 0 && (args[0].equals("--help") || args[0].equals("-h"))) {
      help(System.out);
      return 0;
    }
    RATIS_NETTY.setLevel(Level.WARNING);
    TensorholdServer server;
    try {
      ServerConfig config = ConfigSource.read(args, System.getenv());
      // Native libraries are unpacked here: nothing is written outside the data directory.
      System.setProperty("java.io.tmpdir", DataDirectory.temporary(config.dataDir()).toString());
      server = TensorholdServer.start(config);
    } catch (StartFailure e) {
      System.err.println("tensorhold server: " + e.text());
      return 1;
    } catch (RuntimeException e) {
      log.debug("the server can't start", e);
      Throwable cause = e;
      while (cause.getCause() != null) {
        cause = cause.getCause();
      }
      System.err.printf(
          "tensorhold server: it can't start: %s (TENSORHOLD_LOG_LEVEL=DEBUG tells more)%n", cause);
      return 1;
    }
    CountDownLatch stop = new CountDownLatch(1);
    CountDownLatch stopped = new CountDownLatch(1);
    Thread hook =
        new Thread(
            () -> {
              stop.countDown();
              try {
                stopped.await();
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
            },
            "shutdown");
    Runtime.getRuntime().addShutdownHook(hook);
    System.out.printf(
        "server %s of cluster %s serves on %s%n",
        server.me().getId(), server.clusterId(), server.me().getAddress());
    System.out.flush();
    try {
      stop.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    server.close();
    stopped.countDown();
    return 0;
  }

  private static void help(PrintStream out) {
    out.println(
        """
        Usage: tensorhold server [--config FILE] [--key value ...]

        Runs a shard server. The first server of a cluster needs no flags; others say --join.
        Ctrl-C or SIGTERM stops it after everything is flushed.

          tensorhold server --data-dir /var/lib/tensorhold --listen 10.0.0.1:7070 --raft.listen 10.0.0.1:7071
          tensorhold server --data-dir /var/lib/tensorhold --listen 10.0.0.2:7070 --raft.listen 10.0.0.2:7071 --join 10.0.0.1:7070

        Keys, for the YAML file, the environment and the command line (default):
        """);
    for (String key : ConfigSource.allKeys()) {
      out.printf("  --%-28s %s%n", key, ConfigSource.variable(key));
    }
    out.println("\nTheir meaning and defaults: docs/configuration.md");
  }

  /** Runs a server as a process of its own. */
  public static void main(String[] args) {
    System.exit(run(args));
  }
}
