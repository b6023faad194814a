package io.tensorhold.server.shard;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.Rounding;
import io.tensorhold.numerics.Schedule;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import io.tensorhold.server.store.BlockLayout;
import io.tensorhold.server.store.ShardStore;
import io.tensorhold.server.store.SharedRocks;
import io.tensorhold.server.store.StoreException;
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
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.RepetitionInfo;
import org.junit.jupiter.api.io.TempDir;

/**
 * One random log, applied by a machine with plenty of memory, by one whose memory holds two blocks,
 * and by one that is killed and reopened all the time. All must end in the same state, and the f32
 * values must be those of a few lines of plain Java that share no code with the machine.
 */
class ReplayTest {
  private static final int BLOCK = 256;
  private static final ValueLayout.OfFloat F32 =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  @TempDir private Path folder;
  private final SharedRocks rocks = new SharedRocks(4 << 20);
  private long allocatedBefore;
  private Random random = new Random(0);
  private long seq;
  private final Map<Long, ParameterRecord> parameters = new TreeMap<>();
  private final Map<String, float[]> model = new HashMap<>();
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

  @RepeatedTest(12)
  void sameLogSameBytesWhateverHappensToTheReplica(RepetitionInfo repetition) {
    long seed = repetition.getCurrentRepetition();
    random = new Random(seed);
    List<byte[]> log = log(300);
    try (ReplayedShard plenty = replica("plenty", 64 << 20);
        ReplayedShard tiny = replica("tiny", 2500);
        ReplayedShard killed = replica("killed", 64 << 20)) {
      for (int index = 0; index < log.size(); index++) {
        plenty.apply(log, index);
        if (tiny.machine.pressure() == Pressure.NOW) {
          tiny.flush();
        }
        tiny.apply(log, index);
        mishap(killed, log, index);
      }
      replay(killed, log, log.size() - 1);
      long expected = plenty.machine.checksum();
      assertThat(tiny.machine.checksum()).as("tiny, seed %d", seed).isEqualTo(expected);
      assertThat(killed.machine.checksum()).as("killed, seed %d", seed).isEqualTo(expected);
      killed.flush();
      assertThat(checksumOnDisk(killed.store)).as("on disk, seed %d", seed).isEqualTo(expected);
      killed.reopen();
      assertThat(killed.machine.appliedIndex()).isEqualTo(log.size() - 1);
      assertThat(killed.machine.checksum()).as("reopened, seed %d", seed).isEqualTo(expected);
      compareWithModel(plenty.machine, seed);
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

  /** Flushes, flushes that fail, flushes with entries in between, and kills. */
  private void mishap(ReplayedShard replica, List<byte[]> log, int index) {
    switch (random.nextInt(12)) {
      case 0 -> replica.flush();
      case 1 -> replica.reopen();
      case 2 -> {
        replay(replica, log, index - 1);
        Flush flush = replica.machine.beginFlush();
        replica.apply(log, index);
        if (flush != null) {
          boolean works = random.nextBoolean();
          try {
            if (works) {
              flush.run();
            } else {
              throw new StoreException("the disk fails");
            }
          } catch (StoreException e) {
            works = false;
          }
          replica.machine.endFlush(flush, works);
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

  private List<byte[]> log(int entries) {
    List<byte[]> log = new ArrayList<>();
    for (int i = 0; i < entries; i++) {
      List<byte[]> commands = new ArrayList<>();
      int count = 1 + random.nextInt(3);
      for (int c = 0; c < count; c++) {
        int kind = random.nextInt(20);
        if (parameters.size() < 3 || kind == 0) {
          commands.add(Entry.register(parameter()));
        } else if (kind == 1 && parameters.size() > 4) {
          commands.add(drop());
        } else if (kind < 5 && !sent.isEmpty()) {
          commands.add(sent.get(random.nextInt(sent.size())));
        } else {
          commands.add(push());
        }
      }
      log.add(Entry.of(commands));
    }
    return log;
  }

  private ParameterRecord parameter() {
    Codec[] codecs = {
      Codec.F32,
      Codec.F16,
      Codec.BF16,
      Codec.Q8_0,
      Codec.FP8_E4M3,
      Codec.Q4_0,
      Codec.NF4,
      Codec.Q8_LINEAR
    };
    String[] kinds = {"", "", "", "sgd", "adam", "adamw", "adagrad", "rmsprop", "ftrl", "lion"};
    boolean first = parameters.isEmpty(); // compared with the model, and never dropped
    String kind = first ? "" : kinds[random.nextInt(kinds.length)];
    UpdateRule rule = kind.isEmpty() ? null : rule(kind);
    ParameterRecord record =
        new ParameterRecord(
            parameters.size() + 1 + 100L * seq++,
            DType.F32,
            first ? Codec.F32 : codecs[random.nextInt(codecs.length)],
            1 + random.nextInt(3 * BLOCK),
            BLOCK,
            rule);
    parameters.put(record.id(), record);
    return record;
  }

  private UpdateRule rule(String kind) {
    Map<String, Double> hyper =
        switch (kind) {
          case "sgd" -> Map.of("lr", 0.1, "momentum", 0.9);
          case "adagrad" -> Map.of("initial_accumulator", 0.3, "l1", 0.01);
          default -> Map.of();
        };
    Optimizer optimizer = Optimizer.of(kind, hyper);
    boolean eight = optimizer.needsF32State().isEmpty() && random.nextBoolean();
    return new UpdateRule(
        optimizer,
        optimizer.hasRate()
            ? Schedule.of("cosine", Map.of("period", 20.0, "warmup", 3.0))
            : Schedule.CONSTANT,
        random.nextBoolean() ? 1.5 : 0,
        0,
        eight ? StateCodec.FLOAT8 : StateCodec.F32,
        Rounding.NEAREST);
  }

  private byte[] drop() {
    Long[] ids = parameters.keySet().toArray(Long[]::new);
    long id = ids[1 + random.nextInt(ids.length - 1)];
    parameters.remove(id);
    model.keySet().removeIf(key -> key.startsWith(id + "/"));
    return Entry.drop(id, id);
  }

  private byte[] push() {
    ParameterRecord[] all = parameters.values().toArray(ParameterRecord[]::new);
    ParameterRecord p = all[random.nextInt(all.length)];
    Operation[] operations = Operation.values();
    Operation operation = operations[random.nextInt(p.trained() ? 3 : 2)];
    int block = random.nextInt(p.blocks());
    int elements = p.elementsIn(block);
    int[] runs = random.nextBoolean() ? new int[0] : runs(elements);
    Part shape = new Part(p.id(), block, Codec.F32, 0, runs);
    int count = (int) shape.elements(elements);
    MemorySegment payload = MemorySegment.ofArray(new byte[4 * count]);
    for (int i = 0; i < count; i++) {
      payload.set(F32, 4L * i, (float) random.nextGaussian());
    }
    Part part = new Part(p.id(), block, Codec.F32, 4 * count, runs);
    track(p, operation, part, payload);
    seq++;
    byte[] command =
        Entry.push(
            new PushCommand(
                List.of(new Tag(1 + random.nextInt(3), seq, 1)),
                operation,
                List.of(part),
                payload));
    sent.add(command);
    return command;
  }

  private int[] runs(int elements) {
    int first = random.nextInt(elements);
    int length = 1 + random.nextInt(elements - first);
    return new int[] {first, length};
  }

  /** The independent model: f32 assign and add only; anything else is left to the checksums. */
  private void track(ParameterRecord p, Operation operation, Part part, MemorySegment payload) {
    String key = p.id() + "/" + part.block();
    if (p.codec() != Codec.F32 || operation == Operation.GRADIENT) {
      model.put(key, new float[0]);
      return;
    }
    float[] values = model.computeIfAbsent(key, k -> new float[p.elementsIn(part.block())]);
    if (values.length == 0) {
      return;
    }
    int first = part.runs().length == 0 ? 0 : part.runs()[0];
    for (int i = 0; i < payload.byteSize() / 4; i++) {
      float value = payload.get(F32, 4L * i);
      values[first + i] = operation == Operation.ASSIGN ? value : values[first + i] + value;
    }
  }

  private void compareWithModel(ShardMachine machine, long seed) {
    int compared = 0;
    for (Map.Entry<String, float[]> entry : model.entrySet()) {
      int slash = entry.getKey().indexOf('/');
      ParameterRecord p = parameters.get(Long.parseLong(entry.getKey().substring(0, slash)));
      if (p != null && entry.getValue().length > 0) {
        Unit unit = machine.read(p, Integer.parseInt(entry.getKey().substring(slash + 1)));
        float[] values = BlockLayout.weights(unit.memory()).toArray(F32);
        unit.release();
        assertThat(values).as("%s, seed %d", entry.getKey(), seed).isEqualTo(entry.getValue());
        compared++;
      }
    }
    assertThat(compared).isPositive();
  }
}
