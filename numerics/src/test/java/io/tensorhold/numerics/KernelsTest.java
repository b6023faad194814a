package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** SIMD kernels give the scalar ones' bytes, at every length, alignment and kind of memory. */
class KernelsTest {
  private static final Kernels SIMD = new VectorKernels();

  private final Random random = new Random(42);

  private static IntStream lengths() {
    return IntStream.concat(
        IntStream.rangeClosed(0, 100), IntStream.of(127, 128, 255, 256, 257, 511, 512, 513, 1000));
  }

  /** Runs a case on a copy of the memory for each kernels, and compares all of it. */
  private void same(MemorySegment memory, int shift, Case operation) {
    MemorySegment expected = Memory.shifted(memory, shift, false);
    operation.run(Kernels.scalar(), expected, shift);
    for (boolean nativeMemory : new boolean[] {false, true}) {
      MemorySegment actual = Memory.shifted(memory, shift, nativeMemory);
      operation.run(SIMD, actual, shift);
      assertThat(Memory.bytes(actual))
          .as("native=%s", nativeMemory)
          .isEqualTo(Memory.bytes(expected));
    }
  }

  private interface Case {
    void run(Kernels k, MemorySegment memory, long offset);
  }

  private void atEveryLength(Consumer<Integer> test) {
    lengths().forEach(test::accept);
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK"},
      mode = EnumSource.Mode.EXCLUDE)
  void encodingIsBitEqual(Codec codec) {
    atEveryLength(
        n -> {
          MemorySegment source =
              n % 2 == 0 ? Memory.hard(random, n) : Memory.gaussian(random, n, 1e-3);
          MemorySegment empty =
              MemorySegment.ofArray(new byte[Math.toIntExact(codec.bytes(DType.F32, n))]);
          for (int shift = 0; shift < 4; shift++) {
            MemorySegment from = Memory.shifted(source, 3 - shift, shift % 2 == 0);
            long at = 3L - shift;
            same(empty, shift, (k, memory, offset) -> codec.encode(k, from, at, memory, offset, n));
          }
        });
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK"},
      mode = EnumSource.Mode.EXCLUDE)
  void decodingIsBitEqual(Codec codec) {
    atEveryLength(
        n -> {
          byte[] coded = new byte[Math.toIntExact(codec.bytes(DType.F32, n))];
          random.nextBytes(coded);
          MemorySegment empty = MemorySegment.ofArray(new byte[4 * n]);
          for (int shift = 0; shift < 4; shift++) {
            long at = 3L - shift;
            MemorySegment from =
                Memory.shifted(MemorySegment.ofArray(coded), 3 - shift, shift % 2 == 0);
            same(empty, shift, (k, memory, offset) -> codec.decode(k, from, at, memory, offset, n));
          }
        });
  }

  @ParameterizedTest
  @EnumSource(
      value = Codec.class,
      names = {"F16", "BF16"})
  void everySixteenBitPatternDecodesTheSame(Codec codec) {
    byte[] all = new byte[2 << 16];
    for (int i = 0; i < 1 << 16; i++) {
      all[2 * i] = (byte) i;
      all[2 * i + 1] = (byte) (i >> 8);
    }
    MemorySegment coded = MemorySegment.ofArray(all);
    same(
        MemorySegment.ofArray(new byte[4 << 16]),
        1,
        (k, memory, offset) -> codec.decode(k, coded, 0, memory, offset, 1 << 16));
  }

  @Test
  void additionAndScalingAreBitEqual() {
    atEveryLength(
        n -> {
          MemorySegment w = Memory.hard(random, n);
          for (int shift = 0; shift < 4; shift++) {
            MemorySegment g = Memory.shifted(Memory.hard(random, n), 3 - shift, shift % 2 == 0);
            long at = 3L - shift;
            same(w, shift, (k, memory, offset) -> k.add(memory, offset, g, at, n));
            same(w, shift, (k, memory, offset) -> k.scale(memory, offset, 1f / 3, n));
            same(w, shift, (k, memory, offset) -> k.scale(memory, offset, 0f, n));
          }
        });
  }

  @Test
  void anOperandMayBeAddedToItself() {
    MemorySegment w = Memory.hard(random, 77);
    same(w, 1, (k, memory, offset) -> k.add(memory, offset, memory, offset, 77));
  }

  static Stream<Optimizer> optimizers() {
    return Stream.of(
        Optimizer.of("sgd", Map.of("lr", 0.1)),
        Optimizer.of("sgd", Map.of("weight_decay", 0.1)),
        Optimizer.of("sgd", Map.of("momentum", 0.9, "dampening", 0.5)),
        Optimizer.of("sgd", Map.of("momentum", 0.9, "nesterov", 1.0, "weight_decay", 0.3)),
        Optimizer.of("adam", Map.of()),
        Optimizer.of("adam", Map.of("beta1", 0.3, "weight_decay", 0.1)),
        Optimizer.of("adamw", Map.of("lr", 0.01)),
        Optimizer.of("adam", Map.of("amsgrad", 1.0)),
        Optimizer.of("adagrad", Map.of("weight_decay", 0.1)),
        Optimizer.of("adagrad_row", Map.of("row", 8.0)),
        Optimizer.of("adagrad_row", Map.of("row", 33.0)),
        Optimizer.of("rmsprop", Map.of("weight_decay", 0.1)),
        Optimizer.of("rmsprop", Map.of("momentum", 0.9)),
        Optimizer.of("rmsprop", Map.of("momentum", 0.9, "centered", 1.0)),
        Optimizer.of("adadelta", Map.of("weight_decay", 0.1)),
        Optimizer.of("ftrl", Map.of("l1", 0.5, "l2", 0.1)),
        Optimizer.of("ftrl", Map.of("beta", 0.0)),
        Optimizer.of("lion", Map.of("weight_decay", 0.1)),
        Optimizer.of("lamb", Map.of()),
        Optimizer.of("average", Map.of("weight", 0.3)),
        Optimizer.of("average", Map.of("weight", 0.7)));
  }

