package io.tensorhold.bench;

import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Optimizer;
import io.tensorhold.numerics.Rounding;
import io.tensorhold.numerics.Schedule;
import io.tensorhold.numerics.StateCodec;
import io.tensorhold.numerics.UpdateRule;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/**
 * One kernel over one array, in Java and as the same loop in C, which is called through the foreign
 * function interface on the same memory. The time is of one pass over all elements.
 *
 * <p>Kernels are named as the functions of {@code kernels.c}: {@code encode_} and {@code decode_}
 * with a codec's label, {@code step_} with an optimizer's kind and, if its slots are not f32, their
 * codec.
 */
@SuppressWarnings("restricted") // the C library is ours, made just now
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class KernelBench {
  /** The system property that names the shared library made of kernels.c. */
  static final String LIBRARY = "tensorhold.bench.kernels";

  private static final List<String> OPTIMIZERS =
      List.of("sgd", "adam", "adagrad", "rmsprop", "adadelta", "ftrl", "lion", "lamb");
  private static final int MOST_SLOTS = 2;

  /** The end of the name of a step whose slots are encoded. */
  private static final String FLOAT8 = "_float8";

  /** A step number at which Adam's corrections are neither 0 nor 1. */
  private static final long STEP = 100;

  // Constant handles, so that a call costs as little as in C: without a change of thread state.
  private static final MethodHandle NATIVE =
      Linker.nativeLinker()
          .downcallHandle(
              FunctionDescriptor.ofVoid(
                  ValueLayout.ADDRESS, ValueLayout.ADDRESS, ValueLayout.JAVA_LONG),
              Linker.Option.critical(false));

  /** What is timed. */
  @Param("encode_q8_0")
  public String kernel = "";

  /** Elements of the array. */
  @Param("16384")
  public int elements;

  private final Kernels kernels = Kernels.best();
  private final Arena arena = Arena.ofAuto();
  private MemorySegment f32 = MemorySegment.NULL;
  private MemorySegment other = MemorySegment.NULL;
  private MemorySegment function = MemorySegment.NULL;
  private Runnable pass = () -> {};

  /** Every kernel that there is, in the order in which they are shown. */
  static List<String> names() {
    List<String> names = new ArrayList<>();
    for (Codec codec : Codec.values()) {
      if (codec.computable() && codec.fixedSize() && codec != Codec.F32) {
        names.add("encode_" + codec.label());
        names.add("decode_" + codec.label());
      }
    }
    OPTIMIZERS.forEach(kind -> names.add("step_" + kind));
    names.add("step_adam" + FLOAT8);
    return names;
  }

  /** Allocates and fills the memory, and finds the kernel in Java and in C. */
  @Setup
  public void prepare() {
    int cut = kernel.indexOf('_');
    String verb = kernel.substring(0, cut);
    String subject = kernel.substring(cut + 1);
    if (subject.endsWith(FLOAT8)) {
      String kind = subject.substring(0, subject.length() - FLOAT8.length());
      prepareRule(Optimizer.of(kind, Map.of()), StateCodec.FLOAT8);
    } else if (verb.equals("step")) {
      prepareStep(Optimizer.of(subject, Map.of()));
    } else {
      prepareCodec(verb, Codec.ofName(subject));
    }
    String library = System.getProperty(LIBRARY, "");
    function =
        SymbolLookup.libraryLookup(Path.of(library), arena)
            .find(kernel)
            .orElseThrow(() -> new IllegalStateException(kernel + " is not in " + library));
  }

  private void prepareCodec(String verb, Codec codec) {
    MemorySegment values = arena.allocate(4L * elements, 64);
    MemorySegment coded = arena.allocate(codec.bytes(DType.F32, elements), 64);
    fill(values, elements);
    codec.encode(kernels, values, 0, coded, 0, elements);
    if (verb.equals("encode")) {
      f32 = values;
      other = coded;
      pass = () -> codec.encode(kernels, values, 0, coded, 0, elements);
    } else {
      f32 = coded;
      other = values;
      pass = () -> codec.decode(kernels, coded, 0, values, 0, elements);
    }
  }

  /** Weights, gradients and slots in one piece of memory, which is what the loops in C expect. */
  private void prepareStep(Optimizer optimizer) {
    long bytes = 4L * elements;
    MemorySegment all = arena.allocate(bytes * (2 + MOST_SLOTS), 64);
    fill(all, 2L * elements);
    f32 = all;
    other = all.asSlice(bytes, bytes);
    pass = () -> optimizer.step(kernels, STEP, all, 0, all, bytes, all, 2 * bytes, bytes, elements);
  }

  /** The same, with slots in a codec, which a step decodes and encodes. */
  private void prepareRule(Optimizer optimizer, StateCodec codec) {
    UpdateRule rule = new UpdateRule(optimizer, Schedule.CONSTANT, 0, 0, codec, Rounding.NEAREST);
    UpdateRule.Command command = new UpdateRule.Command(STEP, 1, 1, 1);
    long bytes = 4L * elements;
    MemorySegment all = arena.allocate(2 * bytes + rule.stateBytes(elements), 64);
    MemorySegment scratch = arena.allocate(rule.scratchBytes(), 64);
    fill(all, 2L * elements);
    rule.initialize(kernels, all, 2 * bytes, elements);
    f32 = all;
    other = all.asSlice(bytes, bytes);
    pass =
        () ->
            rule.step(
                kernels, command, all, 0, all, bytes, all, 2 * bytes, 0, elements, elements,
                scratch);
  }

  private static void fill(MemorySegment f32, long n) {
    SplittableRandom random = new SplittableRandom(1);
    for (long i = 0; i < n; i++) {
      // the sum of four uniform values is near enough to a normal one
      double sum =
          random.nextDouble() + random.nextDouble() + random.nextDouble() + random.nextDouble();
      f32.setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) ((sum - 2) * 0.02));
    }
  }

  /** One pass of our kernel. */
  @Benchmark
  public void java() {
    pass.run();
  }

  /** One pass of the loop in C. */
  @Benchmark
  public void c() throws Throwable {
    NATIVE.invokeExact(function, f32, other, (long) elements);
  }

  @Override
  public String toString() {
    return String.format(Locale.ROOT, "%s over %d", kernel, elements);
  }
}
