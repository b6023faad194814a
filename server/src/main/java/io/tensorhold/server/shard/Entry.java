package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The bytes of an entry of a shard's log: commands, one after another. In the log: do not change.
 *
 * <pre>
 * entry     u8 format 1, commands to the end
 * command   u32 bytes that follow, u8 type, body
 * 1 PUSH      u16 t, t × (u64 session, u64 seq, u64 acked below), u8 operation, u32 n,
 *             n × (u64 parameter, u32 block, u8 codec, u32 payload bytes, u32 r, r × u32 run),
 *             if bit 7 of the operation is set: f32 gradient scale, n × f32 trust ratio;
 *             if bit 6 is set: n × i64 step of the block that the part was computed at (−1: not
 *             said); payloads
 * 2 REGISTER  a parameter record (ParameterRecord)
 * 3 DROP      u64 first, u64 last: parameters that are gone, both included
 * 4 PUT       u64 parameter, u32 block, a whole block (BlockLayout)
 * 5 STEP      u64 model, u64 step, u32 part, u32 parts, u8 flags (1 together, 2 factors),
 *             u16 n, n × (u32 rank, u32 crc); if flagged: f32 gradient scale, u32 m, m × f32 trust
 *             ratio by parameter id from the model's first; then the body of a PUSH with n tags
 * 6 CLAIM     u64 model, u32 rank, u64 session, u8 together, u64 base
 * 7 COMPARE   nothing: every replica computes its checksum at this index
 * 8 ROWS      u64 session, u64 seq, u64 acked below, u8 operation, u64 table, u8 codec, u32 n,
 *             n × i64 key, rising; n × values of a row
 * 9 PUT_ROWS  u64 table, u32 n, n × i64 key, rising; n × row (RowLayout)
 * 10 STEPS    u64 model, how far its ranks had come at a checkpoint (ModelSteps)
 * 11 STEP_ROWS u64 model, u64 step, u32 part, u32 parts, u8 0, u16 1, u32 rank, u32 crc; then the
 *             body of a ROWS
 * 12 PUSHES   of a checkpoint, to the end: u64 session, u64 acked below, u32 n, n × u64 seq
 * </pre>
 *
 * All numbers but those inside a parameter record are little-endian.
 */
@SuppressWarnings("ByteBufferBackingArray") // the buffers come from allocate(), a method away
public final class Entry {
  static final int FORMAT = 1;
  static final int PUSH = 1;
  static final int REGISTER = 2;
  static final int DROP = 3;
  static final int PUT = 4;
  static final int STEP = 5;
  static final int CLAIM = 6;
  static final int COMPARE = 7;
  static final int ROWS = 8;
  static final int PUT_ROWS = 9;
  static final int STEPS = 10;
  static final int STEP_ROWS = 11;
  static final int PUSHES = 12;

  /** The format of an entry, and length and type of its first command. */
  private static final int ENTRY_HEAD_BYTES = 6;

  /** Set in a push's operation if factors follow its parts. */
  private static final int WITH_FACTORS = 0x80;

  /** Set in a push's operation if the steps follow that its parts were computed at. */
  private static final int WITH_STEPS = 0x40;

  private Entry() {}

  /** A command as it was read. */
  sealed interface Command {
    /** A push, and the part of a step that it is. */
    record Push(PushCommand push, @Nullable StepMark mark) implements Command {}

    /** A session becomes the holder of a rank. */
    record Claim(long model, int rank, long session, boolean together, long base)
        implements Command {}

    /** How far the ranks of a CHECKPOINTED model have come with the blocks logged before. */
    record Steps(long model, ModelSteps steps) implements Command {}

    /** Changes nothing; the replicas are compared at its index. */
    record Compare() implements Command {}

    /** A parameter that pushes may name from now on. */
    record Register(ParameterRecord parameter) implements Command {}

    /** Parameters that are gone. */
    record Drop(long first, long last) implements Command {}

