package io.tensorhold.server.shard;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Initializer;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.Rounding;
import io.tensorhold.numerics.Schedule;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.store.SharedRocks;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.LongStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Walks over rows that are on disk, in memory, on their way between them, and in the overlay. */
class RowScanTest {
  private static final int DIM = 6;
  private static final long TERM = 1;
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ParameterRecord TABLE =
      new ParameterRecord(
          7,
          DType.F32,
          Codec.F32,
          0,
          262_144,
          new UpdateRule(
              Optimizer.of("adam", Map.of("lr", 1.0)),
              Schedule.CONSTANT,
              0,
              0,
              StateCodec.F32,
              Rounding.NEAREST),
          new TableForm(DIM, Initializer.of("zeros", Map.of(), DIM), 7));

  @TempDir private Path folder;
  private final SharedRocks rocks = new SharedRocks(4 << 20);
  private final Random random = new Random(5);
  private long allocatedBefore;
  private ReplayedShard shard;
  private long seq;

  @BeforeEach
  void start() {
    allocatedBefore = OffHeap.allocated();
    shard = new ReplayedShard(folder.resolve("a"), 32 << 10, rocks);
    apply(shard, Entry.register(TABLE));
  }

  @AfterEach
  void everyByteIsGivenBack() {
    shard.close();
    rocks.close();
    assertThat(OffHeap.allocated()).isEqualTo(allocatedBefore);
  }

  private static void apply(ReplayedShard to, byte[] command) {
    if (to.machine.pressure() != Pressure.NONE) {
      to.flush();
    }
    byte[] done = to.machine.apply(TERM, to.machine.appliedIndex() + 1, ByteBuffer.wrap(command));
    assertThat(Outcome.of(done[0])).isEqualTo(Outcome.APPLIED);
  }

  private RowsCommand command(Operation operation, float value, long... keys) {
    MemorySegment values = MemorySegment.ofArray(new byte[4 * DIM * keys.length]);
    for (int i = 0; i < DIM * keys.length; i++) {
      values.set(F32, 4L * i, value);
    }
    seq++;
    return new RowsCommand(new Tag(1, seq, seq), operation, TABLE.id(), Codec.F32, keys, values);
  }

  private void push(float value, long... keys) {
    apply(shard, Entry.rows(null, command(Operation.ASSIGN, value, keys)));
  }

  private static long[] keys(long from, long to) {
    return LongStream.range(from, to).toArray();
  }

  /** First values of the rows of a walk. */
  private static void take(RowScan scan, int count, NavigableMap<Long, Float> into) {
    MemorySegment row = MemorySegment.ofArray(new byte[4 * DIM]);
    for (int i = 0; i < count; i++) {
      scan.weights(i, Codec.F32, row, 0);
      assertThat(into.isEmpty() || into.lastKey() < scan.key(i)).isTrue();
      into.put(scan.key(i), row.get(F32, 0));
    }
  }

  private static NavigableMap<Long, Float> all(ReplayedShard of, long from) {
    TreeMap<Long, Float> rows = new TreeMap<>();
    try (RowScan scan = of.machine.rows().scan(TABLE, from)) {
      for (int count = scan.next(); count > 0; count = scan.next()) {
        take(scan, count, rows);
      }
    }
    return rows;
  }

  @Test
  void everyRowComesOnceThoughItGoesToDiskMeanwhile() {
    TreeMap<Long, Float> expected = new TreeMap<>();
    for (int i = 0; i < 40; i++) {
      long[] some = random.longs(60, -3000, 3000).distinct().sorted().toArray();
      push(i, some);
      for (long key : some) {
        expected.put(key, (float) i);
      }
    }
    assertThat(all(shard, Long.MIN_VALUE)).isEqualTo(expected);
    assertThat(all(shard, 17)).isEqualTo(expected.tailMap(17L));
    TreeMap<Long, Float> met = new TreeMap<>();
    try (RowScan scan = shard.machine.rows().scan(TABLE, Long.MIN_VALUE)) {
      int count = scan.next();
      while (count > 0) {
        take(scan, count, met);
        shard.flush();
        push(1000, keys(4000 + met.size(), 4100 + met.size())); // pushes the others out
        count = scan.next();
      }
    }
    assertThat(met.headMap(3000L)).isEqualTo(expected);
  }

