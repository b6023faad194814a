package io.tensorhold.server.shard;

import static org.assertj.core.api.Assertions.assertThat;

import io.tensorhold.numerics.Codec;
import io.tensorhold.server.base.HeldMemory;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.shard.PushCommand.Tag;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Entries in the memory of their payloads are the bytes that they would be anywhere else. */
class EntryBytesTest {
  private static final int BYTES = 256 << 10;
  private static final StepMark MARK =
      new StepMark(7, 3, 0, 1, true, List.of(new StepMark.Piece(0, 9)));

  private static PushCommand push(boolean withRoom, int bytes) {
    List<Part> parts = List.of(new Part(7, 1, Codec.F32, bytes, new int[0]));
    HeldMemory memory = HeldMemory.allocate(withRoom ? Entry.headRoom(1, parts, null) : 0, bytes);
    byte[] payload = new byte[bytes];
    new Random(bytes).nextBytes(payload);
    memory.content().asByteBuffer().put(payload);
    return new PushCommand(List.of(new Tag(1, 2, 1)), Operation.GRADIENT, parts, memory);
  }

  private static byte[] bytes(EntryBytes entry) {
    byte[] bytes = new byte[entry.size()];
    entry.buffer().get(bytes);
    return bytes;
  }

  private static void samePayloadSameEntry(@Nullable StepMark mark, boolean withRoom, int bytes) {
    long before = OffHeap.allocated();
    PushCommand push = push(withRoom, bytes);
    EntryBytes entry = mark == null ? EntryBytes.push(push) : EntryBytes.step(mark, push);
    assertThat(bytes(entry)).isEqualTo(mark == null ? Entry.push(push) : Entry.step(mark, push));
    boolean inPlace = entry.memory() != null && entry.memory().equals(push.memory());
    assertThat(inPlace).isEqualTo(withRoom);
    push.release();
    assertThat(Entry.read(entry.buffer())).hasSize(1); // the entry holds the memory
    entry.release();
    assertThat(OffHeap.allocated()).isEqualTo(before);
  }

  @Test
  void anEntryInTheRoomOfItsPayloadIsTheEntry() {
    samePayloadSameEntry(null, true, BYTES);
    samePayloadSameEntry(MARK, true, BYTES);
    samePayloadSameEntry(MARK, true, 40);
  }

  @Test
  void withoutRoomThePayloadIsCopied() {
    samePayloadSameEntry(null, false, BYTES);
    samePayloadSameEntry(MARK, false, BYTES);
    samePayloadSameEntry(MARK, false, 40);
  }

  @Test
  void roomIsGivenOnce() {
    PushCommand push = push(true, BYTES);
    EntryBytes first = EntryBytes.push(push);
    EntryBytes second = EntryBytes.step(MARK, push);
    assertThat(bytes(first)).isEqualTo(Entry.push(push));
    assertThat(bytes(second)).isEqualTo(Entry.step(MARK, push));
    push.release();
    first.release();
    second.release();
  }

  @Test
  void severalAreOneEntryAndLetGo() {
    long before = OffHeap.allocated();
    PushCommand large = push(true, BYTES);
    PushCommand small = push(true, 40);
    byte[] drop = Entry.drop(1, 2);
    byte[] expected = Entry.of(List.of(drop, Entry.push(large), Entry.push(small)));
    EntryBytes joined =
        EntryBytes.join(
            List.of(EntryBytes.of(drop), EntryBytes.push(large), EntryBytes.push(small)));
    large.release();
    small.release();
    assertThat(bytes(joined)).isEqualTo(expected);
    joined.release();
    assertThat(OffHeap.allocated()).isEqualTo(before);
  }

  @Test
  @Timeout(60)
  void theCollectorFreesWhatNobodyLetGo() {
    PushCommand push = push(true, BYTES);
    HeldMemory memory = push.memory();
    var reader = EntryBytes.push(push).buffer();
    push.release();
    System.gc();
    assertThat(memory.holdIfHeld()).as("it is read").isTrue();
    assertThat(reader.get(0)).isEqualTo((byte) Entry.FORMAT);
    memory.release();
    reader = null;
    while (memory.holdIfHeld()) { // or the time limit ends it
      memory.release();
      System.gc();
      Thread.onSpinWait();
    }
  }
}
