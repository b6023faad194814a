package io.tensorhold.server.shard;

import io.tensorhold.numerics.Blocks;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Initializer;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.Rounding;
import io.tensorhold.numerics.Schedule;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.numerics.UpdateRule;
import io.tensorhold.server.store.BlockLayout;
import io.tensorhold.server.store.RowLayout;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * What a shard must know of a parameter to apply a push to it.
 *
 * <p>It reaches the shard through its own log, before the first push, so that a replay needs
 * nothing from outside.
 *
 * @param id unique in the cluster, never reused
 * @param elements of the whole tensor
 * @param updates what a gradient does; null if the parameter takes none
 * @param table null: a dense tensor. A table has no elements but those of its rows
 */
public record ParameterRecord(
    long id,
    DType dtype,
    Codec codec,
    long elements,
    int blockElements,
    @Nullable UpdateRule updates,
    @Nullable TableForm table) {

  private static final int FORMAT = 2;

  /** Of a table: what makes it one, then the rest of format 2. */
  private static final int TABLE = 3;

  /** Only the kind and the hyper-parameters of the optimizer. */
  private static final int OPTIMIZER_ALONE = 1;

  /** A dense tensor. */
  public ParameterRecord(
      long id,
      DType dtype,
      Codec codec,
      long elements,
      int blockElements,
      @Nullable UpdateRule updates) {
    this(id, dtype, codec, elements, blockElements, updates, null);
  }

  /** What makes it a table; it must be one. */
  public TableForm form() {
    return Objects.requireNonNull(table);
  }

  /** Bytes of the weights of a table's row. */
  public int rowWeightBytes() {
    return (int) codec.bytes(dtype, form().dim());
  }

  /** Bytes of a table's row as it is stored: header, weights and optimizer state. */
  public int rowBytes() {
    long state = updates == null ? 0 : updates.stateBytes(form().dim());
    return (int) RowLayout.bytes(rowWeightBytes(), state);
  }

  /** The number of blocks of the whole tensor. */
  public int blocks() {
    return Blocks.count(elements, blockElements);
  }

  /** Elements of one block. */
  public int elementsIn(int block) {
    return Blocks.elementsIn(elements, blockElements, block);
  }

  /** Bytes of the weights of a block. */
  public long weightBytes(int block) {
    return codec.bytes(dtype, elementsIn(block));
  }

  /** Bytes of the optimizer state of a block. */
  public long stateBytes(int block) {
    return updates == null ? 0 : updates.stateBytes(elementsIn(block));
  }

  /** Bytes of a whole block as it is stored. */
  public long blockBytes(int block) {
    return BlockLayout.bytes(weightBytes(block), stateBytes(block));
  }

  /** Whether gradients are taken. */
  public boolean trained() {
    return updates != null;
  }

  /** What a gradient does; there must be a rule. */
  public UpdateRule rule() {
    return Objects.requireNonNull(updates);
  }

  /**
   * The bytes of this record. On disk and in the log: do not change.
   *
   * <pre>
   * u8 format 2, u64 id, u8 dtype, u8 codec, u64 elements, u32 block elements,
   * utf optimizer (empty: none, and the end), numbers,
   * utf schedule, numbers, f64 clip value, f64 clip norm, u8 state codec, u8 rounding
   *
   * numbers   u16 n, n × (utf name, f64 value) in the order of the names
   * format 1  ends after the optimizer's numbers, which are there (0 of them) even if it is empty
   * format 3  of a table: u8 3, u32 dim, utf initializer, numbers, u64 seed, then as format 2 from
   *           the id on
   * </pre>
   *
   * Numbers are big-endian; utf is Java's modified UTF-8 after its u16 length.
   */
  public byte[] toBytes() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(bytes)) {
      out.writeByte(table == null ? FORMAT : TABLE);
      if (table != null) {
        out.writeInt(table.dim());
        out.writeUTF(table.initializer().kind());
        write(out, table.initializer().hyper());
        out.writeLong(table.seed());
      }
      out.writeLong(id);
      out.writeByte(dtype.id());
      out.writeByte(codec.id());
      out.writeLong(elements);
      out.writeInt(blockElements);
      if (updates == null) {
        out.writeUTF("");
      } else {
        write(out, updates);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }

  private static void write(DataOutputStream out, UpdateRule rule) throws IOException {
    out.writeUTF(rule.optimizer().kind());
    write(out, rule.optimizer().hyper());
    out.writeUTF(rule.schedule().kind());
    write(out, rule.schedule().hyper());
    out.writeDouble(rule.clipValue());
    out.writeDouble(rule.clipNorm());
    out.writeByte(rule.stateCodec().id());
    out.writeByte(rule.rounding().id());
  }

  private static void write(DataOutputStream out, Map<String, Double> numbers) throws IOException {
    out.writeShort(numbers.size());
    for (Map.Entry<String, Double> entry : new TreeMap<>(numbers).entrySet()) {
      out.writeUTF(entry.getKey());
      out.writeDouble(entry.getValue());
    }
  }

  /**
   * Reads what {@link #toBytes} wrote, and the format before it.
   *
   * @throws IllegalArgumentException if the bytes are no parameter record
   */
  public static ParameterRecord of(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      int format = in.readByte();
      if (format < OPTIMIZER_ALONE || format > TABLE) {
        throw new IllegalArgumentException(
            "parameter record format: value=%d known=1..%d".formatted(format, TABLE));
      }
      TableForm table = format == TABLE ? readForm(in) : null;
      long id = in.readLong();
      DType dtype = DType.ofId(in.readByte());
      Codec codec = Codec.ofId(in.readByte());
      long elements = in.readLong();
      int blockElements = in.readInt();
      String kind = in.readUTF();
      UpdateRule rule = kind.isEmpty() ? null : readRule(in, kind, format);
      return new ParameterRecord(id, dtype, codec, elements, blockElements, rule, table);
    } catch (IOException e) {
      throw new IllegalArgumentException("a parameter record is cut short", e);
    }
  }

  private static TableForm readForm(DataInputStream in) throws IOException {
    int dim = in.readInt();
    return new TableForm(dim, Initializer.of(in.readUTF(), readNumbers(in), dim), in.readLong());
  }

  private static UpdateRule readRule(DataInputStream in, String kind, int format)
      throws IOException {
    Optimizer optimizer = Optimizer.of(kind, readNumbers(in));
    if (format == OPTIMIZER_ALONE) {
      return UpdateRule.of(optimizer);
    }
    return new UpdateRule(
        optimizer,
        Schedule.of(in.readUTF(), readNumbers(in)),
        in.readDouble(),
        in.readDouble(),
        StateCodec.ofId(in.readByte()),
        Rounding.ofId(in.readByte()));
  }

  private static Map<String, Double> readNumbers(DataInputStream in) throws IOException {
    Map<String, Double> numbers = new TreeMap<>();
    int count = in.readUnsignedShort();
    for (int i = 0; i < count; i++) {
      numbers.put(in.readUTF(), in.readDouble());
    }
    return numbers;
  }
}
