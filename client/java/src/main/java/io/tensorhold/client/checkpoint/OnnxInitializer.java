package io.tensorhold.client.checkpoint;

import java.util.List;

/**
 * One initializer of an ONNX graph, and where in the file it lies.
 *
 * @param field the whole of it: a field of the graph message
 * @param data its bytes as fixed-width little-endian elements
 * @param inPlace the pieces of the file that are those bytes, in order; empty if the file keeps
 *     them otherwise (as varints, or in another file)
 * @param payload the fields within it, tag to end, that say what or where its bytes are
 */
record OnnxInitializer(
    TensorEntry entry,
    ProtoReader.Field field,
    TensorData data,
    List<Chunk> inPlace,
    List<Chunk> payload) {}
