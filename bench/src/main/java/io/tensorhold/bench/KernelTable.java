package io.tensorhold.bench;

import io.tensorhold.numerics.Kernels;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/**
 * Runs {@link KernelBench} for every kernel, in cache and in DRAM, and prints one line for each:
 * name, elements, 10⁹ elements/s in Java and in C. Java and C of one kernel run right after each
 * other, because the speed of a machine drifts.
 */
public final class KernelTable {
  /** In cache: 64 KiB of f32. */
  private static final int IN_CACHE = 16 << 10;

  /** In DRAM: 256 MiB of f32, more than any cache. */
  private static final int IN_DRAM = 64 << 20;

  private KernelTable() {}

  /** Argument: a regular expression that is found in the names of the kernels to run. */
  public static void main(String[] args) throws RunnerException {
    Pattern wanted = Pattern.compile(args.length == 0 ? "" : args[0]);
    System.out.println("kernels " + Kernels.best().name());
    for (int elements : List.of(IN_CACHE, IN_DRAM)) {
      for (String kernel : KernelBench.names()) {
        if (wanted.matcher(kernel).find()) {
          print(kernel, elements, run(kernel, elements));
        }
      }
    }
  }

  private static Collection<RunResult> run(String kernel, int elements) throws RunnerException {
    return new Runner(
            new OptionsBuilder()
                .include(Pattern.quote(KernelBench.class.getName()))
                .param("kernel", kernel)
                .param("elements", Integer.toString(elements))
                .forks(1) // with this JVM's flags: the Vector API's among them
                .warmupIterations(kernel.endsWith("_float8") ? 20 : 5) // it compiles five loops
                .warmupTime(TimeValue.milliseconds(500))
                .measurementIterations(5)
                .measurementTime(TimeValue.milliseconds(200))
                .shouldFailOnError(true)
                .verbosity(VerboseMode.SILENT)
                .build())
        .run();
  }

  private static void print(String kernel, int elements, Collection<RunResult> results) {
    double java = 0;
    double c = 0;
    for (RunResult result : results) {
      double speed = elements / result.getPrimaryResult().getScore();
      if (result.getPrimaryResult().getLabel().equals("java")) {
        java = speed;
      } else {
        c = speed;
      }
    }
    System.out.printf(Locale.ROOT, "%s %d %.3f %.3f%n", kernel, elements, java, c);
  }
}
