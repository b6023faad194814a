package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A server whose disk has less free than its reserve. */
class FullDiskTest {
  @TempDir private Path data;

  @Test
  void writesAreRefusedReadsGoOnAndItRecovers() throws Exception {
    MemorySegment ones = MemorySegment.ofArray(new float[] {1, 1});
    try (LocalServer server = new LocalServer(data, "16MiB");
        TensorholdClient client = server.connect();
        Session session = client.openSession("before")) {
      Parameter w =
          client
              .create(
                  ModelSpec.newBuilder()
                      .setName("m")
                      .addParameters(
                          ParameterSpec.newBuilder().setName("w").setDtype(DType.F32).addDims(2))
                      .build())
              .parameter("w");
      session.push(w, Operation.ADD, Codec.F32, ones).join();
    }
    try (LocalServer server = new LocalServer(data, "16MiB", "1000TiB");
        TensorholdClient client = server.connect()) {
      assertThat(client.pullFloats(client.model("m").parameter("w"))).containsOnly(1);
      Throwable refused = catchThrowable(() -> client.openSession("full"));
      assertThat(refused).isInstanceOf(TensorholdException.class);
      assertThat(((TensorholdException) refused).reason()).isEqualTo("DISK_FULL");
      assertThat(client.status(false).values()).allMatch(status -> status.getDiskFull());
    }
    try (LocalServer server = new LocalServer(data, "16MiB");
        TensorholdClient client = server.connect();
        Session session = client.openSession("after")) {
      Parameter w = client.model("m").parameter("w");
      session.push(w, Operation.ADD, Codec.F32, ones).join();
      assertThat(client.pullFloats(w)).containsOnly(2);
    }
  }
}
