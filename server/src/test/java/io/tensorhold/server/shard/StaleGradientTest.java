package io.tensorhold.server.shard;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Codec;
import io.tensorhold.server.shard.PushCommand.Factors;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The steps that parts were computed at, on their way through the log. */
class StaleGradientTest {
  private static Part part(int block, long computedAt) {
    return new Part(7, block, Codec.F32, 4, new int[] {block, 1}, computedAt);
  }

  private static PushCommand push(Factors factors, Part... parts) {
    return new PushCommand(
        List.of(new Tag(1, 2, 1)),
        Operation.GRADIENT,
        List.of(parts),
        MemorySegment.ofArray(new byte[4 * parts.length]),
        factors,
        null,
        null);
  }

  private static PushCommand throughTheLog(PushCommand push) {
    Entry.Command read = Entry.read(ByteBuffer.wrap(Entry.push(push))).getFirst();
    return ((Entry.Command.Push) read).push();
  }

  @Test
  void stepsComeThroughTheLogWithAndWithoutFactors() {
    Factors factors = new Factors(0.5f, new float[] {1, 2});
    for (Factors some : new Factors[] {null, factors}) {
      PushCommand sent = push(some, part(0, 5), part(1, Part.NOT_SAID));
      PushCommand read = throughTheLog(sent);
      assertThat(read.parts()).isEqualTo(sent.parts());
      assertThat(read.gradientScale()).isEqualTo(sent.gradientScale());
      assertThat(read.payload().byteSize()).isEqualTo(8);
    }
  }

  @Test
  void pushThatSaysNoStepsIsLoggedAsItAlwaysWas() {
    byte[] before = Entry.push(push(null, part(0, Part.NOT_SAID)));
    assertThat(before).hasSize(1 + 5 + 2 + 24 + 1 + 4 + 21 + 8 + 4);
    assertThat(throughTheLog(push(null, part(0, Part.NOT_SAID))).saysSteps()).isFalse();
  }

  @Test
  void stalenessCountsStepsSinceTheOneSaidAndIsNeverNegative() {
    assertThat(part(0, 5).staleness(8)).isEqualTo(3);
    assertThat(part(0, 5).staleness(5)).isZero();
    assertThat(part(0, 5).staleness(2)).isZero();
    assertThat(part(0, Part.NOT_SAID).staleness(8)).isZero();
  }
}
