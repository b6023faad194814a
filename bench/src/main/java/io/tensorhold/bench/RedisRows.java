package io.tensorhold.bench;

import java.io.DataInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * MGET and MSET of rows over one connection to Redis, any number in flight, with as little work as
 * the protocol allows: keys are 8 bytes, and answers have a known length.
 */
final class RedisRows implements AutoCloseable {
  private static final int VALUE_BYTES = 4 * RowsBench.DIM;
  private static final byte[] LINE = {'\r', '\n'};
  private static final byte[] KEY = ascii("$8\r\n");
  private static final byte[] VALUE = ascii("$" + VALUE_BYTES + "\r\n");

  private final SocketChannel channel;
  private final BlockingQueue<Asked> asked = new ArrayBlockingQueue<>(64);
  private final ByteBuffer out = ByteBuffer.allocateDirect(1 << 20);

  @SuppressWarnings("ArrayRecordComponent") // filled once, and compared with nothing
  private record Asked(float @Nullable [] target, CompletableFuture<Void> done) {}

  RedisRows(int port) throws IOException {
    channel = SocketChannel.open(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
    Thread.ofPlatform().daemon().name("redis").start(this::read);
  }

  private static byte[] ascii(String text) {
    return text.getBytes(StandardCharsets.US_ASCII);
  }

  CompletableFuture<Void> mget(long[] keys, float[] target) {
    out.clear().put(ascii("*" + (keys.length + 1) + "\r\n$4\r\nMGET\r\n"));
    for (long key : keys) {
      out.put(KEY).putLong(key).put(LINE);
    }
    return send(target);
  }

  CompletableFuture<Void> mset(long[] keys, float[] values) {
    out.clear().put(ascii("*" + (2 * keys.length + 1) + "\r\n$4\r\nMSET\r\n"));
    ByteBuffer row = out.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < keys.length; i++) {
      out.put(KEY).putLong(keys[i]).put(LINE).put(VALUE);
      row.position(out.position());
      row.asFloatBuffer().put(values, i * RowsBench.DIM, RowsBench.DIM);
      out.position(out.position() + VALUE_BYTES).put(LINE);
    }
    return send(null);
  }

  private CompletableFuture<Void> send(float @Nullable [] target) {
    CompletableFuture<Void> done = new CompletableFuture<>();
    try {
      asked.put(new Asked(target, done));
      out.flip();
      while (out.hasRemaining()) {
        channel.write(out);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
    return done;
  }

  private void read() {
    byte[] ok = new byte[5];
    byte[] count = ascii("*" + RowsBench.BATCH + "\r\n");
    byte[] answer = new byte[count.length + RowsBench.BATCH * (VALUE.length + VALUE_BYTES + 2)];
    try (DataInputStream in = new DataInputStream(Channels.newInputStream(channel))) {
      while (true) {
        Asked next = asked.take();
        if (next.target == null) {
          in.readFully(ok);
          if (ok[0] != '+') {
            throw new IOException("Redis refused: " + new String(ok, StandardCharsets.US_ASCII));
          }
        } else {
          in.readFully(answer);
          ByteBuffer rows = ByteBuffer.wrap(answer).order(ByteOrder.LITTLE_ENDIAN);
          for (int i = 0; i < RowsBench.BATCH; i++) {
            rows.position(count.length + i * (VALUE.length + VALUE_BYTES + 2) + VALUE.length);
            rows.asFloatBuffer().get(next.target, i * RowsBench.DIM, RowsBench.DIM);
          }
        }
        next.done.complete(null);
      }
    } catch (IOException | InterruptedException closed) {
      asked.forEach(left -> left.done.completeExceptionally(closed));
    }
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
