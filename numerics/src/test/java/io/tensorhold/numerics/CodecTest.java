package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CodecTest {
  private static final Kernels K = Kernels.best();

  @Test
  void idsOnDiskAreThoseOfTheProtocol() {
    assertThat(Arrays.stream(Codec.values()).map(c -> c.id() + " " + c.label()))
        .containsExactly(
            "1 f32",
            "2 f16",
            "3 bf16",
            "4 q8_0",
            "5 fp8_e4m3",
            "6 q4_0",
            "7 nf4",
            "8 q8_linear",
            "9 topk",
            "10 sign1",
            "15 raw");
    for (Codec codec : Codec.values()) {
      assertThat(Codec.ofId(codec.id())).isEqualTo(codec);
      assertThat(Codec.ofName(codec.label())).isEqualTo(codec);
    }
    assertThatThrownBy(() -> Codec.ofId(11)).hasMessageContaining("value=11");
    assertThatThrownBy(() -> Codec.ofName("q4_1"))
        .hasMessageContaining(
            "\"q4_1\" known=f32, f16, bf16, q8_0, fp8_e4m3, q4_0, nf4, q8_linear, topk,"
                + " sign1, raw");
  }

  @Test
  void rawTakesWhatCannotBeComputedWithAndNothingElse() {
    for (DType dtype : DType.values()) {
      assertThat(Codec.RAW.accepts(dtype)).isEqualTo(!dtype.computable());
      assertThat(Codec.Q8_0.accepts(dtype)).isEqualTo(dtype.computable());
      assertThat(Codec.nativeOf(dtype).accepts(dtype)).isTrue();
    }
    assertThat(Codec.TOPK.accepts(DType.F32)).isFalse();
    assertThat(Codec.SIGN1.accepts(DType.F32)).isFalse();
    assertThat(Codec.storableLabels())
        .isEqualTo("f32, f16, bf16, q8_0, fp8_e4m3, q4_0, nf4, q8_linear");
    assertThat(Codec.nativeOf(DType.BF16)).isEqualTo(Codec.BF16);
    assertThat(Codec.nativeOf(DType.F64)).isEqualTo(Codec.RAW);
  }

  @Test
  void storedSizesCountWholeGroups() {
    assertThat(Codec.F32.bytes(DType.F32, 33)).isEqualTo(132);
    assertThat(Codec.BF16.bytes(DType.F32, 33)).isEqualTo(66);
    assertThat(Codec.RAW.bytes(DType.F64, 33)).isEqualTo(264);
    assertThat(Codec.Q8_0.bytes(DType.F32, 0)).isZero();
    assertThat(Codec.Q8_0.bytes(DType.F32, 1)).isEqualTo(34);
    assertThat(Codec.Q8_0.bytes(DType.F32, 32)).isEqualTo(34);
    assertThat(Codec.Q8_0.bytes(DType.F32, 33)).isEqualTo(68);
    assertThatThrownBy(() -> Codec.Q8_0.bytes(DType.F32, -1))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> Codec.Q8_0.bytes(DType.F32, Long.MAX_VALUE))
        .isInstanceOf(ArithmeticException.class);
  }

  @Test
  void q80IsGgmlsBitForBit() {
    float[] x = new float[32];
    for (int i = 0; i < x.length; i++) {
      x[i] = i - 15.5f;
    }
    assertThat(Memory.hex(encode(K, Codec.Q8_0, Memory.ofFloats(x))))
        .isEqualTo("d02f8189919aa2aab2bac3cbd3dbe3ecf4fc040c141d252d353d464e565e666f777f");
  }

  @Test
  void q40IsGgmlsBitForBit() {
    float[] x = new float[32];
    for (int i = 0; i < x.length; i++) {
      x[i] = i - 15.5f;
    }
    for (Kernels kernels : List.of(Kernels.scalar(), K)) {
      assertThat(Memory.hex(encode(kernels, Codec.Q4_0, Memory.ofFloats(x))))
          .isEqualTo("c03f809191a2a2b3b3c4c4d5d5e6e6f7f7f8");
    }
  }

  @Test
  void q80EqualsGgufOnEveryGoldenGroup() {
    List<String> lines = Memory.golden("q8_0.txt");
    assertThat(lines).hasSize(3 * 53);
    for (Kernels kernels : List.of(Kernels.scalar(), K)) {
      for (int i = 0; i < lines.size(); i += 3) {
        MemorySegment coded = encode(kernels, Codec.Q8_0, Memory.words(lines.get(i)));
        assertThat("q " + Memory.hex(coded)).as("group %d", i / 3).isEqualTo(lines.get(i + 1));
        // floats, not bits: any NaN is as good as gguf's
        assertThat(Memory.floats(decode(kernels, Codec.Q8_0, coded, 32)))
            .as("group %d", i / 3)
            .containsExactly(Memory.floats(Memory.words(lines.get(i + 2))));
      }
    }
  }

  @Test
  void q80FillsItsLastGroupWithZeros() {
    MemorySegment coded =
        MemorySegment.ofArray(new byte[34]).fill((byte) 0x77); // what was there before
    Codec.Q8_0.encode(K, Memory.ofFloats(1, -1, 0.5f), 0, coded, 0, 3);
    assertThat(Memory.hex(coded)).isEqualTo("0820" + "7f8140" + "00".repeat(29));
    MemorySegment out = Memory.ofFloats(9, 9, 9, 9);
    Codec.Q8_0.decode(K, coded, 0, out, 0, 3);
    assertThat(Memory.floats(out)[3]).isEqualTo(9);
  }

  @Test
  void bf16EqualsPyTorch() {
    List<String> lines = Memory.golden("bf16.txt");
    MemorySegment x = Memory.words(lines.get(0));
    String[] y = lines.get(1).split(" ", -1);
    byte[] coded = Memory.bytes(encode(K, Codec.BF16, x));
    for (int i = 0; i < y.length - 1; i++) {
      assertThat("%02x%02x".formatted(coded[2 * i + 1], coded[2 * i])).isEqualTo(y[i + 1]);
    }
  }

  @Test
  void everyBf16NanBecomesOneOfTwo() {
    MemorySegment nans = Memory.ofInts(0x7f80_0001, 0xff80_0001, 0x7fff_ffff, 0xffff_ffff);
    assertThat(Memory.hex(encode(K, Codec.BF16, nans))).isEqualTo("c07fc0ffc07fc0ff");
  }

  @Test
  void f16RoundsAsTheJdkDoes() {
    int[] lows = {0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x3000, 0x7fff, 0xffff};
    int[] bits = new int[lows.length << 16];
    for (int i = 0; i < bits.length; i++) {
      bits[i] = (i / lows.length) << 16 | lows[i % lows.length];
    }
    byte[] coded = Memory.bytes(encode(K, Codec.F16, Memory.ofInts(bits)));
    for (int i = 0; i < bits.length; i++) {
      float value = Float.intBitsToFloat(bits[i]);
      short half = (short) ((coded[2 * i] & 0xff) | coded[2 * i + 1] << 8);
      boolean same =
          Float.isNaN(value)
              ? Float.isNaN(Float.float16ToFloat(half)) && bits[i] < 0 == half < 0
              : half == Float.floatToFloat16(value);
      assertThat(same).as("%08x gave %04x", bits[i], half & 0xffff).isTrue();
    }
  }

  @Test
  void everySixteenBitValueSurvivesDecodingAndEncoding() {
    byte[] all = new byte[2 << 16];
    for (int i = 0; i < 1 << 16; i++) {
      all[2 * i] = (byte) i;
      all[2 * i + 1] = (byte) (i >> 8);
    }
    for (Codec codec : List.of(Codec.F16, Codec.BF16)) {
      MemorySegment values = decode(K, codec, MemorySegment.ofArray(all), 1 << 16);
      float[] floats = Memory.floats(values);
      byte[] again = Memory.bytes(encode(K, codec, values));
      for (int i = 0; i < 1 << 16; i++) {
        if (codec == Codec.F16) {
          assertThat(floats[i]).isEqualTo(Float.valueOf(Float.float16ToFloat((short) i)));
        }
        if (!Float.isNaN(floats[i])) {
          assertThat(again[2 * i] == all[2 * i] && again[2 * i + 1] == all[2 * i + 1]).isTrue();
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "F32, 0, 0",
    "F16, .00021, .000005",
    "BF16, .00166, .00001",
    "Q8_0, .00535, .00003",
    "Q8_LINEAR, .00698, .00005",
    "FP8_E4M3, .0264, .0001",
    "Q4_0, .0860, .0004",
    "NF4, .0920, .0004"
  })
  void relativeErrorIsWhatTheFormatPromises(Codec codec, double expected, double tolerance) {
    int n = 1 << 20;
    MemorySegment x = Memory.gaussian(new Random(20), n, 0.02);
    float[] before = Memory.floats(x);
    float[] after = Memory.floats(decode(K, codec, encode(K, codec, x), n));
    double error = 0;
    double power = 0;
    for (int i = 0; i < n; i++) {
      double difference = (double) after[i] - before[i];
      error += difference * difference;
      power += (double) before[i] * before[i];
    }
    assertThat(Math.sqrt(error / power)).isCloseTo(expected, within(tolerance));
  }

  @Test
  void aShortSegmentIsRefusedBeforeAnythingIsWritten() {
    MemorySegment coded = MemorySegment.ofArray(new byte[67]);
    assertThatThrownBy(() -> Codec.Q8_0.encode(K, Memory.ofFloats(new float[33]), 0, coded, 0, 33))
        .isInstanceOf(IndexOutOfBoundsException.class);
    MemorySegment out = Memory.ofFloats(7, 7);
    assertThatThrownBy(() -> Codec.F16.decode(K, MemorySegment.ofArray(new byte[6]), 0, out, 0, 3))
        .isInstanceOf(IndexOutOfBoundsException.class);
    assertThat(Memory.floats(out)).containsExactly(7, 7);
  }

  @Test
  void rawHasNoValues() {
    MemorySegment some = Memory.ofFloats(1);
    assertThatThrownBy(() -> Codec.RAW.encode(K, some, 0, some, 0, 1))
        .isInstanceOf(UnsupportedOperationException.class);
    assertThatThrownBy(() -> Codec.RAW.decode(K, some, 0, some, 0, 1))
        .isInstanceOf(UnsupportedOperationException.class);
    for (Kernels kernels : List.of(Kernels.scalar(), K)) {
      assertThatThrownBy(() -> Codec.RAW.firstNonFinite(kernels, some, 0, 1))
          .isInstanceOf(UnsupportedOperationException.class);
    }
  }

  private static MemorySegment encode(Kernels kernels, Codec codec, MemorySegment f32) {
    int n = Math.toIntExact(f32.byteSize() / 4);
    byte[] coded = new byte[Math.toIntExact(codec.bytes(DType.F32, n))];
    codec.encode(kernels, f32, 0, MemorySegment.ofArray(coded), 0, n);
    return MemorySegment.ofArray(coded);
  }

  private static MemorySegment decode(Kernels kernels, Codec codec, MemorySegment coded, int n) {
    MemorySegment f32 = MemorySegment.ofArray(new byte[4 * n]);
    codec.decode(kernels, coded, 0, f32, 0, n);
    return f32;
  }
}
