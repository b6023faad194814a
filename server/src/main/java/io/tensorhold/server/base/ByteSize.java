package io.tensorhold.server.base;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A number of bytes as people write it: {@code 512MiB}, {@code 2GiB}, {@code 1048576}. */
public record ByteSize(long bytes) {
  private static final Pattern TEXT = Pattern.compile("(\\d{1,18})\\s*([kmgt]i?b|b)?");

  /** A size; not negative. */
  public ByteSize {
    if (bytes < 0) {
      throw new IllegalArgumentException("size: value=%d allowed=0 or more".formatted(bytes));
    }
  }

  /**
   * Reads a size; KB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB of 1024.
   *
   * @param name of the setting, for the message
   * @throws IllegalArgumentException if the text is no size
   */
  public static ByteSize of(String name, String text) {
    Matcher matcher = TEXT.matcher(text.strip().toLowerCase(Locale.ROOT));
    if (!matcher.matches()) {
      throw new IllegalArgumentException(
          "%s: value=\"%s\" allowed=a number with B, KiB, MiB, GiB or TiB, such as 512MiB"
              .formatted(name, text));
    }
    String unit = matcher.group(2);
    long factor = 1;
    if (unit != null && unit.length() > 1) {
      int power = "kmgt".indexOf(unit.charAt(0)) + 1;
      long base = unit.length() == 3 ? 1024 : 1000;
      for (int i = 0; i < power; i++) {
        factor *= base;
      }
    }
    try {
      return new ByteSize(Math.multiplyExact(Long.parseLong(matcher.group(1)), factor));
    } catch (ArithmeticException e) {
      throw new IllegalArgumentException(
          "%s: value=\"%s\" allowed=less than 8388608TiB".formatted(name, text), e);
    }
  }

  @Override
  public String toString() {
    String[] units = {"B", "KiB", "MiB", "GiB", "TiB"};
    long value = bytes;
    int unit = 0;
    while (value != 0 && value % 1024 == 0 && unit < 4) {
      value /= 1024;
      unit++;
    }
    return value + units[unit];
  }
}
