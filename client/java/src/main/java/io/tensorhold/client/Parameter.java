package io.tensorhold.client;

import io.tensorhold.numerics.Blocks;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import io.tensorhold.proto.v1.ParameterSpec;

/** A dense tensor of a model: its name, shape and form, not its values. */
public final class Parameter {
  private final ModelHandle model;
  private final ParameterSpec spec;
  private final Shape shape;

  Parameter(ModelHandle model, ParameterSpec spec) {
    this.model = model;
    this.spec = spec;
    this.shape = Shape.of(spec.getDimsList().stream().mapToLong(Long::longValue).toArray());
  }

  /** The model it belongs to. */
  public ModelHandle model() {
    return model;
  }

  /** Its name in the model. */
  public String name() {
    return spec.getName();
  }

  /** Its number, unique in the cluster. */
  public long id() {
    return spec.getId();
  }

  /** Whether it is a {@link Table}, all of whose elements are in rows: it has none as a tensor. */
  public boolean isTable() {
    return spec.hasTable();
  }

  /** Element type that its checkpoint gave it. */
  public DType dtype() {
    return DType.ofId(spec.getDtypeValue());
  }

  /** Its dimensions, row-major. */
  public Shape shape() {
    return shape;
  }

  /** The form it is stored in. */
  public Codec codec() {
    return Codec.ofId(spec.getCodecValue());
  }

  /** Elements of a block; the last block may have fewer. */
  public int blockElements() {
    return spec.getBlockElements();
  }

  /** Number of blocks. */
  public int blocks() {
    return Blocks.count(elements(), blockElements());
  }

  /** Number of elements. */
  public long elements() {
    return shape.elements();
  }

  /** Bytes of all elements as stored, without optimizer state. */
  public long bytes() {
    return bytes(codec());
  }

  /** Bytes of all elements under a codec. */
  public long bytes(Codec codec) {
    return codec.bytes(dtype(), elements());
  }

  /** Largest magnitude of an element of its gradients; 0: no limit. */
  double clipValue() {
    return (spec.hasOptimizer() ? spec.getOptimizer() : model.model().getSpec().getOptimizer())
        .getClipValue();
  }

  /** Whether it has an optimizer, and so takes gradients. */
  boolean trained() {
    String own = spec.getOptimizer().getKind();
    String shared = model.model().getSpec().getOptimizer().getKind();
    String kind = own.isEmpty() ? shared : own;
    return !kind.isEmpty() && !kind.equals("none");
  }

  /** Elements of one block. */
  public int elementsIn(int block) {
    return Blocks.elementsIn(elements(), blockElements(), block);
  }

  /** Where a block's bytes begin in the tensor's, under a codec. */
  long offset(int block, Codec codec) {
    return codec.bytes(dtype(), (long) block * blockElements());
  }

  @Override
  public String toString() {
    return "%s %s%s".formatted(name(), dtype(), shape);
  }
}