  @ParameterizedTest
  @MethodSource("optimizers")
  void optimizerStepsAreBitEqual(Optimizer optimizer) {
    atEveryLength(
        n -> {
          // weights and three slots, one after the other
          MemorySegment state =
              n % 2 == 0 ? Memory.hard(random, 4 * n) : Memory.gaussian(random, 4 * n, 1);
          MemorySegment g = Memory.hard(random, n);
          for (int shift = 0; shift < 4; shift++) {
            for (long step : new long[] {1, 2, 1000}) {
              same(
                  state,
                  shift,
                  (k, memory, offset) ->
                      optimizer.step(
                          k, step, memory, offset, g, 0, memory, offset + 4L * n, 4L * n, n));
            }
          }
        });
  }

  @ParameterizedTest
  @ValueSource(strings = {"scalar", "simd"})
  void arithmeticStoresOnlyOneNan(String kernels) {
    Kernels k = kernels.equals("simd") ? SIMD : Kernels.scalar();
    int n = 35; // vectors and a tail
    int[] infinities = new int[n];
    int[] nans = new int[n];
    for (int i = 0; i < n; i++) {
      infinities[i] = i % 2 == 0 ? 0x7f80_0000 : 0xff80_0000;
      nans[i] = 0xffc0_1234 + i;
    }
    MemorySegment invalid = Memory.ofInts(infinities);
    k.scale(invalid, 0, 0f, n);
    MemorySegment sum = Memory.ofInts(nans);
    k.add(sum, 0, Memory.ofFloats(new float[n]), 0, n);
    assertThat(Memory.ints(invalid)).containsOnly(0x7fc0_0000);
    assertThat(Memory.ints(sum)).containsOnly(0x7fc0_0000);
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK"},
      mode = EnumSource.Mode.EXCLUDE)
  void theFirstNonFiniteElementIsFoundWhereverItIs(Codec codec) {
    for (int n : new int[] {0, 1, 15, 32, 33, 64, 100, 257}) {
      MemorySegment clean = encoded(codec, Memory.gaussian(random, n, 1), n);
      for (Kernels k : List.of(Kernels.scalar(), SIMD)) {
        assertThat(codec.firstNonFinite(k, clean, 1, n)).isEqualTo(-1);
      }
      for (int bad = 0; bad < n; bad++) {
        float[] values = Memory.floats(Memory.gaussian(random, n, 1));
        values[bad] = bad % 2 == 0 ? Float.NaN : Float.NEGATIVE_INFINITY;
        values[bad + (n - bad) / 2 % n] = Float.NaN; // a later one, or the same, changes nothing
        MemorySegment dirty = encoded(codec, Memory.ofFloats(values), n);
        int expected = bad / codec.group() * codec.group();
        for (Kernels k : List.of(Kernels.scalar(), SIMD)) {
          assertThat(codec.firstNonFinite(k, dirty, 1, n)).as("%s", k).isEqualTo(expected);
        }
      }
    }
  }

  @Test
  void theLargestFiniteValuesAreFinite() {
    MemorySegment edge =
        Memory.ofFloats(Float.MAX_VALUE, -Float.MAX_VALUE, Float.MIN_VALUE, 0, -0f);
    for (Kernels k : List.of(Kernels.scalar(), SIMD)) {
      assertThat(Codec.F32.firstNonFinite(k, edge, 0, 5)).isEqualTo(-1);
    }
  }

  private static MemorySegment encoded(Codec codec, MemorySegment f32, int n) {
    byte[] coded = new byte[1 + Math.toIntExact(codec.bytes(DType.F32, n))];
    MemorySegment segment = MemorySegment.ofArray(coded);
    codec.encode(Kernels.scalar(), f32, 0, segment, 1, n);
    return segment;
  }

  @Test
  void kernelsAreChosenByWhatTheJvmHas() {
    assertThat(KernelChoice.choose(ModuleLayer.empty())).isSameAs(Kernels.scalar());
    assertThat(Kernels.best()).isSameAs(Kernels.best());
    if (VectorKernels.lanes() >= VectorKernels.FEWEST_LANES) {
      assertThat(Kernels.best()).isInstanceOf(VectorKernels.class);
      assertThat(Kernels.best().name()).isEqualTo("simd-" + 32 * VectorKernels.lanes());
    }
  }
}
