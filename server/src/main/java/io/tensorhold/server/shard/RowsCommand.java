package io.tensorhold.server.shard;

import io.tensorhold.numerics.Codec;
import io.tensorhold.server.shard.PushCommand.Operation;
import io.tensorhold.server.shard.PushCommand.Tag;
import java.lang.foreign.MemorySegment;

/**
 * One push of rows as the log carries it: to be applied whole, once, or not at all.
 *
 * @param keys rise strictly
 * @param values of the rows under the codec, each row by itself, one after another
 */
@SuppressWarnings("ArrayRecordComponent") // read in a loop, and never changed
public record RowsCommand(
    Tag tag, Operation operation, long table, Codec codec, long[] keys, MemorySegment values) {}