    /** A whole block of a checkpoint. */
    record Put(long parameter, int block, MemorySegment bytes) implements Command {}

    /** A push of rows, and the part of a step that it is. */
    record Rows(RowsCommand push, @Nullable StepMark mark) implements Command {}

    /** Pushes that a leader had applied beside the log, and that a checkpoint holds. */
    record Pushes(List<AppliedPushes> applied) implements Command {}

    /** Whole rows of a checkpoint. */
    record PutRows(RowsPut put) implements Command {}
  }

  /** An entry of a push. */
  public static byte[] push(PushCommand push) {
    return whole(null, push);
  }

  /**
   * An entry of a push that is a part of a step. The step's factors, if the mark has them, become
   * the push's when it is read.
   */
  public static byte[] step(StepMark mark, PushCommand push) {
    return whole(mark, push);
  }

  private static byte[] whole(@Nullable StepMark mark, PushCommand push) {
    int head = headBytes(mark, push);
    byte[] entry = new byte[Math.toIntExact(head + push.payload().byteSize())];
    writeHead(ByteBuffer.wrap(entry).order(ByteOrder.LITTLE_ENDIAN), mark, push);
    MemorySegment.ofArray(entry).asSlice(head).copyFrom(push.payload());
    return entry;
  }

  /** Bytes of an entry of a push, in a step if there is a mark, up to its payload. */
  static int headBytes(@Nullable StepMark mark, PushCommand push) {
    return headBytes(push.tags().size(), push.parts(), push.factors() != null, push.saysSteps())
        + (mark == null ? 0 : mark.bytes());
  }

  private static int headBytes(int tags, List<Part> parts, boolean withFactors, boolean withSteps) {
    long bytes = ENTRY_HEAD_BYTES + 2 + 24L * tags + 1 + 4;
    for (Part part : parts) {
      bytes += 21 + 4L * part.runs().length;
    }
    bytes += (withFactors ? 4 + 4L * parts.size() : 0) + (withSteps ? 8L * parts.size() : 0);
    return Math.toIntExact(bytes);
  }

  /**
   * Bytes that suffice for the head of an entry of a push, whether it is in a step or not.
   *
   * @param factors that it may get from its step
   */
  public static int headRoom(int tags, List<Part> parts, @Nullable StepFactors factors) {
    return headBytes(tags, parts, true, true) + StepMark.bytes(tags, factors);
  }

  /** Writes an entry of a push to the beginning of its memory, up to the payload. */
  static void writeHead(ByteBuffer out, @Nullable StepMark mark, PushCommand push) {
    long bytes = headBytes(mark, push) + push.payload().byteSize();
    out.put((byte) FORMAT).putInt(Math.toIntExact(bytes - 5));
    out.put((byte) (mark == null ? PUSH : STEP));
    if (mark != null) {
      mark.write(out);
    }
    writePush(out, push);
  }

  /** An entry of a push of rows, and of the part of a step that it is; null: of none. */
  public static byte[] rows(@Nullable StepMark mark, RowsCommand push) {
    long bytes = 5 + (mark == null ? 0 : mark.bytes()) + push.bytes();
    ByteBuffer out = allocate(Math.toIntExact(bytes), mark == null ? ROWS : STEP_ROWS);
    if (mark != null) {
      mark.write(out);
    }
    push.write(out);
    return out.array();
  }

  /** An entry of whole rows. */
  public static byte[] putRows(RowsPut put) {
    ByteBuffer out = allocate(Math.toIntExact(5 + put.bytes()), PUT_ROWS);
    put.write(out);
    return out.array();
  }

  /** An entry of the pushes that a checkpoint holds. */
  static byte[] pushes(List<AppliedPushes> applied) {
    int bytes = applied.stream().mapToInt(AppliedPushes::bytes).sum();
    ByteBuffer out = allocate(5 + bytes, PUSHES);
    applied.forEach(ofSession -> ofSession.write(out));
    return out.array();
  }

