package io.tensorhold.numerics;

/** The choice of kernels, made once, when first asked for. */
final class KernelChoice {
  static final Kernels BEST = choose();

  private KernelChoice() {}

  private static Kernels choose() {
    return Kernels.scalar();
  }
}
