package io.tensorhold.client;

import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.tensorhold.proto.v1.ClusterGrpc;
import io.tensorhold.proto.v1.ClusterMap;
import io.tensorhold.proto.v1.GetClusterMapRequest;
import io.tensorhold.wire.ChannelSettings;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Channels over Unix domain sockets to the servers on this host.
 *
 * <p>A server names its socket's path to all clients. Elsewhere that path leads to nothing, or to
 * another server with its data at the same place; so a socket is used when who answers there is the
 * server that named it. Ids of servers are random and never used again.
 */
final class LocalChannels implements AutoCloseable {
  private static final int HELLO_SECONDS = 1;

  private final Map<String, ManagedChannel> channels = new ConcurrentHashMap<>();
  private volatile boolean closed;

  /** The channel to the server of an address; null: it is not known to be on this host. */
  @Nullable ManagedChannel channel(String address) {
    return channels.get(address);
  }

  /** Addresses of the servers that are reached so. */
  Set<String> addresses() {
    return new TreeSet<>(channels.keySet());
  }

  /** Tries the socket that a server at an address has named; whatever fails, TCP remains. */
  void offer(String address, ClusterMap answer) {
    if (answer.getLocalSocket().isEmpty() || channels.containsKey(address) || !isThere(answer)) {
      return;
    }
    ManagedChannel channel = ChannelSettings.local(Path.of(answer.getLocalSocket())).build();
    boolean used = false;
    try {
      ClusterMap hello =
          ClusterGrpc.newBlockingStub(channel)
              .withDeadlineAfter(HELLO_SECONDS, TimeUnit.SECONDS)
              .getClusterMap(GetClusterMapRequest.getDefaultInstance());
      used =
          !closed
              && !hello.getAnsweredBy().isEmpty()
              && hello.getAnsweredBy().equals(answer.getAnsweredBy())
              && channels.putIfAbsent(address, channel) == null;
    } catch (StatusRuntimeException unreachable) {
      used = false;
    } finally {
      if (!used) {
        channel.shutdownNow();
      }
    }
  }

  private static boolean isThere(ClusterMap answer) {
    try {
      return Files.exists(Path.of(answer.getLocalSocket()));
    } catch (InvalidPathException ofAnotherSystem) {
      return false;
    }
  }

  /** Goes back to TCP; true: the server was reached through a socket until now. */
  boolean drop(String address) {
    ManagedChannel channel = channels.remove(address);
    if (channel != null) {
      channel.shutdown();
    }
    return channel != null;
  }

  @Override
  public void close() {
    closed = true;
    channels.values().forEach(ManagedChannel::shutdownNow);
  }
}