  /** An entry of a claim; see {@link StepMark} for the model's id. */
  public static byte[] claim(long model, int rank, long session, boolean together, long base) {
    return allocate(5 + 29, CLAIM)
        .putLong(model)
        .putInt(rank)
        .putLong(session)
        .put((byte) (together ? 1 : 0))
        .putLong(base)
        .array();
  }

  /** An entry of the steps of a checkpoint; see {@link ModelSteps#toBytes}. */
  static byte[] steps(long model, byte[] steps) {
    return allocate(5 + 8 + steps.length, STEPS).putLong(model).put(steps).array();
  }

  /** The bytes of a compare command, which is alone in its entry. */
  public static byte[] compare() {
    return allocate(5, COMPARE).array();
  }

  /** Whether an entry is a compare command. */
  public static boolean compares(ByteBuffer entry) {
    return entry.remaining() == 6 && entry.get(entry.position() + 5) == COMPARE;
  }

  private static void writePush(ByteBuffer out, PushCommand push) {
    PushCommand.Factors factors = push.factors();
    int flag = (factors == null ? 0 : WITH_FACTORS) | (push.saysSteps() ? WITH_STEPS : 0);
    out.putShort((short) push.tags().size());
    for (Tag tag : push.tags()) {
      out.putLong(tag.session()).putLong(tag.seq()).putLong(tag.ackedBelow());
    }
    out.put((byte) (push.operation().id | flag)).putInt(push.parts().size());
    for (Part part : push.parts()) {
      out.putLong(part.parameter()).putInt(part.block()).put((byte) part.codec().id());
      out.putInt(part.payloadBytes()).putInt(part.runs().length);
      for (int run : part.runs()) {
        out.putInt(run);
      }
    }
    if (factors != null) {
      out.putFloat(factors.gradientScale());
      for (int i = 0; i < push.parts().size(); i++) {
        out.putFloat(factors.trust()[i]);
      }
    }
    if (push.saysSteps()) {
      push.parts().forEach(part -> out.putLong(part.computedAt()));
    }
  }

  /** An entry of a registration. */
  public static byte[] register(ParameterRecord parameter) {
    byte[] record = parameter.toBytes();
    return allocate(5 + record.length, REGISTER).put(record).array();
  }

  /** An entry of a drop. */
  public static byte[] drop(long first, long last) {
    return allocate(5 + 16, DROP).putLong(first).putLong(last).array();
  }

  /** An entry of a put. */
  public static byte[] put(long parameter, int block, MemorySegment bytes) {
    ByteBuffer out = allocate(Math.toIntExact(5 + 12 + bytes.byteSize()), PUT);
    out.putLong(parameter).putInt(block);
    MemorySegment.ofArray(out.array()).asSlice(out.position()).copyFrom(bytes);
    return out.array();
  }

  /**
   * One entry of several. Each command is made as an entry of its own, so that a large push, which
   * is alone in its entry, is copied once.
   */
  public static byte[] of(List<byte[]> entries) {
    if (entries.size() == 1) {
      return entries.getFirst();
    }
    int bytes = 1;
    for (byte[] entry : entries) {
      bytes = Math.addExact(bytes, entry.length - 1);
    }
    ByteBuffer out = ByteBuffer.allocate(bytes).put((byte) FORMAT);
    for (byte[] entry : entries) {
      out.put(entry, 1, entry.length - 1);
    }
    return out.array();
  }

