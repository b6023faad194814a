package io.tensorhold.server.shard;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Which part of which step of which ranks a push is.
 *
 * @param model the id of the model's first parameter: what a DROP of the model names
 * @param step the workers' clock, from 1
 * @param part which of the step's parts on this shard, from 0
 * @param parts how many parts the step has on this shard
 * @param together the push closes the part for all ranks of the model, come or not (bulk
 *     synchronous)
 * @param pieces one for each tag of the push, in the same order
 * @param factors of the whole step, where the model's rules take sums over all blocks
 */
public record StepMark(
    long model,
    long step,
    int part,
    int parts,
    boolean together,
    List<Piece> pieces,
    @Nullable StepFactors factors) {
  private static final int TOGETHER = 1;
  private static final int WITH_FACTORS = 2;

  /** Of a step without factors, or whose factors are not known yet. */
  public StepMark(
      long model, long step, int part, int parts, boolean together, List<Piece> pieces) {
    this(model, step, part, parts, together, pieces, null);
  }

  /**
   * What one rank gave.
   *
   * @param crc CRC-32C that tells its payload from another
   */
  public record Piece(int rank, int crc) {}

  /** Bytes in the log. */
  int bytes() {
    return bytes(pieces.size(), factors);
  }

  static int bytes(int pieces, @Nullable StepFactors factors) {
    return 8 + 8 + 4 + 4 + 1 + 2 + 8 * pieces + (factors == null ? 0 : factors.bytes());
  }

  void write(ByteBuffer out) {
    int flags = (together ? TOGETHER : 0) | (factors == null ? 0 : WITH_FACTORS);
    out.putLong(model).putLong(step).putInt(part).putInt(parts).put((byte) flags);
    out.putShort((short) pieces.size());
    for (Piece piece : pieces) {
      out.putInt(piece.rank).putInt(piece.crc);
    }
    if (factors != null) {
      factors.write(out);
    }
  }

  static StepMark read(ByteBuffer in) {
    long model = in.getLong();
    long step = in.getLong();
    int part = in.getInt();
    int parts = in.getInt();
    int flags = in.get();
    int count = Short.toUnsignedInt(in.getShort());
    List<Piece> pieces = new ArrayList<>(count);
    for (int i = 0; i < count; i++) {
      pieces.add(new Piece(in.getInt(), in.getInt()));
    }
    StepFactors factors = (flags & WITH_FACTORS) == 0 ? null : StepFactors.read(in);
    return new StepMark(model, step, part, parts, (flags & TOGETHER) != 0, pieces, factors);
  }
}
