package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SliceTest {
  /** Per dimension: extent, start, stop. */
  @Provide
  Arbitrary<List<long[]>> hyperRectangles() {
    return Arbitraries.longs()
        .between(0, 5)
        .tuple3()
        .filter(t -> t.get1() <= t.get2() && t.get2() <= t.get3())
        .map(t -> new long[] {t.get3(), t.get1(), t.get2()})
        .list()
        .ofMaxSize(5);
  }

  @Property(tries = 500)
  void runsAreTheResultInRowMajorOrder(@ForAll("hyperRectangles") List<long[]> dims) {
    Slice slice = slice(dims);
    List<Long> naive = new ArrayList<>();
    enumerate(dims, 0, 0, naive);
    List<Long> fromRuns = new ArrayList<>();
    slice.forEachRun(
        (first, count) -> {
          assertThat(count).isPositive();
          // Maximal: a run that touched the one before it would have been part of it.
          assertThat(fromRuns.isEmpty() || fromRuns.getLast() + 1 < first).isTrue();
          for (long i = 0; i < count; i++) {
            fromRuns.add(first + i);
          }
        });
    assertThat(fromRuns).isEqualTo(naive);
    assertThat(slice.elements()).isEqualTo(naive.size());
  }

  @Property(tries = 200)
  void theTextOfASliceParsesBack(@ForAll("hyperRectangles") List<long[]> dims) {
    Slice slice = slice(dims);
    assertThat(Slice.parse(slice.toString(), slice.source())).isEqualTo(slice);
  }

  private static Slice slice(List<long[]> dims) {
    return Slice.of(
        Shape.of(dims.stream().mapToLong(d -> d[0]).toArray()),
        dims.stream().mapToLong(d -> d[1]).toArray(),
        dims.stream().mapToLong(d -> d[2]).toArray());
  }

  private static void enumerate(List<long[]> dims, int d, long flat, List<Long> out) {
    if (d == dims.size()) {
      out.add(flat);
      return;
    }
    for (long i = dims.get(d)[1]; i < dims.get(d)[2]; i++) {
      enumerate(dims, d + 1, flat * dims.get(d)[0] + i, out);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "0:10,:,3 | 0:10,0:20,3:4",
        "-3:,5 | 17:20,5:6,0:30",
        ":-1,-2,-1: | 0:19,18:19,29:30",
        "'' | 0:20,0:20,0:30",
        "' 1 : 2 , 3 ' | 1:2,3:4,0:30",
        "4:4 | 4:4,0:20,0:30"
      })
  void textIsReadAsNumPyReadsIt(String text, String expected) {
    assertThat(Slice.parse(text, Shape.of(20, 20, 30))).hasToString(expected);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"0:21", "20", "-21", "-21:", "5:4", "::2", "0:10:2", "a", ",", "1,2,3,4", "1e3:"})
  void textThatLeavesTheShapeOrTheFormIsRefused(String text) {
    assertThatThrownBy(() -> Slice.parse(text, Shape.of(20, 20, 30)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("value=");
  }

  @Test
  void aSliceHasAsManyBoundsAsItsShapeDimensions() {
    assertThatThrownBy(() -> Slice.of(Shape.of(2, 3), new long[1], new long[2]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("needs 2 starts and stops: value=1 and 2");
  }

  @Test
  void hugeTensorsAreCutWithoutOverflow() {
    long side = 3_000_000_000L;
    List<Long> runs = new ArrayList<>();
    Slice.parse("-2:,-1", Shape.of(side, side))
        .forEachRun(
            (first, count) -> {
              runs.add(first);
              runs.add(count);
            });
    assertThat(runs).containsExactly(side * (side - 1) - 1, 1L, side * side - 1, 1L);
  }

  @Test
  void aScalarIsOneRun() {
    List<Long> runs = new ArrayList<>();
    Slice.all(Shape.of())
        .forEachRun(
            (first, count) -> {
              runs.add(first);
              runs.add(count);
            });
    assertThat(runs).containsExactly(0L, 1L);
  }
}
