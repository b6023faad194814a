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
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import io.tensorhold.server.store.StoreScan;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.RepetitionInfo;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Random pushes of rows, applied by a machine with plenty of memory, by one whose memory holds few
 * rows, and by one that is killed and reopened all the time, also with flushes that took rows which
 * were updated after the flush had begun. All must end in the same state, in memory and on disk,
 * and one table's values must be those of a few lines of plain Java.
 */
class RowsReplayTest {
  private static final int DIM = 6;
  private static final int KEYS = 400;
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  @TempDir private Path folder;
  private final SharedRocks rocks = new SharedRocks(4 << 20);
  private long allocatedBefore;
  private Random random = new Random(0);
  private long seq;
  private long worker = 100;
  private long step;
  private final Map<Long, ParameterRecord> tables = new TreeMap<>();
  private final Map<Long, float[]> model = new HashMap<>();
  private final List<byte[]> sent = new ArrayList<>();

  @BeforeEach
  void start() {
    allocatedBefore = OffHeap.allocated();
  }

  @AfterEach
  void everyByteIsGivenBack() {
    rocks.close();
    assertThat(OffHeap.allocated()).isEqualTo(allocatedBefore);
  }

  private ReplayedShard replica(String name, long budget) {
    return new ReplayedShard(folder.resolve(name), budget, rocks);
  }

  @RepeatedTest(6)
  void sameLogSameRowsWhateverHappensToTheReplica(RepetitionInfo repetition) {
    long seed = repetition.getCurrentRepetition();
    random = new Random(seed);
    List<byte[]> log = log(120);
    try (ReplayedShard plenty = replica("plenty", 64 << 20);
        ReplayedShard tiny = replica("tiny", 16 << 10);
        ReplayedShard killed = replica("killed", 64 << 20)) {
      for (int index = 0; index < log.size(); index++) {
        plenty.apply(log, index);
        if (tiny.machine.pressure() != Pressure.NONE) {
          tiny.flush();
        }
        tiny.apply(log, index);
        readSome(tiny);
        mishap(killed, log, index);
      }
      replay(killed, log, log.size() - 1);
      long expected = plenty.machine.checksum();
      assertThat(tiny.machine.checksum()).as("tiny, seed %d", seed).isEqualTo(expected);
      assertThat(killed.machine.checksum()).as("killed, seed %d", seed).isEqualTo(expected);
      killed.flush();
      assertThat(checksumOnDisk(killed.store)).as("on disk, seed %d", seed).isEqualTo(expected);
      killed.reopen();
      assertThat(killed.machine.checksum()).as("reopened, seed %d", seed).isEqualTo(expected);
      compareWithModel(plenty.machine, seed);
      compareWithModel(tiny.machine, seed);
      assertThat(tiny.machine.rows().bytes(id -> true)).isLessThan(64 << 10);
    }
  }

  private static long checksumOnDisk(ShardStore store) {
    StateChecksum checksum = new StateChecksum();
    try (StoreScan scan = store.scan()) {
      while (scan.step(checksum) >= 0) {
        // The checksum takes it.
      }
    }
    return checksum.value();
  }

  private void mishap(ReplayedShard replica, List<byte[]> log, int index) {
    switch (random.nextInt(10)) {
      case 0 -> replica.flush();
      case 1 -> replica.reopen();
      case 2, 3 -> {
        replay(replica, log, index - 1);
        Flush flush = replica.machine.beginFlush();
        replica.apply(log, index); // the flush takes its rows as they are after this
        if (flush != null) {
          boolean works = random.nextBoolean();
          if (works) {
            flush.run();
          }
          replica.machine.endFlush(flush, works);
          if (random.nextBoolean()) {
            replica.reopen();
          }
        }
      }
      default -> replay(replica, log, index);
    }
  }

  private static void replay(ReplayedShard replica, List<byte[]> log, long until) {
    for (long i = replica.machine.appliedIndex() + 1; i <= until; i++) {
      replica.apply(log, i);
    }
  }

