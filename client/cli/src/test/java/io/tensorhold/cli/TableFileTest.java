package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.client.Session;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.checkpoint.SafetensorsWriter;
import io.tensorhold.client.checkpoint.TensorSpec;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.RowSummary;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Tables that are scanned, counted, written to files, and restored from them. */
@Timeout(120)
class TableFileTest {
  private static final int DIM = 8;
  private static final int ROWS = 20_000;

  @TempDir private Path folder;

  private static ModelSpec spec(String name, Durability durability, Codec codec) {
    ModelSpec.Builder model = RowsTest.spec(name, durability);
    model.getParametersBuilder(0).setCodecValue(codec.id());
    // Its seed is its id, which is another one after it was restored.
    model.getParametersBuilder(0).getTableBuilder().getInitializerBuilder().clearSeed();
    return model.build();
  }

  private static long[] keys(long seed) {
    return new Random(seed).longs(ROWS).distinct().toArray();
  }

  private static void gradients(Session session, Table table, long[] keys, long seed) {
    Random random = new Random(seed);
    float[] values = new float[keys.length * DIM];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    session.pushRows(table, Operation.GRADIENT, keys, values).join();
  }

  private static int run(LocalServer server, String... command) {
    return Main.run(
        Stream.concat(Arrays.stream(command), Stream.of("-s", server.address()))
            .toArray(String[]::new));
  }

  /** Some keys were never written. */
  private static long[] asked() {
    long[] asked = Arrays.copyOf(keys(1), ROWS + 1000);
    Arrays.setAll(asked, i -> i < ROWS ? asked[i] : i);
    return asked;
  }

  @ParameterizedTest
  @CsvSource({"F32,LOGGED,1MiB", "BF16,LOGGED,1MiB", "Q8_0,CHECKPOINTED,64MiB"})
  void aTableOfFourShardsIsTheSameOnSeven(Codec codec, Durability durability, String memory)
      throws Exception {
    String file = folder.resolve("table.safetensors").toString();
    long[] half = Arrays.copyOf(keys(1), ROWS / 2);
    float[] before;
    float[] after;
    try (LocalServer four = new LocalServer(folder.resolve("4"), memory, "1MiB", 4);
        TensorholdClient client = four.connect();
        Session session = client.openSession("test")) {
      Table table = client.create(spec("m", durability, codec)).table("rows");
      gradients(session, table, keys(1), 2);
      if (durability == Durability.CHECKPOINTED) {
        client.checkpoint(table.model());
      }
      gradients(session, table, half, 3);
      before = RowsTest.pull(client, table, asked());
      assertThat(run(four, "export-table", "m", "rows", file, "--state")).isZero();
      gradients(session, table, half, 4);
      after = RowsTest.pull(client, table, asked());
    }
    try (LocalServer seven = new LocalServer(folder.resolve("7"), memory, "1MiB", 7);
        TensorholdClient client = seven.connect();
        Session session = client.openSession("test")) {
      client.create(spec("other", Durability.LOGGED, Codec.F32)); // ids are others here
      assertThat(run(seven, "import-table", file, "again")).isZero();
      Table table = client.model("again").table("rows");
      assertThat(table.codec()).isEqualTo(codec);
      assertThat(RowsTest.pull(client, table, asked())).isEqualTo(before);
      gradients(session, table, half, 4);
      assertThat(RowsTest.pull(client, table, asked())).isEqualTo(after);
      RowSummary summary = client.scan(table).summary();
      assertThat(summary.getRows()).isEqualTo(ROWS);
      assertThat(summary.getStepsMap()).containsOnly(Map.entry(0, 10_000L), Map.entry(1, 10_000L));
    }
    assertThat(hidden()).isEmpty();
  }

