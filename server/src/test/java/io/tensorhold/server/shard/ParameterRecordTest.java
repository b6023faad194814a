package io.tensorhold.server.shard;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Initializer;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.Rounding;
import io.tensorhold.numerics.Schedule;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.numerics.UpdateRule;
import java.util.HexFormat;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** The bytes that a shard keeps of a parameter, of this release and of those before. */
class ParameterRecordTest {
  private static UpdateRule plain(String kind, Map<String, Double> hyper) {
    return new UpdateRule(
        Optimizer.of(kind, hyper), Schedule.CONSTANT, 0, 0, StateCodec.F32, Rounding.NEAREST);
  }

  @Test
  void recordsOfFormatOneAreRead() {
    // Written by the release before: id 7, f32, f32, 800 elements, blocks of 512, sgd.
    byte[] bytes =
        HexFormat.of()
            .parseHex(
                "01"
                    + "0000000000000007"
                    + "10"
                    + "01"
                    + "0000000000000320"
                    + "00000200"
                    + "0003736764"
                    + "0005"
                    + "000964616d70656e696e67"
                    + "0000000000000000"
                    + "00026c72"
                    + "3fe0000000000000"
                    + "00086d6f6d656e74756d"
                    + "3feccccccccccccd"
                    + "00086e65737465726f76"
                    + "0000000000000000"
                    + "000c7765696768745f6465636179"
                    + "3f847ae147ae147b");
    ParameterRecord record = ParameterRecord.of(bytes);
    UpdateRule expected = plain("sgd", Map.of("lr", 0.5, "momentum", 0.9, "weight_decay", 0.01));
    assertThat(record).isEqualTo(new ParameterRecord(7, DType.F32, Codec.F32, 800, 512, expected));
    assertThat(ParameterRecord.of(record.toBytes())).isEqualTo(record);
    byte[] untrained =
        HexFormat.of().parseHex("010000000000000007100100000000000003200000020000000000");
    assertThat(ParameterRecord.of(untrained).trained()).isFalse();
  }

  @Test
  void recordsKeepAllOfARule() {
    UpdateRule rule =
        new UpdateRule(
            Optimizer.of("adam", Map.of("l1", 0.1)),
            Schedule.of("step", Map.of("size", 10.0, "warmup", 3.0)),
            0.5,
            2,
            StateCodec.FLOAT8,
            Rounding.STOCHASTIC);
    ParameterRecord record = new ParameterRecord(9, DType.BF16, Codec.BF16, 7, 256, rule);
    assertThat(ParameterRecord.of(record.toBytes())).isEqualTo(record);
  }

  @Test
  void recordsKeepAllOfATable() {
    Initializer uniform = Initializer.of("uniform", Map.of("low", -0.5, "high", 0.25), 12);
    ParameterRecord record =
        new ParameterRecord(
            9,
            DType.F32,
            Codec.F32,
            0,
            256,
            plain("adagrad", Map.of("lr", 0.1)),
            new TableForm(12, uniform, -7));
    assertThat(ParameterRecord.of(record.toBytes())).isEqualTo(record);
  }

  @Test
  void recordsOfUnknownFormatsAndCutOnesAreRefused() {
    assertThatThrownBy(() -> ParameterRecord.of(new byte[] {4}))
        .hasMessageContaining("value=4 known=1..3");
    assertThatThrownBy(() -> ParameterRecord.of(new byte[] {0}))
        .hasMessageContaining("value=0 known=1..3");
    for (byte format = 1; format <= 3; format++) {
      byte[] alone = {format};
      assertThatThrownBy(() -> ParameterRecord.of(alone)).hasMessageContaining("cut short");
    }
  }
}
