package io.tensorhold.server.shard;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Initializer;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.LongStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Rows of a CHECKPOINTED model: ones are added, so that each row says how many pushes it has. */
class RowOverlayTest {
  private static final int DIM = 4;
  private static final long TERM = 3;
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ParameterRecord TABLE =
      new ParameterRecord(
          7,
          DType.F32,
          Codec.F32,
          0,
          262_144,
          null,
          new TableForm(DIM, Initializer.of("zeros", Map.of(), DIM), 0));

  @TempDir private Path folder;
  private final SharedRocks rocks = new SharedRocks(4 << 20);
  private long allocatedBefore;
  private ShardStore[] stores;
  private ShardMachine leader;
  private ShardMachine follower;
  private long seq;
  private long index;

  @BeforeEach
  void start() {
    allocatedBefore = OffHeap.allocated();
    stores = new ShardStore[] {store("leader"), store("follower")};
    leader = new ShardMachine(0, stores[0], 1 << 20, Kernels.best());
    follower = new ShardMachine(0, stores[1], 1 << 20, Kernels.best());
    log(Entry.register(TABLE));
  }

  private ShardStore store(String name) {
    return new ShardStore(folder.resolve(name), folder.resolve(name + "-staging"), rocks);
  }

  @AfterEach
  void everyByteIsGivenBack() {
    leader.close();
    follower.close();
    for (ShardStore store : stores) {
      store.close();
    }
    rocks.close();
    assertThat(OffHeap.allocated()).isEqualTo(allocatedBefore);
  }

  private void log(byte[] command) {
    for (ShardMachine machine : new ShardMachine[] {leader, follower}) {
      byte[] done = machine.apply(TERM, index, ByteBuffer.wrap(command));
      assertThat(Outcome.of(done[0])).isEqualTo(Outcome.APPLIED);
    }
    index++;
  }

  /** Adds one to rows of some keys. */
  private void push(long term, long... keys) {
    float[] ones = new float[keys.length * DIM];
    java.util.Arrays.fill(ones, 1);
    seq++;
    RowsCommand push =
        new RowsCommand(
            new Tag(1, seq, seq),
            Operation.ADD,
            TABLE.id(),
            Codec.F32,
            keys,
            MemorySegment.ofArray(ones));
    assertThat(leader.rows().overlay().push(term, TABLE.id(), push, null, TABLE))
        .isEqualTo(Outcome.APPLIED);
  }

  private static float[] read(ShardMachine machine, long... keys) {
    MemorySegment out = MemorySegment.ofArray(new byte[4 * DIM * keys.length]);
    machine.rows().read(TABLE, keys, 0, keys.length, Codec.F32, out, 0, null);
    float[] first = new float[keys.length];
    for (int i = 0; i < keys.length; i++) {
      first[i] = out.get(F32, 4L * DIM * i);
    }
    return first;
  }

  private long[] sealed() {
    return leader.rows().overlay().sealedKeys(TERM, TABLE.id());
  }

  private void seal() {
    leader.rows().overlay().seal(TERM, TABLE.id(), TABLE.id());
  }

  private void logSealed(long[] keys, int from, int to) {
    RowOverlay overlay = leader.rows().overlay();
    log(Entry.putRows(overlay.sealedRows(TERM, TABLE.id(), keys, from, to)));
  }

  @Test
  void rowsOfACheckpointAreOfTheMomentItBegan() {
    long[] keys = LongStream.range(0, 600).toArray();
    push(TERM, keys);
    push(TERM, 1, 5);
    seal();
    push(TERM, 1, 2, 1000);
    assertThat(sealed()).isEqualTo(keys);
    logSealed(keys, 0, 300);
    push(TERM, 3, 400); // of one the log has the row, of the other not yet
    logSealed(keys, 300, 600);
    assertThat(read(follower, 0, 1, 2, 3, 5, 400, 1000)).containsExactly(1, 2, 1, 1, 2, 1, 0);
    float[] newest = {1, 3, 2, 2, 2, 2, 1};
    assertThat(read(leader, 0, 1, 2, 3, 5, 400, 1000)).isEqualTo(newest);
    leader.rows().overlay().logged(TERM, TABLE.id());
    assertThat(read(leader, 0, 1, 2, 3, 5, 400, 1000)).isEqualTo(newest);
    push(TERM, 0, 1);
    assertThat(read(leader, 0, 1)).containsExactly(2, 4);

    seal();
    assertThat(sealed()).containsExactly(0, 1, 2, 3, 400, 1000);
    logSealed(sealed(), 0, 6);
    leader.rows().overlay().logged(TERM, TABLE.id());
    assertThat(read(follower, 0, 1, 2, 3, 5, 400, 1000)).containsExactly(2, 4, 2, 2, 2, 2, 1);
    assertThat(leader.checksum()).isEqualTo(follower.checksum());
  }

  @Test
  void rowsOfACheckpointThatFailedComeBackWithTheNext() {
    push(TERM, 1, 2);
    seal();
    push(TERM, 2, 3);
    assertThat(read(leader, 1, 2, 3)).containsExactly(1, 2, 1);
    seal();
    assertThat(sealed()).containsExactly(1, 2, 3);
    assertThat(read(leader, 1, 2, 3)).containsExactly(1, 2, 1);
    seal(); // with nothing new
    logSealed(sealed(), 0, 3);
    assertThat(read(follower, 1, 2, 3)).containsExactly(1, 2, 1);
  }

  @Test
  void anotherTermForgetsSealedRowsToo() {
    push(TERM, 1);
    seal();
    push(TERM, 1);
    push(TERM + 1, 1);
    assertThat(read(leader, 1)).containsExactly(1);
    assertThat(sealed()).isEmpty();
  }
}
