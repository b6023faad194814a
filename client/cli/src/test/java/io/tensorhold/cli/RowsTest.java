package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Session;
import io.tensorhold.client.Table;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Tables over the wire, on one server. */
class RowsTest {
  private static final int DIM = 8;

  @TempDir private Path folder;

  static ModelSpec.Builder spec(String name, Durability durability) {
    ModelSpec.Builder model = ModelSpec.newBuilder().setName(name).setDurability(durability);
    model.getOptimizerBuilder().setKind("adagrad").putHyper("lr", 0.5);
    ParameterSpec.Builder table = model.addParametersBuilder().setName("rows").setDtype(DType.F32);
    table.getTableBuilder().setDim(DIM).getInitializerBuilder().setKind("normal").setSeed(5);
    return model;
  }

  static float[] pull(TensorholdClient client, Table table, long... keys) {
    float[] values = new float[keys.length * table.dim()];
    client.pullRows(table, keys, values).join();
    return values;
  }

  @ParameterizedTest
  @EnumSource(
      value = Durability.class,
      names = {"LOGGED", "CHECKPOINTED"})
  void adagradOnRowsIsThatOfAPlainLoop(Durability durability) throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect();
        Session session = client.openSession("test")) {
      Table table = client.create(spec("m", durability).build()).table("rows");
      Random random = new Random(1);
      Map<Long, float[]> weights = new HashMap<>();
      Map<Long, float[]> sums = new HashMap<>();
      for (int step = 0; step < 20; step++) {
        long[] keys = random.longs(500, -300, 300).map(k -> k * 0x1234_5678_9ab1L).toArray();
        float[] gradients = new float[keys.length * DIM];
        for (int i = 0; i < gradients.length; i++) {
          gradients[i] = (float) random.nextGaussian();
        }
        float[] before = pull(client, table, keys);
        session.pushRows(table, Operation.GRADIENT, keys, gradients).join();
        Map<Long, float[]> summed = new HashMap<>();
        for (int i = 0; i < keys.length; i++) {
          int at = i * DIM;
          weights.computeIfAbsent(keys[i], k -> Arrays.copyOfRange(before, at, at + DIM));
          assertThat(Arrays.copyOfRange(before, at, at + DIM)).isEqualTo(weights.get(keys[i]));
          float[] sum = summed.computeIfAbsent(keys[i], k -> new float[DIM]);
          for (int e = 0; e < DIM; e++) {
            sum[e] += gradients[at + e];
          }
        }
        summed.forEach(
            (key, g) -> {
              float[] w = weights.get(key);
              float[] s = sums.computeIfAbsent(key, k -> new float[DIM]);
              for (int e = 0; e < DIM; e++) {
                s[e] = Math.fma(g[e], g[e], s[e]);
                w[e] = w[e] - (0.5f * g[e]) / ((float) Math.sqrt(s[e]) + 1e-10f);
              }
            });
      }
      for (Map.Entry<Long, float[]> row : weights.entrySet()) {
        assertThat(pull(client, table, row.getKey())).isEqualTo(row.getValue());
      }
      if (durability == Durability.CHECKPOINTED) {
        client.checkpoint(table.model());
        for (Map.Entry<Long, float[]> row : weights.entrySet()) {
          assertThat(pull(client, table, row.getKey())).isEqualTo(row.getValue());
        }
      }
    }
  }

  @Test
  void addAssignAndRowsThatWereNeverWritten() throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB");
        TensorholdClient client = server.connect();
        Session session = client.openSession("test")) {
      Table table = client.create(spec("m", Durability.LOGGED).build()).table("rows");
      float[] twice = new float[2 * DIM];
      Arrays.fill(twice, 0, DIM, 1);
      Arrays.fill(twice, DIM, 2 * DIM, 2);
      session.pushRows(table, Operation.ASSIGN, new long[] {7, 7}, twice).join();
      assertThat(pull(client, table, 7)).containsOnly(2);
      session.pushRows(table, Operation.ADD, new long[] {7, 7}, twice).join();
      assertThat(pull(client, table, 7)).containsOnly(5);
      float[] values = new float[4 * DIM];
      BitSet unseen = client.pullWrittenRows(table, new long[] {9, 7, -9, 7}, values).join();
      assertThat(unseen.stream().toArray()).containsExactly(0, 2);
      assertThat(Arrays.copyOfRange(values, DIM, 2 * DIM)).containsOnly(5);
      assertThat(Arrays.copyOfRange(values, 3 * DIM, 4 * DIM)).containsOnly(5);
      assertThat(Arrays.copyOfRange(values, 0, DIM)).containsOnly(0);
      float[] nine = pull(client, table, 9);
      assertThat(nine).doesNotContain(0f);
      assertThat(pull(client, table, 7, 9)).endsWith(nine);
      assertThat((double) nine[0]).isCloseTo(0, within(0.3));
    }
  }

  @Test
  void aBatchOfAHundredThousandRowsComesBackInTheCallersOrder() throws Exception {
    try (LocalServer server = new LocalServer(folder, "256MiB");
        TensorholdClient client = server.connect();
        Session session = client.openSession("test")) {
      Table table = client.create(spec("m", Durability.LOGGED).build()).table("rows");
      long[] keys = new Random(3).longs(100_000).toArray();
      float[] values = new float[keys.length * DIM];
      for (int i = 0; i < values.length; i++) {
        values[i] = i;
      }
      session.pushRows(table, Operation.ASSIGN, keys, values).join();
      assertThat(pull(client, table, keys)).isEqualTo(values);
    }
  }

  @Test
  void aTableTenTimesItsBudgetIsWholeAfterARestart() throws Exception {
    long[] keys = new Random(4).longs(60_000).toArray();
    float[] values = new float[keys.length * DIM];
    for (int i = 0; i < values.length; i++) {
      values[i] = i % 1000;
    }
    try (LocalServer server = new LocalServer(folder, "1MiB");
        TensorholdClient client = server.connect();
        Session session = client.openSession("test")) {
      ModelHandle model = client.create(spec("m", Durability.LOGGED).build());
      for (int from = 0; from < keys.length; from += 1000) {
        var _ =
            session.pushRows(
                model.table("rows"),
                Operation.ASSIGN,
                Arrays.copyOfRange(keys, from, from + 1000),
                Arrays.copyOfRange(values, from * DIM, (from + 1000) * DIM));
      }
      session.flush();
      assertThat(pull(client, model.table("rows"), keys)).isEqualTo(values);
      assertThat(client.status(false).values().iterator().next().getMemoryTierBytes())
          .isLessThan(2 << 20);
    }
    try (LocalServer server = new LocalServer(folder, "1MiB");
        TensorholdClient client = server.connect()) {
      assertThat(pull(client, client.model("m").table("rows"), keys)).isEqualTo(values);
    }
  }

  @Test
  void commandsCreateAndShowTablesAndDoNotLeaveRowsOut() throws Exception {
    try (LocalServer server = new LocalServer(folder, "64MiB")) {
      String at = server.address();
      Path file = folder.resolve("words.safetensors");
      assertThat(
              Main.run(
                  "create-table",
                  "words",
                  "--dim",
                  "4",
                  "--initializer",
                  "uniform",
                  "--init",
                  "low=1",
                  "--init",
                  "high=2",
                  "--optimizer",
                  "adagrad_row",
                  "-s",
                  at))
          .isZero();
      assertThat(Main.run("describe", "words", "--tensors", "-s", at)).isZero();
      assertThat(Main.run("ls", "-s", at)).isZero();
      assertThat(Main.run("pull-rows", "words", "rows", "--text", "king", "-s", at)).isZero();
      assertThat(Main.run("pull-rows", "words", "rows", "king", "-s", at)).isEqualTo(1);
      assertThat(Main.run("pull", "words", "rows", "-s", at)).isEqualTo(1);
      assertThat(Main.run("export", "words", file.toString(), "-s", at)).isEqualTo(1);
      assertThat(file).doesNotExist();
      try (TensorholdClient client = server.connect()) {
        Table table = client.model("words").table("rows");
        for (float value : pull(client, table, Table.key("king"))) {
          assertThat(value).isBetween(1f, 2f);
        }
      }
    }
  }
}
