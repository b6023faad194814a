/**
 * Checkpoint files: safetensors and ONNX, read and written tensor by tensor.
 *
 * <p>Files are hostile until parsed. Nothing in them is executed, every length is checked before it
 * is believed, and what is refused is refused with a {@link
 * io.tensorhold.client.checkpoint.CheckpointException} before one tensor was handed out. Only
 * headers and names are held in memory; tensor bytes are read where they lie when they are asked
 * for.
 */
@NullMarked
package io.tensorhold.client.checkpoint;

import org.jspecify.annotations.NullMarked;
