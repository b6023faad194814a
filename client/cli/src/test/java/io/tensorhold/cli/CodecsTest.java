package io.tensorhold.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.tensorhold.client.ModelHandle;
import io.tensorhold.client.Parameter;
import io.tensorhold.client.Session;
import io.tensorhold.client.TensorholdClient;
import io.tensorhold.client.TensorholdException;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.numerics.Slice;
import io.tensorhold.proto.v1.ModelSpec;
import io.tensorhold.proto.v1.Operation;
import io.tensorhold.proto.v1.ParameterSpec;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Storage, pushes and pulls choose their codecs independently of each other. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class CodecsTest {
  private static final int ELEMENTS = 600; // two blocks, and one that no group divides
  private static final List<Codec> COMPUTABLE =
      Arrays.stream(Codec.values()).filter(c -> c.computable() && c.storable()).toList();

  private final Random random = new Random(8);
  private LocalServer server;
  private TensorholdClient client;

  @BeforeAll
  void start(@TempDir Path data) throws Exception {
    server = new LocalServer(data, "32MiB");
    client = server.connect();
  }

  @AfterAll
  void stop() {
    client.close();
    server.close();
  }

  private Parameter parameter(String name, Codec stored) {
    ModelHandle model =
        client.create(
            ModelSpec.newBuilder()
                .setName(name)
                .addParameters(
                    ParameterSpec.newBuilder()
                        .setName("w")
                        .setDtype(io.tensorhold.proto.v1.DType.F32)
                        .setCodecValue(stored.id())
                        .setBlockElements(256)
                        .addDims(ELEMENTS))
                .build());
    return model.parameter("w");
  }

  private MemorySegment values() {
    MemorySegment f32 = MemorySegment.ofArray(new byte[4 * ELEMENTS]);
    for (int i = 0; i < ELEMENTS; i++) {
      f32.set(ValueLayout.JAVA_FLOAT_UNALIGNED, 4L * i, (float) random.nextGaussian());
    }
    return f32;
  }

  /** The same values under another codec, by way of f32 as in the server. */
  private static MemorySegment recode(Parameter p, MemorySegment bytes, Codec from, Codec to) {
    if (from == to) {
      return bytes;
    }
    MemorySegment f32 = MemorySegment.ofArray(new byte[4 * ELEMENTS]);
    from.decode(Kernels.scalar(), bytes, 0, f32, 0, ELEMENTS);
    MemorySegment out = memory(p, to);
    to.encode(Kernels.scalar(), f32, 0, out, 0, ELEMENTS);
    return out;
  }

  private static MemorySegment memory(Parameter parameter, Codec codec) {
    return MemorySegment.ofArray(new byte[(int) parameter.bytes(codec)]);
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK", "SIGN1"},
      mode = EnumSource.Mode.EXCLUDE)
  void storageWireAndPullsChooseAnyCodec(Codec stored) {
    Parameter parameter = parameter("any-" + stored.label(), stored);
    try (Session session = client.openSession("codecs")) {
      for (Codec sent : COMPUTABLE) {
        MemorySegment payload = recode(parameter, values(), Codec.F32, sent);
        session.push(parameter, Operation.ASSIGN, sent, payload).join();
        MemorySegment kept = recode(parameter, payload, sent, stored);
        for (Codec asked : COMPUTABLE) {
          MemorySegment pulled = memory(parameter, asked);
          client.pull(parameter, asked, pulled);
          assertThat(pulled.toArray(ValueLayout.JAVA_BYTE))
              .as("sent as %s, stored as %s, pulled as %s", sent, stored, asked)
              .isEqualTo(recode(parameter, kept, stored, asked).toArray(ValueLayout.JAVA_BYTE));
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK", "SIGN1"},
      mode = EnumSource.Mode.EXCLUDE)
  void aPartOfABlockChangesOnlyItsGroups(Codec stored) {
    Parameter parameter = parameter("part-" + stored.label(), stored);
    try (Session session = client.openSession("parts")) {
      MemorySegment payload = recode(parameter, values(), Codec.F32, stored);
      session.push(parameter, Operation.ASSIGN, stored, payload).join();
      MemorySegment before = MemorySegment.ofArray(client.pullFloats(parameter));
      Slice slice = Slice.parse("300:301", parameter.shape());
      session
          .push(
              parameter,
              slice,
              Operation.ASSIGN,
              Codec.F32,
              MemorySegment.ofArray(new float[] {0.25f}))
          .join();
      before.setAtIndex(ValueLayout.JAVA_FLOAT, 300, 0.25f);
      MemorySegment expected = memory(parameter, stored);
      stored.encode(Kernels.scalar(), before, 0, expected, 0, ELEMENTS);
      int group = 300 / stored.group();
      long at = (long) group * stored.groupBytes();
      MemorySegment.copy(expected, at, payload, at, stored.groupBytes());
      MemorySegment after = memory(parameter, stored);
      client.pull(parameter, stored, after);
      assertThat(after.mismatch(payload)).isEqualTo(-1);
    }
  }

  @ParameterizedTest
  @EnumSource(
      names = {"RAW", "TOPK", "SIGN1"},
      mode = EnumSource.Mode.EXCLUDE)
  void nothingNonFiniteEntersUnderAnyCodec(Codec sent) {
    Parameter parameter = parameter("finite-" + sent.label(), Codec.F32);
    try (Session session = client.openSession("nan")) {
      MemorySegment f32 = values();
      f32.set(ValueLayout.JAVA_FLOAT_UNALIGNED, 4L * 599, Float.NEGATIVE_INFINITY);
      MemorySegment payload = recode(parameter, f32, Codec.F32, sent);
      CompletionException failure =
          catchThrowableOfType(
              CompletionException.class,
              () -> session.push(parameter, Operation.ASSIGN, sent, payload).join());
      assertThat(failure).hasRootCauseInstanceOf(TensorholdException.class);
      assertThat(failure).hasStackTraceContaining("of w is NaN or infinite");
      // the other blocks may lie on other shards, which saw nothing wrong
      float[] block = Arrays.copyOfRange(client.pullFloats(parameter), 512, ELEMENTS);
      assertThat(block).containsOnly(0);
    }
  }

  @Test
  void elementsThatShareAScaleAreNotSentInParts() {
    Parameter parameter = parameter("parts", Codec.Q4_0);
    Slice slice = Slice.parse("0:256", parameter.shape());
    for (Codec codec : COMPUTABLE) {
      if (codec.group() > 1) {
        TensorholdException refusal =
            catchThrowableOfType(
                TensorholdException.class,
                () -> client.pull(parameter, slice, codec, MemorySegment.ofArray(new byte[1024])));
        assertThat(refusal).hasMessageContaining(codec.label());
      }
    }
  }
}