  /**
   * Reads an entry; payloads are views of {@code entry}.
   *
   * @throws IllegalArgumentException if the bytes are no entry, or one of a newer format
   */
  static List<Command> read(ByteBuffer entry) {
    ByteBuffer in = entry.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    int format = in.get();
    if (format != FORMAT) {
      throw new IllegalArgumentException(
          "log entry format: value=%d known=%d".formatted(format, FORMAT));
    }
    List<Command> commands = new ArrayList<>();
    while (in.hasRemaining()) {
      int bytes = in.getInt();
      ByteBuffer body = in.slice(in.position(), bytes).order(ByteOrder.LITTLE_ENDIAN);
      in.position(in.position() + bytes);
      int type = body.get();
      commands.add(
          switch (type) {
            case PUSH -> new Command.Push(readPush(body), null);
            case STEP -> {
              StepMark mark = StepMark.read(body);
              PushCommand push = readPush(body);
              StepFactors ofStep = mark.factors();
              yield new Command.Push(
                  ofStep == null ? push : push.with(ofStep.of(mark.model(), push.parts())), mark);
            }
            case CLAIM ->
                new Command.Claim(
                    body.getLong(), body.getInt(), body.getLong(), body.get() != 0, body.getLong());
            case COMPARE -> new Command.Compare();
            case STEPS -> {
              long model = body.getLong();
              byte[] steps = new byte[body.remaining()];
              body.get(steps);
              yield new Command.Steps(model, ModelSteps.of(steps));
            }
            case REGISTER -> {
              byte[] record = new byte[body.remaining()];
              body.get(record);
              yield new Command.Register(ParameterRecord.of(record));
            }
            case DROP -> new Command.Drop(body.getLong(), body.getLong());
            case PUT ->
                new Command.Put(body.getLong(), body.getInt(), MemorySegment.ofBuffer(body));
            case ROWS -> new Command.Rows(RowsCommand.read(body), null);
            case STEP_ROWS -> {
              StepMark mark = StepMark.read(body);
              yield new Command.Rows(RowsCommand.read(body), mark);
            }
            case PUSHES -> {
              List<AppliedPushes> applied = new ArrayList<>();
              while (body.hasRemaining()) {
                applied.add(AppliedPushes.read(body));
              }
              yield new Command.Pushes(applied);
            }
            case PUT_ROWS -> new Command.PutRows(RowsPut.read(body));
            default ->
                throw new IllegalArgumentException(
                    "command type in the log: value=%d known=1..12".formatted(type));
          });
    }
    return commands;
  }

  private static PushCommand readPush(ByteBuffer in) {
    int tagCount = Short.toUnsignedInt(in.getShort());
    List<Tag> tags = new ArrayList<>(tagCount);
    for (int i = 0; i < tagCount; i++) {
      tags.add(new Tag(in.getLong(), in.getLong(), in.getLong()));
    }
    int flags = in.get();
    Operation operation = Operation.ofId(flags & ~(WITH_FACTORS | WITH_STEPS) & 0xff);
    int count = in.getInt();
    List<Part> parts = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      long parameter = in.getLong();
      int block = in.getInt();
      Codec codec = Codec.ofId(in.get());
      int payloadBytes = in.getInt();
      int[] runs = new int[in.getInt()];
      for (int j = 0; j < runs.length; j++) {
        runs[j] = in.getInt();
      }
      parts.add(new Part(parameter, block, codec, payloadBytes, runs));
    }
    PushCommand.Factors factors = null;
    if ((flags & WITH_FACTORS) != 0) {
      float gradientScale = in.getFloat();
      float[] trust = new float[count];
      for (int i = 0; i < count; i++) {
        trust[i] = in.getFloat();
      }
      factors = new PushCommand.Factors(gradientScale, trust);
    }
    if ((flags & WITH_STEPS) != 0) {
      parts.replaceAll(part -> part.at(in.getLong()));
    }
    return new PushCommand(tags, operation, parts, MemorySegment.ofBuffer(in), factors, null, null);
  }

  /** An entry of one command, whose length and type it has and whose body is to be put. */
  private static ByteBuffer allocate(int bytes, int type) {
    return ByteBuffer.allocate(1 + bytes)
        .order(ByteOrder.LITTLE_ENDIAN)
        .put((byte) FORMAT)
        .putInt(bytes - 4)
        .put((byte) type);
  }
}