  /** Reads bring rows to memory, and push others out. */
  private void readSome(ReplayedShard replica) {
    ParameterRecord table = replica.machine.parameter(1);
    if (table != null) {
      long[] keys = keys(30);
      MemorySegment out = MemorySegment.ofArray(new byte[keys.length * DIM * 4]);
      replica.machine.rows().read(table, keys, 0, keys.length, Codec.F32, out, 0, null);
    }
  }

  private List<byte[]> log(int entries) {
    List<byte[]> log = new ArrayList<>();
    for (int i = 0; i < entries; i++) {
      List<byte[]> commands = new ArrayList<>();
      int count = 1 + random.nextInt(3);
      for (int c = 0; c < count; c++) {
        int kind = random.nextInt(20);
        if (tables.size() < 4 || kind == 0) {
          commands.add(Entry.register(table()));
        } else if (kind == 1 && tables.size() > 4) {
          Long[] ids = tables.keySet().toArray(Long[]::new);
          long id = ids[1 + random.nextInt(ids.length - 1)];
          tables.remove(id);
          commands.add(Entry.drop(id, id));
        } else if (kind == 2) {
          commands.addAll(step());
        } else if (kind < 6 && !sent.isEmpty()) {
          commands.add(sent.get(random.nextInt(sent.size())));
        } else {
          commands.add(push());
        }
      }
      log.add(Entry.of(commands));
    }
    return log;
  }

  private ParameterRecord table() {
    Codec[] codecs = {Codec.F32, Codec.BF16, Codec.Q8_0, Codec.Q8_LINEAR, Codec.F16};
    String[] kinds = {"", "sgd", "adam", "adagrad", "adagrad_row", "ftrl"};
    boolean first = tables.isEmpty(); // compared with the model, and never dropped
    String kind = first ? "" : kinds[random.nextInt(kinds.length)];
    Codec codec = first ? Codec.F32 : codecs[random.nextInt(codecs.length)];
    UpdateRule rule = null;
    if (!kind.isEmpty()) {
      Optimizer optimizer =
          Optimizer.of(
              kind,
              kind.equals("adagrad") ? Map.of("initial_accumulator", 0.3, "l1", 0.01) : Map.of());
      boolean eight = optimizer.needsF32State().isEmpty() && random.nextBoolean();
      rule =
          new UpdateRule(
              optimizer,
              optimizer.hasRate()
                  ? Schedule.of("cosine", Map.of("period", 20.0, "warmup", 3.0))
                  : Schedule.CONSTANT,
              random.nextBoolean() ? 1.5 : 0,
              0,
              eight ? StateCodec.FLOAT8 : StateCodec.F32,
              codec.stochastic() ? Rounding.STOCHASTIC : Rounding.NEAREST);
    }
    long id = first ? 1 : 2 + tables.size() + 100L * seq++;
    TableForm form = new TableForm(DIM, Initializer.of("normal", Map.of(), DIM), id);
    ParameterRecord table = new ParameterRecord(id, DType.F32, codec, 0, 262_144, rule, form);
    tables.put(id, table);
    return table;
  }

  private long[] keys(int most) {
    return random
        .longs(1 + random.nextInt(most), 0, KEYS)
        .map(key -> (key - KEYS / 2) * 0x0123_4567_89ab_cdefL)
        .distinct()
        .sorted()
        .toArray();
  }

  private byte[] push() {
    ParameterRecord[] all = tables.values().toArray(ParameterRecord[]::new);
    ParameterRecord table = all[random.nextInt(3) == 0 ? 0 : random.nextInt(all.length)];
    Operation[] operations = Operation.values();
    Operation operation = operations[random.nextInt(table.trained() ? 3 : 2)];
    return push(null, 1 + random.nextInt(3), operation, table, true);
  }

  /**
   * A worker's step in two parts. Sometimes the worker dies between them, and its successor makes
   * the step again, of other rows; what the dead one still had under way comes later.
   */
  private List<byte[]> step() {
    List<byte[]> commands = new ArrayList<>();
    step++;
    commands.add(part(worker, 0, true));
    if (random.nextBoolean()) {
      commands.add(Entry.claim(1, 0, worker + 1, false, 0));
      commands.add(part(worker, 1, false));
      worker++;
      commands.add(part(worker, 0, false));
    }
    commands.add(part(worker, 1, true));
    return commands;
  }

