package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.cli.demo.DemoProcesses;
import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.proto.v1.Codec;
import io.tensorhold.proto.v1.DType;
import io.tensorhold.proto.v1.Durability;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.proto.v1.PushRowsHeader;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * The first pushes of a session that joined nothing, to a CHECKPOINTED model: the leader applies
 * them, and dies before its answer arrives, so that they come again to the next leader, and know of
 * no term.
 */
@Timeout(120)
class LostAnswerTest {
  private static final int VALUES = 4;
  private static final String FLAG = "--shards=1";

  private static ModelHandle create(TensorholdClient client) {
    ModelSpec.Builder spec =
        ModelSpec.newBuilder().setName("m").setDurability(Durability.CHECKPOINTED);
    ParameterSpec.Builder tensor = spec.addParametersBuilder().setName("w").setDtype(DType.F32);
    tensor.addDims(VALUES);
    ParameterSpec.Builder table = spec.addParametersBuilder().setName("rows").setDtype(DType.F32);
    table.getTableBuilder().setDim(VALUES);
    return client.create(spec.build());
  }

  private static ByteBuffer ones() {
    ByteBuffer values = ByteBuffer.allocate(4 * VALUES).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < VALUES; i++) {
      values.putFloat(1);
    }
    return values.flip();
  }

  /** Adds ones to the tensor, as push 1 of the session. */
  private static PushResponse pushBlock(String address, ModelHandle model, long session) {
    PushHeader.Builder header =
        PushHeader.newBuilder()
            .setSession(session)
            .setSeq(1)
            .setAckedBelow(1)
            .setModelId(model.id())
            .setOperation(Operation.ADD);
    header
        .addBlocksBuilder()
        .setParameterId(model.parameter("w").id())
        .setCodec(Codec.CODEC_F32)
        .setPayloadBytes(4 * VALUES);
    return StepPieces.send(address, header.build(), ones());
  }

  /** Adds ones to a row of the table, as push 2 of the session. */
  private static PushResponse pushRow(String address, ModelHandle model, long session) {
    PushRowsHeader header =
        PushRowsHeader.newBuilder()
            .setSession(session)
            .setSeq(2)
            .setAckedBelow(1)
            .setModelId(model.id())
            .setTableId(model.table("rows").id())
            .setOperation(Operation.ADD)
            .setCodec(Codec.CODEC_F32)
            .addKeys(7)
            .build();
    return StepPieces.sendRows(address, header, ones());
  }

  private static void restart(DemoProcesses processes, TensorholdClient client) throws Exception {
    long term = client.map().getShards(0).getTerm();
    processes.kill(0);
    processes.restart(0, FLAG);
    Replicas.until(
        "the next leader",
        () -> {
          try {
            return !client.map().getShards(0).getLeader().isEmpty()
                && client.map().getShards(0).getTerm() > term;
          } catch (RuntimeException stillDown) {
            return false;
          }
        });
  }

  @Test
  void pushesThatACheckpointHoldsAreNotAppliedAgainAndOthersAre() throws Exception {
    try (DemoProcesses processes = new DemoProcesses()) {
      processes.startServers(1, FLAG);
      try (TensorholdClient client = Replicas.connect(processes);
          Session plain = client.openSession("joined nothing");
          Session late = client.openSession("after the checkpoint")) {
        ModelHandle model = create(client);
        String server = processes.address(0);
        assertThat(pushBlock(server, model, plain.id()).hasError()).isFalse();
        assertThat(pushRow(server, model, plain.id()).hasError()).isFalse();
        client.checkpoint(model);
        assertThat(pushBlock(server, model, late.id()).hasError()).isFalse();
        assertThat(pushRow(server, model, late.id()).hasError()).isFalse();
        assertThat(client.pullFloats(model.parameter("w"))).containsOnly(2);

        restart(processes, client);
        assertThat(client.pullFloats(model.parameter("w"))).containsOnly(1);
        assertThat(pushBlock(server, model, plain.id()).getDuplicate()).isTrue();
        assertThat(pushRow(server, model, plain.id()).getDuplicate()).isTrue();
        assertThat(client.pullFloats(model.parameter("w"))).containsOnly(1);
        assertThat(RowsTest.pull(client, model.table("rows"), 7)).containsOnly(1);

        assertThat(pushBlock(server, model, late.id()).getDuplicate()).isFalse();
        assertThat(pushRow(server, model, late.id()).getDuplicate()).isFalse();
        assertThat(pushRow(server, model, late.id()).getDuplicate()).isTrue();
        assertThat(client.pullFloats(model.parameter("w"))).containsOnly(2);
        assertThat(RowsTest.pull(client, model.table("rows"), 7)).containsOnly(2);
      }
    }
  }
}
