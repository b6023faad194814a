package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.LongRange;
import org.junit.jupiter.api.Test;

class BlocksTest {
  @Property(tries = 200)
  void blocksTogetherAreTheTensor(
      @ForAll @LongRange(min = 0, max = 20_000) long elements,
      @ForAll @IntRange(min = 1, max = 5) int multiple) {
    int size = multiple * Blocks.MULTIPLE;
    long sum = 0;
    int count = Blocks.count(elements, size);
    for (int block = 0; block < count; block++) {
      int in = Blocks.elementsIn(elements, size, block);
      assertThat(in).isPositive().isLessThanOrEqualTo(size);
      assertThat(block == count - 1 || in == size).isTrue();
      sum += in;
    }
    assertThat(sum).isEqualTo(elements);
  }

  @Test
  void theDefaultBlockIsAMebibyteOfF32() {
    assertThat(4 * Blocks.DEFAULT_ELEMENTS).isEqualTo(1 << 20);
    assertThat(Blocks.count(Blocks.DEFAULT_ELEMENTS + 1L, Blocks.DEFAULT_ELEMENTS)).isEqualTo(2);
  }

  @Test
  void whatCannotBeDividedIsRefused() {
    for (int size : new int[] {0, -256, 100, 257}) {
      assertThatThrownBy(() -> Blocks.count(10, size))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("multiple of 256 elements: value=" + size);
    }
    assertThatThrownBy(() -> Blocks.count(-1, 256)).isInstanceOf(IllegalArgumentException.class);
    assertThat(Blocks.count(256L * Integer.MAX_VALUE, 256)).isEqualTo(Integer.MAX_VALUE);
    assertThatThrownBy(() -> Blocks.count(256L * Integer.MAX_VALUE + 1, 256))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("limit=2147483647");
    for (int block : new int[] {-1, 2}) {
      assertThatThrownBy(() -> Blocks.elementsIn(300, 256, block))
          .isInstanceOf(IndexOutOfBoundsException.class)
          .hasMessageContaining("value=" + block);
    }
  }
}
