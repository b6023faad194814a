package io.tensorhold.server.shard;

import io.tensorhold.server.shard.PushCommand.Factors;
import io.tensorhold.server.shard.PushCommand.Part;
import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;

/**
 * What all parts of a bulk synchronous step have in common that no part can know alone, because it
 * takes sums over all blocks.
 *
 * @param gradientScale clips the norm of the whole gradient; 1: nothing to clip
 * @param trust LAMB's ratio of every parameter of the model, by id from the model's first; empty:
 *     no parameter takes one, or nobody has said it yet
 */
@SuppressWarnings("ArrayRecordComponent") // never changed, and compared by its values below
public record StepFactors(float gradientScale, float[] trust) {
  /** A gradient scale alone. */
  public static StepFactors scale(float gradientScale) {
    return new StepFactors(gradientScale, new float[0]);
  }

  /** What they say of a push's parts; a ratio that is not there is NaN, which no check lets by. */
  public Factors of(long model, List<Part> parts) {
    float[] ofParts = new float[parts.size()];
    for (int i = 0; i < ofParts.length; i++) {
      long at = parts.get(i).parameter() - model;
      ofParts[i] =
          trust.length == 0 ? 1 : at >= 0 && at < trust.length ? trust[(int) at] : Float.NaN;
    }
    return new Factors(gradientScale, ofParts);
  }

  /** Bytes in the log. */
  int bytes() {
    return 4 + 4 + 4 * trust.length;
  }

  void write(ByteBuffer out) {
    out.putFloat(gradientScale).putInt(trust.length);
    for (float ratio : trust) {
      out.putFloat(ratio);
    }
  }

  static StepFactors read(ByteBuffer in) {
    float gradientScale = in.getFloat();
    float[] trust = new float[in.getInt()];
    for (int i = 0; i < trust.length; i++) {
      trust[i] = in.getFloat();
    }
    return new StepFactors(gradientScale, trust);
  }

  void write(DataOutput out) throws IOException {
    out.writeFloat(gradientScale);
    out.writeInt(trust.length);
    for (float ratio : trust) {
      out.writeFloat(ratio);
    }
  }

  static StepFactors read(DataInput in) throws IOException {
    float gradientScale = in.readFloat();
    float[] trust = new float[in.readInt()];
    for (int i = 0; i < trust.length; i++) {
      trust[i] = in.readFloat();
    }
    return new StepFactors(gradientScale, trust);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof StepFactors that
        && Float.compare(gradientScale, that.gradientScale) == 0
        && Arrays.equals(trust, that.trust);
  }

  @Override
  public int hashCode() {
    return Float.hashCode(gradientScale) * 31 + Arrays.hashCode(trust);
  }

  @Override
  public String toString() {
    return "gradient scale %s, trust %s".formatted(gradientScale, Arrays.toString(trust));
  }
}