  private List<Path> hidden() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.filter(file -> file.getFileName().toString().startsWith(".")).toList();
    }
  }

  @Test
  void aScanGivesEveryRowOnceAndStopsWhenItIsTold() throws Exception {
    try (LocalServer server = new LocalServer(folder, "1MiB");
        TensorholdClient client = server.connect();
        Session session = client.openSession("test")) {
      Table table = client.create(spec("m", Durability.LOGGED, Codec.F32)).table("rows");
      long[] keys = keys(1);
      gradients(session, table, keys, 2);
      Arrays.sort(keys);
      float[] expected = RowsTest.pull(client, table, keys);
      TreeMap<Long, float[]> met = new TreeMap<>();
      client
          .scan(table)
          .values(
              (some, values) -> {
                for (int i = 0; i < some.length; i++) {
                  float[] row = Arrays.copyOfRange(values, i * DIM, (i + 1) * DIM);
                  assertThat(met.put(some[i], row)).isNull();
                }
                return true;
              });
      assertThat(met).hasSize(keys.length);
      for (int i = 0; i < keys.length; i++) {
        assertThat(met.get(keys[i]))
            .isEqualTo(Arrays.copyOfRange(expected, i * DIM, i * DIM + DIM));
      }
      for (int i = 0; i < 40; i++) { // more than a server does at once: each gives its room back
        int[] calls = {0};
        client.scan(table).values((some, values) -> ++calls[0] > 1);
        assertThat(calls[0]).isEqualTo(1);
      }
      assertThat(run(server, "scan", "m", "rows", "--limit", "3")).isZero();
      assertThat(run(server, "scan", "m", "rows", "--limit", "0")).isEqualTo(1);
      assertThat(run(server, "count", "m", "rows")).isZero();
      assertThat(run(server, "count", "m", "rows", "--histogram")).isZero();
      assertThat(run(server, "count", "m", "none")).isEqualTo(1);
    }
  }

  private void write(Path file, DType ofKeys, long[] keys, long rows, float[] values)
      throws IOException {
    List<TensorSpec> specs =
        List.of(
            new TensorSpec("keys", ofKeys, Shape.of(keys.length)),
            new TensorSpec("values", DType.F32, Shape.of(rows, DIM)));
    try (SafetensorsWriter writer = SafetensorsWriter.create(file, specs, Map.of())) {
      ByteBuffer bytes = ByteBuffer.allocate(8 * keys.length).order(ByteOrder.LITTLE_ENDIAN);
      bytes.asLongBuffer().put(keys);
      writer.write("keys", 0, bytes);
      ByteBuffer floats = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
      floats.asFloatBuffer().put(values);
      writer.write("values", 0, floats);
      writer.finish();
    }
  }

  @Test
  void rowsFromElsewhereGoIntoATableThatIsThereAndWrongFilesChangeNothing() throws Exception {
    Path file = folder.resolve("in.safetensors");
    try (LocalServer server = new LocalServer(folder.resolve("data"), "64MiB");
        TensorholdClient client = server.connect()) {
      Table table = client.create(spec("m", Durability.LOGGED, Codec.F32)).table("rows");
      float[] values = new float[2 * DIM];
      Arrays.fill(values, DIM, 2 * DIM, 3);
      write(file, DType.I64, new long[] {5, -5}, 2, values);
      assertThat(run(server, "import-table", file.toString(), "nowhere")).isEqualTo(1);
      assertThat(run(server, "import-table", file.toString(), "m")).isZero();
      assertThat(RowsTest.pull(client, table, -5)).containsOnly(3);
      assertThat(RowsTest.pull(client, table, 5)).containsOnly(0);
      assertThat(client.scan(table).summary().getZero()).isEqualTo(1);

      write(file, DType.I64, new long[] {6, 7, 8}, 2, values);
      assertThat(run(server, "import-table", file.toString(), "m")).isEqualTo(1);
      write(file, DType.U64, new long[] {6, 7}, 2, values);
      assertThat(run(server, "import-table", file.toString(), "m")).isEqualTo(1);
      values[3] = Float.NaN;
      write(file, DType.I64, new long[] {6, 7}, 2, values);
      assertThat(run(server, "import-table", file.toString(), "m")).isEqualTo(1);
      assertThat(client.pullWrittenRows(table, new long[] {6}, new float[DIM]).join().get(0))
          .isTrue();
    }
  }
}
