package io.tensorhold.client;

import io.tensorhold.proto.v1.PushHeader;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.wire.Frame;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/**
 * A push that is not acknowledged yet; it is sent again, the same, until it is.
 *
 * @param header without acked_below, which is filled in at each sending
 * @param updated takes the answer's blocks of a PushPull
 */
record PendingPush(
    PushHeader header,
    List<MemorySegment> pieces,
    long bytes,
    long deadline,
    Consumer<Frame<PushPullHeader>> updated,
    CompletableFuture<PushResponse> done) {}
