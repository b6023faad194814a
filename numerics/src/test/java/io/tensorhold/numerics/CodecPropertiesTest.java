package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What {@link Codec} promises of every codec: errors, idempotence, padding, chance. */
class CodecPropertiesTest {
  private static final Kernels K = Kernels.best();

  private static byte[] encode(Codec codec, float[] values) {
    byte[] coded = new byte[Math.toIntExact(codec.bytes(DType.F32, values.length))];
    codec.encode(K, Memory.ofFloats(values), 0, MemorySegment.ofArray(coded), 0, values.length);
    return coded;
  }

  private static float[] decode(Codec codec, byte[] coded, int n) {
    MemorySegment f32 = MemorySegment.ofArray(new byte[4 * n]);
    codec.decode(K, MemorySegment.ofArray(coded), 0, f32, 0, n);
    return Memory.floats(f32);
  }

  /** Groups of every size of number: normal, uniform, of one sign, sparse, of any bits. */
  private static float[] group(Random random, int n, int exponent) {
    int kind = random.nextInt(5);
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      double x =
          switch (kind) {
            case 0 -> random.nextGaussian();
            case 1 -> 2 * random.nextDouble() - 1;
            case 2 -> Math.abs(random.nextGaussian());
            case 3 -> random.nextInt(8) == 0 ? random.nextGaussian() : 0;
            default -> Math.scalb(random.nextDouble() - 0.5, -random.nextInt(40));
          };
      values[i] = (float) Math.scalb(x, exponent);
    }
    return values;
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK"},
      mode = EnumSource.Mode.EXCLUDE)
  void noErrorExceedsTheBound(Codec codec) {
    Random random = new Random(51);
    for (int round = 0; round < 20_000; round++) {
      int exponent = random.nextInt(-149, 126);
      float[] x = group(random, codec.group() == 1 ? 16 : codec.group(), exponent);
      float[] y = decode(codec, encode(codec, x), x.length);
      float absmax = 0;
      for (float value : x) {
        absmax = Math.max(absmax, Math.abs(value));
      }
      double bound = codec.errorBound(absmax);
      for (int i = 0; i < x.length && bound < Double.POSITIVE_INFINITY; i++) {
        double own = codec.group() == 1 ? codec.errorBound(Math.abs(x[i])) : bound;
        assertThat(Math.abs((double) y[i] - x[i]))
            .as("%s of %s", x[i], absmax)
            .isLessThanOrEqualTo(own);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "F32", "TOPK", "SIGN1"},
      mode = EnumSource.Mode.EXCLUDE)
  void theBoundIsNotLoose(Codec codec) {
    Random random = new Random(52);
    double worst = 0;
    for (int round = 0; round < 3000; round++) {
      float[] x = new float[codec.group() == 1 ? 16 : codec.group()];
      for (int i = 0; i < x.length; i++) {
        x[i] = 2 * random.nextFloat() - 1;
      }
      x[0] = random.nextBoolean() ? 1 + random.nextFloat() : -1 - random.nextFloat();
      if (codec.group() > 1) {
        x[1] = -x[0];
      }
      float[] y = decode(codec, encode(codec, x), x.length);
      for (int i = 0; i < x.length; i++) {
        float largest = codec.group() == 1 ? Math.abs(x[i]) : Math.abs(x[0]);
        worst = Math.max(worst, Math.abs((double) y[i] - x[i]) / codec.errorBound(largest));
      }
    }
    assertThat(worst).isBetween(0.75, 1.0);
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK"},
      mode = EnumSource.Mode.EXCLUDE)
  void encodingWhatWasDecodedChangesNoValue(Codec codec) {
    Random random = new Random(53);
    for (int round = 0; round < 20_000; round++) {
      float[] x = group(random, codec.group() == 1 ? 16 : codec.group(), random.nextInt(-149, 12));
      float[] once = decode(codec, encode(codec, x), x.length);
      float[] twice = decode(codec, encode(codec, once), x.length);
      for (int i = 0; i < x.length; i++) {
        // == and not bits: a zero may change its sign
        assertThat(once[i] == twice[i]).as("%s, %s, %s", x[i], once[i], twice[i]).isTrue();
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = Codec.class,
      names = {"FP8_E4M3", "NF4", "Q8_LINEAR"})
  void theLargestFiniteValuesSurvive(Codec codec) {
    float[] x = new float[codec.group()];
    Arrays.fill(x, Float.MAX_VALUE);
    x[1] = -Float.MAX_VALUE;
    x[2] = Float.MIN_VALUE;
    byte[] coded = encode(codec, x);
    for (float value : decode(codec, coded, x.length)) {
      assertThat(value).isFinite();
    }
    assertThat(codec.firstNonFinite(K, MemorySegment.ofArray(coded), 0, x.length)).isEqualTo(-1);
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK", "SIGN1"},
      mode = EnumSource.Mode.EXCLUDE)
  void aShortGroupIsAWholeOneWithZerosBehindIt(Codec codec) {
    Random random = new Random(54);
    for (int n = 1; n <= codec.group(); n++) {
      float[] x = group(random, n, 0);
      assertThat(encode(codec, x)).isEqualTo(encode(codec, Arrays.copyOf(x, codec.group())));
    }
  }

  @Test
  void aGroupOfZerosInNf4HasNoScaleAndDecodesToZeros() {
    float[] zeros = new float[64];
    zeros[3] = -0f;
    byte[] coded = encode(Codec.NF4, zeros);
    assertThat(Memory.hex(MemorySegment.ofArray(coded))).isEqualTo("00000000" + "77".repeat(32));
    for (float value : decode(Codec.NF4, coded, 64)) {
      assertThat(Float.floatToRawIntBits(value)).isZero();
    }
  }

  @Test
  void aWholeGroupIsLostToOneNanUnderEveryCodecThatCannotHoldIt() {
    for (Codec codec : Codec.values()) {
      if (!codec.computable() || !codec.fixedSize()) {
        continue;
      }
      float[] x = group(new Random(55), 256, 0);
      x[70] = Float.NaN;
      float[] y = decode(codec, encode(codec, x), x.length);
      long finite = IntStream.range(0, 256).filter(i -> Float.isFinite(y[i])).count();
      assertThat(finite)
          .as("%s", codec)
          .isEqualTo(codec.holdsNonFinite() ? 255 : 256 - codec.group());
    }
  }

  @Test
  void aCodeThatIsNanIsFoundByItself() {
    byte[] coded = encode(Codec.FP8_E4M3, group(new Random(56), 512, 0));
    coded[260 + 4 + 9] = (byte) 0xff;
    for (Kernels k : List.of(Kernels.scalar(), K)) {
      assertThat(Codec.FP8_E4M3.firstNonFinite(k, MemorySegment.ofArray(coded), 0, 512))
          .isEqualTo(256 + 9);
    }
  }

  @Test
  void aScaleThatOverflowsIsFoundWhereItDoes() {
    byte[] coded = new byte[260];
    MemorySegment segment = MemorySegment.ofArray(coded);
    segment.set(ScalarKernels.INT, 0, Float.floatToRawIntBits(Float.MAX_VALUE));
    coded[4 + 200] = -128; // which no encoder of ours writes
    for (Kernels k : List.of(Kernels.scalar(), K)) {
      assertThat(Codec.Q8_LINEAR.firstNonFinite(k, segment, 0, 256)).isEqualTo(200);
      assertThat(Codec.Q8_LINEAR.firstNonFinite(k, segment, 0, 200)).isEqualTo(-1);
    }
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "F32", "TOPK", "SIGN1"},
      mode = EnumSource.Mode.EXCLUDE)
  void theMeanOfManyStochasticRoundingsIsTheValue(Codec codec) {
    int n = 256;
    int rounds = 4000;
    float[] x = group(new Random(57), n, 0);
    double[] sum = new double[n];
    byte[] coded = new byte[Math.toIntExact(codec.bytes(DType.F32, n))];
    MemorySegment segment = MemorySegment.ofArray(coded);
    for (int round = 0; round < rounds; round++) {
      long seed = StochasticRounding.seed(7, 3, round, 0);
      codec.encodeStochastic(K, Memory.ofFloats(x), 0, segment, 0, n, seed);
      float[] y = decode(codec, coded, n);
      for (int i = 0; i < n; i++) {
        sum[i] += y[i];
      }
    }
    float absmax = 0;
    for (float value : x) {
      absmax = Math.max(absmax, Math.abs(value));
    }
    double total = 0;
    for (int i = 0; i < n; i++) {
      if (codec == Codec.Q4_0 && beyondCode15(x, i)) {
        continue;
      }
      float size = codec.group() == 1 ? Math.abs(x[i]) : absmax;
      // one rounding deviates by half a unit at most, which is the bound
      double deviation = codec.errorBound(size) / Math.sqrt(rounds);
      assertThat(sum[i] / rounds).isCloseTo(x[i], within(6 * deviation));
      total += (sum[i] / rounds - x[i]) / deviation;
    }
    assertThat(total / n).as("no bias over all elements").isCloseTo(0, within(6 / Math.sqrt(n)));
  }

  /** Whether an element is opposite to the largest of its group, which has code 0, and as large. */
  private static boolean beyondCode15(float[] x, int i) {
    float m = 0;
    for (int j = i / 32 * 32; j < i / 32 * 32 + 32; j++) {
      m = Math.abs(x[j]) > Math.abs(m) ? x[j] : m;
    }
    return x[i] / m < -7 / 8.0;
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "F32", "TOPK", "SIGN1"},
      mode = EnumSource.Mode.EXCLUDE)
  void stochasticRoundingIsBitEqualAndAFunctionOfTheSeed(Codec codec) {
    Random random = new Random(58);
    for (int n :
        IntStream.concat(IntStream.rangeClosed(0, 70), IntStream.of(255, 257, 700)).toArray()) {
      MemorySegment x = n % 2 == 0 ? Memory.hard(random, n) : Memory.gaussian(random, n, 1);
      long seed = random.nextLong();
      byte[] scalar = stochastic(Kernels.scalar(), codec, x, n, seed);
      assertThat(stochastic(K, codec, x, n, seed)).isEqualTo(scalar);
      assertThat(stochastic(K, codec, x, n, seed)).isEqualTo(scalar);
      if (n == 255) {
        assertThat(stochastic(K, codec, x, n, seed + 1)).isNotEqualTo(scalar);
        assertThat(stochastic(K, codec, x, n, seed ^ 1L << 40)).isNotEqualTo(scalar);
      }
    }
  }

  private static byte[] stochastic(Kernels k, Codec codec, MemorySegment x, int n, long seed) {
    byte[] coded = new byte[Math.toIntExact(codec.bytes(DType.F32, n))];
    codec.encodeStochastic(k, x, 0, MemorySegment.ofArray(coded), 0, n, seed);
    return coded;
  }

  @Test
  void stochasticRoundingKeepsWhatIsExactAndMakesNothingInfinite() {
    float largest = Float.intBitsToFloat(0x7f7f_0000);
    float[] bf16 = {0, -0f, 1, -1.5f, largest, -largest, 0x1p-133f};
    kept(Codec.BF16, bf16, Float.MAX_VALUE, largest);
    float[] f16 = {0, -0f, 1, -1.5f, 65504, -65504, 0x1p-24f, 1023 * 0x1p-24f, 0x1p-14f};
    kept(Codec.F16, f16, Float.MAX_VALUE, 65504);
    float[] fp8 = {0, -0f, 448, -448, 0x1p-9f, 7 * 0x1p-9f, 0x1p-6f, -0.875f, 26};
    kept(Codec.FP8_E4M3, fp8, 448, 448);
  }

  private static void kept(Codec codec, float[] exact, float large, float stored) {
    float[] x = Arrays.copyOf(exact, exact.length + 1);
    x[exact.length] = large;
    for (long seed = 0; seed < 200; seed++) {
      byte[] coded = stochastic(K, codec, Memory.ofFloats(x), x.length, seed);
      float[] y = decode(codec, coded, x.length);
      assertThat(Arrays.copyOf(y, exact.length)).containsExactly(exact);
      assertThat(y[exact.length]).isEqualTo(stored);
    }
  }

  @Test
  void seedsDifferInEverythingTheyAreMadeOf() {
    assertThat(
            List.of(
                StochasticRounding.seed(1, 2, 3, 0),
                StochasticRounding.seed(2, 1, 3, 0),
                StochasticRounding.seed(1, 3, 2, 0),
                StochasticRounding.seed(1, 2, 4, 0),
                StochasticRounding.seed(1, 2, 3, 1)))
        .doesNotHaveDuplicates();
  }

  @Test
  void otherCodecsDoNotRoundAtRandom() {
    MemorySegment some = Memory.ofFloats(new float[300]);
    for (Codec codec : Codec.values()) {
      if (!codec.stochastic()) {
        assertThatThrownBy(() -> codec.encodeStochastic(K, some, 0, some, 0, 1, 0))
            .isInstanceOf(UnsupportedOperationException.class);
      }
    }
  }

  @Test
  void groupsDivideEveryBlock() {
    for (Codec codec : Codec.values()) {
      assertThat(Blocks.MULTIPLE % codec.group()).isZero();
      assertThat(codec.sliceable(DType.F32)).isEqualTo(codec.group() == 1);
    }
    assertThat(Codec.RAW.sliceable(DType.F4)).isFalse();
  }
}
