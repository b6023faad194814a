package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class ShapeTest {
  @Test
  void elementsAreTheProduct() {
    assertThat(Shape.of().elements()).isEqualTo(1);
    assertThat(Shape.of(2, 3, 5).elements()).isEqualTo(30);
    assertThat(Shape.of(Long.MAX_VALUE).elements()).isEqualTo(Long.MAX_VALUE);
    assertThat(Shape.of(1L << 31, (1L << 32) - 1).elements()).isEqualTo((1L << 63) - (1L << 31));
  }

  @Test
  void aZeroExtentMakesAnEmptyTensorWhateverTheOthers() {
    assertThat(Shape.of(Long.MAX_VALUE, Long.MAX_VALUE, 0).elements()).isZero();
    assertThat(Shape.of(0, Long.MAX_VALUE, Long.MAX_VALUE).elements()).isZero();
  }

  @Test
  void hostileShapesAreRefused() {
    assertThatThrownBy(() -> Shape.of(2, -1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("dimension 1 of [2, -1]");
    assertThatThrownBy(() -> Shape.of(0, -1)).isInstanceOf(IllegalArgumentException.class);
    for (long[] dims :
        new long[][] {{1L << 32, 1L << 31}, {1L << 32, 1L << 32}, {3, Long.MAX_VALUE}}) {
      assertThatThrownBy(() -> Shape.of(dims))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("too many elements");
    }
    assertThatThrownBy(() -> Shape.of(new long[33]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("value=33 limit=32");
    assertThat(Shape.of(new long[32]).rank()).isEqualTo(32);
  }

  @Test
  void aShapeIsAValueThatNobodyCanChange() {
    long[] dims = {2, 3};
    Shape shape = Shape.of(dims);
    dims[0] = 9;
    shape.dims()[1] = 9;
    assertThat(shape).isEqualTo(Shape.of(2, 3)).hasSameHashCodeAs(Shape.of(2, 3));
    assertThat(shape).isNotEqualTo(Shape.of(3, 2)).hasToString("[2, 3]");
    assertThat(Shape.of()).hasToString("[]");
  }
}
