package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import org.junit.jupiter.api.Test;

class DTypeTest {
  @Test
  void idsOnDiskAreThoseOfTheProtocol() {
    assertThat(Arrays.stream(DType.values()).map(d -> d.id() + " " + d + " " + d.bits()))
        .containsExactly(
            "1 BOOL 8",
            "2 U8 8",
            "3 I8 8",
            "4 F8_E4M3 8",
            "5 F8_E5M2 8",
            "6 F8_E8M0 8",
            "7 F4 4",
            "8 F6_E2M3 6",
            "9 F6_E3M2 6",
            "10 I16 16",
            "11 U16 16",
            "12 F16 16",
            "13 BF16 16",
            "14 I32 32",
            "15 U32 32",
            "16 F32 32",
            "17 C64 64",
            "18 F64 64",
            "19 I64 64",
            "20 U64 64");
  }

  @Test
  void idsAndNamesLeadBack() {
    for (DType dtype : DType.values()) {
      assertThat(DType.ofId(dtype.id())).isEqualTo(dtype);
      assertThat(DType.ofName(dtype.name())).isEqualTo(dtype);
    }
  }

  @Test
  void unknownIdsAndNamesAreRefused() {
    for (int id : new int[] {-1, 0, 21}) {
      assertThatThrownBy(() -> DType.ofId(id))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("value=" + id)
          .hasMessageContaining("1..20");
    }
    assertThatThrownBy(() -> DType.ofName("f32"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("value=\"f32\"")
        .hasMessageContaining("BF16, I32, U32, F32");
  }

  @Test
  void packedElementsEndOnAWholeByte() {
    assertThat(DType.F4.bytes(6)).isEqualTo(3);
    assertThat(DType.F6_E2M3.bytes(4)).isEqualTo(3);
    assertThat(DType.F64.bytes(0)).isZero();
    assertThatThrownBy(() -> DType.F4.bytes(3)).isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> DType.F6_E3M2.bytes(2)).isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> DType.F32.bytes(-1)).isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void sizesThatOverflowAreRefused() {
    assertThat(DType.U8.bytes(Long.MAX_VALUE)).isEqualTo(Long.MAX_VALUE);
    assertThatThrownBy(() -> DType.F32.bytes(1L << 61)).isInstanceOf(ArithmeticException.class);
    assertThatThrownBy(() -> DType.F4.bytes(1L << 62)).isInstanceOf(ArithmeticException.class);
  }

  @Test
  void onlyThreeDtypesAreComputedWith() {
    assertThat(Arrays.stream(DType.values()).filter(DType::computable))
        .containsExactly(DType.F16, DType.BF16, DType.F32);
  }
}
