package io.tensorhold.numerics;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The choice of kernels, made once, when first asked for. {@link VectorKernels} is not touched, and
 * so not loaded, where its incubator module is absent.
 */
final class KernelChoice {
  static final Kernels BEST = choose(ModuleLayer.boot());

  private KernelChoice() {}

  /** The kernels for a JVM with these modules; says in the log which, and why if not SIMD. */
  static Kernels choose(ModuleLayer modules) {
    Logger log = LoggerFactory.getLogger(Kernels.class);
    if (modules.findModule("jdk.incubator.vector").isEmpty()) {
      log.warn(
          "Scalar kernels, several times slower: the JVM runs without the Vector API;"
              + " start it with --add-modules=jdk.incubator.vector");
      return Kernels.scalar();
    }
    if (VectorKernels.lanes() < VectorKernels.FEWEST_LANES) {
      log.warn(
          "Scalar kernels: this processor's vectors are too short: value={} f32 lanes limit>={}",
          VectorKernels.lanes(),
          VectorKernels.FEWEST_LANES);
      return Kernels.scalar();
    }
    Kernels simd = new VectorKernels();
    log.info("Kernels: {}", simd.name());
    return simd;
  }
}