  private byte[] part(long session, int part, boolean counts) {
    StepMark mark =
        new StepMark(1, step, part, 2, false, List.of(new StepMark.Piece(0, random.nextInt())));
    return push(mark, session, Operation.ADD, tables.get(1L), counts);
  }

  /** A push of random rows, which the model makes too if it is to count. */
  private byte[] push(
      @Nullable StepMark mark,
      long session,
      Operation operation,
      ParameterRecord table,
      boolean counts) {
    long[] keys = keys(60);
    MemorySegment values = MemorySegment.ofArray(new byte[4 * DIM * keys.length]);
    for (int i = 0; i < DIM * keys.length; i++) {
      values.set(F32, 4L * i, (float) random.nextGaussian());
    }
    seq++;
    Tag tag = new Tag(session, seq, 1);
    byte[] command =
        Entry.rows(mark, new RowsCommand(tag, operation, table.id(), Codec.F32, keys, values));
    sent.add(command);
    if (counts && table.id() == 1) {
      for (int i = 0; i < keys.length; i++) {
        float[] row = model.computeIfAbsent(keys[i], RowsReplayTest::initial);
        for (int e = 0; e < DIM; e++) {
          float x = values.get(F32, 4L * (i * DIM + e));
          row[e] = operation == Operation.ASSIGN ? x : row[e] + x;
        }
      }
    }
    return command;
  }

  private static float[] initial(long key) {
    MemorySegment row = MemorySegment.ofArray(new byte[4 * DIM]);
    Initializer.of("normal", Map.of(), DIM)
        .fill(Kernels.scalar(), Initializer.rowSeed(1, key), row, 0, DIM);
    return row.toArray(F32);
  }

  private void compareWithModel(ShardMachine machine, long seed) {
    ParameterRecord table = tables.get(1L);
    assertThat(model).isNotEmpty();
    model.forEach(
        (key, row) -> {
          MemorySegment out = MemorySegment.ofArray(new byte[4 * DIM]);
          machine.rows().read(table, new long[] {key}, 0, 1, Codec.F32, out, 0, null);
          assertThat(out.toArray(F32)).as("row %d, seed %d", key, seed).isEqualTo(row);
        });
  }

  @Test
  void theIndexFindsWhatAHashMapFinds() {
    RowCache cache = new RowCache(40, 1 << 20);
    Map<Long, Integer> slots = new HashMap<>();
    try {
      for (int i = 0; i < 200_000; i++) {
        long key = (random.nextInt(5000) - 2500) * (random.nextBoolean() ? 1L : 1L << 40);
        assertThat(cache.find(key)).isEqualTo(slots.getOrDefault(key, RowCache.ABSENT));
        if (slots.containsKey(key)) {
          cache.remove(slots.remove(key));
        } else {
          if (cache.full()) {
            cache.addPage();
          }
          slots.put(key, cache.insert(key));
        }
      }
      assertThat(cache.rows()).isEqualTo(slots.size());
      assertThat(slots.values()).doesNotHaveDuplicates();
    } finally {
      cache.close();
    }
  }

  @Test
  void rowsThatAreUsedAgainStay() {
    RowCache cache = new RowCache(40, 1 << 20);
    try {
      cache.addPage();
      int hot = 0;
      for (long key = 0; !cache.full(); key++) {
        int slot = cache.insert(key);
        if (key % 4 == 0) {
          cache.use(slot);
          cache.use(slot);
          hot++;
        }
      }
      int cold = cache.rows() - hot;
      for (int i = 0; i < cold; i++) {
        assertThat(cache.evict()).isTrue();
      }
      for (long key = 0; key < 4L * hot; key += 4) {
        assertThat(cache.find(key)).isNotEqualTo(RowCache.ABSENT);
      }
      cache.markDirty(cache.find(0));
      while (cache.evict()) {
        // Until nothing clean is left.
      }
      assertThat(cache.rows()).isEqualTo(1);
      assertThat(cache.find(0)).isNotEqualTo(RowCache.ABSENT);
    } finally {
      cache.close();
    }
  }
}
