package io.tensorhold.client;

import io.tensorhold.numerics.Blocks;
import io.tensorhold.numerics.Codec;
import io.tensorhold.numerics.DType;
import io.tensorhold.numerics.Shape;
import io.tensorhold.proto.v1.AliasSpec;
import io.tensorhold.proto.v1.ParameterSpec;
import java.util.List;

/**
 * A dense tensor of a model: its name, shape and form, not its values.
 *
 * <p>One that is a view has no bytes of its own: its elements are a run of another tensor's, or all
 * of them under another shape. It is pulled and pushed as a tensor is, as f32, f16 or bf16; blocks,
 * and gradients of a step, are those of the tensor that it is a view of.
 */
public final class Parameter {
  private final ModelHandle model;
  private final ParameterSpec spec;
  private final String name;
  private final Shape shape;
  private final long firstElement;
  private final boolean view;
  private final long blockedElements;

  Parameter(ModelHandle model, ParameterSpec spec) {
    this.model = model;
    this.spec = spec;
    this.name = spec.getName();
    this.shape = shape(spec.getDimsList());
    this.firstElement = 0;
    this.view = false;
    this.blockedElements = shape.elements();
  }

  /** A view of a tensor. */
  Parameter(Parameter tensor, AliasSpec alias) {
    this.model = tensor.model;
    this.spec = tensor.spec;
    this.name = alias.getName();
    this.shape = shape(alias.getDimsList());
    this.firstElement = alias.getFirstElement();
    this.view = true;
    this.blockedElements = tensor.blockedElements;
  }

  private static Shape shape(List<Long> dims) {
    return Shape.of(dims.stream().mapToLong(Long::longValue).toArray());
  }

  /** The model it belongs to. */
  public ModelHandle model() {
    return model;
  }

  /** Its name in the model. */
  public String name() {
    return name;
  }

  /** Whether its elements are some of another tensor's: the one that has the same id. */
  public boolean isView() {
    return view;
  }

  /** The tensor that has the bytes: itself unless it is a view. */
  public Parameter tensor() {
    return view ? model.parameter(spec.getId()) : this;
  }

  /** Where its elements begin in the tensor that has the bytes; 0 unless it is a view. */
  public long firstElement() {
    return firstElement;
  }

  /** Its number, unique in the cluster; a view has its tensor's. */
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

  /** Number of blocks; a view has its tensor's. */
  public int blocks() {
    return Blocks.count(blockedElements, blockElements());
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
    return Blocks.elementsIn(blockedElements, blockElements(), block);
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
