package io.tensorhold.cli.demo;

import io.tensorhold.cli.Main;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** The processes of a demo and the directory they live in; nothing of them outlives it. */
public final class DemoProcesses implements AutoCloseable {
  private final Path directory;
  private final List<Process> all = new ArrayList<>();
  private final List<String> addresses = new ArrayList<>();
  private final List<String> raftAddresses = new ArrayList<>();
  private final List<Process> servers = new ArrayList<>();
  private final Thread hook = new Thread(this::destroy, "demo-stop");

  /** Processes under a new temporary directory. */
  public DemoProcesses() throws IOException {
    directory = Files.createTempDirectory("tensorhold-demo-");
    Runtime.getRuntime().addShutdownHook(hook);
  }

  /** The directory, removed at the end. */
  public Path directory() {
    return directory;
  }

  /** Starts so many servers: the first founds the cluster, the others join it. */
  public void startServers(int count, String... flags) throws IOException {
    for (int i = 0; i < count; i++) {
      addresses.add("127.0.0.1:" + freePort());
      raftAddresses.add("127.0.0.1:" + freePort());
      servers.add(startServer(i, flags));
    }
  }

  private Process startServer(int index, String... flags) throws IOException {
    List<String> command = java("-Xmx512m");
    command.add("server");
    command.add("--data-dir=" + directory.resolve("server-" + index));
    command.add("--listen=" + addresses.get(index));
    command.add("--raft.listen=" + raftAddresses.get(index));
    if (index > 0) {
      command.add("--join=" + addresses.getFirst());
    }
    // All of them share the cores of this machine: 1 to 2 s without a word is no sign of a death.
    command.add("--raft.election-timeout-min=1000");
    command.add("--raft.election-timeout-max=2000");
    command.addAll(List.of(flags));
    return start(command, directory.resolve("server-" + index + ".log"));
  }

  /** Starts a worker whose output the caller reads. */
  Process startWorker(String... args) throws IOException {
    List<String> command = java("-Xmx160m");
    command.addAll(List.of(args));
    ProcessBuilder builder = new ProcessBuilder(command);
    builder.redirectError(directory.resolve("worker-" + all.size() + ".log").toFile());
    return track(builder.start());
  }

  private Process start(List<String> command, Path log) throws IOException {
    ProcessBuilder builder = new ProcessBuilder(command);
    builder.redirectErrorStream(true);
    builder.redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()));
    return track(builder.start());
  }

  private synchronized Process track(Process process) {
    all.add(process);
    return process;
  }

  private static List<String> java(String heap) {
    List<String> command = new ArrayList<>();
    command.add(ProcessHandle.current().info().command().orElse("java"));
    for (String flag : ManagementFactory.getRuntimeMXBean().getInputArguments()) {
      if (!flag.startsWith("-Xmx") && !flag.startsWith("-agentlib") && !flag.startsWith("-D")) {
        command.add(flag);
      }
    }
    command.add(heap);
    command.add("-XX:+UseSerialGC");
    command.remove("-XX:+UseParallelGC");
    command.add("-cp");
    command.add(System.getProperty("java.class.path"));
    command.add(Main.class.getName());
    return command;
  }

  private static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    }
  }

  /** Addresses of all servers, with commas between. */
  public String servers() {
    return String.join(",", addresses);
  }

  /** Address of a server. */
  public String address(int index) {
    return addresses.get(index);
  }

  /** kill -9. */
  public void kill(int index) throws InterruptedException {
    servers.get(index).destroyForcibly().waitFor();
  }

  /** SIGTERM, and waits for the end. */
  public void stop(int index) throws InterruptedException {
    servers.get(index).destroy();
    servers.get(index).waitFor();
  }

  /** SIGSTOP: the server stands still, its connections stay. */
  public void pause(int index) throws IOException, InterruptedException {
    signal("STOP", index);
  }

  /** SIGCONT. */
  public void resume(int index) throws IOException, InterruptedException {
    signal("CONT", index);
  }

  private void signal(String name, int index) throws IOException, InterruptedException {
    String pid = Long.toString(servers.get(index).pid());
    if (new ProcessBuilder("kill", "-" + name, pid).inheritIO().start().waitFor() != 0) {
      throw new IOException("kill -%s %s failed".formatted(name, pid));
    }
  }

  /** Starts a killed server again, on its data. */
  public void restart(int index, String... flags) throws IOException {
    servers.set(index, startServer(index, flags));
  }

  /** Whether a server's process lives. */
  public boolean alive(int index) {
    return servers.get(index).isAlive();
  }

  /** What a server has logged. */
  public String log(int index) throws IOException {
    return Files.readString(directory.resolve("server-" + index + ".log"));
  }

  private synchronized void destroy() {
    all.forEach(Process::destroyForcibly);
    for (Process process : all) {
      try {
        process.waitFor(10, TimeUnit.SECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    try (Stream<Path> tree = Files.walk(directory)) {
      for (Path path : tree.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(path);
      }
    } catch (IOException e) {
      System.err.println("tensorhold demo: " + directory + " is left behind: " + e.getMessage());
    }
  }

  @Override
  public void close() {
    destroy();
    try {
      Runtime.getRuntime().removeShutdownHook(hook);
    } catch (IllegalStateException stopping) {
      // The hook runs already, and has found nothing left to do.
    }
  }
}