  @Test
  void rowsOfTheOverlayAreThere() {
    push(1, keys(0, 300));
    shard.flush();
    RowsCommand beside = command(Operation.ASSIGN, 2, 5, 299, 700);
    shard.machine.rows().overlay().push(TERM, TABLE.id(), beside, null, TABLE);
    NavigableMap<Long, Float> met = all(shard, Long.MIN_VALUE);
    assertThat(met).hasSize(301).containsEntry(4L, 1f).containsEntry(5L, 2f);
    assertThat(met).containsEntry(299L, 2f).containsEntry(700L, 2f);
  }

  @Test
  void aTableWithoutRowsHasNone() {
    assertThat(all(shard, Long.MIN_VALUE)).isEmpty();
    push(1, Long.MIN_VALUE, Long.MAX_VALUE);
    assertThat(all(shard, Long.MIN_VALUE)).hasSize(2);
    assertThat(all(shard, Long.MAX_VALUE)).hasSize(1);
  }

  @Test
  void restoredRowsHaveStateAndStepsOfTheOldOnes() {
    for (int i = 0; i < 3; i++) {
      apply(shard, Entry.rows(null, command(Operation.GRADIENT, 0.5f + i, keys(0, 400))));
      apply(shard, Entry.rows(null, command(Operation.GRADIENT, -i, keys(100, 200))));
    }
    int bytes = RowScan.wholeBytes(TABLE);
    try (ReplayedShard other = new ReplayedShard(folder.resolve("b"), 1 << 20, rocks);
        RowSums sums = new RowSums(TABLE, Kernels.best())) {
      apply(other, Entry.register(TABLE));
      try (RowScan scan = shard.machine.rows().scan(TABLE, Long.MIN_VALUE)) {
        for (int count = scan.next(); count > 0; count = scan.next()) {
          long[] keys = new long[count];
          MemorySegment rows = MemorySegment.ofArray(new byte[count * bytes]);
          for (int i = 0; i < count; i++) {
            keys[i] = scan.key(i);
            scan.whole(i, rows, (long) i * bytes);
            scan.sum(i, sums);
          }
          seq++;
          Tag tag = new Tag(1, seq, seq);
          apply(
              other,
              Entry.rows(
                  null,
                  new RowsCommand(tag, Operation.RESTORE, TABLE.id(), Codec.F32, keys, rows)));
        }
      }
      assertThat(all(other, Long.MIN_VALUE)).hasSize(400).isEqualTo(all(shard, Long.MIN_VALUE));
      byte[] next = Entry.rows(null, command(Operation.GRADIENT, 0.25f, keys(50, 150)));
      apply(shard, next);
      apply(other, next);
      assertThat(all(other, Long.MIN_VALUE)).isEqualTo(all(shard, Long.MIN_VALUE));
      assertThat(sums.rows()).isEqualTo(400);
      assertThat(sums.steps()).containsOnly(Map.entry(1, 300L), Map.entry(2, 100L));
      assertThat(sums.noSteps() + sums.zero() + sums.nonfinite()).isZero();
      assertThat(sums.norms().values().stream().mapToLong(Long::longValue).sum()).isEqualTo(400);
    }
  }

  @Test
  void aRestoreOfOtherBytesIsNoPushOfTheTable() {
    MemorySegment short1 = MemorySegment.ofArray(new byte[RowScan.wholeBytes(TABLE) - 1]);
    RowsCommand wrong =
        new RowsCommand(
            new Tag(1, 1, 1), Operation.RESTORE, TABLE.id(), Codec.F32, keys(0, 1), short1);
    byte[] done = shard.machine.apply(TERM, 1, ByteBuffer.wrap(Entry.rows(null, wrong)));
    assertThat(Outcome.of(done[0])).isEqualTo(Outcome.INVALID);
    assertThat(all(shard, Long.MIN_VALUE)).isEmpty();
  }
}
