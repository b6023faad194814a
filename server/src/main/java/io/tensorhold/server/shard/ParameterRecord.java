package io.tensorhold.server.shard;

import io.tensorhold.numerics.Blocks;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.server.store.BlockLayout;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.TreeMap;

/**
 * What a shard must know of a parameter to apply a push to it.
 *
 * <p>It reaches the shard through its own log, before the first push, so that a replay needs
 * nothing from outside.
 *
 * @param id unique in the cluster, never reused
 * @param elements of the whole tensor
 * @param optimizer kind, or empty if the parameter takes no gradients
 * @param hyper all hyper-parameters of the optimizer
 */
public record ParameterRecord(
    long id,
    DType dtype,
    Codec codec,
    long elements,
    int blockElements,
    String optimizer,
    Map<String, Double> hyper) {

  private static final int FORMAT = 1;

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
    return optimizer.isEmpty() ? 0 : 4L * rule().slots() * elementsIn(block);
  }

  /** Bytes of a whole block as it is stored. */
  public long blockBytes(int block) {
    return BlockLayout.bytes(weightBytes(block), stateBytes(block));
  }

  /** The optimizer; there must be one. */
  public Optimizer rule() {
    return Optimizer.of(optimizer, hyper);
  }

  /**
   * The bytes of this record. On disk and in the log: do not change.
   *
   * <pre>u8 format 1, u64 id, u8 dtype, u8 codec, u64 elements, u32 block elements, utf kind,
   * u16 n, n × (utf name, f64 value) in the order of the names</pre>
   *
   * Numbers are big-endian; utf is Java's modified UTF-8 after its u16 length.
   */
  public byte[] toBytes() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(bytes)) {
      out.writeByte(FORMAT);
      out.writeLong(id);
      out.writeByte(dtype.id());
      out.writeByte(codec.id());
      out.writeLong(elements);
      out.writeInt(blockElements);
      out.writeUTF(optimizer);
      out.writeShort(hyper.size());
      for (Map.Entry<String, Double> entry : new TreeMap<>(hyper).entrySet()) {
        out.writeUTF(entry.getKey());
        out.writeDouble(entry.getValue());
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }

  /**
   * Reads what {@link #toBytes} wrote.
   *
   * @throws IllegalArgumentException if the bytes are no parameter record
   */
  public static ParameterRecord of(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      int format = in.readByte();
      if (format != FORMAT) {
        throw new IllegalArgumentException(
            "parameter record format: value=%d known=%d".formatted(format, FORMAT));
      }
      long id = in.readLong();
      DType dtype = DType.ofId(in.readByte());
      Codec codec = Codec.ofId(in.readByte());
      long elements = in.readLong();
      int blockElements = in.readInt();
      String optimizer = in.readUTF();
      Map<String, Double> hyper = new TreeMap<>();
      int count = in.readUnsignedShort();
      for (int i = 0; i < count; i++) {
        hyper.put(in.readUTF(), in.readDouble());
      }
      return new ParameterRecord(id, dtype, codec, elements, blockElements, optimizer, hyper);
    } catch (IOException e) {
      throw new IllegalArgumentException("a parameter record is cut short", e);
    }
  }
}
