package io.tensorhold.numerics;

import static org.assertj.core.api.Assertions.assertThat;

import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import org.junit.jupiter.api.Test;

class HouseTest {
  @Test
  void runs() {
    assertThat(Runtime.version().feature()).isGreaterThanOrEqualTo(25);
  }

  @Property(tries = 10)
  boolean property(@ForAll int x) {
    return x == x + 0;
  }
}
