package io.tensorhold.server.shard;

import io.tensorhold.numerics.BlockSums;
import io.tensorhold.numerics.Kernels;
import io.tensorhold.server.base.BlockKey;
import io.tensorhold.server.base.OffHeap;
import io.tensorhold.server.shard.PushCommand.Part;
import io.tensorhold.server.store.BlockLayout;
import io.tensorhold.server.store.ShardStore;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * One replica of a shard: a state machine that the log drives.
 *
 * <p>The state is a set of blocks, the parameters they belong to, and which pushes of which
 * sessions were applied. {@link #apply} depends on that state and the entry alone, so that every
 * replica comes to the same bytes; {@link #checksum} compares them. The machine has no thread and
 * no clock. Its methods are atomic to each other; readers hold blocks beyond a call through {@link
 * Unit}.
 *
 * <p>Disk holds the state as of some index, flushed in one atomic step, and the log holds what came
 * after. Blocks carry the index of their last update besides: an entry that a block already holds
 * is skipped for that block, whichever way the two met.
 */
public final class ShardMachine implements AutoCloseable {
  private final int shard;
  private final ShardStore store;
  private final MemoryTier tier;
  private final BlockUpdate update;
  private final OverlayPushes pushes;
  private final Overlay overlay;
  private final ShardRows rows;
  private final ShardState state;
  private final ParameterTable parameters = new ParameterTable();
  private final TreeSet<BlockKey> deletions = new TreeSet<>();
  private long flushedIndex;
  private long flushedTerm;
  private boolean closed;

  /** A machine at the state that the store holds. */
  @SuppressWarnings("this-escape") // as a lock
  public ShardMachine(int shard, ShardStore store, long memoryBudget, Kernels kernels) {
    this.shard = shard;
    this.store = store;
    this.update = new BlockUpdate(kernels);
    this.state = ShardState.of(store);
    this.pushes = new OverlayPushes(this, state);
    this.rows = new ShardRows(this, store, state, parameters, pushes, memoryBudget / 2, kernels);
    this.tier = new MemoryTier(() -> memoryBudget - Math.min(memoryBudget / 2, rows.bytes()));
    this.overlay = new Overlay(this, memoryBudget / 2, update, pushes, this::copyForOverlay);
    parameters.read(store);
    flushedIndex = state.index;
    flushedTerm = state.term;
  }

  /**
   * Applies an entry of the log; an entry at or before {@link #appliedIndex} changes nothing.
   *
   * @return the {@link Outcome} of each command, by ordinal
   * @throws IllegalArgumentException if the bytes are no entry: the log is damaged
   */
  public synchronized byte[] apply(long term, long index, ByteBuffer entry) {
    List<Entry.Command> commands = Entry.read(entry);
    byte[] outcomes = new byte[commands.size()];
    if (index <= state.index) {
      Arrays.fill(outcomes, Outcome.DUPLICATE.id);
      return outcomes;
    }
    for (int i = 0; i < outcomes.length; i++) {
      outcomes[i] =
          switch (commands.get(i)) {
            case Entry.Command.Push push -> push(index, push.push(), push.mark()).id;
            case Entry.Command.Claim claim -> claim(claim).id;
            case Entry.Command.Steps(long model, ModelSteps steps) ->
                state.steps.adopt(model, steps, state.dropped).id;
            case Entry.Command.Compare() -> Outcome.APPLIED.id;
            case Entry.Command.Register(ParameterRecord parameter) -> register(parameter).id;
            case Entry.Command.Drop(long first, long last) -> drop(first, last).id;
            case Entry.Command.Put put -> put(index, put).id;
            case Entry.Command.Rows(RowsCommand push, StepMark mark) ->
                rows.push(index, push, mark).id;
            case Entry.Command.Pushes(List<AppliedPushes> applied) -> state.adopt(applied).id;
            case Entry.Command.PutRows(RowsPut put) -> rows.put(index, put).id;
          };
    }
    advance(term, index);
    return outcomes;
  }

  /** Notes an entry of the log that holds no commands, such as Raft's own. */
  public synchronized void advance(long term, long index) {
    if (index > state.index) {
      state.term = term;
      state.index = index;
    }
  }

  private Outcome push(long index, PushCommand push, @Nullable StepMark mark) {
    Outcome objection = state.objection(push.tags(), mark);
    if (objection != null) {
      return objection;
    }
    if (!parameters.fits(push)) {
      return Outcome.INVALID;
    }
    long offset = 0;
    for (int i = 0; i < push.parts().size(); i++) {
      Part part = push.parts().get(i);
      ParameterRecord parameter = parameters.get(part.parameter());
      Unit unit = writable(new BlockKey(part.parameter(), part.block()), parameter);
      if (index > unit.floor) {
        update.apply(unit.memory(), parameter, push, i, offset, index);
        BlockLayout.setLogIndex(unit.memory(), index);
      }
      offset += part.payloadBytes();
    }
    state.applied(push.tags(), mark);
    return Outcome.APPLIED;
  }

  private Outcome claim(Entry.Command.Claim claim) {
    pushes.claim(claim);
    return state.steps.claim(claim, state.dropped);
  }

  private Outcome register(ParameterRecord parameter) {
    if (state.dropped.contains(parameter.id())) {
      return Outcome.INVALID;
    }
    return parameters.register(parameter) ? Outcome.APPLIED : Outcome.DUPLICATE;
  }

  private Outcome drop(long first, long last) {
    state.dropped.add(first, last);
    state.steps.drop(first, last);
    pushes.drop(first, last);
    overlay.removeIf(key -> DroppedParameters.between(first, key.parameter(), last));
    tier.removeIf(key -> DroppedParameters.between(first, key.parameter(), last), deletions::add);
    List<ParameterRecord> gone = parameters.drop(id -> DroppedParameters.between(first, id, last));
    gone.forEach(parameter -> store.forEachBlock(parameter.id(), deletions::add));
    rows.drop(first, last, gone);
    return Outcome.APPLIED;
  }

  private Outcome put(long index, Entry.Command.Put put) {
    ParameterRecord parameter = parameters.get(put.parameter());
    if (parameter == null
        || put.block() < 0
        || put.block() >= parameter.blocks()
        || put.bytes().byteSize() != parameter.blockBytes(put.block())
        || BlockLayout.fault(put.bytes()) != null) {
      return Outcome.INVALID;
    }
    BlockKey key = new BlockKey(put.parameter(), put.block());
    long floor = -1;
    Unit now = hold(key, parameter);
    if (now != null) {
      floor = now.floor;
      now.release();
    }
    if (index > floor) {
      MemorySegment memory = OffHeap.allocate(put.bytes().byteSize());
      memory.copyFrom(put.bytes());
      BlockLayout.setLogIndex(memory, index);
      tier.put(key, new Unit(memory, floor));
    }
    return Outcome.APPLIED;
  }

  private Unit writable(BlockKey key, ParameterRecord parameter) {
    Unit unit = tier.writable(key);
    if (unit != null) {
      return unit;
    }
    MemorySegment memory =
        deletions.contains(key) ? null : store.read(key, parameter.blockBytes(key.block()));
    unit = memory == null ? Unit.zeros(parameter, key.block()) : Unit.stored(memory);
    tier.addDirty(key, unit);
    return unit;
  }

  /** The block, read from disk if need be, held for the caller; null if no push has reached it. */
  private @Nullable Unit hold(BlockKey key, ParameterRecord parameter) {
    Unit unit = tier.get(key);
    if (unit != null) {
      return unit.hold();
    }
    if (deletions.contains(key)) {
      return null;
    }
    MemorySegment memory = store.read(key, parameter.blockBytes(key.block()));
    if (memory == null) {
      return null;
    }
    unit = Unit.stored(memory);
    return tier.addClean(key, unit) ? unit.hold() : unit;
  }

  /**
   * A block for reading; the caller releases it. A block that no push has reached is zeros.
   *
   * @throws io.tensorhold.server.store.StoreException if it can't be read or is damaged
   */
  public synchronized Unit read(ParameterRecord parameter, int block) {
    BlockKey key = new BlockKey(parameter.id(), block);
    Unit pushed = overlay.get(key);
    Unit unit = pushed != null ? pushed.hold() : hold(key, parameter);
    return unit == null ? Unit.zeros(parameter, block) : unit;
  }

  /** The sums that a push of gradients needs its factors from, part by part; changes nothing. */
  public synchronized List<BlockSums> measure(PushCommand push, Map<Long, ParameterRecord> known) {
    return update.measure(push, known, this::read);
  }

  /** What would become of a push now, if not APPLIED; null: nothing stands against it. */
  public synchronized @Nullable Outcome objection(PushCommand push, @Nullable StepMark mark) {
    return state.objection(push.tags(), mark);
  }

  /**
   * How far the ranks of a model have come, in the leader's overlay if that counts them; see {@link
   * StepMark} for its id.
   */
  public synchronized Map<Integer, RankStep> ranks(long model) {
    return pushes.ranks(model);
  }

  /** The last step that a model's ranks have closed together. */
  public synchronized long closedStep(long model) {
    return state.steps.closedStep(model);
  }

  /** What the latest step of a model was made with; null: it is another, or has no factors. */
  public synchronized @Nullable StepFactors factors(long model, long step) {
    return state.steps.factors(model, step);
  }

  /** The parameter as the shard knows it; null before its first push and after it was dropped. */
  public synchronized @Nullable ParameterRecord parameter(long id) {
    return parameters.get(id);
  }

  /** Whether the log has dropped the parameters with these ids. */
  public synchronized boolean dropped(long first, long last) {
    return state.dropped.contains(first) && state.dropped.contains(last);
  }

  /** Which pushes to CHECKPOINTED models were applied beside the log; atomic as this is. */
  public OverlayPushes overlayPushes() {
    return pushes;
  }

  /** What they have made of blocks; atomic as this is. */
  public Overlay overlay() {
    return overlay;
  }

  /** Drops an overlay of any other term; leadership has changed. */
  public synchronized void dropOverlay(long unlessTerm) {
    overlay.enter(unlessTerm);
    rows.dropOverlay(unlessTerm);
  }

  /** The rows of tables. */
  public ShardRows rows() {
    return rows;
  }

  private Unit copyForOverlay(BlockKey key, ParameterRecord parameter) {
    Unit base = hold(key, parameter);
    if (base == null) {
      return Unit.zeros(parameter, key.block());
    }
    Unit copy = base.copy();
    base.release();
    return copy;
  }

  /** How urgently {@link #beginFlush} is wanted. */
  public synchronized Pressure pressure() {
    Pressure ofRows = rows.pressure();
    return ofRows.compareTo(tier.pressure()) > 0 ? ofRows : tier.pressure();
  }

  /**
   * Starts a flush of the state as it is now; null if disk holds it already. The machine goes on
   * while {@link Flush#run} writes; one flush at a time.
   */
  public synchronized @Nullable Flush beginFlush() {
    if (closed || flushedIndex == state.index) {
      return null;
    }
    Flush flush =
        new Flush(
            store,
            tier.beginFlush(),
            new TreeSet<>(deletions),
            state.toBytes(),
            parameters.takeChanges(),
            rows.beginFlush(),
            state.term,
            state.index);
    deletions.clear();
    return flush;
  }

  /** Ends a flush. A failed one leaves the state as dirty as it was. */
  public synchronized void endFlush(Flush flush, boolean written) {
    tier.endFlush(written);
    rows.endFlush(flush.rows(), written);
    if (written) {
      flushedIndex = flush.index();
      flushedTerm = flush.term();
    } else {
      deletions.addAll(flush.deletions());
      parameters.restoreChanges(flush.parameters());
    }
  }

  /** Index of the last entry applied; −1 before the first. */
  public synchronized long appliedIndex() {
    return state.index;
  }

  /** Term of the last entry applied. */
  public synchronized long appliedTerm() {
    return state.term;
  }

  /** Index up to which disk holds the state; −1 before the first flush. */
  public synchronized long flushedIndex() {
    return flushedIndex;
  }

  /** Term of the entry at {@link #flushedIndex}. */
  public synchronized long flushedTerm() {
    return flushedTerm;
  }

  /** A number that is equal on replicas whose state is equal. Reads every block. */
  public synchronized long checksum() {
    return StateChecksum.of(state, parameters.all(), this::holdKnown, rows);
  }

  private @Nullable Unit holdKnown(BlockKey key) {
    ParameterRecord parameter = parameters.get(key.parameter());
    return parameter == null ? null : hold(key, parameter);
  }

  /** Figures of the parameters that the filter takes: blocks and bytes in memory and in all. */
  public synchronized ShardFigures figures(java.util.function.LongPredicate filter) {
    return ShardFigures.of(parameters.all(), filter, tier, rows, store);
  }

  /** Bytes of blocks in memory, clean and dirty, overlay included. */
  public synchronized long memoryBytes() {
    return tier.bytes() + overlay.bytes() + rows.bytes();
  }

  /** Bytes of blocks that no flush has written yet. */
  public synchronized long dirtyBytes() {
    return tier.unflushedBytes() + rows.unflushedBytes();
  }

  /** Index up to which a store holds a shard's state, without loading it; −1 if it holds none. */
  public static long flushedIndexOf(ShardStore store) {
    return ShardState.of(store).index;
  }

  /** Which shard this is. */
  public int shard() {
    return shard;
  }

  /** Frees the memory; the store stays open. No flush may be under way. */
  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      tier.clear();
      overlay.clear();
      rows.close();
      update.close();
    }
  }
}
