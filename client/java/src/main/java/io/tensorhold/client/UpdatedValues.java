package io.tensorhold.client;

import io.tensorhold.numerics.Codec;
import io.tensorhold.proto.v1.BlockHeader;
import io.tensorhold.proto.v1.PushPullHeader;
import io.tensorhold.wire.Frame;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Consumer;

/** Where the values go, as f32, that a step brings back. */
final class UpdatedValues implements Consumer<Frame<PushPullHeader>> {
  private final ModelHandle model;
  private final Map<Long, MemorySegment> targets = new HashMap<>();

  UpdatedValues(ModelHandle model, Map<Parameter, MemorySegment> updated) {
    this.model = model;
    updated.forEach(
        (parameter, target) -> {
          GradientEncoder.requireTensor(parameter);
          targets.put(parameter.id(), target);
        });
  }

  @Override
  public void accept(Frame<PushPullHeader> frame) {
    long offset = 0;
    for (BlockHeader header : frame.header().getBlocksList()) {
      MemorySegment target = targets.get(header.getParameterId());
      if (target != null) {
        model.pulledSteps().pulled(header);
        long at = model.parameter(header.getParameterId()).offset(header.getBlock(), Codec.F32);
        MemorySegment.copy(frame.payload(), offset, target, at, header.getPayloadBytes());
      }
      offset += header.getPayloadBytes();
    }
  }
}
