package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import org.junit.jupiter.api.Test;

class DTypeTest {
  @Test
  void idsOnDiskAreThoseOfTheProtocol() {
    assertThat(
            Arrays.stream(DType.values())
                .filter(d -> d.bits() > 0)
                .map(d -> d.id() + " " + d + " " + d.bits()))
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
      assertThat(DType.isKnown(dtype.id())).isTrue();
      if (dtype.bits() > 0) {
        assertThat(DType.ofName(dtype.name())).isEqualTo(dtype);
      } else {
        assertThatThrownBy(() -> DType.ofName(dtype.name()))
            .isInstanceOf(IllegalArgumentException.class);
      }
    }
  }

  /** Elements and bytes of a block, from GGML_QUANT_SIZES of the gguf package 0.19.0. */
  @Test
  void blocksOfGgmlHaveItsNumbersAndSizes() {
    assertThat(
            Arrays.stream(DType.values())
                .filter(d -> d.bits() == 0)
                .map(d -> d.id() - 64 + " " + d + " " + d.group() + " " + d.bytes(d.group())))
        .containsExactly(
            "3 GGML_Q4_1 32 20",
            "6 GGML_Q5_0 32 22",
            "7 GGML_Q5_1 32 24",
            "9 GGML_Q8_1 32 40",
            "10 GGML_Q2_K 256 84",
            "11 GGML_Q3_K 256 110",
            "12 GGML_Q4_K 256 144",
            "13 GGML_Q5_K 256 176",
            "14 GGML_Q6_K 256 210",
            "15 GGML_Q8_K 256 292",
            "16 GGML_IQ2_XXS 256 66",
            "17 GGML_IQ2_XS 256 74",
            "18 GGML_IQ3_XXS 256 98",
            "19 GGML_IQ1_S 256 50",
            "20 GGML_IQ4_NL 32 18",
            "21 GGML_IQ3_S 256 110",
            "22 GGML_IQ2_S 256 82",
            "23 GGML_IQ4_XS 256 136",
            "29 GGML_IQ1_M 256 56",
            "34 GGML_TQ1_0 256 54",
            "35 GGML_TQ2_0 256 66",
            "39 GGML_MXFP4 32 17",
            "40 GGML_NVFP4 64 36",
            "41 GGML_Q1_0 128 18");
  }

  @Test
  void unknownIdsAndNamesAreRefused() {
    for (int id : new int[] {-1, 0, 21, 64, 66, 127, 128}) {
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
    assertThat(DType.F4.bytes(1L << 62)).isEqualTo(1L << 61);
    assertThatThrownBy(() -> DType.GGML_Q8_1.bytes(Long.MAX_VALUE - 31))
        .isInstanceOf(ArithmeticException.class);
  }

  @Test
  void onlyThreeDtypesAreComputedWith() {
    assertThat(Arrays.stream(DType.values()).filter(DType::computable))
        .containsExactly(DType.F16, DType.BF16, DType.F32);
  }
}
