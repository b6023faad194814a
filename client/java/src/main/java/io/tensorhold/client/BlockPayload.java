package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import java.lang.foreign.MemorySegment;

/** A whole block to be pushed: its bytes under a codec. */
public record BlockPayload(Parameter parameter, int block, Codec codec, MemorySegment bytes) {}
