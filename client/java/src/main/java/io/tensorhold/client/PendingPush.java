package io.tensorhold.client;

import com.google.protobuf.Message;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.proto.v1.PushResponse;
import io.tensorhold.wire.Frame;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.function.LongFunction;

/**
 * A push that is not acknowledged yet; it is sent again, the same, until it is.
 *
 * @param seq its number in the session
 * @param frame makes the message, given acked_below, which is filled in at each sending
 * @param updated takes the answer's blocks of a PushPull
 */
record PendingPush<H extends Message>(
    long seq,
    LongFunction<Frame<H>> frame,
    long deadline,
    Consumer<Frame<PushPullHeader>> updated,
    CompletableFuture<PushResponse> done) {}
