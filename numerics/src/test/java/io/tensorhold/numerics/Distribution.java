package io.tensorhold.numerics;

import java.lang.foreign.MemorySegment;

/** The inputs of {@code src/test/python/codecs.py}, made here bit for bit as there. */
enum Distribution {
  UNIFORM(1) {
    @Override
    float value(long index, long word) {
      return ((word >>> 40) - 0x1p23f) * 0x1p-23f;
    }
  },
  NORMAL(2) {
    @Override
    float value(long index, long word) {
      return normal(word);
    }
  },
  HALVES(3) {
    @Override
    float value(long index, long word) {
      return ((word >>> 54) - 512f) * 0.125f;
    }
  },
  ANYBITS(4) {
    @Override
    float value(long index, long word) {
      int exponent = (int) ((word >>> 32) % 144);
      return Float.intBitsToFloat(((int) word & 0x807f_ffff) | exponent << 23);
    }
  },
  GROUPWISE(2) {
    @Override
    float value(long index, long word) {
      return normal(word) * Math.scalb(1f, (int) (index / 32 % 48) - 30);
    }
  };

  private final long seed;

  Distribution(long seed) {
    this.seed = seed;
  }

  abstract float value(long index, long word);

  private static float normal(long word) {
    int sum = 0;
    for (int shift = 0; shift < 64; shift += 16) {
      sum += (int) (word >>> shift) & 0xffff;
    }
    return (sum - 2 * 65535) * 0x1p-21f;
  }

  /** Writes values number first, first + 1 and so on. */
  void fill(MemorySegment f32, long first, int count) {
    for (int i = 0; i < count; i++) {
      long z = seed + (first + i + 1) * 0x9e37_79b9_7f4a_7c15L; // SplitMix64
      z = (z ^ (z >>> 30)) * 0xbf58_476d_1ce4_e5b9L;
      z = (z ^ (z >>> 27)) * 0x94d0_49bb_1331_11ebL;
      z ^= z >>> 31;
      f32.set(ScalarKernels.INT, 4L * i, Float.floatToRawIntBits(value(first + i, z)));
    }
  }
}
