package io.tensorhold.server.shard;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.server.shard.StepMark.Piece;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** What a shard says of steps: whose they are, and which of their parts it has. */
class StepsTest {
  private static final long MODEL = 7;
  private final ShardState state = new ShardState();

  private static StepMark mark(long step, int part, int parts, int rank, int crc) {
    return new StepMark(MODEL, step, part, parts, false, List.of(new Piece(rank, crc)));
  }

  private @Nullable Outcome push(long session, StepMark mark) {
    Piece piece = mark.pieces().getFirst();
    Outcome objection = state.steps.objection(mark, piece, session);
    if (objection == null) {
      state.steps.applied(mark, piece, session);
    }
    return objection;
  }

  private Outcome claim(int rank, long session, long base) {
    return state.steps.claim(
        new Entry.Command.Claim(MODEL, rank, session, false, base), state.dropped);
  }

  @Test
  void restartedWorkerFillsInThePartsThatItsFormerSelfDidNotSend() {
    assertThat(push(5, mark(1, 0, 3, 0, 11))).isNull();
    assertThat(push(5, mark(1, 2, 3, 0, 13))).isNull();
    assertThat(claim(0, 9, 0)).isEqualTo(Outcome.APPLIED);
    assertThat(state.steps.ranks(MODEL).get(0)).isEqualTo(new RankStep(9, 0, 0));
    assertThat(push(5, mark(1, 1, 3, 0, 12))).isEqualTo(Outcome.FENCED);
    assertThat(push(9, mark(2, 0, 3, 0, 1))).isEqualTo(Outcome.UNFINISHED);
    assertThat(push(9, mark(1, 1, 2, 0, 1))).isEqualTo(Outcome.UNFINISHED);
    assertThat(push(9, mark(1, 0, 3, 0, 99))).isEqualTo(Outcome.DUPLICATE);
    assertThat(push(9, mark(1, 1, 3, 0, 99))).isNull();
    assertThat(push(9, mark(1, 2, 3, 0, 99))).isEqualTo(Outcome.DUPLICATE);
    assertThat(push(9, mark(1, 1, 3, 0, 98))).isEqualTo(Outcome.CONFLICT);
    assertThat(state.steps.ranks(MODEL).get(0)).isEqualTo(new RankStep(9, 1, 1));
    assertThat(push(9, mark(2, 0, 1, 0, 1))).isNull();
    assertThat(push(9, mark(1, 1, 3, 0, 99))).isEqualTo(Outcome.CLOSED);
  }

  @Test
  void newcomerOfNoClaimTakesItsRankOverWithItsFirstPush() {
    assertThat(push(5, mark(1, 0, 1, 0, 11))).isNull();
    assertThat(push(9, mark(1, 0, 1, 0, 12))).isEqualTo(Outcome.DUPLICATE);
    assertThat(push(9, mark(2, 0, 1, 0, 12))).isNull();
    assertThat(push(5, mark(3, 0, 1, 0, 11))).isEqualTo(Outcome.FENCED);
    assertThat(claim(0, 5, 0)).isEqualTo(Outcome.FENCED);
  }

  @Test
  void rankThatBeginsBesideTheOthersLeavesOutWhatItHadBegun() {
    assertThat(push(5, mark(1, 0, 2, 0, 11))).isNull();
    assertThat(claim(0, 9, 40)).isEqualTo(Outcome.APPLIED);
    assertThat(state.steps.ranks(MODEL).get(0)).isEqualTo(new RankStep(9, 1, 40));
    assertThat(push(9, mark(41, 0, 2, 0, 11))).isNull();
  }

  @Test
  void droppedModelIsForgottenAndStaysSo() {
    assertThat(push(5, mark(1, 0, 1, 0, 11))).isNull();
    state.dropped.add(MODEL, MODEL);
    state.steps.drop(MODEL, MODEL);
    assertThat(state.steps.ranks(MODEL)).isEmpty();
    assertThat(claim(0, 9, 0)).isEqualTo(Outcome.INVALID);
  }

  @Test
  void stateIsReadAsItWasWrittenAndFormatOneHasNoSteps() throws IOException {
    assertThat(push(5, mark(1, 0, 2, 3, -11))).isNull();
    assertThat(claim(4, 6, 12)).isEqualTo(Outcome.APPLIED);
    ShardState again = new ShardState();
    again.read(state.toBytes());
    assertThat(again.toBytes()).isEqualTo(state.toBytes());
    assertThat(again.steps.ranks(MODEL)).isEqualTo(state.steps.ranks(MODEL));

    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(bytes)) {
      out.writeByte(1);
      out.writeLong(3);
      out.writeLong(44);
      out.writeLong(5);
      out.writeInt(0);
      out.writeLong(0);
      out.writeInt(0);
    }
    ShardState old = new ShardState();
    old.read(bytes.toByteArray());
    assertThat(old.index).isEqualTo(44);
    assertThat(old.steps.ranks(MODEL)).isEmpty();
  }
}
