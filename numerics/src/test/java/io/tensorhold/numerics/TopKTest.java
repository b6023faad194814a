package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.Size;
import org.junit.jupiter.api.Test;

/** What topk picks, how it is written, and what of hostile bytes is refused. */
class TopKTest {
  private static final Kernels K = Kernels.best();

  private static byte[] encode(float[] x, int k) {
    byte[] room = new byte[(int) TopK.mostBytes(x.length, k)];
    int bytes = TopK.encode(Memory.ofFloats(x), 0, x.length, k, MemorySegment.ofArray(room), 0);
    return Arrays.copyOf(room, bytes);
  }

  private static float[] decode(byte[] coded, int n) {
    MemorySegment f32 = MemorySegment.ofArray(new byte[4 * n]);
    f32.fill((byte) 0x5a); // what was there is gone afterwards
    Codec.TOPK.decode(K, MemorySegment.ofArray(coded), 0, f32, 0, n);
    return Memory.floats(f32);
  }

  private static float bf16(float x) {
    return Float.intBitsToFloat(ScalarHalf.toBf16(Float.floatToRawIntBits(x)) << 16);
  }

  /** Elements sorted whole, by magnitude and then by index: what the radix select is held to. */
  private static float[] expected(float[] x, int k) {
    float[] kept = new float[x.length];
    IntStream.range(0, x.length)
        .boxed()
        .sorted(Comparator.<Integer>comparingDouble(i -> -Math.abs(x[i])).thenComparing(i -> i))
        .limit(k)
        .forEach(i -> kept[i] = bf16(x[i]));
    return kept;
  }

  @Property(tries = 60)
  void exactlyTheLargestAreSent(
      @ForAll @Size(min = 1, max = 700) List<@IntRange(min = -20, max = 20) Integer> tied,
      @ForAll @IntRange(min = 0, max = 700) int wanted) {
    float[] x = new float[tied.size()];
    for (int i = 0; i < x.length; i++) {
      x[i] = Math.scalb(tied.get(i), tied.get(i) * 3);
    }
    int k = Math.min(wanted, x.length);
    byte[] coded = encode(x, k);
    assertThat(TopK.fault(MemorySegment.ofArray(coded), x.length)).isNull();
    assertThat(coded).hasSize(4 + 4 * k);
    assertThat(decode(coded, x.length)).containsExactly(expected(x, k));
    assertThat(encode(x, k)).isEqualTo(coded);
  }

  @Test
  void equalsGoByTheLowerIndexAndSignsDoNotCount() {
    assertThat(decode(encode(new float[] {1, -2, 2, 2, 0}, 2), 5)).containsExactly(0, -2, 2, 0, 0);
  }

  @Test
  void farElementsAreReachedOverFillers() {
    float[] x = new float[262_144];
    x[0] = 3;
    x[262_143] = -5;
    byte[] coded = encode(x, 2);
    assertThat(coded).hasSize(4 + 4 * (2 + 3));
    assertThat(TopK.fault(MemorySegment.ofArray(coded), x.length)).isNull();
    assertThat(decode(coded, x.length)).containsExactly(x);
    x[0] = 0;
    assertThat(decode(encode(x, 1), x.length)).containsExactly(x);
  }

  @Test
  void aFractionIsAtLeastOneElement() {
    assertThat(TopK.count(0, 0.01)).isZero();
    assertThat(TopK.count(10, 0.01)).isEqualTo(1);
    assertThat(TopK.count(4096, 0.01)).isEqualTo(41);
    assertThat(TopK.count(4096, 1)).isEqualTo(4096);
  }

  @Test
  void aNanIsSentAndFound() {
    float[] x = new float[300];
    x[200] = Float.NaN;
    x[3] = 1;
    byte[] coded = encode(x, 2);
    for (Kernels k : List.of(Kernels.scalar(), K)) {
      assertThat(Codec.TOPK.firstNonFinite(k, MemorySegment.ofArray(coded), 0, 300)).isEqualTo(200);
    }
    assertThat(Codec.TOPK.firstNonFinite(K, MemorySegment.ofArray(encode(x, 0)), 0, 300))
        .isEqualTo(-1);
  }

  @Test
  void hostileBytesAreNamedAndNotDecoded() {
    byte[] good = encode(new float[] {1, 2, 3, 4}, 2);
    assertFault(Arrays.copyOf(good, 3), 4, "value=3 bytes");
    assertFault(Arrays.copyOf(good, 8), 4, "count 2 takes 12 bytes: value=8");
    assertFault(good, 1, "value=2 allowed=0..1");
    assertFault(good, 3, "index of entry 1 of topk: value=3 allowed=0..2");
    byte[] negative = good.clone();
    negative[3] = -1;
    assertFault(negative, 4, "value=4278190082 allowed=0..4");
    byte[] far = good.clone();
    far[4] = -1;
    far[5] = -1;
    assertFault(far, 4, "index of entry 0 of topk: value=65535");
    assertThatThrownBy(() -> decode(far, 4)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> decode(negative, 4)).isInstanceOf(IndexOutOfBoundsException.class);
  }

  private static void assertFault(byte[] payload, int n, String message) {
    assertThat(TopK.fault(MemorySegment.ofArray(payload), n)).contains(message);
  }

  @Property(tries = 300)
  void whatHasNoFaultDecodes(
      @ForAll @Size(max = 60) byte[] bytes, @ForAll @IntRange(max = 400) int n) {
    if (bytes.length >= 4) {
      bytes[1] = bytes[2] = bytes[3] = 0; // a count that has a chance
      bytes[0] = (byte) (bytes.length / 4 - 1);
    }
    if (TopK.fault(MemorySegment.ofArray(bytes), n) == null) {
      assertThat(Codec.TOPK.fits(DType.F32, n, bytes.length)).isTrue();
      assertThat(decode(bytes, n)).hasSize(n);
    }
  }

  @Test
  void onlyTopkMayBeShorterThanItsElementsSay() {
    assertThat(Codec.TOPK.fits(DType.F32, 100, 4)).isTrue();
    assertThat(Codec.TOPK.fits(DType.F32, 100, 404)).isTrue();
    assertThat(Codec.TOPK.fits(DType.F32, 100, 408)).isFalse();
    assertThat(Codec.TOPK.fits(DType.F32, 100, 6)).isFalse();
    assertThat(Codec.TOPK.fits(DType.F32, 100, 0)).isFalse();
    assertThat(Codec.SIGN1.fits(DType.F32, 300, 72)).isTrue();
    assertThat(Codec.SIGN1.fits(DType.F32, 300, 36)).isFalse();
    assertThat(Codec.F32.fits(DType.F32, 300, 1200)).isTrue();
  }

  @Test
  void sign1KeepsSignsAndTheMeanMagnitude() {
    float[] x = new float[300];
    for (int i = 0; i < x.length; i++) {
      x[i] = i % 3 == 0 ? -i : i;
    }
    MemorySegment coded = MemorySegment.ofArray(new byte[72]);
    Codec.SIGN1.encode(K, Memory.ofFloats(x), 0, coded, 0, 300);
    MemorySegment f32 = MemorySegment.ofArray(new byte[1200]);
    Codec.SIGN1.decode(K, coded, 0, f32, 0, 300);
    float[] y = Memory.floats(f32);
    assertThat(y[1]).isEqualTo(127.5f);
    assertThat(y[3]).isEqualTo(-127.5f);
    assertThat(y[256]).isEqualTo(277.5f); // of the 44 elements that are there
    assertThat(y[297]).isEqualTo(-277.5f);
  }
}
